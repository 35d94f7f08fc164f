// Package load is clients that put load on a server, and records of what they and the kernel counted.
//
// Clients say how they load: in a closed loop a new question waits for an answer, so an overloaded server slows its client down;
// in an open loop questions come at a rate whatever the server does, as the world's clients ask. Shares of processor
// time come from the kernel's accounting of the process, which stays right where rates do not, on a shared machine.
package load

import (
	"fmt"
	"time"
)

// A MissingError is a program that is not on this machine. Its text says what to do.
type MissingError struct {
	Program string
	Package string // of Debian, which has it; "" for a program of ours
	Build   string // what builds it, for a program of ours
	Flag    string // which tells where it is
}

func (e *MissingError) Error() string {
	if e.Package == "" {
		return fmt.Sprintf("%s is not there: build it with `%s`, or say with %s where it is", e.Program, e.Build, e.Flag)
	}
	return fmt.Sprintf("%s is not on this machine: install the Debian package %s", e.Program, e.Package)
}

// A Run is one client's load and what came back. Durations are zero where they were not measured.
type Run struct {
	Client   string  // the program
	Asked    float64 // questions per second it was to send; 0 is a closed loop
	Sent     int64   // questions
	Answered int64   // of them, until the client gave up waiting
	Lost     int64   // Sent without Answered
	Rcodes   map[string]int64
	Empty    int64         // NOERROR without a record; counted by the open loop only
	Elapsed  time.Duration // from the first question to the last
	InTime   int64         // answers before Elapsed was over
	CPU      time.Duration // of the client
	Dropped  int64         // answers that the client's own sockets had no room for

	Mean, P50, P99, Max time.Duration // of answers: from when a question was due
}

// Offered is how many questions a second were really sent.
func (r Run) Offered() float64 { return perSecond(r.Sent, r.Elapsed) }

// Rate is how many answers a second came while questions were sent.
func (r Run) Rate() float64 { return perSecond(r.InTime, r.Elapsed) }

func perSecond(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
