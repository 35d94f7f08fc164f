package steer

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hither/dns/geo"
)

// The rules for round trips are told by the scripts of testdata/times. To pop, set and unknown of a script for orders come:
//
//	place PREFIX PLACE                 where its clients are; most specific first
//	own ADDRESS...                     this server's own addresses
//	wait DURATION                      the clock goes on, a second at a time, each with a Sweep and a View
//	report POP PREFIX MS N -> [taken=N] [light=N] ...
//	probe POP MS [TIMES]               this server's own probe took so long
//	order CLIENT [OPTION...] -> NAME... reason=R time=BITS
//	sight CLIENT POP -> MS FROM [WHY]
//	moves -> [POP:WHY=N...]            since the last time
//	prefixes -> N                      known
type timesScript struct {
	script
	s      *Snapshot
	times  *Times
	view   *View
	places []placed
	now    time.Time
	moves  map[string]int
}

type placed struct {
	prefix netip.Prefix
	found  geo.Found
}

// timesStart is the first second of a slice that explores with prefixes of hash 0.
var timesStart = time.Unix(1_700_000_000/6000*6000, 0)

func (s *timesScript) place(a netip.Addr) geo.Found {
	for _, p := range s.places {
		if p.prefix.Contains(a) {
			return p.found
		}
	}
	return geo.Found{}
}

// ready makes the Snapshot of the PoPs so far.
func (s *timesScript) ready() error {
	next, err := New(s.pops, s.unknown)
	if err != nil {
		return err
	}
	s.s = next
	if s.times == nil {
		s.moves = make(map[string]int)
		s.times = NewTimes(next, s.place, 0, func(pop string, why Move) { s.moves[pop+":"+string(why)]++ })
		s.now = timesStart
	} else {
		s.times.Use(next, s.place, s.now)
	}
	return nil
}

func (s *timesScript) tick() {
	s.times.Sweep(s.now)
	s.look()
}

func (s *timesScript) look() {
	if v, changed := s.times.View(s.now); changed {
		s.view = v
	}
}

func (s *timesScript) do(words []string) error {
	arrow := slices.Index(words, "->")
	var want string
	if arrow >= 0 {
		want = strings.Join(words[arrow+1:], " ")
		words = words[:arrow]
	}
	is := func(got string) error {
		if got != want {
			return fmt.Errorf("got  -> %s\nwant -> %s", got, want)
		}
		return nil
	}
	switch words[0] {
	case "pop", "set", "unknown":
		if err := s.setup(words); err != nil {
			return err
		}
		return s.ready()
	case "place":
		f, err := found(words[2])
		s.places = append(s.places, placed{netip.MustParsePrefix(words[1]), f})
		return err
	case "own":
		var addrs []netip.Addr
		for _, w := range words[1:] {
			addrs = append(addrs, netip.MustParseAddr(w))
		}
		s.times.Own(addrs)
		return nil
	case "wait":
		d, err := time.ParseDuration(words[1])
		for end := s.now.Add(d); s.now.Before(end); {
			s.now = s.now.Add(time.Second)
			s.tick()
		}
		return err
	case "report":
		i, ok := s.s.Index(words[1])
		if !ok {
			i = -1
		}
		p, _ := netip.ParsePrefix(words[2])
		ms, err := strconv.ParseFloat(words[3], 64)
		n, err2 := strconv.Atoi(words[4])
		if err != nil || err2 != nil {
			return fmt.Errorf("report: %v %v", err, err2)
		}
		l := s.times.Report(i, []Sample{{p, ms, n}}, s.now)
		if s.times.Len() != len(s.times.index) {
			return fmt.Errorf("%d prefixes", s.times.Len())
		}
		s.look()
		return is(learned(l))
	case "probe":
		i, _ := s.s.Index(words[1])
		ms, err := strconv.ParseFloat(words[2], 64)
		n := 1
		if len(words) > 3 {
			n, _ = strconv.Atoi(words[3])
		}
		for range n {
			s.times.Probe(i, ms, s.now)
		}
		s.look()
		return err
	case "order":
		q := Question{Client: netip.MustParsePrefix(words[1]), Family: 4, Answers: len(s.pops)}
		q.Found = s.place(q.Client.Addr())
		for _, o := range words[2:] {
			if name, ok := strings.CutPrefix(o, "site="); ok {
				q.Site = make([]bool, len(s.pops))
				for _, n := range list(name) {
					i, _ := s.s.Index(n)
					q.Site[i] = true
				}
			}
		}
		a := s.s.With(s.view).Pick(q, nil)
		return is(fmt.Sprintf("%s time=%d", describe(s.s, a), a.TimeBits))
	case "sight":
		for _, x := range s.times.Sights(netip.MustParsePrefix(words[1]), s.now) {
			if x.PoP == words[2] {
				return is(strings.TrimSpace(fmt.Sprintf("%.0f %s %s", x.MS, x.From, x.Unused)))
			}
		}
		return is("none")
	case "moves":
		var got []string
		for k, n := range s.moves {
			got = append(got, fmt.Sprintf("%s=%d", k, n))
		}
		slices.Sort(got)
		clear(s.moves)
		return is(strings.Join(got, " "))
	case "prefixes":
		return is(strconv.Itoa(s.times.Len()))
	}
	return fmt.Errorf("what is %q?", strings.Join(words, " "))
}

func learned(l Learned) string {
	var out []string
	for _, x := range []struct {
		word string
		n    int
	}{{"taken", l.Taken}, {"light", l.Light}, {"invalid", l.Invalid}, {"place", l.Place}, {"full", l.Full}, {"aside", l.Aside}} {
		if x.n > 0 {
			out = append(out, fmt.Sprintf("%s=%d", x.word, x.n))
		}
	}
	if l.Lied {
		out = append(out, "lied")
	}
	return strings.Join(out, " ")
}

func TestTimesScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/times/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var s timesScript
			for n, line := range strings.Split(string(data), "\n") {
				if words := fields(line); len(words) > 0 {
					if err := s.do(words); err != nil {
						t.Errorf("%s:%d: %s: %v", file, n+1, line, err)
					}
				}
			}
		})
	}
}
