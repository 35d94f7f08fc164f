package peers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"hither/bench/load"
)

// A dnsPeer is how a server that is not ours is found, told what to answer, and started.
type dnsPeer struct {
	name    string
	program string
	module  string // a pattern of the file that has its answers by subnet; "" where the program has them
	pkg     string // Debian's, of all of it
	version []string
	files   [][2]string // of this folder, and what they are in the peer's own
	args    []string    // DIR is the peer's folder
	host    byte        // of net.0.host, its address
}

// dnsPeers are the peers, in the order of the table. All run in the foreground as one process: what the kernel accounts to that
// is all they use, and it ends with us.
var dnsPeers = []dnsPeer{{
	name: "gdnsd", program: "gdnsd", pkg: "gdnsd", version: []string{"version"}, host: 2,
	files: [][2]string{{"gdnsd.conf", "config"}, {"gdnsd.zone", "zones/bench.test"}, {"gdnsd.nets", "geoip/nets"}},
	args:  []string{"-c", "DIR", "start"},
}, {
	name: "knot", program: "knotd", pkg: "knot and its knot-module-geoip", version: []string{"--version"}, host: 3,
	module: "/usr/lib/*/knot/modules-*/geoip.so",
	files:  [][2]string{{"knot.conf", "knot.conf"}, {"knot.zone", "bench.test.zone"}, {"knot.geo", "geo.conf"}},
	args:   []string{"--config", "DIR/knot.conf"},
}, {
	name: "powerdns", program: "pdns_server", pkg: "pdns-server and its pdns-backend-geoip", version: []string{"--version"}, host: 4,
	module: "/usr/lib/*/pdns/libgeoipbackend.so",
	files:  [][2]string{{"powerdns.conf", "pdns.conf"}, {"powerdns.yaml", "zones.yaml"}},
	args:   []string{"--config-dir=DIR"},
}}

// DNSPeers are the names of the servers that hither can be compared with.
func DNSPeers() []string {
	var names []string
	for _, p := range dnsPeers {
		names = append(names, p.name)
	}
	return names
}

// StartDNSPeer starts one of [DNSPeers], which is told the same as hither: places. It keeps all it has in dir, which is made, and
// answers at an address of net, 127.N, that no other has. What is not on this machine is a [load.MissingError].
func StartDNSPeer(ctx context.Context, name, dir, net string, places *Places, core int) (*DNSServer, error) {
	for i := range dnsPeers {
		if dnsPeers[i].name == name {
			return dnsPeers[i].run(ctx, dir, net, places, core)
		}
	}
	return nil, fmt.Errorf("peers: no server %q: there are %s", name, strings.Join(DNSPeers(), ", "))
}

func (p *dnsPeer) run(ctx context.Context, dir, net string, places *Places, core int) (*DNSServer, error) {
	_, at, err := hitherFile(net)
	if err != nil {
		return nil, err
	}
	b := at.Addr().As4()
	b[3] = p.host
	at = netip.AddrPortFrom(netip.AddrFrom4(b), at.Port())
	program, err := find(p.program, p.pkg)
	if err != nil {
		return nil, err
	}
	version, err := p.versionOf(ctx, program)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"run", "db"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("peers: %w", err)
		}
	}
	config := dnsConfig{Dir: dir, Addr: at, PoPs: places.PoPs, Prefixes: places.Prefixes()}
	for _, f := range p.files {
		if err := config.write(f[0], f[1]); err != nil {
			return nil, err
		}
	}
	var args []string
	for _, a := range p.args {
		args = append(args, strings.ReplaceAll(a, "DIR", dir))
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	s := &DNSServer{process: process{Name: p.name}, Version: version, Addr: at}
	if err := startDNS(ctx, s, core, cmd); err != nil {
		if lack := p.lacks(); lack != nil {
			return nil, lack
		}
		return nil, err
	}
	return s, nil
}

// lacks is what the peer did not start for the lack of; nil where it was something else. A program may have its module built in,
// so this is asked after it did not start.
func (p *dnsPeer) lacks() error {
	if p.module == "" {
		return nil
	}
	if found, err := filepath.Glob(p.module); err == nil && len(found) > 0 {
		return nil
	}
	return &load.MissingError{Program: p.program + "'s " + filepath.Base(p.module), Package: p.pkg}
}

// versionOf asks a program for its version, which gdnsd tells with a status of 2, and PowerDNS as a line of its log.
func (p *dnsPeer) versionOf(ctx context.Context, program string) (string, error) {
	out, err := exec.CommandContext(ctx, program, p.version...).CombinedOutput()
	found := versionNumber.Find(out)
	switch {
	case found != nil:
		return string(found), nil
	case err == nil:
		err = errNoVersion
	}
	return "", fmt.Errorf("peers: %s %s tells no version: %w", program, strings.Join(p.version, " "), err)
}

var (
	versionNumber = regexp.MustCompile(`\b\d+\.\d+\.\d+\b`)
	errNoVersion  = errors.New("want three numbers with points between")
)
