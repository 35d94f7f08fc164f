package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// A lone hub has no control.
type loneHub struct {
	*hub.Hub
	t         *testing.T
	dir       string // with authority/ and operator/
	authority *fleet.Authority
	gateway   *fleet.Identity
}

func newLoneHub(t *testing.T) *loneHub {
	t.Helper()
	l := &loneHub{t: t, dir: t.TempDir()}
	l.certify()
	l.start("127.0.0.1:0")
	t.Cleanup(func() { l.Close() })
	l.operator("operator")
	return l
}

// certify makes an authority, and the gateway's identity. Those that there are take its place.
func (l *loneHub) certify() {
	l.t.Helper()
	var err error
	gateway := filepath.Join(l.dir, "origin-us")
	for _, old := range []string{filepath.Join(l.dir, "authority"), gateway} {
		if err := os.RemoveAll(old); err != nil {
			l.t.Fatal(err)
		}
	}
	if l.authority, err = fleet.OpenAuthority(filepath.Join(l.dir, "authority"), "demo"); err != nil {
		l.t.Fatal(err)
	}
	if _, err = l.authority.Issue(gateway, fleet.RoleOrigin, "us", nil); err != nil {
		l.t.Fatal(err)
	}
	if l.gateway, err = fleet.LoadIdentity(gateway); err != nil {
		l.t.Fatal(err)
	}
}

func (l *loneHub) start(listen string) {
	l.t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); ; {
		l.Hub, err = hub.Start(hub.Options{
			Listen: netip.MustParseAddrPort(listen), Folder: filepath.Join(l.dir, "hub"), Identity: l.gateway, Log: slog.New(slog.DiscardHandler),
		})
		if err == nil {
			return
		}
		if time.Now().After(end) { // somebody may have had the port for a connection of its own
			l.t.Fatal(err)
		}
	}
}

// operator makes the identity of the operator main in a folder, anew.
func (l *loneHub) operator(folder string) {
	l.t.Helper()
	folder = filepath.Join(l.dir, folder)
	if err := os.RemoveAll(folder); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.authority.Issue(folder, fleet.RoleOperator, fleet.FirstOperator, &deploy.Hub{URLs: []string{l.URL()}, EmbeddedIn: "us"}); err != nil {
		l.t.Fatal(err)
	}
}

// fails runs the program, wants status 1, and words in what it says.
func (l *loneHub) fails(words []string, args ...string) {
	l.t.Helper()
	var out, err bytes.Buffer
	got := run(l.t.Context(), append(args, "--state", l.dir), &out, &err)
	for _, w := range words {
		if !strings.Contains(err.String(), w) {
			l.t.Errorf("hither %s: %q is not in\n%s", strings.Join(args, " "), w, &err)
		}
	}
	if got != exitWrong {
		l.t.Errorf("hither %s: status %d\n%s%s", strings.Join(args, " "), got, &out, &err)
	}
}

// TestRefusedOperator has operators ask whom the hub does not take, or who do not take the hub: they hear that, and what to do.
func TestRefusedOperator(t *testing.T) {
	l := newLoneHub(t)
	if err := l.gateway.SetRevoked(map[string]time.Time{"operator-main": time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	l.fails([]string{"refuses", "operator-main was revoked.", "hither fleet add operator main --again"}, "fleet", "nodes")
	l.fails([]string{"refuses"}, "purge", "all")
	at := l.Addr()
	l.Close()
	l.fails([]string{"the hub does not answer"}, "fleet", "nodes")
	l.certify()
	l.start(at)
	l.fails([]string{"not known to this identity", "rotated", "fleet-ca.pem"}, "fleet", "nodes")
}

// TestCutOperator has the hub end an operator's connection while it waits for an answer: what it asked may have been done, and it hears where to look.
func TestCutOperator(t *testing.T) {
	l := newLoneHub(t)
	lead, err := bus.Dial(l.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer lead.Close()
	for _, verb := range []string{"purge", "nodes"} {
		unsubscribe, err := lead.Subscribe(bus.ControlSubject(fleet.FirstOperator, verb), func(*bus.Message) {
			l.Kick(fleet.Peer{Role: fleet.RoleOperator, Name: fleet.FirstOperator, Network: "demo"})
		})
		if err != nil {
			t.Fatal(err)
		}
		defer unsubscribe()
	}
	ctx, cancel := context.WithTimeout(t.Context(), answerTime)
	defer cancel()
	if err := lead.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	l.fails([]string{"the hub does not answer", "it may have been taken: `hither fleet purges` tells"}, "purge", "all", "--wait")
	l.fails([]string{"the hub does not answer"}, "fleet", "nodes")
}

// TestControlBegins asks a control that begins only then, as after a start of the hub, and one that never does.
func TestControlBegins(t *testing.T) {
	l := newLoneHub(t)
	lead, err := bus.Dial(l.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer lead.Close()
	l.fails([]string{"no control does; nothing was done"}, "fleet", "token", "list")
	var asked atomic.Int64
	begin := time.AfterFunc(dialTime/5, func() {
		lead.Subscribe(bus.ControlSubject(fleet.FirstOperator, "token-list"), func(m *bus.Message) {
			asked.Add(1)
			m.Respond(bus.Encode(bus.Answer{Status: 200, Doc: []byte(`{"tokens":[]}`)}))
		})
	})
	defer begin.Stop()
	var out, fault bytes.Buffer
	if got := run(t.Context(), []string{"fleet", "token", "list", "--state", l.dir}, &out, &fault); got != 0 || asked.Load() != 1 {
		t.Errorf("status %d, asked %d times: %s%s", got, asked.Load(), &out, &fault)
	}
}
