package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Dnsperf is DNS-OARC's client on this machine.
type Dnsperf struct {
	Path    string
	Version string
}

// FindDnsperf looks for it; what is not there is a [MissingError].
func FindDnsperf(ctx context.Context) (Dnsperf, error) {
	path, err := exec.LookPath("dnsperf")
	if err != nil {
		return Dnsperf{}, &MissingError{Program: "dnsperf", Package: "dnsperf"}
	}
	out, err := exec.CommandContext(ctx, path, "-h").CombinedOutput() // it has no option that tells the version alone
	version := dnsperfVersion.FindSubmatch(out)
	if version == nil {
		return Dnsperf{}, fmt.Errorf("load: %s -h tells no version: %w", path, errors.Join(err, errNoDnsperf))
	}
	return Dnsperf{path, string(version[1])}, nil
}

var (
	dnsperfVersion = regexp.MustCompile(`Version ([0-9.]+)`)
	errNoDnsperf   = errors.New("is it DNS-OARC's dnsperf?")
)

// DnsperfLoad is what dnsperf is to do.
type DnsperfLoad struct {
	To          netip.AddrPort
	File        string        // of questions, as [Queries.WriteTo] writes it
	Rate        float64       // questions per second; 0: as many as are answered
	Outstanding int           // questions that wait for an answer at once, at most
	For         time.Duration // whole seconds
	Timeout     time.Duration // after which a question is lost, whole seconds
	Core        int           // it runs on
}

// Load runs dnsperf to its end.
func (d Dnsperf) Load(ctx context.Context, l DnsperfLoad) (Run, error) {
	args := []string{
		"-B", "-O", "suppress=timeouts,unexpected", "-d", l.File, "-s", l.To.Addr().String(), "-p", strconv.Itoa(int(l.To.Port())), "-c", "4",
		"-q", strconv.Itoa(l.Outstanding), "-l", strconv.Itoa(int(l.For / time.Second)), "-t", strconv.Itoa(int(l.Timeout / time.Second)),
	}
	if l.Rate > 0 {
		args = append(args, "-Q", strconv.Itoa(int(l.Rate)))
	}
	cmd := exec.CommandContext(ctx, d.Path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := StartOn(cmd, l.Core); err != nil {
		return Run{}, fmt.Errorf("load: start %s: %w", d.Path, err)
	}
	if err := cmd.Wait(); err != nil {
		return Run{}, fmt.Errorf("load: %s %s: %w: %s", d.Path, strings.Join(args, " "), err, lastLine(out.String()))
	}
	run, err := ParseDnsperf(out.String())
	run.Asked = l.Rate
	run.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return run, err
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// ParseDnsperf reads the statistics that dnsperf prints at its end. What it says of itself must add up: a report that is cut, of
// another program, or of another version's making is an error, and no run without a loss.
func ParseDnsperf(report string) (Run, error) {
	run := Run{Client: "dnsperf", Rcodes: make(map[string]int64)}
	_, statistics, ok := strings.Cut(report, "Statistics:")
	if !ok {
		return Run{}, fmt.Errorf("load: read dnsperf's report: it has no statistics: %s", lastLine(report))
	}
	p := dnsperfReport(statistics)
	var err error
	run.Sent = p.count("Queries sent", &err)
	run.Answered = p.count("Queries completed", &err)
	run.Lost = p.count("Queries lost", &err)
	if _, ok := p.field("Queries interrupted"); ok && err == nil {
		err = errors.New("it was interrupted: nobody knows what came of its last questions")
	}
	run.Elapsed = p.seconds("Run time (s)", &err)
	if codes, _ := p.field("Response codes"); run.Answered > 0 {
		p.codes(codes, run.Rcodes, &err)
		run.Mean, run.Max = p.latency()
	}
	if err == nil && run.Answered+run.Lost != run.Sent {
		err = fmt.Errorf("%d answered and %d lost are not the %d sent", run.Answered, run.Lost, run.Sent)
	}
	if err == nil && run.Sent == 0 {
		err = errors.New("nothing was sent")
	}
	if err != nil {
		return Run{}, fmt.Errorf("load: read dnsperf's report: %w", err)
	}
	run.InTime = run.Answered
	return run, nil
}

// A dnsperfReport is lines of `name: value`.
type dnsperfReport string

func (p dnsperfReport) field(name string) (string, bool) {
	for line := range strings.Lines(string(p)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

func (p dnsperfReport) count(name string, err *error) int64 {
	value, ok := p.field(name)
	number, _, _ := strings.Cut(value, " ")
	n, wrong := strconv.ParseInt(number, 10, 64)
	if (!ok || wrong != nil || n < 0) && *err == nil {
		*err = fmt.Errorf("no number of %q", name)
	}
	return n
}

func (p dnsperfReport) seconds(name string, err *error) time.Duration {
	value, _ := p.field(name)
	return parseSeconds(value, err)
}

func parseSeconds(s string, err *error) time.Duration {
	v, wrong := strconv.ParseFloat(s, 64)
	if (wrong != nil || !(v >= 0 && v < 1e6)) && *err == nil {
		*err = fmt.Errorf("%q is no time in seconds", s)
		return 0
	}
	return time.Duration(v * float64(time.Second))
}

// latency reads `0.000768 (min 0.000032, max 0.001582)`. Both are 0, not measured, where they cannot be: where answers were late,
// dnsperf 2.10 counts them from times it never set, to years.
func (p dnsperfReport) latency() (mean, most time.Duration) {
	text, _ := p.field("Average Latency (s)")
	first, rest, _ := strings.Cut(text, " ")
	_, last, _ := strings.Cut(rest, "max ")
	var err error
	mean, most = parseSeconds(first, &err), parseSeconds(strings.TrimSuffix(last, ")"), &err)
	if err != nil {
		return 0, 0
	}
	return mean, most
}

// codes reads `NOERROR 98 (98.00%), SERVFAIL 2 (2.00%)`.
func (p dnsperfReport) codes(list string, into map[string]int64, err *error) {
	for one := range strings.SplitSeq(list, ",") {
		f := strings.Fields(one)
		if len(f) < 2 {
			*err = errors.Join(*err, fmt.Errorf("%q is no response code with a number", one))
			return
		}
		n, wrong := strconv.ParseInt(f[1], 10, 64)
		if wrong != nil {
			*err = errors.Join(*err, fmt.Errorf("%q is no response code with a number", one))
			return
		}
		into[f[0]] += n
	}
}
