//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchProgram is the program that measures.
const benchProgram = root + "/bin/bench"

// TestBenchBad has `bench` measure what cannot be measured, and ends it in the middle.
func TestBenchBad(t *testing.T) {
	scenario(t, "bench-bad")
	peer(t, "unshare", "util-linux")
	peer(t, "setpriv", "util-linux")
	if os.Getuid() != 0 {
		t.Fatal("to take rights away one must have them: sudo make e2e")
	}
	b := newBench(t)
	t.Run("without permission", b.withoutPermission)
	t.Run("a URL that cannot be measured", b.unreachable)
	t.Run("a server that dies", b.dies)
	t.Run("ended in the middle", b.ended)
}

// A bench is a copy of the program in a folder of its own, which every user may read and nobody else has
// temporary files in.
type bench struct{ dir string }

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "bench-bad-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, from := range []string{benchProgram, program} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(from)), data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &bench{dir}
}

// start starts it, by a program in front of it if there is one.
func (b *bench) start(t *testing.T, before []string, args ...string) *process {
	t.Helper()
	all := slices.Concat([]string{"env", "TMPDIR=" + b.dir}, before, []string{filepath.Join(b.dir, "bench")}, args)
	return start(t, all[0], all[1:]...)
}

// refused fails the test unless a call ends with a status and one line that has all the words.
func (b *bench) refused(t *testing.T, before, args []string, status int, words ...string) {
	t.Helper()
	p := b.start(t, before, args...)
	if err := oneLineOf("bench", p, status, words...); err != nil {
		t.Errorf("bench %s: %v", strings.Join(args, " "), err)
	}
	b.nothing(t, nil)
}

// oneLineOf waits for the end of a program, and says what is wrong with how it refused.
func oneLineOf(program string, p *process, status int, words ...string) error {
	<-p.done
	said := strings.Replace(p.stderr.String(), program+": ", "hither: ", 1)
	return oneLine(p.stdout.String(), said, p.cmd.ProcessState.ExitCode(), status, words...)
}

// Prefixes of a call that take away what a lab needs.
var (
	asNobody    = []string{"unshare", "--mount", "sh", "-ec", `mount -t tmpfs none /dev/net; mknod -m 600 /dev/net/tun c 10 200; exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`, "sh"}
	withoutTUN  = []string{"unshare", "--mount", "sh", "-ec", `mount -t tmpfs none /dev/net; exec "$@"`, "sh"}
	openTUN     = []string{"unshare", "--mount", "sh", "-ec", `mount -t tmpfs none /dev/net; mknod -m 666 /dev/net/tun c 10 200; exec "$@"`, "sh"}
	noUserSpace = append(slices.Clone(openTUN), "unshare", "--user", "--map-root-user", "sh", "-ec",
		`echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all "$@"`, "sh")
	noNetSpace = append(slices.Clone(openTUN), "unshare", "--user", "--map-root-user", "sh", "-ec",
		`echo 2 > /proc/sys/user/max_net_namespaces; exec "$@"`, "sh")
)

// withoutPermission takes away one thing after the other that a lab needs.
func (b *bench) withoutPermission(t *testing.T) {
	for _, args := range [][]string{{"lab", "up"}, {"rtt"}} {
		for _, c := range []struct {
			before []string
			words  []string
		}{
			{asNobody, []string{"open /dev/net/tun: permission denied", "run this as root", "--device /dev/net/tun"}},
			{withoutTUN, []string{"open /dev/net/tun: no such file", "modprobe tun", "--device /dev/net/tun"}},
			{noUserSpace, []string{"make user namespace", "no space left", "sysctl user.max_user_namespaces"}},
			{noNetSpace, []string{"make network namespace", "no space left", "user.max_net_namespaces"}},
		} {
			b.refused(t, c.before, args, 2, c.words...)
		}
	}
}

