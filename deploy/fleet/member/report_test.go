package member_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/member"
)

// Values of tables are told at first, at each change, once, and when they are gone.
func TestTables(t *testing.T) {
	w := newWorld(t)
	w.table(bus.TableDrain, "fra", []byte("one"))
	w.table(bus.TableRevoked, "edge-x", []byte("kept"))
	n := w.node(fleet.RoleEdge, "fra")
	n.start()
	told := func(want ...string) {
		t.Helper()
		w.until("told "+strings.Join(want, " "), func() bool {
			_, _, got := n.seen()
			slices.Sort(got)
			return slices.Equal(got, want)
		})
		n.mu.Lock()
		n.told = nil
		n.mu.Unlock()
	}
	told("drain/fra=one", "revoked/edge-x=kept")
	w.table(bus.TableDrain, "fra", []byte("two"))
	told("drain/fra=two")
	w.table(bus.TableDrain, "fra", []byte("two")) // which is no change
	w.table(bus.TableDrain, "iad", nil)           // and of this nothing was known
	w.table(bus.TableDrain, "sin", []byte("one"))
	told("drain/sin=one")
	w.table(bus.TableDrain, "fra", nil)
	told("drain/fra=")
	w.restart(false)
	w.table(bus.TableDrain, "sin", []byte("later"))
	told("drain/sin=later")

	// A hub that has lost its disk takes back what it says, but pardons nobody.
	w.restart(true)
	w.table(bus.TableDrain, "fra", []byte("anew"))
	told("drain/fra=anew", "drain/sin=")
}

