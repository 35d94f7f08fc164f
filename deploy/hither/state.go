package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

// upState is DIR/up.json: which processes a running `hither up` has, and where their
// sockets are. Operator commands find a network by it.
type upState struct {
	Schema string    `json:"schema"` // hither/up/1
	PID    int       `json:"pid"`
	Nodes  []upChild `json:"nodes"`
}

// An upChild is one node's process.
type upChild struct {
	Node      string   `json:"node"` // ROLE-NAME
	Role      string   `json:"role"`
	Name      string   `json:"name"`
	PID       int      `json:"pid"` // 0 when it does not run
	Addresses []string `json:"addresses"`
	Socket    string   `json:"socket"`
}

// writeJSON replaces a file of the state folder at once.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replace(path, append(data, '\n'))
}

// replace writes a file so that a reader finds either the old or the new content.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func readUp(dir string) (upState, error) {
	var s upState
	data, err := os.ReadFile(filepath.Join(dir, "up.json"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// madeFile is the copy by which a later start tells whether network.yaml was edited.
const madeFile = ".network.made.yaml"

func unedited(dir string, current []byte) bool {
	made, err := os.ReadFile(filepath.Join(dir, madeFile))
	return err == nil && bytes.Equal(made, current)
}

func writeNetwork(dir, path string, data []byte) error {
	if err := replace(filepath.Join(dir, madeFile), data); err != nil {
		return err
	}
	return replace(path, data)
}
