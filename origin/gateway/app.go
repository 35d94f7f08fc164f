package gateway

import (
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"hither/deploy"
)

// builtIn is what a network without a folder or an application of its own shows.
//
//go:embed site
var builtIn embed.FS

// An app is what answers behind the gateway.
type app struct {
	http.Handler
	retire  func()        // lets go of what it holds once it is no longer used
	problem func() string // what keeps it from answering, for the status; "" is nothing
}

// noProblem is the problem of an app that cannot have one of its own.
func noProblem() string { return "" }

// problems are the application's entries of the status document's problems. It may be
// called at any time after New.
func (g *Gateway) problems() []string {
	if p := g.app.Load().problem(); p != "" {
		return []string{p}
	}
	return nil
}

// newApp makes the handler for what the network file says of the origin.
func newApp(o *deploy.Origin, now func() time.Time, log *slog.Logger) (*app, error) {
	switch {
	case o.App.Static != nil:
		return newStaticApp(o.App.Static, now, log)
	case len(o.App.Instances) > 0:
		return newProxyApp(o, log)
	}
	return nil, fmt.Errorf("gateway: origin %s: app.discover is not served by this version; list the servers under app.instances", o.Name)
}

func newStaticApp(s *deploy.Static, now func() time.Time, log *slog.Logger) (*app, error) {
	c := StaticConfig{CacheControl: s.CacheControl, Now: now, Log: log}
	if s.Folder == "" {
		var err error
		c.Files, err = fs.Sub(builtIn, "site")
		return &app{NewStatic(c), func() {}, noProblem}, err
	}
	f, err := openFolder(s.Folder)
	if err != nil {
		return nil, fmt.Errorf("%w; make it, or change app.static.folder", err)
	}
	c.Files = f
	return &app{NewStatic(c), func() {}, f.problem}, nil
}

func newProxyApp(o *deploy.Origin, log *slog.Logger) (*app, error) {
	var list []Instance
	for _, i := range o.App.Instances {
		u, err := url.Parse(i.URL)
		if err != nil {
			return nil, fmt.Errorf("gateway: origin %s: %w", o.Name, err)
		}
		list = append(list, Instance{URL: u, Weight: i.Weight, Group: i.Group})
	}
	// The edge's own limit runs too: this one ends a little earlier, so that the edge
	// hears why instead of guessing.
	first := time.Duration(o.Limits.FirstByte)
	in := NewInstances(list, InstanceLimits{
		Connect: time.Duration(o.Limits.Connect), FirstByte: first - min(first/10, time.Second), BodyIdle: time.Duration(o.Limits.Idle),
	})
	return &app{NewProxy(ProxyConfig{Name: o.Name, Transport: in, Log: log}), in.Close, noProblem}, nil
}
