package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"hither/deploy/fleet/bus"
)

// The disk is what the hub knows of its folder.
type disk struct {
	broken atomic.Bool // a stream had an error when it was written, and takes nothing any more until JetStream is started again
	told   string      // what [Options.Problem] was told last; watch's own
	mark   uint64      // the journal's end that was noted; watch's own after Start

	started time.Time     // when JetStream was started again, the last time; watch's own
	pause   time.Duration // from then on until it may be once more; watch's own
}

// How long after JetStream was started again it is once more at the soonest: twice as long each time, while its streams come to harm again. Reads break
// off meanwhile, which is worse for nodes than a hub that takes nothing.
const (
	mendPause     = 2 * time.Second
	mostMendPause = time.Minute
)

// testFile is written in the hub's folder to see whether the disk takes what is written; it is as large as an entry may be.
const testFile = "disk-test"

// markFile holds the sequence of the journal's last entry as it was about a second ago. A journal that is found shorter has
// lost entries which nodes may know.
const markFile = "journal-end"

// enough is how much room a disk has that is not full.
const enough = 16 << 20

// streamEnds returns the sequence of the last entry of each stream, as it lies in this hub.
func (h *Hub) streamEnds() map[string]uint64 {
	ends := make(map[string]uint64)
	all, err := h.nats.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return ends
	}
	for _, account := range all.AccountDetails {
		for _, s := range account.Streams {
			ends[s.Name] = s.State.LastSeq
		}
	}
	return ends
}

// journalEnd returns the sequence of the journal's last entry.
func (h *Hub) journalEnd() (last uint64, there bool) {
	last, there = h.streamEnds()[bus.StreamJournal]
	return last, there
}

// readMark reads what mark wrote; 0 where there is nothing that can be read.
func (h *Hub) readMark() uint64 {
	data, err := os.ReadFile(filepath.Join(h.o.Folder, markFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	mark, bad := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err = errors.Join(err, bad); err != nil {
		h.o.Log.Warn("where the hub's journal ended is not known", "error", err)
		return 0 // and not the largest, which is what there is of a number that is too large
	}
	return mark
}

// mark notes the journal's end, where it is another than before.
func (h *Hub) mark() {
	if last, there := h.journalEnd(); there && last != h.disk.mark {
		h.disk.mark = last
		h.writeMark(last)
	}
}

func (h *Hub) writeMark(last uint64) {
	path := filepath.Join(h.o.Folder, markFile)
	err := os.WriteFile(path+".new", fmt.Appendln(nil, last), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		h.log.say("mark", "", "the hub cannot note where its journal ends", "error", err)
	}
}

// mend starts JetStream again after a stream could not be written, when the disk takes a file. Connections stay meanwhile.
func (h *Hub) mend() {
	if !h.disk.broken.Load() {
		return
	}
	const nothing = ": it takes no purges and revisions"
	var s unix.Statfs_t
	if err := unix.Statfs(h.o.Folder, &s); err != nil || s.Bavail*uint64(s.Bsize) < enough {
		h.log.say("full", "", "the hub's disk is full"+nothing+" until there is room", "folder", h.o.Folder)
		h.problem("its disk is full" + nothing + " until there is room in " + h.o.Folder)
		return
	}
	since := time.Since(h.disk.started)
	if since < h.disk.pause {
		h.problem("its streams could not be written" + nothing + " until they are started again")
		return
	}
	if err := h.writes(); err != nil {
		h.log.say("write", "", "the hub's disk cannot be written"+nothing+" until it can", "error", err)
		h.problem("its disk cannot be written" + nothing + " until it can: " + err.Error())
		return
	}
	if since > 2*mostMendPause { // it was well for a while
		h.disk.pause = 0
	}
	h.disk.pause = min(max(2*h.disk.pause, mendPause), mostMendPause)
	h.disk.broken.Store(false)
	err := h.again()
	h.disk.started = time.Now()
	if err != nil {
		h.disk.broken.Store(true)
		h.log.say("mend", "", "the hub's streams do not start again", "error", err)
		h.problem("it takes no purges and revisions, for its streams do not start again: " + err.Error())
		return
	}
	h.problem("")
	h.log.say("mended", "", "the hub's streams are started again: it takes purges and revisions again")
}

// writes says whether the disk takes a file: under a quota, or with a fault, one with room takes none.
func (h *Hub) writes() error {
	path := filepath.Join(h.o.Folder, testFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, bus.MostMessage))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(path))
}

// problem says what is wrong, where that is another than before.
func (h *Hub) problem(why string) {
	if why == h.disk.told {
		return
	}
	h.disk.told = why
	if h.o.Problem != nil {
		h.o.Problem(why)
	}
}

// Broken says whether a stream cannot be written, as while the disk is full. Nothing new is taken then; what is there is read.
func (h *Hub) Broken() bool { return h.disk.broken.Load() }

// again ends JetStream and starts it with what lies on the disk.
func (h *Hub) again() error {
	if err := h.nats.DisableJetStream(); err != nil {
		return err
	}
	return h.nats.EnableJetStream(&server.JetStreamConfig{StoreDir: h.o.Folder, SyncAlways: true, MaxStore: mostDisk, MaxMemory: mostMemory, Strict: true})
}
