package ops

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// A Fleet is what a node's process knows of the fleet around it, for the node to show: which revision of the network file is in
// use, whether the hub answers, and what is wrong with either. The process sets it. The zero Fleet is that of a node which has heard nothing
// yet, a nil one that of a node without any process around it, as in a test. It is safe for concurrent use.
type Fleet struct {
	mu        sync.Mutex // guards what follows
	number    int
	hash      string
	connected func() bool
	problems  map[string]string // by what they are about
}

// Use notes the network file in use: its number in the fleet, 0 where it came from a file and has none, and its hash.
func (f *Fleet) Use(number int, hash string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number, f.hash = number, hash
}

// Running returns what was noted with Use.
func (f *Fleet) Running() (number int, hash string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.number, f.hash
}

// Number is the number of the network file in use; with a nil Fleet, which knows none, it is what the node has counted.
func (f *Fleet) Number(counted int) int {
	if f == nil {
		return counted
	}
	number, _ := f.Running()
	return number
}

// Hub has connected say whether the hub answers; nil: there is none.
func (f *Fleet) Hub(connected func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.connected = connected
}

// Connected says whether the hub answers.
func (f *Fleet) Connected() bool {
	f.mu.Lock()
	connected := f.connected
	f.mu.Unlock()
	return connected != nil && connected()
}

// Problem has the node show what is wrong with something, such as the hub in it; what "" is that nothing is any more.
func (f *Fleet) Problem(about, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if what == "" {
		delete(f.problems, about)
		return
	}
	if f.problems == nil {
		f.problems = make(map[string]string)
	}
	f.problems[about] = what
}

// Show puts what is known into the status of the one node that it has. A nil Fleet leaves it as it is.
func (f *Fleet) Show(s *Status) {
	if f == nil {
		return
	}
	s.Hub.Connected = f.Connected()
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Revision = f.number
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Revision, n.Hash = f.number, f.hash
		var all []string
		for about, what := range f.problems {
			all = append(all, about+": "+what)
		}
		slices.Sort(all)
		n.Problems = append(n.Problems, all...)
	}
}

// Watch registers the metrics of it.
func (f *Fleet) Watch(r prometheus.Registerer) {
	if f == nil {
		return
	}
	r.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hither_fleet_revision", Help: "The fleet's number of the network file in use; 0 where it came from a file and has none.",
		}, func() float64 { return float64(f.Number(0)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hither_hub_connected", Help: "1 while the hub answers, else 0.",
		}, func() float64 {
			if f.Connected() {
				return 1
			}
			return 0
		}),
	)
}
