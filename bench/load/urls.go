package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
)

// ParseURL reads a URL that a load can ask for.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("%q is no URL: %w", text, err)
	}
	if (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%q cannot be asked for; write https://HOST[:PORT]/PATH", text)
	}
	if _, err := port(u); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// sameSite tells why two URLs cannot be of one load.
func sameSite(u, first *url.URL) error {
	if u.Scheme != first.Scheme || u.Host != first.Host {
		return fmt.Errorf("%s is of another scheme, host or port than the first, %s://%s: load one after another", u, first.Scheme, first.Host)
	}
	return nil
}

// Limits of a list of URLs: a million of 8 KiB would be more than a client should hold.
const (
	maxURLs = 1_000_000
	maxLine = 8 << 10
	maxList = 64 << 20
)

// ReadURLs reads a list of URLs of one site, one a line. Lines that are empty or begin with # say nothing. Errors name the line as
// NAME:LINE.
func ReadURLs(r io.Reader, name string) (all []*url.URL, err error) {
	limited := &io.LimitedReader{R: r, N: maxList}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		u, err := ParseURL(string(text))
		if err == nil && len(all) > 0 {
			err = sameSite(u, all[0])
		}
		if err == nil && len(all) == maxURLs {
			err = fmt.Errorf("more than %d URLs", maxURLs)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		all = append(all, u)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%s:%d: a line of more than %d bytes", name, n+1, maxLine)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case limited.N == 0:
		return nil, fmt.Errorf("%s:%d: a list of more than %d MiB", name, n, maxList>>20)
	case len(all) == 0:
		return nil, fmt.Errorf("%s: no URL in it; write one a line", name)
	}
	return all, nil
}
