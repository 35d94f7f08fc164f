package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// request is one to the handler, from an address.
func request(c *Control, from, token, method, target, host, body string, fields ...string) (status int, doc map[string]any, header http.Header) {
	r := httptest.NewRequest(method, "http://x/", strings.NewReader(body))
	r.RequestURI, r.URL.Path = target, target
	r.Host, r.RemoteAddr = host, from+":1234"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, r)
	json.Unmarshal(w.Body.Bytes(), &doc)
	return w.Code, doc, w.Header()
}

// token makes one by the verb.
func (w *world) token(conn *bus.Conn, call TokenCall) string {
	w.t.Helper()
	var d TokenDoc
	if a := w.ask(conn, "token-add", call, &d); a.Status != 200 || !strings.HasPrefix(d.Token, tokenPrefix) || d.By != conn.Peer().Name {
		w.t.Fatalf("%+v, %+v", a, d)
	}
	return d.Token
}

// TestHTTP purges as programs do.
func TestHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, _ := w.control()
	for _, name := range []string{"fra", "iad", "sin"} {
		w.pop(name)
	}
	op := w.dial(fleet.RoleOperator, "main")
	token := w.token(op, TokenCall{Name: "cms"})
	for _, x := range []struct {
		method, target, host, body string
		fields                     []string
		status                     int
		kind, value                string
		soft                       bool
	}{
		{"POST", "/purge", "", `{"kind":"tag","value":"red","soft":true,"wait":true}`, nil, 200, "tag", "red", true},
		{"PURGE", "/a/b?c=d", "www.hither.test", "", nil, 200, "url", "www.hither.test/a/b?c=d", false},
		{"PURGE", "http://www.hither.test:8443/a", "www.hither.test:8443", "", nil, 200, "url", "www.hither.test:8443/a", false},
		{"PURGE", "/purge", "www.hither.test", "", []string{"Fastly-Soft-Purge: 1"}, 200, "url", "www.hither.test/purge", true},
		{"PURGE", "/", "any", "", []string{"Surrogate-Key: red"}, 200, "tag", "red", false},
		{"PURGE", "/", "any", "", []string{"xkey-purge: red"}, 200, "tag", "red", false},
		{"PURGE", "/", "any", "", []string{"xkey-softpurge: red"}, 200, "tag", "red", true},
		{"PURGE", "/", "any", "", []string{"Cache-Tags: a b "}, 200, "tag", "a b", false},
		{"PURGE", "/shop/.*", "www.hither.test", "", []string{"X-Purge-Method: regex"}, 200, "prefix", "www.hither.test/shop/", false},
		{"PURGE", "/sh(o|p).*", "www.hither.test", "", []string{"X-Purge-Method: regex"}, 400, "", "", false},
		{"PURGE", "/", "", "", nil, 400, "", "", false},
		{"PURGE", "/%zz", "www.hither.test", "", nil, 400, "", "", false},
		{"POST", "/purge", "", `{"kind":"all","wait":true,"timeout":-1}`, nil, 400, "", "", false},
		{"PURGE", "/", "www.elsewhere.test", "", nil, 404, "", "", false},
		{"POST", "/purge", "", `{"kind":"tag","value":"red","site":"x"}`, nil, 400, "", "", false},
		{"POST", "/purge", "", `{"kind":"all"} x`, nil, 400, "", "", false},
		{"POST", "/purge", "", ``, nil, 400, "", "", false},
		{"POST", "/purge", "", `[]`, nil, 400, "", "", false},
		{"POST", "/purge", "", `[` + strings.Repeat(" ", mostBody) + `]`, nil, 413, "", "", false},
		{"GET", "/purge", "", ``, nil, 405, "", "", false},
		{"GET", "/purge/x", "", ``, nil, 404, "", "", false},
		{"GET", "/purge/999", "", ``, nil, 404, "", "", false},
		{"GET", "/", "", ``, nil, 404, "", "", false},
		{"GET", "/purge/1", "", ``, nil, 200, "tag", "red", true},
	} {
		status, doc, _ := request(c, "192.0.2.1", token, x.method, x.target, x.host, x.body, x.fields...)
		if status != x.status || status == 200 && (doc["schema"] != "hither/purge/1" || doc["kind"] != x.kind || doc["value"] != x.value || doc["soft"] != x.soft) || status != 200 && doc["error"] == nil {
			t.Errorf("%s %s %.60s: %d, %v", x.method, x.target, x.body, status, doc)
		}
	}
	status, doc, _ := request(c, "192.0.2.1", token, "POST", "/purge", "", `[{"kind":"all"},{"kind":"tag","value":"x"}]`, "Prefer: respond-async, wait=60")
	if list, ok := doc["purges"].([]any); status != 200 || doc["schema"] != "hither/purges/1" || !ok || len(list) != 2 || doc["complete"] != true {
		t.Errorf("%d, %v", status, doc)
	}
	status, doc, _ = request(c, "192.0.2.1", token, "PURGE", "/", "x", "", "Surrogate-Key: a b c")
	if list, ok := doc["purges"].([]any); status != 200 || !ok || len(list) != 3 {
		t.Errorf("%d, %v", status, doc)
	}
}

