package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// lone is a control whose hub never answers: what it hears is handed to it.
func lone(t testing.TB) *Control {
	t.Helper()
	dir := t.TempDir()
	a, err := fleet.OpenAuthority(filepath.Join(dir, "authority"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue(filepath.Join(dir, "identity"), fleet.RoleOrigin, "us", nil); err != nil {
		t.Fatal(err)
	}
	id, err := fleet.LoadIdentity(filepath.Join(dir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	network, err := deploy.Parse("network.yaml", deploy.Example())
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	conn, err := bus.Dial(bus.Options{URLs: []string{"tls://127.0.0.1:1"}, Identity: id, Embedded: "us", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	clock := time.Unix(1_700_000_000, 0)
	c, err := New(Options{
		Conn: conn, Identity: id, State: dir, Network: func() *deploy.Network { return network }, Log: quiet,
		Now: func() time.Time { clock = clock.Add(time.Second); return clock },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// FuzzUp has nodes say anything. Each message is counted as something; none has an effect beyond its bounds, nor one that is of another node than
// the subject says; and what is known can be told.
func FuzzUp(f *testing.F) {
	at := bus.Position{Journal: "a", Sequence: 2}
	for _, data := range [][]byte{
		nil, []byte("{}"), []byte(`{"v":1}`), []byte(`{"v":2}`), []byte("\xff"), []byte(`{"v":1,"done":[{"id":-1}]}`),
		bus.Encode(bus.Receipt{At: at, Done: []bus.Done{{ID: 1, Objects: 3, Fills: 1, MS: 2}, {ID: 2, Error: "no site has it"}, {ID: 4, Objects: -1}}}),
		bus.Encode(bus.Receipt{At: at, Done: []bus.Done{{ID: 1, Objects: 1<<63 - 1, Fills: 1<<63 - 1}, {ID: 3, Objects: 1<<63 - 1}, {ID: 1<<64 - 1}}}),
		bus.Encode(bus.Receipt{At: bus.Position{Journal: "a", Sequence: 1<<64 - 1}}),
		bus.Encode(bus.Receipt{At: bus.Position{Journal: "b", Sequence: 2}}),
		bus.Encode(bus.Report{State: "ready", Journal: at, Requests: 10,
			Status: json.RawMessage(`{"schema":"hither/status/1","nodes":[{"problems":["\u001b[2J"]}]}`)}),
		bus.Encode(bus.Report{State: "ready", Requests: 1 << 60}), bus.Encode(bus.Report{State: "ready", Load: 1e300}), bus.Encode(bus.Report{State: "\x1b"}),
	} {
		for _, subject := range []string{"up.edge.fra.receipt", "up.edge.iad.receipt", "up.edge.fra.report", "up.edge.nowhere.report",
			"up.edge.nowhere.receipt", "up.dns.ns1.report", "up.operator.main.report", "up..", ""} {
			f.Add(subject, data)
		}
	}
	c := lone(f)
	for i, orders := range [][]bus.Order{{{Kind: "url", Value: "www.hither.test/a"}, {Kind: "all"}}, {{Kind: "tag", Value: "b"}}} {
		c.receipts.offered(bus.Position{Journal: "a", Sequence: uint64(i + 1)}, &bus.Batch{Journal: "a", First: uint64(1 + 2*i), Orders: orders},
			slices.Repeat([]time.Time{time.Now()}, len(orders)))
	}
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		m := &bus.Message{Subject: subject, Data: data}
		role, name, kind, _ := bus.SpeakerOf(subject)
		counted := func() int64 {
			s := c.Stats()
			return s.Receipts + s.Garbage + s.Foreign + s.Unknown
		}
		before, others := counted(), c.wordsOf(role+"-"+name)
		if role == fleet.RoleEdge && kind == bus.UpReceipt {
			if c.receipts.receipt(m); counted() == before {
				t.Error("a receipt is counted as nothing")
			}
		} else {
			c.receipts.report(m)
			c.reports.take(m)
		}
		if now := c.wordsOf(role + "-" + name); !maps.Equal(others, now) {
			t.Errorf("what others said is another: %v, and was %v", now, others)
		}
		c.holds(t)
	})
}

// wordsOf is what is known of all nodes but one.
func (c *Control) wordsOf(but string) map[string]string {
	all := make(map[string]string)
	for _, t := range c.reports.all() {
		if n := t.peer.String(); n != but {
			all[n] = fmt.Sprint(t.report.State, t.report.Requests, t.report.Journal, t.seen)
		}
	}
	for name, p := range c.receipts.pops {
		if "edge-"+name != but {
			all["receipts "+name] = fmt.Sprint(p.at, p.ahead)
		}
	}
	return all
}

// holds is what must be so whatever was heard.
func (c *Control) holds(t *testing.T) {
	t.Helper()
	r := c.receipts
	if r.at != (bus.Position{Journal: "a", Sequence: 2}) || len(r.entries) != 2 {
		t.Fatalf("the journal is %+v, with %d entries", r.at, len(r.entries))
	}
	for name, p := range r.pops {
		if p.at.Journal != "" && (p.at.Journal != r.at.Journal || p.at.Sequence > r.at.Sequence) {
			t.Errorf("%s is at %+v", name, p.at)
		}
	}
	for _, e := range r.entries {
		if e.left < 0 || e.left > len(r.names) || len(e.faults) > len(r.names)*len(e.orders) {
			t.Errorf("%d PoPs are left, %d faults", e.left, len(e.faults))
		}
		for i := range e.found {
			if len(e.found[i]) > len(r.names) || e.objects[i] < 0 {
				t.Errorf("order %d: %d found it, %d objects", i, len(e.found[i]), e.objects[i])
			}
		}
	}
	if n := len(c.reports.nodes); n > len(namesOf(c.o.Network()))+mostStrangers {
		t.Errorf("%d nodes are known", n)
	}
	for _, verb := range []string{"status", "nodes", "purges"} {
		doc, err := c.verbs[verb](context.Background(), "main", nil)
		if err != nil {
			t.Fatal(verb, err)
		}
		text, err := json.Marshal(doc)
		if err != nil || bytes.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\n' }) {
			t.Errorf("%s: %v, %q", verb, err, text)
		}
	}
}

// FuzzHTTP has programs ask anything. Without a token that holds nothing is told and nothing read; what is not well is refused with a status of
// its own, a document, and nothing in the journal.
func FuzzHTTP(f *testing.F) {
	for _, seed := range [][4]string{
		{"POST", "/purge", "", `{"kind":"tag","value":"red","soft":true,"wait":true,"timeout":1}`}, {"POST", "/purge", "", `[{"kind":"all"},{}]`},
		{"POST", "/purge", "", `{"orders":[]}`},
		{"POST", "/purge", "", `{"orders":null,"kind":"all"}`}, {"POST", "/purge", "", "null"}, {"POST", "/purge", "", "[" + strings.Repeat("{},", 1000) + "{}]"},
		{"PURGE", "/a/b?c=d", "Xkey-Softpurge: a b", ""}, {"PURGE", "http://www.hither.test:8443/a", "Cache-Tag: a, b", ""}, {"PURGE", "*", "", ""},
		{"PURGE", "/x.*", "X-Purge-Method: regex", ""},
		{"PURGE", "//", "Host: www.hither.test", ""}, {"PURGE", "/", "Host: [::1]:80", ""}, {"PURGE", "/", "Host: ", ""},
		{"GET", "/purge/18446744073709551616", "", ""}, {"GET", "/purge/1", "Prefer: wait=9999999999999", ""},
		{"DELETE", "/purge", "Authorization: Basic Og==", ""}, {"POST", "/purge", "Authorization: bearer  hither_good", `{"kind":"all","value":"x"}`},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], true)
		f.Add(seed[0], seed[1], seed[2], seed[3], false)
	}
	c := lone(f)
	f.Fuzz(func(t *testing.T, method, target, field, body string, good bool) {
		token := bus.Token{Sites: []string{"www"}, Kinds: []string{"url", "prefix", "host", "tag", "all"}}
		c.tokens.known = map[string]held{"cms": {Token: token, hash: sumOf("hither_good")}}
		c.guesses = newGuesses(c.o.Now)
		content := strings.NewReader(body)
		r := httptest.NewRequest("GET", "http://x/", content)
		r.Method, r.RequestURI, r.URL.Path, r.Host, r.RemoteAddr = method, target, target, "www.hither.test", "192.0.2.1:1"
		if good {
			r.Header.Set("Authorization", "Bearer hither_good")
		}
		if name, value, ok := strings.Cut(field, ": "); ok && http.CanonicalHeaderKey(name) != "" {
			if r.Header.Set(name, value); strings.EqualFold(name, "Host") {
				r.Host = value
			}
		}
		before := c.Stats()
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, r)
		after := c.Stats()
		var doc map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc["error"] == nil || after.Requests != before.Requests+1 {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		switch denied := after.Denied > before.Denied; {
		case denied != (w.Code == http.StatusUnauthorized), denied && r.Header.Get("Authorization") == "Bearer hither_good":
			t.Errorf("%d %s: denied is %v", w.Code, w.Body, denied)
		case denied && content.Len() != len(body):
			t.Error("what somebody sent who has no token was read")
		}
		// The hub is away: what is well is refused with 503, and with 500 nothing.
		if !slices.Contains([]int{400, 401, 403, 404, 405, 413, 503}, w.Code) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if after.Orders != before.Orders || len(c.journal.queue) > 0 {
			t.Error("an order was taken")
		}
	})
}

// FuzzVerb has an operator ask anything of a control whose hub does not answer: what means nothing is refused as such, before the hub is asked.
func FuzzVerb(f *testing.F) {
	c := lone(f)
	verbs := slices.Sorted(maps.Keys(c.verbs))
	file, _ := json.Marshal(string(deploy.Example()))
	for i := range verbs {
		for _, body := range []string{"", "null", "{}", "[]", "0", `"x"`, "\xff", "{", `{"v":1}`} {
			f.Add(uint8(i), []byte(body))
		}
	}
	for verb, bodies := range map[string][]string{
		"apply": {`{"file":"eA==","name":"x"}`, `{"file":"","window":"1s","canary":"fra","now":true}`,
			`{"file":"` + base64Of(deploy.Example()) + `","now":true,"base":-1}`, `{"name":"` + strings.Repeat("x", 5000) + `","file":"eA=="}`,
			`{"file":` + string(file) + `}`},
		"rollback": {`{"number":-1}`, `{"number":1,"window":"-1s"}`},
		"revision": {`{"number":9223372036854775807}`},
		"purge": {`{"kind":"url","value":"www.hither.test/\u0000"}`, `{"kind":"url","value":"www.hither.test/a","wait":true,"timeout":-1e308}`,
			`{"orders":[{"kind":"all"},{"kind":"x"}]}`, `{"kind":"host","value":"://"}`},
		"purge-status": {`{"id":18446744073709551615}`, `{"id":-1}`},
		"purges":       {`{"last":-5}`, `{"last":9223372036854775807}`},
		"warm":         {`{"urls":["https://www.hither.test/"],"pops":["fra","fra"]}`, `{"urls":["http://www.hither.test/"]}`, `{"urls":[""]}`},
		"token-add": {`{"name":"a","sites":["www"],"kinds":["url"],"until":"0001-01-01T00:00:01Z"}`, `{"name":"../a"}`,
			`{"name":"a","kinds":[` + strings.Repeat(`"url",`, 5000) + `"url"]}`},
		"token-remove": {`{"name":"a"}`},
		"revoke": {`{"node":"edge-fra","until":"9999-01-01T00:00:00Z"}`, `{"node":"origin-us"}`, `{"node":"edge-*","force":true}`,
			`{"node":"edge-fra","why":"` + strings.Repeat("é", 900) + `"}`},
		"renew":    {`{"certificates":{"edge-fra":"eA=="}}`, `{"certificates":{"":""}}`},
		"trust":    {`{"authorities":"eA=="}`},
		"export":   {`{"stream":"SECRETS","from":18446744073709551615}`, `{"stream":"JOURNAL"}`},
		"drain":    {`{"pop":"fra","stop":true}`, `{"pop":"*","undo":true}`},
		"move-hub": {`{"gateway":"us","urls":["tls://x:1"]}`, `{"gateway":"nowhere","urls":["x"],"bind":"1.2.3.4:5"}`},
	} {
		for _, b := range bodies {
			f.Add(uint8(slices.Index(verbs, verb)), []byte(b))
		}
	}
	f.Fuzz(func(t *testing.T, verb uint8, body []byte) {
		name := verbs[int(verb)%len(verbs)]
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		a := c.answer(ctx, bus.ControlSubject("main", name), body)
		if ctx.Err() != nil {
			t.Fatalf("%s took its time", name)
		}
		if size := len(bus.Encode(a)); size > bus.MostMessage {
			t.Errorf("%s: an answer of %d bytes", name, size)
		}
		if len(body) > 0 && !json.Valid(body) && a.Status/100 == 2 && !slices.Contains([]string{"status", "nodes", "rollout", "history", "promote", "abort",
			"token-list"}, name) {
			t.Errorf("%s %q: %+v", name, body, a)
		}
		if a.Status/100 != 2 && a.Error == "" || a.Status < 200 || a.Status > 599 {
			t.Errorf("%s: %+v", name, a)
		}
		if len(c.journal.queue) > 0 {
			t.Error("an order waits")
		}
	})
}

func sumOf(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func base64Of(file []byte) string { return base64.StdEncoding.EncodeToString(file) }

// FuzzSecret reads anything as a token of the hub's secrets: what cannot be read opens nothing, and is counted.
func FuzzSecret(f *testing.F) {
	for _, token := range []bus.Token{{Hash: hex.EncodeToString(sumOf("good"))}, {Hash: "x"}, {Hash: strings.Repeat("00", 33)}, {},
		{Hash: hex.EncodeToString(sumOf("good")), Until: time.Unix(1, 0)}} {
		f.Add(bus.Encode(token))
	}
	f.Add([]byte(nil))
	f.Add([]byte(`{"v":2}`))
	c := lone(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := c.stats.garbage.Load()
		k := c.tokens.held("cms", &bus.Message{Data: data, Sequence: 7})
		c.tokens.known = map[string]held{"cms": k}
		_, token, ok := c.tokens.of("good")
		garbage := c.stats.garbage.Load() > before
		if garbage && (ok || len(k.hash) > 0) || ok && (token.Hash != k.Hash || !strings.EqualFold(token.Hash, hex.EncodeToString(sumOf("good")))) ||
			len(data) == 0 && ok {
			t.Errorf("%q opens: %v, garbage %v", data, ok, garbage)
		}
		if _, _, ok := c.tokens.of(""); ok && !bytes.Equal(k.hash, sumOf("")) {
			t.Errorf("%q opens for nothing", data)
		}
	})
}
