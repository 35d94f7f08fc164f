package reports

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"

	"hither/bench/peers"
)

// A Share is what part of an edge's processor time lies in reports, by its own profile under full load. It tells what is less than the machine
// is out by from one minute to the next, and a difference of two edges does not.
type Share struct {
	Samples   int64   // of processor time, all of the edge
	Reports   int64   // of them with a frame of reports
	Collector int64   // of them in the collector of garbage
	Allocated float64 // reports' share of the bytes that were allocated
}

// Percent is the share: reports have of the collector's time what they have of the bytes. 0 where nothing was sampled.
func (s Share) Percent() float64 {
	if s.Samples == 0 {
		return 0
	}
	return 100 * (float64(s.Reports) + float64(s.Collector)*s.Allocated) / float64(s.Samples)
}

// mostProfile is the most that is read of a profile: those of an edge have some 100 KiB.
const mostProfile = 64 << 20

// profiled fetches both profiles of an edge for so long, while a load is on it.
func profiled(ctx context.Context, s *peers.WebServer, d time.Duration) (share Share, err error) {
	var cpu, allocs *profile.Profile
	var wrong [2]error
	var both sync.WaitGroup
	both.Go(func() { cpu, wrong[0] = fetch(ctx, s, "profile", d) })
	both.Go(func() { allocs, wrong[1] = fetch(ctx, s, "allocs", d) })
	both.Wait()
	for _, err := range wrong {
		if err != nil {
			return Share{}, err
		}
	}
	return newShare(cpu, allocs)
}

func fetch(ctx context.Context, s *peers.WebServer, name string, d time.Duration) (*profile.Profile, error) {
	u := fmt.Sprintf("http://node/debug/pprof/%s?seconds=%d", name, int(d.Seconds()))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	resp, err := s.Admin().Do(r)
	if err != nil {
		return nil, fmt.Errorf("reports: the edge's profile: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reports: the edge's profile: %s", resp.Status)
	}
	p, err := profile.Parse(io.LimitReader(resp.Body, mostProfile))
	if err != nil {
		return nil, fmt.Errorf("reports: the edge's profile: %w", err)
	}
	return p, nil
}

// newShare counts samples by their frames.
func newShare(cpu, allocs *profile.Profile) (s Share, err error) {
	count, bytes := valueOf(cpu, "samples"), valueOf(allocs, "alloc_space")
	if count < 0 || bytes < 0 {
		return Share{}, fmt.Errorf("reports: the edge's profiles have no samples or no alloc_space")
	}
	for _, x := range cpu.Sample {
		n := x.Value[count]
		s.Samples += n
		switch {
		case has(x, isReport):
			s.Reports += n
		case has(x, isCollector):
			s.Collector += n
		}
	}
	var all, reports int64
	for _, x := range allocs.Sample {
		if all += x.Value[bytes]; has(x, isReport) {
			reports += x.Value[bytes]
		}
	}
	if all > 0 {
		s.Allocated = float64(reports) / float64(all)
	}
	return s, nil
}

// valueOf is where in a sample a kind of value stands; -1 = nowhere.
func valueOf(p *profile.Profile, kind string) int {
	for i, t := range p.SampleType {
		if t.Type == kind {
			return i
		}
	}
	return -1
}

func has(x *profile.Sample, is func(function string) bool) bool {
	for _, l := range x.Location {
		for _, line := range l.Line {
			if line.Function != nil && is(line.Function.Name) {
				return true
			}
		}
	}
	return false
}

// isReport says whether a function is where an edge measures round trips, counts or tells: the connection to the hub with all that
// comes over it, and what listeners do for it at the end of a request.
func isReport(function string) bool {
	for _, begins := range []string{"hither/deploy/fleet/member.", "hither/deploy/fleet/bus.", "github.com/nats-io/"} {
		if strings.HasPrefix(function, begins) {
			return true
		}
	}
	return strings.HasPrefix(function, "hither/edge/listen.") && strings.HasSuffix(function, ").measure") ||
		strings.HasPrefix(function, "hither/edge/node.(*ways).")
}

// isCollector says whether a function is one in which a thread of the collector, or one that helps it, begins.
func isCollector(function string) bool {
	switch function {
	case "runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge":
		return true
	}
	return false
}
