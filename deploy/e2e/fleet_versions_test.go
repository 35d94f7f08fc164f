//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hither/deploy/fleet/control"
)

// A library is an application whose texts have versions: /v/KEY is the newest of a text, and may be stored for an hour. It knows which
// version each PoP must not be behind, because the PoP has said that it did the purge of those before. It is safe for concurrent use.
type library struct {
	url string

	mu     sync.Mutex
	now    map[string]int            // the newest version, by key
	floors map[string]map[string]int // by PoP and key
	lives  map[string]life           // of PoPs
}

// A life is whether a PoP is there for its clients, and how often it was not.
type life struct {
	up    bool
	since int // how often that has changed
}

// texts is how many texts a library has: with textBytes each, more than the smallest memory tier takes, so that a disk below it has some.
const (
	texts     = 60
	textBytes = 4 << 10
)

// unkept begins the path of a text that may not be stored: who asks for it needs a gateway.
const unkept = "/n/"

func key(i int) string { return fmt.Sprintf("text-%d", i) }

// newLibrary serves the first version of each text.
func newLibrary(t *testing.T, address string) *library {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	l := &library{url: "http://" + ln.Addr().String(), now: map[string]int{}, floors: map[string]map[string]int{}, lives: map[string]life{}}
	for i := range texts {
		l.now[key(i)] = 1
	}
	for pop := range pops {
		l.floors[pop] = map[string]int{}
		l.lives[pop] = life{up: true}
	}
	srv := &http.Server{Handler: l}
	done := make(chan struct{})
	go func() {
		srv.Serve(ln)
		close(done)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return l
}

func (l *library) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, k, _ := strings.Cut(r.URL.Path[1:], "/")
	l.mu.Lock()
	v, ok := l.now[k]
	l.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=3600")
	if strings.HasPrefix(r.URL.Path, unkept) {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprint(k, " ", v)))
	content := text(k, v)
	w.Header().Set("Content-Length", strconv.Itoa(len(content))) // or it may be handed on before all of it is there, and a gateway be killed meanwhile
	w.Write(content)
}

// text is a version of a text: it says in every line what it is.
func text(key string, version int) []byte {
	line := fmt.Appendf(nil, "%s %d\n", key, version)
	return bytes.Repeat(line, textBytes/len(line))
}

// versionOf reads which version of a text an answer is.
func versionOf(key string, a answer, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	if a.status != http.StatusOK {
		return 0, fmt.Errorf("status %d; %s", a.status, a.verdict())
	}
	first, _, _ := strings.Cut(string(a.body), "\n")
	v, err := strconv.Atoi(strings.TrimPrefix(first, key+" "))
	if err != nil || !bytes.Equal(a.body, text(key, v)) {
		return 0, fmt.Errorf("%d bytes that are no version of %s", len(a.body), key)
	}
	return v, nil
}

// publish makes a new version of texts.
func (l *library) publish(keys ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.now[k]++
	}
}

// newest returns versions as they are.
func (l *library) newest(keys ...string) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := map[string]int{}
	for _, k := range keys {
		v[k] = l.now[k]
	}
	return v
}

// raise notes that a PoP answers with nothing older of a text from now on.
func (l *library) raise(pop, key string, version int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.floors[pop]; f != nil {
		f[key] = max(f[key], version)
	}
}

// floor is what a PoP must not be behind of a text, and how it lives.
func (l *library) floor(pop, key string) (int, life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.floors[pop][key], l.lives[pop]
}

// alive notes that a PoP is there for its clients, or is not.
func (l *library) alive(pop string, up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lives[pop] = life{up: up, since: l.lives[pop].since + 1}
}

// A publisher publishes and purges, a few texts at a time, until it is stopped.
type publisher struct {
	n       *network
	library *library
	random  *rand.Rand

	owed    map[string]bool // texts with a version whose purge nobody has taken yet
	waits   []control.Purge // purges which not all PoPs had done
	purged  atomic.Int64    // orders that the hub took
	refused atomic.Int64    // calls that failed
	rounds  atomic.Int64
	hubs    atomic.Int64 // grows when the hub has lost its disk: older orders are nobody's then
	known   int64        // hubs when waits began
	asked   map[uint64]map[string]int
}

