//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	cdpnetwork "github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A browser is a Chromium with a profile of its own, which finds names by one resolver.
type browser struct {
	ctx context.Context

	mu   sync.Mutex
	said []string // errors of the console and of requests, since the last load
}

// browserTime bounds what Chromium does: its start, or the load of a page.
const browserTime = time.Minute

// startBrowser starts Chromium. The resolver is the only one that its resolv.conf names, in a
// mount namespace of its own: nothing is mapped by flags. It takes what the roots in ca,
// a file, have signed; "" is none.
func startBrowser(t *testing.T, resolver, ca string, flags ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	chromium, unshare := peer(t, "chromium", "chromium"), peer(t, "unshare", "util-linux")
	home := t.TempDir()
	conf := filepath.Join(home, "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver "+resolver+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if ca != "" {
		believe(t, home, ca)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(chromium),
		chromedp.UserDataDir(filepath.Join(home, "profile")),
		chromedp.NoSandbox, // it has no sandbox as root, who may mount
		chromedp.DisableGPU,
		chromedp.Env("HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+filepath.Join(home, ".local", "share")),
		chromedp.WSURLReadTimeout(browserTime),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			// The shell's own arguments are the file and the browser's command line.
			script := `mount --bind "$0" /etc/resolv.conf && exec "$@"`
			cmd.Args = append([]string{unshare, "--mount", "sh", "-c", script, conf}, cmd.Args...)
			cmd.Path = unshare
			// A test that is killed runs no cleanup: the kernel then ends what it started.
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		}),
	)
	allocator, free := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	b := new(browser)
	var leave context.CancelFunc
	b.ctx, leave = chromedp.NewContext(allocator, chromedp.WithListener(b.hear))
	t.Cleanup(func() {
		end, enough := context.WithTimeout(b.ctx, browserTime)
		if err := chromedp.Cancel(end); err != nil {
			t.Errorf("chromium: %v", err)
		}
		enough()
		leave()
		free()
		noProcesses(t, home)
	})
	if err := b.within(func() error { return chromedp.Do(b.ctx) }); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return b
}

// believe makes the certificate store of a user, in whose home Chromium looks for it.
func believe(t *testing.T, home, ca string) {
	t.Helper()
	certutil := peer(t, "certutil", "libnss3-tools")
	for _, folder := range []string{".pki/nssdb", ".local/share/pki/nssdb"} {
		store := filepath.Join(home, folder)
		if err := os.MkdirAll(store, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"-N", "-d", "sql:" + store, "--empty-password"},
			{"-A", "-d", "sql:" + store, "-n", "hither", "-t", "C,,", "-i", ca},
		} {
			if out, err := exec.CommandContext(t.Context(), certutil, args...).CombinedOutput(); err != nil {
				t.Fatalf("certutil %v: %v\n%s", args, err, out)
			}
		}
	}
}

// within bounds what is done in the browser. A context with a timeout would end the
// browser too, if it is the first that is used.
func (b *browser) within(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(browserTime):
		return fmt.Errorf("nothing for %v", browserTime)
	}
}

// hear notes what goes wrong in a page.
func (b *browser) hear(event any) {
	text := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			text = fmt.Sprintf("console.%s", e.Type)
			for _, a := range e.Args {
				text += " " + string(a.Value)
			}
		}
	case *runtime.EventExceptionThrown:
		text = "exception: " + e.ExceptionDetails.Text
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			text = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *cdpnetwork.EventLoadingFailed:
		text = "request failed: " + e.ErrorText
	}
	if text == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, text)
}

// A load is what came of a page.
type load struct {
	Title     string
	Protocol  string            // of the page itself, as in ALPN
	Resources map[string]string // the same, of all else it loaded
	Images    map[string]int    // natural widths
	said      []string
}

// pageScript tells of the page it runs in. An image that has not been loaded has no
// natural width.
const pageScript = `JSON.stringify({
	Title: document.title,
	Protocol: performance.getEntriesByType('navigation')[0].nextHopProtocol,
	Resources: Object.fromEntries(performance.getEntriesByType('resource').map(r => [r.name, r.nextHopProtocol])),
	Images: Object.fromEntries(Array.from(document.images).map(i => [i.src, i.naturalWidth])),
})`

// load loads a page, with all that it needs.
func (b *browser) load(url string) (l load, err error) {
	b.mu.Lock()
	b.said = nil
	b.mu.Unlock()
	var text string
	err = b.within(func() (err error) {
		if err = chromedp.Do(b.ctx, chromedp.Navigate(url)); err == nil {
			text, err = chromedp.Run(b.ctx, chromedp.Evaluate[string](pageScript))
		}
		return err
	})
	if err != nil {
		return l, fmt.Errorf("%s: %w", url, err)
	}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return l, fmt.Errorf("%s: %w", url, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l.said = slices.Clone(b.said)
	return l, nil
}

// wrong says what is wrong with a page which should have come over a protocol, with so
// many different images.
func (l load) wrong(proto string, images int) (wrong []string) {
	if l.Protocol != proto {
		wrong = append(wrong, fmt.Sprintf("the page came over %q, not %s", l.Protocol, proto))
	}
	for name, p := range l.Resources {
		if p != proto {
			wrong = append(wrong, fmt.Sprintf("%s came over %q, not %s", name, p, proto))
		}
	}
	if len(l.Images) != images {
		wrong = append(wrong, fmt.Sprintf("%d images, not %d", len(l.Images), images))
	}
	for name, width := range l.Images {
		if width <= 0 {
			wrong = append(wrong, name+" has no natural width")
		}
	}
	for _, s := range l.said {
		wrong = append(wrong, "the console has: "+s)
	}
	slices.Sort(wrong)
	return wrong
}

// manualPage is one with pictures of both sorts.
const (
	manualPage   = "/library/turtle.html"
	manualImages = 2
)

// TestBrowser has Chromium load a page of a real site by its name: through unbound and
// our DNS, and from the edge that these tell it.
func TestBrowser(t *testing.T) {
	scenario(t, "browser")
	folder, _ := copyDocs(t)
	n := run(t, setup{net: "127.74", site: folder})
	resolver := n.unbound(t)
	ca := filepath.Join(n.dir, "ca.pem")
	for _, c := range []struct {
		proto string
		flags []chromedp.ExecAllocatorOption
	}{
		{"h2", nil},
		// Over QUIC it takes no authority that a user added, but for these origins.
		{"h3", []chromedp.ExecAllocatorOption{chromedp.Flag("origin-to-force-quic-on", host+":8443")}},
	} {
		t.Log(c.proto)
		asked := n.meter(t, "dns-ns1", "hither_dns_queries_total")
		served := n.meter(t, "edge-fra", "hither_edge_requests_total", "proto", c.proto)
		elsewhere := n.meter(t, "edge-fra", "hither_edge_requests_total")
		b := startBrowser(t, resolver, ca, c.flags...)
		l, err := b.load(site + manualPage)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range l.wrong(c.proto, manualImages) {
			t.Error(w)
		}
		if !strings.HasPrefix(l.Title, "turtle") {
			t.Errorf("the title is %q", l.Title)
		}
		t.Logf("%d resources, images %v", len(l.Resources), l.Images)
		if got := served.grown(t); got < int64(1+len(l.Resources)) || got != elsewhere.grown(t) {
			t.Errorf("the edge had %d requests over %s and %d in all, for a page with %d resources", got, c.proto, elsewhere.grown(t), len(l.Resources))
		}
		if c.proto == "h2" && asked.grown(t) == 0 {
			t.Error("the name was found without our DNS")
		}
	}
}
