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

		"lab delay":                      "--to ADDR=DISTANCE: want at least one",
		"lab delay --to 192.0.2.1":       "want ADDR=DISTANCE",
		"lab delay --to 192.0.2.1=far":   "far",
		"lab delay --to nowhere=1ms":     "nowhere",
		"lab delay --to 192.0.2.1=11s":   "want 0 to 10s",
		"lab delay --to 192.0.2.1=-1ms":  "want 0 to 10s",
		"lab delay --to 2001:db8::1=1ms": "want the IPv4 address",
		"lab delay --to 0.0.0.0=1ms":     "want the IPv4 address",
		"lab delay --to 127.0.0.1=1ms":   "this machine itself",
		"lab delay --to 127.85.0.1=1ms":  "this machine itself",
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), strings.Fields(call), &stdout, &stderr)
		if status != exitUsage || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), want) {
			t.Errorf("bench %s: status %d, %q", call, status, &stderr)
		}
	}
}
