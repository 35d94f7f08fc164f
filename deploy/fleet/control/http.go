package control

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"hither/deploy"
	"hither/deploy/fleet/bus"
	"hither/deploy/ops"
)

// This file is how programs purge: over HTTP at the hub role, with a token.
//
//	POST /purge      {"kind": "url", "value": "www.example.org/a"}, or a list of them
//	GET /purge/1842  what became of one
//	PURGE /a         with Host: www.example.org, as content management systems tell a cache in front of them
//
// A token comes as `Authorization: Bearer TOKEN`, or as the password of `Authorization: Basic`, which is all that some can send.

// Limits of the listener.
const (
	mostBody        = 1 << 20
	mostHeader      = 32 << 10
	mostConnections = 512
)

// Serve answers HTTP on a listener until ctx ends, over TLS where config is not nil. It closes the listener.
func (c *Control) Serve(ctx context.Context, l net.Listener, config *tls.Config) error {
	s := &http.Server{
		Handler: c.Handler(), TLSConfig: config, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: mostWait + time.Minute,
		IdleTimeout: time.Minute, MaxHeaderBytes: mostHeader, ErrorLog: slog.NewLogLogger(quiet{c}, slog.LevelWarn),
	}
	l = netutil.LimitListener(newFairListener(l, &c.faint), mostConnections)
	ended := make(chan error, 1)
	go func() {
		if config != nil {
			ended <- s.ServeTLS(l, "", "")
		} else {
			ended <- s.Serve(l)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("control: purges over HTTP: %w", err)
	case <-ctx.Done():
	}
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.Shutdown(soon) != nil {
		s.Close()
	}
	<-ended
	return nil
}

// apiAgain is how often the listener is compared with the network file.
const apiAgain = 2 * time.Second

// api has programs answered where the network file in use says, until ctx ends.
func (c *Control) api(ctx context.Context) {
	tick := time.NewTicker(apiAgain)
	defer tick.Stop()
	var now deploy.HubAPI
	var ended <-chan struct{} // of the listener; nil = there is none
	end := func() {}
	defer func() { end() }()
	for ; ctx.Err() == nil; waitTick(ctx, tick) {
		want := c.o.Network().Hub.API
		over := false
		select {
		case <-ended:
			over = true
		default:
		}
		if want == now && !over {
			continue
		}
		end()
		end, ended, now = func() {}, nil, deploy.HubAPI{}
		if !want.Address.IsValid() {
			continue
		}
		stop, done, err := c.open(ctx, want)
		if err != nil {
			c.faint.Warn("purges over HTTP cannot be taken; it is tried again", "address", want.Address, "error", err)
			continue
		}
		c.o.Log.Info("purges over HTTP are taken", "address", want.Address, "tls", want.Cert != "")
		end, ended, now = stop, done, want
	}
}

// waitTick waits for a tick, or for ctx to end.
func waitTick(ctx context.Context, tick *time.Ticker) {
	select {
	case <-ctx.Done():
	case <-tick.C:
	}
}

// open listens; stop ends that and returns when it has ended. It may end by itself: done is closed when it has.
func (c *Control) open(ctx context.Context, a deploy.HubAPI) (stop func(), done <-chan struct{}, err error) {
	var config *tls.Config
	if a.Cert != "" {
		pair, err := newRenewable(a.Cert, a.Key, &c.faint)
		if err != nil {
			return nil, nil, err
		}
		config = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get} // of programs, not all of which know 1.3
	}
	l, err := net.Listen("tcp", a.Address.String())
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Serve(ctx, l, config); err != nil {
			c.faint.Warn("purges over HTTP are not taken any more; the listener is opened again", "address", a.Address, "error", err)
		}
	}()
	return func() { cancel(); <-ended }, ended, nil
}

// quiet logs what net/http says of its peers once a minute.
type quiet struct{ c *Control }

func (q quiet) Enabled(context.Context, slog.Level) bool { return true }
func (q quiet) WithAttrs([]slog.Attr) slog.Handler       { return q }
func (q quiet) WithGroup(string) slog.Handler            { return q }
func (q quiet) Handle(_ context.Context, r slog.Record) error {
	q.c.faint.Warn("purges over HTTP", "says", r.Message)
	return nil
}

