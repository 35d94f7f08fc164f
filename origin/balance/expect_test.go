package balance

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// sized is an answer with a content of n bytes to a request for a path.
func sized(t testing.TB, b *Balancer, id string, path uint64, status int, n int64) Verdict {
	t.Helper()
	return sizedAs(t, b, id, path, Header{Status: status, Length: n, Comparable: true}, n)
}

func sizedAs(t testing.TB, b *Balancer, id string, path uint64, h Header, n int64) Verdict {
	t.Helper()
	var others []string
	for _, i := range b.instances {
		if i.ID != id {
			others = append(others, i.ID)
		}
	}
	p := pick(t, b, Query{Tried: others, Path: path})
	if p.Instance() != id {
		t.Fatalf("picked %s", p.Instance())
	}
	v := p.Header(h)
	bad := of(t, b, id).OutcomesTotal["bad"]
	p.Done(Outcome{FirstByte: time.Millisecond, Bytes: n})
	if v == Pending {
		if v = Good; of(t, b, id).OutcomesTotal["bad"] > bad {
			v = Bad
		}
	}
	return v
}

// expecting never ejects, so that an instance can be asked as often as a test wants.
func expecting(e Expect) Config { return Config{Expect: e, Seed: 1} }

func TestExpectShort(t *testing.T) {
	b, _ := balancer(t, expecting(Expect{MinBytes: 10}), these("a", "b"))
	for name, c := range map[string]struct {
		h     Header
		bytes int64
		want  Verdict
	}{
		"enough":             {Header{Status: 200, Length: 10}, 10, Good},
		"short":              {Header{Status: 200, Length: 9}, 9, Bad},
		"nothing":            {Header{Status: 200}, 0, Bad},
		"unknown, enough":    {Header{Status: 200, Length: -1}, 10, Good},
		"unknown, short":     {Header{Status: 200, Length: -1}, 9, Bad},
		"unknown, uncounted": {Header{Status: 200, Length: -1}, -1, Good},
		"head":               {Header{Status: 200, Length: 0, Head: true}, 0, Good},
		"no content":         {Header{Status: 204}, 0, Good},
		"not modified":       {Header{Status: 304}, 0, Good},
		"partial":            {Header{Status: 206, Length: 1}, 1, Good},
		"redirect":           {Header{Status: 302}, 0, Good},
		"switched":           {Header{Status: 101}, -1, Good},
		"not found":          {Header{Status: 404}, 0, Neutral},
		"not implemented":    {Header{Status: 501}, 0, Neutral},
		"version":            {Header{Status: 505}, 0, Neutral},
		"failed":             {Header{Status: 500, Length: 100}, 100, Bad},
		"gateway":            {Header{Status: 502, Length: 100}, 100, Bad},
		"no status":          {Header{Status: 600}, 0, Bad},
	} {
		if v := sizedAs(t, b, "a", 0, c.h, c.bytes); v != c.want {
			t.Errorf("%s: %s, want %s", name, v, c.want)
		}
	}
	if n := b.Status().AnomaliesTotal; n["short"] != 3 || n["shorter"] != 0 || n["odd-status"] != 0 {
		t.Errorf("%v", n)
	}
	// Only what is declared is expected.
	b, _ = balancer(t, expecting(Expect{}), these("a", "b"))
	for _, h := range []Header{{Status: 200}, {Status: 200, Length: -1}} {
		p := pick(t, b, Query{})
		if v := p.Header(h); v != Good {
			t.Errorf("%+v: %s with nothing declared", h, v)
		}
		p.Done(Outcome{})
	}
	// While the length is unknown, so is the verdict.
	b, _ = balancer(t, expecting(Expect{MinBytes: 1}), these("a"))
	if v := pick(t, b, Query{}).Header(Header{Status: 200, Length: -1}); v != Pending {
		t.Error(v)
	}
}

