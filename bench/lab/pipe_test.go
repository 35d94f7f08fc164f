package lab

import (
	"math"
	"slices"
	"testing"
	"time"
)

// A shipment is packets of one size that are sent into a pipe at even intervals.
type shipment struct {
	n, bytes int
	every    time.Duration
}

// send returns when each packet arrives; -1 stands for one that does not.
func (s shipment) send(p *pipe) (arrivals []time.Duration) {
	for i := range s.n {
		due, f := p.admit(time.Duration(i)*s.every, s.bytes)
		if f != carried {
			due = -1
		}
		arrivals = append(arrivals, due)
	}
	return arrivals
}

func TestPacketsTakeHalfTheDistance(t *testing.T) {
	p := newPipe(Conditions{Distance: 10 * time.Millisecond}, 1, 1)
	got := shipment{n: 3, bytes: 1500, every: time.Microsecond}.send(p)
	want := []time.Duration{5 * time.Millisecond, 5*time.Millisecond + time.Microsecond, 5*time.Millisecond + 2*time.Microsecond}
	if !slices.Equal(got, want) {
		t.Errorf("arrivals %v, want %v", got, want)
	}
}

func TestRateSpreadsPackets(t *testing.T) {
	// 1250 bytes at 10 Mbit/s take 1 ms.
	p := newPipe(Conditions{Distance: 100 * time.Millisecond, Rate: 10e6}, 1, 1)
	got := shipment{n: 4, bytes: 1250}.send(p)
	want := []time.Duration{51 * time.Millisecond, 52 * time.Millisecond, 53 * time.Millisecond, 54 * time.Millisecond}
	if !slices.Equal(got, want) {
		t.Errorf("arrivals %v, want %v", got, want)
	}
	// An idle line is free at once.
	if due, _ := p.admit(time.Second, 1250); due != time.Second+51*time.Millisecond {
		t.Errorf("after a pause: arrives at %v", due)
	}
}

func TestMebibyteTakesWhatItMust(t *testing.T) {
	p := newPipe(Conditions{Distance: 20 * time.Millisecond, Rate: 10e6}, 1, 1)
	const packets, size = 1 << 20 / 1024, 1024
	// Sent as fast as the line takes them, so that the queue stays short.
	s := shipment{n: packets, bytes: size, every: size * 8 * time.Second / 10e6}
	arrivals := s.send(p)
	if slices.Contains(arrivals, -1) {
		t.Error("packets were dropped from a queue that is never full")
	}
	// 2^23 bits at 10^7 bits per second, and half the distance.
	want := time.Duration(float64(1<<23)/10e6*float64(time.Second)) + 10*time.Millisecond
	if got := arrivals[packets-1]; got < want-time.Millisecond || got > want+time.Millisecond {
		t.Errorf("1 MiB at 10 Mbit/s takes %v, want %v", got, want)
	}
}

func TestQueueIsOneBandwidthDelayProduct(t *testing.T) {
	for _, c := range []struct {
		name       string
		conditions Conditions
		fits       int
	}{
		{"10 Mbit/s over 100 ms", Conditions{Distance: 100 * time.Millisecond, Rate: 10e6}, 125000 / 1500},
		{"1 Gbit/s over 10 ms", Conditions{Distance: 10 * time.Millisecond, Rate: 1e9}, 1250000 / 1500},
		{"no distance", Conditions{Rate: 10e6}, 2},
	} {
		p := newPipe(c.conditions, 1, 1)
		arrivals := shipment{n: c.fits + 10, bytes: 1500}.send(p)
		if i := slices.Index(arrivals, -1); i != c.fits {
			t.Errorf("%s: the first packet dropped is number %d, want %d", c.name, i, c.fits)
		}
		if p.n.Dropped != 10 || p.n.Backlog > c.conditions.queueBytes() {
			t.Errorf("%s: %d dropped, want 10; at most %d bytes waited", c.name, p.n.Dropped, p.n.Backlog)
		}
		// What has gone in leaves room for as much.
		room := time.Duration(1500 * 8 / float64(c.conditions.Rate) * float64(time.Second))
		if _, f := p.admit(room, 1500); f != carried {
			t.Errorf("%s: no room after a packet has gone", c.name)
		}
	}
}

