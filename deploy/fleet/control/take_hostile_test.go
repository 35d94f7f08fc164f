package control

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
)

// TestTakeHostile gives a gateway hubs to take that are none: it says why, and what it had is as it was.
func TestTakeHostile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	eu := w.identity(fleet.RoleOrigin, "eu")
	archive := func(network, name, data string) []byte {
		var b bytes.Buffer
		a := fleet.NewArchive(&b, network, time.Now())
		a.Manifest().Hub, a.Manifest().Move, a.Manifest().Journal = true, true, "a"
		if err := errors.Join(a.Add(name, []byte(data)), a.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good := archive("demo", "hub/TABLES.000001", `{"subject":"table.drain.fra","sequence":1,"data":"e30="}`+"\n")
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"junk":            {[]byte(strings.Repeat("junk", 1000)), "this is no backup"},
		"cut short":       {good[:len(good)-2048], "no backup"},
		"another network": {archive("other", "hub/TABLES.000001", ""), "of network other"},
		"a command":       {archive("demo", "hub/TABLES.000001", `{"subject":"table.drain.fra\t0\r\n\r\nPUB\tx\t0","sequence":1}`+"\n"), "an entry 1 of"},
		"a far journal": {archive("demo", "hub/JOURNAL.000001", `{"subject":"journal","sequence":18446744073709551615,"data":""}`+"\n"),
			"an entry 18446744073709551615 of"},
		"no part": {nil, "a part of no move"},
	} {
		t.Run(name, func(t *testing.T) {
			state := t.TempDir()
			kept := filepath.Join(state, "hub", "kept")
			if err := errors.Join(os.MkdirAll(filepath.Dir(kept), 0o700), os.WriteFile(kept, []byte("x"), 0o600)); err != nil {
				t.Fatal(err)
			}
			taker := NewTaker(TakerOptions{Identity: eu, State: state, Network: func() *deploy.Network { return w.network }, Log: slog.New(slog.DiscardHandler)})
			defer taker.Close()
			p := Part{Move: "m", From: "us", Listen: netip.MustParseAddrPort("127.0.0.1:40222"), Data: c.data, Last: true}
			if c.data == nil {
				p.Listen = netip.AddrPort{}
			}
			why := ""
			if _, err := taker.Take(p); err != nil {
				why = err.Error()
			} else {
				w.until("it has failed", func() bool { return taker.Doc().State == TakeFailed })
				why = taker.Doc().Why
			}
			if !strings.Contains(why, c.want) {
				t.Errorf("it says %q, wanted %q", why, c.want)
			}
			if data, err := os.ReadFile(kept); err != nil || string(data) != "x" {
				t.Errorf("what was there: %q, %v", data, err)
			}
			if _, err := os.Stat(filepath.Join(state, nextFolder)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what it took is still there: %v", err)
			}
		})
	}
}
