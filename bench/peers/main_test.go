package peers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"hither/bench/upstream"
)

// TestMain is the test program, or what it starts itself again as.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case HoldCommand:
			status, err := Hold(os.Args[2:])
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			os.Exit(status)
		case parentMode:
			os.Exit(parentOfHeld(os.Args[2], os.Args[3]))
		case keeperMode:
			os.Exit(parentOfFolder())
		case UpstreamCommand:
			os.Exit(serveUpstream(os.Args[2]))
		}
	}
	goleak.VerifyTestMain(m)
}

func serveUpstream(address string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", address)
	if err == nil {
		err = upstream.Serve(ctx, l, upstream.NewHandler(upstream.NewObjects()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
