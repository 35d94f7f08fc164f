package contest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"hither/bench/load"
	"hither/bench/peers"
	"hither/bench/upstream"
)

// A visitor asks a server, and believes nothing.
type visitor struct {
	rt      http.RoundTripper
	major   int // of the protocol
	objects *upstream.Objects
	close   func()
}

// visitor makes one. Its connections are kept until it is closed.
func (c *Contest) visitor(s *peers.WebServer, protocol string, conf *tls.Config) *visitor {
	v := &visitor{major: int(protocol[1] - '0'), objects: c.objects}
	if v.major == 3 {
		tr := &http3.Transport{TLSClientConfig: conf, DisableCompression: true}
		tr.Dial = func(ctx context.Context, _ string, conf *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, s.Addr.String(), conf, q)
		}
		v.rt, v.close = tr, func() { tr.Close() }
		return v
	}
	tr := &http.Transport{TLSClientConfig: conf, DisableCompression: true, Protocols: new(http.Protocols), MaxIdleConnsPerHost: fillers, MaxConnsPerHost: fillers}
	tr.Protocols.SetHTTP1(v.major == 1)
	tr.Protocols.SetHTTP2(v.major == 2)
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Addr.String())
	}
	v.rt, v.close = tr, tr.CloseIdleConnections
	return v
}

// get gets an object, and finds whatever is wrong with the answer.
func (v *visitor) get(ctx context.Context, size upstream.Size, n int, store bool, query string) (resumed bool, err error) {
	path := size.Path(n, store)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+peers.WebAuthority+path+query, nil)
	if err != nil {
		return false, err
	}
	answer, err := v.rt.RoundTrip(r)
	if err != nil {
		return false, fmt.Errorf("get %s: %w", path, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, int64(size.Bytes)+1))
	switch {
	case err != nil:
		return false, fmt.Errorf("get %s: %w", path, err)
	case answer.StatusCode != http.StatusOK:
		return false, fmt.Errorf("get %s: %s: %.60q", path, answer.Status, body)
	case answer.ProtoMajor != v.major:
		return false, fmt.Errorf("get %s: it was answered over %s", path, answer.Proto)
	case answer.TLS == nil || answer.TLS.Version != tls.VersionTLS13:
		return false, fmt.Errorf("get %s: it was not over TLS 1.3", path)
	case answer.TLS.CipherSuite != tls.TLS_AES_128_GCM_SHA256:
		return false, fmt.Errorf("get %s: it was over %s", path, tls.CipherSuiteName(answer.TLS.CipherSuite))
	case !bytes.Equal(body, v.objects.Body(size, n)):
		return false, fmt.Errorf("get %s: %d bytes that are not the %d of the object", path, len(body), size.Bytes)
	}
	return answer.TLS.DidResume, nil
}

func (c *Contest) count(ctx context.Context) (int64, error) {
	return upstream.Count(ctx, c.http, c.Upstream.Addr.String())
}

// fillers is how many requests fill a cache at once, passes how often that is tried, and sample about how many objects are looked
// for afterwards: each load is held to its hits as well.
const (
	fillers = 8
	passes  = 4
	sample  = 1000
)

// fill has a server store all objects of a size: it asks for them until the server asks its upstream for none of a sample.
func (c *Contest) fill(ctx context.Context, s *peers.WebServer, size upstream.Size) error {
	v := c.visitor(s, "h1", c.Clients.tlsConfig())
	defer v.close()
	keys := c.Clients.keys(size)
	for range passes {
		if err := v.every(ctx, size, keys, 1); err != nil {
			return err
		}
		before, err := c.count(ctx)
		if err != nil {
			return err
		}
		if err := v.every(ctx, size, keys, max(keys/sample, 1)); err != nil {
			return err
		}
		if after, err := c.count(ctx); err != nil || after == before {
			return err
		}
	}
	return fmt.Errorf("it does not keep %d of them: the %dth time it still asked its upstream for some", keys, passes)
}

// every gets one of so many objects, of the first keys.
func (v *visitor) every(ctx context.Context, size upstream.Size, keys, one int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var fill sync.WaitGroup
	for range fillers {
		fill.Go(func() {
			for n := range next {
				if _, err := v.get(ctx, size, n, true, ""); err != nil {
					cancel(err)
				}
			}
		})
	}
	for n := 0; n < keys; n += one {
		select {
		case next <- n:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	fill.Wait()
	return context.Cause(ctx)
}

// checks is how many requests find out whether a server is ready for a case.
const checks = 20

// check makes some requests as the case has them, and finds out whether answers are what they should be, and whether the upstream
// was asked as often as it should be.
func (c *Contest) check(ctx context.Context, s *peers.WebServer, one Case) error {
	before, err := c.count(ctx)
	if err != nil {
		return err
	}
	conf := c.Clients.tlsConfig()
	if one.Kind == Resumed {
		conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	v := c.visitor(s, one.Protocol, conf)
	defer func() { v.close() }()
	c.nonce++
	resumed := 0
	for i := range checks {
		query := ""
		if one.Kind == Miss {
			query = "?u=c" + strconv.Itoa(c.nonce) + "-" + strconv.Itoa(i)
		}
		if (one.Kind == Full || one.Kind == Resumed) && i > 0 {
			v.close()
			v = c.visitor(s, one.Protocol, conf)
		}
		again, err := v.get(ctx, one.Size, i%c.Clients.keys(one.Size), one.Kind != PassedOn, query)
		if err != nil {
			return err
		}
		if again {
			resumed++
		}
	}
	after, err := c.count(ctx)
	if err != nil {
		return err
	}
	asked := after - before
	switch {
	case one.stored() && asked != 0:
		return fmt.Errorf("of %d hits it asked its upstream for %d", checks, asked)
	case !one.stored() && asked != checks:
		return fmt.Errorf("for %d requests it asked its upstream %d times", checks, asked)
	case one.Kind == Full && resumed > 0:
		return fmt.Errorf("%d of %d handshakes were not full", resumed, checks)
	case one.Kind == Resumed && resumed != checks-1: // the first has no ticket yet
		return fmt.Errorf("%d of %d handshakes were full: it gives no tickets, or does not take them", checks-resumed, checks)
	}
	return nil
}

// judge finds out whether a load was what its case says. A thousandth of hits may be none, and what was on its way at the end of a load, or
// at that of the one before, is more than was answered.
func judge(one Case, run load.WebRun, asked int64) error {
	onTheWay := int64(2 * one.Connections * one.Streams)
	switch {
	case run.Failed > 0:
		return fmt.Errorf("%d requests failed, and %d were answered", run.Failed, run.Answered)
	case run.Answered == 0:
		return errors.New("nothing was answered")
	case run.Bytes < run.Answered*int64(one.Size.Bytes):
		return fmt.Errorf("%d answers had %d bytes: some were not whole", run.Answered, run.Bytes)
	case one.stored() && asked*1000 > run.Answered:
		return fmt.Errorf("of %d hits it asked its upstream for %d", run.Answered, asked)
	case !one.stored() && (asked < run.Answered || asked > run.Answered+onTheWay):
		return fmt.Errorf("for %d requests it asked its upstream %d times", run.Answered, asked)
	}
	return nil
}
