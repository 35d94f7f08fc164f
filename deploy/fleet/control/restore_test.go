package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hither/deploy"
	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
	"hither/deploy/fleet/control"
	"hither/deploy/fleet/hub"
)

// site is an origin's machine with a hub and a control, and the operator main, who is elsewhere.
type site struct {
	t         *testing.T
	folder    string
	authority *fleet.Authority
	us        *fleet.Identity
	operator  *fleet.Identity

	hub      *hub.Hub
	writer   *bus.Conn // the control's
	asks     *bus.Conn // the operator's
	log      *bytes.Buffer
	stopping func()
}

func newSite(t *testing.T, network string) *site {
	t.Helper()
	s := &site{t: t, folder: t.TempDir()}
	var err error
	if s.authority, err = fleet.OpenAuthority(filepath.Join(s.folder, "authority"), network); err != nil {
		t.Fatal(err)
	}
	s.us, s.operator = s.identity(fleet.RoleOrigin, "us"), s.identity(fleet.RoleOperator, "main")
	t.Cleanup(s.stop)
	return s
}

func (s *site) identity(role, name string) *fleet.Identity {
	s.t.Helper()
	dir := filepath.Join(s.folder, role+"-"+name, "identity")
	if _, err := s.authority.Issue(dir, role, name, nil); err != nil {
		s.t.Fatal(err)
	}
	id, err := fleet.LoadIdentity(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *site) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

// state is the folder of the origin's node.
func (s *site) state() string { return filepath.Join(s.folder, "origin-us") }

// start starts hub and control on what lies in the folder.
func (s *site) start() {
	s.t.Helper()
	var err error
	s.log = new(bytes.Buffer)
	quiet := slog.New(slog.DiscardHandler)
	if s.hub, err = hub.Start(hub.Options{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Folder: filepath.Join(s.state(), "hub"), Identity: s.us, Log: quiet}); err != nil {
		s.t.Fatal(err)
	}
	if s.writer, err = bus.Dial(s.hub.Control()); err != nil {
		s.t.Fatal(err)
	}
	if err := hub.Ensure(s.ctx(), s.writer, 1); err != nil {
		s.t.Fatal(err)
	}
	network, err := deploy.Parse("network.yaml", deploy.Example())
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := control.New(control.Options{
		Conn: s.writer, Identity: s.us, State: s.state(), Network: func() *deploy.Network { return network },
		Log: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	s.stopping = func() { cancel(); <-done }
	if s.asks, err = bus.Dial(bus.Options{URLs: []string{s.hub.URL()}, Identity: s.operator, Embedded: "us", Log: quiet}); err != nil {
		s.t.Fatal(err)
	}
	s.until("the control answers", func() bool {
		m, err := s.asks.Request(s.ctx(), bus.ControlSubject("main", "no-such-verb"), nil)
		return err == nil && m != nil
	})
}

func (s *site) stop() {
	if s.stopping == nil {
		return
	}
	s.asks.Close()
	s.stopping()
	s.writer.Close()
	s.hub.Close()
	s.stopping = nil
}

// until waits for something.
func (s *site) until(what string, f func() bool) {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !f(); <-tick.C {
		if time.Now().After(end) {
			s.t.Fatalf("it is not so after a minute: %s", what)
		}
	}
}

// ask asks the control.
func (s *site) ask(ctx context.Context, verb string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	m, err := s.asks.Request(ctx, bus.ControlSubject("main", verb), body)
	if err != nil {
		return err
	}
	var a bus.Answer
	if err := bus.Decode(m.Data, &a); err != nil {
		return err
	}
	if a.Status != 200 {
		return fmt.Errorf("%d: %s", a.Status, a.Error)
	}
	return json.Unmarshal(a.Doc, out)
}

func (s *site) put(subject string, m any) (sequence uint64) {
	s.t.Helper()
	sequence, err := s.writer.Append(s.ctx(), subject, bus.Encode(m), bus.Expectation{})
	if err != nil {
		s.t.Fatal(err)
	}
	return sequence
}

// fill writes what a fleet has after some time: of the journal the oldest entries are gone.
func (s *site) fill() {
	s.t.Helper()
	for n := 1; n <= 3; n++ {
		s.put(bus.RevisionSubject(n), bus.Revision{Number: n, File: bytes.Repeat([]byte{byte('a' + n)}, 300<<10)})
	}
	for n := range 50 {
		s.put(bus.TableSubject(bus.TableDrain, fmt.Sprintf("pop-%d", n%7)), bus.Drain{By: fmt.Sprint(n)})
	}
	s.put(bus.TableSubject(bus.TableTarget, bus.TargetKey), bus.Target{Stable: 3})
	for n := range 40 {
		s.put(bus.SubjectSecret+bus.TableToken+fmt.Sprintf(".cms-%d", n), bus.Token{Hash: strings.Repeat("a", 20<<10), By: "main"})
	}
	for n := range 9 {
		s.put(bus.SubjectJournal, bus.Batch{Journal: "old", First: uint64(2*n + 1), Orders: []bus.Order{{Kind: "tag", Value: "a"}, {Kind: "tag", Value: "b"}}})
	}
	if _, err := s.writer.Request(s.ctx(), "$JS.API.STREAM.PURGE."+bus.StreamJournal, []byte(`{"seq":4}`)); err != nil {
		s.t.Fatal(err)
	}
}

// content is what lies in a stream: subject, sequence and data.
func (s *site) content(stream string) (lines []string) {
	s.t.Helper()
	err := s.writer.Read(s.ctx(), stream, 1, func(m *bus.Message) error {
		lines = append(lines, fmt.Sprintf("%s %d %s", m.Subject, m.Sequence, m.Data))
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return lines
}

// without leaves out the sequences, and what a control writes of roll-outs by itself.
func without(lines []string) string {
	var out []string
	for _, l := range lines {
		subject, rest, _ := strings.Cut(l, " ")
		_, data, _ := strings.Cut(rest, " ")
		if table, _, _ := bus.TableOf(subject); table == "" || table == bus.TableDrain {
			out = append(out, subject+" "+data)
		}
	}
	return strings.Join(out, "\n")
}

func (s *site) backup(move bool) []byte {
	s.t.Helper()
	var b bytes.Buffer
	w := fleet.NewArchive(&b, s.us.Network, time.Now())
	if err := s.authority.BackUp(w); err != nil {
		s.t.Fatal(err)
	}
	if err := (control.Reader{Conn: s.asks, Ask: s.ask}).BackUp(s.ctx(), w, move); err != nil {
		s.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

// give puts a backup where the control finds it.
func (s *site) give(data []byte) {
	s.t.Helper()
	path := filepath.Join(s.state(), "hub", control.RestoreFile)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) lose() {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.state(), "hub")); err != nil {
		s.t.Fatal(err)
	}
}

var streams = []string{bus.StreamRevisions, bus.StreamTables, bus.StreamSecrets, bus.StreamJournal}

// TestRestore loses the hub's disk after a backup. What there was is there again, under sequences that no node has seen; the
// journal is a new one, in which numbers go on.
func TestRestore(t *testing.T) {
	s := newSite(t, "demo")
	s.start()
	s.fill()
	before := map[string][]string{}
	for _, stream := range streams {
		before[stream] = s.content(stream)
	}
	saved := s.backup(false)
	last := s.put(bus.TableSubject(bus.TableDrain, "late"), bus.Drain{By: "lost with the disk"})
	s.stop()
	s.lose()
	s.give(saved)
	s.start()
	for _, stream := range streams[:3] {
		if got := s.content(stream); without(got) != without(before[stream]) {
			t.Errorf("%s is another:\n%.300s", stream, without(got))
		}
	}
	at := s.content(bus.StreamTables)[0]
	var sequence uint64
	if _, err := fmt.Sscan(strings.Fields(at)[1], &sequence); err != nil || sequence <= last {
		t.Errorf("the tables begin at %d, and nodes have come to %d", sequence, last)
	}
	journal := s.content(bus.StreamJournal)
	var b bus.Batch
	if len(journal) != 1 {
		t.Fatalf("the journal has %d entries", len(journal))
	}
	if err := bus.Decode([]byte(strings.SplitN(journal[0], " ", 3)[2]), &b); err != nil || b.Check() != nil || b.Journal == "old" || b.First != 19 || b.Orders[0] != (bus.Order{Kind: "all", Soft: true}) {
		t.Errorf("it begins with %+v, %v", b, err)
	}
	var part control.Exported
	if err := s.ask(s.ctx(), "export", control.Export{Stream: bus.StreamSecrets, From: 1}, &part); err != nil || part.Journal != b.Journal || !part.More {
		t.Errorf("the hub says that it is journal %q, and its entries say %q; %v", part.Journal, b.Journal, err)
	}
	for _, name := range []string{control.RestoreFile, "restore.begun"} {
		if _, err := os.Stat(filepath.Join(s.state(), "hub", name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}

	// A start on what there is changes nothing, and a second backup is as good as the first.
	again := s.backup(false)
	s.stop()
	s.lose()
	s.give(again)
	s.start()
	if got := s.content(bus.StreamTables); without(got) != without(before[bus.StreamTables]) {
		t.Error("restored twice, the tables are others")
	}
}

// TestRestoreReplaced restores a backup in which a key stands twice, for it was changed while the backup was made: the last value counts.
func TestRestoreReplaced(t *testing.T) {
	var b bytes.Buffer
	w := fleet.NewArchive(&b, "demo", time.Now())
	w.Manifest().Hub, w.Manifest().Tables = true, 9
	var lines []byte
	for i, by := range []string{"before", "meanwhile"} {
		line, err := json.Marshal(control.Entry{Subject: bus.TableSubject(bus.TableDrain, "fra"), Sequence: uint64(5 + 4*i), Data: bus.Encode(bus.Drain{By: by})})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(append(lines, line...), '\n')
	}
	if err := errors.Join(w.Add("hub/TABLES.000001", lines), w.Close()); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "demo")
	s.give(b.Bytes())
	s.start()
	if got := without(s.content(bus.StreamTables)); !strings.Contains(got, "meanwhile") || strings.Contains(got, "before") {
		t.Errorf("the tables have %s", got)
	}
	s.stop() // and nobody writes to the log any more
	if got := s.log.String(); strings.Contains(got, "not restored yet") {
		t.Errorf("not at once:\n%s", got)
	}
}

// TestRestoreInterrupted ends a restore in the middle: the next start goes on.
func TestRestoreInterrupted(t *testing.T) {
	s := newSite(t, "demo")
	s.start()
	s.fill()
	before := s.content(bus.StreamTables)
	saved := s.backup(false)
	s.stop()
	s.lose()
	s.start()
	a, err := fleet.OpenArchive(bytes.NewReader(saved))
	if err != nil {
		t.Fatal(err)
	}
	// As if a start had written this much.
	s.put(bus.RevisionSubject(1), bus.Revision{Number: 1, File: bytes.Repeat([]byte("b"), 300<<10)})
	mark := a.At.Format(time.RFC3339Nano) + "\n"
	s.stop()
	if err := os.WriteFile(filepath.Join(s.state(), "hub", "restore.begun"), []byte(mark), 0o600); err != nil {
		t.Fatal(err)
	}
	s.give(saved)
	s.start()
	if got := s.content(bus.StreamTables); without(got) != without(before) {
		t.Error("the tables are others")
	}
	if got := s.content(bus.StreamRevisions); len(got) != 3 {
		t.Errorf("%d revisions", len(got))
	}
}

// TestMove has another hub go on with the same journal, under the same sequences.
func TestMove(t *testing.T) {
	s := newSite(t, "demo")
	s.start()
	s.fill()
	journal, revisions, tables := s.content(bus.StreamJournal), s.content(bus.StreamRevisions), s.content(bus.StreamTables)
	var part control.Exported
	if err := s.ask(s.ctx(), "export", control.Export{Stream: bus.StreamSecrets, From: 1}, &part); err != nil {
		t.Fatal(err)
	}
	saved := s.backup(true)
	s.stop()
	s.lose()
	s.give(saved)
	s.start()
	if got := s.content(bus.StreamJournal); strings.Join(got, "\n") != strings.Join(journal, "\n") || len(got) != 6 {
		t.Errorf("the journal is\n%s\nand was\n%s", strings.Join(got, "\n"), strings.Join(journal, "\n"))
	}
	if without(s.content(bus.StreamRevisions)) != without(revisions) || without(s.content(bus.StreamTables)) != without(tables) {
		t.Error("revisions or tables are others")
	}
	was := part.Journal
	if err := s.ask(s.ctx(), "export", control.Export{Stream: bus.StreamSecrets, From: 1}, &part); err != nil || part.Journal != was {
		t.Errorf("the journal is %q and was %q, %v", part.Journal, was, err)
	}
}

// TestRestoreRefuses lists backups from which no hub is filled: the file is put aside, the log says why, and the hub is as it was.
func TestRestoreRefuses(t *testing.T) {
	s := newSite(t, "demo")
	s.start()
	s.fill()
	saved := s.backup(false)
	other := newSite(t, "other")
	other.start()
	foreign := other.backup(false)
	other.stop()
	archive := func(hub bool, name, data string) []byte {
		var b bytes.Buffer
		w := fleet.NewArchive(&b, "demo", time.Now())
		w.Manifest().Hub = hub
		if err := errors.Join(w.Add(name, []byte(data)), w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	entry := func(subject string, sequence uint64, data []byte) string {
		line, err := json.Marshal(control.Entry{Subject: subject, Sequence: sequence, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		return string(line) + "\n"
	}
	changed := bytes.Replace(saved, []byte("cms-7"), []byte("cms-x"), 1) // of the table's subject
	if bytes.Equal(changed, saved) {
		t.Fatal("nothing was changed")
	}
	s.stop()
	cases := []struct {
		name string
		data []byte
		want string
	}{
		{"a hub that has something", saved, "a backup is for a hub that has none"}, // it is the first, and has what was filled in
		{"cut short", saved[:len(saved)/2], "this is no backup, or a damaged one"},
		{"changed", changed, "what is in it is not what its manifest says"},
		{"foreign", foreign, "it is a backup of network other, and this one is demo"},
		{"nothing", nil, "was not written to its end"},
		{"junk", []byte(strings.Repeat("junk", 1000)), "this is no backup"},
		{"the authority alone", archive(false, "authority/x", "y"), "it has nothing of a hub"},
		{"another subject", archive(true, "hub/TABLES.000001", `{"subject":"journal","sequence":1,"data":""}`+"\n"), "an entry 1 of"},
		{"no entries", archive(true, "hub/TABLES.000001", "x\n"), "invalid character"},
		{"a command to the hub", archive(true, "hub/TABLES.000001", entry("table.drain.a\t0\r\n\r\nPUB\tjournal\t0\r\n", 1, nil)), "an entry 1 of"},
		{"every key", archive(true, "hub/TABLES.000001", entry("table.drain.*", 1, nil)), "an entry 1 of"},
		{"no key", archive(true, "hub/TABLES.000001", entry("table.drain.", 1, nil)), "an entry 1 of"},
		{"a longer journal", archive(true, "hub/JOURNAL.000001", entry("journal.x", 1, nil)), "an entry 1 of"},
		{"a large entry", archive(true, "hub/TABLES.000001", entry("table.drain.a", 1, make([]byte, bus.MostMessage+1))), "entry 1 has 1114113 bytes"},
		{"backwards", archive(true, "hub/TABLES.000001", entry("table.drain.a", 2, nil)+entry("table.drain.b", 1, nil)), "an entry 1 after 2"},
		{"far away", archive(true, "hub/TABLES.000001", entry("table.drain.a", 1<<63, nil)), "an entry 9223372036854775808 of"},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if i > 0 {
				s.lose()
			}
			s.give(c.data)
			s.start()
			if got := without(s.content(bus.StreamTables)); got != "" != (i == 0) {
				t.Errorf("the tables have\n%s", got)
			}
			for _, stream := range streams[2:] {
				if got := s.content(stream); len(got) > 0 != (i == 0) {
					t.Errorf("%s has %d entries", stream, len(got))
				}
			}
			if _, err := os.Stat(filepath.Join(s.state(), "hub", "restore.refused.tar")); err != nil {
				t.Error(err)
			}
			s.stop()
			if got := s.log.String(); !strings.Contains(got, c.want) {
				t.Errorf("the log says\n%s\nwant %s", got, c.want)
			}
		})
	}
}
