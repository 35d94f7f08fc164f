package bus

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Errors of [Conn.Refusal]: the hub is there, and one of the two does not take the other.
var (
	// ErrRefused is that the hub does not take this identity, which was revoked, has ended, or is of an authority that the hub does not believe.
	ErrRefused = errors.New("the hub refuses this identity")

	// ErrStranger is that who answers is not taken for the hub, for its certificate is of an authority that this identity does not
	// believe, or revoked.
	ErrStranger = errors.New("who answers in the hub's place is not known to this identity")
)

// Refusal is nil, or an error that wraps [ErrRefused] or [ErrStranger] where that is why the last try did not reach the hub. The connection
// goes on trying all the same.
func (c *Conn) Refusal() error {
	c.mu.Lock()
	nc, err := c.nc, c.tried
	c.mu.Unlock()
	if nc != nil { // it comes back by itself, and tells nobody else why it does not
		if nc.IsConnected() {
			return nil
		}
		err = nc.LastError()
	}
	var stranger *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stranger):
		return fmt.Errorf("%w: %w", ErrStranger, stranger.Err)
	// The library has no type for what the other side says; each word about a certificate has one of the two in it.
	case strings.Contains(err.Error(), "remote error: tls: ") && (strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "authority")),
		errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}
