//go:build e2e

package e2e_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// h2spec is built by go, as all test tools here; it is in no Debian package.
const h2spec = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

// leastCases is what h2spec 2.2.1 has in the groups we run.
const leastCases = 140

// TestH2spec runs the conformance suite of RFC 7540, 7541 and the generic group against
// an edge, TLS included, and compares what fails with testdata/h2spec.txt.
//
// h2spec sends the name it dials as the server name, so the network gets a site of a
// name that every machine resolves to itself, and a tunnel stands there.
func TestH2spec(t *testing.T) {
	scenario(t, "h2spec")
	n := run(t, setup{net: "127.29", edit: []string{"hosts: [www.hither.test]", "dns: elsewhere\n    hosts: [www.hither.test, localhost]"}})
	bin := filepath.Join(t.TempDir(), "bin")
	install := exec.CommandContext(t.Context(), "go", "install", h2spec)
	install.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", h2spec, err, out)
	}
	to := tunnelTo(t, "127.0.0.1:0", n.edge("fra"), false, n.sources(50)...)
	_, port, err := net.SplitHostPort(to.address)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	var exit *exec.ExitError
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "h2spec"), "generic", "http2", "hpack", "--strict",
		"--tls", "--insecure", "--host", "localhost", "--port", port, "--timeout", "3", "--junit-report", report).CombinedOutput()
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	failed, ran, err := failures(report)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if ran < leastCases {
		t.Errorf("h2spec ran %d cases only", ran)
	}
	known, err := knownFailures(filepath.Join("testdata", "h2spec.txt"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d cases fail, all of them explained in testdata/h2spec.txt", len(failed), ran)
	wrong := compareFailures(failed, known)
	for _, w := range wrong {
		t.Error(w)
	}
	if len(wrong) > 0 {
		t.Logf("%s", last(string(out), 120))
	}
	// Whatever h2spec did to it, the edge is well.
	if got := n.via(t, "h2", "fra").must(t, "/"); got.status != 200 {
		t.Errorf("status %d after h2spec", got.status)
	}
}

// failures reads a JUnit report: the cases that failed, as "group: case", and how many ran.
func failures(path string) (failed []string, ran int, err error) {
	var report struct {
		Suites []struct {
			Package string `xml:"package,attr"`
			Cases   []struct {
				Name    string    `xml:"classname,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = xml.Unmarshal(data, &report)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read h2spec's report: %w", err)
	}
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			if c.Skipped != nil {
				continue
			}
			ran++
			if c.Failure != nil || c.Error != nil {
				failed = append(failed, s.Package+": "+c.Name)
			}
		}
	}
	return failed, ran, nil
}

// knownFailures reads a list of failures. Each is a line, followed by indented lines
// that explain it; lines that begin with # are comments.
func knownFailures(path string) (known []string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	explained := true
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == ' ':
			explained = true
		case !explained:
			return nil, fmt.Errorf("%s: %q has no explanation", path, known[len(known)-1])
		default:
			known = append(known, line)
			explained = false
		}
	}
	if !explained {
		return nil, fmt.Errorf("%s: %q has no explanation", path, known[len(known)-1])
	}
	return known, nil
}

// compareFailures says which failures are not known, and which known ones do not fail. A known one that begins with ? may do either.
func compareFailures(failed, known []string) (wrong []string) {
	for _, f := range failed {
		if !slices.Contains(known, f) && !slices.Contains(known, "? "+f) {
			wrong = append(wrong, fmt.Sprintf("fails, and testdata/h2spec.txt does not say why: %s", f))
		}
	}
	for _, k := range known {
		if !strings.HasPrefix(k, "? ") && !slices.Contains(failed, k) {
			wrong = append(wrong, fmt.Sprintf("does not fail any more; take it out of testdata/h2spec.txt: %s", k))
		}
	}
	return wrong
}
