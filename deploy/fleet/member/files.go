package member

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// Files puts network files into use, those that the fleet sends and those that an operator gives to the node itself, one at a
// time, and keeps them in the node's state folder. The fields are set before the first call and not changed.
type Files struct {
	Revisions *fleet.Revisions // required
	Checks    []deploy.Check   // of the role, beyond what a file itself shows
	Log       *slog.Logger     // required

	// Reload puts a file into use. An error changes nothing. Required before Take and File.
	Reload func(*deploy.Network) error
	// Used is told what is in use now. It must not call back. Optional.
	Used func(n *deploy.Network, number int, hash string)
	// Refused is told why a file was not taken. Optional.
	Refused func(error)
	// Agreed says which revision of the fleet the operator's file was last known to be the same as, by its number and its hash: a file with that
	// hash is the fleet's, and no operator's own. 0 = none is known. Optional.
	Agreed func() (number int, hash string)
	// Unkept is told why what is in use could not be kept, and nil when it is kept after all. Optional.
	Unkept func(error)

	mu      sync.Mutex // guards what follows, over all of a change
	network *deploy.Network
	data    []byte // in use
	number  int    // of the fleet; 0 = none
	mark    fleet.Mark
	refused bool // the last that was offered
	own     bool // and it was an operator's own file
	unkept  bool
	left    map[string]time.Time // hashes of files in whose place an operator's own came, and when; the last mostLeft
}

// mostLeft bounds what is remembered of files that were replaced.
const mostLeft = 64

// Begin notes with what the node starts: the network file n, whose text is data. given says that an operator gave it to the node, and it is not
// from the state folder. It was kept already.
func (f *Files) Begin(n *deploy.Network, data []byte, given bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mark = f.Revisions.Mark()
	number, own := f.numberOf(data), false
	switch {
	case given:
		f.mark.File = bus.HashOf(data)
		if number == 0 {
			number = f.agreed(data)
		}
		own = number == 0
	case number == 0: // where it is not what was in use last, as when that was damaged, it is nobody's will
		own = f.mark.Own && f.mark.File == bus.HashOf(data)
	}
	return f.use(n, data, number, own)
}

// Said says whether an operator's file is what it was when it was read last, or what the fleet had sent earlier, while the fleet has sent a
// revision since: then it says nothing new, and the node starts with what it keeps.
func (f *Files) Said(data []byte) bool {
	m := f.Revisions.Mark()
	number := f.agreed(data)
	return m.Number > 0 && (m.File == bus.HashOf(data) || number > 0 && number < m.Number)
}

// agreed is the fleet's number of an operator's file that is known to be a revision; 0 = it is not.
func (f *Files) agreed(data []byte) int {
	if f.Agreed == nil {
		return 0
	}
	if number, hash := f.Agreed(); number > 0 && hash == bus.HashOf(data) {
		return number
	}
	return 0
}

// numberOf is the fleet's number of a file, as far as is known. f.mu is held.
func (f *Files) numberOf(data []byte) int {
	if bus.HashOf(data) == f.mark.Hash {
		return f.mark.Number
	}
	return 0
}

// use notes what is in use, and whether that is an operator's own file, and keeps the mark. f.mu is held.
func (f *Files) use(n *deploy.Network, data []byte, number int, own bool) error {
	f.network, f.data, f.number, f.mark.Own = n, data, number, own
	hash := bus.HashOf(data)
	if number > 0 {
		f.mark.Number, f.mark.Hash = number, hash
	}
	if f.Used != nil {
		f.Used(n, number, hash)
	}
	return f.Revisions.SetMark(f.mark)
}

// Take puts a revision of the fleet into use; it is what [Options.Take] is. One that is in use already gets its number, and
// nothing else happens.
func (f *Files) Take(number int, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	// What an operator's own file has wrong is told until there is another, whatever number the one in use gets meanwhile.
	if f.network != nil && (!f.refused || f.own) && bus.HashOf(data) == bus.HashOf(f.data) {
		f.kept(f.use(f.network, f.data, number, false))
		return nil
	}
	return f.take(fmt.Sprintf("revision %d", number), data, number, false)
}

// File puts the operator's own file into use, until the fleet says something else. name is what it is called in mistakes. One that is as it was
// when it was read last, or is a revision that the fleet had sent by then, says nothing new: then what is in use is read again, with all that it names.
func (f *Files) File(name string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	number := f.agreed(data)
	if said := f.mark.File == bus.HashOf(data) || number > 0 && number <= f.number; said && f.number > 0 {
		f.mark.File = bus.HashOf(data)
		return f.take(fmt.Sprintf("revision %d", f.number), f.data, f.number, false)
	}
	f.mark.File = bus.HashOf(data)
	before := f.data
	if number == 0 {
		number = f.numberOf(data)
	}
	err := f.take(name, data, number, number == 0)
	f.own = err != nil
	if now := bus.HashOf(data); err == nil && before != nil && bus.HashOf(before) != now {
		if len(f.left) >= mostLeft || f.left == nil {
			f.left = make(map[string]time.Time)
		}
		f.left[bus.HashOf(before)] = time.Now()
		delete(f.left, now)
	}
	return err
}

// Left is [Options.Left].
func (f *Files) Left(hash string) (ago time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.left[hash]
	return time.Since(at), ok
}

// Again puts what is in use into use once more, with all that it names.
func (f *Files) Again() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.network == nil {
		return errors.New("member: no network file is in use yet")
	}
	return f.take("the network file in use", f.data, f.number, f.mark.Own)
}

// take is all of a change. f.mu is held.
func (f *Files) take(name string, data []byte, number int, own bool) error {
	n, err := deploy.Parse(name, data, f.Checks...)
	if err == nil {
		err = f.Reload(n)
	}
	if err != nil {
		f.refuse(data, err)
		return err
	}
	f.refused, f.own = false, false
	err = f.Revisions.Accept(data)
	f.kept(errors.Join(err, f.use(n, data, number, own)))
	return nil
}

// Refuse keeps what could not be taken, and why.
func (f *Files) Refuse(data []byte, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse(data, why)
}

// refuse keeps what was not taken. f.mu is held.
func (f *Files) refuse(data []byte, why error) {
	f.refused = true
	if f.Refused != nil {
		f.Refused(why)
	}
	if err := f.Revisions.Refuse(data, why); err != nil {
		f.Log.Warn("what was refused could not be kept", "error", err)
	}
}

// kept tells whether what is in use lies in the state folder. f.mu is held.
func (f *Files) kept(err error) {
	if before := f.unkept; err != nil && !before {
		f.Log.Error("the new network file is in force but could not be kept; a start without --network would go back to the old one", "error", err)
	}
	f.unkept = err != nil
	if f.Unkept != nil {
		f.Unkept(err)
	}
}

// Keep tries again to keep what could not be kept.
func (f *Files) Keep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unkept {
		f.kept(errors.Join(f.Revisions.Accept(f.data), f.Revisions.SetMark(f.mark)))
	}
}

// Running is [Options.Running].
func (f *Files) Running() (number int, hash string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.data == nil {
		return 0, ""
	}
	return f.number, bus.HashOf(f.data)
}

// Own is [Options.Own].
func (f *Files) Own() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mark.Own
}

// Network is the file in use; nil before Begin.
func (f *Files) Network() *deploy.Network {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.network
}
