package disk

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hither/cache"
)

// A Hang is a disk that can be made to hang, and the clock of those who wait for it.
type Hang struct {
	Hung chan string // the operation of each call that hangs

	mu      sync.Mutex
	first   string        // from this operation on all hang; "" = none
	only    bool          // no others
	all     bool          // it came
	end     chan struct{} // closed when they go on
	over    bool          // all limits have passed
	waiting map[*time.Timer]func()
}

// NewHang lets the disk of a store that c opens be one.
func NewHang(c *Config) *Hang {
	d := &Hang{Hung: make(chan string, 1000), end: make(chan struct{}), waiting: map[*time.Timer]func(){}}
	c.stall, c.after = d.stall, d.after
	return d
}

// Begin hangs the first call of an operation, such as "read", or "write .log" for that of files with this end, and all calls after it.
func (d *Hang) Begin(first string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first = first
}

// End lets all calls go on that hang.
func (d *Hang) End() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first, d.all, d.over = "", false, false
	close(d.end)
	d.end = make(chan struct{})
}

// Late lets all limits pass.
func (d *Hang) Late() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	for t, f := range d.waiting {
		if t.Stop() {
			go f()
		}
	}
	clear(d.waiting)
}

func (d *Hang) stall(op, file string) {
	d.mu.Lock()
	first, end, _ := strings.Cut(d.first, " ")
	hangs, until := d.all || first == op && strings.HasSuffix(file, end), d.end
	d.all = hangs && !d.only
	d.mu.Unlock()
	if hangs {
		d.Hung <- op
		<-until
	}
}

func (d *Hang) after(_ time.Duration, f func()) *time.Timer {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return time.AfterFunc(0, f)
	}
	t := time.NewTimer(time.Hour)
	d.waiting[t] = f
	return t
}

// buildHang is build on a disk that can hang.
func buildHang(t *testing.T, config Config) (*house, *Hang) {
	d := NewHang(&config)
	h := build(t, config)
	t.Cleanup(d.End) // before the store is closed
	return h, d
}

// Whatever hangs, whoever waits for it: he goes on without the disk, and so do all others, to the end. What was purged meanwhile is gone
// when the disk answers again, whatever the calls that hung then do.
func TestHang(t *testing.T) {
	get := func(h *house) { h.want("/0", 0) }
	put := func(h *house) { h.put(object(key("/x"), 1, 3000)) }
	fill := func(h *house) { // more than a segment, more than the disk
		for i := range 2000 {
			h.put(object(key(fmt.Sprint("/x/", i)), 1, 3000))
		}
	}
	purge := func(p cache.Purge) func(*house) { return func(h *house) { h.purge(p) } }
	for name, c := range map[string]struct {
		first string
		do    func(*house)
	}{
		"a read":                  {"read", get},
		"a peek":                  {"read", func(h *house) { h.Peek(key("/0")) }},
		"a walk":                  {"read", func(h *house) { h.Each(func(*cache.Object) bool { return true }) }},
		"a change":                {"write .log", func(h *house) { h.Change(key("/0"), Replaced, func() {}) }},
		"a write":                 {"write .data", put},
		"a write's entry":         {"write .log", put},
		"a new segment":           {"open .data", fill},
		"a new log":               {"open .log", fill},
		"a new state":             {"write state.json.next", fill},
		"a new state's name":      {"rename", fill},
		"a sealed log":            {"sync .log", fill},
		"an eviction":             {"remove .log", fill},
		"a purge's entry":         {"write .log", purge(cache.Purge{Kind: cache.PurgeAll})},
		"a purge's sync":          {"sync .log", purge(cache.Purge{Kind: cache.PurgeAll})},
		"a purge that opens logs": {"open .log", purge(cache.Purge{Kind: cache.PurgePrefix, Site: "www", Value: "/"})},
		"a purge that reads logs": {"read .log", purge(cache.Purge{Kind: cache.PurgePrefix, Site: "www", Value: "/"})},
		"a purge that finds none": {"sync .log", purge(cache.Purge{Kind: cache.PurgeTag, Value: "none"})},
	} {
		t.Run(name, func(t *testing.T) {
			h, d := buildHang(t, Config{})
			for i := range 10 {
				h.put(object(key(fmt.Sprint("/", i)), 1, 3000))
			}
			d.Begin(c.first)
			var all sync.WaitGroup
			all.Go(func() { c.do(h) })
			<-d.Hung
			if h.Off() != nil {
				t.Error("off before anything took long")
			}
			for i := range 10 { // who wait for it, or for its lock
				all.Go(func() { h.Get(key(fmt.Sprint("/", i)), nowhere{}) })
				all.Go(func() { h.Change(key(fmt.Sprint("/", i)), Replaced, func() {}) })
				all.Go(func() { h.purge(cache.Purge{Kind: cache.PurgeAll}) })
			}
			d.Late()
			all.Wait()
			if err := h.Off(); !errors.Is(err, errHung) {
				t.Errorf("off: %v", err)
			}
			failed(t, h)
			s := h.Store
			if err := s.Close(); !errors.Is(err, errHung) {
				t.Errorf("close: %v", err)
			}
			for _, line := range []string{"it hangs", "cannot be removed"} {
				if !strings.Contains(h.said.String(), line) {
					t.Errorf("%q is not in\n%s", line, h.said)
				}
			}
			d.End()
			<-s.ended
			h.open()
			for i := range 10 {
				h.want(fmt.Sprint("/", i), 0)
			}
			h.put(object(key("/again"), 1, 10))
			h.want("/again", 1)
		})
	}
}

