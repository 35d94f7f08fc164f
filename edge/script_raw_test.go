package edge_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// dial opens a connection of its own: "tls" to the HTTPS port, "tcp" without TLS to the
// same port, "http" to the plain one.
func (r *run) dial(kind, alpn, name string) (net.Conn, error) {
	addr := r.edge.https
	if kind == "http" {
		addr = r.edge.http
	}
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	if kind != "tls" {
		return c, nil
	}
	t := tls.Client(c, &tls.Config{RootCAs: r.auth.pool, ServerName: name, NextProtos: []string{alpn}})
	if err := t.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

// raw sends the bytes of its block as they are: "raw tls", "raw tcp", "raw http" or "raw
// udp". What follows the arrow are the statuses of all answers in order, then "close"
// where the edge must end the connection; body= and fields are those of the last answer.
func (r *run) raw(s *step) error {
	r.ids, r.from = nil, len(r.journal.since(0))
	if s.arg(1) == "udp" {
		return r.rawUDP(s)
	}
	name, ok := option(s.words, "sni")
	if !ok {
		name = defaultHost
	}
	c, err := r.dial(s.arg(1), "http/1.1", name)
	if err != nil {
		return err
	}
	defer c.Close()
	sent := bytes.ReplaceAll(bytes.Join(s.block, nil), []byte("$port"), []byte(strconv.Itoa(int(r.edge.https.Port()))))
	c.Write(sent) // an edge that closes early may make it fail; its answer counts
	var errs []error
	a, br := &answer{}, bufio.NewReader(c)
	for _, w := range s.want {
		if w.isField() || optionName.MatchString(w.text) {
			continue
		}
		if w.text == "*" { // whatever comes, if anything
			c.(interface{ CloseWrite() error }).CloseWrite()
			io.Copy(io.Discard, io.LimitReader(br, 1<<20))
			continue
		}
		if w.text == "close" {
			rest, err := io.ReadAll(io.LimitReader(br, 1<<10))
			var timeout net.Error
			if len(rest) > 0 || errors.As(err, &timeout) && timeout.Timeout() {
				errs = append(errs, mismatch("end of the connection", fmt.Sprintf("%q, %v", rest, err), "close"))
			}
			continue
		}
		a, err = readAnswer(br)
		if err != nil || !slices.Contains(strings.Split(w.text, "|"), strconv.Itoa(a.status)) {
			errs = append(errs, mismatch("answer", fmt.Sprintf("%d, %v\n%s", a.status, err, a), w.text))
			break
		}
	}
	errs = append(errs, a.checkContent(s.want)...)
	return errors.Join(append(errs, checkFields(a.header, fields(s.want), r.vars)...)...)
}

// readAnswer reads one HTTP/1.1 response.
func readAnswer(br *bufio.Reader) (*answer, error) {
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return &answer{err: err}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &answer{status: resp.StatusCode, header: resp.Header, body: body}, err
}

// rawUDP sends each line of the block as one datagram. "-> version-negotiation" waits for
// that packet (RFC 9000 section 17.2.1); without an arrow no answer is waited for.
func (r *run) rawUDP(s *step) error {
	c, err := net.Dial("udp", r.edge.https.String())
	if err != nil {
		return err
	}
	defer c.Close()
	for _, datagram := range s.block {
		c.Write(bytes.TrimSuffix(datagram, []byte("\r\n")))
	}
	if !has(s.want, "version-negotiation") {
		return nil
	}
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if n < 7 || buf[0]&0x80 == 0 || !bytes.Equal(buf[1:5], []byte{0, 0, 0, 0}) {
		return mismatch("datagram", fmt.Sprintf("%x", buf[:n]), "a version negotiation packet")
	}
	return nil
}

// handshake makes a connection over the script's transport and sends nothing: "handshake
// sni=unknown.test -> refused='unrecognized name'"; "-> ok". sni=- sends none; alpn= and
// max= choose what else is offered.
func (r *run) handshake(s *step) error {
	r.ids, r.from = nil, len(r.journal.since(0))
	conf := &tls.Config{RootCAs: r.auth.pool, ServerName: defaultHost, NextProtos: r.client.tls("").NextProtos}
	if name, ok := option(s.words, "sni"); ok {
		conf.ServerName = name
		if name == "-" {
			conf.ServerName, conf.InsecureSkipVerify = "", true
		}
	}
	if alpn, ok := option(s.words, "alpn"); ok {
		conf.NextProtos = []string{alpn}
	}
	if has(s.words, "max=1.2") {
		conf.MaxVersion, conf.MinVersion = tls.VersionTLS12, tls.VersionTLS12
	}
	err := r.shake(conf)
	if want, ok := option(s.want, "refused"); ok {
		if err == nil || !strings.Contains(err.Error(), want) {
			return mismatch("handshake", fmt.Sprint(err), s.text)
		}
		return nil
	}
	return err
}

func (r *run) shake(conf *tls.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if r.proto == "h3" {
		conn, err := r.client.dialQUIC(ctx, "", conf, &quic.Config{})
		if err != nil {
			return err
		}
		defer conn.CloseWithError(0, "")
		select {
		case <-conn.HandshakeComplete():
		case <-conn.Context().Done():
			return context.Cause(conn.Context())
		}
		return nil
	}
	c, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", r.edge.https.String())
	if err != nil {
		return err
	}
	defer c.Close()
	// With TLS 1.3 a refusal of the edge's comes after the client's Finished.
	c.Close()
	return nil
}

// fields sends one request with exactly these fields over HTTP/2 or 3, whatever they are:
// "fields ':method: GET' ... body=x -> 200". Instead of a status the arrow may say
// "malformed": 400, or the stream or connection error that the protocol has for it (RFC
// 9113 section 8.1.1, RFC 9114 section 4.1.2); "refused", anything but a success; or
// "reset=CODE" for one code.
func (r *run) fields(s *step) error {
	r.ids, r.from = nil, len(r.journal.since(0))
	body, hasBody := option(s.words, "body")
	words := r.replaced(s.words)
	for i := range words {
		words[i].value = string(rawBytes(words[i].value, ""))
	}
	if many, ok := option(s.words, "many"); ok {
		n, err := strconv.Atoi(many)
		if err != nil {
			return err
		}
		for i := range n {
			words = append(words, token{name: "x-many-" + strconv.Itoa(i), value: "x"})
		}
	}
	var got string
	var err error
	switch r.proto {
	case "h2":
		got, err = r.fieldsH2(fields(words), body, hasBody)
	case "h3":
		got, err = r.fieldsH3(words, body, hasBody)
	default:
		err = errors.New("HTTP/1.1 has no field sections: say not h1")
	}
	if err != nil {
		return err
	}
	want := ""
	if len(s.want) > 0 {
		want = s.want[0].text
	}
	ok := got == want
	switch want {
	case "malformed":
		ok = got == "400" || got == "reset=1" || got == "reset=270" // PROTOCOL_ERROR, H3_MESSAGE_ERROR
	case "refused":
		ok = got != "" && got[0] != '2' && got[0] != '3'
	}
	if !ok {
		return mismatch("answer", got, want)
	}
	return nil
}

func (r *run) fieldsH2(block []token, body string, hasBody bool) (string, error) {
	c, err := r.dial("tls", "h2", defaultHost)
	if err != nil {
		return "", err
	}
	defer c.Close()
	io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	fr.WriteSettings()
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	for _, f := range block {
		enc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
	}
	const most = 16 << 10
	first, rest := buf.Bytes(), []byte(nil)
	if len(first) > most {
		first, rest = first[:most], first[most:]
	}
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndHeaders: len(rest) == 0, EndStream: !hasBody})
	for len(rest) > 0 {
		n := min(most, len(rest))
		fr.WriteContinuation(1, n == len(rest), rest[:n])
		rest = rest[n:]
	}
	if hasBody {
		fr.WriteData(1, true, []byte(body))
	}
	dec := hpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := dec.DecodeFull(f.HeaderBlockFragment())
			if err != nil || len(fields) == 0 {
				return "", fmt.Errorf("answer's fields: %w", err)
			}
			return fields[0].Value, nil
		case *http2.RSTStreamFrame:
			return "reset=" + strconv.Itoa(int(f.ErrCode)), nil
		case *http2.GoAwayFrame:
			return "reset=" + strconv.Itoa(int(f.ErrCode)), nil
		}
		if err != nil {
			return "closed", nil
		}
	}
}

