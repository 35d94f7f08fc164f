package trace

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"hither/deploy"
)

// tooMuch says why a store of so many bytes, with what is beside them, cannot be replayed on this machine, or nothing.
func tooMuch(bytes int64) string {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return ""
	}
	available, ok := memAvailable(string(info))
	if need := bytes/100*(100+collectAt) + 64<<20; ok && need > available {
		return fmt.Sprintf("it takes %v of memory, of which %v are available: ask for a smaller size", mebibytes(need), mebibytes(available))
	}
	return ""
}

// memAvailable is what programs can have without swapping, in bytes (proc(5)).
func memAvailable(meminfo string) (bytes int64, ok bool) {
	for line := range strings.Lines(meminfo) {
		if text, is := strings.CutPrefix(line, "MemAvailable:"); is {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

func mebibytes(n int64) deploy.Size { return deploy.Size(n >> 20 << 20) }
