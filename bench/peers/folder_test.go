package peers

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// keeperMode has TestMain be a bench that has a folder, until it is killed.
const keeperMode = "parent-of-folder"

func parentOfFolder() int {
	self, err := os.Executable()
	if err != nil {
		return 1
	}
	f, err := NewFolder(self)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := os.WriteFile(filepath.Join(f.Dir, "key.pem"), nil, 0o600); err != nil {
		return 1
	}
	fmt.Println(f.Dir)
	unix.Pause()
	return 0
}

// TestFolder shows that a folder goes with its bench, that it is in memory where it says so, and that only folders of a bench are removed.
func TestFolder(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	f, err := NewFolder(self)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(f.Dir) != os.Getenv("TMPDIR") {
		t.Errorf("TMPDIR is %s, and the folder %s", os.Getenv("TMPDIR"), f.Dir)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.Dir); !os.IsNotExist(err) {
		t.Errorf("after its end: %v", err)
	}
	none(t)
	if memory, fits := inMemory(memoryFolder); fits {
		os.Unsetenv("TMPDIR")
		if f, err = NewFolder(self); err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(f.Dir) != memoryFolder || !f.Memory || !memory {
			t.Errorf("there is room in memory, and the folder is %+v", f)
		}
		// Whoever ends the keeper does not keep the folder.
		f.keeper.Process.Kill()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(f.Dir); !os.IsNotExist(err) {
			t.Errorf("without its keeper: %v", err)
		}
	}
	if memory, _ := inMemory("/proc"); memory {
		t.Error("/proc is taken for memory")
	}
}

// TestFolderOrphaned kills the bench.
func TestFolderOrphaned(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bench := exec.Command(self, keeperMode)
	bench.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	bench.Stdout, bench.Stderr = in, in
	if err := bench.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	lines := bufio.NewReader(out)
	folder, err := lines.ReadString('\n')
	if folder = strings.TrimSpace(folder); err != nil {
		t.Fatal(folder, err)
	}
	if _, err := os.Stat(filepath.Join(folder, "key.pem")); err != nil {
		t.Error(err)
	}
	bench.Process.Signal(syscall.SIGKILL)
	bench.Wait()
	// The keeper has the pipe as well.
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("the last words: %q, %v", rest, err)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}
