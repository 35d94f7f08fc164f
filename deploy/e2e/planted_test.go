//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPlanted plants a fault for each checker of this package and fails if the checker
// does not see it: one that can not fail shows nothing.
func TestPlanted(t *testing.T) {
	scenario(t, "planted")
	t.Run("a flipped byte", plantFlippedByte)
	t.Run("one request more", plantExtraRequest)
	t.Run("a cut connection", plantCutConnection)
	t.Run("an origin's outcomes", plantOutcomes)
	t.Run("gateways and shields", plantShort)
	t.Run("an unknown failure", plantFailure)
	t.Run("a wrong README", plantReadme)
	t.Run("a call refused badly", plantBadLine)
	t.Run("a process left", plantProcess)
	t.Run("open modes", plantModes)
	t.Run("a strange label", plantLabel)
	t.Run("a namespace left", plantNamespace)
	t.Run("an overload told badly", plantOverload)
	t.Run("receipts that say too much", plantReceipts)
	t.Run("purges that are lost", plantPurges)
	t.Run("a bad revision at more than the canary", plantStrays)
	t.Run("a lab that leaves something, or counts too much", plantLab)
}

func plantFlippedByte(t *testing.T) {
	want, got := t.TempDir(), t.TempDir()
	for _, f := range []string{"a", "b", "c"} {
		for _, dir := range []string{want, got} {
			if err := os.WriteFile(filepath.Join(dir, f), []byte("the same"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	files := []string{"a", "b", "c"}
	if d := differences(want, got, files); len(d) != 0 {
		t.Fatalf("equal folders differ: %v", d)
	}
	os.WriteFile(filepath.Join(got, "b"), []byte("the sane"), 0o600)
	if d := differences(want, got, files); len(d) != 1 || !strings.Contains(d[0], "b: 8 bytes differ from the 8 there should be, from byte 6 on") {
		t.Errorf("a flipped byte: %q", d)
	}
	os.Remove(filepath.Join(got, "c"))
	if d := differences(want, got, files); len(d) != 2 {
		t.Errorf("a flipped byte and a missing file: %q", d)
	}
}

func plantExtraRequest(t *testing.T) {
	a := newApp(t, "127.39")
	get := func() {
		resp, err := http.Get(a.url + "/once/1")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	defer http.DefaultClient.CloseIdleConnections()
	m := a.meter(t)
	get()
	if err := m.check(t, 1); err != nil {
		t.Errorf("one request: %v", err)
	}
	get()
	get()
	if err := m.check(t, 1); err == nil || !strings.Contains(err.Error(), "grew by 2, not 1") {
		t.Errorf("a request too many: %v", err)
	}
	if err := m.check(t, 1); err == nil || !strings.Contains(err.Error(), "grew by 0, not 1") {
		t.Errorf("a request too few: %v", err)
	}
}

// plantCutConnection has a crowd talk through a tunnel that is cut once.
func plantCutConnection(t *testing.T) {
	a := newApp(t, "127.39")
	n := run(t, setup{net: "127.39", origin: a.url})
	for i, proto := range []string{"h1", "h2"} {
		p := tunnelTo(t, "127.39.0.7:0", n.edge("fra"), false)
		v := n.via(t, proto, "fra")
		v.edges = []string{p.address}
		c := &crowd{app: a, visitors: []*visitor{v}}
		if err := c.ask(t.Context(), v, 10*i, 0); err != nil {
			t.Fatalf("%s: nothing is cut yet: %v", proto, err)
		}
		held := c.hold(t, []*visitor{v})
		p.cut()
		if err := held[0].finish(); err == nil {
			t.Errorf("%s: an answer that was cut looks whole", proto)
		}
		if err := c.ask(t.Context(), v, 10*i+1, 0); err != nil {
			t.Errorf("%s: after the cut, on a new connection: %v", proto, err)
		}
		if d := v.dials.Load(); d != 2 {
			t.Errorf("%s: %d connections after a cut", proto, d)
		}
		// The application sees a request twice: that is no loss, but no less wrong.
		if err := c.ask(t.Context(), v, 10*i+1, 0); err == nil || !strings.Contains(err.Error(), "2 times") {
			t.Errorf("%s: a repeated request: %v", proto, err)
		}
		// Nobody listens any more.
		v.http.CloseIdleConnections()
		v.edges = []string{"127.39.0.7:1"}
		if refused := (dialError{}); !errors.As(c.ask(t.Context(), v, 10*i+2, 0), &refused) {
			t.Errorf("%s: a refused connection is not told from a lost request", proto)
		}
		if c.lost.add("one"); c.lost.lost() != 1 {
			t.Errorf("the ledger has %d lines", c.lost.lost())
		}
	}
}

func plantOutcomes(t *testing.T) {
	o := newOutcomes()
	for _, c := range []struct {
		a    answer
		err  error
		want string
	}{
		{answer{status: 200, body: content("/x")}, nil, "200"},
		{answer{status: 502}, nil, "502"},
		{answer{status: 200, body: content("/x")[1:]}, io.ErrUnexpectedEOF, "cut"},
		{answer{status: 200, body: content("/x")[1:]}, nil, "status 200 with 399 bytes"},
		{answer{status: 500}, nil, "status 500 with 0 bytes"},
		{answer{}, context.DeadlineExceeded, "hang"},
		{answer{}, syscall.ECONNRESET, "no answer"},
	} {
		if got := o.note("/x", c.a, c.err); got != c.want {
			t.Errorf("%d %v is %q, not %q", c.a.status, c.err, got, c.want)
		}
	}
	if len(o.wrong) != 4 {
		t.Errorf("%d wrong outcomes, not 4: %q", len(o.wrong), o.wrong)
	}
	ln, err := net.Listen("tcp", "127.39.0.7:0")
	if err != nil {
		t.Fatal(err)
	}
	if !listens(ln.Addr().String()) {
		t.Error("a listener does not listen")
	}
	ln.Close()
	if listens(ln.Addr().String()) {
		t.Error("a closed listener listens")
	}
}

func plantShort(t *testing.T) {
	right := answer{status: 200, body: []byte("/short/x")}
	if err := shortFault("/short/x", right, nil); err != nil {
		t.Error(err)
	}
	b := &busy{clients: 6}
	for _, c := range []struct {
		a   answer
		err error
	}{{answer{status: 502}, nil}, {answer{status: 200, body: []byte("/short/")}, nil}, {right, io.ErrUnexpectedEOF}} {
		err := shortFault("/short/x", c.a, c.err)
		if err == nil {
			t.Errorf("%+v, %v is taken for right", c.a, c.err)
		}
		b.lost.add("%v", err)
	}
	if !b.tooMany() {
		t.Error("three answers of six clients lost are not too many")
	}
	if b.clients = 9; b.tooMany() {
		t.Error("three answers of nine clients lost are too many")
	}
	for got, same := range map[string]bool{"iad; hit; ttl=59, sin": true, "iad; hit; ttl=, sin": true, "iad; hit; ttl=5x, sin": false, "iad; hit; ttl=59": false, "fra; hit; ttl=59, sin": false, "iad; hit; ttl=59, sin, fra": false} {
		if sameBut(got, "iad; hit; ttl=*, sin") != same {
			t.Errorf("%s: %v", got, !same)
		}
	}
}

func plantFailure(t *testing.T) {
	if w := compareFailures([]string{"a", "b"}, []string{"a", "b", "? c"}); len(w) != 0 {
		t.Errorf("equal lists: %q", w)
	}
	if w := compareFailures([]string{"a", "b"}, []string{"a", "c"}); len(w) != 2 || !strings.Contains(w[0], ": b") || !strings.Contains(w[1], ": c") {
		t.Errorf("a new failure and a mended one: %q", w)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	text := `<testsuites><testsuite package="p"><testcase classname="good"></testcase><testcase classname="bad"><error>x</error></testcase></testsuite></testsuites>`
	if err := os.WriteFile(report, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if failed, ran, err := failures(report); err != nil || ran != 2 || len(failed) != 1 || failed[0] != "p: bad" {
		t.Errorf("failures %q of %d, %v", failed, ran, err)
	}
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("p: bad\np: worse\n    why\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if known, err := knownFailures(list); err == nil || !strings.Contains(err.Error(), `"p: bad" has no explanation`) {
		t.Errorf("a failure without explanation: %q, %v", known, err)
	}
}

func plantReadme(t *testing.T) {
	n := &network{net: "127.39", dir: "/tmp/none"}
	readme := "```console\n$ echo .hither 127.0.1.1 127.0.0.0/8\n/tmp/none 127.39.1.1 127.0.0.0/8\n```\n" +
		"```console\n$ printf 'a\\nb\\nc\\n'\na\n...\n$ echo one two three\none ... three\n```\n"
	all := examples("README.md", readme)
	if len(all) != 3 {
		t.Fatalf("%d examples, not 3", len(all))
	}
	for _, e := range all {
		if err := e.run(n); err != nil {
			t.Error(err)
		}
	}
	for _, wrong := range []string{"$ echo one\ntwo", "$ echo one", "$ true\none", "$ printf 'a\\nb\\n'\n...\na", "$ echo one two\none ... three", "$ frobnicate\nfrobnicated"} {
		e := examples("README.md", "```console\n"+wrong+"\n```")[0]
		if err := e.run(n); err == nil {
			t.Errorf("%q is not seen to be wrong", wrong)
		} else if !strings.HasPrefix(err.Error(), "README.md:2: $ ") {
			t.Errorf("%v", err)
		}
	}
}

func plantBadLine(t *testing.T) {
	if err := oneLine("", "hither: no such thing; make it\n", 2, 2, "make it"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		stdout, stderr string
		status         int
	}{
		{"", "hither: no such thing; make it\n", 1},
		{"Usage:\n", "hither: no such thing; make it\n", 2},
		{"", "hither: no such thing; make it\ngoroutine 1\n", 2},
		{"", "panic: no such thing; make it\n", 2},
		{"", "hither: no such thing\n", 2},
		{"", "", 2},
	} {
		if err := oneLine(c.stdout, c.stderr, c.status, 2, "make it"); err == nil {
			t.Errorf("%+v is not seen to be wrong", c)
		}
	}
	for _, text := range []string{"f:1:2: one\n", "f:1:2: one\ntwo\n", "f:1: one\nf:2:3: two\n", "f:1:2: one\nf:2:3: three\n"} {
		if err := mistakes(text, "f", []string{"one", "two"}); err == nil {
			t.Errorf("%q is not seen to be wrong", text)
		}
	}
}

func plantProcess(t *testing.T) {
	dir := t.TempDir()
	left := exec.Command("bash", "-c", "read line # "+dir)
	in, err := left.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	found := processes(dir)
	in.Close()
	left.Wait()
	if len(found) != 1 || found[0] != left.Process.Pid {
		t.Errorf("the processes %v are left, not %d", found, left.Process.Pid)
	}
	if found := processes(dir); len(found) != 0 {
		t.Errorf("the processes %v are left although it has ended", found)
	}
	if c := crashes("level=INFO msg=ready\nlevel=ERROR msg=\"http: panic serving 127.0.0.1:1: x\"\nWARNING: DATA RACE\n"); len(c) != 2 {
		t.Errorf("two crashes: %q", c)
	}
	l := newLines()
	io.WriteString(l, "not rea")
	if l.wait(10*time.Millisecond, readyLine, 1) {
		t.Error("ready although it did not say so")
	}
	io.WriteString(l, "dy\nready\n")
	if !l.wait(time.Second, readyLine, 1) {
		t.Error("not ready although it said so")
	}
}

func plantModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if w := wrongModes(dir); len(w) != 0 {
		t.Errorf("%q", w)
	}
	os.Chmod(filepath.Join(dir, "a"), 0o640)
	os.Chmod(dir, 0o755)
	if w := wrongModes(dir); len(w) != 2 {
		t.Errorf("a file and a folder open to others: %q", w)
	}
}

func plantLabel(t *testing.T) {
	c, err := parseCounters(strings.NewReader("hither_a_total{node=\"x\",client=\"192.0.2.1\"} 1\nhither_a_total{node=\"y\"} 2\ngo_x{what=\"z\"} 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if w := strangeLabels(c, "x"); len(w) != 2 || !strings.Contains(w[0], "client") {
		t.Errorf("a label from an open set, and another node's sample: %q", w)
	}
	if s := c.sum("hither_a_total", "node", "y"); s != 2 {
		t.Errorf("the sum is %d", s)
	}
	if m := missing(map[string]any{"a": nil}, []string{"a", "b"}); len(m) != 1 || m[0] != "b" {
		t.Errorf("missing keys: %q", m)
	}
}
