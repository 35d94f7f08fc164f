package edge_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/edge/accesslog"
	"hither/edge/node"
)

// nodeName is the edge's name in Via, Cache-Status and Proxy-Status.
const nodeName = "fra"

// An authority is the fleet that all scripts' edges and origins belong to.
type authority struct {
	pool   *x509.CertPool  // what clients trust
	edge   *fleet.Identity // of every edge
	origin *fleet.Identity // of every origin
	certs  string          // the folder with the sites' certificates
	shield string          // the folder with a shield's identity and certificates
	// gateway is the folder with the identity of a gateway between an edge and an origin.
	gateway string
}

// newAuthority founds a fleet in dir whose edge has certificates for hosts.
func newAuthority(dir string, hosts []string) (*authority, error) {
	s := &setup{addr: netip.MustParseAddr("127.0.0.1"), origin: "127.0.0.1:9", trusted: []string{}, sites: map[string]*siteSetup{"all": newSite(hosts...)}, shield: &shield{}}
	network, file, err := s.network(8443, 8080, 9180)
	if err != nil {
		return nil, err
	}
	if _, err := fleet.Init(network, file, dir); err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "nodes", "edge-"+nodeName)
	a := &authority{certs: filepath.Join(home, "certs"), shield: filepath.Join(dir, "nodes", "edge-"+shieldName), pool: x509.NewCertPool()}
	if a.edge, err = fleet.LoadIdentity(filepath.Join(home, "identity")); err != nil {
		return nil, err
	}
	a.gateway = filepath.Join(dir, "nodes", "origin-us", "identity")
	if a.origin, err = fleet.LoadIdentity(a.gateway); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	a.pool.AppendCertsFromPEM(pem)
	return a, nil
}

// network is the setup as a network file, and that file read.
func (s *setup) network(https, plain, metrics uint16) (*deploy.Network, []byte, error) {
	type m = map[string]any
	var sites []m
	for name, site := range s.sites {
		sites = append(sites, site.yaml(name))
	}
	limits := m{"drain": "0s"}
	for key, value := range s.limits {
		limits[key] = value
	}
	far := m{}
	for key, value := range s.far {
		far[key] = value
	}
	file, err := json.Marshal(m{ // which is YAML as well
		"version": 1, "name": "scripts",
		"edge": m{
			"listen": m{"https": https, "http": plain, "metrics": metrics}, "cache": m{"memory": "16MiB", "disk": cmp.Or(s.disk, "0B")}, "limits": limits, "trusted": s.trusted,
		},
		"pops":    append([]m{{"name": nodeName, "place": m{"lat": 50.11, "lon": 8.68}, "addresses": []string{s.addr.String()}}}, s.shield.pops(s.addr)...),
		"origins": []m{s.shield.names(s.middle.origin(m{"name": "us", "place": m{"lat": 39, "lon": -77}, "limits": far}, s.origin))},
		"sites":   sites,
	})
	if err != nil {
		return nil, nil, err
	}
	network, err := deploy.Parse("script", file)
	return network, file, err
}

// An edge is a running edge seen from outside.
type edge struct {
	https netip.AddrPort // TCP and UDP
	http  netip.AddrPort
	meter
	state string // the node's folder, with its admin socket
	ports []uint16
	end   func() error // ends it; its folder stays
}

// A meter reads a node's metrics where operators do.
type meter struct {
	client *http.Client
	page   string // the URL of the metrics
}

// close ends it, and removes its folder.
func (e *edge) close() error {
	err := e.end()
	os.RemoveAll(e.state)
	return err
}

// startEdge assembles a whole edge node: the one place that knows of what.
func startEdge(s *setup, a *authority, j *journal) (*edge, error) {
	state, err := os.MkdirTemp("", "edge-") // short, for the admin socket's sake
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(a.certs, filepath.Join(state, "certs")); err != nil {
		return nil, err
	}
	ports, err := freePorts(s.addr, 3)
	if err != nil {
		return nil, err
	}
	return startEdgeIn(s, a, j, state, ports)
}

// startEdgeIn starts an edge over a folder that has its certificates, and maybe what an earlier one has stored.
func startEdgeIn(s *setup, a *authority, j *journal, state string, ports []uint16) (*edge, error) {
	network, _, err := s.network(ports[0], ports[1], ports[2])
	if err != nil {
		return nil, err
	}
	accessLog, err := accesslog.Open(accesslog.Config{Out: j, Flush: time.Millisecond})
	if err != nil {
		return nil, err
	}
	n, err := node.New(node.Options{
		Name: nodeName, State: state, Network: network, Identity: a.edge, Version: "script", Log: slog.New(slog.DiscardHandler),
		AccessLog: accessLog, Now: s.clock.now,
	})
	if err != nil {
		accessLog.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	page := &http.Transport{}
	return &edge{
		https: netip.AddrPortFrom(s.addr, ports[0]), http: netip.AddrPortFrom(s.addr, ports[1]),
		meter: meter{&http.Client{Transport: page}, "http://" + netip.AddrPortFrom(s.addr, ports[2]).String() + "/metrics"},
		state: state, ports: ports,
		end: func() error {
			page.CloseIdleConnections()
			cancel()
			<-ended // what a drain cuts is the script's own leavings
			return accessLog.Close()
		},
	}, nil
}

// freePorts finds ports that are free on addr, which nobody else uses: below those that the kernel gives out by itself
// (ip_local_port_range), for a QUIC client's socket is on all addresses and would take one before the edge does.
func freePorts(addr netip.Addr, n int) (ports []uint16, err error) {
	for range 100 {
		port := 10_000 + rand.N[uint16](20_000)
		at := netip.AddrPortFrom(addr, port)
		ln, refused := net.Listen("tcp", at.String())
		if err = refused; err != nil {
			continue
		}
		defer ln.Close()
		u, refused := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err = refused; err != nil {
			continue
		}
		u.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("%d ports on %s, of which %d are wanted: %v", len(ports), addr, n, err)
}

// counter adds up the samples of a metric that have these labels: name{label=value,...},
// without the prefix that all have.
func (e meter) counter(name string) (int, error) {
	name, rest, _ := strings.Cut(name, "{")
	var labels []string
	for label := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), ",") {
		if key, value, ok := strings.Cut(label, "="); ok {
			labels = append(labels, key+`="`+value+`"`)
		}
	}
	resp, err := e.client.Get(e.page)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	sum, found := 0.0, false
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		sample, value, _ := strings.Cut(lines.Text(), " ")
		metric, has, _ := strings.Cut(sample, "{")
		if metric != "hither_"+name {
			continue
		}
		match := true
		for _, label := range labels {
			match = match && strings.Contains("{"+has, label)
		}
		found = true
		if v, err := strconv.ParseFloat(value, 64); err == nil && match {
			sum += v
		}
	}
	io.Copy(io.Discard, resp.Body)
	if !found && len(labels) == 0 {
		return 0, fmt.Errorf("there is no metric hither_%s", name)
	}
	return int(sum), nil
}
