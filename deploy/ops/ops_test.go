package ops

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The test binary is the child process of some tests as well: CHILD says which.
func TestMain(m *testing.M) {
	if f, ok := children[os.Getenv("HITHER_OPS_CHILD")]; ok {
		os.Exit(f())
	}
	if seed := flag.Lookup("rapid.seed").Value; seed.String() == "0" { // else the environment names one
		seed.Set("1") // the same cases in each run; -rapid.seed=0 draws others, as `make soak` does
	}
	goleak.VerifyTestMain(m)
}

var children = map[string]func() int{
	"run":    childRun,
	"socket": childSocket,
}
