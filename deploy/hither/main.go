// Command hither is a content delivery network in one program: the edge, origin and dns
// nodes, a whole network of them on one machine, and the commands of its operator.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// Exit statuses: what was asked about is wrong, or the call is.
const (
	exitWrong = 1
	exitUsage = 2
)

// An exitError is an error with the status the program ends with. A nil err has been
// told already.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// wrong marks err as the answer to what was asked.
func wrong(err error) error { return &exitError{exitWrong, err} }

// usage marks err as a mistake in the call.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// subcommand answers a call of a command that has only others below it.
func subcommand(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unknown command %q for %q; see `%s --help`", args[0], c.CommandPath(), c.CommandPath())
	}
	return c.Help()
}

// tellUse has every command below c say how it is called where it has too few or too many words.
func tellUse(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if exit := (*exitError)(nil); err == nil || errors.As(err, &exit) {
				return err
			}
			return usage("%v; it is called as `%s`", err, c.UseLine())
		}
	}
	for _, sub := range c.Commands() {
		tellUse(sub)
	}
}

// flagMistake says of a flag that a command does not know which verbs there are, where the command has nothing but those.
func flagMistake(c *cobra.Command, err error) error {
	own := false
	c.LocalFlags().VisitAll(func(f *pflag.Flag) { own = own || f.Name != "help" && f.Name != "version" })
	var verbs []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			verbs = append(verbs, sub.Name())
		}
	}
	if own || len(verbs) == 0 {
		return err
	}
	return usage("%v; `%s` wants one of %s before it", err, c.CommandPath(), strings.Join(verbs, ", "))
}

// run executes one call and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "hither",
		Short:         "Your own CDN in one piece",
		Long:          "hither is a content delivery network that a team runs on its own machines: one program, one network file.",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(upCommand(), edgeCommand(), originCommand(), dnsCommand(), checkCommand(), fleetCommand(),
		readyCommand(), statusCommand(), drainCommand(), purgeCommand(), warmCommand(), explainCommand())
	tellUse(root)
	root.SetFlagErrorFunc(flagMistake)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	status := exitUsage // what cobra finds wrong with a call: unknown commands and flags
	if exit := (*exitError)(nil); errors.As(err, &exit) {
		status = exit.status
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, "hither:", text)
	}
	return status
}
