package cert

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// keptMagic begins a kept chain. Then come the length of an epoch in nanoseconds and the epoch of the newest secret, in 8 bytes each, whether the chain
// is shared (1) or not (0), and the secrets, newest first.
const (
	keptMagic = "hither tickets 1\n"
	keptHead  = 8 + 8 + 1
)

// Keep returns the chain for [Tickets.Restore], and its turn, which is another one whenever the chain has changed. These are secrets, from which
// all tickets can be read that resume now or will be issued on: whoever stores them seals them.
func (t *Tickets) Keep() (chain []byte, turn uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	chain = make([]byte, 0, len(keptMagic)+keptHead+accepted*len(Seed{})) // at once, so that no copy stays behind
	chain = append(chain, keptMagic...)
	chain = binary.BigEndian.AppendUint64(chain, uint64(t.length))
	chain = binary.BigEndian.AppendUint64(chain, uint64(t.epoch.Load()))
	shared := byte(0)
	if t.shared {
		shared = 1
	}
	chain = append(chain, shared)
	for _, s := range t.chain {
		chain = append(chain, s[:]...)
	}
	return chain, t.turn.Load()
}

// Restore goes on with a chain that was kept, in place of the present one: what has been issued under it resumes for its time. Secrets whose time is
// over are not taken. A chain of another form or epoch length, of the future, or of the far past is an error, and then nothing has
// changed. Call it before the first ticket is issued.
func (t *Tickets) Restore(chain []byte) error {
	seeds, ok := bytes.CutPrefix(chain, []byte(keptMagic))
	if n := len(seeds) - keptHead; !ok || n <= 0 || n%len(Seed{}) != 0 || n > accepted*len(Seed{}) || seeds[keptHead-1] > 1 {
		return errors.New("cert: these are no ticket secrets")
	}
	length, epoch := int64(binary.BigEndian.Uint64(seeds)), int64(binary.BigEndian.Uint64(seeds[8:]))
	shared, seeds := seeds[keptHead-1] == 1, seeds[keptHead:]
	if length != int64(t.length) {
		return fmt.Errorf("cert: ticket secrets with epochs of %s, not %s", time.Duration(length), t.length)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance()
	steps := t.epoch.Load() - epoch
	if epoch < 0 || steps > maxSteps {
		return errors.New("cert: ticket secrets of the far past")
	}
	if steps < 0 { // with which one key would be in use until their time comes
		return fmt.Errorf("cert: ticket secrets of a time which is %s ahead: the clock was wrong then, or is now", time.Duration(-steps)*t.length)
	}
	t.chain = make([]Seed, 0, accepted)
	for ; len(seeds) > 0; seeds = seeds[len(Seed{}):] {
		t.chain = append(t.chain, Seed(seeds))
	}
	t.shared = shared
	t.follow(epoch, epoch+steps)
	t.turn.Add(1)
	return nil
}
