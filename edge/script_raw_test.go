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

	"github.com/quic-go/quic-go"
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
	r.apart()
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
	r.apart()
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
