package upstream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/iotest"
	"time"
)

func posted(t *testing.T, rc io.ReadCloser) *upload {
	r, err := http.NewRequest("POST", "https://www.hither.test/", rc)
	if err != nil {
		t.Fatal(err)
	}
	return newUpload(r, time.Now)
}

// Whatever earlier attempts have read, the last one sends all of it, byte for byte; or none is made.
func TestUploadIsWhole(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		want := make([]byte, r.IntN(3*keep))
		for n := range want {
			want[n] = byte(r.Uint32())
		}
		var source io.Reader = bytes.NewReader(want)
		if r.IntN(2) == 0 {
			source = iotest.DataErrReader(source)
		}
		if r.IntN(2) == 0 {
			source = iotest.HalfReader(source)
		}
		c := &closing{Reader: source}
		u, most := posted(t, c), int64(0)
		for {
			s := u.attempt()
			if r.IntN(3) == 0 {
				u.settle()
				got, err := io.ReadAll(s)
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("seed %d: %d bytes of %d, %v", seed, len(got), len(want), err)
				}
				s.Close()
				break
			}
			n, _ := io.CopyN(io.Discard, s, int64(r.IntN(len(want)+2)))
			most = max(most, n)
			s.Close()
			if !u.rewind() {
				if most <= keep/2 { // a buffer may have read ahead
					t.Fatalf("seed %d: %d bytes were not remembered", seed, most)
				}
				u.settle()
				break
			}
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
				t.Fatalf("seed %d: an attempt that is over reads: %v", seed, err)
			}
		}
		if c.closed != 1 {
			t.Fatalf("seed %d: closed %d times", seed, c.closed)
		}
	}
}

// A Read that a failed attempt has left behind takes nothing from the next one.
func TestUploadLateRead(t *testing.T) {
	r, w := io.Pipe()
	u := posted(t, r)
	first := u.attempt()
	began, late := make(chan struct{}), make(chan error)
	go func() {
		close(began)
		_, err := first.Read(make([]byte, 10))
		late <- err
	}()
	<-began
	for busy := false; !busy; {
		u.mu.Lock()
		busy = u.from.busy
		u.mu.Unlock()
	}
	first.Close()
	if !u.rewind() {
		t.Fatal("nothing was read")
	}
	second := u.attempt()
	u.settle()
	go func() {
		w.Write([]byte("all "))
		w.Write([]byte("of it"))
		w.Close()
	}()
	got, err := io.ReadAll(second)
	if string(got) != "all of it" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	<-late
	second.Close()
}

// A request that ends while its client sends nothing ends at once.
func TestUploadCloseDoesNotWait(t *testing.T) {
	c := &stuck{begun: make(chan struct{}), free: make(chan struct{}), closed: make(chan struct{})}
	u := posted(t, c)
	s := u.attempt()
	read := make(chan struct{})
	go func() { defer close(read); s.Read(make([]byte, 1)) }()
	<-c.begun
	s.Close()
	u.settle()
	close(c.free)
	<-read
	<-c.closed
}

// stuck is a content whose Close waits for its Read, as a server's over HTTP/1.1.
type stuck struct {
	begun, free, closed chan struct{}
}

func (s *stuck) Read([]byte) (int, error) { close(s.begun); <-s.free; return 0, io.EOF }
func (s *stuck) Close() error             { <-s.free; close(s.closed); return nil }

// A client whose content stops keeps neither the end of its instance from being told, nor Close from its end.
func TestEndWhileTheUploadHangs(t *testing.T) {
	in := make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 1))
		in <- struct{}{}
		io.Copy(io.Discard, r.Body)
	})
	for name, end := range map[string]func(*Upstream){
		"killed": func(*Upstream) { s.kill(); s.start() },
		"closed": func(u *Upstream) { u.Close() },
	} {
		u := overPools(t, func(cfg *Config) { cfg.Retry.Attempts = -1 }, s)
		r, w := io.Pipe()
		t.Cleanup(func() { w.Close() })
		go w.Write([]byte("beginning"))
		said := make(chan error, 1)
		go func() {
			res, err := u.RoundTrip(request(t, "POST", "/", r))
			if err == nil {
				res.Body.Close()
			}
			said <- err
		}()
		<-in
		end(u)
		select {
		case err := <-said:
			if err == nil {
				t.Errorf("%s, and there was an answer", name)
			}
		case <-time.After(limitOfTests / 2): // before the request's own end
			t.Errorf("%s, and nothing is said", name)
		}
	}
}
