package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"hither/deploy"
)

// upOptions are the flags of `hither up`.
type upOptions struct {
	state, site, origin, net string
	restart                  bool
}

func upCommand() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a whole network on this machine",
		Long: "Run a whole network on this machine: one origin, three edges and a DNS server, each a process of its own on a loopback\n" +
			"address. It makes its own certificate authorities and keeps everything in the state folder.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return up(c.Context(), o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&o.state, "state", ".hither", "folder that holds authorities, the network file and each node's state")
	c.Flags().StringVar(&o.site, "site", "", "serve the files of this folder (default: a small site about hither)")
	c.Flags().StringVar(&o.origin, "origin", "", "pass requests to this HTTP server, http://HOST:PORT")
	c.Flags().StringVar(&o.net, "net", "", "move every address from 127.0.x.y into another /16, such as 127.20")
	c.Flags().BoolVar(&o.restart, "restart", false, "start a node again when its process crashes or is killed")
	c.MarkFlagsMutuallyExclusive("site", "origin")
	return c
}

// up runs the network until a signal or until ctx ends.
func up(ctx context.Context, o upOptions, stdout, stderr io.Writer) error {
	if runtime.GOOS != "linux" {
		return usage("up needs Linux, whose loopback has all of 127.0.0.0/8; elsewhere use docker compose (deploy/compose)")
	}
	dir, err := filepath.Abs(o.state)
	if err != nil {
		return usage("--state %s: %v", o.state, err)
	}
	made, err := o.make()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return usage("--state: %v", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	data, network, err := o.prepare(dir, made, stderr)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	g := newGroup(dir, o.restart, stderr)
	defer g.stop()
	if err := g.init(network, data); err != nil {
		return usage("%v", err)
	}
	if err := g.start(network); err != nil {
		return err
	}
	if err := g.record(); err != nil {
		return usage("%v", err)
	}
	s := newSteward(dir, data, func(format string, args ...any) { fmt.Fprintf(g.stderr, "hither: "+format+"\n", args...) })
	steward, endSteward := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(steward)
	}()
	defer func() {
		endSteward()
		<-ended
	}()
	if len(network.Hub.URLs) > 0 {
		select { // what is asked of the fleet next finds its control there
		case <-s.synced:
		case <-time.After(firstTime):
		case <-ctx.Done():
		}
	}
	invite(stdout, dir, network)
	fmt.Fprintln(stdout, "ready")
	daily := time.NewTicker(24 * time.Hour)
	defer daily.Stop()
	for {
		select {
		case <-daily.C:
			if err := renewDue(ctx, dir, stderr); err != nil {
				fmt.Fprintln(stderr, "hither: identities are not renewed:", err)
			}
		case <-ctx.Done():
			return nil
		case rev := <-s.news:
			if !s.still(rev) { // edited while it came
				s.edited.ring()
			} else if g.adopt(rev.Number, rev.File) {
				s.adopted(rev)
				s.moved.ring()
			}
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				fmt.Fprintln(stderr, "hither: stopping; requests under way may finish (again to stop at once)")
				go func() {
					<-signals
					g.kill()
				}()
				return nil
			}
			if file := g.reload(); file != nil {
				s.ask(file)
			}
			s.moved.ring()
		}
	}
}

// firstTime is how long a start waits until the fleet has its first revision, before it says that all is ready.
const firstTime = 5 * time.Second

// lock keeps a second `up` off the state folder. The kernel drops the lock with the
// process, however that ends.
func lock(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, usage("--state: %v", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid := make([]byte, 16)
		n, _ := f.Read(pid)
		f.Close()
		return nil, usage("%s is in use by another `hither up` (process %s); stop it, or give --state another folder and --net another /16", dir, pid[:n])
	}
	f.Truncate(0)
	fmt.Fprintf(f, "%d", os.Getpid())
	return func() { f.Close() }, nil
}

// make composes the network file that the flags ask for.
func (o upOptions) make() ([]byte, error) {
	if o.site != "" {
		abs, err := filepath.Abs(o.site)
		if err != nil {
			return nil, usage("--site %s: %v", o.site, err)
		}
		if info, err := os.Stat(abs); err != nil {
			return nil, usage("--site: %v; give a folder that is there", err)
		} else if !info.IsDir() {
			return nil, usage("--site %s is not a folder; give the one that holds it", o.site)
		}
		o.site = abs
	}
	made, err := deploy.Local(deploy.LocalOptions{Net: o.net, Site: o.site, Origin: o.origin})
	if err != nil {
		return nil, usage("%v", err)
	}
	return made, nil
}

// prepare writes the network file on first start and loads it. Flags that shape the
// file may change until somebody has edited it; without any of them the file stays as
// it is.
func (o upOptions) prepare(dir string, made []byte, stderr io.Writer) ([]byte, *deploy.Network, error) {
	path := filepath.Join(dir, "network.yaml")
	shaped := o.site != "" || o.origin != "" || o.net != ""
	before, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && shaped && unedited(dir, before):
		if before != nil && string(before) != string(made) {
			fmt.Fprintf(stderr, "hither: %s is made anew from the flags of this call; those of earlier calls no longer count\n", path)
		}
		if err := writeNetwork(dir, path, made); err != nil {
			return nil, nil, usage("%v", err)
		}
		before = made
	case err != nil:
		return nil, nil, usage("%v", err)
	case shaped && string(before) != string(made):
		return nil, nil, usage("%s was edited by hand, so --site, --origin and --net do not apply: put the change there, or give --state another folder", path)
	}
	network, err := deploy.Parse(path, before, checks...)
	if err != nil {
		return nil, nil, wrong(err)
	}
	return before, network, nil
}
