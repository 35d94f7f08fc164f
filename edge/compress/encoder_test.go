package compress_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hither/cache"
	"hither/cache/store"
	"hither/edge/compress"
)

var page = strings.Repeat("hello world ", 1000)

// A bench is an encoder over a real store.
type bench struct {
	*compress.Encoder
	t     *testing.T
	cache *cache.Cache
}

func newBench(t *testing.T, cores int) *bench {
	m, err := store.NewMemory(8 << 20)
	if err != nil {
		t.Fatal(err)
	}
	c := cache.New(cache.Config{Store: m})
	b := &bench{compress.NewEncoder(c, cores), t, c}
	t.Cleanup(m.Close)
	t.Cleanup(b.Close)
	return b
}

// stored is the response that is stored at a path, which it is now.
func (b *bench) stored(path, body string) *cache.Object {
	b.t.Helper()
	k := cache.Key{Site: "www", Class: cache.ClassGet, Scheme: "https", Path: path}
	r := b.cache.Join(b.t.Context(), cache.Want{
		Look: b.cache.Blank(k), Request: http.Header{}, Solo: true,
		Fetch: func(context.Context, http.Header, func(int, http.Header)) (*http.Response, error) {
			h := http.Header{"Cache-Control": {"max-age=600"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}}
			return &http.Response{StatusCode: 200, ProtoMajor: 2, Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}, nil
		},
	})
	defer r.Close()
	if _, err := r.Head(b.t.Context(), nil); err != nil {
		b.t.Fatal(err)
	}
	for {
		if _, err := r.Next(b.t.Context(), -1); err == io.EOF {
			return b.cache.Look(k, http.Header{}, time.Now()).Object
		} else if err != nil {
			b.t.Fatal(err)
		}
	}
}

// counted holds the results of a coding against their words: "stored busy busy".
func (b *bench) counted(c cache.Coding, want string) {
	b.t.Helper()
	var got []string
	for i, n := range b.Counts(c).Results {
		for range n {
			got = append(got, compress.Result(i).String())
		}
	}
	if s := strings.Join(got, " "); s != want {
		b.t.Errorf("%v: %q, want %q", c, s, want)
	}
}

// However many ask, and however often: one content is encoded once in a coding.
func TestOnce(t *testing.T) {
	b := newBench(t, 64)
	o := b.stored("/", page)
	for range 3 {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for _, c := range cache.Codings() {
					b.Make(o, c)
				}
			})
		}
		all.Wait()
		b.Wait()
	}
	for _, c := range cache.Codings() {
		b.counted(c, "stored")
		e := b.cache.Encoded(o, c)
		if e == nil {
			t.Fatalf("%v is not stored", c)
		}
		var coded strings.Builder
		e.Body.Range(0, e.Body.Len(), func(p []byte) bool { coded.Write(p); return true })
		if got, err := decoded(c, strings.NewReader(coded.String())); string(got) != page || err != nil {
			t.Errorf("%v: %d bytes, %v", c, len(got), err)
		}
		if n := b.Counts(c); n.In != int64(len(page)) || n.Out != int64(coded.Len()) || n.Took <= 0 {
			t.Errorf("%v: %+v", c, n)
		}
	}
}

// What gains nothing, or cannot be encoded, is tried once.
func TestTriedOnce(t *testing.T) {
	b := newBench(t, 4)
	tried := 0
	for result, with := range map[string]func() error{
		"no-gain": func() error { return compress.ErrNoGain }, "failed": func() error { panic("the library") }, "failed ": func() error { return errors.New("no") },
	} {
		o := b.stored("/"+result, page)
		b.With(func(cache.Coding, int64, func(func([]byte) bool) error) ([][]byte, error) {
			tried++
			return nil, with()
		})
		for range 3 {
			b.Make(o, cache.Gzip)
			b.Wait()
		}
		if e := b.cache.Encoded(o, cache.Gzip); e == nil || e.Body.Len() != 0 {
			t.Errorf("%s: %v", result, e)
		}
	}
	b.counted(cache.Gzip, "no-gain failed failed")
	if tried != 3 {
		t.Errorf("tried %d times", tried)
	}
	if b.Make(&cache.Object{Body: cache.NewBody([]byte(page))}, cache.Gzip); b.Counts(cache.Gzip).Results[compress.Dropped] != 0 {
		t.Error("what has no epoch is encoded")
	}
}

