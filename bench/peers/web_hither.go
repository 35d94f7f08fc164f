package peers

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"hither/bench/load"
	"hither/deploy/ops"
)

//go:embed web.yaml
var webNetwork string

// Nodes of web.yaml.
const (
	webEdge   = "fra"
	webOrigin = "us"
)

// webFile is its network file for a bench.
func (b *Bench) webFile(dir string) (text string, at, gateway netip.AddrPort, err error) {
	at, gateway = b.at(".1.1", WebPort), b.at(".0.1", 9443)
	t, err := template.New("web.yaml").Option("missingkey=error").Parse(webNetwork)
	if err != nil {
		return "", at, gateway, fmt.Errorf("peers: %w", err)
	}
	var out strings.Builder
	d := struct {
		webData
		Net   string
		NoHub bool
	}{b.data(dir, at), b.Net, b.NoHub}
	if err := t.Execute(&out, d); err != nil {
		return "", at, gateway, fmt.Errorf("peers: %w", err)
	}
	return out.String(), at, gateway, nil
}

// HitherVersion asks the program; one that is not there is a [load.MissingError].
func HitherVersion(ctx context.Context, program string) (string, error) {
	if _, err := os.Stat(program); err != nil {
		return "", &load.MissingError{Program: program, Build: "make build", Flag: "--hither"}
	}
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("peers: %s --version: %w", program, err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "hither version "), nil
}

// StartHitherWeb starts `hither edge`, which is measured, and `hither origin`, its gateway to the upstream, which is not: the
// gateway stands beside the origin, wherever that is.
func StartHitherWeb(ctx context.Context, program string, b *Bench) (*WebServer, error) {
	version, err := HitherVersion(ctx, program)
	if err != nil {
		return nil, err
	}
	dir, err := b.folder("hither")
	if err != nil {
		return nil, err
	}
	text, at, gateway, err := b.webFile(dir)
	if err != nil {
		return nil, err
	}
	network, fleet := filepath.Join(dir, "network.yaml"), filepath.Join(dir, "fleet")
	if err := os.WriteFile(network, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	if out, err := exec.CommandContext(ctx, program, "fleet", "init", "--network", network, "--out", fleet).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("peers: %s fleet init: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	for _, at := range []netip.AddrPort{at, gateway} {
		if err := freeTCP(at); err != nil {
			return nil, fmt.Errorf("peers: start hither: %w", err)
		}
	}
	node := func(role, name string, more ...string) *exec.Cmd {
		args := []string{role, "--name", name, "--state", filepath.Join(fleet, "nodes", role+"-"+name), "--network", network, "--log-level", "error"}
		return exec.Command(program, append(args, more...)...)
	}
	s := &WebServer{Name: "hither", Version: version, Addr: at, folder: dir, state: filepath.Join(fleet, "nodes", "edge-"+webEdge)}
	if err := s.run(ctx, b, "hither origin", false, node("origin", webOrigin), listening("tcp", gateway.String())); err != nil {
		return nil, err
	}
	access := ""
	if b.Log {
		access = filepath.Join(dir, "access.log")
	}
	if err := s.run(ctx, b, "hither edge", true, node("edge", webEdge, "--access-log", access, "--access-format", "combined"), listening("tcp", at.String())); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Admin is the way to what hither's edge serves its operator, such as profiles: "http://node/debug/pprof/profile".
func (s *WebServer) Admin() *http.Client { return ops.Dial(s.state).HTTP() }

// AtHub asks hither's edge whether it is connected to its hub, to which it reports.
func (s *WebServer) AtHub(ctx context.Context) (bool, error) {
	var status ops.Status
	if err := ops.Dial(s.state).Get(ctx, "/v1/status", &status); err != nil {
		return false, fmt.Errorf("peers: ask hither's edge: %w", err)
	}
	return status.Hub.Connected, nil
}
