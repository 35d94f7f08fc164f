package ops

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The test binary is the child process of some tests as well: CHILD says which.
func TestMain(m *testing.M) {
	if f, ok := children[os.Getenv("HITHER_OPS_CHILD")]; ok {
		os.Exit(f())
	}
	goleak.VerifyTestMain(m)
}

var children = map[string]func() int{
	"run":    childRun,
	"socket": childSocket,
}
