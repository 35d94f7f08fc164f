package hub

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// lines is what a log says.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.text.Bytes(), []byte(text))
}

// TestMend has a disk with room take nothing, as under a quota, and then take a file while streams have errors. The hub does not start JetStream again each
// second for it, nor say each time that all is well.
func TestMend(t *testing.T) {
	dir := t.TempDir()
	a, err := fleet.OpenAuthority(filepath.Join(dir, "authority"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue(filepath.Join(dir, "us"), fleet.RoleOrigin, "us", nil); err != nil {
		t.Fatal(err)
	}
	id, err := fleet.LoadIdentity(filepath.Join(dir, "us"))
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	told := make(chan string, 99)
	h, err := Start(Options{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Folder: filepath.Join(dir, "hub"), Identity: id, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Problem: func(why string) { told <- why },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	conn, err := bus.Dial(h.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := Ensure(t.Context(), conn, 1); err != nil {
		t.Fatal(err)
	}
	hear := func() string {
		select {
		case why := <-told:
			return why
		case <-time.After(30 * time.Second):
			t.Fatal("nobody is told anything")
			return ""
		}
	}
	fails := func() { h.log.Errorf("Critical write error: %v", os.ErrInvalid) } // as the server says it

	inTheWay := filepath.Join(dir, "hub", testFile)
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	fails()
	if why := hear(); !strings.HasPrefix(why, "its disk cannot be written: it takes no purges and revisions") {
		t.Errorf("told %q", why)
	}
	select {
	case why := <-told:
		t.Errorf("told %q next", why)
	case <-time.After(3 * time.Second):
	}
	if !h.Broken() {
		t.Error("nothing was written, and it is well")
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	var starts []time.Time
	for len(starts) < 3 {
		if hear() == "" {
			starts = append(starts, time.Now())
			fails()
		}
	}
	if took := starts[2].Sub(starts[0]); took < 3*mendPause-2*time.Second { // as told a moment after each
		t.Errorf("JetStream was started twice more within %v", took)
	}
	if n := log.count("it takes purges and revisions again"); n != 1 {
		t.Errorf("said %d times that all is well", n)
	}
	for hear() != "" {
	}
	if _, err := conn.Append(t.Context(), bus.SubjectJournal, []byte("x"), bus.Expectation{}); err != nil || h.Broken() {
		t.Errorf("afterwards: %v, broken: %t", err, h.Broken())
	}
	if left, err := filepath.Glob(inTheWay + "*"); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}
