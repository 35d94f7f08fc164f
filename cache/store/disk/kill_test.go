package disk

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/cache"
)

// childFolder makes the test binary a process that works in the folder named until it is killed.
const childFolder = "HITHER_DISK_FOLDER"

// childPaths are few, so that each is replaced and removed again and again.
const childPaths = 40

// child does what a cache does, and writes a line for each thing that is done: "put PATH VERSION", "gone PATH VERSION" (nothing up to that
// version may be found), "tag TAG VERSION soft|hard" (nothing with the tag up to that version).
func child(folder string) {
	s, err := Open(killConfig(folder))
	if err != nil || s.Off() != nil {
		fmt.Println("error", err, s.Off())
		os.Exit(1)
	}
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for version := int(time.Now().UnixMicro()); ; version++ {
		if version%100 == 0 {
			s.Wait() // on a busy machine nothing would ever be written of what is replaced so fast
		}
		n := rnd.IntN(childPaths)
		k := key(fmt.Sprint("/", n))
		switch rnd.IntN(12) {
		case 0:
			s.Change(k, Deleted, func() {})
			fmt.Println("gone", k.Path, version)
		case 1:
			soft := rnd.IntN(2) == 0
			tag := fmt.Sprint("t", rnd.IntN(4))
			p := &cache.DeepPurge{Purge: cache.Purge{Kind: cache.PurgeTag, Value: tag, Soft: soft}, At: time.Unix(5, 0)}
			s.Sweep([]*cache.DeepPurge{p}, func(o *cache.Object, _ bool) bool {
				if o.Tags()[0] == tag && soft {
					o.MarkStale(time.Unix(5, 0))
				}
				return o.Tags()[0] == tag && !soft
			})()
			fmt.Println("tag", tag, version, map[bool]string{true: "soft", false: "hard"}[soft])
		default:
			s.Change(k, Replaced, func() {})
			fmt.Println("gone", k.Path, version-1)
			size := rnd.IntN(3000)
			if rnd.IntN(20) == 0 {
				size = 200_000
			}
			s.Offer(object(k, version, size, fmt.Sprint("t", n%4)), true)
		}
	}
}

// startChild runs the test binary as what a variable with a folder makes of it, and returns what it writes.
func startChild(t *testing.T, variable, folder string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+folder)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func killConfig(folder string) Config {
	return Config{Folder: folder, Size: 4 * mib, segment: 256 << 10, lazy: true, Log: slog.New(slog.DiscardHandler)}
}

// A process that is killed at any moment leaves nothing that is wrong, and brings back nothing that it had said was gone.
func TestKill(t *testing.T) {
	if testing.Short() {
		killed(t, 5)
		return
	}
	killed(t, 10)
}

func killed(t *testing.T, rounds int) {
	folder := t.TempDir()
	goneUpTo := map[string]int{}
	tagGone, tagStale := map[string]int{}, map[string]int{}
	lines, found := 0, 0
	for round := range rounds {
		cmd, in := startChild(t, childFolder, folder)
		end := 1 + rand.IntN(3000) // lines, and then it is killed wherever it is
		for n := 0; in.Scan(); n++ {
			var verb, what, how string
			var version int
			fmt.Sscan(in.Text(), &verb, &what, &version, &how)
			switch {
			case verb == "gone":
				goneUpTo[what] = version
			case verb == "tag" && how == "hard":
				tagGone[what] = version
			case verb == "tag" && how == "soft":
				tagStale[what] = version
			default:
				t.Fatalf("the child says %q", in.Text())
			}
			if lines++; n == end {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		s, err := Open(killConfig(folder))
		if err != nil || s.Off() != nil {
			t.Fatal(err, s.Off())
		}
		for n := range childPaths {
			k := key(fmt.Sprint("/", n))
			o := s.Get(k, nowhere{})
			if o == nil {
				continue
			}
			found++
			tag := fmt.Sprint("t", n%4)
			version, wrong, err := versionOf(o)
			switch {
			case wrong != nil || err != nil:
				t.Error(round, wrong, err)
			case version <= goneUpTo[k.Path] || version <= tagGone[tag]:
				t.Errorf("round %d: %s version %d is back; gone up to %d, by tag up to %d", round, k.Path, version, goneUpTo[k.Path], tagGone[tag])
			case version <= tagStale[tag] && o.PurgedSoftly().IsZero():
				t.Errorf("round %d: %s version %d is fresh; stale up to %d", round, k.Path, version, tagStale[tag])
			}
		}
		if st := s.Stats(); st.Corrupt > 0 {
			t.Errorf("round %d: %d records are damaged", round, st.Corrupt)
		}
		if round%2 == 0 {
			s.Close()
			continue
		}
		h := &house{Store: s, t: t}
		h.crash()
	}
	t.Logf("killed %d times after %d lines; %d objects found", rounds, lines, found)
	if found < rounds {
		t.Errorf("only %d objects were found in %d rounds: the test tests nothing", found, rounds)
	}
}

// A process that was killed while it made a segment costs nothing, neither at the next start nor at those after it. Where the machine
// stopped, the state may say that the segment was there.
func TestKilledWhileASegmentIsMade(t *testing.T) {
	for name, c := range map[string]struct{ data, log int }{ // bytes that were written; -1 = there is no file yet
		"data made":    {0, -1},
		"data begun":   {headerSize, -1},
		"log made":     {0, 0},
		"data written": {headerSize, 0},
		"log torn":     {headerSize, headerSize / 2},
	} {
		for _, noted := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", noted ", noted), func(t *testing.T) {
				h := build(t, Config{})
				for i := range 50 {
					h.put(object(key(fmt.Sprint("/", i)), i+1, 3000))
				}
				h.change.Lock()
				err := h.seal()
				h.change.Unlock()
				if err != nil {
					t.Fatal(err)
				}
				next := h.newest.number + 1
				h.crash()
				for ext, n := range map[string]int{dataExt: c.data, logExt: c.log} {
					if n < 0 {
						continue
					}
					magic := map[string]string{dataExt: dataMagic, logExt: logMagic}[ext]
					if err := os.WriteFile(filepath.Join(h.folder, fileName(next, ext)), header(magic, next)[:n], 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if noted {
					h.editState(func(st *state) { st.Newest = next })
				}
				for range 3 {
					h.open()
					for i := range 50 {
						h.want(fmt.Sprint("/", i), i+1)
					}
					h.crash()
				}
				if strings.Contains(h.said.String(), "not whole") {
					t.Errorf("something was lost:\n%s", h.said)
				}
			})
		}
	}
}
