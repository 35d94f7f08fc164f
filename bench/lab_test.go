package main

import (
	"bytes"
	"strings"
	"testing"
)

// A call of `bench lab` that is wrong is told in one line before anything is made.
func TestLabCalls(t *testing.T) {
	for call, want := range map[string]string{
		"lab up --loss 1":           "--loss 1: want a share",
		"lab up --rate -1":          "--rate -1: want Mbit/s",
		"lab up --client-edge 1h":   "from 0s to 10s",
		"lab up --edge-origin -1ms": "from 0s to 10s",
		"lab up more":               "more",
		"lab sideways":              "sideways",
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), strings.Fields(call), &stdout, &stderr)
		if status != exitUsage || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), want) {
			t.Errorf("bench %s: status %d, %q", call, status, &stderr)
		}
	}
}
