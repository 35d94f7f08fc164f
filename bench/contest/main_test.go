package contest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"hither/bench/peers"
)

// TestMain is the test program, or what it starts itself again as.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case peers.HoldCommand:
			status, err := peers.Hold(os.Args[2:])
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			os.Exit(status)
		case mortalMode:
			os.Exit(mortal(os.Args[2], os.Args[3], os.Args[4], os.Args[5]))
		}
	}
	goleak.VerifyTestMain(m)
}
