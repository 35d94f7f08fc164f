package lab

import (
	"bytes"
	"context"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/ops"
)

//go:embed network.yaml
var networkFile string

//go:embed fleet.yaml
var fleetFile string

// Host is the site's name in a lab. Clients reach it on the standard ports.
const Host = "www.hither.test"

// NetworkOptions say what network runs in a lab.
type NetworkOptions struct {
	// Program is the path of the program `hither`. Its processes are the network, each started in the namespace of
	// its place, so that what is measured is what users run.
	Program string

	// Dir is the network's state folder. "" is a temporary one, which Close removes.
	Dir string

	// Site is the folder that the origin serves. "" is one in Dir, with a page and objects of the sizes in Sizes.
	Site string

	// Capacity is how many requests a second the PoP at Edge is made for, in a lab with a fleet. 0 = it is never full.
	Capacity int

	// Connections are those that the edge keeps open to the origin. 0 is the network file's default.
	Connections int
}

// Sizes are the objects of a lab's own site, by path. Their content is random, so nothing compresses it.
func Sizes() map[string]int {
	return map[string]int{"/1KiB.bin": 1 << 10, "/64KiB.bin": 64 << 10, "/1MiB.bin": 1 << 20}
}

// A Network is hither in a lab: one process each for the edges, the origin, with the hub in it, and the DNS server. Its methods may be called
// at the same time.
type Network struct {
	// Dir is the state folder, which operator commands take by --state. Its files are those of `hither up`.
	Dir string

	lab     *Lab
	program string
	remove  bool // Dir is temporary

	mu    sync.Mutex // guards what follows
	procs [places]*process
}

// StartNetwork starts a network in the lab, and waits until clients are answered. Its pool of connections to the origin
// may not be open by then: see [Network.Warm].
func (l *Lab) StartNetwork(ctx context.Context, o NetworkOptions) (*Network, error) {
	if _, err := os.Stat(o.Program); err != nil {
		return nil, fmt.Errorf("lab: the program hither: %w; `make build` makes it as bin/hither", err)
	}
	n := &Network{lab: l, program: o.Program, Dir: o.Dir}
	if err := n.prepare(o); err != nil {
		return nil, fmt.Errorf("lab: prepare the network: %w", errors.Join(err, n.Close()))
	}
	for _, p := range []Place{Origin, Edge, Second, Third, DNS} {
		if !l.has(p) {
			continue
		}
		if err := n.Start(ctx, p); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// prepare fills the state folder.
func (n *Network) prepare(o NetworkOptions) (err error) {
	site := o.Site
	if n.Dir == "" {
		if n.Dir, err = os.MkdirTemp("", "hither-lab-"); err != nil {
			return err
		}
		n.remove = true
	}
	if n.Dir, err = filepath.Abs(n.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return err
	}
	if site == "" {
		site = filepath.Join(n.Dir, "site")
		if err := writeSite(site); err != nil {
			return err
		}
	} else if site, err = filepath.Abs(site); err != nil {
		return err
	}
	file := networkFile
	if n.lab.fleet {
		file = strings.Replace(fleetFile, "requests: 0", "requests: "+strconv.Itoa(o.Capacity), 1)
	}
	text := []byte(strings.Replace(file, "{folder: SITE,", "{folder: "+strconv.Quote(site)+",", 1))
	if o.Connections != 0 {
		text = bytes.Replace(text, []byte("    app:\n"), fmt.Appendf(nil, "    pool: {connections: %d}\n    app:\n", o.Connections), 1)
	}
	network, err := deploy.Parse("network.yaml", text)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.Dir, "network.yaml"), text, 0o600); err != nil {
		return err
	}
	_, err = fleet.Init(network, text, n.Dir)
	return err
}

// nodes are the processes by place, as `hither up` names them.
var nodes = [places]struct{ role, name, addresses string }{
	Edge:   {fleet.RoleEdge, "near", "198.18.0.2:443"},
	Origin: {fleet.RoleOrigin, "far", "198.18.0.3:9443"},
	DNS:    {fleet.RoleDNS, "ns1", "198.18.0.4:53"},
	Second: {fleet.RoleEdge, "second", "198.18.0.5:443"},
	Third:  {fleet.RoleEdge, "third", "198.18.0.6:443"},
}

// state is the state folder of a place's node.
func (n *Network) state(p Place) string {
	return filepath.Join(n.Dir, "nodes", nodes[p].role+"-"+nodes[p].name)
}

// Start starts the node of a place that has none running, and waits until it is ready.
func (n *Network) Start(ctx context.Context, p Place) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.procs[p] != nil {
		return fmt.Errorf("lab: the node of the %v runs already", p)
	}
	state := n.state(p)
	args := []string{nodes[p].role, "--name", nodes[p].name, "--state", state, "--network", filepath.Join(n.Dir, "network.yaml")}
	if nodes[p].role == fleet.RoleEdge {
		args = append(args, "--access-log", filepath.Join(state, "access.log"))
	}
	started, err := startProcess(ctx, n.lab.At(p), filepath.Join(state, "node.log"), n.program, args...)
	if err != nil {
		return err
	}
	n.procs[p] = started
	return n.record()
}

// Stop ends the node of a place as an operator does, with the time that it takes to let requests finish. A place
// without a node stays as it is.
func (n *Network) Stop(p Place) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stop(p)
}

func (n *Network) stop(p Place) error {
	proc := n.procs[p]
	if proc == nil {
		return nil
	}
	n.procs[p] = nil
	return errors.Join(proc.end(), n.record())
}