// unreachable measures URLs where there is nothing to measure.
func (b *bench) unreachable(t *testing.T) {
	n := run(t, setup{net: "127.85"})
	server := n.nameServer() + fmt.Sprint(":", dnsPort)
	ca := filepath.Join(n.dir, "ca.pem")
	silent, err := net.Listen("tcp", "127.85.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	deaf, err := net.ListenPacket("udp", "127.85.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	page := "https://" + host + ":8443/"
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"https://127.85.9.1:1/"}, []string{"127.85.9.1:1", "connection refused", "start it"}},
		{[]string{"https://" + silent.Addr().String() + "/"}, []string{silent.Addr().String(), "does not shake hands", "HTTPS"}},
		{[]string{"https://" + plain.Listener.Addr().String() + "/"}, []string{plain.Listener.Addr().String(), "HTTPS"}},
		{[]string{page, "--resolver", server}, []string{page, "certificate", "--ca FILE"}},
		{[]string{page, "--resolver", server, "--ca", ca, "--direct", "https://127.85.9.1:1/"}, []string{"127.85.9.1:1", "connection refused", "start it"}},
		{[]string{page + "none", "--resolver", server, "--ca", ca}, []string{page + "none", "status 404"}},
		{[]string{page, "--resolver", deaf.LocalAddr().String(), "--ca", ca}, []string{deaf.LocalAddr().String(), host, "no answer", "--resolver"}},
		{[]string{page, "--resolver", "127.85.9.1:1", "--ca", ca}, []string{"127.85.9.1:1", host, "connection refused", "--resolver"}},
		{[]string{"https://none.hither.test/", "--resolver", server}, []string{server, "none.hither.test", "no such host"}},
		{[]string{"https://none.invalid/"}, []string{"none.invalid", "--resolver ADDR"}},
	} {
		b.refused(t, nil, append([]string{"rtt"}, c.args...), 2, c.words...)
	}
}

// dies ends the edge that is measured.
func (b *bench) dies(t *testing.T) {
	n := run(t, setup{net: "127.85"})
	p := b.start(t, nil, "rtt", "https://"+host+":8443/", "--resolver", n.nameServer()+fmt.Sprint(":", dnsPort), "--ca", filepath.Join(n.dir, "ca.pem"), "--samples", "1000")
	if !p.stderr.wait(hangTime, "[3/", 1) {
		t.Fatalf("it does not begin:\n%s", p.stderr)
	}
	// An edge that is killed `up` starts again; all of the network at once is gone.
	n.up.cmd.Process.Kill()
	<-n.up.done
	<-p.done
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	last := lines[len(lines)-1]
	if status := p.status(t); status != 1 || p.stdout.String() != "" || !strings.HasPrefix(last, "bench: measure: ") ||
		!strings.Contains(last, host) || !strings.HasPrefix(lines[len(lines)-2], "[") {
		t.Errorf("exit status %d, want 1 and one line after the steps:\n%s%s", status, p.stdout, p.stderr)
	}
	b.nothing(t, nil)
}

// ended ends what holds a lab, in each way, while it starts and while it measures.
func (b *bench) ended(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		args   []string
		at     string // the line at which it is ended; "" = when its namespaces are there
		status int
	}{
		{syscall.SIGINT, []string{"rtt"}, "", 1},
		{syscall.SIGTERM, []string{"rtt"}, "[2/", 1},
		{syscall.SIGKILL, []string{"rtt"}, "[2/", -1},
		{syscall.SIGINT, []string{"lab", "up", "--names", "benchbad"}, "", 0},
		{syscall.SIGKILL, []string{"lab", "up", "--names", "benchbad"}, "", -1},
	} {
		p := b.start(t, nil, c.args...)
		spaces := map[string]bool{}
		if !until(readyTime, func() bool { spaces = heldBy(p.cmd.Process.Pid); return len(spaces) == 4 }) {
			t.Fatalf("bench %v holds %d namespaces, want 4:\n%s", c.args, len(spaces), p.stderr)
		}
		if c.at != "" && !p.stderr.wait(readyTime, c.at, 1) {
			t.Fatalf("bench %v does not say %q:\n%s", c.args, c.at, p.stderr)
		}
		if len(holders(spaces)) == 0 {
			t.Errorf("bench %v: nobody is seen to hold its namespaces while it runs", c.args)
		}
		p.cmd.Process.Signal(c.signal)
		if status := p.status(t); status != c.status {
			t.Errorf("bench %v after %v: exit status %d, want %d:\n%s", c.args, c.signal, status, c.status, p.stderr)
		}
		b.nothing(t, spaces)
		if c.signal == syscall.SIGKILL {
			for _, dir := range b.files(t) {
				os.RemoveAll(dir) // nobody else can
			}
		}
		if left := b.files(t); left != nil {
			t.Errorf("bench %v after %v: left are %v", c.args, c.signal, left)
		}
	}
	if stdout, stderr, err := b.call("lab", "down", "--names", "benchbad"); err != nil || stdout+stderr != "" {
		t.Errorf("bench lab down: %v, %q%q", err, stdout, stderr)
	}
	if left, _ := filepath.Glob("/run/netns/benchbad*"); left != nil {
		t.Errorf("names are left: %v", left)
	}
}

