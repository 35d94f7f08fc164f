package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hither/deploy"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
)

// An asker asks the fleet's control; see operator.ask.
type asker interface {
	ask(ctx context.Context, verb string, in, out any) error
}

// progressEvery is how often a roll-out under way is looked at, and figuresEvery how often its figures are told where they cannot stand in
// one place.
const (
	progressEvery = time.Second
	figuresEvery  = 10 * time.Second
)

// howFlags adds the flags of how a revision reaches the nodes.
func howFlags(c *cobra.Command, how *control.How) {
	f := c.Flags()
	f.Var(durationFlag{&how.Window}, "window", "how long the canary is watched at least (default 30s)")
	f.Var(durationFlag{&how.Patience}, "patience", "after how long it goes back where the canary had too few requests to tell (default 10m)")
	f.Int64Var(&how.MinRequests, "requests", 0, "how many requests of the canary are enough to tell (default 100)")
}

// A durationFlag is a duration as the network file has it.
type durationFlag struct{ to *deploy.Duration }

func (d durationFlag) String() string {
	if d.to == nil || *d.to == 0 {
		return ""
	}
	return d.to.String()
}
func (d durationFlag) Set(s string) error { return d.to.UnmarshalText([]byte(s)) }
func (durationFlag) Type() string         { return "duration" }

// A hand is the flags of a command that leads the fleet.
type hand struct{ state, bundle, output string }

func (h *hand) flags(c *cobra.Command) {
	stateFlag(c, &h.state)
	outputFlag(c, &h.output)
	c.Flags().StringVar(&h.bundle, "bundle", "", "operator's bundle, a `FOLDER|FILE` (default: operator/ in the state folder)")
}

// ask does f with a connection to the control.
func (h *hand) ask(ctx context.Context, f func(asker) error) error {
	op, err := dialOperator(ctx, h.state, h.bundle)
	if err != nil {
		return err
	}
	defer op.close()
	return f(op)
}

func applyCommand() *cobra.Command {
	var h hand
	call := control.ApplyCall{}
	var yes bool
	c := &cobra.Command{
		Use:   "apply FILE [--canary POP] [--window 30s] [--now] [--yes]",
		Short: "Make a network file the fleet's next revision: one PoP first, then all",
		Long: "Check a network file, show what it changes, and make it the fleet's next revision. One PoP takes it first, the canary, and is watched:\n" +
			"if it refuses it, dies of it, or answers more requests with an error than before, it goes back by itself, and no other node ever\n" +
			"ran it. Where too few requests come to tell, it waits. Ctrl-C leaves the roll-out to itself. Without a terminal it wants --yes.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := deploy.Read(args[0])
			if err == nil {
				_, err = deploy.Parse(args[0], file, checks...)
			}
			if mistakes := (deploy.Mistakes)(nil); errors.As(err, &mistakes) {
				fmt.Fprintln(c.OutOrStdout(), mistakes)
				return wrong(nil)
			} else if err != nil {
				return usage("%v", err)
			}
			call.Name, call.File = args[0], file
			return h.ask(c.Context(), func(op asker) error { return apply(c, op, call, yes, h.output) })
		},
	}
	h.flags(c)
	howFlags(c, &call.How)
	f := c.Flags()
	f.StringVar(&call.Canary, "canary", "", "`POP` that tries it (default: the one with the least traffic that is enough to tell)")
	f.BoolVar(&call.Now, "now", false, "all nodes at once, without a canary")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask, as is needed where no terminal is")
	f.StringVar(&call.Note, "note", "", "why, for the history")
	return c
}

// apply shows the difference to what is in force, asks, and follows the roll-out.
func apply(c *cobra.Command, op asker, call control.ApplyCall, yes bool, output string) error {
	out := c.OutOrStdout()
	var stable control.RevisionDoc
	lost := false // the hub does not have what is in force: there is a file to give all the same
	if err := op.ask(c.Context(), "revision", control.RevisionCall{}, &stable); errors.Is(err, errNotThere) {
		lost = true
		fmt.Fprintln(c.ErrOrStderr(), "hither: the hub does not have the revision that is in force, so there is no difference to show")
	} else if err != nil {
		return err
	}
	diff := ""
	if !lost {
		diff = unified(fmt.Sprintf("revision %d", stable.Number), call.Name, stable.File, call.File)
	}
	if output != "json" && !lost {
		printDiff(out, diff)
	}
	switch {
	case diff == "" && !lost || yes:
	case output == "json" || !terminal(c.InOrStdin()):
		return usage("nothing was changed: there is no terminal at which to ask; --yes goes on without a question")
	case !goOn(c.InOrStdin(), out):
		return wrong(errors.New("nothing was changed"))
	}
	call.Base = stable.Number
	var doc control.RolloutDoc
	if err := op.ask(c.Context(), "apply", call, &doc); err != nil {
		return err
	}
	return follow(c, op, doc, output)
}

