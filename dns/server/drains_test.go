package server

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet/bus"
)

// A server that starts while the hub is away leaves out whom it left out before: who drains and who was revoked. What is taken back is kept
// as well, and a file that cannot be read ends no start.
func TestDrainsOutlastRestart(t *testing.T) {
	file := localFile(t)
	h := newHouse(t, file)
	n, since := h.network, time.Unix(1_700_000_001, 0).UTC()
	path := filepath.Join(h.server.o.State, drainsFile)
	struck := func(what, iad, sin string) {
		t.Helper()
		_, all := candidates(t, h.server, newYork)
		for pop, want := range map[string]string{"iad": iad, "sin": sin} {
			got := ""
			if why := all[pop].Struck; why != nil {
				got = *why
			}
			if got != want {
				t.Errorf("%s: %s is struck out for %q, want %q", what, pop, got, want)
			}
		}
	}
	h.server.Drained("iad", &bus.Drain{Since: since, By: "main"})
	h.server.Drained("sin", &bus.Drain{By: "main", Revoked: since})
	struck("told", "draining", "revoked")
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C { // not at its end alone
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte("iad")) && bytes.Contains(data, []byte("sin")) {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal("the drains are not in the state folder")
		}
	}
	h.stop(t)
	h.run(t, n, file)
	struck("started again", "draining", "revoked")
	if pops := h.server.Drains(); len(pops) != 2 || !slices.Contains(pops, "iad") || !slices.Contains(pops, "sin") {
		t.Errorf("it knows of %v", pops)
	}
	h.server.Drained("iad", nil)
	h.stop(t)
	h.run(t, n, file)
	struck("and once more, when one was taken back", "", "revoked")
	h.stop(t)

	for what, text := range map[string]string{"damaged": `{"v":1,"drains":{`, "of a newer version": `{"v":9}`, "too large": strings.Repeat(" ", bus.MostMessage+1)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		h.run(t, n, file, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		struck(what, "", "")
		h.stop(t)
		if !strings.Contains(log.String(), drainsFile) {
			t.Errorf("%s: the log says %s", what, &log)
		}
	}
}
