package load

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine names this machine as far as it tells figures apart: processor, cores, kernel.
func Machine() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		info = nil // named by its architecture alone
	}
	return fmt.Sprintf("%s, %d cores, Linux %s", model(string(info)), runtime.NumCPU(), kernel())
}

func model(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown version"
	}
	return unix.ByteSliceToString(u.Release[:])
}
