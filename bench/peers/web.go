package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"hither/bench/load"
)

// WebName is the site that every web server serves.
const WebName = "www.bench.test"

// WebPort is where each listens, TCP and, with HTTP/3, UDP.
const WebPort = 8443

// WebAuthority is what requests name.
const WebAuthority = "www.bench.test:8443"

// A Bench is what all web servers of one have in common.
type Bench struct {
	Self   string // this program, to be started again with [HoldCommand]
	Folder string // its name begins with hither-bench-; each server has one of its own below
	Net    string // 127.N: the addresses that servers take
	Server int    // the core of what is measured
	Client int    // the core of all else

	Upstream    netip.AddrPort // where objects come from
	Objects     string         // a folder with the same, for what serves files
	Certificate Certificate
	Log         bool // servers log accesses
	Connections int  // that clients may have open at once
	NoHub       bool // hither's nodes have none to report to
}

// A WebServer runs, and serves the bench's objects for [WebAuthority].
type WebServer struct {
	Name    string
	Version string
	Addr    netip.AddrPort

	parts   []*process // that are measured, in the order in which they were started
	helpers []*process // that are not
	folder  string     // of its files; "" = it has none
	state   string     // of hither's edge
}

// PIDs are processes whose descendants are the server; see [load.ReadTree].
func (s *WebServer) PIDs() []int { return pids(s.parts) }

// HelperPIDs are the same of what it needs beside it, and is not measured as its own.
func (s *WebServer) HelperPIDs() []int { return pids(s.helpers) }

func pids(of []*process) (ids []int) {
	for _, p := range of {
		ids = append(ids, p.PID())
	}
	return ids
}

// Alive is nil while all of the server runs, and else says how it ended.
func (s *WebServer) Alive() error {
	for _, p := range slices.Concat(s.parts, s.helpers) {
		if err := p.Alive(); err != nil {
			return err
		}
	}
	return nil
}

// Dead is [WebServer.Alive] of a server that has just failed: clients see its end before we do, so it is given a second.
func (s *WebServer) Dead() error {
	all := slices.Concat(s.parts, s.helpers)
	if len(all) == 0 {
		return nil
	}
	ctx, over := context.WithTimeout(context.Background(), time.Second)
	defer over()
	for _, p := range all {
		go func() {
			select {
			case <-p.ended:
				over()
			case <-ctx.Done():
			}
		}()
	}
	<-ctx.Done()
	return s.Alive()
}

// Stop ends the server, what was started last first; all of it has ended when Stop returns, and its files are gone: the next one's
// may need the memory.
func (s *WebServer) Stop() {
	for _, of := range [][]*process{s.parts, s.helpers} {
		for _, p := range slices.Backward(of) {
			p.Stop()
		}
	}
	if s.folder != "" {
		os.RemoveAll(s.folder) // else it goes with the bench's
	}
}

// run starts a program as a part of the server, and returns once ready says that it works.
func (s *WebServer) run(ctx context.Context, b *Bench, name string, measured bool, cmd *exec.Cmd, ready func(context.Context) bool) error {
	p := &process{Name: name, patience: holderTime}
	core := b.Client
	if measured {
		core = b.Server
	}
	if err := p.start(ctx, core, held(b.Self, b.Folder, cmd), ready); err != nil {
		return err
	}
	if measured {
		s.parts = append(s.parts, p)
	} else {
		s.helpers = append(s.helpers, p)
	}
	return nil
}

// at is an address of the bench.
func (b *Bench) at(rest string, port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(b.Net+rest), uint16(port))
}

// Files is how many a server may have open: a client's connection, one to the upstream and a file of the cache, twice, and some.
func (b *Bench) Files() int { return 4*b.Connections + 4000 }

// Check finds what is wrong with the bench's addresses.
func (b *Bench) Check() error {
	if _, _, err := hitherFile(b.Net); err != nil {
		return err
	}
	return nil
}

// free finds out that nobody listens at an address. Else who does would be measured.
func freeTCP(at netip.AddrPort) error {
	l, err := net.Listen("tcp", at.String())
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken, by another bench maybe: choose other addresses with --net 127.N", at)
	case err != nil:
		return err
	}
	return l.Close()
}

// listening reports whether somebody takes connections at an address.
func listening(network, at string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		d := net.Dialer{Timeout: 200 * time.Millisecond}
		conn, err := d.DialContext(ctx, network, at)
		return err == nil && conn.Close() == nil
	}
}

// StartUpstream starts the origin of all servers, as a process on the clients' core.
func (b *Bench) StartUpstream(ctx context.Context) (*WebServer, error) {
	b.Upstream = b.at(".2.1", 8000)
	s := &WebServer{Name: "upstream", Addr: b.Upstream}
	if err := freeTCP(s.Addr); err != nil {
		return nil, fmt.Errorf("peers: start upstream: %w", err)
	}
	return s, s.run(ctx, b, s.Name, false, exec.Command(b.Self, UpstreamCommand, s.Addr.String()), listening("tcp", s.Addr.String()))
}

// UpstreamCommand is the first argument that has this program be the upstream, at the address that follows.
const UpstreamCommand = "upstream"

// find is where a program is. Debian keeps servers where only root looks for them.
func find(program, debian string) (string, error) {
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, program))
	}
	if err != nil {
		return "", &load.MissingError{Program: program, Package: debian}
	}
	return path, nil
}

// folder makes the one of a server.
func (b *Bench) folder(name string) (string, error) {
	dir := filepath.Join(b.Folder, name)
	if err := os.RemoveAll(dir); err != nil { // of a start before
		return "", fmt.Errorf("peers: make a folder: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("peers: make a folder: %w", err)
	}
	return dir, nil
}
