package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// UpOptions say what [Up] runs.
type UpOptions struct {
	Lab     Options
	Network NetworkOptions

	// Names is what the names of the namespaces begin with. "" is "hither".
	Names string
}

// Up runs a network in a lab for other programs until ctx ends, which is no error. It tells on out how to use it, and
// then `ready`. Its error is of what could not be started, or ended by itself.
//
// In a user namespace (see [Enter]) names cannot be given; nsenter takes the place of `ip netns exec` then.
func Up(ctx context.Context, o UpOptions, out io.Writer) (err error) {
	l, err := Start(o.Lab)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	names := ""
	if os.Getenv(entered) == "" {
		if names = o.Names; names == "" {
			names = "hither"
		}
		if err := l.Name(names); err != nil {
			return err
		}
	}
	n, err := l.StartNetwork(ctx, o.Network)
	if err != nil {
		return stopped(ctx, err)
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := n.Warm(ctx); err != nil {
		return stopped(ctx, err)
	}
	e, err := l.Echo(ctx, Client, Edge, 20)
	if err != nil {
		return stopped(ctx, err)
	}
	congestion, err := l.At(Client).Congestion()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "A network with distance: client, edge, origin and DNS server, %v to %v.\n", Client.Addr(), DNS.Addr())
	n.Describe(out, names)
	fmt.Fprintf(out, "An echo from client to edge takes %.2f ms more than the distance; TCP uses %s. Ctrl-C ends it all.\nready\n", float64(e.Error().Microseconds())/1000, congestion)
	return l.watch(ctx, n)
}

// stopped leaves out an error that only says that the caller has ended.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// watch waits until ctx ends, or something does that should run.
func (l *Lab) watch(ctx context.Context, n *Network) error {
	n.mu.Lock()
	procs := n.procs
	n.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil
	case <-l.forward.ended:
		return nil // Close tells why
	case <-procs[Edge].ended:
	case <-procs[Origin].ended:
	case <-procs[DNS].ended:
	}
	return nil // so does the network's
}
