package edge_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// originSaw expects exactly one request since the last origin-saw or advance: "origin-saw
// GET /a Field: value"; "origin-saw 3 of GET /a ..." expects three alike.
func (r *run) originSaw(s *step) error {
	if s.arg(1) == "nothing" {
		if seen := r.origin.fresh(); len(seen) > 0 {
			return fmt.Errorf("the origin saw %d requests, the first:\n\t\t%s", len(seen), seen[0])
		}
		return nil
	}
	want := 1
	if n, err := strconv.Atoi(s.arg(1)); err == nil && s.arg(2) == "of" {
		want = n
		s = &step{at: s.at, text: s.text, words: append([]token{s.words[0]}, s.words[3:]...)}
	}
	err := r.bell.await("requests at the origin", func() bool {
		seen := r.origin.fresh()
		for _, a := range seen {
			a.mu.Lock()
			done := a.done || has(s.words, "begun")
			a.mu.Unlock()
			if !done {
				return false
			}
		}
		return len(seen) >= want
	})
	seen := r.origin.fresh()
	var errs []error
	if err != nil || len(seen) != want {
		errs = append(errs, err, fmt.Errorf("the origin saw %d requests, want %d", len(seen), want))
	}
	r.origin.forget()
	for _, a := range seen {
		if found := a.check(s, r.vars); len(found) > 0 {
			errs = append(errs, append(found, fmt.Errorf("the origin saw:\n\t\t%s", a))...)
		}
	}
	return errors.Join(errs...)
}

// originNever expects that nothing in the whole script so far asked for a path.
func (r *run) originNever(s *step) error {
	for _, a := range r.origin.all() {
		if a.target == s.arg(1) {
			return fmt.Errorf("the origin saw:\n\t\t%s", a)
		}
	}
	return nil
}

// originRead waits until the origin has read this much of a request's content.
func (r *run) originRead(s *step) error {
	want := s.arg(1)
	return r.bell.await("content "+want+" at the origin", func() bool {
		for _, a := range r.origin.fresh() {
			a.mu.Lock()
			body := string(a.body)
			a.mu.Unlock()
			if body == want {
				return true
			}
		}
		return false
	})
}

// records are those of the last client step.
func (r *run) records() []record {
	if r.ids == nil {
		return r.journal.since(r.from)
	}
	var out []record
	for _, id := range r.ids {
		if rec := r.journal.of(id); rec != nil {
			out = append(out, rec)
		}
	}
	return out
}

// expectLog compares the records of the last client step, all of them or, with "N of",
// exactly N: "expect-log verdict=hit reason=".
func (r *run) expectLog(s *step) error {
	if s.arg(1) == "nothing" {
		if got := r.records(); len(got) > 0 {
			return mismatch("log", fmt.Sprint(got), "nothing")
		}
		return nil
	}
	want, words := 0, s.words[1:]
	if n, err := strconv.Atoi(s.arg(1)); err == nil && s.arg(2) == "of" {
		want, words = n, s.words[3:]
	}
	err := r.bell.await("a log record", func() bool { return len(r.records()) >= max(want, 1) })
	var errs []error
	good := 0
	got := r.records()
	for _, rec := range got {
		bad := checkRecord(rec, words, r.vars)
		if len(bad) == 0 {
			good++
		}
		errs = append(errs, bad...)
	}
	if err == nil && (want == 0 && good == len(got) || good == want && want > 0) {
		return nil
	}
	return errors.Join(append(errs, err, fmt.Errorf("%d of %d log records are as expected", good, len(got)))...)
}

// counter expects by how much a counter went up since it was last looked at: "counter
// edge_rejected_total{reason=framing} +1", or "+1.." for at least as much.
func (r *run) counter(s *step) error {
	name := s.arg(1)
	atLeast := strings.HasSuffix(s.arg(2), "..")
	want, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(s.arg(2), "+"), ".."))
	if err != nil {
		return err
	}
	before := r.counters[name]
	var now int
	var asked error
	err = r.bell.await(name, func() bool {
		if of, ok := strings.CutPrefix(name, "gateway/"); ok && r.setup.middle != nil {
			now, asked = r.setup.middle.meter.counter(of)
		} else {
			now, asked = r.edge.counter(name)
		}
		return asked != nil || now-before >= want
	})
	r.counters[name] = now
	if got := now - before; got < want || got > want && !atLeast {
		err = errors.Join(err, mismatch(name, "+"+strconv.Itoa(got), s.arg(2)))
	}
	return errors.Join(err, asked)
}
