package node

import (
	"strings"
	"testing"
)

// Questions that are none are told in one line, before anything is looked up.
func TestBadQuestions(t *testing.T) {
	for _, c := range []struct {
		q    Question
		says string
	}{
		{Question{}, `scheme "": https or http`},
		{Question{Scheme: "ftp", Host: "x", Target: "/"}, `scheme "ftp"`},
		{Question{Scheme: "https", Target: "/"}, "no host"},
		{Question{Scheme: "https", Host: "x"}, "no target"},
		{Question{Scheme: "https", Host: "x", Target: "/", Method: "G T"}, `"G T" is no method`},
		{Question{Scheme: "https", Host: "x", Target: "/", Fields: []string{"Accept"}}, `"Accept" is no field; write 'Name: value'`},
		{Question{Scheme: "https", Host: "x", Target: "/", Fields: []string{"A b: c"}}, "is no field"},
		{Question{Scheme: "https", Host: "x", Target: "/", Fields: []string{"A: b\r\nC: d"}}, "is no field"},
		{Question{Scheme: "https", Host: "x", Target: "/", Fields: []string{":path: /"}}, "is no field"},
		{Question{Scheme: "https", Host: "x", Target: "/", Fields: []string{strings.Repeat("x", 9000)}}, "is no field"},
	} {
		_, err := new(Node).Explain(c.q)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 150 {
			t.Errorf("%+v: %v, want %q", c.q, err, c.says)
		}
	}
}

// The request that is asked about is the one a client of the URL sends.
func TestQuestion(t *testing.T) {
	none := ""
	for _, c := range []struct {
		q          Question
		host, name string
	}{
		{Question{Scheme: "https", Host: "WWW.test.:8443", Target: "/a"}, "WWW.test.:8443", "www.test"},
		{Question{Scheme: "https", Host: "192.0.2.1", Target: "/a"}, "192.0.2.1", ""},
		{Question{Scheme: "https", Host: "[2001:db8::1]:8443", Target: "/a"}, "[2001:db8::1]:8443", ""},
		{Question{Scheme: "https", Host: "www.test", Target: "/a", ServerName: &none}, "www.test", ""},
		{Question{Scheme: "https", Host: "www.test", Target: "/a", Fields: []string{"host: other.test"}}, "other.test", "www.test"},
		{Question{Scheme: "http", Host: "www.test", Target: "/a"}, "www.test", ""},
	} {
		r, name, err := c.q.request()
		if err != nil || r.Method != "GET" || r.Host != c.host || name != c.name || (r.TLS != nil) != (c.q.Scheme == "https") || r.RequestURI != "/a" {
			t.Errorf("%+v: %q, %q, %v", c.q, r.Host, name, err)
		}
	}
	q := Question{Method: "POST", Scheme: "https", Host: "x", Target: "/", Early: true, Content: true, Fields: []string{"accept:  a ", "Accept: b"}}
	r, _, err := q.request()
	if err != nil || r.TLS.HandshakeComplete || r.ContentLength == 0 || strings.Join(r.Header["Accept"], "|") != "a|b" {
		t.Errorf("%+v: %+v, %v", q, r, err)
	}
}
