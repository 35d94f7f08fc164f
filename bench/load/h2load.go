package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// H2load is nghttp2's client for HTTP/2 on this machine.
type H2load struct {
	Path    string
	Version string
}

// FindH2load looks for it; what is not there is a [MissingError].
func FindH2load(ctx context.Context) (H2load, error) {
	path, err := exec.LookPath("h2load")
	if err != nil {
		return H2load{}, &MissingError{Program: "h2load", Package: "nghttp2-client"}
	}
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	version := h2loadVersion.FindSubmatch(out)
	if version == nil {
		return H2load{}, fmt.Errorf("load: %s --version tells none: %w", path, errors.Join(err, errNoH2load))
	}
	return H2load{path, string(version[1])}, nil
}

var (
	h2loadVersion = regexp.MustCompile(`^h2load nghttp2/([0-9]\S*)`)
	errNoH2load   = errors.New("is it nghttp2's h2load?")
)

// H2loadLoad is what h2load is to do, in a closed loop.
type H2loadLoad struct {
	To          netip.AddrPort
	File        string        // of URLs, one a line, of one name; each connection asks for them one after another, and then again
	Connections int           // at once
	Streams     int           // requests at once on each
	For         time.Duration // whole seconds
	Core        int           // it runs on
	Folder      string        // where it writes a line for each answer
}

// Load runs h2load to its end. A connection that the server ends is no failure to h2load, not even the last one: look whether the
// server lives.
func (h H2load) Load(ctx context.Context, l H2loadLoad) (WebRun, error) {
	log := filepath.Join(l.Folder, "h2load.log")
	defer os.Remove(log)
	args := []string{
		"-t", "1", "-c", strconv.Itoa(l.Connections), "-m", strconv.Itoa(l.Streams), "-D", strconv.Itoa(int(l.For / time.Second)),
		"--npn-list=h2", "--connect-to=" + l.To.String(), "-i", l.File, "--log-file=" + log,
	}
	report, cpu, err := runWeb(ctx, l.Core, l.For, nil, h.Path, args...)
	if err != nil {
		return WebRun{}, err
	}
	run, err := ParseH2load(report)
	run.CPU = cpu
	if err == nil && run.Answered == 0 {
		err = fmt.Errorf("load: %s got no answer from %v: %d failed", run.Client, l.To, run.Failed)
	}
	if err != nil {
		return run, err
	}
	f, err := os.Open(log)
	if err != nil {
		return run, fmt.Errorf("load: %w", err)
	}
	defer f.Close()
	return run, run.percentiles(f)
}

// ParseH2load reads the report that h2load prints at its end. What it says of itself must add up: a report that is cut, of another
// program, of another version's making, or of another protocol is an error.
func ParseH2load(report string) (WebRun, error) {
	run := WebRun{Client: "h2load"}
	fail := func(format string, args ...any) (WebRun, error) {
		return WebRun{}, fmt.Errorf("load: read h2load's report: "+format, args...)
	}
	finished := h2loadFinished.FindStringSubmatch(report)
	requests := h2loadRequests.FindStringSubmatch(report)
	codes := h2loadCodes.FindStringSubmatch(report)
	traffic := h2loadTraffic.FindStringSubmatch(report)
	switch {
	case finished == nil:
		return fail("it says nowhere that it finished: %s", lastLine(report))
	case requests == nil:
		return fail("it says nothing of requests")
	case codes == nil:
		return fail("it says nothing of status codes")
	case traffic == nil:
		return fail("it says nothing of traffic")
	case !strings.Contains(report, "\nreq/s "):
		return fail("it is cut: %s", lastLine(report))
	}
	elapsed, err := time.ParseDuration(finished[1])
	if err != nil {
		return fail("%w", err)
	}
	var n [7]int64 // total, started, done, succeeded, failed, errored, timeout
	var of [4]int64
	for i, text := range slices.Concat(requests[1:], codes[1:]) {
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fail("%w", err)
		}
		if i < len(n) {
			n[i] = v
		} else {
			of[i-len(n)] = v
		}
	}
	run.Bytes, err = strconv.ParseInt(traffic[1], 10, 64)
	if err != nil {
		return fail("%w", err)
	}
	// Of those that were started some were on their way when it ended, of some of which the status had come. What failed and what
	// timed out is among what was done. A status of 3xx is a success to h2load.
	done, succeeded, failed, errored := n[2], n[3], n[4], n[5]
	run.Elapsed, run.Answered, run.Failed = elapsed, max(succeeded-of[1], 0), max(failed, errored)+of[1]
	switch {
	case succeeded+failed != done || of[0]+of[1]+of[2]+of[3] < succeeded || n[1] < done:
		return fail("%d started, %d done, %d succeeded, %d failed, and %d with a status do not add up", n[1], done, succeeded, failed, of[0]+of[1]+of[2]+of[3])
	case run.Elapsed <= 0:
		return fail("it took no time")
	case done > 0 && !strings.Contains(report, "\nApplication protocol: h2\n"):
		return fail("it was not over h2")
	}
	return run, nil
}

// What h2load 1.52 prints.
var (
	h2loadFinished = regexp.MustCompile(`(?m)^finished in ([0-9.]+[a-z]+), `)
	h2loadRequests = regexp.MustCompile(`(?m)^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$`)
	h2loadCodes    = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$`)
	h2loadTraffic  = regexp.MustCompile(`(?m)^traffic: .*, \S+ \((\d+)\) data$`)
)

// percentiles reads h2load's log: a line for each answer, with when it was asked for, its status, and how long it took.
func (r *WebRun) percentiles(log io.Reader) error {
	took := make([]int64, 0, r.Answered)
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 3 {
			return fmt.Errorf("load: read h2load's log: %q has no time", lines.Text())
		}
		us, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil || us < 0 {
			return fmt.Errorf("load: read h2load's log: %q has no time", lines.Text())
		}
		took = append(took, us)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("load: read h2load's log: %w", err)
	}
	if int64(len(took)) < r.Answered {
		return fmt.Errorf("load: read h2load's log: it has %d answers of %d", len(took), r.Answered)
	}
	if len(took) == 0 {
		return nil
	}
	slices.Sort(took)
	at := func(share float64) time.Duration {
		return time.Duration(took[min(int(share*float64(len(took))), len(took)-1)]) * time.Microsecond
	}
	r.P50, r.P99, r.P999, r.Max = at(0.5), at(0.99), at(0.999), at(1)
	return nil
}
