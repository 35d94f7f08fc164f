package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"hither/bench/load"
)

// A Suite is a checkout of http-tests/cache-tests, and the node that runs it.
type Suite struct {
	Dir     string // absolute
	Version string // by its package.json; "" if it does not say
	Commit  string // "" if Dir is no checkout of git, with "+changes" if it is not as committed
	Digest  string // of the cases, in full: two suites with the same one ask the same
	Node    string // the version of node
	Cases   []Case // in the order in which they are run

	node string // the program
}

// From where a suite comes, and which node can run it.
const (
	suiteHome = "https://github.com/http-tests/cache-tests"
	nodeLeast = 20
)

// Open looks at a suite. It starts node, and changes nothing in the folder. An error says what is
// wrong with it and what to do; a missing node is a load.MissingError.
func Open(ctx context.Context, dir string) (*Suite, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	for _, file := range []string{"test-engine/cli.mjs", "test-engine/server/server.mjs", "tests/index.mjs"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("conformance: %s is no checkout of http-tests/cache-tests, as it has no file %s: clone %s, and give that folder", dir, file, suiteHome)
		}
	}
	s := &Suite{Dir: dir}
	if s.node, err = exec.LookPath("node"); err != nil {
		return nil, &load.MissingError{Program: "node", Package: "nodejs"}
	}
	if s.node, err = filepath.Abs(s.node); err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	s.identify(ctx)
	return s, nil
}

// read has node tell the cases.
func (s *Suite) read(ctx context.Context) error {
	work, err := os.MkdirTemp("", "hither-conformance-")
	if err != nil {
		return fmt.Errorf("conformance: %w", err)
	}
	defer os.RemoveAll(work)
	cmd, err := s.command(work, nil, nil, scriptCases, s.Dir)
	if err != nil {
		return err
	}
	out, err := output(ctx, "node", cmd, startTime)
	if err != nil {
		return fmt.Errorf("conformance: read the cases of %s: %w", s.Dir, err)
	}
	var told struct {
		Node   string
		Undici bool
		Groups []group
	}
	if err := json.Unmarshal(out, &told); err != nil {
		return fmt.Errorf("conformance: read the cases of %s: %w", s.Dir, err)
	}
	s.Node = told.Node
	major, _, _ := strings.Cut(told.Node, ".")
	if n, err := strconv.Atoi(major); err != nil || n < nodeLeast {
		return fmt.Errorf("conformance: %s is node %s, and the suite's client needs %d or later: put such a node first into PATH", s.node, told.Node, nodeLeast)
	}
	if !told.Undici {
		return fmt.Errorf("conformance: the suite's client needs node_modules/undici, and it is not in %s: run `npm install --no-save undici@7` there, or unpack that package", s.Dir)
	}
	if s.Cases, err = flatten(told.Groups); err != nil {
		return fmt.Errorf("conformance: %s: %w", s.Dir, err)
	}
	canonical, err := json.Marshal(told.Groups)
	if err != nil {
		return fmt.Errorf("conformance: %w", err)
	}
	s.Digest = fmt.Sprintf("%x", sha256.Sum256(canonical))
	return nil
}

// A group is one of the suite's files.
type group struct {
	ID    string            `json:"id"`
	Tests []json.RawMessage `json:"tests"`
}

// flatten takes from the groups what scoring needs, and refuses what cannot be scored.
func flatten(groups []group) ([]Case, error) {
	var cases []Case
	seen := map[string]bool{}
	for _, g := range groups {
		for _, raw := range g.Tests {
			var t struct {
				ID          string
				Kind        Kind
				DependsOn   []string `json:"depends_on"`
				BrowserOnly bool     `json:"browser_only"`
			}
			if err := json.Unmarshal(raw, &t); err != nil {
				return nil, fmt.Errorf("a case of group %s: %w", g.ID, err)
			}
			if t.Kind == "" {
				t.Kind = Required
			}
			switch {
			case t.ID == "" || strings.ContainsAny(t.ID, " \t\n"):
				return nil, fmt.Errorf("a case of group %s has the id %q", g.ID, t.ID)
			case seen[t.ID]:
				return nil, fmt.Errorf("case %s is there twice", t.ID)
			case t.Kind != Required && t.Kind != Optimal && t.Kind != Check:
				return nil, fmt.Errorf("case %s is of kind %q, which is not known here", t.ID, t.Kind)
			}
			seen[t.ID] = true
			cases = append(cases, Case{ID: t.ID, Group: g.ID, Kind: t.Kind, Needs: t.DependsOn, Browser: t.BrowserOnly})
		}
	}
	if len(cases) == 0 {
		return nil, errors.New("it has no cases")
	}
	return cases, checkNeeds(cases)
}

// checkNeeds refuses a case that needs one which is not there, and cases that need each other.
func checkNeeds(cases []Case) error {
	byID := map[string]Case{}
	for _, c := range cases {
		byID[c.ID] = c
	}
	const under, done = 1, 2
	state := map[string]int{}
	var visit func(c Case) error
	visit = func(c Case) error {
		switch state[c.ID] {
		case under:
			return fmt.Errorf("case %s needs itself", c.ID)
		case done:
			return nil
		}
		state[c.ID] = under
		for _, id := range c.Needs {
			next, ok := byID[id]
			if !ok {
				return fmt.Errorf("case %s needs %s, which is not there", c.ID, id)
			}
			if err := visit(next); err != nil {
				return err
			}
		}
		state[c.ID] = done
		return nil
	}
	for _, c := range cases {
		if err := visit(c); err != nil {
			return err
		}
	}
	return nil
}

// identify finds which suite it is, as far as the folder tells.
func (s *Suite) identify(ctx context.Context) {
	var p struct{ Version string }
	if text, err := os.ReadFile(filepath.Join(s.Dir, "package.json")); err == nil && json.Unmarshal(text, &p) == nil {
		s.Version = p.Version
	}
	git := func(args ...string) (string, bool) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", s.Dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0") // git status would write its index
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	top, ok := git("rev-parse", "--show-toplevel")
	if real, err := filepath.EvalSymlinks(s.Dir); !ok || err != nil || top != real {
		return // the folder lies in a repository of something else
	}
	commit, ok := git("rev-parse", "HEAD")
	if !ok {
		return
	}
	s.Commit = commit
	if changes, ok := git("status", "--porcelain", "--untracked-files=no"); !ok || changes != "" {
		s.Commit += "+changes"
	}
}