// goOn asks.
func goOn(in io.Reader, out io.Writer) bool {
	fmt.Fprint(out, "go on? [y/N] ")
	line, _ := bufio.NewReader(in).ReadString('\n')
	word := strings.ToLower(strings.TrimSpace(line))
	return word == "y" || word == "yes"
}

// follow tells how far a roll-out is until it has ended. The error says where it did not end well.
func follow(c *cobra.Command, op asker, doc control.RolloutDoc, output string) error {
	out := c.OutOrStdout()
	if doc.Nothing {
		if output == "json" {
			return printJSON(out, doc)
		}
		fmt.Fprintf(out, "nothing to do: this is revision %d, which is in force\n", doc.Stable)
		return nil
	}
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt)
	defer stop()
	said := ""
	tell := teller{w: out, one: terminal(out)}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	number := doc.Number
	for doc.Phase != "done" {
		if output != "json" {
			tell.tell(doc, time.Now())
		}
		select {
		case <-ctx.Done():
			tell.end()
			if doc.Phase == "taking" || doc.Phase == "watching" {
				return wrong(fmt.Errorf("the roll-out of revision %d goes on; `hither fleet abort` ends it, `hither fleet rollout` shows it", number))
			}
			return wrong(fmt.Errorf("the roll-out of revision %d goes on; `hither fleet rollout` shows it", number))
		case <-tick.C:
		}
		var next control.RolloutDoc
		switch err := op.ask(ctx, "rollout", nil, &next); {
		case ctx.Err() != nil:
		case errors.Is(err, bus.ErrAway), err != nil && exitStatus(err) != exitUsage:
			tell.end()
			if line := "the control does not answer; the nodes keep what they have: " + err.Error(); line != said {
				fmt.Fprintln(c.ErrOrStderr(), line)
				said = line
			}
		case err != nil:
			return err
		case next.Number != number:
			return wrong(fmt.Errorf("revision %d took the place of revision %d meanwhile", next.Number, number))
		default:
			doc = next
		}
	}
	tell.end()
	return finish(out, doc, output)
}

// A teller tells how far a roll-out is: on a terminal what changes stands in one line, elsewhere figures alone make a new line only now and then.
type teller struct {
	w      io.Writer
	one    bool   // a terminal, on which a line can be written again
	line   string // what was told last
	phase  string // of it
	at     time.Time
	open   bool // the line has no end yet
	hinted bool
}

// tell tells it where there is something new.
func (t *teller) tell(doc control.RolloutDoc, now time.Time) {
	line, phase := progressLine(doc), doc.Phase+doc.Outcome
	switch same := phase == t.phase; {
	case line == t.line:
		return
	case t.one:
		if !same {
			t.end()
		}
		short := []rune(line)
		if wide := columns(t.w); wide > 1 { // what goes on in the next line cannot be written again
			short = short[:min(len(short), wide-1)]
		}
		io.WriteString(t.w, "\r\x1b[K")
		io.WriteString(plainly{t.w}, string(short))
		t.open = true
	case same && doc.Phase == "watching" && doc.Few == t.hinted && now.Sub(t.at) < figuresEvery:
		return
	default:
		fmt.Fprintln(plainly{t.w}, line)
	}
	t.line, t.phase, t.at = line, phase, now
	if doc.Few && !t.hinted {
		t.end()
		fmt.Fprintln(t.w, "too few requests come to tell; `hither fleet promote` takes it to all without that, `hither fleet abort` goes back")
	}
	t.hinted = doc.Few
}

// end ends a line that could be written again.
func (t *teller) end() {
	if t.open {
		fmt.Fprintln(t.w)
	}
	t.open = false
}

