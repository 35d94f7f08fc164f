//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A purgeDoc is what the control says of a purge, by the program and over HTTP.
type purgeDoc struct {
	Schema   string `json:"schema"`
	ID       uint64 `json:"id"`
	Complete bool   `json:"complete"`
	Error    string `json:"error"`
	PoPs     []struct {
		PoP   string `json:"pop"`
		State string `json:"state"`
	} `json:"pops"`
}

// purge gives a purge by the program, and returns what it says of it.
func (n *network) purge(t *testing.T, status int, args ...string) (doc purgeDoc) {
	t.Helper()
	stdout, stderr, got := call(t, append(append([]string{"purge"}, args...), "--state", n.dir, "-o", "json")...)
	if got != status {
		t.Fatalf("purge %q: status %d, not %d: %s%s", args, got, status, stdout, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatalf("purge %q: %v in %q", args, err, stdout)
	}
	return doc
}

// receipts says what is wrong with a purge that all PoPs but some should have done.
func receipts(doc purgeDoc, not ...string) error {
	var open []string
	for _, p := range doc.PoPs {
		if p.State != "done" {
			open = append(open, p.PoP)
		}
	}
	if doc.Schema != "hither/purge/1" || doc.ID == 0 || len(doc.PoPs) != len(pops) || doc.Complete != (len(open) == 0) || !slices.Equal(open, not) {
		return fmt.Errorf("%+v; not done is %q, and should be %q", doc, open, not)
	}
	return nil
}

// still lists the visitors whose edge answers a path with what it had stored. Their requests count at the application where they do not.
func still(t *testing.T, visitors []*visitor, path string) (found []string) {
	t.Helper()
	for _, v := range visitors {
		a := v.must(t, path)
		if a.status != http.StatusOK || string(a.body) != string(content(path)) {
			t.Errorf("%s: status %d, %d bytes", path, a.status, len(a.body))
		}
		if strings.Contains(a.verdict(), "; hit") {
			found = append(found, v.edges[0])
		}
	}
	return found
}

// api makes a request to the control by curl, and returns its status and document.
func (n *network) api(t *testing.T, token string, args ...string) (status int, doc purgeDoc) {
	t.Helper()
	args = append([]string{"--disable", "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}", "--header", "Authorization: Bearer " + token}, args...)
	out, err := exec.CommandContext(t.Context(), peer(t, "curl", "curl"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %q: %v\n%s", args, err, out)
	}
	i := strings.LastIndexByte(string(out), '\n')
	fmt.Sscan(string(out[i+1:]), &status)
	if err := json.Unmarshal(out[:i], &doc); err != nil {
		t.Errorf("curl %q: %v in %q", args, err, out)
	}
	return status, doc
}

// token makes a token.
func (n *network) token(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, status := call(t, append([]string{"fleet", "token", "add", "--state", n.dir}, args...)...)
	if status != 0 || !strings.HasPrefix(stdout, "hither_") {
		t.Fatalf("token add %q: status %d: %s", args, status, stderr)
	}
	return strings.TrimSpace(stdout)
}

// TestFleetPurge purges by the program and by curl. What a receipt says is held to what each edge answers then, and to what its application is asked.
func TestFleetPurge(t *testing.T) {
	scenario(t, "fleet-purge")
	a := newApp(t, "127.34")
	slow := make(chan struct{})
	a.mux.HandleFunc("/slow/", func(w http.ResponseWriter, r *http.Request) {
		text := content(r.URL.RequestURI())
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Write(text[:len(text)/2])
		http.NewResponseController(w).Flush()
		a.held.Add(1)
		<-slow
		w.Write(text[len(text)/2:])
	})
	n := run(t, setup{net: "127.34", origin: a.url, edit: append([]string{"disk: 0B", "disk: 64MiB"}, soonForgotten...)})
	n.hear(t, members, true, 1)
	var all []*visitor
	for i, pop := range []string{"fra", "iad", "sin"} {
		all = append(all, n.via(t, protocols[i], pop))
	}
	asked := func(path string, want int) {
		t.Helper()
		if got := a.times(path); got != want {
			t.Errorf("%s was asked for %d times at the application, not %d", path, got, want)
		}
	}

	still(t, all, "/keep/1")
	if err := receipts(n.purge(t, 0, "url", site+"/keep/2", "--wait")); err != nil {
		t.Error(err)
	}
	if found := still(t, all, "/keep/1"); len(found) != 3 {
		t.Errorf("a purge of another URL was one of this for all but %q, or the check of that sees nothing", found)
	}
	asked("/keep/1", 3)
	for i, args := range [][]string{{"url", site + "/keep/1"}, {"prefix", host + "/kee"}, {"host", host}, {"all"}} {
		if err := receipts(n.purge(t, 0, append(args, "--wait")...)); err != nil {
			t.Error(err)
		}
		if found := still(t, all, "/keep/1"); len(found) > 0 {
			t.Errorf("purge %q has its receipts, and is served by %q", args, found)
		}
		asked("/keep/1", 6+3*i)
	}
	t.Log("by the program, of every kind")

	held := make(chan answer, 1)
	go func() {
		got, _ := all[0].get(t.Context(), "/slow/1")
		held <- got
	}()
	if !until(10*time.Second, func() bool { return a.held.Load() == 1 }) {
		t.Fatal("the application is not asked")
	}
	if err := receipts(n.purge(t, 0, "url", host+"/slow/1", "--wait")); err != nil {
		t.Error(err)
	}
	close(slow)
	if got := <-held; string(got.body) != string(content("/slow/1")) {
		t.Errorf("who waited meanwhile got status %d, %d bytes", got.status, len(got.body))
	}
	if found := still(t, all[:1], "/slow/1"); len(found) > 0 {
		t.Error("what began before a purge and ended after it is served")
	}
	asked("/slow/1", 2)
	t.Log("with the answer on its way")

	address := "http://" + n.at("0.1", 9190)
	full, narrow := n.token(t, "full"), n.token(t, "narrow", "--site", "www", "--kind", "url")
	one := fmt.Sprintf(`{"kind": "url", "value": "%s/keep/1", "wait": true}`, host)
	for _, c := range []struct {
		token  string
		args   []string
		status int
		times  int // at the application, afterwards
	}{
		{"hither_wrong", []string{"--data", one, address + "/purge"}, 401, 15},
		{narrow, []string{"--data", `{"kind": "all"}`, address + "/purge"}, 403, 15},
		{narrow, []string{"--data", `{"kind": "url", "value": "elsewhere.test/"}`, address + "/purge"}, 403, 15},
		{full, []string{"--data", `{"kind": "some"}`, address + "/purge"}, 400, 15},
		{full, []string{address + "/purge/999999"}, 404, 15},
		{narrow, []string{"--data", one, address + "/purge"}, 200, 18},
		{full, []string{"--request", "PURGE", "--header", "Host: " + host, "--header", "Prefer: wait=10", address + "/keep/1"}, 200, 21},
		{full, []string{"--request", "PURGE", "--header", "Host: " + host, "--header", "Prefer: wait=10", "--header", "X-Purge-Method: regex", address + "/keep/.*"}, 200, 24},
	} {
		status, doc := n.api(t, c.token, c.args...)
		if status != c.status || (status == 200) == (doc.Error != "") {
			t.Errorf("curl %q: status %d, not %d; %+v", c.args, status, c.status, doc)
		}
		if status == 200 {
			if err := receipts(doc); err != nil {
				t.Errorf("curl %q: %v", c.args, err)
			}
		}
		still(t, all, "/keep/1")
		asked("/keep/1", c.times)
	}
	for _, v := range all {
		r, err := http.NewRequest("PURGE", site+"/keep/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+full)
		if got, err := v.do(t.Context(), r); err != nil || got.status != http.StatusMethodNotAllowed || strings.Contains(got.header.Get("Allow"), "PURGE") {
			t.Errorf("PURGE at an edge over %s: status %d, %v", v.proto, got.status, err)
		}
	}
	still(t, all, "/keep/1")
	asked("/keep/1", 24)
	t.Log("over HTTP, by tokens of what they may do, and not at edges")

	stdout, stderr, status := call(t, "warm", site+"/keep/warm", "--state", n.dir)
	if status != 0 || strings.Count(stdout, "yes") != 3 {
		t.Errorf("warm: status %d\n%s%s", status, stdout, stderr)
	}
	if found := still(t, all, "/keep/warm"); len(found) != 3 {
		t.Errorf("what is warm is served by %q alone", found)
	}
	asked("/keep/warm", 3)

	n.signal(t, "edge-sin", syscall.SIGTERM) // what it has is on its disk then
	if !until(endTime, func() bool { return len(processes(n.state("edge-sin"))) == 0 }) {
		t.Fatalf("edge-sin was told to end and runs:\n%s", n.up.stderr)
	}
	away := n.purge(t, 1, "url", host+"/keep/1", "--wait", "--timeout", "500ms")
	if err := receipts(away, "sin"); err != nil {
		t.Error(err)
	}
	stdout, _, _ = call(t, "fleet", "purges", "--last", "1", "--state", n.dir)
	if !strings.Contains(stdout, "2/3") || !strings.Contains(stdout, "sin ") {
		t.Errorf("the last purge:\n%s", stdout)
	}
	sin := start(t, program, "edge", "--name", "sin", "--state", n.state("edge-sin"))
	n.await(t, "edge-sin", sin)
	if !until(20*time.Second, func() bool {
		stdout, _, _ = call(t, "fleet", "purges", fmt.Sprint(away.ID), "--state", n.dir)
		return strings.Count(stdout, " done ") == 3
	}) {
		t.Errorf("who was away has not done the purge:\n%s", stdout)
	}
	back := []*visitor{n.via(t, "h3", "sin")}
	if found := still(t, back, "/keep/1"); len(found) > 0 {
		t.Error("a PoP that was away serves what was purged meanwhile")
	}
	if found := still(t, back, "/keep/warm"); len(found) != 1 {
		t.Error("a PoP that was away has kept nothing: that it serves nothing purged says nothing")
	}
	t.Log("and by who was away")
	sin.cmd.Process.Kill() // nobody is to wait for its drain
}

// plantReceipts shows the check of receipts what is wrong with them.
func plantReceipts(t *testing.T) {
	const right = `{"schema": "hither/purge/1", "id": 7, "complete": true, "pops": [{"pop": "fra", "state": "done"}, {"pop": "iad", "state": "done"}, {"pop": "sin", "state": "done"}]}`
	read := func(old, now string) (doc purgeDoc) {
		if err := json.Unmarshal([]byte(strings.Replace(right, old, now, 1)), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	if err := receipts(read("", "")); err != nil {
		t.Error(err)
	}
	for _, c := range [][2]string{
		{`"iad", "state": "done"`, `"iad", "state": "pending"`}, // complete, and it is not
		{"true", "false"},                         // not complete, and it is
		{`, {"pop": "sin", "state": "done"}`, ""}, // a PoP is forgotten
		{"7", "0"}, // no number
		{"purge/1", "error/1"},
	} {
		if receipts(read(c[0], c[1])) == nil {
			t.Errorf("%s in place of %s is not seen to be wrong", c[1], c[0])
		}
	}
	if receipts(read("", ""), "sin") == nil {
		t.Error("the receipt of a PoP that is away is not seen to be wrong")
	}
}
