package lab

import (
	"strings"
	"testing"
	"time"
)

// A tape writes recordings by hand. Its clock counts milliseconds.
type tape struct {
	begin time.Time
	r     Recording
}

func (x *tape) at(ms float64) time.Time {
	return x.begin.Add(time.Duration(ms * float64(time.Millisecond)))
}

// ways is how long the tape's segments are, in ms and one direction.
var ways = map[Segment]float64{Between(Client, Edge): 5, Between(Edge, Origin): 100, Between(Client, DNS): 5, Between(Edge, DNS): 0.1}

// carry notes a packet, with the port of the one who connected.
func (x *tape) carry(from, to Place, sent float64, port uint16, data int) *Packet {
	flow := Flow{Protocol: protocolTCP, From: port, To: 443}
	if from > to {
		flow.From, flow.To = 443, port
	}
	x.r.Packets = append(x.r.Packets, Packet{From: from, To: to, Flow: flow, Payload: data, Sent: x.at(sent), Arrived: x.at(sent + ways[Between(from, to)])})
	return &x.r.Packets[len(x.r.Packets)-1]
}

// handshake is that of TLS 1.3 over TCP, to the request, which comes to the edge at 25.4 ms.
func (x *tape) handshake() {
	x.carry(Client, Edge, 0.1, 4000, 0).Opens = true
	x.carry(Edge, Client, 5.1, 4000, 0).Opens = true
	x.carry(Client, Edge, 10.1, 4000, 0)    // ACK
	x.carry(Client, Edge, 10.2, 4000, 500)  // ClientHello
	x.carry(Edge, Client, 15.3, 4000, 1000) // ServerHello to Finished
	x.carry(Client, Edge, 20.3, 4000, 0)    // ACK
	x.carry(Client, Edge, 20.4, 4000, 100)  // Finished, request
}

func newTape() *tape { return &tape{begin: time.Now()} }

func (x *tape) path(t *testing.T, at float64) Path {
	t.Helper()
	p, err := x.r.Path(Question{Start: x.begin, At: x.at(at), Port: 4000})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantRounds(t *testing.T, p Path, near, far int) {
	t.Helper()
	if n, f := p.RoundTrips(Between(Client, Edge)), p.RoundTrips(Between(Edge, Origin)); n != near || f != far {
		t.Errorf("%d near and %d far round trips, want %d and %d", n, f, near, far)
	}
}

func TestPathOfConnection(t *testing.T) {
	x := newTape()
	x.handshake()
	p := x.path(t, 10.2)
	wantRounds(t, p, 1, 0)
}

func TestPathOfHit(t *testing.T) {
	x := newTape()
	x.handshake()
	x.carry(Edge, Client, 25.5, 4000, 1000)
	x.carry(Edge, Client, 25.6, 4000, 0).Arrived = x.at(30.55) // acknowledges alone, after the data
	p := x.path(t, 30.6)
	wantRounds(t, p, 3, 0)
	if p.UnderWay() != 30*time.Millisecond || p.Elsewhere() > 200*time.Microsecond {
		t.Errorf("under way for %v, elsewhere for %v", p.UnderWay(), p.Elsewhere())
	}
}

// What crosses the wait is a flight too, but nobody waits for it.
func TestPathOfMiss(t *testing.T) {
	x := newTape()
	x.carry(Origin, Edge, 0, 9000, 0).Arrived = x.at(25.5) // of the pool's connection: keeps it alive
	x.handshake()
	x.carry(Edge, Origin, 25.6, 9000, 100)
	x.carry(Edge, Client, 65.4, 4000, 0)  // delayed ACK
	x.carry(Client, Edge, 70.4, 4000, 20) // an answer to it, as QUIC has
	x.carry(Origin, Edge, 125.7, 9000, 1000)
	x.carry(Edge, Client, 225.8, 4000, 1000)
	p := x.path(t, 231)
	wantRounds(t, p, 3, 1)
	if p.UnderWay() != 230*time.Millisecond {
		t.Errorf("under way for %v", p.UnderWay())
	}
}

// A window that has to open is waited for, as the last byte of what is larger than it shows.
func TestPathOfSlowStart(t *testing.T) {
	x := newTape()
	x.handshake()
	x.carry(Edge, Client, 25.5, 4000, 1400) // as much as may be sent
	x.carry(Client, Edge, 30.6, 4000, 0)
	x.carry(Edge, Client, 35.7, 4000, 1400)
	x.carry(Client, Edge, 40.8, 4000, 0)
	x.carry(Edge, Client, 45.9, 4000, 1400)
	wantRounds(t, x.path(t, 31), 3, 0)
	wantRounds(t, x.path(t, 51), 5, 0)
}

func TestPathLeavesOthersAside(t *testing.T) {
	x := newTape()
	x.carry(Edge, Client, -0.1, 4000, 10).Arrived = x.at(0.05) // sent before the start
	x.carry(Edge, Client, 0, 3999, 10).Arrived = x.at(0.09)    // of another connection
	x.handshake()
	x.carry(DNS, Edge, 25.35, 5000, 10).Arrived = x.at(25.45) // a probe
	x.carry(Edge, Client, 25.5, 4000, 1000)                   // the answer
	x.carry(Edge, Client, 25.55, 4000, 1000).Lost = true
	x.carry(Edge, Client, 29, 4000, 1000) // the rest
	wantRounds(t, x.path(t, 30.6), 3, 0)
}

func TestPathThatCannotBe(t *testing.T) {
	x := newTape()
	x.carry(Edge, Client, 1, 4000, 10)
	if _, err := x.r.Path(Question{Start: x.begin, At: x.at(10)}); err == nil || !strings.Contains(err.Error(), "nothing came to the edge") {
		t.Errorf("an answer to nothing: %v", err)
	}
	if _, err := x.r.Path(Question{Start: x.begin, At: x.at(0.5)}); err == nil || !strings.Contains(err.Error(), "nothing came to the client") {
		t.Errorf("nothing: %v", err)
	}
	x.r.Missed = 1
	if _, err := x.r.Path(Question{Start: x.begin, At: x.at(10)}); err == nil {
		t.Error("a recording with gaps is believed")
	}
}

func TestLatePacketsOfAnEarlierRecording(t *testing.T) {
	var first, second *Recording
	first, second = new(Recording), new(Recording)
	now := time.Now()
	n := first.sent(header{from: Client, to: Edge}, 100, now, carried)
	second.sent(header{from: Edge, to: Client}, 100, now, carried)
	second.arrived(n, now)
	if !second.Packets[0].Arrived.IsZero() {
		t.Error("a packet arrived in a recording that it is not of")
	}
	var none *Recording
	none.arrived(none.sent(header{}, 1, now, carried), now)
	if on := first.On(Between(Edge, Client)); len(on) != 1 || len(first.On(Between(Edge, Origin))) != 0 {
		t.Errorf("on the segment: %v", on)
	}
}