// exitStatus is the status that a command ends with because of err.
func exitStatus(err error) int {
	if exit := (*exitError)(nil); errors.As(err, &exit) {
		return exit.status
	}
	return exitWrong
}

// progressLine is where a roll-out stands.
func progressLine(doc control.RolloutDoc) string {
	switch doc.Phase {
	case "taking":
		return fmt.Sprintf("revision %d: %s is to take it", doc.Number, doc.Canary)
	case "watching":
		return fmt.Sprintf("revision %d: %s", doc.Number, doc.Progress)
	case "back":
		return fmt.Sprintf("revision %d: %s: %s; %s", doc.Number, doc.Outcome, doc.Why, doc.Progress)
	}
	return fmt.Sprintf("revision %d: %s", doc.Number, doc.Progress)
}

// finish tells the end of a roll-out.
func finish(out io.Writer, doc control.RolloutDoc, output string) error {
	if output == "json" {
		if err := printJSON(out, doc); err != nil {
			return err
		}
	} else {
		out := plainly{out}
		what := doc.Outcome
		if doc.Why != "" {
			what += ": " + doc.Why
		}
		fmt.Fprintf(out, "revision %d: %s\n%s\n", doc.Number, what, doc.Progress)
		for _, n := range doc.Nodes.Refused {
			fmt.Fprintf(out, "%s refused it: %s\n", n.Node, n.Why)
		}
		for _, x := range []struct {
			words string
			nodes []string
		}{{"not running it yet", doc.Nodes.Waiting}, {"away, to take it when they are back", doc.Nodes.Away}, {"not named by it, to be ended", doc.Nodes.Unnamed}} {
			if len(x.nodes) > 0 {
				fmt.Fprintf(out, "%s: %s\n", x.words, strings.Join(x.nodes, ", "))
			}
		}
	}
	switch {
	case doc.Outcome != "stable":
		return wrong(fmt.Errorf("revision %d is not in force; revision %d is", doc.Number, doc.Stable))
	case len(doc.Nodes.Refused) > 0:
		return wrong(fmt.Errorf("%s did not take revision %d", count(len(doc.Nodes.Refused), "node"), doc.Number))
	}
	return nil
}

// wordCommand is a command that asks one verb about the roll-out, and follows what comes of it.
func wordCommand(use, short string, verb string) *cobra.Command {
	var h hand
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.ask(c.Context(), func(op asker) error {
				var doc control.RolloutDoc
				if err := op.ask(c.Context(), verb, nil, &doc); err != nil {
					return err
				}
				err := follow(c, op, doc, h.output)
				if verb == "abort" && exitStatus(err) == exitWrong && doc.Outcome == "rolled back" {
					return nil // which is what was asked for
				}
				return err
			})
		},
	}
	h.flags(c)
	return c
}

func rollbackCommand() *cobra.Command {
	var h hand
	call := control.RollbackCall{}
	c := &cobra.Command{
		Use:   "rollback N [--canary[=POP]]",
		Short: "Make an earlier network file the next revision, at all nodes at once",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if call.Number, err = revisionNumber(args[0]); err != nil {
				return err
			}
			call.Now = !c.Flags().Changed("canary")
			call.Canary = strings.TrimSpace(call.Canary)
			return h.ask(c.Context(), func(op asker) error {
				var doc control.RolloutDoc
				if err := op.ask(c.Context(), "rollback", call, &doc); err != nil {
					return err
				}
				return follow(c, op, doc, h.output)
			})
		},
	}
	h.flags(c)
	howFlags(c, &call.How)
	c.Flags().StringVar(&call.Canary, "canary", "", "let one PoP try it first: that `POP`, or one that is chosen")
	c.Flags().Lookup("canary").NoOptDefVal = " "
	c.Flags().StringVar(&call.Note, "note", "", "why, for the history")
	return c
}

// printAnswer writes what the control said as it came, indented.
func printAnswer(w io.Writer, doc json.RawMessage) error { return printJSON(w, doc) }

// plainly makes what others said fit for a terminal: nothing in it moves the cursor.
type plainly struct{ w io.Writer }

func (p plainly) Write(b []byte) (int, error) {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, string(b))
	if _, err := io.WriteString(p.w, clean); err != nil {
		return 0, err
	}
	return len(b), nil
}
