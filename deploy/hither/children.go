package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// A group is the child processes of `hither up`, one per node. Each holds one end of a
// socket pair: it says "ready" there, and takes its end for the order to drain, so that
// no child outlives a parent that was killed.
type group struct {
	dir     string
	restart bool
	stderr  io.Writer

	mu       sync.Mutex // guards what follows
	children map[string]*child
	away     map[string]bool // nodes of the network that were made for other machines
	order    []string
	stopping bool
	wg       sync.WaitGroup
}

func newGroup(dir string, restart bool, stderr io.Writer) *group {
	return &group{dir: dir, restart: restart, stderr: &lockedWriter{w: stderr}, children: make(map[string]*child)}
}

// nodesOf lists the nodes a network runs on one machine, origins first: an edge opens
// its connections at start, and a DNS server probes edges.
func nodesOf(dir string, n *deploy.Network) []upChild {
	var nodes []upChild
	add := func(role, name string, addresses []string) {
		node := role + "-" + name
		nodes = append(nodes, upChild{Node: node, Role: role, Name: name, Addresses: addresses, Socket: filepath.Join(dir, "nodes", node, "admin.sock")})
	}
	for _, o := range n.Origins {
		for _, g := range o.AllGateways() {
			var addresses []string
			for _, a := range g.Addresses {
				addresses = append(addresses, a.String())
			}
			add("origin", g.Name, addresses)
		}
	}
	for _, p := range n.PoPs {
		var addresses []string
		for _, a := range p.Addresses {
			addresses = append(addresses, net.JoinHostPort(a.String(), fmt.Sprint(n.EdgeOf(p.Name).Listen.HTTPS)))
		}
		add("edge", p.Name, addresses)
	}
	for _, s := range n.DNS.Servers {
		var addresses []string
		for _, a := range s.Addresses {
			addresses = append(addresses, net.JoinHostPort(a.String(), fmt.Sprint(s.Port)))
		}
		add("dns", s.Name, addresses)
	}
	return nodes
}

// init gives the network's nodes their identities, but for those that are elsewhere, of which it says so.
func (g *group) init(n *deploy.Network, file []byte) error {
	changes, err := fleet.Init(n, file, g.dir)
	if err != nil {
		return err
	}
	away := awayOf(changes)
	g.mu.Lock()
	before := g.away
	g.away = away
	g.mu.Unlock()
	for _, c := range changes {
		if c.Away && !before[c.Node] {
			fmt.Fprintf(g.stderr, "hither: %s is not started here: `hither fleet add` made it for another machine\n", c.Node)
		}
	}
	return nil
}

// awayOf are the nodes that were made for other machines.
func awayOf(changes []fleet.Change) map[string]bool {
	away := make(map[string]bool)
	for _, c := range changes {
		if c.Away {
			away[c.Node] = true
		}
	}
	return away
}

// ours are the nodes of a network that run here.
func (g *group) ours(n *deploy.Network) []upChild {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(nodesOf(g.dir, n), func(c upChild) bool { return g.away[c.Node] })
}

// start starts what the network has and does not run yet, role by role, and waits until
// all of it is ready. The error is one line of the node that could not start.
func (g *group) start(n *deploy.Network) error {
	var wave []*child
	for _, node := range g.ours(n) {
		if g.runs(node.Node) {
			continue
		}
		if len(wave) > 0 && wave[0].Role != node.Role {
			if err := g.await(wave); err != nil {
				return err
			}
			wave = nil
		}
		c, err := g.spawn(node)
		if err != nil {
			return usage("start %s: %v", node.Node, err)
		}
		wave = append(wave, c)
	}
	return g.await(wave)
}

func (g *group) runs(node string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.children[node] != nil
}

// await waits until the children are ready.
func (g *group) await(wave []*child) error {
	for _, c := range wave {
		select {
		case <-c.ready:
		case <-c.ended:
			words := c.lastWords()
			if strings.Contains(words, "in use") {
				words += "; --net 127.N moves all of this network"
			}
			if strings.Contains(words, "cannot assign requested address") {
				words += "; a node of another machine is made with `hither fleet add --out` before the network file names it"
			}
			return usage("%s did not start: %s", c.Node, words)
		case <-time.After(time.Minute):
			return usage("%s is not ready after a minute; see %s", c.Node, filepath.Join(g.dir, "nodes", c.Node, "node.log"))
		}
	}
	return nil
}

