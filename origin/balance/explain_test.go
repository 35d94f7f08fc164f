package balance

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestExplain: the sentence says why, and the next Pick does it.
func TestExplain(t *testing.T) {
	cookie := Query{Want: "b"}
	hash := Query{Hash: 3, Hashed: true}
	for name, c := range map[string]struct {
		algorithm string
		list      []Instance
		q         Query
		before    func(*testing.T, *Balancer, *clock)
		why       Why
		drawn     int
		sentence  string // @ stands for the instance
	}{
		"p2c":        {"", these("a", "b", "c"), Query{}, nil, LowestCost, 2, "of two drawn by weight, @ has cost 20.0 and "},
		"turn":       {"round-robin", these("a", "b"), Query{}, nil, Turn, 0, "it is the turn of @ among 2"},
		"smooth":     {"weighted-round-robin", these("a=2", "b"), Query{}, nil, Turn, 0, "it is the turn of @ among 2"},
		"least":      {"least-requests", these("a", "b=0", "c"), Query{}, nil, LowestCost, 1, "@ has the fewest requests in flight for its weight: 1.0 with this one"},
		"random":     {"random", these("a", "b"), Query{}, nil, Draw, 0, "@ was drawn among 2 by random"},
		"response":   {"weighted-response-time", these("a", "b"), Query{}, nil, Draw, 0, "@ was drawn among 2 by weighted-response-time"},
		"maglev":     {"maglev", these("a", "b"), hash, nil, Hash, 0, "the hash of the request leads to @ among 2"},
		"no hash":    {"maglev", these("a", "b"), Query{}, nil, Draw, 0, "@ was drawn among 2 by maglev"},
		"by header":  {"random", these("a", "b"), hash, nil, Hash, 0, "the hash of the request leads to @ among 2"},
		"only":       {"", these("a", "b"), Query{Tried: []string{"a"}}, nil, Only, 0, "@ is the only one that may be chosen"},
		"cookie":     {"", these("a", "b"), cookie, nil, Affinity, 0, "the cookie names @, which is well"},
		"next group": {"", these("a=1@0", "b=1@1"), Query{Tried: []string{"a"}}, nil, Spill, 0, "too few of the lower groups may take it; @ is the only one that may be chosen"},
		"trial": {"", these("a", "b"), Query{Trial: true}, func(t *testing.T, b *Balancer, c *clock) {
			give(t, b, "a", repeat(5, 500)...)
			c.pass(11 * time.Second)
		}, Trial, 0, "@ is on trial after an ejection, and this request may try it"},
		"panic": {"round-robin", these("a", "b"), cookie, func(_ *testing.T, b *Balancer, _ *clock) {
			b.Checked("a", false, "")
			b.Checked("b", false, "")
		}, Panic, 0, "only 0 of 2 are well, so all are used; it is the turn of @ among 2"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := asInFile()
			cfg.Algorithm, cfg.Seed = c.algorithm, 2
			b, clock := balancer(t, cfg, c.list)
			for _, i := range c.list {
				if i.Weight > 0 {
					give(t, b, i.ID, 200)
				}
			}
			if c.before != nil {
				c.before(t, b, clock)
			}
			e := b.Explain(c.q)
			if e.Next == nil {
				t.Fatal("nobody")
			}
			if want := strings.ReplaceAll(c.sentence, "@", e.Next.Instance); e.Next.Why != c.why || len(e.Next.Drawn) != c.drawn || !strings.HasPrefix(e.Next.Sentence, want) {
				t.Errorf("%s, drawn %q: %s; want %s: %s", e.Next.Why, e.Next.Drawn, e.Next.Sentence, c.why, want)
			}
			if c.drawn > 0 && e.Next.Drawn[0] != e.Next.Instance {
				t.Errorf("%q: the chosen one is not in front", e.Next.Drawn)
			}
			if p := pick(t, b, c.q); p.Instance() != e.Next.Instance || p.Why() != e.Next.Why {
				t.Errorf("picked %s for %s", p.Instance(), p.Why())
			}
		})
	}
	b, _ := balancer(t, asInFile(), these("a=0"))
	if e := b.Explain(Query{}); e.Next != nil || e.Instances[0].State != "drained" {
		t.Errorf("%+v", e)
	}
}

// TestExplainJSON holds the names that programs read.
func TestExplainJSON(t *testing.T) {
	b, _ := balancer(t, asInFile(), these("a=2"))
	give(t, b, "a", 200)
	got, err := json.Marshal(b.Explain(Query{}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"algorithm":"p2c-ewma","panic":false,"groups":[{"group":0,"well":1,"of":1,"share":1}],` +
		`"instances":[{"id":"a","group":0,"weight":2,"state":"well",` +
		`"score":{"latency_ms":20,"in_flight":0,"good":1,"warm":1,"effective_weight":2,"cost":20},` +
		`"picks_total":1,"outcomes_total":{"bad":0,"good":1,"neutral":0},"ejections_total":0}],` +
		`"ejections_total":{"checks":0,"consecutive":0,"ratio":0,"trial":0},"anomalies_total":{"odd-status":0,"short":0,"shorter":0},` +
		`"next":{"instance":"a","why":"only","sentence":"a is the only one that may be chosen"}}`
	if string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestExplanationRead: what was written is read back, and a word that is none is an error.
func TestExplanationRead(t *testing.T) {
	for w := range whys {
		text, err := json.Marshal(Explanation{Next: &Next{Instance: "a", Why: Why(w)}})
		if err != nil {
			t.Fatal(err)
		}
		var e Explanation
		if err := json.Unmarshal(text, &e); err != nil || e.Next.Why != Why(w) {
			t.Errorf("%s: %v, %+v", text, err, e.Next)
		}
	}
	if err := json.Unmarshal([]byte(`{"next":{"why":"whim"}}`), new(Explanation)); err == nil || !strings.Contains(err.Error(), `"whim" is no reason`) {
		t.Errorf("a word that is none: %v", err)
	}
}
