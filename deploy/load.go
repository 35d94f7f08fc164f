package deploy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// maxMistakes is how many mistakes are told. Nobody reads more, and suggestions cost
// time for each.
const maxMistakes = 1000

// A Check finds what is wrong with a network beyond what this package can know, such as a
// zone's records. It is asked about files that have no mistake so far.
type Check func(*Network) []Finding

// A Finding is what a [Check] says of one value.
type Finding struct {
	Path string // of the value, such as `zones[0].records[2]`
	Msg  string // what is wrong and what to do; one line

	// File and Line are the place where that is in another file, which the value names. Optional.
	File string
	Line int
}

// Load reads the network file at path. Mistakes in the file, those that checks find
// included, are returned as [Mistakes]; other errors say why the file cannot be read.
func Load(path string, checks ...Check) (*Network, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, checks...)
}

// Read reads the text of the network file at path, for [Parse]. Of a file that is larger
// than [MaxBytes] no more is read, and the error is [Mistakes]; other errors say why it
// cannot be read.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("deploy: network file %s does not exist; `hither up` writes one to begin with, and deploy/network.yaml is the annotated example", path)
	}
	if err != nil {
		return nil, fmt.Errorf("deploy: open network file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("deploy: read network file: %w", err)
	}
	if len(data) <= MaxBytes {
		return data, nil
	}
	size := int64(0)
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return nil, Mistakes{{File: path, Line: 1, Col: 1, Msg: tooLarge(size)}}
}

// Parse reads a network file from memory. The name stands in front of each mistake.
// An error is always of type [Mistakes]: sorted by place, and all there are unless
// the file cannot be read as YAML at all or is of a version not known here; of more than a
// thousand mistakes the rest is counted.
func Parse(name string, data []byte, checks ...Check) (*Network, error) {
	l := &loader{
		file: name, network: defaultNetwork(),
		where: map[string]position{}, bad: map[string]bool{}, names: map[string]*names{},
	}
	if body := l.syntax(data); body != nil && l.version(body) {
		l.decode("", body, value(l.network))
		l.network.derive()
		l.check()
	}
	for _, check := range checks {
		if len(l.mistakes) == 0 {
			l.take(check(l.network))
		}
	}
	if len(l.mistakes) > 0 {
		return nil, l.told()
	}
	return l.network, nil
}

type position struct{ line, col int }

// A loader reads one file. Values are known by their path (`pops[0].place.lat`).
type loader struct {
	file     string
	network  *Network
	where    map[string]position // of each value in the file
	bad      map[string]bool     // values that have a mistake already
	names    map[string]*names   // of what can be referred to, by its list
	mistakes Mistakes
	untold   int // mistakes beyond maxMistakes
}

// at adds a mistake at a place in the file.
func (l *loader) at(p position, format string, args ...any) {
	if len(l.mistakes) == maxMistakes {
		l.untold++
		return
	}
	l.mistakes = append(l.mistakes, Mistake{
		File: l.file, Line: max(p.line, 1), Col: max(p.col, 1),
		Msg: fmt.Sprintf(format, args...),
	})
}

// take adds what a check found.
func (l *loader) take(found []Finding) {
	for _, f := range found {
		if f.File == "" {
			l.wrong(f.Path, "%s", f.Msg)
			continue
		}
		l.mistakes = append(l.mistakes, Mistake{File: f.File, Line: max(f.Line, 1), Col: 1, Msg: f.Msg})
	}
}

// told returns the mistakes in order, with a last one for those beyond maxMistakes.
func (l *loader) told() Mistakes {
	all := l.mistakes.sort()
	if last := all[len(all)-1]; l.untold > 0 {
		last.Msg = fmt.Sprintf("there are %d more mistakes in this file; mend these first", l.untold)
		all = append(all, last)
	}
	return all
}

// wrong adds a mistake in the value at path; the message begins with its key. Where
// the value is not in the file it points to the nearest one around it. A value gets
// one mistake only: what follows from the first would hide it.
func (l *loader) wrong(path, format string, args ...any) {
	if l.bad[path] {
		return
	}
	l.bad[path] = true
	l.at(l.find(path), "%s%s", label(path), fmt.Sprintf(format, args...))
}

// find returns where the value at path is, or the nearest around it.
func (l *loader) find(path string) position {
	for {
		if p, ok := l.where[path]; ok {
			return p
		}
		if path == "" {
			return position{1, 1}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// label is the key that a message begins with: the last in the path.
func label(path string) string {
	for strings.HasSuffix(path, "]") {
		path = path[:max(strings.LastIndexByte(path, '['), 0)]
	}
	if path == "" {
		return ""
	}
	return path[strings.LastIndexByte(path, '.')+1:] + ": "
}

// version says whether the file's version is known. Of another one nothing else can
// be said: its keys may mean anything.
func (l *loader) version(body ast.Node) bool {
	m, ok := body.(ast.MapNode)
	if !ok {
		return true
	}
	for it := m.MapRange(); it.Next(); {
		if n, ok := it.Value().(*ast.IntegerNode); ok && keyText(it.Key()) == "version" {
			if v, ok := plainInt(n); !ok || v != Version {
				l.at(nodePosition(n), "version: %s is not known to this program, which reads version %d; bring the program to the version that wrote the file", quote(n.Token.Value), Version)
				return false
			}
		}
	}
	return true
}
