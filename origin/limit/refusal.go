package limit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// why a request is refused.
type why uint8

const (
	full       why = iota // as many wait as may, and this one waited longest; or nobody may wait
	late                  // it would have waited, or has waited, too long
	background            // no place was free for a request that nobody waits for
)

var whys = [...]string{full: "full", late: "late", background: "background"}

// Whys is why a request can be refused: the words of Refusal.Why and of Status.RefusedTotal.
func Whys() []string { return whys[:] }

// Refusal is the error of a request that got no place. It never reached the origin, so it may be sent elsewhere.
type Refusal struct {
	Why   string        // one of Whys
	After time.Duration // whole seconds until it may be worth to ask again, from 1 to 60
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("limit: origin has as many requests as it can take (%s); ask again in %v", r.Why, r.After)
}

// Status is for the client: 503 (RFC 9110 section 15.6.4).
func (r *Refusal) Status() int { return 503 }

// ProxyStatus is the error type of RFC 9209 section 2.3.12.
func (r *Refusal) ProxyStatus() string { return "connection_limit_reached" }

// Reason is the word for the log.
func (r *Refusal) Reason() string { return "origin-overload" }

// Retryable says that the request may go to another origin or instance: it was sent to none.
func (r *Refusal) Retryable() bool { return true }

// RetryAfter is what the field of that name should say (RFC 9110 section 10.2.3).
func (r *Refusal) RetryAfter() time.Duration { return r.After }

// refuse counts and makes a refusal. Retry-After is the time in which those who wait now will have got in, from 1 to 30
// seconds, and up to as much again by chance, so that who was refused together does not come back together.
func (l *Limiter) refuse(reason why) *Refusal {
	l.refused[reason]++
	after := min(30, max(1, math.Ceil(l.wait(l.queue.len()).Seconds())))
	return &Refusal{Why: whys[reason], After: time.Duration(after+float64(rand.IntN(int(after)+1))) * time.Second}
}