func (r *run) fieldsH3(words []token, body string, hasBody bool) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if has(words, "early") {
		rl, err := r.client.early(ctx)
		if err != nil {
			return "", err
		}
		defer rl.release()
	}
	conn, err := r.client.dialQUIC(ctx, "", r.client.tls(defaultHost), &quic.Config{})
	if err != nil {
		return "", err
	}
	defer conn.CloseWithError(0, "")
	if !has(words, "early") {
		<-conn.HandshakeComplete()
	}
	control, err := conn.OpenUniStream()
	if err != nil {
		return "", err
	}
	control.Write([]byte{0x00, 0x04, 0x00}) // the control stream, with empty SETTINGS (RFC 9114 section 6.2.1)
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	enc := qpack.NewEncoder(&buf)
	for _, f := range fields(words) {
		enc.WriteField(qpack.HeaderField{Name: f.name, Value: f.value})
	}
	stream.Write(h3Frame(0x01, buf.Bytes()))
	if hasBody {
		stream.Write(h3Frame(0x00, []byte(body)))
	}
	stream.Close()
	stream.SetReadDeadline(time.Now().Add(patience))
	br := quicvarint.NewReader(stream)
	for {
		kind, err := quicvarint.Read(br)
		if err != nil {
			return h3Error(err)
		}
		size, err := quicvarint.Read(br)
		if err != nil {
			return h3Error(err)
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(br, payload); err != nil {
			return h3Error(err)
		}
		if kind == 0x01 {
			f, err := qpack.NewDecoder().Decode(payload)()
			return f.Value, err
		}
	}
}

func h3Frame(kind uint64, payload []byte) []byte {
	b := quicvarint.Append(nil, kind)
	b = quicvarint.Append(b, uint64(len(payload)))
	return append(b, payload...)
}

// h3Error names how a stream ended without an answer.
func h3Error(err error) (string, error) {
	var reset *quic.StreamError
	var closed *quic.ApplicationError
	switch {
	case errors.As(err, &reset):
		return "reset=" + strconv.Itoa(int(reset.ErrorCode)), nil
	case errors.As(err, &closed):
		return "reset=" + strconv.Itoa(int(closed.ErrorCode)), nil
	case errors.Is(err, io.EOF):
		return "closed", nil
	}
	return "", err
}