// A disk on which only some calls hang is emptied at once, and once more when they come back.
func TestHangOfOne(t *testing.T) {
	for first, do := range map[string]func(*house){
		"read": func(h *house) { h.want("/0", 0) },
		"rename": func(h *house) { // of the state's next text, when a segment begins
			for i := range 100 {
				h.put(object(key(fmt.Sprint("/x/", i)), 1, 3000))
			}
		},
	} {
		t.Run(first, func(t *testing.T) {
			h, d := buildHang(t, Config{})
			d.only = true
			h.put(object(key("/0"), 1, 3000))
			d.Begin(first)
			var all sync.WaitGroup
			all.Go(func() { do(h) })
			<-d.Hung
			h.fail(errHung) // as its limit does
			all.Wait()
			h.purge(cache.Purge{Kind: cache.PurgeAll})
			state := filepath.Join(h.folder, stateName)
			if _, err := os.Stat(state); err == nil || strings.Contains(h.said.String(), "cannot be removed") {
				t.Errorf("the state is still there, or said was\n%s", h.said)
			}
			d.End()
			<-h.empty
			if left, _ := filepath.Glob(state + "*"); len(left) > 0 {
				t.Errorf("%v is there again", left)
			}
			h.Close()
			h.Store = nil
		})
	}
}

// While a sealed log is synced, which takes long on a busy disk, removals go on, and a purge waits: what it says must stay.
func TestSyncOfASealedLog(t *testing.T) {
	h, d := buildHang(t, Config{})
	d.only = true
	h.put(object(key("/0"), 1, 3000))
	d.Begin("sync " + fileName(1, logExt))
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		for i := range 30 { // more than a segment
			h.put(object(key(fmt.Sprint("/x/", i)), 1, 3000))
		}
	}()
	<-d.Hung
	h.Change(key("/0"), Deleted, func() {})
	purged := make(chan struct{})
	go func() {
		defer close(purged)
		h.purge(cache.Purge{Kind: cache.PurgeTag, Value: "none"})
	}()
	select {
	case <-d.Hung:
	case <-purged:
		t.Error("a purge did not wait for what a sealed log says")
	}
	d.End()
	<-filled
	<-purged
	if h.Off() != nil {
		t.Error(h.Off())
	}
	h.crash()
	h.open()
	h.want("/0", 0)
	h.want("/x/29", 1)
}

// A store that is off keeps no segment open, whose room the disk would not have back; nor does it leave that to the collector, whose
// finalizers all wait for one that hangs.
func TestOffClosesSegments(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, why := range []error{errHung, errors.New("full")} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, Config{})
			for i := range 200 { // several segments
				h.put(object(key(fmt.Sprint("/", i)), 1, 3000))
			}
			h.fail(why)
			synctest.Wait()
			names, _ := filepath.Glob("/proc/self/fd/*")
			for _, name := range names {
				if to, err := os.Readlink(name); err == nil && strings.HasPrefix(to, h.folder) && strings.Contains(to, dataExt) {
					t.Errorf("after %v %s is open", why, to)
				}
			}
			h.Close()
			h.Store = nil
		})
	}
}