// What a role knows from an earlier process is told as gone where it is: taken back while the node was away, or lost with the hub's disk.
func TestTablesKnown(t *testing.T) {
	w := newWorld(t)
	w.table(bus.TableDrain, "fra", []byte("one"))
	w.table(bus.TableDrain, "fra", nil)
	w.table(bus.TableDrain, "sin", []byte("one"))
	n := w.node(fleet.RoleDNS, "ns")
	n.options = func(o *member.Options) {
		for _, pop := range []string{"fra", "iad", "sin"} {
			o.Known = append(o.Known, bus.TableSubject(bus.TableDrain, pop))
		}
	}
	n.start()
	want := []string{"drain/fra=", "drain/iad=", "drain/sin=one"}
	w.until("told "+strings.Join(want, " "), func() bool {
		_, _, got := n.seen()
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

// A value of a table that its reader cannot take, as of a newer version, is counted for each time that it is another, and logged once; what was
// there stays.
func TestTableRefused(t *testing.T) {
	w := newWorld(t)
	n := w.node(fleet.RoleEdge, "fra")
	n.options = func(o *member.Options) { o.Table = n.id.Table }
	n.start()
	until := time.Now().Add(-time.Hour)
	w.table(bus.TableRevoked, "edge-iad", bus.Encode(bus.Revocation{Until: until}))
	revoked := func(name string) time.Time { return n.id.Revoked(fleet.Peer{Role: fleet.RoleEdge, Name: name}) }
	w.until("a good one counts", func() bool { return revoked("iad").Equal(until) })
	for i, value := range []string{`{"v":2,"until":"2030-01-02T03:04:05Z"}`, `{"v":1,"until":7}`, "\xff\x00", `{"until":"2030-01-02T03:04:05Z"}`} {
		w.table(bus.TableRevoked, "edge-iad", []byte(value))
		w.until("a bad one is counted", func() bool { return n.member.Stats().Refused["table"] == uint64(i+1) })
	}
	w.table(bus.TableCertificate, "edge-fra", bus.Encode(bus.Renewal{Certificate: []byte("no certificate")}))
	w.until("so is a certificate that is none", func() bool { return n.member.Stats().Refused["table"] == 5 })
	w.table(bus.TableRevoked, "edge-sin", bus.Encode(bus.Revocation{Until: until}))
	w.until("the next good one counts", func() bool { return revoked("sin").Equal(until) })
	if !revoked("iad").Equal(until) || n.log.count("kind=table") != 1 {
		t.Errorf("revoked until %v, in place of %v; %d lines", revoked("iad"), until, n.log.count("kind=table"))
	}
}

// Tables that a hub has lost and written anew are read from their beginning, though their end is no earlier than what a node knew: it
// may not claim to know what it has not read, and what is gone is told.
func TestTablesAnew(t *testing.T) {
	w := newWorld(t)
	w.table(bus.TableDrain, "fra", []byte("one"))
	w.table(bus.TableDrain, "iad", []byte("two"))
	w.table(bus.TableRevoked, "edge-x", []byte("kept"))
	n := w.node(fleet.RoleDNS, "ns")
	n.start()
	told := func(want ...string) {
		t.Helper()
		w.until("told "+strings.Join(want, " "), func() bool {
			_, _, got := n.seen()
			slices.Sort(got)
			return slices.Equal(got, want)
		})
	}
	told("drain/fra=one", "drain/iad=two", "revoked/edge-x=kept")
	addr := w.addr
	w.addr = netip.MustParseAddrPort("127.0.0.1:0") // where nobody comes in meanwhile
	w.restart(true)
	for _, pop := range []string{"sin", "syd", "fra"} {
		w.table(bus.TableDrain, pop, []byte("one"))
	}
	w.addr = addr
	w.restart(false)
	told("drain/fra=one", "drain/iad=", "drain/iad=two", "drain/sin=one", "drain/syd=one", "revoked/edge-x=kept")
}

// A node says what it is: at once, when it is asked to, and within bounds.
func TestReport(t *testing.T) {
	w := newWorld(t)
	reports, prefixes := make(chan bus.Report, 100), make(chan int, 100)
	subscribe := func(kind string, f func(*bus.Message)) {
		if _, err := w.control.Subscribe(bus.UpSubject(fleet.RoleEdge, "fra", kind), f); err != nil {
			t.Fatal(err)
		}
	}
	subscribe(bus.UpReport, func(m *bus.Message) {
		var r bus.Report
		if err := bus.Decode(m.Data, &r); err != nil {
			t.Error(err)
		}
		reports <- r
	})
	subscribe(bus.UpRTT, func(m *bus.Message) {
		var r bus.RTTReport
		if err := bus.Decode(m.Data, &r); err != nil {
			t.Error(err)
		}
		prefixes <- len(r.Prefixes)
	})
	n := w.node(fleet.RoleEdge, "fra")
	status := json.RawMessage(`{"nodes":[{"node":"edge-fra","problems":[]}]}`)
	rtt := make(chan int, 1)
	rtt <- 3*bus.MostPrefixes - 1
	n.options = func(o *member.Options) {
		o.Running = func() (int, string) { return 4, "hash" }
		o.Report = func(r *bus.Report) { r.State, r.Status = "ready", status }
		o.RTT = func() []bus.PrefixRTT {
			select {
			case k := <-rtt:
				return slices.Repeat([]bus.PrefixRTT{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), MS: 1, Samples: 1}}, k)
			default:
				return nil
			}
		}
	}
	w.table(bus.TableDrain, "x", []byte("y"))
	n.start()
	sum := 0
	for range 3 {
		k := <-prefixes
		if sum += k; k > bus.MostPrefixes {
			t.Errorf("%d prefixes in one report", k)
		}
	}
	if sum != 3*bus.MostPrefixes-1 {
		t.Errorf("%d prefixes", sum)
	}
	w.order("a")
	w.entry([]byte("garbage"))
	n.there()
	w.until("a report", func() bool {
		n.member.Report()
		for {
			select {
			case r := <-reports:
				if r.Journal == w.end() && r.Tables == w.tables && r.Revision == 4 && r.Hash == "hash" && r.State == "ready" && strings.Contains(string(r.Status), "entry of the journal") {
					return true
				}
			default:
				return false
			}
		}
	})
}

// Problems are added to each node of a status, and what is none stays as it is.
func TestWithProblems(t *testing.T) {
	for in, want := range map[string]string{
		``:     ``,
		`null`: `null`,
		`{}`:   `{}`,
		`{"nodes":[{"a":1,"problems":["x"]}],"z":2}`: `{"nodes":[{"a":1,"problems":["x","y"]}],"z":2}`,
		`{"nodes":[{"a":1}]}`:                        `{"nodes":[{"a":1}]}`,
		`{"nodes":[{"problems":null}]}`:              `{"nodes":[{"problems":["y"]}]}`,
		`{"nodes":[null]}`:                           `{"nodes":[null]}`,
	} {
		if got := string(member.WithProblems(json.RawMessage(in), []string{"y"})); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// A node answers what it is asked over the bus, not all at once, and nothing that is no call.
func TestCalls(t *testing.T) {
	w := newWorld(t)
	n := w.node(fleet.RoleEdge, "fra")
	release := make(chan struct{})
	n.options = func(o *member.Options) {
		o.Call = func(ctx context.Context, c bus.Call) bus.Answer {
			if c.Path == "/v1/wait" {
				<-release
			}
			if c.Path == "/v1/large" {
				return bus.Answer{Status: 200, Doc: json.RawMessage(`"` + strings.Repeat("x", bus.MostMessage) + `"`)}
			}
			return bus.Answer{Status: 200, Doc: json.RawMessage(`"` + c.Method + c.Path + `"`)}
		}
	}
	n.start()
	n.there()
	ask := func(data []byte) (a bus.Answer) {
		m, err := w.control.Request(w.ctx(), bus.CallSubject(fleet.RoleEdge, "fra"), data)
		if err == nil {
			err = bus.Decode(m.Data, &a)
		}
		if err != nil {
			t.Error(err)
		}
		return a
	}
	if a := ask(bus.Encode(bus.Call{Method: "GET", Path: "/v1/status?x=%20"})); a.Status != 200 || string(a.Doc) != `"GET/v1/status?x=%20"` {
		t.Errorf("%+v", a)
	}
	if a := ask(bus.Encode(bus.Call{Method: "GET", Path: "/v1/large"})); a.Status != 500 {
		t.Errorf("a large answer: %d", a.Status)
	}
	garbage := []string{
		"", "garbage", "\xff\x00", `{"v":2,"method":"GET","path":"/v1/status"}`, `{"v":1,"method":"GET","path":"/debug/pprof/heap"}`, strings.Repeat("[", 60_000),
	}
	for _, data := range garbage {
		if a := ask([]byte(data)); a.Status != 400 {
			t.Errorf("garbage %.40q: %+v", data, a)
		}
	}
	if k := n.member.Stats().Refused["call"]; k != uint64(len(garbage)) || n.log.count("kind=call") != 1 {
		t.Errorf("%d counted, %d lines", k, n.log.count("kind=call"))
	}
	statuses := make(chan int, 20)
	for range 20 {
		go func() { statuses <- ask(bus.Encode(bus.Call{Method: "POST", Path: "/v1/wait"})).Status }()
	}
	refused := 0
	for ; refused < 12; refused++ {
		if s := <-statuses; s != 503 {
			t.Fatalf("status %d", s)
		}
	}
	close(release)
	for range 8 {
		if s := <-statuses; s != 200 {
			t.Errorf("status %d", s)
		}
	}
}

func FuzzParseCall(f *testing.F) {
	for _, c := range []bus.Call{{Method: "GET", Path: "/v1/status"}, {Method: "PUT", Path: "/v1/x"}, {Method: "GET", Path: "/debug/pprof/heap"}, {Method: "GET", Path: "/v1/../debug"}, {Method: "GET", Path: "/v1/%2e%2e/debug"}, {Method: "GET", Path: "/v1/x y"}} {
		f.Add(bus.Encode(c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := member.ParseCall(data)
		if err != nil {
			return
		}
		path, _, _ := strings.Cut(c.Path, "?")
		if c.Method != "GET" && c.Method != "POST" || !strings.HasPrefix(path, "/v1/") || strings.Contains(path, "..") || strings.ContainsAny(c.Path, " \r\n") {
			t.Errorf("%+v", c)
		}
	})
}
