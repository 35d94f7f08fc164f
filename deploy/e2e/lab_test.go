//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// labTests is the program that the tests of bench/lab are, and labClock the one of them that asserts a time: it is for
// a quiet machine, and `make bench` runs it.
const (
	labTests = root + "/bin/lab.test"
	labClock = "TestEchoTakesTheDistance"
)

// What a run of them must say it counted, and which tests must have run besides.
var (
	labLeft = []string{"up and down 10 times: 0 namespaces and 0 devices left"}

	labDirect = []string{
		"TLS 1.2 direct: round trips: 4 on client_origin",
		"TLS 1.3 direct: round trips: 3 on client_origin",
		"HTTP/3 direct: round trips: 2 on client_origin",
		"0-RTT direct: round trips: 1 on client_origin",
	}

	labThrough = []string{
		"TLS 1.2 hit: round trips: 4 on client_edge",
		"TLS 1.3 hit: round trips: 3 on client_edge",
		"HTTP/3 hit: round trips: 2 on client_edge",
		"0-RTT hit: round trips: 1 on client_edge",
		"TLS 1.2 hit: 0 bytes on edge_origin",
		"TLS 1.3 hit: 0 bytes on edge_origin",
		"HTTP/3 hit: 0 bytes on edge_origin",
		"0-RTT hit: 0 bytes on edge_origin",
		"TLS 1.2 miss: round trips: 4 on client_edge, 1 on edge_origin",
		"TLS 1.3 miss: round trips: 3 on client_edge, 1 on edge_origin",
		"HTTP/3 miss: round trips: 2 on client_edge, 1 on edge_origin",
		"0-RTT miss: round trips: 1 on client_edge, 1 on edge_origin",
		"cold miss: round trips: 3 on client_edge, 4 on edge_origin",
	}

	labStrangers = []string{"1000 strangers: 0 handshakes with the origin, 0 connections opened to it"}

	labFleet = []string{
		"20 purges of 3 PoPs: 60 found nothing after the receipt",
		"30 of 30 clients left the PoP that is far in time, 0 moves back",
	}

	labPassed = []string{
		"TestUpIsForOtherPrograms", "TestInterruptedWhileStarting", "TestNodeThatDiesEndsTheLab", "TestKilledHolderLeavesNoNamespace",
		"TestUserNamespace", "TestWithoutPermission",
	}
)

// TestLab puts distance between a client, an edge and an origin, and counts round trips on the wire.
func TestLab(t *testing.T) {
	scenario(t, "lab")
	for _, p := range []struct{ name, debian string }{
		{"curl", "curl"}, {"dig", "bind9-dnsutils"}, {"ip", "iproute2"}, {"ss", "iproute2"},
		{"unshare", "util-linux"}, {"nsenter", "util-linux"}, {"setpriv", "util-linux"},
	} {
		peer(t, p.name, p.debian)
	}
	if os.Getuid() != 0 {
		t.Fatal("a lab for other programs needs root: sudo make e2e")
	}
	out, status := labRun(t, "-test.skip", "^"+labClock+"$")
	lines := slices.Concat(labLeft, labDirect, labThrough, labStrangers, labFleet)
	wrong := labWrong(out, status, lines, labPassed)
	for _, w := range wrong {
		t.Error(w)
	}
	if wrong != nil {
		t.Log("\n" + out)
	} else {
		t.Log("\n" + strings.Join(lines, "\n"))
	}
}

// labRun runs the tests of bench/lab, and returns what they say.
func labRun(t *testing.T, args ...string) (out string, status int) {
	t.Helper()
	p := start(t, absolute(t, labTests), append([]string{"-test.v", "-test.timeout", "4m"}, args...)...)
	<-p.done // it has a limit of its own
	return p.stdout.String() + p.stderr.String(), p.status(t)
}

// labWrong says what a run of them does not show. A line or a test that is not there is as wrong as one that fails.
func labWrong(out string, status int, lines, passed []string) (wrong []string) {
	if status != 0 {
		wrong = append(wrong, fmt.Sprintf("exit status %d", status))
	}
	for line := range strings.Lines(out) {
		for _, word := range []string{"--- FAIL", "--- SKIP", "DATA RACE", "panic:"} {
			if strings.Contains(line, word) {
				wrong = append(wrong, strings.TrimSpace(line))
			}
		}
	}
	for _, l := range lines {
		if n := strings.Count(out, ": "+l+"\n"); n != 1 {
			wrong = append(wrong, fmt.Sprintf("%d times, not once: %s", n, l))
		}
	}
	for _, name := range passed {
		if !strings.Contains(out, "--- PASS: "+name+" (") {
			wrong = append(wrong, "did not pass: "+name)
		}
	}
	return wrong
}

// plantLab plants faults in the lab itself: the tests must see them, and labWrong that they did.
func plantLab(t *testing.T) {
	const up, direct, strangers = "TestUpAndDownTenTimes", "TestRoundTripsDirect", "TestStrangersMakeNoHandshake"
	for _, c := range []struct {
		plant, test string
		lines       []string
		seen        string
	}{
		{"", up, labLeft, ""},
		{"", direct, labDirect, ""},
		{"round trip", direct, labDirect, "0 times, not once: " + labDirect[1]},
		{"namespace", up, labLeft, "0 times, not once: " + labLeft[0]},
		{"device", up, labLeft, "0 times, not once: " + labLeft[0]},
		{"", strangers, labStrangers, ""},
		{"connection", strangers, labStrangers, "0 times, not once: " + labStrangers[0]},
	} {
		t.Setenv("LAB_TEST_PLANTS", c.plant)
		out, status := labRun(t, "-test.run", "^"+c.test+"$")
		wrong := labWrong(out, status, c.lines, []string{c.test})
		if c.plant == "" {
			if wrong != nil {
				t.Errorf("nothing is planted in %s: %q\n%s", c.test, wrong, out)
			}
			continue
		}
		all := strings.Join(wrong, "\n")
		for _, want := range []string{"exit status 1", "--- FAIL: " + c.test, "did not pass: " + c.test, c.seen} {
			if !strings.Contains(all, want) {
				t.Errorf("a %s is planted, and %q is not seen in %q\n%s", c.plant, want, wrong, out)
			}
		}
	}
	// Nothing ran at all.
	if wrong := labWrong("PASS\n", 0, labThrough, labPassed); len(wrong) != len(labThrough)+len(labPassed) {
		t.Errorf("no test ran: %q", wrong)
	}
}