// purgeWait is how long a call waits for PoPs.
const purgeWait = "2s"

func newPublisher(n *network, l *library, random *rand.Rand) *publisher {
	return &publisher{n: n, library: l, random: random, owed: map[string]bool{}, asked: map[uint64]map[string]int{}}
}

// run publishes until ctx ends, and then has all taken that is owed. An error is a call that hangs or what it says that cannot be.
func (p *publisher) run(ctx context.Context) error {
	for ctx.Err() == nil {
		for range 1 + p.random.IntN(4) {
			p.owed[key(p.random.IntN(texts))] = true
		}
		var keys []string
		for k := range p.owed {
			keys = append(keys, k)
		}
		p.library.publish(keys...)
		if err := p.purge(keys); err != nil {
			return err
		}
		p.rounds.Add(1)
	}
	for range 20 {
		if len(p.owed) == 0 {
			return nil
		}
		var keys []string
		for k := range p.owed {
			keys = append(keys, k)
		}
		if err := p.purge(keys); err != nil {
			return err
		}
	}
	return fmt.Errorf("nobody takes the purge of %d texts", len(p.owed))
}

// purge has the fleet forget texts, and raises what PoPs must not be behind by what they say.
func (p *publisher) purge(keys []string) error {
	now := p.library.newest(keys...)
	slices.Sort(keys)
	args := []string{"purge", "url"}
	for _, k := range keys {
		args = append(args, site+"/v/"+k)
	}
	hubs := p.hubs.Load()
	if hubs != p.known {
		p.known, p.waits = hubs, nil
		clear(p.asked)
	}
	all, err := p.n.purges(append(args, "--wait", "--timeout", purgeWait)...)
	if err != nil {
		p.refused.Add(1)
		if errors.Is(err, errHangs) {
			return err
		}
		return nil
	}
	for _, one := range all {
		k := one.Value[strings.LastIndexByte(one.Value, '/')+1:]
		v, ours := now[k]
		if !ours {
			return fmt.Errorf("a purge of %v was answered with one of %q", keys, one.Value)
		}
		delete(p.owed, k)
		p.purged.Add(1)
		p.asked[one.ID] = map[string]int{k: v}
		p.note(one)
		if !one.Complete {
			p.waits = append(p.waits, one)
		}
	}
	return p.again(hubs)
}

// again asks what became of purges that were not complete.
func (p *publisher) again(hubs int64) error {
	if len(p.waits) == 0 {
		return nil
	}
	all, err := p.n.purges("fleet", "purges", "--last", "50")
	if err != nil || hubs != p.hubs.Load() {
		if errors.Is(err, errHangs) {
			return err
		}
		return nil
	}
	for _, one := range all {
		// A hub that was restored gives numbers again that it has lost.
		i := slices.IndexFunc(p.waits, func(w control.Purge) bool { return w.ID == one.ID && w.Value == one.Value && w.At.Equal(one.At) })
		if i < 0 {
			continue
		}
		p.note(one)
		if one.Complete {
			p.waits = slices.Delete(p.waits, i, i+1)
		}
	}
	return nil
}

// note raises what PoPs must not be behind.
func (p *publisher) note(one control.Purge) {
	for k, v := range p.asked[one.ID] {
		for _, x := range one.PoPs {
			if x.State == control.Done {
				p.library.raise(x.PoP, k, v)
			}
		}
	}
}

// errHangs is a command that did not end.
var errHangs = errors.New("it does not end")

// operate runs a command that leads the fleet, with the operator's own identity, so that it asks the hub or nobody. It may be called from any goroutine.
func (n *network) operate(args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append(args, "--state", n.dir)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("hither %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", errHangs, err)
	}
	return out.String(), errs.String(), err
}

