package contest

import (
	"strings"
	"testing"
)

func TestCases(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range Cases() {
		if seen[c.String()] {
			t.Errorf("%v twice", c)
		}
		seen[c.String()] = true
		if c.Client == wrkName && c.Protocol != "h1" || c.Client == h2loadName && c.Protocol != "h2" || c.Protocol == "h3" && c.Client != benchName {
			t.Errorf("%v by %s, which does not speak it", c, c.Client)
		}
		if c.Client == h2loadName && c.Kind == Miss {
			t.Errorf("%v by %s: its connections ask for the same", c, c.Client)
		}
		if c.Kind != Idle && (c.Connections < 1 || c.Streams < 1 || c.Protocol == "h1" && c.Streams > 1) {
			t.Errorf("%v by %d connections with %d streams", c, c.Connections, c.Streams)
		}
	}
	for _, must := range []string{
		"hit/h1/1k", "hit/h1/16k", "hit/h1/1m", "hit/h2/1k", "hit/h2/16k", "hit/h2/1m", "hit/h3/1k", "hit/h3/16k", "hit/h3/1m",
		"miss/h1/1k", "miss/h2/1k", "miss/h3/1k", "proxy/h1/1k", "proxy/h2/1k", "proxy/h3/1k",
		"handshake-full/h1/1k", "handshake-resumed/h1/1k", "handshake-full/h3/1k", "handshake-resumed/h3/1k", "idle/h1/1k", "idle/h2/1k", "idle/h3/1k",
	} {
		if !seen[must] {
			t.Errorf("no %s", must)
		}
	}
}

func TestSelect(t *testing.T) {
	for names, want := range map[string]string{
		"":                       "",
		"hit/h1":                 "hit/h1/1k hit/h1/16k hit/h1/1m",
		"miss/h3/1k":             "miss/h3/1k",
		"idle hit/h2/1m":         "hit/h2/1m idle/h1/1k idle/h2/1k idle/h3/1k",
		"hit/h2/1m hit/h2/1m":    "hit/h2/1m",
		"handshake-full":         "handshake-full/h1/1k handshake-full/h3/1k",
		"proxy/h3 handshake-res": "?no case \"handshake-res\": want KIND[/PROTOCOL[/SIZE]] of hit, handshake-full, handshake-resumed, idle, proxy, miss",
		"proxy/h3/1m":            "?no case",
	} {
		got, err := Select(strings.Fields(names))
		if why, wrong := strings.CutPrefix(want, "?"); wrong {
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v, want %q", names, err, why)
			}
			continue
		}
		var all []string
		for _, c := range got {
			all = append(all, c.String())
		}
		if want == "" {
			if len(got) != len(Cases()) {
				t.Errorf("all: %v", all)
			}
		} else if strings.Join(all, " ") != want {
			t.Errorf("%s: %v, want %s", names, all, want)
		}
		if err != nil {
			t.Errorf("%s: %v", names, err)
		}
	}
}