// Handler answers programs. It may be used as soon as there is a control, and as long.
func (c *Control) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.stats.requests.Add(1)
		who, token, err := c.admit(r) // before anything that was sent is looked at
		name, doc := "", any(nil)
		if err == nil {
			name, doc, err = c.serve(r, who, token)
		} else {
			w.Header().Set("Connection", "close") // they are few, and for those who have a token
		}
		status := http.StatusOK
		if err != nil {
			status = http.StatusInternalServerError
			if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
				status = refusal.Status
			}
			if later := (*laterError)(nil); errors.As(err, &later) {
				w.Header().Set("Retry-After", strconv.Itoa(int(later.after/time.Second)+1))
			} else if status == http.StatusServiceUnavailable {
				w.Header().Set("Retry-After", "5")
			}
			switch status {
			case http.StatusUnauthorized:
				w.Header().Set("WWW-Authenticate", `Bearer realm="hither"`)
			case http.StatusMethodNotAllowed:
				w.Header().Set("Allow", "POST, GET, PURGE")
			}
			name, doc = "error", map[string]string{"error": err.Error()}
		}
		body, err := ops.MarshalDocument(name, doc)
		if err != nil {
			status, body = http.StatusInternalServerError, nil
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		w.Write(body)
	})
}

// A laterError is a refusal that says when to come again.
type laterError struct {
	error
	after time.Duration
}

func (e *laterError) Unwrap() error { return e.error }

// serve answers a request of somebody with a token.
func (c *Control) serve(r *http.Request, who string, token bus.Token) (name string, doc any, err error) {
	id, isID := strings.CutPrefix(r.URL.Path, "/purge/")
	switch {
	case r.Method == "PURGE":
		orders, err := ordersOf(r)
		if err != nil {
			return "", nil, err
		}
		return c.order(r, who, token, orders, len(orders) > 1, preferred(r))
	case r.Method == http.MethodPost && r.URL.Path == "/purge":
		orders, several, wait, err := readOrders(r)
		if err != nil {
			return "", nil, err
		}
		return c.order(r, who, token, orders, several, max(wait, preferred(r)))
	case r.Method == http.MethodGet && isID:
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return "", nil, refuse(http.StatusNotFound, "control: %.40q is no number of a purge", id)
		}
		p, err := c.receipts.status(n)
		if err == nil && permits(token, c.o.Network(), bus.Order{Kind: p.Kind, Value: p.Value}) != nil {
			err = refuse(http.StatusNotFound, "control: there is no purge %d within the token's scope", n)
		}
		return "purge", p, err
	case r.URL.Path == "/purge" || isID:
		return "", nil, refuse(http.StatusMethodNotAllowed, "control: POST /purge, GET /purge/ID, or the method PURGE")
	}
	return "", nil, refuse(http.StatusNotFound, "control: there is POST /purge, GET /purge/ID, and the method PURGE for any path")
}

// admit says whose a request is.
func (c *Control) admit(r *http.Request) (who string, token bus.Token, err error) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "", token, refuse(http.StatusForbidden, "control: a peer without an address")
	}
	if left := c.guesses.barred(at.Addr()); left > 0 {
		c.stats.throttled.Add(1)
		return "", token, &laterError{refuse(http.StatusTooManyRequests, "control: too many wrong tokens from this address"), left}
	}
	if !c.tokens.ready() { // a good one is no guess
		return "", token, refuse(http.StatusServiceUnavailable, "control: the hub has not said yet which tokens there are")
	}
	text := ""
	if rest, ok := cutScheme(r.Header.Get("Authorization"), "Bearer"); ok {
		text = rest
	} else if _, password, ok := r.BasicAuth(); ok {
		text = password
	}
	if len(text) <= 256 {
		var ok bool
		if who, token, ok = c.tokens.of(text); ok {
			return who, token, nil
		}
	}
	c.stats.denied.Add(1)
	c.guesses.wrong(at.Addr())
	c.faint.Warn("a purge over HTTP without a token that holds", "from", at.Addr())
	return "", token, refuse(http.StatusUnauthorized, "control: no token, or none that holds; `hither fleet token add` makes one")
}

// cutScheme returns the credentials of an authentication scheme, whose case does not count (RFC 9110 section 11.1).
func cutScheme(field, scheme string) (string, bool) {
	name, rest, ok := strings.Cut(field, " ")
	return strings.TrimSpace(rest), ok && strings.EqualFold(name, scheme)
}

// order puts a program's orders into the journal, if its token is enough for each.
func (c *Control) order(r *http.Request, who string, token bus.Token, orders []bus.Order, several bool, wait time.Duration) (string, any, error) {
	for _, o := range orders {
		err := checkOrder(c.o.Network(), o)
		if err == nil || token.Sites != nil {
			// What sites there are is told to those alone that may purge all.
			if denied := permits(token, c.o.Network(), o); denied != nil {
				err = denied
			}
		}
		if err != nil {
			return "", nil, err
		}
	}
	all, err := c.purgeAll(r.Context(), orders, min(wait, mostWait))
	switch {
	case err != nil:
		return "", nil, err
	case several:
		return "purges", all, nil
	}
	return "purge", all.Purges[0], nil
}

