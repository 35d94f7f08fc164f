package cache

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// heap is a store that can be looked into.
type heap map[Key]*Object

func (s heap) Get(k Key) *Object { return s[k] }

// What is explained is the sum that was made when the response came, whatever it said:
// its terms give the age, and its source the lifetime.
func TestFreshnessIsTheSum(t *testing.T) {
	line := rapid.SampledFrom([]string{"", "max-age=60", "max-age=0", "s-maxage=5, max-age=60", "public", "no-cache", "max-age=x", "max-age=60, must-revalidate",
		"max-age=9, stale-while-revalidate=3, stale-if-error=4", "s-maxage=7, stale-if-error=1", "proxy-revalidate"})
	seconds := rapid.IntRange(-200, 100_000)
	rapid.Check(t, func(t *rapid.T) {
		h := make(http.Header)
		date := func(name string) {
			if rapid.Bool().Draw(t, name) {
				h.Set(name, noon.Add(time.Duration(seconds.Draw(t, name+" at"))*time.Second).Format(http.TimeFormat))
			}
		}
		h.Set("Date", noon.Add(-time.Duration(seconds.Draw(t, "date"))*time.Second).Format(http.TimeFormat))
		date("Expires")
		date("Last-Modified")
		for _, name := range [...]string{"Cache-Control", "Cdn-Cache-Control", "Surrogate-Control"} {
			if v := line.Draw(t, name); v != "" {
				h.Set(name, v)
			}
		}
		if v := rapid.SampledFrom([]string{"", "0", "7", "600", "x", "99999999999"}).Draw(t, "age"); v != "" {
			h.Set("Age", v)
		}
		p := Policy{WhileRevalidate: time.Second, IfError: time.Minute}
		if rapid.Bool().Draw(t, "rule") {
			ttl := 90 * time.Second
			p.TTL = &ttl
		}
		status := rapid.SampledFrom([]int{200, 203, 302, 404, 500}).Draw(t, "status")
		sent := noon.Add(-time.Duration(rapid.IntRange(-5, 5000).Draw(t, "delay")) * time.Millisecond)
		o, why := p.admit(Key{Site: "www", Path: "/"}, http.Header{}, status, h, sent, noon)
		if o == nil {
			t.Skip(why)
		}
		now := noon.Add(time.Duration(seconds.Draw(t, "now")) * time.Second)
		l := Look{Object: o}.At(now)
		f := p.Freshness(l, now)
		real := termsOf(h, sent, noon)
		sum := min(maxAge, max(f.Apparent, f.AgeValue+f.Delay))
		switch {
		case f.Initial != sum || f.Current != f.Initial+f.Resident || f.TTL != f.Lifetime-f.Current && !o.ahead(now) || f.TTL != l.TTL || f.Current != l.Age:
			t.Fatalf("the sum is no sum: %+v of %+v", f, h)
		case f.Apparent != real.apparent || f.Delay != real.delay || !f.Date.Equal(real.date):
			t.Fatalf("%+v, the terms were %+v", f, real)
		case f.AgeMost && real.value > f.AgeValue, !f.AgeMost && f.AgeValue != min(real.value, maxAge-real.delay):
			t.Fatalf("age_value %v (at most: %v), was %v", f.AgeValue, f.AgeMost, real.value)
		}
		_, source := lifetime(status, h, controlOf(h), noon)
		if f.Source == SourceEarlier || f.Source != SourceRule && f.Source != source || f.WhileRevalidateBy == ByEarlier || f.IfErrorBy == ByEarlier {
			t.Fatalf("the lifetime %v is by %v, windows by %q, %q: %v", f.Lifetime, f.Source, f.WhileRevalidateBy, f.IfErrorBy, h)
		}
		if f.Source.Explicit() && f.Source != SourceRule && f.Line == "" {
			t.Fatalf("the field of %v is missing", f.Source)
		}
		// A rule that came later is no reason of a lifetime that was given before it.
		other := 77 * time.Minute
		if f = (Policy{TTL: &other}).Freshness(l, now); f.Lifetime != o.Lifetime || f.Source == SourceRule && o.Lifetime != o.Age+other {
			t.Fatalf("after the rule changed: %+v", f)
		}
	})
}

// A trail is left without changing what is found.
func TestTrail(t *testing.T) {
	k := Key{Site: "www", Path: "/"}
	post := &Object{Key: k, Kind: Signpost, Vary: []string{"Accept-Encoding", "Accept-Language", "Cookie"}, Epoch: 46}
	ask := http.Header{"Accept-Language": {"de , en;q=0.5"}, "Cookie": {"a=1"}}
	own := k
	own.Vary = variant(post, ask)
	page := &Object{Key: own, Status: 200, Received: noon, Lifetime: time.Minute}
	stored := heap{k: post, own: page}
	var tr trail
	got := look(stored, k, ask, noon, &tr)
	if got != look(stored, k, ask, noon, nil) || got.Object != page || tr.signpost != post || tr.pass != nil {
		t.Errorf("%+v, %+v", got, tr)
	}
	want := []Choice{{"Accept-Encoding", "", false}, {"Accept-Language", "de,en;500", true}, {"Cookie", "a=1", true}}
	choices := post.Choices(got.Key)
	for i := range want {
		if len(choices) != len(want) || choices[i] != want[i] {
			t.Fatalf("%+v, want %+v", choices, want)
		}
	}
	if post.Choices(k) != nil || !post.leads(page) || (&Object{Epoch: 4}).leads(page) || post.leads(&Object{Key: k}) {
		t.Error("a key that is not behind the signpost is taken for one")
	}
	stored[own] = &Object{Key: own, Kind: Pass, Received: noon, Lifetime: passLifetime}
	tr = trail{}
	if got := look(stored, k, ask, noon.Add(time.Second), &tr); !got.Pass || tr.pass == nil {
		t.Errorf("%+v, %+v", got, tr)
	}
}
