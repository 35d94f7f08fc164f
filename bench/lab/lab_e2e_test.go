//go:build e2e

package lab_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hither/bench/lab"
)

func TestMain(m *testing.M) {
	if os.Getenv(holding) != "" {
		os.Exit(hold())
	}
	goleak.VerifyTestMain(m)
}

// start makes a lab. It ends with the test.
func start(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	l, err := lab.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// namespaces are the network namespaces that this process is in or holds open, those that are mounted, and the names
// that lead to one.
func namespaces(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, pattern := range []string{"/proc/self/task/*/ns/net", "/proc/self/fd/*", "/run/netns/*"} {
		for _, link := range glob(t, pattern) {
			if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, "net:[") {
				found[to] = true
			}
			if _, err := os.Stat(link); err == nil && strings.HasPrefix(link, "/run/") {
				found[link] = true
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[3], "net:[") {
			found[fields[3]] = true
		}
	}
	return found
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func devices(t *testing.T) map[string]bool {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, i := range all {
		found[i.Name] = true
	}
	return found
}

// more lists what is in after and was not before.
func more(before, after map[string]bool) (left []string) {
	for name := range after {
		if !before[name] {
			left = append(left, name)
		}
	}
	return left
}

// plants is set in the environment of this test's program to plant a fault which the tests then must see:
// `round trip` and `connection` are one too many, `namespace` and `device` are left.
const plants = "LAB_TEST_PLANTS"

func TestUpAndDownTenTimes(t *testing.T) {
	const times = 10
	spaces, nics := namespaces(t), devices(t)
	for range times {
		l, err := lab.Start(lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(more(spaces, namespaces(t))); n != 4 {
			t.Errorf("%d new namespaces while the lab is up, want 4", n)
		}
		if _, err := l.Echo(t.Context(), lab.Client, lab.Origin, 1); err != nil {
			t.Error(err)
		}
		plantLeft(t, l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	leftSpaces, leftNICs := more(spaces, namespaces(t)), more(nics, devices(t))
	if leftSpaces != nil {
		t.Errorf("namespaces left: %v", leftSpaces)
	}
	if leftNICs != nil {
		t.Errorf("devices left: %v", leftNICs)
	}
	t.Logf("up and down %d times: %d namespaces and %d devices left", times, len(leftSpaces), len(leftNICs))
}

// plantLeft leaves something of the lab, once, if that is to be planted.
func plantLeft(t *testing.T, l *lab.Lab) {
	t.Helper()
	switch os.Getenv(plants) {
	case "namespace":
		held, err := os.Open(l.At(lab.Edge).Namespace())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { held.Close() })
	case "device":
		shell(t, "ip tuntap add dev labtest0 mode tun", nil)
		t.Cleanup(func() { shell(t, "ip link delete labtest0", nil) })
	default:
		return
	}
	os.Unsetenv(plants)
}

func TestEchoTakesTheDistance(t *testing.T) {
	l := start(t, lab.Options{Segments: lab.Distances(10*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond)})
	for _, c := range []struct {
		to      lab.Place
		samples int
	}{{lab.Edge, 50}, {lab.Origin, 15}} {
		// A machine that does something else meanwhile shows its own pauses: one median of three has to be right.
		right := false
		for i := 0; i < 3 && !right; i++ {
			e, err := l.Echo(t.Context(), lab.Client, c.to, c.samples)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v: distance %v, p50 +%v, p95 +%v", lab.Between(lab.Client, c.to), e.Distance, e.Error(), e.P95-e.Distance)
			if e.Error() < 0 {
				t.Errorf("the way to the %v is too short by %v", c.to, -e.Error())
			}
			right = e.Error() <= 500*time.Microsecond
		}
		if !right {
			t.Errorf("the way to the %v is too long by more than 0.5 ms each time", c.to)
		}
	}
}
