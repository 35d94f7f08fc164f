//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

// A shelf is what one order names: objects that all PoPs have stored when it is given. Nobody else gives an order of it before they have it again.
type shelf struct {
	order  bus.Order
	paths  []string // with their host
	purged int
}

// newShelves are 610 objects, that 550 orders name: by URL, by tag, by prefix, and all of a host.
func newShelves() (all []*shelf) {
	add := func(kind, value string, paths ...string) {
		all = append(all, &shelf{order: bus.Order{Kind: kind, Value: value}, paths: paths})
	}
	for i := range 500 {
		path := fmt.Sprintf("%s/u/%d", host, i)
		add("url", path, path)
	}
	for i := range 30 {
		add("tag", fmt.Sprintf("t%d", i), fmt.Sprintf("%s/t/%d/1", host, i), fmt.Sprintf("%s/t/%d/2", host, i))
	}
	for i := range 19 {
		add("prefix", fmt.Sprintf("%s/p/%d/", host, i), fmt.Sprintf("%s/p/%d/1", host, i), fmt.Sprintf("%s/p/%d/2", host, i))
	}
	all = append(all, &shelf{order: bus.Order{Kind: "host", Value: shop}})
	for i := range 12 {
		all[len(all)-1].paths = append(all[len(all)-1].paths, fmt.Sprintf("%s/h/%d", shop, i))
	}
	return all
}

// shop is the host of another site: the hosts of one share what is stored, and so a purge of one is of all.
const shop = "shop.hither.test"

// A sweep gives orders, and looks up what they named at every PoP when it has their receipts.
type sweep struct {
	n      *network
	app    *app
	token  string
	client *http.Client
	lost   ledger
	wg     sync.WaitGroup

	at map[string]*visitor // by PoP, but for the one that is killed

	door sync.RWMutex // held for reading by who looks at edge-sin, and for writing while that is away
	sin  *visitor

	mu    sync.Mutex // guards what follows
	free  []*shelf   // the next one first
	ids   []uint64   // of purges
	looks int
}

// take takes shelves for orders, fewer where no more have been filled again.
func (s *sweep) take(most int) []*shelf {
	s.mu.Lock()
	defer s.mu.Unlock()
	some := slices.Clone(s.free[:min(most, len(s.free))])
	s.free = s.free[len(some):]
	return some
}

// given is how many orders have their receipts and were looked up.
func (s *sweep) given() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

// get asks a PoP for an object.
func (s *sweep) get(t *testing.T, pop, path string) (answer, error) {
	v := s.at[pop]
	if pop == "sin" {
		s.door.RLock()
		defer s.door.RUnlock()
		v = s.sin
	}
	r, err := http.NewRequest(http.MethodGet, "https://"+strings.Replace(path, "/", ":8443/", 1), nil)
	if err != nil {
		return answer{}, err
	}
	return v.do(t.Context(), r)
}

// answered says what is wrong with a PoP's answer to who asks for an object which it has stored, or has not.
func answered(pop, path string, stored bool, a answer, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s, %s: %w", pop, path, err)
	case a.status != http.StatusOK || !bytes.Equal(a.body, content(path[strings.IndexByte(path, '/'):])):
		return fmt.Errorf("%s, %s: status %d, %d bytes", pop, path, a.status, len(a.body))
	case !strings.HasPrefix(a.verdict(), pop+";") || strings.Contains(a.verdict(), "; hit") != stored:
		return fmt.Errorf("%s, %s: %s; stored should be %t", pop, path, a.verdict(), stored)
	}
	return nil
}

// told says what is wrong with what the control says of orders that all PoPs have carried out.
func told(orders []*shelf, purges []control.Purge) error {
	if len(purges) != len(orders) {
		return fmt.Errorf("%d purges of %d orders", len(purges), len(orders))
	}
	for i, p := range purges {
		if p.ID == 0 || p.Kind != orders[i].order.Kind || p.Value != orders[i].order.Value || !p.Complete || p.Done != len(pops) ||
			slices.ContainsFunc(p.PoPs, func(at control.PoPPurge) bool { return at.State != control.Done }) {
			return fmt.Errorf("%s %s: %+v", orders[i].order.Kind, orders[i].order.Value, p)
		}
	}
	return nil
}

