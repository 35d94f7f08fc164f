package deploy

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxBytes is how large a network file may be. A revision is one message of the hub, in
// which the file stands in base64: this much makes just 1 MiB there. The most that a message
// may have (bus.MostMessage) leaves room for what stands around it.
const MaxBytes = 768 << 10

// tooLarge is the mistake of a file that is larger than that; its size is 0 where it is not known.
func tooLarge(size int64) string {
	has := "more"
	if size > 0 {
		has = fmt.Sprintf("%d bytes", size)
	}
	return fmt.Sprintf("the file has %s; a network file may have %d bytes (%v), for it is one message to the nodes", has, MaxBytes, Size(MaxBytes))
}

// maxDepth is how deep lists and mappings may nest. The structs need seven levels;
// the YAML parser recurses and builds a path for each, so depth is bounded before it
// starts.
const maxDepth = 24

// maxKeys is how many keys a block mapping may have. The YAML parser recurses for each
// and copies those behind it, so its work grows with the square: this many take half a
// second.
const maxKeys = 1 << 14

// syntax returns the mapping that the file consists of, or nil after noting why there
// is none.
func (l *loader) syntax(data []byte) (body ast.Node) {
	if len(data) > MaxBytes {
		l.at(position{}, "%s", tooLarge(int64(len(data))))
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
	// The lexer counts a line end of Windows behind a comment twice.
	tokens := lexer.Tokenize(strings.ReplaceAll(string(data), "\r\n", "\n"))
	if t, why := tooMuch(tokens); t != nil {
		l.at(positionOf(t), "%s", why)
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

// tooMuch returns the token at which nesting passes maxDepth or a block mapping
// passes maxKeys, and why, or nil; for the sake of the parser, whose work has no bound
// of its own. Flow collections count their brackets, block
// collections the columns at which they begin.
func tooMuch(tokens token.Tokens) (*token.Token, string) {
	type block struct{ order, keys int }
	var blocks []block
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
			if t.Type == token.MappingKeyType {
				return t, "keys behind a question mark are not used in a network file; write KEY: VALUE"
			}
			if flow > 0 {
				continue
			}
			// A list may begin at the column of the key it belongs to, and is deeper.
			order := 2*t.Position.Column + 1
			if t.Type == token.MappingValueType {
				order = 2 * keyColumn
			} else {
				keyColumn = t.Position.Column + 1
			}
			for len(blocks) > 0 && blocks[len(blocks)-1].order > order {
				blocks = blocks[:len(blocks)-1]
			}
			if len(blocks) == 0 || blocks[len(blocks)-1].order < order {
				blocks = append(blocks, block{order: order})
			}
			if b := &blocks[len(blocks)-1]; t.Type == token.MappingValueType {
				b.keys++
				if b.keys > maxKeys {
					return t, fmt.Sprintf("a mapping has more than %d keys here; write it in braces", maxKeys)
				}
			}
		}
		if flow+len(blocks) > maxDepth {
			return t, fmt.Sprintf("lists and mappings are nested more than %d deep here", maxDepth)
		}
	}
	return nil, ""
}

// firstInvalid returns the number of the first line that is not text.
func firstInvalid(data []byte) (line int, ok bool) {
	line = 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		// A carriage return alone ends a line for YAML and for nothing else.
		alone := r == '\r' && (len(data) == 1 || data[1] != '\n')
		if r == utf8.RuneError && n == 1 || alone || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
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
