//go:build e2e

// Package e2e_test runs the program bin/hither as a user does, against clients, peers
// and origins which are not ours, and asserts counts.
package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// program and root are found from this folder, where `make e2e` runs the tests.
const (
	program = "../../bin/hither"
	root    = "../.."
)

// A tally counts scenarios for the last line. Those that mostly wait for a clock run side
// by side, after all others.
type tally struct {
	skip []string // from HITHER_SKIP; not written to any more

	mu                      sync.Mutex
	passed, failed, skipped int
	seen                    []string
}

var scenarios tally

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serverWord {
		os.Exit(asServer(os.Args[2]))
	}
	if list := os.Getenv("HITHER_SKIP"); list != "" {
		scenarios.skip = strings.Split(list, ",")
	}
	if _, err := os.Stat(program); err != nil {
		fmt.Fprintf(os.Stderr, "%v; `make e2e` builds it and runs these tests in deploy/e2e\n", err)
		os.Exit(2)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Println(err)
		scenarios.failed++
	}
	for _, name := range scenarios.skip {
		if !slices.Contains(scenarios.seen, name) && !chosen() {
			fmt.Printf("HITHER_SKIP: there is no scenario %q\n", name)
			scenarios.failed++
		}
	}
	// m.Run fails too where a test broke outside of a scenario.
	if code != 0 && scenarios.failed == 0 {
		scenarios.failed++
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", scenarios.passed, scenarios.failed, scenarios.skipped)
	os.Exit(min(scenarios.failed, 1))
}

// chosen reports whether only some scenarios were asked for.
func chosen() bool {
	return slices.ContainsFunc(os.Args[1:], func(a string) bool {
		return strings.HasPrefix(a, "-test.run") || strings.HasPrefix(a, "-test.skip")
	})
}

// scenario gives the test its name, by which HITHER_SKIP knows it, and counts it. Every
// test begins with it.
func scenario(t *testing.T, name string) {
	t.Helper()
	scenarios.mu.Lock()
	again := slices.Contains(scenarios.seen, name)
	scenarios.seen = append(scenarios.seen, name)
	scenarios.mu.Unlock()
	if again {
		t.Fatalf("two scenarios are called %q", name)
	}
	t.Cleanup(func() {
		scenarios.mu.Lock()
		defer scenarios.mu.Unlock()
		switch {
		case t.Failed():
			scenarios.failed++
		case t.Skipped():
			scenarios.skipped++
		default:
			scenarios.passed++
		}
	})
	if slices.Contains(scenarios.skip, name) {
		t.Skip("by HITHER_SKIP")
	}
}

// peer returns the path of a program that is not ours. One that is missing is an error,
// for a test that did not run shows nothing.
func peer(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s", name, debian)
	}
	return path
}

// absolute returns path as seen from anywhere.
func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
