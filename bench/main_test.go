package main

import (
	"context"
	"os"
	"testing"

	"hither/bench/peers"
)

// TestMain is the test program, or what the commands in it start themselves again as.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == peers.HoldCommand {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}