// Where all places are taken an answer goes out as it is, which is counted; whoever asks for what is under way waits for it.
func TestBusy(t *testing.T) {
	b := newBench(t, 8)
	gate, begun := make(chan struct{}), make(chan struct{}, 9)
	b.With(func(c cache.Coding, size int64, read func(func([]byte) bool) error) ([][]byte, error) {
		begun <- struct{}{}
		<-gate
		return compress.Encode(c, size, read)
	})
	one, two := b.stored("/1", page), b.stored("/2", page)
	b.Make(one, cache.Gzip)
	b.Make(one, cache.Brotli)
	<-begun
	<-begun
	b.Make(one, cache.Gzip) // under way
	b.Make(two, cache.Gzip)
	b.Make(two, cache.Gzip)
	b.counted(cache.Gzip, "busy busy")
	close(gate)
	b.Wait()
	b.Make(two, cache.Gzip)
	b.Wait()
	b.counted(cache.Gzip, "stored stored busy busy")
	b.counted(cache.Brotli, "stored")
}

// What was purged or replaced meanwhile gets no coded content.
func TestDropped(t *testing.T) {
	b := newBench(t, 4)
	gate := make(chan struct{})
	b.With(func(c cache.Coding, size int64, read func(func([]byte) bool) error) ([][]byte, error) {
		pieces, err := compress.Encode(c, size, read)
		<-gate
		return pieces, err
	})
	old := b.stored("/", page)
	b.Make(old, cache.Gzip)
	b.stored("/", page+"!")
	close(gate)
	b.Wait()
	b.counted(cache.Gzip, "dropped")
	if b.cache.Encoded(old, cache.Gzip) != nil {
		t.Error("the coded content of what is gone is stored")
	}
}

// failing is a body whose medium fails after some pieces.
type failing int

func (f failing) Range(_, _ int64, yield func([]byte) bool) error {
	for range int(f) {
		if !yield([]byte("hello ")) {
			return nil
		}
	}
	return errors.New("disk: checksum")
}

func (failing) Gone() bool { return false }

// What cannot be read is no word about the content: a later answer tries again.
func TestUnread(t *testing.T) {
	b := newBench(t, 4)
	o := b.stored("/", page)
	broken := &cache.Object{Key: o.Key, Epoch: o.Epoch, Body: cache.NewDeepBody(failing(100), o.Body.Len())}
	for _, c := range cache.Codings() {
		b.Make(broken, c)
		b.Wait()
		b.counted(c, "dropped")
		b.Make(o, c)
		b.Wait()
		b.counted(c, "stored dropped")
	}
}

func TestClose(t *testing.T) {
	b := newBench(t, 4)
	begun := make(chan struct{})
	b.With(func(c cache.Coding, size int64, read func(func([]byte) bool) error) ([][]byte, error) {
		close(begun)
		for {
			if err := read(func([]byte) bool { return true }); err != nil {
				return nil, err
			}
		}
	})
	o := b.stored("/", page)
	b.Make(o, cache.Gzip)
	<-begun
	b.Close()
	b.Make(o, cache.Zstd)
	b.Close()
	b.counted(cache.Gzip, "dropped")
	b.counted(cache.Zstd, "")
}

// A quarter of the cores, for whole jobs or for a part of the time.
func TestShare(t *testing.T) {
	for cores, want := range map[int]struct {
		jobs int
		rest float64
	}{1: {1, 3}, 2: {1, 1}, 3: {1, 1. / 3}, 4: {1, 0}, 7: {1, 0}, 8: {2, 0}, 64: {16, 0}} {
		e := compress.NewEncoder(nil, cores)
		if jobs, rest := e.Limits(); jobs != want.jobs || rest-want.rest > 1e-9 || want.rest-rest > 1e-9 {
			t.Errorf("%d cores: %d jobs, rest %v", cores, jobs, rest)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		e := compress.NewEncoder(nil, 1)
		e.Rest(3 * time.Second)
		time.Sleep(3*time.Second - 1)
		if free, _ := e.Limits(); free != 0 {
			t.Error("the place is free before its rest is over")
		}
		time.Sleep(time.Second)
		if free, _ := e.Limits(); free != 1 {
			t.Error("the place stays empty")
		}
	})
}
