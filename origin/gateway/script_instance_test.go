package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A badInstance is what a script puts behind the gateway.
type badInstance struct {
	*plot
	over  string // one of tongues
	at    string // where it listens; "" = an address that its certificate is for
	entry string // the instance, as app.instances has it
	port  string
	sent  atomic.Int64
}

// A tongue says one answer in a protocol. An error means that the other side has had enough.
type tongue interface {
	section(fields []string) error // ":status: 200" first; of an interim response, too
	begin(fields []string) error   // a section whose end does not come for a long time
	more(n int) error              // so many bytes of it
	data(b []byte) error
	end() error         // of the content
	reset()             // the stream; with h1, which has none, the connection by RST
	refuse()            // says that the request was not looked at
	leave()             // GOAWAY: neither was this request, nor will be another
	close()             // the connection
	raw(b []byte) error // on the connection; with h3 on the stream
}

// answerWords are what may follow says, beside a status, which begins a field section, and its fields 'name: value'.
var answerWords = []string{"data", "size", "drip", "end", "reset", "refuse", "leave", "close", "raw", "hang", "flood", "endless", "trickle"}

// greetWords are what may follow greets.
var greetWords = []string{"close", "silent", "text", "streams", "leave", "raw", "certificate"}

func checkWords(line string, words []string) error {
	var errs []error
	for _, w := range words {
		verb, _, _ := strings.Cut(w, "=")
		list := answerWords
		if line == "greets" {
			list = greetWords
		}
		known := strings.Contains(w, ": ")
		for _, l := range list {
			known = known || l == verb
		}
		if _, err := strconv.Atoi(w); !known && err != nil {
			errs = append(errs, fmt.Errorf("no such word: %s", w))
		}
	}
	return errors.Join(errs...)
}

// pace is the time between the bytes of those who trickle.
const pace = 10 * time.Millisecond

// answer says what the script has for a request; ctx ends with the connection.
func (p *plot) answer(ctx context.Context, path string, to tongue) {
	words := p.says
	if path != "/" {
		words = []string{"200", "content-length: 4", "data=good", "end"}
	}
	var section []string
	tick := func() bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pace):
			return true
		}
	}
	for i, w := range words {
		verb, arg, _ := strings.Cut(w, "=")
		if _, err := strconv.Atoi(w); err == nil || strings.Contains(w, ": ") && !strings.HasPrefix(w, "raw=") && !strings.HasPrefix(w, "data=") {
			if err == nil {
				w = ":status: " + w
			}
			section = append(section, w)
			last := i == len(words)-1
			if !last {
				next, _, _ := strings.Cut(words[i+1], "=")
				_, status := strconv.Atoi(words[i+1])
				last = status == nil || !strings.Contains(words[i+1], ": ") && next != "flood" && next != "endless" && next != "trickle"
			}
			if last {
				if to.section(section) != nil {
					return
				}
				section = nil
			}
			continue
		}
		n, _ := strconv.Atoi(arg)
		var err error
		switch verb {
		case "data":
			err = to.data([]byte(arg))
		case "size":
			err = to.data(bytes.Repeat([]byte("x"), n))
		case "drip":
			for range n {
				if err = to.data([]byte("x")); err != nil || !tick() {
					return
				}
			}
		case "end":
			err = to.end()
		case "reset":
			to.reset()
		case "refuse":
			to.refuse()
		case "leave":
			to.leave()
		case "close":
			to.close()
			return
		case "raw":
			err = to.raw([]byte(arg))
		case "hang":
			return
		case "flood": // the section, for ever
			for err == nil && ctx.Err() == nil {
				err = to.section(section)
			}
		case "endless":
			for err = to.begin(section); err == nil && ctx.Err() == nil; {
				err = to.more(16 << 10)
			}
		case "trickle":
			for err = to.begin(section); err == nil && tick(); {
				err = to.more(1)
			}
		}
		if err != nil {
			return
		}
	}
}

// greet is whether a word is in greets, and what follows its =.
func (p *plot) greet(word string) (string, bool) {
	for _, w := range p.greets {
		if verb, arg, _ := strings.Cut(w, "="); verb == word {
			return arg, true
		}
	}
	return "", false
}

// start begins to listen, until the test ends.
func (in *badInstance) start(t *testing.T) {
	t.Helper()
	signed := newAuthority(t)
	if in.at == "" {
		in.at = "127.64.0.1:0"
	}
	leaf := signed.leaf(t, now(), "127.64.0.1")
	switch kind, _ := in.greet("certificate"); kind {
	case "expired":
		leaf = signed.leaf(t, now().AddDate(-1, 0, 0), "127.64.0.1")
	case "early":
		leaf = signed.leaf(t, now().AddDate(1, 0, 0), "127.64.0.1")
	case "name":
		leaf = signed.leaf(t, now(), "app.example")
	case "stranger":
		leaf = newAuthority(t).leaf(t, now(), "127.64.0.1")
	}
	config := &tls.Config{Certificates: []tls.Certificate{leaf}}
	var at string
	if in.over == "h3" {
		at = in.startQUIC(t, config)
	} else {
		at = in.startTCP(t, config)
	}
	_, in.port, _ = net.SplitHostPort(at)
	protocol := map[string]string{"h1+tls": "h1"}[in.over]
	if protocol == "" {
		protocol = in.over
	}
	in.entry = fmt.Sprintf("url: %q, protocol: %s", "http://"+at, protocol)
	if in.over != "h1" && in.over != "h2c" {
		in.entry = fmt.Sprintf("url: %q, protocol: %s, ca: %s", "https://"+at, protocol, signed.file)
	}
}

// startTCP takes connections for all but h3.
func (in *badInstance) startTCP(t *testing.T, config *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", in.at)
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = map[string][]string{"h1+tls": {"http/1.1"}, "h2": {"h2"}}[in.over]
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				ctx, left := context.WithCancel(ctx)
				defer context.AfterFunc(ctx, func() { raw.Close() })()
				defer left()
				defer raw.Close()
				if _, ok := in.greet("close"); ok {
					return
				}
				if _, ok := in.greet("silent"); ok {
					io.Copy(io.Discard, raw)
					return
				}
				c := &toldConn{Conn: raw, raw: raw, sent: &in.sent, gone: left}
				if config.NextProtos != nil {
					c.Conn = tls.Server(raw, config)
				}
				if strings.HasPrefix(in.over, "h1") {
					in.serveText(ctx, c)
				} else {
					in.serveFrames(ctx, c)
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); stop(); wg.Wait() })
	return ln.Addr().String()
}

// toldConn counts what is sent, and says when nobody takes it any more.
type toldConn struct {
	net.Conn
	raw  net.Conn
	sent *atomic.Int64
	gone func()
}

func (c *toldConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	if err != nil {
		c.gone()
	}
	return n, err
}
