package proxy

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// This file is what the edge does when an origin has as many requests as it takes.

// A turnedAway is an error of an origin's RoundTripper for a request that found no place there: it was sent to nobody, and may
// be asked again after a while.
type turnedAway interface {
	originError
	RetryAfter() time.Duration
}

// unhurried is the error of a fill that would not wait for a place, since the request that led it has something stale to send.
// One that joined it and has nothing is not answered by that, and asks again for itself.
type unhurried struct{ turnedAway }

func (e unhurried) Unwrap() error { return e.turnedAway }

// sayWhen adds Retry-After (RFC 9110 section 10.2.3) to the answer of a request that was turned away.
func sayWhen(h http.Header, err error) {
	var no turnedAway
	if !errors.As(err, &no) {
		return
	}
	seconds := int64((no.RetryAfter() + time.Second - 1) / time.Second)
	h["Retry-After"] = []string{strconv.FormatInt(max(1, seconds), 10)}
}

// background marks a request to an origin for whose answer no client has to wait: there is something stale to send, so that it
// takes a free place and never one that somebody else waits for.
func (p *Proxy) background(ctx context.Context) context.Context {
	if p.cfg.Background == nil {
		return ctx
	}
	return p.cfg.Background(ctx)
}

// hurried reports whether the fill's failure, which this request did not lead, is no word about what it would get itself.
func hurried(err error) bool {
	var other unhurried
	return errors.As(err, &other)
}
