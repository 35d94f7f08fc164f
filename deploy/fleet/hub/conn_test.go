package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// all runs f(0) to f(n-1), sixteen at a time: each append waits for a disk.
func all(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	next := make(chan int)
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
}

// TestDenied has what the hub does not allow fail with that reason, and not by waiting for it.
func TestDenied(t *testing.T) {
	w := newWorld(t)
	edge := w.dial(fleet.RoleEdge, "fra")
	nothing := func(*bus.Message) error { return nil }
	for what, err := range map[string]error{
		"read the secrets": edge.Read(t.Context(), bus.StreamSecrets, 1, nothing),
		"append":           second(edge.Append(t.Context(), bus.SubjectJournal, []byte("x"), bus.Expectation{})),
		"ask the control":  second(edge.Request(t.Context(), bus.ControlSubject("main", "purge"), nil)),
	} {
		if !errors.Is(err, bus.ErrDenied) || errors.Is(err, bus.ErrUnsure) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := edge.Read(t.Context(), bus.StreamTables, 1, nothing); err != nil {
		t.Errorf("a read after one that was denied: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestReadLarge has streams read that take many requests, with entries of which one alone is more than a request asks for.
func TestReadLarge(t *testing.T) {
	w := newWorld(t)
	edge := w.dial(fleet.RoleEdge, "fra")
	const entries = 1100
	big := strings.Repeat("x", bus.MostMessage)
	all(t, entries, func(i int) error {
		data := []byte("small")
		if i%400 == 0 {
			data = []byte(big)
		}
		return second(w.control.Append(w.ctx(), bus.SubjectJournal, data, bus.Expectation{}))
	})
	count, bytes := uint64(0), 0
	err := edge.Read(w.ctx(), bus.StreamJournal, 0, func(m *bus.Message) error {
		if count++; m.Sequence != count {
			return fmt.Errorf("entry %d came as number %d", m.Sequence, count)
		}
		bytes += len(m.Data)
		return nil
	})
	if err != nil || count != entries || bytes != 3*len(big)+(entries-3)*len("small") {
		t.Errorf("%d entries, %d bytes, %v", count, bytes, err)
	}
	stop := errors.New("enough")
	if err := edge.Read(w.ctx(), bus.StreamJournal, 5, func(*bus.Message) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a read that its reader ends: %v", err)
	}
}

// TestLastOfMany has more keys read than the server looks at at once, of which some were written again.
func TestLastOfMany(t *testing.T) {
	w := newWorld(t)
	const keys, again = 1050, 100
	for _, n := range []int{keys, again} {
		all(t, n, func(i int) error {
			return second(w.control.Append(w.ctx(), bus.TableSubject(bus.TableCertificate, fmt.Sprintf("edge-p%d", i)), fmt.Append(nil, i), bus.Expectation{}))
		})
	}
	if _, err := w.control.Append(w.ctx(), bus.TableSubject(bus.TableDrain, "fra"), nil, bus.Expectation{}); err != nil {
		t.Fatal(err)
	}
	edge := w.dial(fleet.RoleEdge, "fra")
	got, err := edge.Last(w.ctx(), bus.StreamTables, bus.TableSubject(bus.TableCertificate, "*"))
	if err != nil || len(got) != keys {
		t.Fatalf("%d keys, %v", len(got), err)
	}
	for i, m := range got {
		if _, key, _ := bus.TableOf(m.Subject); key != "edge-p"+string(m.Data) || i > 0 && m.Sequence <= got[i-1].Sequence || (m.Sequence > keys) != (i >= keys-again) {
			t.Fatalf("%+v", m)
		}
	}
	if got, err = edge.Last(w.ctx(), bus.StreamTables, "table.>"); err != nil || len(got) != keys+1 {
		t.Errorf("%d keys of all, %v", len(got), err)
	}
	if got, err = edge.Last(w.ctx(), bus.StreamTables, bus.TableSubject(bus.TableDrain, "*"), bus.TableSubject(bus.TableCertificate, "edge-p7")); err != nil || len(got) != 2 || len(got[1].Data) != 0 {
		t.Errorf("two of many: %v, %v", got, err)
	}
}

// TestAwayAndBack has the hub end and come back: all that waits for it is told, and subscriptions go on.
func TestAwayAndBack(t *testing.T) {
	w := newWorld(t)
	edge := w.dial(fleet.RoleEdge, "fra")
	heard := make(chan string, 10)
	unsubscribe, err := edge.Subscribe(bus.LiveHead, func(m *bus.Message) { heard <- string(m.Data) })
	if err != nil {
		t.Fatal(err)
	}
	connects := make(chan struct{}, 10)
	edge.OnConnect(func() { connects <- struct{}{} })
	<-connects // for it is there

	// A call that nobody answers, under way when the hub ends.
	silent := w.dial(fleet.RoleEdge, "iad")
	asked := make(chan struct{})
	if _, err := silent.Subscribe(bus.CallSubject(fleet.RoleEdge, "iad"), func(*bus.Message) { close(asked) }); err != nil {
		t.Fatal(err)
	}
	if err := silent.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	operator := w.dial(fleet.RoleOperator, "main")
	failed := make(chan error, 1)
	go func() {
		_, err := operator.Request(t.Context(), bus.CallSubject(fleet.RoleEdge, "iad"), []byte("x"))
		failed <- err
	}()
	<-asked
	addr := w.hub.Addr()
	w.stop()
	if err := <-failed; !errors.Is(err, bus.ErrAway) {
		t.Errorf("a call under way when the hub ends: %v", err)
	}
	until(t, "the edge sees that the hub is away", func() bool { return !edge.Connected() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, err := range map[string]error{
		"publish": edge.Publish(bus.UpSubject(fleet.RoleEdge, "fra", bus.UpReport), nil),
		"ask":     second(operator.Request(t.Context(), bus.ControlSubject("main", "status"), nil)),
		"append":  second(w.control.Append(t.Context(), bus.SubjectJournal, []byte("x"), bus.Expectation{})),
		"read":    edge.Read(t.Context(), bus.StreamJournal, 1, func(*bus.Message) error { return nil }),
		"last":    second(edge.Last(t.Context(), bus.StreamTables, "table.>")),
		"flush":   edge.Flush(t.Context()),
		"wait":    edge.Wait(ctx),
	} {
		if !errors.Is(err, bus.ErrAway) || errors.Is(err, bus.ErrUnsure) {
			t.Errorf("%s while the hub is away: %v", what, err)
		}
	}
	later := make(chan string, 10)
	if _, err := edge.Subscribe(bus.LiveTables+">", func(m *bus.Message) { later <- string(m.Data) }); err != nil {
		t.Errorf("subscribe while the hub is away: %v", err)
	}

	w.start(addr)
	<-connects
	if err := edge.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := w.control.Publish(bus.LiveHead, []byte("here")); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "here" {
		t.Errorf("heard %q", got)
	}
	if _, err := w.control.Append(w.ctx(), bus.TableSubject(bus.TableDrain, "fra"), []byte("{}"), bus.ExpectLast(0)); err != nil {
		t.Fatal(err)
	}
	if got := <-later; got != "{}" {
		t.Errorf("heard %q", got)
	}
	unsubscribe()
	if err := edge.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	w.control.Publish(bus.LiveHead, []byte("again"))
	w.control.Append(w.ctx(), bus.TableSubject(bus.TableDrain, "fra"), []byte("end"), bus.Expectation{})
	if got := <-later; got != "end" || len(heard) > 0 {
		t.Errorf("heard %q, and %d more where nobody listens any more", got, len(heard))
	}
}

// TestNobodyThere has a connection made, used and closed where no hub is.
func TestNobodyThere(t *testing.T) {
	w := newWorld(t)
	id, url := w.identity(fleet.RoleEdge, "fra"), w.hub.URL()
	w.stop()
	c, err := bus.Dial(bus.Options{URLs: []string{url, "tls://no-such-host.invalid:4222"}, Identity: id, Embedded: "us", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(bus.LiveHead, func(*bus.Message) {}); err != nil {
		t.Error(err)
	}
	waited := make(chan error)
	go func() { waited <- c.Wait(t.Context()) }()
	c.Close()
	if err := <-waited; !errors.Is(err, bus.ErrAway) {
		t.Errorf("a wait on a connection that is closed: %v", err)
	}
	for _, bad := range []string{"nats://127.0.0.1:1", "tls://", "127.0.0.1:4222", "tls://a:1,tls://b:1"} {
		if _, err := bus.Dial(bus.Options{URLs: []string{bad}, Identity: id, Log: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("%q was taken for an address", bad)
		}
	}
}

// TestOnLost has a node that takes its messages too slowly hear that it has lost some.
func TestOnLost(t *testing.T) {
	w := newWorld(t)
	edge := w.dial(fleet.RoleEdge, "fra")
	lost := make(chan string, 10)
	edge.OnLost(func(subject string) { lost <- subject })
	hold := make(chan struct{})
	if _, err := edge.Subscribe(bus.LiveHead, func(*bus.Message) { <-hold }); err != nil {
		t.Fatal(err)
	}
	if err := edge.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	defer close(hold)
	large := make([]byte, bus.MostMessage)
	for i := 0; len(lost) == 0; i++ {
		if i > 64 {
			t.Fatal("64 MB wait and nothing is lost")
		}
		if err := w.control.Publish(bus.LiveHead, large); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.control.Flush(w.ctx()), edge.Flush(w.ctx())); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-lost; got != bus.LiveHead {
		t.Errorf("lost on %q", got)
	}
}

// TestInboxes has somebody see where answers are waited for, as a node does that is called: it says nothing of where they are waited for next.
func TestInboxes(t *testing.T) {
	w := newWorld(t)
	edge := w.dial(fleet.RoleEdge, "fra")
	if _, err := edge.Subscribe(bus.CallSubject(fleet.RoleEdge, "fra"), func(m *bus.Message) { m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := edge.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	own := w.hub.Control()
	spy, err := nats.Connect("", nats.InProcessServer(own.InProcess), nats.Token(own.Token))
	if err != nil {
		t.Fatal(err)
	}
	defer spy.Close()
	seen := make(chan *nats.Msg, 1000)
	for _, subject := range []string{"to.>", "read.>", "$JS.API.DIRECT.GET.>"} {
		if _, err := spy.ChanSubscribe(subject, seen); err != nil {
			t.Fatal(err)
		}
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	const times = 10
	nothing := func(*bus.Message) error { return nil }
	for i := range times {
		text := fmt.Sprint(i)
		if m, err := w.control.Request(w.ctx(), bus.CallSubject(fleet.RoleEdge, "fra"), []byte(text)); err != nil || string(m.Data) != text {
			t.Fatalf("%v, %v", m, err)
		}
		if err := errors.Join(w.control.Read(w.ctx(), bus.StreamTables, 1, nothing), edge.Read(w.ctx(), bus.StreamTables, 1, nothing)); err != nil {
			t.Fatal(err)
		}
	}
	last := make(map[string]string) // by what precedes the name
	for n := 0; n < 3*times; {
		m := <-seen
		if m.Reply == "" {
			continue
		}
		n++
		at := strings.LastIndexByte(m.Reply, '.')
		before, name := m.Subject+m.Reply[:at], m.Reply[at+1:]
		if was := last[before]; len(name) < 22 || was != "" && was[:8] == name[:8] {
			t.Errorf("%s: an answer is waited for at %q, and after that at %q", m.Subject, was, name)
		}
		last[before] = name
	}
	if len(last) > 4 {
		t.Errorf("%v", last)
	}
	if _, err := w.control.Request(w.ctx(), bus.ControlSubject("main", "purge"), nil); !errors.Is(err, bus.ErrNobody) {
		t.Errorf("nobody is there: %v", err)
	}
}
