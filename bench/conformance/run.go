package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"hither/bench/load"
	"hither/deploy"
)

// A Plan is what is to be run.
type Plan struct {
	Suite  *Suite
	Hither string        // the program
	Net    string        // 127.N, the loopback addresses of the network and the suite's origin
	Runs   int           // at least 1
	Limit  time.Duration // of one run

	// Step is told what begins now. Optional.
	Step func(what string)
}

// A Result is what came of it.
type Result struct {
	Commit    string       // of the program, by its own word
	Cases     []Scored     // a case passes if it did in every run
	Different []Difference // the cases that the runs do not agree on
}

// ErrRun marks a run that had begun and did not come to its end.
var ErrRun = errors.New("conformance: run the suite")

// Run starts the suite's origin and a network in front of it, and runs the suite's client against an edge. All of them have
// ended when it returns, and nothing of them is left on disk.
func (p Plan) Run(ctx context.Context) (Result, error) {
	addr, err := netip.ParseAddr(p.Net + ".2.1")
	if err != nil || !addr.Is4() || !strings.HasPrefix(p.Net, "127.") {
		return Result{}, fmt.Errorf("conformance: net %q: want 127.N with N from 0 to 255", p.Net)
	}
	if info, err := os.Stat(p.Hither); err != nil || info.IsDir() {
		return Result{}, &load.MissingError{Program: p.Hither, Build: "make build", Flag: "--hither"}
	}
	if p.Step == nil {
		p.Step = func(string) {}
	}
	work, err := os.MkdirTemp("", "hither-conformance-")
	if err != nil {
		return Result{}, fmt.Errorf("conformance: %w", err)
	}
	defer os.RemoveAll(work)

	told, err := output(ctx, p.Hither, exec.Command(p.Hither, "--version"), startTime)
	if err != nil {
		return Result{}, fmt.Errorf("conformance: ask for the version: %w", err)
	}
	p.Step("start the suite's origin and the network")
	origin, url, err := p.startOrigin(ctx, work, addr)
	if err != nil {
		return Result{}, err
	}
	defer origin.stop()
	network, door, err := p.startNetwork(ctx, work, url)
	if err != nil {
		return Result{}, err
	}
	defer network.stop()
	var runs [][]Scored
	for n := range p.Runs {
		p.Step(fmt.Sprintf("run %d of %d", n+1, p.Runs))
		scored, err := p.client(ctx, work, door, origin, network)
		if err != nil {
			return Result{}, err
		}
		runs = append(runs, scored)
	}
	r := Result{Commit: strings.TrimPrefix(strings.TrimSpace(string(told)), "hither version ")}
	r.Cases, r.Different = merge(runs)
	return r, nil
}

// startOrigin starts the suite's origin on a free port, and returns its URL.
func (p Plan) startOrigin(ctx context.Context, work string, at netip.Addr) (*process, string, error) {
	cmd, err := p.Suite.command(work, []string{
		"HITHER_LISTEN=" + at.String(),
		"npm_config_protocol=http", "npm_config_port=0", "npm_config_pidfile=" + filepath.Join(work, "origin.pid"),
	}, []string{scriptListen}, "test-engine/server/server.mjs")
	if err != nil {
		return nil, "", err
	}
	said := announced("hither-origin ")
	origin, err := start("the suite's origin", cmd, said)
	if err != nil {
		return nil, "", fmt.Errorf("conformance: %w", err)
	}
	url, err := origin.await(ctx, said)
	if err != nil {
		return nil, "", fmt.Errorf("conformance: %w", err)
	}
	return origin, url, nil
}

// A door is where a client finds the network.
type door struct {
	host string
	at   netip.AddrPort
	ca   string // the file with the authority that its certificate is from
}

// startNetwork starts `hither up` in front of the origin.
func (p Plan) startNetwork(ctx context.Context, work, origin string) (*process, door, error) {
	state := filepath.Join(work, "state")
	said := announced("ready")
	network, err := start("hither up", exec.Command(p.Hither, "up", "--state", state, "--net", p.Net, "--origin", origin), said)
	if err != nil {
		return nil, door{}, fmt.Errorf("conformance: %w", err)
	}
	if _, err := network.await(ctx, said); err != nil {
		return nil, door{}, fmt.Errorf("conformance: %w", err)
	}
	file, err := deploy.Load(filepath.Join(state, "network.yaml"))
	if err != nil {
		network.stop()
		return nil, door{}, fmt.Errorf("conformance: read the network's file: %w", err)
	}
	return network, door{
		host: file.Sites[0].Hosts[0],
		at:   netip.AddrPortFrom(file.PoPs[0].Addresses[0], uint16(file.Edge.Listen.HTTPS)),
		ca:   filepath.Join(state, "ca.pem"),
	}, nil
}

// client runs the suite's client once.
func (p Plan) client(ctx context.Context, work string, d door, others ...*process) ([]Scored, error) {
	cmd, err := p.Suite.command(work, []string{
		"HITHER_HOST=" + d.host, "HITHER_ADDRESS=" + d.at.Addr().String(), "NODE_EXTRA_CA_CERTS=" + d.ca,
		// No slash at the end: the client puts one behind it.
		fmt.Sprintf("npm_config_base=https://%s:%d", d.host, d.at.Port()),
		"npm_package_config_id=", // all cases
	}, []string{scriptLookup}, "test-engine/cli.mjs")
	if err != nil {
		return nil, err
	}
	out, err := output(ctx, "the suite's client", cmd, p.Limit, others...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRun, err)
	}
	results, err := readResults(out)
	if err != nil {
		return nil, fmt.Errorf("%w: the suite's client: %w", ErrRun, err)
	}
	return score(p.Suite.Cases, results), nil
}
