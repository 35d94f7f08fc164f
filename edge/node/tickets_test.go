package node

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"hither/deploy/fleet"
	"hither/edge/cert"
)

// aboutTickets is as much of an edge as keeps ticket secrets, in a process that begins at a time.
func aboutTickets(state string, id *fleet.Identity, log *journal, now *time.Time) *Node {
	n := &Node{o: Options{State: state, Identity: id, Log: slog.New(slog.NewTextHandler(log, nil)), Now: func() time.Time { return *now }}}
	n.tickets = n.newTickets()
	n.names = cert.NewNames(nil, n.tickets)
	return n
}

func chainOf(n *Node) []byte {
	chain, _ := n.tickets.Keep()
	return chain
}

// The secrets of session tickets outlive the process, sealed for the node alone, and what lies on disk is no older than what the node has.
func TestTicketsKept(t *testing.T) {
	f := newFarSide(t)
	state, now := t.TempDir(), time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC)
	path := filepath.Join(state, ticketsFile)
	var log journal
	first := aboutTickets(state, f.edge, &log, &now)
	var kept ticketsKept
	first.keepTicketsNow(&kept)
	sealed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	oldest := chainOf(first)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if bytes.Contains(sealed, oldest[len(oldest)-32:]) {
		t.Error("the secret is on disk as it is")
	}
	first.keepTicketsNow(&kept)
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(sealed, again) {
		t.Errorf("it was written again although nothing has changed: %v", err)
	}

	// A process that ends before it has written what is new, and one a day later.
	now = now.Add(cert.EpochLength)
	if second := aboutTickets(state, f.edge, &log, &now); !bytes.Equal(chainOf(second), chainOf(first)) {
		t.Error("the secrets are not those that a process has which goes on")
	}
	first.keepTicketsNow(&kept)
	if again, err := os.ReadFile(path); err != nil || bytes.Equal(sealed, again) {
		t.Errorf("new secrets were not written: %v", err)
	}
	now = now.Add(24 * time.Hour)
	third := aboutTickets(state, f.edge, &log, &now)
	third.keepTicketsNow(new(ticketsKept))
	onDisk, err := third.loadTickets()
	if err != nil || !bytes.Equal(onDisk, chainOf(third)) || bytes.Contains(onDisk, oldest[len(oldest)-32:]) {
		t.Errorf("a day later: %v", err)
	}
	if log.String() != "" {
		t.Errorf("the log has %s", &log)
	}
	if entries, err := os.ReadDir(state); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// What cannot be used is said in one line, and replaced.
func TestTicketsDamaged(t *testing.T) {
	f := newFarSide(t)
	now := time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC)
	good := t.TempDir()
	var log journal
	keep := func(state string, id *fleet.Identity) []byte {
		n := aboutTickets(state, id, &log, &now)
		n.keepTicketsNow(new(ticketsKept))
		return chainOf(n)
	}
	chain := keep(good, f.edge)
	file, err := os.ReadFile(filepath.Join(good, ticketsFile))
	if err != nil {
		t.Fatal(err)
	}
	strange := t.TempDir()
	keep(strange, f.us)
	foreign, err := os.ReadFile(filepath.Join(strange, ticketsFile))
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(file)
	flipped[len(flipped)-1] ^= 1
	var other bytes.Buffer
	w, err := age.Encrypt(&other, f.edge.Age.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("something else"))
	w.Close()
	for name, test := range map[string]struct {
		data []byte
		at   time.Duration // since the good ones were kept
		says string
	}{
		"empty":       {nil, 0, ticketsFile},
		"text":        {[]byte("hello\n"), 0, ticketsFile},
		"cut":         {file[:len(file)-1], 0, ticketsFile},
		"flipped":     {flipped, 0, ticketsFile},
		"large":       {append(slices.Clone(file), make([]byte, maxTickets)...), 0, ticketsFile},
		"foreign":     {foreign, 0, "another node"},
		"other":       {other.Bytes(), 0, "no ticket secrets"},
		"of tomorrow": {file, -24 * time.Hour, "clock was wrong"},
	} {
		state := t.TempDir()
		if err := os.WriteFile(filepath.Join(state, ticketsFile), test.data, 0o600); err != nil {
			t.Fatal(err)
		}
		log := new(journal)
		then := now.Add(test.at)
		n := aboutTickets(state, f.edge, log, &then)
		if bytes.Equal(chainOf(n), chain) {
			t.Errorf("%s: the secrets were taken", name)
		}
		if s := log.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, test.says) || !strings.Contains(s, "there are new ones") {
			t.Errorf("%s: the log has %q", name, s)
		}
		n.keepTicketsNow(new(ticketsKept))
		if again := aboutTickets(state, f.edge, log, &then); !bytes.Equal(chainOf(again), chainOf(n)) || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%s: the next process has not the new ones: %s", name, log)
		}
	}
	if log.String() != "" {
		t.Errorf("the log has %s", &log)
	}
}

// A disk that takes nothing is a warning, once, and no reason not to serve.
func TestTicketsUnwritable(t *testing.T) {
	f := newFarSide(t)
	state, now := t.TempDir(), time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC)
	var log journal
	n := aboutTickets(state, f.edge, &log, &now)
	// What is in the way is a folder, which root cannot write to either.
	if err := os.Mkdir(filepath.Join(state, ticketsFile+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	var kept ticketsKept
	for range 3 {
		n.keepTicketsNow(&kept)
	}
	if s := log.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "cannot be kept") {
		t.Errorf("the log has %q", s)
	}
	if _, err := os.Stat(filepath.Join(state, ticketsFile)); !os.IsNotExist(err) {
		t.Errorf("%v, want %v", err, fs.ErrNotExist)
	}
	if err := os.Remove(filepath.Join(state, ticketsFile+".new")); err != nil {
		t.Fatal(err)
	}
	n.keepTicketsNow(&kept)
	if again := aboutTickets(state, f.edge, &log, &now); !bytes.Equal(chainOf(again), chainOf(n)) {
		t.Errorf("the secrets were not kept once the disk took them; the log has %s", &log)
	}
}
