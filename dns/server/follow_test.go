package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// TestFollow has a server hear edges over a real hub, and go on when it is gone.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	authority, err := fleet.OpenAuthority(filepath.Join(dir, "authority"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	identity := func(role, name string) *fleet.Identity {
		folder := filepath.Join(dir, role+"-"+name, "identity")
		if _, err := authority.Issue(folder, role, name, nil); err != nil {
			t.Fatal(err)
		}
		id, err := fleet.LoadIdentity(folder)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	h, err := hub.Start(hub.Options{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Folder: filepath.Join(dir, "hub"), Identity: identity(fleet.RoleOrigin, "us"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	dial := func(role, name string) *bus.Conn {
		c, err := bus.Dial(bus.Options{URLs: []string{h.URL()}, Identity: identity(role, name), Embedded: "us", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		within(t, role+"-"+name+" is let in", c.Connected)
		return c
	}

	s := bare(t, strings.Replace(localFile(t), "  servers: [", "  servers: [{name: ns2, addresses: [192.0.2.2]}, ", 1))
	ns := dial(fleet.RoleDNS, "ns1")
	if err := s.Follow(ns); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := ns.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	iad, stranger := dial(fleet.RoleEdge, "iad"), dial(fleet.RoleEdge, "mars")
	say := func(c *bus.Conn, subject string, data []byte) {
		t.Helper()
		if err := c.Publish(subject, data); err != nil {
			t.Fatal(err)
		}
	}
	say(iad, bus.UpSubject(fleet.RoleEdge, "iad", bus.UpReport), bus.Encode(bus.Report{State: "ready", Load: 0.5}))
	within(t, "the load is known", func() bool {
		_, all := candidates(t, s, newYork)
		return all["iad"].Load != nil && *all["iad"].Load == 0.5
	})
	say(iad, bus.UpSubject(fleet.RoleEdge, "iad", bus.UpReport), bus.Encode(bus.Report{State: "ready", Load: 0.8}))
	ns2 := dial(fleet.RoleDNS, "ns2")
	sheds := &bus.Sheds{PoPs: map[string]bus.Shed{"iad": {Part: 0.3}}}
	say(ns2, bus.UpSubject(fleet.RoleDNS, "ns2", bus.UpReport), bus.Encode(bus.Report{State: "ready", Sheds: sheds}))
	within(t, "what ns2 sends on is taken over", func() bool {
		s.tick()
		_, all := candidates(t, s, newYork)
		return all["iad"].Shed == 0.3
	})
	say(iad, bus.UpSubject(fleet.RoleEdge, "iad", bus.UpRTT), bus.Encode(bus.RTTReport{Prefixes: []bus.PrefixRTT{{Prefix: netip.MustParsePrefix(newYork), MS: 250, Samples: 7}}}))
	within(t, "iad has lost its client", func() bool {
		s.tick()
		answer, _ := candidates(t, s, newYork)
		return answer[0] == "fra"
	})
	say(iad, bus.UpSubject(fleet.RoleEdge, "iad", bus.UpReport), []byte("nonsense"))
	say(stranger, bus.UpSubject(fleet.RoleEdge, "mars", bus.UpReport), bus.Encode(bus.Report{State: "ready"}))
	// Another's name is nobody's to use: the hub passes none of it on.
	say(stranger, bus.UpSubject(fleet.RoleEdge, "fra", bus.UpReport), bus.Encode(bus.Report{State: "draining"}))
	within(t, "garbage and strangers are counted", func() bool {
		m := dnsMetrics(s)
		return strings.Contains(m, `pop="iad",result="garbage"} 1`) && strings.Contains(m, `pop="other",result="stranger"} 1`)
	})
	if answer, _ := candidates(t, s, newYork); answer[0] != "fra" {
		t.Errorf("answered %v", answer)
	}

	h.Close()
	within(t, "the hub is away", func() bool { return !ns.Connected() })
	if answer, all := candidates(t, s, newYork); answer[0] != "fra" || all["iad"].RTT == nil {
		t.Errorf("without the hub: answered %v, %+v", answer, all["iad"])
	}
	s.mu.Lock()
	for _, end := range s.unfollow {
		end()
	}
	s.mu.Unlock()
}

// within fails where something does not come true.
func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	each := time.NewTicker(5 * time.Millisecond)
	defer each.Stop()
	end := time.After(20 * time.Second)
	for !is() {
		select {
		case <-each.C:
		case <-end:
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// TestFillReport has the report say what the status says.
func TestFillReport(t *testing.T) {
	s := bare(t, localFile(t))
	var r bus.Report
	s.FillReport(&r)
	if r.State != "starting" || !strings.Contains(string(r.Status), `"hither/status/1"`) || fmt.Sprint(r.Requests) != "0" {
		t.Errorf("%+v", r)
	}
}