// Kill ends the node of a place at once, as a crash does. A place without a node stays as it is.
func (n *Network) Kill(p Place) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	proc := n.procs[p]
	if proc == nil {
		return nil
	}
	n.procs[p] = nil
	proc.kill()
	return n.record()
}

// PID is the process of the node of a place; 0 if none runs.
func (n *Network) PID(p Place) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.procs[p] == nil {
		return 0
	}
	return n.procs[p].cmd.Process.Pid
}

// Status asks the node of a place how it is.
func (n *Network) Status(ctx context.Context, p Place) (ops.NodeStatus, error) {
	var s ops.Status
	if err := ops.Dial(n.state(p)).Get(ctx, "/v1/status", &s); err != nil {
		return ops.NodeStatus{}, fmt.Errorf("lab: ask the %v: %w", p, err)
	}
	if len(s.Nodes) != 1 {
		return ops.NodeStatus{}, fmt.Errorf("lab: ask the %v: it tells of %d nodes", p, len(s.Nodes))
	}
	return s.Nodes[0], nil
}

// Command runs an operator's command of the program at a place, with the network's state folder, and returns what it printed.
func (n *Network) Command(ctx context.Context, p Place, args ...string) (string, error) {
	var out, said bytes.Buffer
	c := exec.Command(n.program, append(args, "--state", n.Dir)...)
	c.Stdout, c.Stderr = &out, &said
	if err := n.lab.At(p).Start(c); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { c.Process.Kill() })
	defer stop()
	if err := c.Wait(); err != nil {
		return "", fmt.Errorf("lab: hither %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// Warm waits until the edge has connections open to the origin.
func (n *Network) Warm(ctx context.Context) error {
	for {
		s, err := n.Status(ctx, Edge)
		if err != nil {
			return err
		}
		if len(s.Origins) == 1 && s.Origins[0].Connections > 0 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("lab: wait for the edge's connections: %w", context.Cause(ctx))
		}
	}
}

// Roots are the authorities that the site's certificate is from.
func (n *Network) Roots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(filepath.Join(n.Dir, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("lab: read the site authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("lab: read the site authority: no certificate in %s", n.Dir)
	}
	return roots, nil
}

// Close ends all nodes, the DNS server first and the origin last: an edge needs it until its last answer.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []error
	for _, p := range []Place{DNS, Third, Second, Edge, Origin} {
		all = append(all, n.stop(p))
	}
	if n.remove {
		all = append(all, os.RemoveAll(n.Dir))
	} else if err := os.Remove(n.upFile()); !errors.Is(err, os.ErrNotExist) {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func (n *Network) upFile() string { return filepath.Join(n.Dir, "up.json") }

// record writes up.json, by which operator commands find the nodes.
func (n *Network) record() error {
	type node struct {
		Node      string   `json:"node"`
		Role      string   `json:"role"`
		Name      string   `json:"name"`
		PID       int      `json:"pid"`
		Addresses []string `json:"addresses"`
		Socket    string   `json:"socket"`
	}
	up := struct {
		Schema string `json:"schema"`
		PID    int    `json:"pid"`
		Nodes  []node `json:"nodes"`
	}{"hither/up/1", os.Getpid(), []node{}}
	for p, proc := range n.procs {
		if proc != nil {
			x := nodes[p]
			up.Nodes = append(up.Nodes, node{x.role + "-" + x.name, x.role, x.name, proc.cmd.Process.Pid, []string{x.addresses}, filepath.Join(n.state(Place(p)), "admin.sock")})
		}
	}
	data, err := json.MarshalIndent(up, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(n.upFile(), append(data, '\n'), 0o600)
}

// Describe tells how other clients use the network while it runs; names is what [Lab.Name] was given, "" = nothing.
func (n *Network) Describe(w io.Writer, names string) {
	in := func(p Place) string {
		if names != "" {
			return "ip netns exec " + names + "-" + p.String()
		}
		return fmt.Sprintf("nsenter --preserve-credentials --user --target %d --net=%s", os.Getpid(), n.lab.At(p).Namespace())
	}
	ca := filepath.Join(n.Dir, "ca.pem")
	for _, s := range []Segment{Between(Client, Edge), Between(Edge, Origin), Between(Client, Origin), Between(Client, DNS)} {
		c := n.lab.forward.conditions(s.a, s.b)
		fmt.Fprintf(w, "  %-8v %v to %v\n", c.Distance, s.a, s.b)
	}
	fmt.Fprintf(w, "\nBe the client, with programs of your own:\n")
	if names != "" {
		fmt.Fprintf(w, "  %s curl --cacert %s https://%s/1KiB.bin -o /dev/null -w 'connect %%{time_connect} handshake %%{time_appconnect} first byte %%{time_starttransfer}\\n'\n", in(Client), ca, Host)
	} else {
		fmt.Fprintf(w, "  %s curl --resolve %s:443:%v --cacert %s https://%s/1KiB.bin -o /dev/null -w 'connect %%{time_connect} handshake %%{time_appconnect} first byte %%{time_starttransfer}\\n'\n", in(Client), Host, Edge.Addr(), ca, Host)
	}
	fmt.Fprintf(w, "  %s dig @%v %s\n", in(Client), DNS.Addr(), Host)
	fmt.Fprintf(w, "Or stand elsewhere:\n")
	for _, p := range []Place{Edge, Origin, DNS} {
		fmt.Fprintf(w, "  %s ss -lntu\n", in(p))
	}
	fmt.Fprintf(w, "The network's state is in %s: hither status --state %s\n", n.Dir, n.Dir)
}
