package upstream

import (
	"context"
	"net/http"
	"slices"

	"github.com/cespare/xxhash/v2"

	"hither/origin/balance"
)

// safe says whether a method asks for nothing but an answer (RFC 9110 section 9.2.1).
func safe(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// idempotent says whether to send a request twice has the same effect as once (RFC 9110 section 9.2.2).
func idempotent(method string) bool {
	return safe(method) || method == http.MethodPut || method == http.MethodDelete
}

type avoidKey struct{}

// Avoid keeps a request from the instances of those IDs, whatever happens to the others: as if it had been to them, also when
// all others fail. It replaces what an earlier call said.
func Avoid(ctx context.Context, ids ...string) context.Context {
	return context.WithValue(ctx, avoidKey{}, slices.Clone(ids))
}

func avoided(ctx context.Context) []string {
	ids, _ := ctx.Value(avoidKey{}).([]string)
	return slices.Clip(ids)
}

// query is what balance needs to know of a request.
func (u *Upstream) query(req *http.Request) balance.Query {
	q := balance.Query{
		Want:  u.wanted(req),
		Trial: safe(req.Method) && (req.Body == nil || req.Body == http.NoBody),
		Tried: avoided(req.Context()),
	}
	if u.cfg.Balance.Expect != (balance.Expect{}) {
		q.Path = hash(req.Method, req.Host, req.URL.RequestURI())
	}
	if name := u.cfg.Affinity.Header; name != "" {
		if v := req.Header.Get(name); v != "" {
			q.Hash, q.Hashed = hash(v), true
		}
	}
	if !q.Hashed && u.hashes { // the instance has what it was asked for before at hand
		q.Hash, q.Hashed = hash(req.Host, req.URL.RequestURI()), true
	}
	return q
}

func hash(parts ...string) uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, p := range parts {
		d.WriteString(p)
		d.Write([]byte{0})
	}
	return d.Sum64()
}

// header is what balance judges an answer by.
func header(req *http.Request, res *http.Response) balance.Header {
	h := balance.Header{
		Status:     res.StatusCode,
		Length:     res.ContentLength,
		Head:       req.Method == http.MethodHead,
		RetryAfter: res.Header.Get("Retry-After") != "",
	}
	h.Comparable = (req.Method == http.MethodGet || req.Method == "") && res.StatusCode == http.StatusOK &&
		req.Header.Get("Range") == "" && res.Header.Get("Content-Encoding") == ""
	return h
}