func (b *bench) call(args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	c := exec.Command(filepath.Join(b.dir, "bench"), args...)
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

// files are those that are in the folder besides the programs.
func (b *bench) files(t *testing.T) (left []string) {
	t.Helper()
	all, err := os.ReadDir(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.Name() != "bench" && f.Name() != "hither" {
			left = append(left, filepath.Join(b.dir, f.Name()))
		}
	}
	return left
}

// nothing fails the test if a process of the program is left, or somebody holds one of the namespaces.
func (b *bench) nothing(t *testing.T, spaces map[string]bool) {
	t.Helper()
	noProcesses(t, filepath.Join(b.dir, "bench"))
	noProcesses(t, filepath.Join(b.dir, "hither"))
	if !until(10*time.Second, func() bool { return len(holders(spaces)) == 0 }) {
		t.Errorf("namespaces are left: %v", holders(spaces))
	}
}

// heldBy are the network namespaces, but the one that it began in, that a process holds open.
func heldBy(pid int) map[string]bool {
	found := map[string]bool{}
	home, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", os.Getpid()))
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, "net:[") && to != home {
			found[to] = true
		}
	}
	return found
}

// holders are all that keep one of the network namespaces: tasks in it, open files, mounts.
func holders(spaces map[string]bool) (all []string) {
	for _, pattern := range []string{"/proc/[0-9]*/task/*/ns/net", "/proc/[0-9]*/fd/*"} {
		links, _ := filepath.Glob(pattern)
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && spaces[to] {
				all = append(all, link+" is "+to)
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && spaces[fields[3]] {
			all = append(all, fields[4]+" is "+fields[3])
		}
	}
	return all
}

// plantNamespace leaves a namespace, held by a process, by an open file, and by nobody.
func plantNamespace(t *testing.T) {
	left := exec.Command("unshare", "--net", "cat")
	in, err := left.StdinPipe()
	if err == nil {
		err = left.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	link := fmt.Sprintf("/proc/%d/ns/net", left.Process.Pid)
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var space string
	if !until(10*time.Second, func() bool { space, err = os.Readlink(link); return err == nil && space != ours }) {
		t.Fatalf("no namespace was made: %v", err)
	}
	spaces := map[string]bool{space: true}
	if len(holders(spaces)) == 0 {
		t.Error("a process in a namespace is not seen")
	}
	open, err := os.Open(link)
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	left.Wait()
	if held := heldBy(os.Getpid()); !held[space] || len(holders(spaces)) != 1 {
		t.Errorf("an open namespace is not seen: %v, %v", held, holders(spaces))
	}
	open.Close()
	if h := holders(spaces); len(h) != 0 {
		t.Errorf("nobody holds the namespace, and seen are %v", h)
	}
	// And a program that refuses with more than one line.
	p := start(t, "sh", "-c", "echo bench: one, make it >&2; echo two >&2; exit 2")
	if err := oneLineOf("bench", p, 2, "make it"); err == nil {
		t.Error("two lines are taken for one")
	}
	p = start(t, "sh", "-c", "echo bench: one, make it >&2; exit 2")
	if err := oneLineOf("bench", p, 2, "make it"); err != nil {
		t.Error(err)
	}
}
