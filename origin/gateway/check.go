package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"hither/deploy"
	"hither/origin/balance"
	"hither/origin/discover"
	"hither/origin/health"
	"hither/origin/pool"
	"hither/origin/upstream"
)

// Check finds what a network asks of its gateways that this version cannot do. What the parts refuse when a gateway
// starts is found here too, by asking them.
func Check(n *deploy.Network) (found []deploy.Finding) {
	for i := range n.Origins {
		o, path := n.Origins[i], fmt.Sprintf("origins[%d]", i)
		found = append(found, checkApp(&o, path, path+".app")...)
		for j, g := range n.Origins[i].Gateways {
			if g.App != nil {
				o.App = *g.App
				found = append(found, checkApp(&o, path, fmt.Sprintf("%s.gateways[%d].app", path, j))...)
			}
		}
	}
	return found
}

// checkApp finds what is wrong with an application, whose key is at app, and with what the origin at path says of it.
func checkApp(o *deploy.Origin, path, app string) (found []deploy.Finding) {
	wrong := func(at string, err error) {
		if err != nil {
			found = append(found, deploy.Finding{Path: at, Msg: strings.ReplaceAll(err.Error(), "\n", "; ")})
		}
	}
	if o.App.Static != nil {
		return nil
	}
	options := &Options{Name: o.Name, Log: slog.New(slog.DiscardHandler), Now: time.Now}
	if d := o.App.Discover; d != nil && d.DNS == "" {
		found = append(found, deploy.Finding{
			Path: app + ".discover.fleet", Msg: "this version has no table of the fleet's servers; name them in DNS, with `dns`, or list them under `instances`",
		})
	} else if d != nil {
		_, err := discover.New(discoverConfig(d, options))
		wrong(app+".discover", err)
	}
	for i := range o.App.Instances {
		wrong(fmt.Sprintf("%s.instances[%d]", app, i), checkInstance(o, &o.App.Instances[i], options))
	}
	a := &application{o: options, log: options.Log, origin: o, senders: newSenders(o, options)}
	c := a.upstreamConfig(nil)
	_, err := balance.New(c.Balance, nil)
	wrong(path+".balance", err)
	if c.Check != nil {
		_, err := health.New(*c.Check, health.Options{})
		wrong(path+".balance.health", err)
	}
	if len(found) > 0 {
		return found
	}
	up, err := upstream.New(c) // of no instance, so nothing is opened
	if err == nil {
		err = up.Close()
	}
	wrong(path, err)
	return found
}

// checkInstance asks a pool. Certificates are of the gateway's machine, and not looked at.
func checkInstance(o *deploy.Origin, in *deploy.Instance, options *Options) error {
	u, err := url.Parse(in.URL)
	if err != nil {
		return err
	}
	i := upstream.Instance{ID: deploy.AppAddress(u), URL: u, Protocol: in.Protocol}
	if u.Scheme == "https" {
		i.TLS = new(tls.Config)
	}
	_, err = pool.New(poolConfig(o, options, i)) // it opens nothing before it is started
	return err
}
