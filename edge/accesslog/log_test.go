package accesslog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hither/edge/accesslog"
	"hither/edge/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, cfg accesslog.Config) *accesslog.Log {
	t.Helper()
	l, err := accesslog.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func request(target string) *proxy.Exchange {
	return &proxy.Exchange{Start: start, Node: "fra", Proto: "h1", Method: "GET", Target: target, Protocol: "HTTP/1.1", Status: 200}
}

func targets(t *testing.T, log []byte) []string {
	t.Helper()
	var out []string
	for line := range bytes.Lines(log) {
		var doc accesslog.Line
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, doc.Target)
	}
	return out
}

func TestReopenAfterRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(path, accesslog.AppendLine(nil, accesslog.JSON, request("/before")), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, accesslog.Config{Path: path})
	l.Write(request("/old"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Write(request("/still-old"))
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Write(request("/new"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{path + ".1": "/before /old /still-old", path: "/new"} {
		b, err := os.ReadFile(name)
		if got := strings.Join(targets(t, b), " "); err != nil || got != want {
			t.Errorf("%s has %s (%v), want %s", filepath.Base(name), got, err, want)
		}
	}
	if s := l.Stats(); s != (accesslog.Stats{Written: 3}) {
		t.Errorf("stats %+v", s)
	}
}

// If the file cannot be opened anew, the old one stays in use.
func TestReopenFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "access.log")
	l := open(t, accesslog.Config{Path: path})
	moved := dir + ".moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	l.Write(request("/a"))
	l.Flush()
	b, err := os.ReadFile(filepath.Join(moved, "access.log"))
	if err != nil || len(targets(t, b)) != 1 {
		t.Errorf("%q, %v", b, err)
	}
}

func TestOpenFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "access.log")
	_, err := accesslog.Open(accesslog.Config{Path: path})
	if err == nil || err.Error() != "accesslog: open "+path+": no such file or directory" {
		t.Errorf("error %v", err)
	}
}

func TestClosedLogDrops(t *testing.T) {
	var out bytes.Buffer
	l := open(t, accesslog.Config{Out: &out})
	l.Write(request("/a"))
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l.Write(request("/b"))
	l.Flush()
	if err := l.Reopen(); err != nil {
		t.Error(err)
	}
	if got := targets(t, out.Bytes()); len(got) != 1 || l.Stats() != (accesslog.Stats{Written: 1, Dropped: 1}) {
		t.Errorf("%v, %+v", got, l.Stats())
	}
}

// gate is a disk that stands still: each write announces itself, then waits.
type gate struct {
	entered chan int
	leave   chan error
	bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	g.entered <- len(p)
	if err := <-g.leave; err != nil {
		n, _ := g.Buffer.Write(p[:len(p)/2])
		return n, err
	}
	return g.Buffer.Write(p)
}

func newGate() *gate { return &gate{entered: make(chan int), leave: make(chan error)} }

func TestIntervalWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := open(t, accesslog.Config{Out: g})
		began := time.Now()
		l.Write(request("/a"))
		<-g.entered
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("written after %v, want the default of 1 s", waited)
		}
		g.leave <- nil
	})
}

// Lines beyond the buffer are dropped and counted, and no writer waits for the disk.
func TestSlowDiskDrops(t *testing.T) {
	g := newGate()
	line := len(accesslog.AppendLine(nil, accesslog.JSON, request("/a")))
	const room = 10
	l := open(t, accesslog.Config{Out: g, Flush: time.Hour, Buffer: room * line})
	for range room/2 + 1 { // above half, so that the goroutine wakes
		l.Write(request("/a"))
	}
	if got := <-g.entered; got%line != 0 {
		t.Fatalf("a write of %d bytes is not made of lines of %d", got, line)
	} else {
		wrote := got / line
		for range room + 3 {
			l.Write(request("/b"))
		}
		waiting := room/2 + 1 - wrote // those the goroutine did not take yet
		if s := l.Stats(); s.Dropped != uint64(3+waiting) || s.Written != 0 {
			t.Errorf("stats %+v, want %d dropped", s, 3+waiting)
		}
	}
	go func() {
		for range g.entered {
		}
	}()
	defer close(g.entered)
	close(g.leave)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := l.Stats()
	if got := targets(t, g.Bytes()); uint64(len(got)) != s.Written || s.Written+s.Dropped != room/2+1+room+3 {
		t.Errorf("%d lines, stats %+v", len(got), s)
	}
}

// A full disk tears a line; the following ones can be read, and the count is right.
func TestTornLine(t *testing.T) {
	g := newGate()
	var faults []error
	l := open(t, accesslog.Config{Out: g, Flush: time.Hour, Fault: func(err error) { faults = append(faults, err) }})
	flush := func(results ...error) {
		done := make(chan struct{})
		go func() { l.Flush(); close(done) }()
		for _, err := range results {
			<-g.entered
			g.leave <- err
		}
		<-done
	}
	full := errors.New("no space left on device")
	for _, target := range []string{"/a", "/b", "/c"} {
		l.Write(request(target))
	}
	flush(full) // tears /b
	l.Write(request("/d"))
	flush(full) // the end of the torn line cannot be written either
	l.Write(request("/e"))
	flush(nil, nil)
	lines := strings.Split(strings.TrimSuffix(g.String(), "\n"), "\n")
	if len(lines) != 3 || targets(t, []byte(lines[0]))[0] != "/a" || json.Valid([]byte(lines[1])) || targets(t, []byte(lines[2]))[0] != "/e" {
		t.Errorf("log:\n%s", g.String())
	}
	if s := l.Stats(); s != (accesslog.Stats{Written: 2, Dropped: 3}) || len(faults) != 2 || !errors.Is(faults[0], full) {
		t.Errorf("stats %+v, faults %v", s, faults)
	}
}

func TestManyWriters(t *testing.T) {
	const writers, each = 8, 2000
	path := filepath.Join(t.TempDir(), "access.log")
	l := open(t, accesslog.Config{Path: path, Buffer: 64 << 20})
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				l.Write(request("/a"))
			}
		})
	}
	for range 20 {
		if err := l.Reopen(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if got := targets(t, b); err != nil || len(got) != writers*each || l.Stats() != (accesslog.Stats{Written: writers * each}) {
		t.Errorf("%d lines, %+v, %v", len(got), l.Stats(), err)
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget on purpose")
	}
	for _, format := range []accesslog.Format{accesslog.JSON, accesslog.Combined} {
		l := open(t, accesslog.Config{Out: io.Discard, Format: format, Flush: time.Hour, Buffer: 64 << 20})
		x := exchanges()[0]
		for range 2 { // both buffers grow to their size
			for range 12_000 {
				l.Write(x)
			}
			l.Flush()
		}
		if n := testing.AllocsPerRun(10_000, func() { l.Write(x) }); n != 0 {
			t.Errorf("%v: a line allocates %v times", format, n)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, format := range []accesslog.Format{accesslog.JSON, accesslog.Combined} {
		b.Run(format.String(), func(b *testing.B) {
			l := open(b, accesslog.Config{Out: io.Discard, Format: format})
			x := exchanges()[0]
			b.ReportAllocs()
			for b.Loop() {
				l.Write(x)
			}
		})
	}
}

// What the line would cost by encoding/json alone.
func BenchmarkMarshal(b *testing.B) {
	var doc accesslog.Line
	if err := json.Unmarshal(accesslog.AppendLine(nil, accesslog.JSON, exchanges()[0]), &doc); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(&doc); err != nil {
			b.Fatal(err)
		}
	}
}
