package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"hither/deploy/ops"
	"hither/edge/node"
)

func refusedWith(status int, says string) error {
	return fmt.Errorf("ops: ask: %w", &ops.Refusal{Status: status, Cause: errors.New(says)})
}

// What the edges say becomes one document, and what is wrong with the call one line.
func TestPurgeWords(t *testing.T) {
	call := node.PurgeCall{Kind: "url", Value: "www.test/", Soft: true}
	nodes := []string{"/s/edge-sin", "/s/edge-fra"}
	sin := node.PoPPurge{PoP: "sin", State: "done", MS: 2, Objects: 3, Fills: 1}
	host := refusedWith(http.StatusNotFound, `proxy: no site has the host "www.test"`)
	for _, c := range []struct {
		errs     []error
		states   string
		complete bool
		status   int
		says     string
	}{
		{[]error{nil, nil}, "fra done, sin done", true, 0, ""},
		{[]error{nil, host}, "fra done, sin done", true, 0, ""},
		{[]error{nil, fmt.Errorf("x: %w", ops.ErrNotRunning)}, "fra away, sin done", false, 0, ""},
		{[]error{nil, errors.New("reset")}, "fra failed, sin done", false, 0, ""},
		{[]error{host, host}, "", false, exitWrong, "no site has the host"},
		{[]error{nil, refusedWith(http.StatusBadRequest, "cache: malformed request target")}, "", false, exitUsage, "malformed request target"},
	} {
		pops := []node.PoPPurge{sin, {PoP: "fra", State: "done", MS: 1}}
		p, err := purgeWords(call, nodes, pops, c.errs)
		var exit *exitError
		if c.status != 0 {
			if !errors.As(err, &exit) || exit.status != c.status || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v: %v", c.errs, err)
			}
			continue
		}
		var states []string
		for _, x := range p.PoPs {
			states = append(states, x.PoP+" "+x.State)
		}
		if err != nil || strings.Join(states, ", ") != c.states || p.Complete != c.complete {
			t.Errorf("%v: %v, %+v", c.errs, err, p)
		}
	}
}

func TestPrintPurge(t *testing.T) {
	var b bytes.Buffer
	printPurge(&b, node.Join(node.PurgeCall{Kind: "tag", Value: "red", Soft: true}, []node.PoPPurge{
		{PoP: "fra", State: "done", MS: 1.26, Objects: 3, Fills: 1}, {PoP: "sin", State: "away", Error: "nobody answers"},
	}))
	want := "purge tag red, soft\n\nPOP  STATE  OBJECTS  FILLS  TIME\nfra  done   3        1      1.3 ms\nsin  away   -        -      -\nsin: nobody answers\n"
	if b.String() != want {
		t.Errorf("%q", b.String())
	}
	if got := tagWords(strings.Fields(strings.Repeat("x ", 14))); !strings.HasSuffix(got, "x, x and 2 more") {
		t.Error(got)
	}
}

// A call that is wrong ends with 2 and one line, one about a network that is not there with 1.
func TestPurgeCalls(t *testing.T) {
	empty, sleeping := t.TempDir(), t.TempDir()
	up := upState{Schema: "hither/up/1", Nodes: []upChild{{Node: "edge-fra", Socket: filepath.Join(sleeping, "nodes", "edge-fra", ops.SocketName)}, {Node: "dns-ns1", Socket: filepath.Join(sleeping, "nodes", "dns-ns1", ops.SocketName)}}}
	if err := writeJSON(filepath.Join(sleeping, "up.json"), up); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, exitUsage, "purge what?"},
		{[]string{"--all", "--tag", "x"}, exitUsage, "purge what?"},
		{[]string{"--tag", strings.Repeat("x", mostURL+1)}, exitUsage, "65536 are taken at most"},
		{[]string{"x"}, exitUsage, "unknown command"},
		{[]string{"--all", "--state", filepath.Join(empty, "none")}, exitUsage, "--state"},
		{[]string{"--all", "--state", empty}, exitWrong, "no network runs"},
		{[]string{"--all", "--state", sleeping}, exitWrong, "not every PoP has done it"},
	} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), append([]string{"purge"}, c.args...), &out, &errs); status != c.status || !strings.Contains(errs.String(), c.says) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%.60q: status %d, %q", c.args, status, errs.String())
		}
		if c.says == "not every PoP has done it" && (!strings.Contains(out.String(), "fra  away") || strings.Contains(out.String(), "ns1")) {
			t.Errorf("printed %q", out.String())
		}
	}
}
