package ops

import (
	"os"
	"runtime/debug"
)

// LimitMemory tells the Go runtime how many bytes this process should stay below
// (edge.cache.memory_limit of the network file): near it the garbage collector works
// harder. It is a soft limit. 0 sets none; and the variable GOMEMLIMIT in the process's
// environment, where a container's manager puts what that one process may use, wins over
// the file, which speaks for many. It returns the limit in force, math.MaxInt64 if none.
func LimitMemory(bytes int64) int64 {
	if bytes > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
	return debug.SetMemoryLimit(-1)
}
