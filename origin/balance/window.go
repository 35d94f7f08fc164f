package balance

import (
	"math"
	"time"
)

// A window and not a moving average: at low rates an average tells of answers that are long past (linkerd2-proxy#4561).
const windowSeconds = 10

// window counts good and bad answers of the last ten seconds, by the second.
type window struct {
	second int64 // of the newest bucket
	each   [windowSeconds]counts
	sum    counts
}

type counts struct{ good, bad uint32 }

// advance forgets what is older than the window.
func (w *window) advance(second int64) {
	if second-w.second >= windowSeconds {
		*w = window{second: second}
	}
	for w.second < second {
		w.second++
		old := &w.each[w.second%windowSeconds]
		w.sum.good, w.sum.bad = w.sum.good-old.good, w.sum.bad-old.bad
		*old = counts{}
	}
}

func (w *window) add(second int64, good bool) {
	w.advance(second)
	c := &w.each[w.second%windowSeconds]
	if good {
		c.good++
		w.sum.good++
	} else {
		c.bad++
		w.sum.bad++
	}
}

// goodness is the share of good answers, from 0 to 1; 1 without any.
func (w *window) goodness(second int64) float64 {
	w.advance(second)
	return float64(w.sum.good+1) / float64(w.sum.good+w.sum.bad+1)
}

// judged is how many answers goodness is made of.
func (w *window) judged(second int64) int {
	w.advance(second)
	return int(w.sum.good + w.sum.bad)
}

// last returns the counts of the last n seconds, this one included.
func (w *window) last(second int64, n int) (c counts) {
	w.advance(second)
	for k := range int64(n) {
		if second-k >= 0 {
			e := w.each[(second-k)%windowSeconds]
			c.good, c.bad = c.good+e.good, c.bad+e.bad
		}
	}
	return c
}

// decay is the time in which the weight of an old latency falls to 1/e.
const decay = 10 * time.Second

// latency is a moving average of times to the first byte, of good answers alone, which jumps to peaks at once and comes
// down slowly: Finagle's PeakEwma.scala. Finagle's reading decays towards 0 between samples, this one towards the
// group's median, so that an instance that was slow is tried again and not flooded.
type latency struct {
	value time.Duration
	at    time.Time // of the last sample; zero = never measured
}

func (l *latency) measured() bool { return !l.at.IsZero() }

// add puts a sample in and says whether it is news that cannot wait: the first one, or far above what was known.
func (l *latency) add(sample time.Duration, now time.Time) (news bool) {
	sample = max(sample, 0)
	news = !l.measured() || sample > 2*l.value
	if !l.measured() || sample > l.value {
		l.value = sample
	} else {
		w := math.Exp(-float64(now.Sub(l.at)) / float64(decay))
		l.value = time.Duration(float64(l.value)*w + float64(sample)*(1-w))
	}
	l.at = now
	return news
}

// read returns the latency to reckon with. Who was never measured has the median: to begin at 0 would flood a newcomer
// (ingress-nginx#3709).
func (l *latency) read(now time.Time, median time.Duration) time.Duration {
	if !l.measured() {
		return median
	}
	w := math.Exp(-float64(now.Sub(l.at)) / float64(decay))
	return median + time.Duration(float64(l.value-median)*w)
}
