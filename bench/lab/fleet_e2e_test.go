//go:build e2e

package lab_test

import (
	"testing"
	"time"

	"hither/bench/lab"
	"hither/bench/purge"
	"hither/bench/steer"
)

// TestPurgeReachesPoPs purges objects of three PoPs far from the hub one by one, and counts look-ups: after the receipt nothing may be found.
func TestPurgeReachesPoPs(t *testing.T) {
	const purges = 20
	r, err := purge.Measure(t.Context(), purge.Options{Distance: far, Purges: purges, Program: program(t), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	gone := r.Gone(-1)
	if len(gone) != purges*3 || r.Found() != 0 {
		t.Errorf("%d times an object was gone, %d look-ups found it after the receipt", len(gone), r.Found())
	}
	// No message is faster than the distance: what is gone earlier was purged by something else.
	if len(gone) > 0 && gone[0] < far/2 {
		t.Errorf("gone after %v, over a distance of %v", gone[0], far)
	}
	t.Logf("%d purges of %d PoPs: %d found nothing after the receipt", len(r.Purges), len(lab.Edges()), len(gone)-r.Found())
	t.Logf("p50 %v, p99 %v", purge.Percentile(gone, 0.5).Round(time.Millisecond), purge.Percentile(gone, 0.99).Round(time.Millisecond))
}

// TestClientsLeaveAFarPoP has clients come to a PoP that is near on the map and far in time. All leave it, each once, and none comes back.
func TestClientsLeaveAFarPoP(t *testing.T) {
	const clients = 30
	r, err := steer.Measure(t.Context(), steer.Options{
		Clients: clients, Every: time.Second, Keep: 10 * time.Second, Only: "far", Program: program(t), Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	f := r.Far
	if f.First != clients || f.Stayed != 0 || f.Backs != 0 || f.Flaps() != 0 || f.Failed != 0 {
		t.Errorf("%+v", f)
	}
	t.Logf("%d of %d clients left the PoP that is far in time, %d moves back", f.First-f.Stayed, clients, f.Backs)
	t.Logf("%d moves, %d prefixes explored, %d visits; the last left after %v", f.Moves, f.Explored, f.Visits, f.Lost.Round(100*time.Millisecond))
}
