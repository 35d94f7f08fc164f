package deploy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxBytes is how large a network file may be. A revision must fit into one message
// of the hub, whose limit is 1 MiB, with room for the envelope.
const MaxBytes = 1<<20 - 1<<12

// maxDepth is how deep lists and mappings may nest. The structs need seven levels;
// the YAML parser recurses and builds a path for each, so depth is bounded before it
// starts.
const maxDepth = 24

// Load reads the network file at path. Mistakes in the file are returned as
// [Mistakes]; other errors say why the file cannot be read.
func Load(path string) (*Network, error) {
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
	return Parse(path, data)
}

// Parse reads a network file from memory. The name stands in front of each mistake.
// An error is always of type [Mistakes]: sorted by place, and all there are unless
// the file cannot be read as YAML at all or is of a version not known here.
func Parse(name string, data []byte) (*Network, error) {
	l := &loader{file: name, where: map[string]position{}, bad: map[string]bool{}, network: defaultNetwork()}
	if body := l.syntax(data); body != nil && l.version(body) {
		l.decode("", body, value(l.network))
		l.network.derive()
		l.check()
	}
	if len(l.mistakes) > 0 {
		return nil, l.mistakes.sort()
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
	mistakes Mistakes
}

// at adds a mistake at a place in the file.
func (l *loader) at(p position, format string, args ...any) {
	l.mistakes = append(l.mistakes, Mistake{
		File: l.file, Line: max(p.line, 1), Col: max(p.col, 1),
		Msg: fmt.Sprintf(format, args...),
	})
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

// syntax returns the mapping that the file consists of, or nil after noting why there
// is none.
func (l *loader) syntax(data []byte) (body ast.Node) {
	if len(data) > MaxBytes {
		l.at(position{}, "the file is larger than %v, the most that a revision may have", Size(MaxBytes))
		return nil
	}
	if line, ok := firstInvalid(data); !ok {
		l.at(position{line: line}, "the line is not valid UTF-8 text, or has a control character")
		return nil
	}
	// A revision comes from outside and must not end the node that reads it, whatever
	// the library makes of it.
	defer func() {
		if r := recover(); r != nil {
			body = nil
			l.at(position{}, "this cannot be read as YAML")
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if t := tooDeep(tokens); t != nil {
		l.at(positionOf(t), "lists and mappings are nested more than %d deep here", maxDepth)
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.notYAML(err)
		return nil
	}
	var docs []*ast.DocumentNode
	for _, d := range file.Docs {
		if d.Body != nil {
			docs = append(docs, d)
		}
	}
	switch {
	case len(docs) == 0:
		l.at(position{}, "the file is empty; it must begin with `version: %d`", Version)
		return nil
	case len(docs) > 1:
		l.at(nodePosition(docs[1].Body), "a second document begins here; a network is one")
		return nil
	}
	return docs[0].Body
}

// notYAML notes the parser's error.
func (l *loader) notYAML(err error) {
	var e yaml.Error
	if !errors.As(err, &e) {
		l.at(position{}, "this cannot be read as YAML: %s", firstLine(err.Error()))
		return
	}
	l.at(positionOf(e.GetToken()), "this cannot be read as YAML: %s", firstLine(e.GetMessage()))
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

// tooDeep returns the token at which nesting passes maxDepth, or nil. Flow
// collections count their brackets, block collections the columns at which they begin.
func tooDeep(tokens token.Tokens) *token.Token {
	var blocks []int
	flow, keyColumn, line := 0, 0, -1
	for _, t := range tokens {
		if t.Position == nil {
			continue
		}
		if t.Position.Line != line {
			line, keyColumn = t.Position.Line, t.Position.Column
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			if flow > 0 {
				continue
			}
			column := t.Position.Column
			if t.Type == token.MappingValueType {
				column = keyColumn
			}
			for len(blocks) > 0 && blocks[len(blocks)-1] >= column {
				blocks = blocks[:len(blocks)-1]
			}
			blocks = append(blocks, column)
			if t.Type != token.MappingValueType {
				keyColumn = column + 1
			}
		}
		if flow+len(blocks) > maxDepth {
			return t
		}
	}
	return nil
}

// firstInvalid returns the number of the first line that is not text.
func firstInvalid(data []byte) (line int, ok bool) {
	line = 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			return line, false
		}
		if r == '\n' {
			line++
		}
		data = data[n:]
	}
	return 0, true
}

func positionOf(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{}
	}
	return position{t.Position.Line, t.Position.Column}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.ReplaceAll(s, "\t", `\t`)
}
