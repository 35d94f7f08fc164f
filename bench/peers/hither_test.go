package peers

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hither/bench/load"
	"hither/deploy"
)

// TestHitherFile holds the file to what the program demands, and to what the questions ask for.
func TestHitherFile(t *testing.T) {
	text, at, err := hitherFile("127.42")
	if err != nil {
		t.Fatal(err)
	}
	n, err := deploy.Parse("hither.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	server := n.Server(hitherNode)
	if server == nil || netip.AddrPortFrom(server.Addresses[0], uint16(server.Port)) != at {
		t.Errorf("the server is %+v, and asked at %s", server, at)
	}
	if name := n.Zones[0].Steered[0].Name + "." + n.Zones[0].Name + "."; name != Name {
		t.Errorf("steered is %s, and asked for %s", name, Name)
	}
	if strings.Contains(text, "127.0.") {
		t.Error("an address was not moved")
	}
	for _, other := range []string{"", "127", "10.1", "127.256", "127.1.2", "::1", "127.x"} {
		if _, _, err := hitherFile(other); !errors.Is(err, errNet) {
			t.Errorf("net %q: %v", other, err)
		}
	}
}

// script writes a program that stands for hither.
func script(t *testing.T, body string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hither")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestStartHitherFails shows each way, and that nothing is left.
func TestStartHitherFails(t *testing.T) {
	cores, err := load.Cores()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, program, why string }{
		{"no program", "/nowhere/hither", "make build"},
		{"no program of ours", script(t, "exit 3"), "--version: exit status 3"},
		{"no identities", script(t, `[ "$1" = --version ] || { echo no room; exit 1; }`), "fleet init: exit status 1: no room"},
		{"ends at once", script(t, `[ "$1" != dns ] || { echo first; echo no port; exit 1; }`), "hither ended at once: no port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := StartHither(t.Context(), c.program, t.TempDir(), "127.42", cores[0])
			if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, c.why)
			}
		})
	}
}

// TestTaken has somebody else answer at the address.
func TestTaken(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if err := free(at); err == nil || !strings.Contains(err.Error(), "--net") {
		t.Errorf("a taken address: %v", err)
	}
	conn.Close()
	if err := free(at); err != nil {
		t.Errorf("a free address: %v", err)
	}
}
