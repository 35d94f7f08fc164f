package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hither/bench/lab"
)

func labDelayCommand() *cobra.Command {
	var to []string
	var ready bool
	c := &cobra.Command{
		Use:   "delay --to ADDR=DISTANCE... [-- PROGRAM ARGUMENT...]",
		Short: "Put distance between this machine, or container, and some addresses",
		Long: "Put distance between the network namespace this runs in and some addresses, until Ctrl-C, or while a program runs\n" +
			"that it starts and whose exit status it takes. All of a round trip's time is added to what is sent, nothing to what\n" +
			"comes back. For containers: deploy/compose does so with its profile `distance`. Needs the capabilities NET_ADMIN and\n" +
			"NET_RAW, and /dev/net/tun.",
		RunE: func(c *cobra.Command, program []string) error {
			if ready {
				if !lab.Delayed() {
					return fmt.Errorf("%w: no delay runs here", errMeasure)
				}
				return nil
			}
			var legs []lab.Leg
			for _, text := range to {
				leg, err := lab.ParseLeg(text)
				if err != nil {
					return fmt.Errorf("--to: %w", err)
				}
				legs = append(legs, leg)
			}
			if len(legs) == 0 {
				return errors.New("--to ADDR=DISTANCE: want at least one")
			}
			return labDelay(c.Context(), legs, program, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringArrayVar(&to, "to", nil, "`ADDR=DISTANCE`: an address, and the round trip that is added, such as 192.0.2.1=200ms")
	c.Flags().BoolVar(&ready, "ready", false, "only tell by the exit status whether a delay runs here")
	return c
}

func labDelay(ctx context.Context, legs []lab.Leg, program []string, stdout, stderr io.Writer) (err error) {
	d, err := lab.StartDelay(legs)
	if err != nil {
		return err
	}
	defer func() {
		if closed := d.Close(); closed != nil {
			err = fmt.Errorf("%w: %w", errMeasure, closed)
		}
	}()
	if len(program) > 0 {
		return runProgram(ctx, program, d.Ended(), os.Stdin, stdout, stderr)
	}
	for _, leg := range legs {
		fmt.Fprintf(stdout, "  %-8v is added to a round trip from %s to %v\n", leg.Distance, d.Device(), leg.To)
	}
	fmt.Fprintln(stdout, "Ctrl-C takes it away.\nready")
	select {
	case <-ctx.Done():
	case <-d.Ended():
	}
	return nil
}

// runProgram runs a program until it ends, ctx does, or what it needs has ended; then it is told to end. Its status is
// the error's.
func runProgram(ctx context.Context, program []string, ended <-chan struct{}, stdin *os.File, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := exec.CommandContext(ctx, program[0], program[1:]...)
	c.Stdin, c.Stdout, c.Stderr = stdin, stdout, stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = time.Minute
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The program dies with the thread that started it, so that must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.Start(); err != nil {
		return fmt.Errorf("start the program behind --: %w", err)
	}
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ended:
			cancel()
		case <-done:
		}
	}()
	err := c.Wait()
	close(done)
	<-watched
	if c.ProcessState == nil {
		return err
	}
	switch status := c.ProcessState.ExitCode(); {
	case status == 0:
		return nil
	case status > 0:
		return exitError(status)
	}
	return exitError(exitWrong) // by a signal
}
