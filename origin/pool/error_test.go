package pool

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
)

func TestErrorText(t *testing.T) {
	e := &Error{Kind: KindShort, Op: "read body", From: "fra", To: "us", Addr: "127.0.0.1:9443", Cause: io.ErrUnexpectedEOF}
	if got, want := e.Error(), "pool: read body fra→us 127.0.0.1:9443: unexpected EOF"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Error("the cause is not reached")
	}
}

// What the request path asks an error by its methods alone.
var _ interface {
	error
	Status() int
	ProxyStatus() string
	Reason() string
	Retryable() bool
} = (*Error)(nil)

func TestEveryKindSaysWhatToDo(t *testing.T) {
	token, word := regexp.MustCompile(`^[a-z_]+$`), regexp.MustCompile(`^[a-z-]+$`)
	words := make(map[string]bool)
	for k := range Kind(kinds) {
		e := &Error{Kind: k}
		if s := e.Status(); s != 502 && s != 503 && s != 504 && (s != 400 || traits[k].whose != Client) {
			t.Errorf("%d: status %d", k, s)
		}
		if !token.MatchString(e.ProxyStatus()) || !word.MatchString(e.Reason()) || words[e.Reason()] {
			t.Errorf("%d: token %q, word %q", k, e.ProxyStatus(), e.Reason())
		}
		words[e.Reason()] = true
		if _, again := retryReason(k); again && !traits[k].retry {
			t.Errorf("%v is retried though it may not be", k)
		}
	}
}

func TestConfigNamesAllMistakes(t *testing.T) {
	for _, test := range []struct {
		cfg  Config
		want []string
	}{
		{Config{Addresses: []string{"here", ":1"}, Connections: 4, MaxConnections: 3, Ping: -1}, []string{
			"has no name", `address "here" is not host:port`, `address ":1" is not host:port`, "no TLS",
			"keeps 4 connections but may open only 3", "ping interval may not be negative",
		}},
		{Config{Origin: "us", Protocol: "spdy"}, []string{"has no address", `protocol "spdy" is not one of h1, h2, h2c and h3`}},
		{Config{Origin: "us", Protocol: "h2c", TLS: newFleet().client()}, []string{"h2c is plain text"}},
	} {
		_, err := New(test.cfg)
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error does not say %q: %v", want, err)
			}
		}
	}
}