func TestUnlimitedPipeIsBounded(t *testing.T) {
	p := newPipe(Conditions{Distance: time.Second}, 1, 1)
	var f fate
	n := 0
	for ; f == carried; n++ {
		var due time.Duration
		if due, f = p.admit(0, mtu); f == carried {
			p.push(parcel{due: due, data: make([]byte, mtu)})
		}
	}
	if f != dropped || n != maxUnderWay/mtu+1 {
		t.Errorf("packet %d met fate %d", n, f)
	}
	for range p.way {
		p.pop()
	}
	if p.held != 0 {
		t.Errorf("an empty pipe holds %d bytes", p.held)
	}
}

func TestLossIsOfTheSeed(t *testing.T) {
	lost := func(seed, direction uint64) []int {
		p := newPipe(Conditions{Loss: 0.1}, seed, direction)
		var which []int
		for i, due := range (shipment{n: 10000, bytes: 100}).send(p) {
			if due < 0 {
				which = append(which, i)
			}
		}
		if int64(len(which)) != p.n.Lost {
			t.Errorf("%d lost, %d counted", len(which), p.n.Lost)
		}
		return which
	}
	first := lost(1, 1)
	// Ten standard deviations of a binomial distribution are 300.
	if math.Abs(float64(len(first))-1000) > 300 {
		t.Errorf("%d of 10000 lost, want about 1000", len(first))
	}
	if !slices.Equal(first, lost(1, 1)) {
		t.Error("the same seed lost other packets")
	}
	if slices.Equal(first, lost(2, 1)) || slices.Equal(first, lost(1, 2)) {
		t.Error("another seed, or the other direction, lost the same packets")
	}
	for share, want := range map[float64]int64{0: 0, 1: 100} {
		p := newPipe(Conditions{Loss: share}, 1, 1)
		shipment{n: 100, bytes: 100}.send(p)
		if p.n.Lost != want {
			t.Errorf("loss %v: %d of 100 lost", share, p.n.Lost)
		}
	}
}

func TestJitterKeepsOrder(t *testing.T) {
	const jitter = 5 * time.Millisecond
	p := newPipe(Conditions{Distance: 20 * time.Millisecond, Jitter: jitter}, 1, 1)
	s := shipment{n: 1000, bytes: 100, every: 2 * time.Millisecond}
	arrivals := s.send(p)
	if !slices.IsSorted(arrivals) {
		t.Error("packets overtook one another")
	}
	least, most := jitter, time.Duration(0)
	for i, at := range arrivals {
		extra := at - time.Duration(i)*s.every - 10*time.Millisecond
		least, most = min(least, extra), max(most, extra)
	}
	if least < 0 || least > jitter/10 || most > jitter || most < jitter*9/10 {
		t.Errorf("between %v and %v were added, want nothing to %v", least, most, jitter)
	}
}

func TestShorterDistanceOvertakesNothing(t *testing.T) {
	p := newPipe(Conditions{Distance: 200 * time.Millisecond}, 1, 1)
	first, _ := p.admit(0, 100)
	p.c.Distance = 10 * time.Millisecond
	if second, _ := p.admit(time.Millisecond, 100); second < first {
		t.Errorf("a packet arrives at %v, before one sent earlier that does at %v", second, first)
	}
}

func TestConditionsChecked(t *testing.T) {
	for _, c := range []Conditions{{Distance: -1}, {Distance: time.Minute}, {Jitter: -1}, {Loss: -0.1}, {Loss: 1.1}, {Loss: math.NaN()}, {Rate: -1}, {Rate: 100}} {
		_, err := Options{Segments: map[Segment]Conditions{Between(Client, Edge): c}}.complete()
		if err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

func TestDNSServerStandsAtTheEdge(t *testing.T) {
	all, err := Options{Segments: Distances(1, 2, 3)}.complete()
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[Segment]time.Duration{
		Between(Client, Edge): 1, Between(Origin, Edge): 2, Between(Origin, Client): 3,
		Between(DNS, Client): 1, Between(DNS, Edge): 0, Between(DNS, Origin): 2,
	} {
		if all[s].Distance != want {
			t.Errorf("%v: %d, want %d", s, all[s].Distance, want)
		}
	}
}
