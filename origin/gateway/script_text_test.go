package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

func (in *badInstance) serveText(ctx context.Context, c *toldConn) {
	if raw, ok := in.greet("raw"); ok {
		io.WriteString(c, raw)
	}
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		in.answer(ctx, r.URL.Path, &spoken{toldConn: c})
		io.Copy(io.Discard, r.Body) // which may never end
	}
}

// spoken is a tongue of HTTP/1.1 (RFC 9112).
type spoken struct {
	*toldConn
	left  int // of the length that was told; -1 = in chunks
	drips int
}

func (h *spoken) section(fields []string) error {
	status := strings.TrimPrefix(fields[0], ":status: ")
	h.left = -1
	for _, f := range fields[1:] {
		if v, ok := strings.CutPrefix(f, "content-length: "); ok {
			h.left, _ = strconv.Atoi(v)
		}
	}
	if h.left < 0 && status[0] != '1' {
		fields = append(fields, "transfer-encoding: chunked")
	}
	if err := h.begin(fields); err != nil {
		return err
	}
	return h.raw([]byte("\r\n"))
}

func (h *spoken) begin(fields []string) error {
	status := strings.TrimPrefix(fields[0], ":status: ")
	lines := append([]string{"HTTP/1.1 " + status + " X"}, fields[1:]...)
	return h.raw([]byte(strings.Join(lines, "\r\n") + "\r\n"))
}

// more is fields without end, of which each line has 1,024 bytes.
func (h *spoken) more(n int) error {
	line := []byte("x: " + strings.Repeat("y", 1019) + "\r\n")
	var b []byte
	for range n {
		b = append(b, line[h.drips%len(line)])
		h.drips++
	}
	return h.raw(b)
}

func (h *spoken) data(b []byte) error {
	if h.left < 0 {
		return h.raw(fmt.Appendf(nil, "%x\r\n%s\r\n", len(b), b))
	}
	h.left -= len(b)
	return h.raw(b)
}

func (h *spoken) end() error {
	switch {
	case h.left < 0:
		return h.raw([]byte("0\r\n\r\n"))
	case h.left > 0: // which only its end can say
		h.close()
	}
	return nil
}

func (h *spoken) reset() {
	h.toldConn.raw.(*net.TCPConn).SetLinger(0)
	h.close()
}
func (h *spoken) refuse() { h.close() }
func (h *spoken) leave()  { h.close() }
func (h *spoken) close()  { h.toldConn.raw.Close(); h.gone() }
func (h *spoken) raw(b []byte) error {
	_, err := h.Write(b)
	return err
}
