package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"hither/edge/cert"
)

// ticketsFile is where in its state folder a node keeps the secrets of its session tickets, sealed to its own key: sessions resume after a restart.
// maxTickets bounds what is read there; a file of ours has some 350 bytes.
const (
	ticketsFile = "tickets.age"
	maxTickets  = 4 << 10
)

// ticketsEvery is how often it is looked whether there are other secrets to be kept. So long an ended one stays on disk. In a crash nothing is lost,
// for later secrets follow from earlier ones, but for the tickets of that time once a day, when there is a fresh one.
const ticketsEvery = time.Minute

// newTickets goes on with the ticket keys of an earlier process, or begins with new ones where there are none which can be used.
func (n *Node) newTickets() *cert.Tickets {
	t := cert.NewTickets(0, n.o.Now)
	chain, err := n.loadTickets()
	if err == nil {
		err = t.Restore(chain)
		clear(chain)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.o.Log.Warn("sessions from before this start do not resume: the secrets of their tickets cannot be used; there are new ones", "error", err)
	}
	return t
}

// loadTickets reads the secrets that an earlier process kept.
func (n *Node) loadTickets() ([]byte, error) {
	f, err := os.Open(filepath.Join(n.o.State, ticketsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	chain, err := unseal(io.LimitReader(f, maxTickets), n.o.Identity.Age)
	if foreign := new(age.NoIdentityMatchError); errors.As(err, &foreign) {
		err = errors.New("it is sealed for another node")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return chain, nil
}

func unseal(r io.Reader, id age.Identity) ([]byte, error) {
	plain, err := age.Decrypt(r, id)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(plain)
}

// saveTickets seals secrets and writes them, so that a crash at any moment leaves the older file or the newer, whole.
func (n *Node) saveTickets(chain []byte) (err error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, n.o.Identity.Age.Recipient())
	if err != nil {
		return err
	}
	if _, err = w.Write(chain); err == nil {
		err = w.Close()
	}
	if err != nil {
		return err
	}
	// Always the same name: what a crash leaves behind is overwritten, and no old secret stays.
	path := filepath.Join(n.o.State, ticketsFile)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(sealed.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(n.o.State)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// keepTickets has ticket keys end at their time although no client comes, and keeps the secrets of those in use, until ctx ends.
func (n *Node) keepTickets(ctx context.Context) {
	tick := time.NewTicker(ticketsEvery)
	defer tick.Stop()
	var kept ticketsKept
	for {
		n.keepTicketsNow(&kept)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ticketsKept says which secrets are on disk. The zero one: none of this process.
type ticketsKept struct {
	any    bool
	turn   uint64
	failed bool // and it was said
}

func (n *Node) keepTicketsNow(kept *ticketsKept) {
	n.names.Roll()
	chain, turn := n.tickets.Keep()
	defer clear(chain)
	if kept.any && turn == kept.turn {
		return
	}
	if err := n.saveTickets(chain); err != nil {
		if !kept.failed {
			n.o.Log.Warn("the secrets of session tickets cannot be kept; sessions do not resume after a restart until they can", "error", err)
		}
		kept.failed = true
		return
	}
	*kept = ticketsKept{any: true, turn: turn}
}
