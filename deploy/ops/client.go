package ops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// ErrNotRunning is what errors of a [Client] wrap if no process serves the socket.
var ErrNotRunning = errors.New("no node runs here")

// maxAnswer bounds what a client reads of one answer.
const maxAnswer = 64 << 20

// A Client asks the node whose state folder it was made for. It may be used
// concurrently.
type Client struct {
	dir  string
	http *http.Client
}

// Dial returns a client for the node with the state folder dir. It connects with the
// first call.
func Dial(dir string) *Client {
	return &Client{dir: dir, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialSocket(ctx, dir)
		},
		DisableKeepAlives: true, // a command asks once and ends
	}}}
}

// HTTP returns the client's transport for what is no document, such as a profile. The
// host of a URL does not matter: "http://node/debug/pprof/heap".
func (c *Client) HTTP() *http.Client { return c.http }

// Get asks for path, such as "/v1/status", and decodes the document into doc; with a
// *json.RawMessage it stays as it came.
func (c *Client) Get(ctx context.Context, path string, doc any) error {
	return c.call(ctx, http.MethodGet, path, nil, doc)
}

// Post sends in as JSON (nothing if nil) and decodes the answer into doc.
func (c *Client) Post(ctx context.Context, path string, in, doc any) error {
	return c.call(ctx, http.MethodPost, path, in, doc)
}

func (c *Client) call(ctx context.Context, method, path string, in, doc any) error {
	var content io.Reader
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ops: write the content of %s: %w", path, err)
		}
		content = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://node"+path, content)
	if err != nil {
		return fmt.Errorf("ops: ask %s: %w", path, err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("ops: ask %s of the node in %s: %w (nothing serves its %s); start it, or name its state folder",
				path, c.dir, ErrNotRunning, SocketName)
		}
		return fmt.Errorf("ops: ask %s of the node in %s: %w", path, c.dir, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode/100 != 2 {
		err = refused(resp.StatusCode, body)
	}
	if err == nil {
		err = checkSchema(body)
	}
	if err == nil {
		err = json.Unmarshal(body, doc)
	}
	if err != nil {
		return fmt.Errorf("ops: ask %s of the node in %s: %w", path, c.dir, err)
	}
	return nil
}

// refused turns an answer that is not 2xx into an error.
func refused(status int, body []byte) error {
	var f failure
	if json.Unmarshal(body, &f) != nil || f.Error == "" {
		f.Error = http.StatusText(status)
	}
	return &Refusal{Status: status, Cause: errors.New(f.Error)}
}
