package upstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// token is what a cookie says of an instance: nine bytes of a keyed hash, so that the address is not told.
func (u *Upstream) token(id string) string {
	h := hmac.New(sha256.New, u.cfg.Affinity.Key)
	h.Write([]byte("affinity\x00" + u.cfg.Origin + "\x00" + id))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:9])
}

// cookie is the cookie's value for an instance: its token, and the second in which it was given where it ends. Nothing
// signs the second: who changes it stays longer with an instance that serves him anyway.
func (u *Upstream) cookie(id string) string {
	v := u.token(id)
	if u.cfg.Affinity.Rebalance > 0 {
		v += "." + strconv.FormatInt(u.cfg.Now().Unix(), 36)
	}
	return v
}

// wanted is the instance that the request's cookie names, "" where it names none or has held its client for long enough.
func (u *Upstream) wanted(req *http.Request) string {
	name := u.cfg.Affinity.Cookie
	if name == "" {
		return ""
	}
	for _, field := range req.Header["Cookie"] {
		for pair := range strings.SplitSeq(field, ";") {
			v, ok := strings.CutPrefix(strings.Trim(pair, " \t"), name+"=")
			if !ok {
				continue
			}
			token, since, _ := strings.Cut(v, ".")
			u.mu.RLock()
			id := u.tokens[token]
			u.mu.RUnlock()
			if id != "" && u.holds(since) {
				return id
			}
		}
	}
	return ""
}

// holds says whether a cookie given in a second still holds its client.
func (u *Upstream) holds(since string) bool {
	r := u.cfg.Affinity.Rebalance
	if r == 0 {
		return true
	}
	n, err := strconv.ParseInt(since, 36, 64)
	age := u.cfg.Now().Unix() - n
	return err == nil && age >= -60 && age < int64(r/time.Second) // a minute for the clocks of other nodes
}

// outgoing is the request as it goes to an instance: without our cookie, which is none of its business.
func (u *Upstream) outgoing(req *http.Request) *http.Request {
	name := u.cfg.Affinity.Cookie
	if name == "" || len(req.Header["Cookie"]) == 0 {
		return req
	}
	var kept []string
	found := false
	for _, field := range req.Header["Cookie"] {
		var pairs []string
		for pair := range strings.SplitSeq(field, ";") {
			pair = strings.Trim(pair, " \t")
			if strings.HasPrefix(pair, name+"=") {
				found = true
			} else if pair != "" {
				pairs = append(pairs, pair)
			}
		}
		if len(pairs) > 0 {
			kept = append(kept, strings.Join(pairs, "; "))
		}
	}
	if !found {
		return req
	}
	out := req.WithContext(req.Context()) // a copy
	out.Header = make(http.Header, len(req.Header))
	maps.Copy(out.Header, req.Header)
	if len(kept) > 0 {
		out.Header["Cookie"] = kept
	} else {
		delete(out.Header, "Cookie")
	}
	return out
}

// stick gives the client a cookie that names the instance which answered, where it has none that does.
func (u *Upstream) stick(x *exchange, a *attempt) {
	if u.cfg.Affinity.Cookie == "" || x.wanted == a.m.ID || a.res.StatusCode < 200 || a.m.weight.Load() == 0 || shareable(x.req, a.res) {
		return
	}
	c := http.Cookie{Name: u.cfg.Affinity.Cookie, Value: u.cookie(a.m.ID), Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode}
	a.res.Header.Add("Set-Cookie", c.String())
}

// shareable says whether a cache might give the response to another client. A cookie in it would tie everybody to one
// instance, or keep a cache that is careful from storing it; HAProxy's "cookie insert nocache" makes such a response
// private instead, and so takes it away from the cache. Here the cache goes first: a cookie comes with the first answer
// that no shared cache may store, as those that make a session are: to a POST, private, no-store, with a cookie of the
// application, or to a request with Authorization (RFC 9111 sections 3 and 3.5). Without a word in Cache-Control many
// statuses may be stored by heuristics (section 4.2.2).
func shareable(req *http.Request, res *http.Response) bool {
	if m := req.Method; m != "" && m != http.MethodGet && m != http.MethodHead || len(res.Header["Set-Cookie"]) > 0 {
		return false
	}
	if len(res.Header["Surrogate-Control"]) > 0 {
		return true // counts instead of Cache-Control too, and is seldom enough not to look closer
	}
	allowed := false // explicitly
	private := false
	for name, fields := range res.Header {
		switch {
		case name == "Cache-Control":
		case strings.HasSuffix(name, "-Cache-Control"): // RFC 9213, the same
			return true
		default:
			continue
		}
		for d := range strings.SplitSeq(strings.Join(fields, ","), ",") {
			d, _, value := strings.Cut(strings.ToLower(strings.TrimSpace(d)), "=")
			switch {
			case d == "no-store" || d == "private" && !value: // private="Field" is about a field (section 5.2.2.7)
				private = true
			case d == "public" || d == "s-maxage" || d == "must-revalidate":
				allowed = true
			}
		}
	}
	return !private && (allowed || req.Header.Get("Authorization") == "")
}
