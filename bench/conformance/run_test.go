package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/bench/load"
	"hither/deploy"
)

// Small programs that stand for node and hither: each says what the real one would, and does what else a test has it do.
const (
	cases = `{"node": "20.20.2", "undici": true, "groups": [{"id": "g", "tests": [{"id": "a"}, {"id": "b", "kind": "optimal", "depends_on": ["a"]}, {"id": "c", "browser_only": true}]}]}`

	serves  = "echo noise; echo hither-origin http://127.88.2.1:1234; exec sleep 1000"
	answers = `echo ERROR: noise; printf '{\n"a": true,\n"b": ["Assertion", "Response 2 comes from cache"]\n}\n'`
	ups     = `mkdir -p "$3"; cp NETWORK "$3/network.yaml"; echo hither: network; echo ready; exec sleep 1000`
)

// A stage has a suite's folder, and the programs that run it.
type stage struct {
	dir, pids string
	hither    string
}

// newStage makes them. What is "" does as the real program does.
func newStage(t *testing.T, tells, serve, client, up string) *stage {
	t.Helper()
	s := &stage{dir: t.TempDir(), pids: filepath.Join(t.TempDir(), "pids")}
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	or := func(text, otherwise string) string {
		if text == "" {
			return otherwise
		}
		return text
	}
	for _, file := range []string{"test-engine/cli.mjs", "test-engine/server/server.mjs", "tests/index.mjs"} {
		write(filepath.Join(s.dir, file), "", 0o600)
	}
	write(filepath.Join(s.dir, "package.json"), `{"version": "1.2.3"}`, 0o600)
	bin := t.TempDir()
	told := write(filepath.Join(bin, "cases.json"), or(tells, cases), 0o600)
	write(filepath.Join(bin, "node"), fmt.Sprintf(`#!/bin/sh
echo $$ >> %s
for a; do case "$a" in
*/cases.mjs) cat %s; exit;;
*/server.mjs) [ "$HITHER_LISTEN" = 127.88.2.1 ] || exit 9; %s; exit;;
*/cli.mjs) [ "$npm_config_base" = https://www.hither.test:8443 ] && [ "$HITHER_ADDRESS" = 127.88.1.1 ] || exit 9; %s; exit;;
esac; done
exit 8
`, s.pids, told, or(serve, serves), or(client, answers)), 0o700)
	network, err := deploy.Local(deploy.LocalOptions{Net: "127.88", Origin: "http://127.88.2.1:1234"})
	if err != nil {
		t.Fatal(err)
	}
	file := write(filepath.Join(bin, "network.yaml"), string(network), 0o600)
	s.hither = write(filepath.Join(bin, "hither"), fmt.Sprintf(`#!/bin/sh
[ "$1" != --version ] || { echo hither version 0123456789ab; exit; }
echo $$ >> %s
[ "$7" = http://127.88.2.1:1234 ] || exit 9
%s
`, s.pids, strings.ReplaceAll(or(up, ups), "NETWORK", file)), 0o700)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", t.TempDir())
	return s
}

// left fails the test if a program still runs, or a file is left.
func (s *stage) left(t *testing.T) {
	t.Helper()
	text, _ := os.ReadFile(s.pids)
	for _, pid := range strings.Fields(string(text)) {
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
			t.Errorf("still runs: %s", stat)
		}
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("left on disk: %v", left)
	}
}

func (s *stage) plan(t *testing.T) Plan {
	t.Helper()
	suite, err := Open(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	return Plan{Suite: suite, Hither: s.hither, Net: "127.88", Runs: 2, Limit: time.Minute}
}

func TestRun(t *testing.T) {
	s := newStage(t, "", "", "", "")
	plan := s.plan(t)
	if plan.Suite.Version != "1.2.3" || plan.Suite.Commit != "" || len(plan.Suite.Digest) != 64 || plan.Suite.Node != "20.20.2" || len(plan.Suite.Cases) != 3 {
		t.Errorf("suite %+v", plan.Suite)
	}
	var steps []string
	plan.Step = func(what string) { steps = append(steps, what) }
	r, err := plan.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Commit != "0123456789ab" || len(r.Cases) != 2 || r.Cases[0].Outcome != Pass || r.Cases[1].why() != "fail: Response 2 comes from cache" || len(r.Different) > 0 {
		t.Errorf("result %+v", r)
	}
	if got := strings.Join(steps, "; "); got != "start the suite's origin and the network; run 1 of 2; run 2 of 2" {
		t.Errorf("steps %q", got)
	}
	s.left(t)
}

// TestRunsDiffer has the client say something else the second time.
func TestRunsDiffer(t *testing.T) {
	s := newStage(t, "", "", `if mkdir once; then printf '{\n"a": true\n}\n'; else printf '{\n"a": ["Setup", "retry"]\n}\n'; fi`, "")
	r, err := s.plan(t).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Different) != 1 || r.Different[0].String() != "the runs do not agree on a: pass | retry: retry" || r.Cases[0].Outcome != Retry {
		t.Errorf("result %+v", r)
	}
	s.left(t)
}

