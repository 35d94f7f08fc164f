package disk

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What `make soak` runs, by hand: with HITHER_SOAK=1.
const (
	soak       = "HITHER_SOAK"
	soakFolder = "HITHER_SOAK_FOLDER" // makes the test binary the process that starts over that folder

	soakObjects = 1_000_000
	soakBody    = 1 << 10
	soakStart   = 3 * time.Second // until the first hit
	soakMemory  = 120             // bytes for each object
)

func soakConfig(folder string) Config {
	return Config{Folder: folder, Size: 4 << 30, Queue: 64 * mib, Log: slog.New(slog.DiscardHandler)}
}

func soakPath(i int) string { return fmt.Sprintf("/assets/%060d/image-%06d.webp", i%1000, i) }

// A million objects on disk: a new process serves its first hit within three seconds, though nothing of the folder is in the kernel's
// pages, and holds at most 120 bytes for each.
func TestSoakRestart(t *testing.T) {
	if os.Getenv(soak) == "" {
		t.Skip("by hand: make soak")
	}
	folder := t.TempDir()
	s, err := Open(soakConfig(folder))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range soakObjects {
		s.Offer(object(key(soakPath(i)), 1, soakBody), true)
		if i%10_000 == 9999 {
			s.Wait()
		}
	}
	s.Wait()
	st := s.Stats()
	t.Logf("wrote %d objects of %d bytes, %d MiB on disk, in %v", st.Objects, soakBody, st.Bytes>>20, time.Since(began).Round(time.Millisecond))
	if st.Objects != soakObjects {
		t.Fatalf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	forget(t, folder)
	began = time.Now()
	cmd, in := startChild(t, soakFolder, folder)
	if !in.Scan() || in.Text() != "hit" {
		t.Fatalf("the process says %q", in.Text())
	}
	first := time.Since(began)
	var objects, heap, rss int64
	if in.Scan(); true {
		fmt.Sscan(in.Text(), &objects, &heap, &rss)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	each := float64(heap) / float64(objects)
	t.Logf("a new process served its first hit after %v, with %d objects: %.1f bytes of live heap for each, %.1f of resident memory", first.Round(time.Millisecond), objects, each, float64(rss)/float64(objects))
	if first > soakStart {
		t.Errorf("the first hit came after %v, want %v", first, soakStart)
	}
	if objects != soakObjects || each > soakMemory {
		t.Errorf("%d objects with %.1f bytes each, want %d", objects, each, soakMemory)
	}
}

// soakChild opens the folder, serves one hit, and tells what that cost.
func soakChild(folder string) {
	heap, rss := memory()
	s, err := Open(soakConfig(folder))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if s.Get(key(soakPath(soakObjects/2)), nowhere{}) == nil {
		fmt.Println("missed", s.Stats())
		os.Exit(1)
	}
	fmt.Println("hit")
	after, more := memory()
	fmt.Println(s.Stats().Objects, after-heap, more-rss)
	s.Close()
}

// memory is what the process has, live on the heap and resident.
func memory() (heap, rss int64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	text, _ := os.ReadFile("/proc/self/status")
	if _, line, ok := strings.Cut(string(text), "VmRSS:"); ok {
		fmt.Sscan(line, &rss)
	}
	return int64(m.HeapAlloc), rss << 10
}

// forget takes the files of a folder out of the kernel's pages, as they are after a start of the machine.
func forget(t *testing.T, folder string) {
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Sync()
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// Killed a few hundred times.
func TestSoakKill(t *testing.T) {
	if os.Getenv(soak) == "" {
		t.Skip("by hand: make soak")
	}
	killed(t, 400)
}
