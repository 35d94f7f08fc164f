package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hither/deploy"
)

// TestCheckAsksTheRoles holds `hither check` to what a role would refuse: told with line and column, before anything starts.
func TestCheckAsksTheRoles(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.zone")
	if err := os.WriteFile(broken, []byte("$TTL 300\nmail A 192.0.2.1\nmail CNAME www\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"disk: 0B", "disk: 1MiB", ":16:33: disk: 1MiB is too little for a disk tier; the least is 16MiB, and 0B is none"},
		{"# shield: iad  ", "shield: iad #", "shield: PoP `iad` has no port for the others"},
		{"rules: []", `rules: [{path: "*", key: {headers: [X-Country, x-real-ip]}}]`, "headers: x-real-ip cannot choose: an edge makes it itself, does not pass it on, or judges by it already"},
		{"certificate: local", "certificate: acme", "certificate: this version orders no certificates"},
		{"static: {folder: \"\", cache_control: \"public, max-age=60\"}", "discover: {fleet: app}", "fleet: this version has no table of the fleet's servers"},
		{`ns1 300 A 127.0.0.1`, `ns1 300 A one`, "records:"},
		{`ns1 300 A 127.0.0.1`, `ns1 300 A 127.0.0.1", "www 300 A 127.0.0.2`, "www"},
		{"dnssec: off", "dnssec: on", "dnssec: this program cannot sign zones"},
		{`database: ""`, `database: "/nowhere/city.mmdb"`, "database: stat /nowhere/city.mmdb"},
		{"dnssec: off", "file: " + broken, broken + ":3:1: "},
	} {
		text := string(deploy.Example())
		if !strings.Contains(text, c.from) {
			t.Fatalf("the example has no %q", c.from)
		}
		file := filepath.Join(dir, "network.yaml")
		if err := os.WriteFile(file, []byte(strings.Replace(text, c.from, c.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), []string{"check", file}, &stdout, &stderr)
		if status != exitWrong || !strings.Contains(stdout.String(), c.want) || stderr.Len() > 0 {
			t.Errorf("%s: status %d\n%s%s\nwant %s", c.to, status, &stdout, &stderr, c.want)
		}
		for line := range strings.Lines(stdout.String()) {
			var l, col int
			_, place, _ := strings.Cut(line, ":")
			if _, err := fmt.Sscanf(place, "%d:%d:", &l, &col); err != nil {
				t.Errorf("%s: %q has no place", c.to, line)
			}
		}
	}
}
