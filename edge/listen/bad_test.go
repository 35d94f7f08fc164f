package listen_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hither/edge/listen"
)

// A script is a file below testdata/bad: prose (#), what a client sends, and what must come of it.
type script struct {
	bytes  []byte      // HTTP/1.1: "> " lines
	fields [][2]string // HTTP/2 and 3: "field" lines, in order
	data   []byte      // "data" lines
	open   bool        // "open": the request does not end
	want   map[string]string
}

func readScript(t *testing.T, path string) *script {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{want: make(map[string]string)}
	for i, line := range strings.Split(string(text), "\n") {
		verb, rest, _ := strings.Cut(line, " ")
		var bad error
		switch verb {
		case "", "#":
		case ">":
			var b []byte
			b, bad = unquote(rest)
			s.bytes = append(s.bytes, b...)
		case "data":
			var b []byte
			b, bad = unquote(rest)
			s.data = append(s.data, b...)
		case "open":
			s.open = true
		case "field":
			name, value, ok := strings.Cut(rest, " ")
			var n, v []byte
			var err1, err2 error
			n, err1 = unquote(name)
			v, err2 = unquote(value)
			if bad = errors.Join(err1, err2); !ok && bad == nil {
				bad = errors.New("no value")
			}
			times := 1
			if k, _, repeated := strings.Cut(name, "*"); repeated {
				times, _ = strconv.Atoi(k)
				_, quoted, _ := strings.Cut(name, "*")
				n, bad = unquote(quoted)
			}
			for range times {
				s.fields = append(s.fields, [2]string{string(n), string(v)})
			}
		default:
			if !strings.HasSuffix(verb, ":") {
				bad = errors.New("unknown verb")
			}
			s.want[strings.TrimSuffix(verb, ":")] = rest
		}
		if bad != nil {
			t.Fatalf("%s:%d: %v: %s", path, i+1, bad, line)
		}
	}
	return s
}

// unquote reads a Go string, or N*"string" for many of it.
func unquote(s string) ([]byte, error) {
	times := 1
	if n, quoted, ok := strings.Cut(s, `*"`); ok {
		var err error
		if times, err = strconv.Atoi(n); err != nil {
			return nil, err
		}
		s = `"` + quoted
	}
	u, err := strconv.Unquote(s)
	return bytes.Repeat([]byte(u), times), err
}

// nextPath is asked to see whether a connection is of use still.
const nextPath = "/next"

// calls is a handler that notes what it was given.
type calls struct {
	mu   sync.Mutex
	list []string
}

func (c *calls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	call := fmt.Sprintf("%s %s%s", r.Method, r.Host, r.URL.Path)
	if err != nil {
		call += " cut"
	} else if len(b) > 0 {
		call += fmt.Sprintf(" %q", b)
	}
	if r.URL.Path != nextPath {
		c.mu.Lock()
		c.list = append(c.list, call)
		c.mu.Unlock()
	}
	if err != nil {
		w.WriteHeader(400)
	}
}

func (c *calls) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.list) == 0 {
		return "none"
	}
	return strings.Join(c.list, ", ")
}

func scripts(t *testing.T, glob string) []string {
	paths, err := filepath.Glob(glob)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts in %s: %v", glob, err)
	}
	return paths
}

func scriptName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".txt") }

// TestBadH1 sends the bytes of testdata/bad/*.txt. Keys of what is wanted:
//
//	answer:  the status codes which come, in order
//	handler: what the handler was called for, or none
//	count:   the reason counted, or none
//	then:    close or open, the connection's state
func TestBadH1(t *testing.T) {
	for _, path := range scripts(t, "testdata/bad/*.txt") {
		t.Run(scriptName(path), func(t *testing.T) {
			s := readScript(t, path)
			seen := new(calls)
			w := open(t, seen.ServeHTTP, func(c *listen.Config) { c.Limits.HeaderTime = 3 * time.Second })
			c := w.raw("http/1.1")
			go c.Write(s.bytes) // a peer that is refused early does not read on
			answers, closed := readAnswers(t, c, len(strings.Fields(s.want["answer"])))
			if answers != s.want["answer"] {
				t.Errorf("answer %q, want %q", answers, s.want["answer"])
			}
			if then := map[bool]string{true: "close", false: "open"}[closed]; then != s.want["then"] {
				t.Errorf("then %q, want %q", then, s.want["then"])
			}
			if got := seen.String(); got != s.want["handler"] {
				t.Errorf("handler %q, want %q", got, s.want["handler"])
			}
			checkCount(t, w, s.want["count"])
		})
	}
}

// readAnswers reads n answers, and then asks whether the connection has been closed: by its end, or else by
// one good request that must be answered.
func readAnswers(t *testing.T, c net.Conn, n int) (status string, closed bool) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	var got []string
	for range n {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("after %q: %v", got, err)
			return strings.Join(got, " "), true
		}
		io.Copy(io.Discard, resp.Body)
		got = append(got, strconv.Itoa(resp.StatusCode))
		closed = resp.Close
	}
	if closed {
		if b, err := r.Peek(1); len(b) > 0 {
			t.Errorf("closed after the answer, but there is more: %q, %v", b, err)
		}
	} else {
		io.WriteString(c, "HEAD "+nextPath+" HTTP/1.1\r\nHost: "+siteName+"\r\n\r\n")
		if resp, err := http.ReadResponse(r, &http.Request{Method: "HEAD"}); err != nil || resp.StatusCode != 200 {
			t.Errorf("said to stay open, but the next request got %v, %v", resp, err)
		}
	}
	return strings.Join(got, " "), closed
}

// checkCount checks that reason alone was counted, once.
func checkCount(t *testing.T, w *world, reason string) {
	t.Helper()
	if reason != "none" {
		w.wait(reason, 1)
	}
	for _, r := range listen.Reasons {
		if n := w.get(string(r)); n != 0 && string(r) != reason {
			t.Errorf("%s was counted %d times, want %s alone", r, n, reason)
		}
	}
}