// purges runs a command whose document is one purge or several.
func (n *network) purges(args ...string) ([]control.Purge, error) {
	out, _, err := n.operate(append(args, "-o", "json", "--bundle", n.dir+"/operator")...)
	if errors.Is(err, errHangs) {
		return nil, err
	}
	var doc struct {
		Schema string          `json:"schema"`
		Purges []control.Purge `json:"purges"`
		control.Purge
	}
	if bad := json.Unmarshal([]byte(out), &doc); bad != nil {
		return nil, fmt.Errorf("%w; %w", err, bad) // it says nothing where nothing was taken
	}
	if strings.HasPrefix(doc.Schema, "hither/purges/") {
		return doc.Purges, nil
	}
	return []control.Purge{doc.Purge}, nil
}

// readers are clients of a library at every PoP, over every protocol.
type readers struct {
	n       *network
	library *library
	good    atomic.Int64
	excused atomic.Int64 // failed at a PoP that was not there
	lost    ledger
	stale   ledger
	wg      sync.WaitGroup
	stop    context.CancelFunc
}

// readEvery is the pause between two requests of one client.
const readEvery = 25 * time.Millisecond

// read begins to ask at each PoP over each protocol until end.
func (n *network) read(t *testing.T, l *library, seed uint64) *readers {
	t.Helper()
	c := &readers{n: n, library: l}
	ctx, cancel := context.WithCancel(t.Context())
	c.stop = cancel
	from, i := n.sources(len(pops)*len(protocols)), 0
	for pop := range pops {
		for _, proto := range protocols {
			random, w := rand.New(rand.NewPCG(seed, uint64(i))), visit{proto: proto, pops: []string{pop}, from: from[i]}
			c.wg.Go(func() {
				tick := time.NewTicker(readEvery)
				defer tick.Stop()
				v, born := n.visitor(t, w), life{up: true}
				for {
					select {
					case <-tick.C:
					case <-ctx.Done():
						return
					}
					k := key(random.IntN(texts))
					floor, before := l.floor(pop, k)
					if before != born { // the connections went with the process
						v.http.CloseIdleConnections()
						v, born = n.visitor(t, w), before
					}
					path := "/v/" + k
					if random.IntN(8) == 0 {
						path = unkept + k
					}
					a, err := v.get(context.WithoutCancel(ctx), path)
					_, after := l.floor(pop, k)
					c.judge(fmt.Sprintf("%s over %s, %s", pop, proto, k), k, floor, !before.up || before != after, a, err)
				}
			})
			i++
		}
	}
	t.Cleanup(c.end)
	return c
}

// judge takes one answer; excused is that the PoP was not there all the time.
func (c *readers) judge(what, key string, floor int, excused bool, a answer, err error) {
	switch v, err := versionOf(key, a, err); {
	case err == nil && v < floor:
		c.stale.add("%s: version %d, and the PoP has said that it has forgotten all before %d; %s", what, v, floor, a.verdict())
	case err == nil:
		c.good.Add(1)
	case excused:
		c.excused.Add(1)
	default:
		c.lost.add("%s at %s: %v", what, time.Now().Format("15:04:05.000"), err)
	}
}

func (c *readers) end() {
	c.stop()
	c.wg.Wait()
}

// outdated asks every PoP for every text, and lists what is not the newest.
func (n *network) outdated(t *testing.T, l *library, at ...string) (wrong []string) {
	t.Helper()
	for _, pop := range at {
		for i, v := range []*visitor{n.via(t, "h1", pop), n.via(t, "h2", pop), n.via(t, "h3", pop)} {
			for j := i; j < texts; j += len(protocols) {
				k := key(j)
				a, err := v.get(t.Context(), "/v/"+k)
				got, err := versionOf(k, a, err)
				if want := l.newest(k)[k]; err != nil || got != want {
					wrong = append(wrong, fmt.Sprintf("%s, %s: version %d, not %d; %v, %s", pop, k, got, want, err, a.verdict()))
				}
			}
		}
	}
	return wrong
}

// refusedAt lists the nodes that keep a network file which they did not take.
func (n *network) refusedAt(t *testing.T, nodes ...string) (at []string) {
	t.Helper()
	for _, node := range nodes {
		if _, err := os.Stat(n.state(node) + "/revision/refused.yaml"); err == nil {
			at = append(at, node)
		}
	}
	return at
}