// How long somebody waits.
func TestHangTakes(t *testing.T) {
	for first, c := range map[string]struct {
		limit time.Duration
		do    func(*house)
	}{
		"read":       {hangs, func(h *house) { h.want("/0", 0) }},
		"write .log": {hangs, func(h *house) { h.Change(key("/0"), Replaced, func() {}) }},
		"sync .log":  {slow + hangs, func(h *house) { h.purge(cache.Purge{Kind: cache.PurgeAll}) }}, // and for the folder to be emptied
	} {
		t.Run(first, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var config Config
				d := NewHang(&config)
				config.after = nil
				h := build(t, config)
				h.put(object(key("/0"), 1, 3000))
				d.Begin(first)
				began := time.Now()
				c.do(h)
				if took := time.Since(began); took != c.limit {
					t.Errorf("it took %v, want %v", took, c.limit)
				}
				<-h.left
				began = time.Now()
				h.Close()
				if took := time.Since(began); took > hangs {
					t.Errorf("the end took %v", took)
				}
				d.End()
				<-h.ended
				h.Store = nil
			})
		})
	}
}

// A process that was stopped, or its machine, finds its limits past when it goes on, and the disk has done nothing.
func TestStoppedProcess(t *testing.T) {
	var config Config
	d := NewHang(&config)
	limits := make(chan func(), 1000)
	config.after = func(_ time.Duration, f func()) *time.Timer {
		limits <- f
		return time.NewTimer(time.Hour)
	}
	h := build(t, config)
	h.put(object(key("/0"), 1, 3000))
	for len(limits) > 0 {
		<-limits
	}
	d.Begin("read")
	var all sync.WaitGroup
	all.Go(func() { h.want("/0", 1) })
	<-d.Hung
	all.Go(<-limits)
	<-limits // the second half, of which nothing has passed
	d.End()
	all.Wait()
	if h.Off() != nil {
		t.Error(h.Off())
	}
}

// However many read, few hang: each keeps a thread.
func TestHangOfMany(t *testing.T) {
	h, d := buildHang(t, Config{Size: 64 * mib, segment: 8 * mib})
	h.put(object(key("/large"), 1, 3*mib))
	o := h.Get(key("/large"), nowhere{})
	d.Begin("read")
	var all sync.WaitGroup
	for range 4 * 64 {
		all.Go(func() {
			if err := o.Body.Range(0, o.Body.Len(), func([]byte) bool { return true }); err == nil {
				t.Error("a body was read")
			}
		})
	}
	for range 64 {
		<-d.Hung
	}
	d.Late()
	all.Wait()
	<-h.left
	d.End()
	<-h.empty
	if n := len(d.Hung); n > 1 { // which is the attempt to empty the folder
		t.Errorf("%d calls hung beside 64", n)
	}
}

// A start on a disk that hangs is one without the disk, and what is on it is not used later.
func TestHangAtTheStart(t *testing.T) {
	for _, first := range []string{"lock", "read state.json", "write state.json.next", "sync", "list", "read .log", "read .data", "stat", "open .data"} {
		t.Run(first, func(t *testing.T) {
			h, d := buildHang(t, Config{})
			h.put(object(key("/0"), 1, 3000))
			h.crash()
			d.Begin(first)
			opened := make(chan struct{})
			go func() {
				defer close(opened)
				h.open()
			}()
			<-d.Hung
			d.Late()
			<-opened
			failed(t, h)
			s := h.Store
			s.Close()
			d.End()
			<-s.ended
			h.open()
			h.want("/0", 0)
		})
	}
}

// An end on a disk that hangs leaves what is there, as a kill does.
func TestHangAtTheEnd(t *testing.T) {
	for _, first := range []string{"write .log", "sync .log", "sync .data", "rename", "close"} {
		t.Run(first, func(t *testing.T) {
			h, d := buildHang(t, Config{})
			h.put(object(key("/0"), 1, 3000))
			h.put(object(key("/1"), 1, 3000))
			h.purge(cache.Purge{Kind: cache.PurgeURL, Site: "www", Value: "/1"})
			d.Begin(first)
			s, closed := h.Store, make(chan struct{})
			go func() {
				defer close(closed)
				if err := s.Close(); !errors.Is(err, errHung) {
					t.Errorf("close: %v", err)
				}
			}()
			<-d.Hung
			d.Late()
			<-closed
			d.End()
			<-s.ended
			h.open()
			h.want("/0", 1)
			h.want("/1", 0)
		})
	}
}

// All calls of the file system are in the one file that bounds them.
func TestAllCallsAreBounded(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name == "call.go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && (pkg.Name == "syscall" || pkg.Name == "unix" || pkg.Name == "os" && s.Sel.Name != "File" && !strings.HasPrefix(s.Sel.Name, "O_")) {
					t.Errorf("%v: %s.%s belongs into call.go", fset.Position(s.Pos()), pkg.Name, s.Sel.Name)
				}
			}
			return true
		})
	}
}