// TestRunFails shows each way, and that nothing is left. A run that had begun is an ErrRun.
func TestRunFails(t *testing.T) {
	for _, c := range []struct {
		name, serve, client, up string
		began                   bool
		why                     string
	}{
		{"origin ends at once", "echo SyntaxError: no such word >&2; echo Node.js v20 >&2; exit 1", "", "", false, "the suite's origin ended by itself (exit status 1): SyntaxError: no such word"},
		{"network ends at once", "", "", "echo first >&2; echo address already in use >&2; exit 2", false, "hither up ended by itself (exit status 2): address already in use"},
		{"network of another kind", "", "", `mkdir -p "$3"; echo "version: 7" > "$3/network.yaml"; echo ready; exec sleep 1000`, false, "read the network's file"},
		{"client fails", "", "echo Error [ERR_MODULE_NOT_FOUND]: Cannot find package >&2; exit 1", "", true, "the suite's client ended by itself (exit status 1): Error [ERR_MODULE_NOT_FOUND]: Cannot find package"},
		{"client says nothing", "", "true", "", true, "it wrote no results"},
		{"client says too much", "", "exec cat /dev/zero", "", true, "writes more than"},
		{"origin ends in a run", "mkfifo begun; echo hither-origin http://127.88.2.1:1234; read x < begun; echo out of memory >&2; exit 7", "echo > begun; exec sleep 1000", "", true, "the suite's origin ended by itself (exit status 7): out of memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, "", c.serve, c.client, c.up)
			_, err := s.plan(t).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.why) || errors.Is(err, ErrRun) != c.began || c.name != "network of another kind" && strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, ErrRun %v; want one line with %q, %v", err, errors.Is(err, ErrRun), c.why, c.began)
			}
			s.left(t)
		})
	}
}

// TestRunHangs has a client that never ends.
func TestRunHangs(t *testing.T) {
	s := newStage(t, "", "", "exec sleep 1000", "")
	plan := s.plan(t)
	plan.Limit = time.Millisecond
	_, err := plan.Run(t.Context())
	if !errors.Is(err, ErrRun) || !strings.Contains(err.Error(), "the suite's client has not ended within 1ms") {
		t.Errorf("error %v", err)
	}
	s.left(t)
}

// TestRunStopped ends the context at each step, as Ctrl-C does.
func TestRunStopped(t *testing.T) {
	for step := range 2 {
		s := newStage(t, "", "", "exec sleep 1000", "")
		plan := s.plan(t)
		ctx, stop := context.WithCancel(t.Context())
		n := 0
		plan.Step = func(string) {
			if n == step {
				stop()
			}
			n++
		}
		if _, err := plan.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped at step %d: %v", step, err)
		}
		s.left(t)
		stop()
	}
}

func TestRunWrongCall(t *testing.T) {
	s := newStage(t, "", "", "", "")
	plan := s.plan(t)
	for _, net := range []string{"", "127", "10.1", "127.256", "127.1.2", "::1", "127.x"} {
		plan.Net = net
		if _, err := plan.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "want 127.N") {
			t.Errorf("net %q: %v", net, err)
		}
	}
	plan.Net, plan.Hither = "127.88", "/nowhere/hither"
	var missing *load.MissingError
	if _, err := plan.Run(t.Context()); !errors.As(err, &missing) || missing.Build != "make build" {
		t.Errorf("no program: %v", err)
	}
	s.left(t)
}

