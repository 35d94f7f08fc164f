package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNATSConfig has the command print a configuration for a network without a hub of its own, and refuse one that has it.
func TestNATSConfig(t *testing.T) {
	data, err := os.ReadFile("../network.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "network.yaml")
	try := func(text string) (string, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		c := natsConfigCommand()
		c.SetOut(&out)
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs([]string{"--network", file, "--operator", "ada", "--without", "edge-iad"})
		err := c.Execute()
		return out.String(), err
	}
	if out, err := try(string(data)); err == nil {
		t.Errorf("a network with a hub of its own: %s", out)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, "embedded_in:") {
			lines = append(lines, line)
		}
	}
	out, err := try(strings.Join(lines, ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".edge.", ".origin.", ".dns.", `"ada.operator.`, `{allow: [">"]}`, "verify_and_map: true"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %s:\n%s", want, out)
		}
	}
	if strings.Contains(out, `"iad.edge.`) {
		t.Error("it has a node that was left out")
	}
}
