package hub

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// TestSay holds all lines of the hub to a kind, a key, a text, and then names with their values: the compiler takes a line without its key for one whose
// text is a name, and most of them are said where something is broken.
func TestSay(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, name := range files {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "say" {
				return true
			}
			calls++
			if rest := len(call.Args) - 3; rest < 0 || rest%2 != 0 && call.Ellipsis == token.NoPos {
				t.Errorf("%v: of what follows the text each has a name and a value", set.Position(call.Pos()))
			}
			return true
		})
	}
	if calls < 8 {
		t.Errorf("%d lines found", calls)
	}
}