// TestOpenFails shows what is wrong with a folder or with node.
func TestOpenFails(t *testing.T) {
	for _, c := range []struct{ name, tells, why string }{
		{"too old", strings.Replace(cases, "20.20.2", "18.19.0", 1), "is node 18.19.0, and the suite's client needs 20 or later"},
		{"no version", strings.Replace(cases, "20.20.2", "", 1), "needs 20 or later"},
		{"no undici", strings.Replace(cases, "true", "false", 1), "npm install --no-save undici@7"},
		{"no cases", strings.Replace(cases, `"tests": [`, `"tests": [], "other": [`, 1), "it has no cases"},
		{"no JSON", "hello", "invalid character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, c.tells, "", "", "")
			if _, err := Open(t.Context(), s.dir); err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, c.why)
			}
			s.left(t)
		})
	}
	s := newStage(t, "", "", "", "")
	for _, file := range []string{"tests/index.mjs", "test-engine/server/server.mjs", "test-engine/cli.mjs"} {
		if err := os.Remove(filepath.Join(s.dir, file)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), s.dir); err == nil || !strings.Contains(err.Error(), "has no file "+file+": clone https://github.com/") {
			t.Errorf("without %s: %v", file, err)
		}
	}
	s = newStage(t, "", "", "", "")
	t.Setenv("PATH", t.TempDir())
	var missing *load.MissingError
	if _, err := Open(t.Context(), s.dir); !errors.As(err, &missing) || missing.Package != "nodejs" {
		t.Errorf("without node: %v", err)
	}
}

// TestIdentify has git say where the folder is, and at which commit.
func TestIdentify(t *testing.T) {
	s := newStage(t, "", "", "", "")
	bin := t.TempDir()
	for _, c := range []struct{ top, status, want string }{
		{s.dir, "", "0123abcd"},
		{s.dir, " M tests/vary.mjs", "0123abcd+changes"},
		{filepath.Dir(s.dir), "", ""},
	} {
		git := fmt.Sprintf("#!/bin/sh\n[ \"$GIT_OPTIONAL_LOCKS\" = 0 ] || exit 1\ncase \"$*\" in\n*show-toplevel) echo '%s';;\n*HEAD) echo 0123abcd;;\n*) echo '%s';;\nesac\n", c.top, c.status)
		if err := os.WriteFile(filepath.Join(bin, "git"), []byte(git), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		suite, err := Open(t.Context(), s.dir)
		if err != nil || suite.Commit != c.want {
			t.Errorf("top %s, status %q: commit %q, %v; want %q", c.top, c.status, suite.Commit, err, c.want)
		}
	}
}

// TestScripts runs our scripts in the real node: a server that would listen everywhere listens on loopback, and no
// name is looked up.
func TestScripts(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not on this machine")
	}
	node, _ := exec.LookPath("node")
	s := &Suite{Dir: t.TempDir(), node: node}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("server.mjs", "import http from 'http'\nhttp.createServer((q, r) => r.end('here')).listen(80, () => console.log('listening'))\n")
	write("client.mjs", `const told = await fetch(process.env.URL).then(r => r.text())
const other = await fetch('http://elsewhere.test/').catch(e => e.cause.message)
console.log(told + '; ' + other)
`)
	cmd, err := s.command(t.TempDir(), []string{"HITHER_LISTEN=127.88.2.1"}, []string{scriptListen}, "server.mjs")
	if err != nil {
		t.Fatal(err)
	}
	said := announced("hither-origin ")
	server, err := start("server", cmd, said)
	if err != nil {
		t.Fatal(err)
	}
	defer server.stop()
	url, err := server.await(t.Context(), said)
	if err != nil {
		t.Fatal(err)
	}
	at, ok := strings.CutPrefix(url, "http://127.88.2.1:")
	if !ok || at == "80" || at == "0" {
		t.Fatalf("the server is at %s", url)
	}
	conn, err := net.Dial("tcp", "127.88.2.1:"+at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if r, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || r.StatusCode != 200 {
		t.Errorf("the server answers %v, %v", r, err)
	}
	if c, err := net.Dial("tcp", "127.88.2.2:"+at); err == nil {
		c.Close()
		t.Error("the server listens on another address as well")
	}
	cmd, err = s.command(t.TempDir(), []string{"HITHER_HOST=www.hither.test", "HITHER_ADDRESS=127.88.2.1", "URL=http://www.hither.test:" + at}, []string{scriptLookup}, "client.mjs")
	if err != nil {
		t.Fatal(err)
	}
	out, err := output(t.Context(), "client", cmd, time.Minute)
	if want := "here; elsewhere.test is asked for, and only www.hither.test may be\n"; err != nil || string(out) != want {
		t.Errorf("the client says %q, %v; want %q", out, err, want)
	}
}
