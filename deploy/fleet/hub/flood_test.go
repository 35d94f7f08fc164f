package hub_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// TestFlood has a stolen edge do as much as it can of what it may, and of what it may not. It is cut off and stays out for a
// while; others are served meanwhile.
func TestFlood(t *testing.T) {
	for what, flood := range map[string]func(nc *nats.Conn, n int) error{
		"small messages": func(nc *nats.Conn, _ int) error { return nc.Publish("up.edge.fra.report", []byte("{}")) },
		"large messages": func(nc *nats.Conn, _ int) error { return nc.Publish("up.edge.fra.rtt", make([]byte, 1<<20)) },
		"reads": func(nc *nats.Conn, _ int) error {
			return nc.PublishRequest(bus.ReadSubject("edge", "fra", bus.StreamTables), nc.NewInbox(), []byte(`{"seq":1,"batch":1024}`))
		},
		"what is denied": func(nc *nats.Conn, n int) error { return nc.Publish(fmt.Sprintf("journal.%d", n), nil) },
		"subscriptions": func(nc *nats.Conn, n int) error {
			_, err := nc.SubscribeSync(nc.NewInbox())
			return err
		},
	} {
		t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
			log := newRecord()
			w := newWorld(t, hub.Options{Log: log.logger()})
			honest := w.dial(fleet.RoleEdge, "iad")
			heard := make(chan []byte, 1000)
			if _, err := honest.Subscribe(bus.LiveTables+">", func(m *bus.Message) { heard <- m.Data }); err != nil {
				t.Fatal(err)
			}
			if err := honest.Flush(w.ctx()); err != nil {
				t.Fatal(err)
			}
			thief, err := w.raw(fleet.RoleEdge, "fra")
			if err != nil {
				t.Fatal(err)
			}
			defer thief.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				for n := 0; !thief.IsClosed(); n++ {
					if flood(thief, n) != nil {
						return
					}
				}
			}()
			for n := 0; ; n++ { // somebody else is served while it lasts
				if _, err := w.control.Append(w.ctx(), bus.TableSubject(bus.TableDrain, "p"), fmt.Append(nil, n), bus.Expectation{}); err != nil {
					t.Fatal(err)
				}
				select {
				case got := <-heard:
					if string(got) != fmt.Sprint(n) {
						t.Fatalf("heard %s for %d", got, n)
					}
				case <-time.After(30 * time.Second):
					t.Fatalf("heard nothing for %d", n)
				}
				select {
				case <-done:
				default:
					continue
				}
				break
			}
			if got := w.hub.Rejected()[hub.RejectedFlood]; got != 1 {
				t.Errorf("%d floods counted: %v", got, w.hub.Rejected())
			}
			until(t, "it is refused when it comes again", func() bool { // and not for being slow in its handshake
				if nc, err := w.raw(fleet.RoleEdge, "fra"); err == nil {
					nc.Close()
					t.Fatal("it was let in again at once")
				}
				return w.hub.Rejected()[hub.RejectedBanned] > 0
			})
			if by := log.refusals(t); by[hub.RejectedFlood] != 1 || by[hub.RejectedBanned] != 1 {
				t.Errorf("logged: %v", by)
			}
			if !honest.Connected() || !w.control.Connected() {
				t.Errorf("rejected: %v; others there: %v, %v", w.hub.Rejected(), honest.Connected(), w.control.Connected())
			}
		})
	}
}

// TestNeverReads has a node that hears all and reads nothing: what waits for it is bounded, and others hear all the same.
func TestNeverReads(t *testing.T) {
	w := newWorld(t, hub.Options{Limits: hub.Limits{Stalled: 2 * time.Second}}) // the honest one's limit as well
	honest := w.dial(fleet.RoleEdge, "iad")
	heard := make(chan int, 1000)
	if _, err := honest.Subscribe(bus.LiveHead, func(m *bus.Message) { heard <- len(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := honest.Flush(w.ctx()); err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial("tcp", w.hub.Addr(), w.identity(fleet.RoleEdge, "fra").HubTLS("us"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "CONNECT {\"verbose\":false}\r\nSUB live.> 1\r\nPING\r\n")
	r := bufio.NewReader(c)
	for line := ""; line != "PONG\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	peer := fleet.Peer{Role: fleet.RoleEdge, Name: "fra", Network: "demo"}
	large := bytes.Repeat([]byte("x"), 1<<20)
	for range 64 { // far more than may wait
		if err := w.control.Publish(bus.LiveHead, large); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-heard:
			if got != len(large) {
				t.Fatalf("heard %d bytes", got)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("who reads hears nothing")
		}
	}
	until(t, "it is ended", func() bool { return w.hub.Connected()[peer] == 0 })
	io.Copy(io.Discard, c) // which ends, for the hub ended it
}
