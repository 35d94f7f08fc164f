package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestVerbs has flags given where a verb is wanted: they are answered with the verbs that there are.
func TestVerbs(t *testing.T) {
	for _, c := range []struct{ call, says string }{
		{"fleet rotate --state x", "unknown flag: --state; `hither fleet rotate` wants one of abandon, begin, finish, status before it"},
		{"fleet token --state x", "wants one of add, list, remove before it"},
		{"fleet rotate begin --nothing", "unknown flag: --nothing\n"},
		{"purge --nothing", "unknown flag: --nothing\n"},
	} {
		var out, err bytes.Buffer
		if got := run(t.Context(), strings.Fields(c.call), &out, &err); got != exitUsage || !strings.Contains(err.String(), c.says) {
			t.Errorf("%s: status %d, %s", c.call, got, &err)
		}
	}
}
