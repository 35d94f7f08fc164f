package peers

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"hither/bench/load"
)

//go:embed hither.yaml
var hitherNetwork string

// hitherNode is the dns node of hither.yaml.
const hitherNode = "ns1"

// hitherFile is its network file, moved from 127.0 to net.
func hitherFile(net string) (text string, at netip.AddrPort, err error) {
	at, err = netip.ParseAddrPort(net + ".0.1:5300")
	if err != nil || !strings.HasPrefix(net, "127.") {
		return "", at, fmt.Errorf("peers: net %q: %w", net, errNet)
	}
	return strings.ReplaceAll(hitherNetwork, "127.0.", net+"."), at, nil
}

// StartHither starts `hither dns` from identities of its own. It keeps its state in dir, which is empty, and answers at
// net.0.1, where net is 127.N.
func StartHither(ctx context.Context, program, dir, net string, core int) (*DNSServer, error) {
	text, at, err := hitherFile(net)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, &load.MissingError{Program: program, Build: "make build", Flag: "--hither"}
	}
	network, fleet := filepath.Join(dir, "network.yaml"), filepath.Join(dir, "fleet")
	if err := os.WriteFile(network, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("peers: %s --version: %w", program, err)
	}
	if out, err := exec.CommandContext(ctx, program, "fleet", "init", "--network", network, "--out", fleet).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("peers: %s fleet init: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	s := &DNSServer{process: process{Name: "hither"}, Version: strings.TrimPrefix(strings.TrimSpace(string(out)), "hither version "), Addr: at}
	return s, startDNS(ctx, s, core, exec.Command(program, "dns", "--name", hitherNode,
		"--state", filepath.Join(fleet, "nodes", "dns-"+hitherNode), "--network", network, "--log-level", "warn"))
}
