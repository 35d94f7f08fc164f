package load

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Wrk is Will Glozer's client for HTTP/1.1 on this machine.
type Wrk struct {
	Path    string
	Version string
}

// FindWrk looks for it; what is not there is a [MissingError].
func FindWrk(ctx context.Context) (Wrk, error) {
	path, err := exec.LookPath("wrk")
	if err != nil {
		return Wrk{}, &MissingError{Program: "wrk", Package: "wrk"}
	}
	out, err := exec.CommandContext(ctx, path, "-v").CombinedOutput() // it tells its version and exits with 1
	version := wrkVersion.FindSubmatch(out)
	if version == nil {
		return Wrk{}, fmt.Errorf("load: %s -v tells no version: %w", path, errors.Join(err, errNoWrk))
	}
	return Wrk{path, string(version[1])}, nil
}

var (
	wrkVersion = regexp.MustCompile(`^wrk (?:debian/)?([0-9]\S*) \[`)
	errNoWrk   = errors.New("is it Will Glozer's wrk?")
)

//go:embed wrk.lua
var wrkScript []byte

// WrkLoad is what wrk is to do, in a closed loop.
type WrkLoad struct {
	To          netip.AddrPort
	Authority   string        // that URLs name; its host is the server's name in TLS
	File        string        // of paths, one a line; they are asked for one after another, and then again
	Unique      string        // "" = as they are; else each request has a query of its own that begins with this
	Connections int           // at once
	For         time.Duration // whole seconds
	Core        int           // it runs on
	Folder      string        // where it finds its script
}

// Load runs wrk to its end.
func (w Wrk) Load(ctx context.Context, l WrkLoad) (WebRun, error) {
	script := filepath.Join(l.Folder, "wrk.lua")
	if err := os.WriteFile(script, wrkScript, 0o600); err != nil {
		return WebRun{}, fmt.Errorf("load: %w", err)
	}
	args := []string{
		"-t", "1", "-c", strconv.Itoa(l.Connections), "-d", strconv.Itoa(int(l.For / time.Second)), "--timeout", "10",
		"-s", script, "https://" + l.Authority + "/",
	}
	env := []string{"BENCH_ADDRESS=" + l.To.Addr().String(), "BENCH_PATHS=" + l.File}
	if l.Unique != "" {
		env = append(env, "BENCH_UNIQUE="+l.Unique)
	}
	report, cpu, err := runWeb(ctx, l.Core, l.For, env, w.Path, args...)
	if err != nil {
		return WebRun{}, err
	}
	run, err := ParseWrk(report)
	run.CPU = cpu
	if err == nil && run.Answered == 0 {
		err = fmt.Errorf("load: %s got no answer from %v: %d failed", run.Client, l.To, run.Failed)
	}
	return run, err
}

// ParseWrk reads the line that our script has wrk print at its end. It must be whole: a report that is cut, or of another
// script, is an error, and no run without a failure.
func ParseWrk(report string) (WebRun, error) {
	run := WebRun{Client: "wrk"}
	_, rest, ok := strings.Cut(report, "bench-wrk/1 ")
	line, end, whole := strings.Cut(rest, " end\n")
	if !ok || !whole || strings.TrimSpace(end) != "" || strings.Contains(line, "\n") {
		return WebRun{}, fmt.Errorf("load: read wrk's report: its last line is not whole: %s", lastLine(report))
	}
	said := make(map[string]int64)
	for field := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(field, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		if _, twice := said[name]; err != nil || n < 0 || twice {
			return WebRun{}, fmt.Errorf("load: read wrk's report: %q is no count", field)
		}
		said[name] = n
	}
	for _, name := range wrkFields {
		if _, ok := said[name]; !ok {
			return WebRun{}, fmt.Errorf("load: read wrk's report: no number of %s", name)
		}
	}
	microseconds := func(name string) time.Duration { return time.Duration(said[name]) * time.Microsecond }
	// wrk counts an answer with a status of 400 or more as a request and as an error.
	run.Answered = said["requests"] - said["status"]
	run.Failed = said["connect"] + said["read"] + said["write"] + said["status"] + said["timeout"]
	run.Bytes, run.Elapsed = said["bytes"], microseconds("duration_us")
	run.P50, run.P99, run.P999, run.Max = microseconds("p50_us"), microseconds("p99_us"), microseconds("p999_us"), microseconds("max_us")
	if run.Answered < 0 || run.Elapsed <= 0 {
		return WebRun{}, fmt.Errorf("load: read wrk's report: %d answers in %v cannot be", run.Answered, run.Elapsed)
	}
	return run, nil
}

// wrkFields are what our script has wrk tell.
var wrkFields = []string{"requests", "duration_us", "bytes", "connect", "read", "write", "status", "timeout", "p50_us", "p99_us", "p999_us", "max_us"}
