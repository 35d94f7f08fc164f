package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A WebRun is what a web client of another's making says of its load. Times are zero where they were not measured.
type WebRun struct {
	Client   string // the program
	Answered int64  // requests, whole and well
	Failed   int64  // requests and connections that were not
	Bytes    int64  // of bodies, at least: some clients count headers as well
	Elapsed  time.Duration
	CPU      time.Duration // of the client

	P50, P99, P999, Max time.Duration // of answers, from when the request was sent
}

// Rate is how many answers a second came.
func (r WebRun) Rate() float64 { return perSecond(r.Answered, r.Elapsed) }

// overtime is how long after its time a client may take to end. h2load never ends when its connections are open only after that.
const overtime = 20 * time.Second

// runWeb runs a client to its end, and returns what it said, and its processor time. env is added to ours.
func runWeb(ctx context.Context, core int, d time.Duration, env []string, path string, args ...string) (report string, cpu time.Duration, err error) {
	within, cancel := context.WithTimeout(ctx, d+overtime)
	defer cancel()
	cmd := exec.CommandContext(within, path, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := StartOn(cmd, core); err != nil {
		return "", 0, fmt.Errorf("load: start %s: %w", path, err)
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() == nil && within.Err() != nil:
		return "", 0, fmt.Errorf("load: %s did not end %v after its time was over: the server may be too slow for it: %s", path, overtime, lastLine(out.String()))
	case err != nil:
		return "", 0, fmt.Errorf("load: %s %s: %w: %s", path, strings.Join(args, " "), err, lastLine(out.String()))
	}
	return out.String(), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// Sequence is an order in which to ask for things by popularity: n numbers below of, the kth in proportion to k to the power of
// -zipf. The same seed makes the same one.
func Sequence(n, of int, zipf float64, seed uint64) []int {
	p, all := newPopularity(of, zipf, seed), make([]int, n)
	for i := range all {
		all[i] = p.at(int64(i))
	}
	return all
}

// WriteLines writes a file that other clients read.
func WriteLines(name string, lines []string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	b := bufio.NewWriter(f)
	for _, line := range lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	if err := b.Flush(); err != nil {
		f.Close()
		return fmt.Errorf("load: write %s: %w", name, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("load: write %s: %w", name, err)
	}
	return nil
}
