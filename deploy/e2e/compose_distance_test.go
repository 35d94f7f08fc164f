//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestComposeDistance puts distance between the containers by compose's profile, and measures from a client among them.
// A round trip can be late, but not early: what it takes at least is a fact, whatever else the machine does.
func TestComposeDistance(t *testing.T) {
	scenario(t, "compose-distance")
	const near, far = 30 * time.Millisecond, 500 * time.Millisecond
	c := composition(t, "127.85", "10.213.85", "COMPOSE_PROFILES=distance", "HITHER_NEAR="+near.String(), "HITHER_FAR="+far.String())
	c.write(t, nil)
	c.build(t, "client")
	c.up(t)
	c.confined(t) // the profile gives nothing to the nodes
	if state := c.containers(t)["distance"]; !strings.HasSuffix(state, "(healthy)") {
		t.Errorf("distance: %s", state)
	}
	there, apart := []string{"eth0", "lo"}, []string{"eth0", "far0", "lo"}
	for _, node := range composedNodes {
		want := there
		if node == "origin-us" {
			want = apart
		}
		if got := c.devices(t, node); !slices.Equal(got, want) {
			t.Errorf("%s has the devices %v, want %v", node, got, want)
		}
	}
	if wrong := tooNear(c.measure(t), near, far); wrong != nil {
		t.Errorf("with distance:\n%s", strings.Join(wrong, "\n"))
	}

	t.Log("without distance between edges and origin, which the measurement must show")
	c.run(t, "stop", "distance")
	if got := c.devices(t, "origin-us"); !slices.Equal(got, there) {
		t.Errorf("origin-us has the devices %v after the distance was stopped", got)
	}
	wrong := tooNear(c.measure(t, "--no-deps"), near, far)
	if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, "miss-warm") }) ||
		slices.ContainsFunc(wrong, func(w string) bool { return !strings.Contains(w, "miss-warm") }) {
		t.Errorf("no distance to the origin, and seen is: %q", wrong)
	}

	t.Log("killed, which takes it away as well")
	c.run(t, "start", "distance")
	if !until(readyTime, func() bool { return slices.Equal(c.devices(t, "origin-us"), apart) }) {
		t.Errorf("origin-us has the devices %v after the distance was started", c.devices(t, "origin-us"))
	}
	c.run(t, "kill", "distance")
	if !until(readyTime, func() bool { return slices.Equal(c.devices(t, "origin-us"), there) }) {
		t.Errorf("origin-us has the devices %v after the distance was killed", c.devices(t, "origin-us"))
	}
	c.run(t, "down")
	c.nothing(t)
}

// alone fails the test if anything of the profile is there.
func (c *composed) alone(t *testing.T) {
	t.Helper()
	all := slices.Sorted(maps.Keys(c.containers(t)))
	if want := slices.Sorted(slices.Values(append([]string{"init"}, composedNodes...))); !slices.Equal(all, want) {
		t.Errorf("the containers are %v, want %v", all, want)
	}
	for _, node := range composedNodes {
		if got := c.devices(t, node); !slices.Equal(got, []string{"eth0", "lo"}) {
			t.Errorf("%s has the devices %v", node, got)
		}
	}
}

// visits is what `bench rtt URL -o json` says.
type visits struct {
	Rows []struct {
		Protocol, Cache string
		Records         []struct {
			DNS     float64 `json:"dns_ms"`
			Connect float64 `json:"connect_ms"`
			First   float64 `json:"first_byte_ms"`
		}
	}
}

// measured is how often each case is visited.
const measured = 3

// measure has the profile's client measure.
func (c *composed) measure(t *testing.T, flags ...string) (v visits) {
	t.Helper()
	words := append([]string{"run", "--rm", "-T"}, flags...)
	out := c.run(t, append(words, "client", site+"/", "--samples", fmt.Sprint(measured), "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("bench rtt: %v in %s", err, out)
	}
	return v
}

// tooNear lists what took less than its round trips do: one to ask DNS, those of the protocol to the edge, and for a miss
// one to the origin. A case that is not there is listed too.
func tooNear(v visits, near, far time.Duration) (wrong []string) {
	rounds := map[string]int{"tls1.3": 3, "tls1.3-resumed": 3, "h3": 2, "h3-0rtt": 1}
	cases := 0
	for _, row := range v.Rows {
		name := row.Protocol + " " + row.Cache
		first := time.Duration(rounds[row.Protocol]) * near
		switch row.Cache {
		case "hit":
		case "miss-warm":
			first += far
		default:
			wrong = append(wrong, name+": no such case")
		}
		if rounds[row.Protocol] > 0 && len(row.Records) == measured {
			cases++
		}
		for _, x := range row.Records {
			for _, y := range []struct {
				what string
				took float64
				want time.Duration
				is   bool
			}{{"dns", x.DNS, near, true}, {"connect", x.Connect, near, strings.HasPrefix(row.Protocol, "tls")}, {"first byte", x.First, first, true}} {
				if y.is && y.took < float64(y.want)/float64(time.Millisecond) {
					wrong = append(wrong, fmt.Sprintf("%s: %s took %.1f ms, and its round trips take %v", name, y.what, y.took, y.want))
				}
			}
		}
	}
	if cases != 2*len(rounds) {
		wrong = append(wrong, fmt.Sprintf("%d cases with %d visits, want %d: %+v", cases, measured, 2*len(rounds), v))
	}
	return wrong
}
