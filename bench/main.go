// Command bench measures the network and its parts: every claim of speed is made by one of its commands, and can be
// made again by anyone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"hither/bench/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit statuses: something measured is not as it must be, or it cannot be measured so.
const (
	exitWrong = 1
	exitUsage = 2
)

// errDoesNotHold ends a command that has printed what does not hold.
var errDoesNotHold = errors.New("not everything holds that must")

// An exitError is the status of this program run again inside, which has said all there is to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// run executes one call and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:                "bench",
		Short:              "Measure hither",
		SilenceErrors:      true,
		DisableSuggestions: true, // a mistake is one line
		SilenceUsage:       true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(conformanceCommand(), dnsCommand(), farCommand(), holdCommand(), labCommand(), loadCommand(), peersCommand(), purgeCommand(), reportsCommand(), rttCommand(), steerCommand(), traceCommand(), upstreamCommand())
	err := root.ExecuteContext(ctx)
	var missing *load.MissingError
	var inner exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &inner):
		return int(inner)
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "bench: stopped; what it started has ended")
		return exitWrong
	case errors.Is(err, errDoesNotHold), errors.Is(err, errMeasure) && !errors.As(err, &missing):
		fmt.Fprintln(stderr, "bench:", err)
		return exitWrong
	}
	fmt.Fprintln(stderr, "bench:", err)
	return exitUsage
}
