package edge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// fields sends one request with exactly these fields over HTTP/2 or 3, whatever they are:
// "fields ':method: GET' ... body=x -> 200". Instead of a status the arrow may say
// "malformed": 400, or the stream or connection error that the protocol has for it (RFC
// 9113 section 8.1.1, RFC 9114 section 4.1.2); "refused", anything but a success; or
// "reset=CODE" for one code.
func (r *run) fields(s *step) error {
	r.apart()
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
		for range flights {
			got, err = r.fieldsH3(words, body, hasBody)
			if err == nil || !has(words, "early") || len(r.journal.since(r.from)) > 0 {
				break
			}
		}
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
		rl, err := r.client.early(ctx, func() bool { return len(r.journal.since(r.from)) > 0 })
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
	if has(words, "early") {
		stream.SetReadDeadline(time.Now().Add(flight))
	}
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