// wait reaps the child. One that ends by itself is told of; one that crashed or was killed is
// started again only where that was asked for: killing a node is an experiment people make.
func (g *group) wait(c *child, log io.Closer) {
	defer g.wg.Done()
	err := c.cmd.Wait()
	log.Close()
	close(c.ended)
	g.mu.Lock()
	c.PID = 0
	g.mu.Unlock()
	if g.stopped() {
		return
	}
	select {
	case <-c.ready:
	default:
		return // start tells why
	}
	how := "exit status 0"
	if err != nil {
		how = err.Error()
	}
	g.note()
	fmt.Fprintf(g.stderr, "hither: %s ended (%s)\n", c.Node, how)
	if !g.restart || err == nil || !g.runs(c.Node) {
		return // one that ended well was told to drain
	}
	time.Sleep(time.Second) // a node that dies at once must not spin
	if g.stopped() {
		return
	}
	if next, err := g.spawn(c.upChild); err != nil {
		fmt.Fprintf(g.stderr, "hither: start %s again: %v\n", c.Node, err)
	} else {
		g.note()
		fmt.Fprintf(g.stderr, "hither: %s started again (process %d)\n", c.Node, next.PID)
	}
}

// note writes up.json after a node came or went by itself.
func (g *group) note() {
	if err := g.record(); err != nil {
		fmt.Fprintf(g.stderr, "hither: %v\n", err)
	}
}

func (g *group) stopped() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stopping
}

// record writes up.json.
func (g *group) record() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := upState{Schema: "hither/up/1", PID: os.Getpid(), Nodes: []upChild{}}
	for _, name := range g.order {
		s.Nodes = append(s.Nodes, g.children[name].upChild)
	}
	return writeJSON(filepath.Join(g.dir, "up.json"), s)
}

// reload checks the network file, gives new nodes their identities and starts them, and
// tells all others to read it. A bad file changes nothing; the nodes are told of it too,
// so that each keeps it aside and `hither status` shows why. The file is returned where nodes
// run it now, also where one that is new did not start; else nil.
func (g *group) reload() (file []byte) {
	path := filepath.Join(g.dir, "network.yaml")
	data, err := os.ReadFile(path)
	var n *deploy.Network
	if err == nil {
		n, err = deploy.Parse(path, data, checks...)
	}
	if err == nil {
		err = g.init(n, data)
	}
	if err == nil {
		g.retire(n)
	}
	g.signal(syscall.SIGHUP)
	if err == nil {
		file = data
		err = g.start(n)
		g.note()
	}
	if err != nil {
		fmt.Fprintf(g.stderr, "hither: the network file was not taken, the old one stays:\n%v\n", err)
		return file
	}
	fmt.Fprintln(g.stderr, "hither: network file read again")
	return file
}

// adopt makes a revision of the fleet the network file: it gives new nodes their identities and starts them, and ends those that are
// gone. The others have it from the fleet. It says whether the file is there now.
func (g *group) adopt(number int, data []byte) bool {
	path := filepath.Join(g.dir, "network.yaml")
	n, err := deploy.Parse(path, data, checks...)
	if err == nil {
		err = g.init(n, data)
	}
	if err == nil {
		err = replace(path, data)
	}
	if err == nil {
		if err := writeJSON(filepath.Join(g.dir, syncFile), agreed{number, bus.HashOf(data)}); err != nil {
			fmt.Fprintf(g.stderr, "hither: %v\n", err)
		}
		g.retire(n)
		err = g.start(n)
		g.note()
	}
	if err != nil {
		fmt.Fprintf(g.stderr, "hither: revision %d of the fleet was not taken here:\n%v\n", number, err)
		return false
	}
	fmt.Fprintf(g.stderr, "hither: the network file is revision %d of the fleet now\n", number)
	return true
}

// retire ends the nodes that the network no longer has here.
func (g *group) retire(n *deploy.Network) {
	stays := make(map[string]bool)
	for _, node := range g.ours(n) {
		stays[node.Node] = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.order = slices.DeleteFunc(g.order, func(name string) bool {
		if stays[name] {
			return false
		}
		g.children[name].link.Close()
		delete(g.children, name)
		return true
	})
}

func (g *group) signal(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.children {
		if c.PID != 0 {
			c.cmd.Process.Signal(s)
		}
	}
}

// stop lets every node drain: DNS servers first, so that they tell nobody of edges that
// go, then edges, for they need the origin until their last answer.
func (g *group) stop() {
	g.mu.Lock()
	g.stopping = true
	waves := make(map[string][]*child)
	for _, c := range g.children {
		waves[c.Role] = append(waves[c.Role], c)
	}
	g.mu.Unlock()
	for _, role := range []string{fleet.RoleDNS, fleet.RoleEdge, fleet.RoleOrigin} {
		for _, c := range waves[role] {
			c.link.Close() // not a signal: a second one would cut a node that drains already
		}
		for _, c := range waves[role] {
			<-c.ended
		}
	}
	g.wg.Wait()
	os.Remove(filepath.Join(g.dir, "up.json"))
}

// kill ends every node at once.
func (g *group) kill() { g.signal(syscall.SIGKILL) }

// lockedWriter lets several goroutines write lines to one writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