func TestExpectShorter(t *testing.T) {
	cfg := expecting(Expect{MinRatio: .25})
	learnt := func() (*Balancer, *clock) {
		b, c := balancer(t, cfg, these("a", "b", "c", "d"))
		for range 3 {
			for _, id := range []string{"a", "b", "c"} {
				if v := sized(t, b, id, 1, 200, 4000); v != Good {
					t.Fatal(v)
				}
			}
		}
		return b, c
	}
	b, _ := learnt()
	for _, x := range []struct {
		name string
		path uint64
		h    Header
		n    int64
		want Verdict
	}{
		{"shorter", 1, Header{Status: 200, Length: 999, Comparable: true}, 999, Bad},
		{"a quarter", 1, Header{Status: 200, Length: 1000, Comparable: true}, 1000, Good},
		{"another path", 2, Header{Status: 200, Length: 1, Comparable: true}, 1, Good},
		{"no path", 0, Header{Status: 200, Length: 1, Comparable: true}, 1, Good},
		{"not comparable", 1, Header{Status: 200, Length: 1}, 1, Good},
		{"length unknown", 1, Header{Status: 200, Length: -1, Comparable: true}, 999, Bad},
		{"head", 1, Header{Status: 200, Comparable: true, Head: true}, 0, Good},
	} {
		if v := sizedAs(t, b, "d", x.path, x.h, x.n); v != x.want {
			t.Errorf("%s: %s, want %s", x.name, v, x.want)
		}
	}
	if n := b.Status().AnomaliesTotal["shorter"]; n != 2 {
		t.Errorf("%d", n)
	}
	// Content that has shrunk everywhere costs each instance few answers.
	b, _ = learnt()
	bad := 0
	for range 10 {
		for _, id := range []string{"a", "b", "c"} {
			if sized(t, b, id, 1, 200, 100) == Bad {
				bad++
			}
		}
	}
	if bad > 3 {
		t.Errorf("%d answers were bad after the content had shrunk", bad)
	}
	// What is longer than a minute past says nothing.
	b, c := learnt()
	c.pass(61 * time.Second)
	if v := sized(t, b, "d", 1, 200, 1); v != Good {
		t.Errorf("compared with what was a minute ago: %s", v)
	}
	// Two answers are too few.
	b, _ = balancer(t, cfg, these("a", "b"))
	sized(t, b, "a", 1, 200, 4000)
	sized(t, b, "a", 1, 200, 4000)
	if v := sized(t, b, "b", 1, 200, 1); v != Good {
		t.Errorf("compared with two answers: %s", v)
	}
	// Who is gone is not compared with.
	b, _ = learnt()
	if err := b.Set(these("d")); err != nil {
		t.Fatal(err)
	}
	if v := sized(t, b, "d", 1, 200, 1); v != Good {
		t.Errorf("compared with who is gone: %s", v)
	}
}

func TestExpectOddStatus(t *testing.T) {
	b, c := balancer(t, expecting(Expect{MinBytes: 1}), these("a", "b", "c", "d"))
	for _, id := range []string{"a", "b", "c", "a", "b", "c"} {
		sized(t, b, id, 1, 200, 4000)
	}
	for status, want := range map[int]Verdict{404: Bad, 410: Bad, 403: Neutral, 400: Neutral} {
		if v := sized(t, b, "d", 1, status, 0); v != want {
			t.Errorf("%d: %s, want %s", status, v, want)
		}
	}
	if v := sized(t, b, "d", 2, 404, 0); v != Neutral {
		t.Errorf("404 of another path: %s", v)
	}
	// Gone everywhere: each instance is suspected once at most.
	bad := 0
	for range 5 {
		for _, id := range []string{"a", "b", "c"} {
			if sized(t, b, id, 1, 404, 0) == Bad {
				bad++
			}
		}
	}
	if bad > 1 {
		t.Errorf("%d answers were bad after the path was gone", bad)
	}
	for _, id := range []string{"a", "b", "c"} {
		sized(t, b, id, 3, 200, 4000)
	}
	c.pass(61 * time.Second)
	if v := sized(t, b, "d", 3, 404, 0); v != Neutral {
		t.Errorf("compared with what was a minute ago: %s", v)
	}
	// Nothing is declared: a 404 is the client's affair.
	b, _ = balancer(t, expecting(Expect{}), these("a", "b"))
	for range 3 {
		sized(t, b, "a", 1, 200, 4000)
	}
	if v := sized(t, b, "b", 1, 404, 0); v != Neutral {
		t.Errorf("nothing declared: %s", v)
	}
}

// TestPathsBounded: the table forgets the path used longest ago, and of a path the instance that answered longest ago.
func TestPathsBounded(t *testing.T) {
	var p paths
	var l []*instance
	for n := range 20 {
		l = append(l, &instance{Instance: Instance{ID: fmt.Sprint(n)}})
	}
	for path := range uint64(3000) {
		p.learn(path, l[0], 1, 0, 0)
		p.find(7)
	}
	if len(p.by) != mostPaths || p.order.Len() != mostPaths || p.find(7) == nil || p.find(8) != nil || p.find(2999) == nil {
		t.Errorf("%d paths, %d in order", len(p.by), p.order.Len())
	}
	for n, i := range l {
		p.learn(7, i, 1, 0, int64(n))
	}
	each := p.find(7).each
	if len(each) != mostSeen || slices.ContainsFunc(each, func(s seen) bool { return s.at == l[1] }) || !slices.ContainsFunc(each, func(s seen) bool { return s.at == l[19] }) {
		t.Errorf("%d instances of a path", len(each))
	}
}
