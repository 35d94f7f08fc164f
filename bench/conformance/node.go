package conformance

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// The scripts of ours that node runs, beside the suite's.
const (
	scriptCases  = "cases.mjs"
	scriptListen = "listen.mjs"
	scriptLookup = "lookup.mjs"
)

//go:embed node/*.mjs
var scripts embed.FS

// unpack writes a script into a folder.
func unpack(dir, script string) (string, error) {
	text, err := scripts.ReadFile("node/" + script)
	if err != nil {
		return "", fmt.Errorf("conformance: %w", err)
	}
	name := filepath.Join(dir, script)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return "", fmt.Errorf("conformance: %w", err)
	}
	return name, nil
}

// command is a call of node in the folder work: first the scripts of preload, then main. A name that is none of ours is a file of
// the suite. It sees nothing of our environment but the PATH, as NODE_OPTIONS or settings of npm would change what is measured.
func (s *Suite) command(work string, env, preload []string, main string, args ...string) (*exec.Cmd, error) {
	call := []string{"--no-warnings"}
	for _, script := range preload {
		file, err := unpack(work, script)
		if err != nil {
			return nil, err
		}
		call = append(call, "--import", "file://"+file)
	}
	if _, err := scripts.Open("node/" + main); err == nil {
		if main, err = unpack(work, main); err != nil {
			return nil, err
		}
	} else {
		main = filepath.Join(s.Dir, main)
	}
	cmd := exec.Command(s.node, append(append(call, main), args...)...)
	cmd.Dir = work
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + work}, env...)
	return cmd, nil
}
