package hub_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/hub"
)

// entries writes entries to the journal, and returns its id and how long it is then.
func (w *world) entries(n int) (id string, last uint64) {
	w.t.Helper()
	id, _, err := hub.Journal(w.ctx(), w.control)
	if err != nil {
		w.t.Fatal(err)
	}
	for range n {
		if last, err = w.control.Append(w.ctx(), bus.SubjectJournal, []byte("an entry"), bus.Expectation{}); err != nil {
			w.t.Fatal(err)
		}
	}
	return id, last
}

// TestJournalName has the hub's folder come to harm while it is down. The journal keeps its name where it has all that it had, and
// has another otherwise; the hub starts each time and takes entries.
func TestJournalName(t *testing.T) {
	blocks := func(folder string) []string {
		found, _ := filepath.Glob(filepath.Join(folder, "jetstream", "*", "streams", bus.StreamJournal, "msgs", "*.blk"))
		if len(found) == 0 {
			t.Fatal("no file of the journal is found")
		}
		return found
	}
	index := func(folder string) {
		found, _ := filepath.Glob(filepath.Join(folder, "jetstream", "*", "streams", bus.StreamJournal, "msgs", "index.db"))
		for _, name := range found {
			os.Remove(name)
		}
	}
	for _, c := range []struct {
		what  string
		harm  func(folder string) error
		keeps bool
	}{
		{"nothing", func(string) error { return nil }, true},
		{"restored from a backup", func(folder string) error { return os.WriteFile(filepath.Join(folder, hub.Restored), nil, 0o600) }, false},
		{"the disk is lost", os.RemoveAll, false},
		{"the journal's folder is lost", func(folder string) error {
			return os.RemoveAll(filepath.Dir(filepath.Dir(blocks(folder)[0])))
		}, false},
		{"a file cut short", func(folder string) error {
			index(folder)
			return os.Truncate(blocks(folder)[0], 100)
		}, false},
		{"the newest file cut short, with the index of all", func(folder string) error {
			all := blocks(folder)
			newest := all[len(all)-1]
			info, err := os.Stat(newest)
			if err != nil {
				return err
			}
			return os.Truncate(newest, info.Size()/2) // JetStream takes the index's word for the end: there is a gap before it, which nodes see
		}, true},
		{"garbage in a file", func(folder string) error {
			index(folder)
			f, err := os.OpenFile(blocks(folder)[0], os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("garbage all over the place, and more of it"), 200)
			return errors.Join(err, f.Close())
		}, false},
		{"garbage for settings", func(folder string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(filepath.Dir(blocks(folder)[0])), "meta.inf"), []byte("{garbage"), 0o600)
		}, false},
		{"garbage for where it ended", func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "journal-end"), []byte("garbage"), 0o600)
		}, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id, last := w.entries(20)
			w.stop()
			if err := c.harm(filepath.Join(w.folder, "hub")); err != nil {
				t.Fatal(err)
			}
			w.start("127.0.0.1:0")
			edge := w.dial("edge", "fra")
			if err := edge.Read(w.ctx(), bus.StreamJournal, last-5, func(*bus.Message) error { return nil }); err != nil {
				t.Errorf("a node that was away reads: %v", err)
			}
			again, now := w.entries(1)
			if kept := again == id; kept != c.keeps {
				t.Errorf("it is called %s, and was %s; its last entry has %d, and had %d", again, id, now-1, last)
			}
			if c.keeps && now != last+1 {
				t.Errorf("its last entry has %d, and had %d", now-1, last)
			}
			var read []uint64
			if err := edge.Read(w.ctx(), bus.StreamJournal, 1, func(m *bus.Message) error {
				read = append(read, m.Sequence)
				return nil
			}); err != nil || len(read) == 0 || read[len(read)-1] != now || !slices.IsSorted(read) {
				t.Errorf("a node reads %v of %d, %v", read, now, err)
			}
			w.stop()
			w.start("127.0.0.1:0") // and once more, with what was made of it
			if id, _ := w.entries(0); id != again {
				t.Errorf("it is called %s, and was %s", id, again)
			}
		})
	}
}

// TestMark has the hub note where its journal ends, within about a second and when it ends.
func TestMark(t *testing.T) {
	w := newWorld(t)
	noted := func() string {
		data, _ := os.ReadFile(filepath.Join(w.folder, "hub", "journal-end"))
		return strings.TrimSpace(string(data))
	}
	w.entries(3)
	until(t, "the end is noted", func() bool { return noted() == "3" })
	w.entries(2)
	w.stop()
	if got := noted(); got != "5" {
		t.Errorf("a hub that ended with 5 entries has noted %q", got)
	}
	left, _ := filepath.Glob(filepath.Join(w.folder, "hub", "*.new"))
	if len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

// TestFullDisk fills the disk under the hub: what is written is an error then, nodes stay connected and read, and when there is room the hub
// goes on by itself.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("none", disk, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("no disk can be made here that is full: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	told := make(chan string, 9)
	w := newWorld(t, hub.Options{Folder: filepath.Join(disk, "hub"), Problem: func(why string) { told <- why }})
	edge := w.dial("edge", "fra")
	id, last := w.entries(3)
	ballast := filepath.Join(disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1<<10))
	}
	f.Close()
	until(t, "an append is refused", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // JetStream says nothing where it cannot write
		defer cancel()
		seq, err := w.control.Append(ctx, bus.SubjectJournal, make([]byte, 64<<10), bus.Expectation{})
		if err == nil {
			last = seq
		}
		return err != nil
	})
	end := func() (end uint64) {
		err := edge.Read(w.ctx(), bus.StreamJournal, 1, func(m *bus.Message) error {
			if end++; m.Sequence != end {
				return fmt.Errorf("entry %d comes as number %d", m.Sequence, end)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return end
	}
	if read := end(); read < last {
		t.Errorf("a read while the disk is full: up to %d of %d", read, last)
	}
	if why := <-told; !strings.HasPrefix(why, "its disk is full: it takes no purges and revisions") || !w.hub.Broken() {
		t.Errorf("while the disk is full its node says %q", why)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	until(t, "an append is taken again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		seq, err := w.control.Append(ctx, bus.SubjectJournal, []byte("x"), bus.Expectation{})
		last = max(last, seq)
		return err == nil
	})
	for why := range told { // it may have found the disk full once more meanwhile
		if why == "" {
			break
		}
	}
	if w.hub.Broken() {
		t.Error("there is room, and it is broken")
	}
	if read := end(); read < last {
		t.Errorf("a read when there is room again: up to %d of %d", read, last)
	}
	if again, _, err := hub.Journal(w.ctx(), w.control); err != nil || again != id || !edge.Connected() {
		t.Errorf("afterwards the journal is called %s and was %s: %v", again, id, err)
	}
}
