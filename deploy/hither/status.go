package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy/fleet"
	"hither/deploy/ops"
)

// watchEvery is how often `hither status --watch` looks again.
const watchEvery = 2 * time.Second

func statusCommand() *cobra.Command {
	var h hand
	var watch bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what every node is doing",
		Long: "Show what every node is doing: all of the fleet as its hub knows it or, where there is no hub or it does not answer, the nodes\n" +
			"whose sockets are in --state.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			look := &looking{state: h.state, stderr: c.ErrOrStderr()}
			defer look.close()
			if look.hub = hasHub(h); look.hub {
				if op, err := dialOperator(c.Context(), h.state, h.bundle); err != nil && h.bundle != "" {
					return err
				} else if err != nil {
					look.away(err)
				} else {
					look.op, look.end = op, op.close
				}
			}
			show := func(ctx context.Context, w io.Writer) error {
				s, raw, err := look.look(ctx)
				if err != nil {
					return err
				}
				if h.output == "json" && raw != nil {
					return printAnswer(w, raw)
				} else if h.output == "json" {
					return printDocument(w, "status", s)
				}
				printStatus(plainly{w}, s)
				return nil
			}
			if !watch {
				return show(c.Context(), c.OutOrStdout())
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt)
			defer stop()
			return redraw(ctx, c.OutOrStdout(), show)
		},
	}
	h.flags(c)
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every 2 seconds, until Ctrl-C")
	return c
}

// hasHub says whether the fleet is asked at all: an operator's bundle names a hub.
func hasHub(h hand) bool {
	if h.bundle != "" {
		return true
	}
	id, err := fleet.LoadIdentity(filepath.Join(h.state, fleet.OperatorFolder))
	return err == nil && len(id.Hub) > 0
}

// redraw shows something again and again: in the same place of a terminal, one below the other elsewhere.
func redraw(ctx context.Context, w io.Writer, show func(context.Context, io.Writer) error) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		var page bytes.Buffer // in one piece, so that nothing flickers
		if err := show(ctx, &page); err != nil && ctx.Err() == nil {
			fmt.Fprintln(plainly{&page}, err) // it may be better the next time
		}
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case terminal(w):
			io.WriteString(w, "\x1b[H\x1b[2J")
		case !first:
			io.WriteString(w, "\n")
		}
		if _, err := w.Write(page.Bytes()); err != nil {
			return wrong(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// A looking gets the status from where it is to be had.
type looking struct {
	state  string
	stderr io.Writer
	hub    bool   // the network has one
	op     asker  // nil = the hub is not asked
	end    func() // closes op; nil = nothing
	told   bool   // that the hub is away
}

func (l *looking) close() {
	if l.end != nil {
		l.end()
	}
}

// away says, once for each time that the hub goes away, that what follows is not from there.
func (l *looking) away(err error) {
	if !l.told {
		fmt.Fprintf(l.stderr, "hither: %v; the nodes in %s are asked themselves\n", err, l.state)
	}
	l.told = true
}

// look returns the status; raw is the document as it came from the control.
func (l *looking) look(ctx context.Context) (s ops.Status, raw json.RawMessage, err error) {
	if l.op != nil {
		asking, cancel := context.WithTimeout(ctx, askTime)
		err := l.op.ask(asking, "status", nil, &raw)
		cancel()
		if err == nil {
			if err = json.Unmarshal(raw, &s); err == nil {
				l.told = false
				return s, raw, nil
			}
		}
		l.away(errors.New("the fleet's status is not to be had: " + err.Error()))
	}
	s, err = collect(ctx, l.state)
	return s, nil, err
}
