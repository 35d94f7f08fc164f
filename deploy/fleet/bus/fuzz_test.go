package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// messages are one of each type that comes over the bus, or lies in a stream.
func messages() []any {
	at := time.Unix(1_700_000_000, 0).UTC()
	return []any{
		&Head{Journal: Position{"a", 7}, Tables: 9, Target: 3, At: at},
		&Batch{Journal: "a", First: 1, At: at, Orders: []Order{{Kind: "url", Value: "www.example.org/a"}, {Kind: "all", Soft: true}}},
		&Receipt{At: Position{"a", 7}, Done: []Done{{ID: 1, Objects: 2, Fills: 1, MS: 0.5}, {ID: 2, Error: "no site"}}},
		&Report{Status: json.RawMessage(`{"nodes":[]}`), Started: at, State: "ready", Revision: 1, Hash: "x", Load: 0.5, Requests: 1, Expires: at},
		&RTTReport{},
		&Revision{Number: 1, Hash: HashOf([]byte("x")), File: []byte("x"), By: "main", At: at},
		&Target{Stable: 1, Hash: "x", Canary: 2, CanaryHash: "y", Canaries: []string{"edge-fra"}, Since: at},
		&Drain{Since: at, By: "main", Stop: true},
		&Revocation{Until: at, By: "main", Why: "stolen"},
		&Renewal{Certificate: []byte("x")},
		&Trust{Authorities: []byte("x"), At: at, Cross: []byte("x")},
		&Token{Hash: "x", Sites: []string{"www"}, Until: at, By: "main"},
		&Call{Method: "GET", Path: "/v1/status"},
		&Answer{Status: 200, Doc: json.RawMessage(`{}`)},
	}
}

// FuzzDecode reads anything as a message of each type: it is one that can be written and read again as the same, or an error that
// says what is wrong. A batch that passes its check is within its bounds.
func FuzzDecode(f *testing.F) {
	for i, m := range messages() {
		f.Add(uint8(i), Encode(m))
	}
	for _, s := range []string{"", "{}", "null", "[]", `{"v":1}`, `{"v":1,}`, `{"v":2,"journal":"a"}`, `{"v":-1}`, `{"v":1e9}`, `{"v":"1"}`, `{"V":1}`,
		"\xff", `{"v":1,"v":2}`,
		`{"v":1,"journal":"a","first":18446744073709551615,"orders":[{},{}]}`, `{"v":1,"orders":` + strings.Repeat("[", 1000),
		`{"v":1,"status":{"a":` + strings.Repeat("[", 20000)} {
		for i := range messages() {
			f.Add(uint8(i), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		all := messages()
		kindOf := reflect.TypeOf(all[int(kind)%len(all)]).Elem()
		before := bytes.Clone(data)
		m := reflect.New(kindOf).Interface()
		err := Decode(data, m)
		if !bytes.Equal(before, data) {
			t.Fatal("the message was changed")
		}
		if err != nil {
			if text := err.Error(); len(text) > 1000 || !strings.HasPrefix(text, "bus: ") {
				t.Fatalf("it says %.2000q", text)
			}
			return
		}
		if b, ok := m.(*Batch); ok && b.Check() == nil {
			if b.First+uint64(len(b.Orders)) < b.First || len(b.Orders) == 0 || len(b.Orders) > MostOrders || b.Journal == "" || len(b.Journal) > 64 {
				t.Fatalf("it passes: %+v", b)
			}
		}
		again := reflect.New(kindOf).Interface()
		if err := Decode(Encode(m), again); err != nil && len(Encode(m)) <= MostMessage { // escaped, it may have grown
			t.Fatalf("%s, written again: %v", data, err)
		}
	})
}

// FuzzSubjects reads anything as a subject: what is in it makes the same subject.
func FuzzSubjects(f *testing.F) {
	for _, s := range []string{"", ".", "up.edge.fra.report", "up.edge.fra.report.x", "up...", "table.drain.fra", "live.table.drain.fra", "table..",
		"table.a.b.c", "control.main.purge", "control.", "control.a.b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		if role, name, kind, ok := SpeakerOf(subject); ok && UpSubject(role, name, kind) != subject {
			t.Errorf("%q is said by %q %q %q", subject, role, name, kind)
		}
		if table, key, ok := TableOf(subject); ok && TableSubject(table, key) != subject && LiveTables+table+"."+key != subject {
			t.Errorf("%q is of %q %q", subject, table, key)
		}
		if operator, verb, ok := AskedOf(subject); ok && ControlSubject(operator, verb) != subject {
			t.Errorf("%q is asked by %q: %q", subject, operator, verb)
		}
	})
}

// TestDecodeBounded reads the largest messages that become much of little, and holds what stays of them.
func TestDecodeBounded(t *testing.T) {
	for name, c := range map[string]struct {
		head, each, tail string
		into             func() any
	}{
		"receipt":  {`{"v":1,"done":[`, `{}`, `]}`, func() any { return new(Receipt) }},
		"orders":   {`{"v":1,"orders":[`, `{}`, `]}`, func() any { return new(Batch) }},
		"rtt":      {`{"v":1,"prefixes":[`, `{}`, `]}`, func() any { return new(RTTReport) }},
		"canaries": {`{"v":1,"canaries":[`, `""`, `]}`, func() any { return new(Target) }},
		"sites":    {`{"v":1,"sites":[`, `""`, `]}`, func() any { return new(Token) }},
	} {
		data := []byte(c.head + strings.Repeat(c.each+",", (MostMessage-100)/(len(c.each)+1)) + c.each + c.tail)
		var before, after runtime.MemStats
		m := c.into()
		runtime.GC()
		runtime.ReadMemStats(&before)
		err := Decode(data, m)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); err != nil || grown > 40<<20 {
			t.Errorf("%s: %v; it has %d MiB", name, err, grown>>20)
		}
		runtime.KeepAlive(m)
	}
	if err := Decode(make([]byte, MostMessage+1), new(Head)); err == nil || !strings.Contains(err.Error(), "a message of 1114113 bytes") ||
		errors.Is(err, ErrNewer) {
		t.Error(err)
	}
}
