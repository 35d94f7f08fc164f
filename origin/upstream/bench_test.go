package upstream

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"hither/origin/balance"
	"hither/origin/limit"
)

// nothing is a Sender that costs nothing.
type nothing struct{ content []byte }

func (n nothing) RoundTrip(*http.Request) (*http.Response, error) {
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}
	if len(n.content) > 0 {
		res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(n.content)), int64(len(n.content))
	}
	return res, nil
}
func (nothing) Drain(context.Context) error { return nil }
func (nothing) Close() error                { return nil }

// What a request costs besides its Sender.
func BenchmarkRoundTrip(b *testing.B) {
	for _, c := range []struct {
		name  string
		bytes int
	}{{"header", 0}, {"small", 1 << 10}, {"large", small + 1}} {
		b.Run(c.name, func(b *testing.B) {
			u, err := New(Config{
				Origin: "app", Instances: []Instance{instance("a"), instance("b"), instance("c"), instance("d")},
				Sender:  func(Instance) (Sender, error) { return nothing{make([]byte, c.bytes)}, nil },
				Balance: balance.Config{Eject: balance.Eject{Consecutive: 5, MaxPercent: 50, PanicPercent: 30}}, Limit: &limit.Config{},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer u.Close()
			req, _ := http.NewRequest("GET", "https://www.hither.test/", nil)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					res, err := u.RoundTrip(req)
					if err != nil {
						b.Fatal(err)
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
		})
	}
}