// readOrders reads the content of POST /purge: a PurgeCall, or a list of orders.
func readOrders(r *http.Request) (orders []bus.Order, several bool, wait time.Duration, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, mostBody))
	if err != nil {
		return nil, false, 0, refuse(http.StatusRequestEntityTooLarge, "control: the content could not be read: %w; at most %d bytes and %d purges are taken", err, mostBody, bus.MostOrders)
	}
	if body = bytes.TrimSpace(body); len(body) > 0 && body[0] == '[' {
		if err = strictly(body, &orders); err == nil {
			return orders, true, 0, nil
		}
	} else {
		var call PurgeCall
		if err = strictly(body, &call); err == nil {
			orders, several, err := call.orders()
			return orders, several, call.wait(), err
		}
	}
	return nil, false, 0, refuse(http.StatusBadRequest, `control: the content is no purge: %w; write {"kind": "url", "value": "www.example.org/a"}, or a list of them`, err)
}

// strictly reads one JSON value and nothing behind it; members that are not known are errors, for they would do nothing.
func strictly(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// preferred is how long a request would wait: `Prefer: wait=10` (RFC 7240 section 4.3), in seconds.
func preferred(r *http.Request) time.Duration {
	for _, line := range r.Header.Values("Prefer") {
		for _, one := range strings.Split(line, ",") {
			name, value, _ := strings.Cut(one, "=")
			if n, err := strconv.Atoi(strings.Trim(value, ` "`)); err == nil && n > 0 && strings.EqualFold(strings.TrimSpace(name), "wait") {
				return time.Duration(min(n, int(mostWait/time.Second))) * time.Second
			}
		}
	}
	return 0
}

// ordersOf makes orders of a request with the method PURGE. It names a URL by Host and target, unless it has a field with tags:
// Surrogate-Key, xkey and xkey-purge (blanks between them), Cache-Tag and Cache-Tags (commas). Fastly-Soft-Purge: 1 and xkey-softpurge make it soft.
// X-Purge-Method: regex, by which plugins for WordPress mean a whole site or folder, is taken where its expression is a prefix and `.*`.
func ordersOf(r *http.Request) ([]bus.Order, error) {
	soft := r.Header.Get("Fastly-Soft-Purge") == "1"
	var out []bus.Order
	add := func(name string, softly bool, between func(rune) bool) {
		for _, line := range r.Header.Values(name) {
			for _, tag := range strings.FieldsFunc(line, between) {
				if tag = strings.Trim(tag, " \t"); tag != "" {
					out = append(out, bus.Order{Kind: "tag", Value: tag, Soft: softly})
				}
			}
		}
	}
	blank := func(c rune) bool { return c == ' ' || c == '\t' }
	comma := func(c rune) bool { return c == ',' }
	for _, name := range []string{"Surrogate-Key", "Xkey", "Xkey-Purge"} {
		add(name, soft, blank)
	}
	add("Xkey-Softpurge", true, blank)
	add("Cache-Tag", soft, comma)
	add("Cache-Tags", soft, comma)
	if len(out) > bus.MostOrders {
		return nil, refuse(http.StatusBadRequest, "control: %d tags at once; at most %d are taken", len(out), bus.MostOrders)
	}
	if len(out) > 0 {
		return out, nil
	}
	target := r.RequestURI
	if i := strings.Index(target, "://"); i >= 0 && !strings.HasPrefix(target, "/") { // the absolute form (RFC 9112 section 3.2.2); net/http has its host in r.Host
		target = target[i+3:]
		if i = strings.IndexAny(target, "/?"); i < 0 {
			target = "/"
		} else {
			target = target[i:]
		}
	}
	switch {
	case r.Host == "":
		return nil, refuse(http.StatusBadRequest, "control: a PURGE without Host")
	case strings.EqualFold(r.Header.Get("X-Purge-Method"), "regex"):
		prefix, ok := strings.CutSuffix(target, ".*")
		if !ok || strings.ContainsAny(prefix, `*+?()[]{}|^$\`) {
			return nil, refuse(http.StatusBadRequest, "control: a PURGE by a regular expression; only what begins alike is purged so: a path and `.*`")
		}
		return []bus.Order{{Kind: "prefix", Value: r.Host + prefix, Soft: soft}}, nil
	}
	return []bus.Order{{Kind: "url", Value: r.Host + target, Soft: soft}}, nil
}