// numbered says whether numbers of purges are one after the other, with none left out and none given twice.
func numbered(ids []uint64) error {
	ids = slices.Sorted(slices.Values(ids))
	for i := 1; i < len(ids); i++ {
		if ids[i] != ids[i-1]+1 {
			return fmt.Errorf("purge %d comes after %d", ids[i], ids[i-1])
		}
	}
	return nil
}

// asked lists objects that the application was not asked for once by each PoP for each purge, beside what it was asked before.
func (s *sweep) asked(all []*shelf, before map[string]int) (wrong []string) {
	for _, x := range all {
		for _, path := range x.paths {
			if got, want := s.times(path)-before[path], len(pops)*x.purged; got != want {
				wrong = append(wrong, fmt.Sprintf("%s was purged %d times, and asked for %d times at the application, not %d", path, x.purged, got, want))
			}
		}
	}
	return wrong
}

func (s *sweep) times(path string) int { return s.app.times(path[strings.IndexByte(path, '/'):]) }

// post gives orders to the API in one list, and returns what it says when every PoP has carried them out.
func (s *sweep) post(orders []*shelf) ([]control.Purge, error) {
	var list []bus.Order
	for _, x := range orders {
		list = append(list, x.order)
	}
	body, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+s.n.at("0.1", 9190)+"/purge", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Prefer", "wait=40")
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var doc struct {
		Schema string          `json:"schema"`
		Purges []control.Purge `json:"purges"`
	}
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err != nil || resp.StatusCode != http.StatusOK || doc.Schema != "hither/purges/1" {
		return nil, fmt.Errorf("status %d, %w: %.200s", resp.StatusCode, err, text)
	}
	return doc.Purges, nil
}

// begin has orders given, and what they named looked up when they have their receipts. The shelves are free again then.
func (s *sweep) begin(t *testing.T, orders []*shelf, give func([]*shelf) ([]control.Purge, error)) {
	s.wg.Go(func() {
		purges, err := give(orders)
		if err == nil {
			err = told(orders, purges)
		}
		if err != nil {
			s.lost.add("%v", err)
			return
		}
		var wg sync.WaitGroup
		for pop := range pops {
			wg.Go(func() {
				for _, x := range orders {
					s.look(t, pop, x)
				}
			})
		}
		wg.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, p := range purges {
			orders[i].purged++
			s.ids = append(s.ids, p.ID)
		}
		s.free = append(s.free, orders...)
	})
}

// look asks a PoP for what was purged: it has none of it, and stores it then.
func (s *sweep) look(t *testing.T, pop string, x *shelf) {
	for _, path := range x.paths {
		a, err := s.get(t, pop, path)
		if wrong := answered(pop, path, false, a, err); wrong != nil {
			s.lost.add("after its receipt: %v", wrong)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks += len(x.paths)
}

// fill has every PoP store every object, and asks again, so that the one with a disk brings what it gives up there.
func (s *sweep) fill(t *testing.T, all []*shelf) {
	t.Helper()
	var wg sync.WaitGroup
	for pop := range pops {
		wg.Go(func() {
			for _, x := range all {
				for _, path := range slices.Concat(x.paths, x.paths) {
					if a, err := s.get(t, pop, path); err != nil || a.status != http.StatusOK {
						s.lost.add("before: %s, %s: status %d, %v", pop, path, a.status, err)
					}
				}
			}
		})
	}
	wg.Wait()
	s.lost.report(t)
}

// killed kills edge-sin, with all that it has in memory, and starts it again. Meanwhile nobody looks there.
func (s *sweep) killed(t *testing.T) *process {
	t.Helper()
	s.door.Lock()
	defer s.door.Unlock()
	given := s.given()
	s.n.signal(t, "edge-sin", syscall.SIGKILL)
	if !s.n.up.stderr.wait(endTime, "edge-sin ended", 1) {
		t.Fatalf("edge-sin was killed and runs:\n%s", s.n.up.stderr)
	}
	p := start(t, program, "edge", "--name", "sin", "--state", s.n.state("edge-sin"))
	s.n.await(t, "edge-sin", p)
	s.sin = s.n.via(t, "h3", "sin")
	t.Logf("edge-sin was killed and started when %d purges were done", given)
	return p
}