// TestTokens holds tokens to their scope and their time, and guesses to nothing.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	var passed atomic.Int64
	var lines record
	c, stop := w.control(func(c *Control) {
		c.o.Now = func() time.Time { return now.Add(time.Duration(passed.Load())) }
		c.guesses = newGuesses(c.o.Now)
		c.faint.Now, c.faint.Log = c.o.Now, slog.New(slog.NewTextHandler(&lines, nil))
	})
	op := w.dial(fleet.RoleOperator, "main")
	for _, x := range []struct {
		call   TokenCall
		status int
	}{
		{TokenCall{}, 400}, {TokenCall{Name: "a.b"}, 400}, {TokenCall{Name: "a*"}, 400}, {TokenCall{Name: strings.Repeat("a", 64)}, 400},
		{TokenCall{Name: "x", Sites: []string{"nowhere"}}, 400}, {TokenCall{Name: "x", Kinds: []string{"regex"}}, 400},
		{TokenCall{Name: "x", Until: now}, 400},
		{TokenCall{Name: "x", Sites: []string{"www"}, Kinds: []string{"all"}}, 400}, {TokenCall{Name: "x", Sites: []string{"www"}, Kinds: []string{"tag", "all"}}, 400},
	} {
		if a := w.ask(op, "token-add", x.call, nil); a.Status != x.status {
			t.Errorf("%+v: %d %s", x.call, a.Status, a.Error)
		}
	}
	site := w.network.Sites[0]
	all := w.token(op, TokenCall{Name: "all"})
	scoped := w.token(op, TokenCall{Name: "scoped", Sites: []string{site.Name}, Kinds: []string{"url", "tag", "all"}, Until: now.Add(time.Hour)})
	if a := w.ask(op, "token-add", TokenCall{Name: "all"}, nil); a.Status != 409 {
		t.Errorf("twice: %+v", a)
	}
	host := strings.Replace(site.Hosts[0], "*", "x", 1)
	purge := func(from, token, order string) int {
		status, _, _ := request(c, from, token, "POST", "/purge", "", order)
		return status
	}
	url := fmt.Sprintf(`{"kind":"url","value":"%s/a"}`, host)
	for order, status := range map[string]int{
		url: 200, `{"kind":"tag","value":"red"}`: 403, `{"kind":"all"}`: 403, fmt.Sprintf(`{"kind":"host","value":%q}`, host): 403,
		`{"kind":"url","value":"www.elsewhere.test/"}`: 403,
	} {
		if is := purge("192.0.2.1", scoped, order); is != status {
			t.Errorf("scoped: %s: %d, wanted %d", order, is, status)
		}
	}
	if status := purge("192.0.2.1", all, `{"kind":"all"}`); status != 200 {
		t.Errorf("all: %d", status)
	}
	for id, status := range map[int]int{1: 200, 2: 404} { // what others purge is not told
		if is, _, _ := request(c, "192.0.2.1", scoped, "GET", fmt.Sprint("/purge/", id), "", ""); is != status {
			t.Errorf("purge %d: %d", id, is)
		}
	}
	if status, _, _ := request(c, "192.0.2.1", "", "PURGE", "/a", host, "", "Authorization: Basic "+basic("any", scoped)); status != 200 {
		t.Errorf("as a password: %d", status)
	}

	// The hub has hashes alone; that nobody else reads them is tested there.
	if found, err := c.o.Conn.Last(w.ctx(), bus.StreamSecrets, tokenSubject("*")); err != nil || len(found) != 2 || strings.Contains(string(found[0].Data)+string(found[1].Data), tokenPrefix) {
		t.Errorf("%v, %v", found, err)
	}

	// A thousand guesses: refused, from the eleventh on without a look, and others do not notice.
	statuses := map[int]int{}
	for i := range 1000 {
		statuses[purge("198.51.100.7", fmt.Sprint(tokenPrefix, i), url)]++
	}
	if statuses[401] != mostGuesses || statuses[429] != 1000-mostGuesses || purge("192.0.2.1", all, url) != 200 || purge("[2001:db8::1]", all, url) != 200 {
		t.Errorf("%v", statuses)
	}
	if n := lines.count("without a token"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if s := c.Stats(); s.Denied != mostGuesses || s.Throttled != 1000-mostGuesses {
		t.Errorf("%+v", s)
	}
	if status, _, header := request(c, "198.51.100.7", all, "POST", "/purge", "", url); status != 429 || header.Get("Retry-After") == "" {
		t.Errorf("%d, %v", status, header)
	}
	for i := range mostGuesses { // one customer of IPv6 has a /64
		purge(fmt.Sprintf("[2001:db8:1::%x]", i+1), "x", url)
	}
	if status := purge("[2001:db8:1::ffff]", all, url); status != 429 {
		t.Errorf("%d", status)
	}
	passed.Add(int64(guessTime))
	if status := purge("198.51.100.7", all, url); status != 200 {
		t.Errorf("after its time: %d", status)
	}

	// Time passes, and a token is removed.
	passed.Add(int64(time.Hour))
	if status := purge("192.0.2.1", scoped, url); status != 401 {
		t.Errorf("expired: %d", status)
	}
	var list TokenDocs
	if w.ask(op, "token-list", nil, &list); len(list.Tokens) != 2 || list.Tokens[0].Name != "all" || !list.Tokens[1].Expired || list.Tokens[1].Token != "" {
		t.Errorf("%+v", list)
	}
	if a := w.ask(op, "token-remove", TokenCall{Name: "all"}, nil); a.Status != 200 || purge("192.0.2.1", all, url) != 401 {
		t.Errorf("removed: %+v", a)
	}
	if a := w.ask(op, "token-remove", TokenCall{Name: "all"}, nil); a.Status != 404 {
		t.Errorf("removed twice: %+v", a)
	}
	again := w.token(op, TokenCall{Name: "all"})
	stop()
	c, _ = w.control()
	w.until("another control has the tokens", c.tokens.ready)
	if purge("192.0.2.2", again, url) != 200 {
		t.Error("a token does not hold at another control")
	}
	if purge("192.0.2.3", all, url) != 401 {
		t.Error("a token that was removed is back")
	}
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
}

