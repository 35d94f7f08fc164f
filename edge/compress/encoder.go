package compress

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"hither/cache"
)

// An Encoder makes coded content of what is stored and stores it beside that, behind the answers that would have it: nobody
// waits for it, and until it is there they get the content as it came. Each content is encoded in a coding once, however
// many ask. What encoding may take of the processor is bounded: where that is used up the answer goes out as it is, and a
// later one tries again, so what is asked for most is encoded first.
//
// Its methods may be called concurrently.
type Encoder struct {
	cache  *cache.Cache
	with   func(c cache.Coding, size int64, read func(yield func([]byte) bool) error) ([][]byte, error) // Encode but in tests
	rest   float64                                                                                      // for how much of the time that a job took its place stays empty afterwards
	stop   atomic.Bool                                                                                  // jobs under way are to end
	work   sync.WaitGroup
	counts [4]counts // by coding

	mu     sync.Mutex // guards what follows
	free   int        // further jobs that may begin
	under  map[job]struct{}
	closed bool
}

// A job is one content in one coding.
type job struct {
	epoch  uint64
	coding cache.Coding
}

// share is the part of the cores, 1/share, that encoding may keep busy.
const share = 4

// NewEncoder returns an encoder of c's responses that takes a quarter of so many cores: that many jobs run at a time, and
// where that is less than one, its place stays empty after each for long enough.
func NewEncoder(c *cache.Cache, cores int) *Encoder {
	jobs := max(1, cores/share)
	busy := min(1, float64(cores)/share/float64(jobs))
	return &Encoder{cache: c, with: Encode, free: jobs, rest: 1/busy - 1, under: make(map[job]struct{})}
}

// Make begins to make o's content in a coding, unless that is done or under way, or there is no room for it. It never waits.
func (e *Encoder) Make(o *cache.Object, c cache.Coding) {
	if o.Epoch == 0 {
		return
	}
	j := job{o.Epoch, c}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, under := e.under[j]; under || e.closed {
		return
	}
	if e.free == 0 {
		e.counts[c].results[Busy].Add(1)
		return
	}
	// A job that has ended since the caller looked left its result before it left the table.
	if e.cache.PeekEncoded(o, c) != nil {
		return
	}
	e.free--
	e.under[j] = struct{}{}
	e.work.Go(func() {
		began := time.Now()
		e.counts[c].results[e.run(o, c)].Add(1)
		took := time.Since(began)
		e.counts[c].nanos.Add(int64(took))
		e.leave(j, time.Duration(e.rest*float64(took)))
	})
}

// leave ends a job, and lets another begin after a rest.
func (e *Encoder) leave(j job, rest time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.under, j)
	if rest <= 0 {
		e.free++
		return
	}
	time.AfterFunc(rest, func() {
		e.mu.Lock()
		e.free++
		e.mu.Unlock()
	})
}

var (
	errStopped = errors.New("compress: encoder is closed")
	// errUnread: the content was given up, its medium failed, or the encoder was closed.
	errUnread = errors.New("compress: content could not be read")
)

// run makes o's content in a coding and stores what came of it.
func (e *Encoder) run(o *cache.Object, c cache.Coding) Result {
	pieces, err := e.encode(o, c)
	result := Stored
	switch {
	case errors.Is(err, ErrNoGain):
		result = Gainless
	case errors.Is(err, errUnread), errors.Is(err, io.ErrUnexpectedEOF): // which says nothing of the coding
		return Dropped
	case err != nil: // the next time it would be no better
		result = Failed
	}
	if !e.cache.PutEncoded(o, c, pieces) {
		return Dropped
	}
	if result == Stored {
		e.counts[c].in.Add(o.Body.Len())
		for _, p := range pieces {
			e.counts[c].out.Add(int64(len(p)))
		}
	}
	return result
}

// encode is Encode of o, where a panic in a library costs this content its coding, and not the process its life.
func (e *Encoder) encode(o *cache.Object, c cache.Coding) (pieces [][]byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			pieces, err = nil, fmt.Errorf("compress: encoding in %v panicked: %v", c, v)
		}
	}()
	size := o.Body.Len()
	return e.with(c, size, func(yield func([]byte) bool) error {
		err := o.Body.Range(0, size, func(piece []byte) bool { return !e.stop.Load() && yield(piece) })
		if e.stop.Load() {
			err = errStopped
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errUnread, err)
		}
		return nil
	})
}

// Close ends the jobs under way and waits for them; none begins afterwards.
func (e *Encoder) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.stop.Store(true)
	e.work.Wait()
}

// A Result is what became of a wish for coded content.
type Result uint8

const (
	Stored   Result = iota // made, and stored
	Gainless               // made, hardly smaller, and remembered as that
	Failed                 // the library failed, which is remembered
	Dropped                // the content was replaced, purged or given up meanwhile, or the encoder closed
	Busy                   // not begun: encoding may take no more of the processor
)

var resultWords = [...]string{Stored: "stored", Gainless: "no-gain", Failed: "failed", Dropped: "dropped", Busy: "busy"}

// String returns the result's word in metrics.
func (r Result) String() string { return resultWords[r] }

type counts struct {
	results        [len(resultWords)]atomic.Uint64
	in, out, nanos atomic.Int64
}

// Counts are what an Encoder did so far in one coding.
type Counts struct {
	Results [len(resultWords)]uint64 // by Result
	In, Out int64                    // bytes of content that was stored coded, before and after
	Took    time.Duration            // of all jobs together
}

// Counts tells what was done in a coding.
func (e *Encoder) Counts(c cache.Coding) (n Counts) {
	of := &e.counts[c]
	for i := range n.Results {
		n.Results[i] = of.results[i].Load()
	}
	n.In, n.Out, n.Took = of.in.Load(), of.out.Load(), time.Duration(of.nanos.Load())
	return n
}
