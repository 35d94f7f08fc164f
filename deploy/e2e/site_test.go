//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestSite fetches a real site of a thousand files with clients that are not ours, over
// each protocol, and counts what reaches the origin.
func TestSite(t *testing.T) {
	scenario(t, "site")
	wget, curl := peer(t, "wget", "wget"), peer(t, "curl", "curl")
	folder, files := copyDocs(t)
	total := int64(len(files))
	// An hour of freshness, so that nothing here depends on how fast this machine is.
	n := run(t, setup{net: "127.21", site: folder, edit: []string{"max-age=60", "max-age=3600"}})
	list := filepath.Join(t.TempDir(), "urls")
	urls := make([]string, len(files))
	for i, f := range files {
		urls[i] = urlOf(f)
	}
	if err := os.WriteFile(list, []byte(strings.Join(urls, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	origin := n.meter(t, "origin-us", "hither_origin_requests_total")
	over := func(pop, proto, verdict string) *meter {
		return n.meter(t, "edge-"+pop, "hither_edge_requests_total", "proto", proto, "verdict", verdict)
	}

	t.Log("wget, the list of all files, nothing stored yet: each is asked for once at the origin")
	misses := over("fra", "h1", "miss")
	same(t, folder, n.wget(t, wget, "fra", "-i", list), files)
	origin.expect(t, total)
	misses.expect(t, total)

	t.Log("wget again: all hits, nothing reaches the origin")
	hits := over("fra", "h1", "hit")
	same(t, folder, n.wget(t, wget, "fra", "-i", list), files)
	origin.expect(t, 0)
	hits.expect(t, total)

	t.Log("wget, following links from the first page: a mirror")
	mirror := n.wget(t, wget, "fra", "--mirror", site+"/index.html")
	reached, err := filesOf(mirror)
	if err != nil {
		t.Fatal(err)
	}
	if len(reached) < 500 {
		t.Errorf("wget reached %d files by their links", len(reached))
	}
	same(t, folder, mirror, reached)
	// A link with a query is another URL, which nobody has asked for yet.
	queries := slices.DeleteFunc(slices.Clone(reached), func(f string) bool { return !strings.Contains(f, "?") })
	origin.expect(t, int64(len(queries)))

	t.Log("curl over h2")
	hits = over("fra", "h2", "hit")
	same(t, folder, n.curl(t, curl, "fra", files), files)
	origin.expect(t, 0)
	hits.expect(t, total)

	t.Log("our own client over h3")
	hits = over("fra", "h3", "hit")
	same(t, folder, n.download(t, "h3", "fra", files), files)
	origin.expect(t, 0)
	hits.expect(t, total)

	t.Log("curl over h2 through another edge, which has nothing stored")
	misses = over("iad", "h2", "miss")
	same(t, folder, n.curl(t, curl, "iad", files), files)
	origin.expect(t, total)
	misses.expect(t, total)

	t.Log("h3 through the third")
	misses = over("sin", "h3", "miss")
	same(t, folder, n.download(t, "h3", "sin", files), files)
	origin.expect(t, total)
	misses.expect(t, total)
}

// sources are addresses of a scenario's net for clients to come from.
func (n *network) sources(count int) (from []netip.Addr) {
	for i := range count {
		from = append(from, netip.MustParseAddr(fmt.Sprintf("%s.%d.%d", n.net, 200+i/250, i%250+1)))
	}
	return from
}

// wget runs wget against an edge and returns the folder it filled.
func (n *network) wget(t *testing.T, wget, pop string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "wget")
	p := tunnelTo(t, n.net+".0.8:0", n.edge(pop), true, n.sources(50)...)
	cmd := exec.CommandContext(t.Context(), wget, append([]string{
		"--no-config", "--no-verbose", "--ca-certificate", filepath.Join(n.dir, "ca.pem"), "--no-hsts",
		"-e", "robots=off", "-e", "use_proxy=on", "-e", "https_proxy=http://" + p.address, "--tries=1", "--timeout=30",
		"--force-directories", "--no-host-directories", "--directory-prefix", out,
	}, args...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("wget: %v\n%s", err, last(string(text), 10))
	}
	return out
}

// curl gets files over HTTP/2, many at once on one connection, and returns the folder.
func (n *network) curl(t *testing.T, curl, pop string, files []string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "curl")
	var conf strings.Builder
	for _, f := range files {
		fmt.Fprintf(&conf, "url = %q\noutput = %q\n", urlOf(f), filepath.Join(out, f))
	}
	cmd := exec.CommandContext(t.Context(), curl, "--disable", "--config", "-", "--http2", "--parallel", "--parallel-max", "50",
		"--silent", "--show-error", "--fail", "--create-dirs", "--max-time", "300",
		"--cacert", filepath.Join(n.dir, "ca.pem"), "--resolve", host+":8443:"+strings.TrimSuffix(n.edge(pop), ":8443"))
	cmd.Stdin = strings.NewReader(conf.String())
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("curl: %v\n%s", err, last(string(text), 10))
	}
	return out
}

// download gets files with a visitor, several at once, and returns the folder.
func (n *network) download(t *testing.T, proto, pop string, files []string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), proto)
	v := n.via(t, proto, pop)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return
				}
				a, err := v.get(t.Context(), strings.TrimPrefix(urlOf(files[i]), site))
				if err == nil && a.status != http.StatusOK {
					err = fmt.Errorf("status %d", a.status)
				}
				path := filepath.Join(out, files[i])
				if err == nil {
					err = os.MkdirAll(filepath.Dir(path), 0o700)
				}
				if err == nil {
					err = os.WriteFile(path, a.body, 0o600)
				}
				if err != nil {
					t.Errorf("%s %s: %v", proto, files[i], err)
				}
			}
		})
	}
	wg.Wait()
	return out
}

// last returns the last lines of a text.
func last(text string, count int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-count):], "\n")
}