// TestServe purges over a real socket, byte by byte as such programs do, where the network file says.
func TestServe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	network := *w.network
	network.Hub.API.Address = netip.MustParseAddrPort(at)
	w.network = &network
	c, stop := w.control()
	token := w.token(w.dial(fleet.RoleOperator, "main"), TokenCall{Name: "cms"})
	l.Close() // until now the place was another's
	w.until("it listens", func() bool {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	for text, status := range map[string]int{
		"PURGE /a HTTP/1.1\r\nHost: www.hither.test\r\nAuthorization: Bearer " + token + "\r\nConnection: close\r\n\r\n":          200,
		"PURGE /a HTTP/1.1\r\nHost: www.hither.test\r\nConnection: close\r\n\r\n":                                                 401,
		"PURGE /a HTTP/1.1\r\nHost: www.hither.test\r\nX: " + strings.Repeat("x", 2*mostHeader) + "\r\nConnection: close\r\n\r\n": 431,
		"garbage\r\n\r\n": 400,
	} {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(conn, text)
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || r.StatusCode != status {
			t.Errorf("%.30q: %+v, %v, wanted %d", text, r, err, status)
		}
		conn.Close()
	}
	if s := c.Stats(); s.Requests != 2 {
		t.Errorf("%+v", s)
	}
	stop()
	if conn, err := net.Dial("tcp", at); err == nil {
		conn.Close()
		t.Error("it listens still")
	}
}
