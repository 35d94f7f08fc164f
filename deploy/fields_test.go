package deploy_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// readers are the packages that turn the network file into what parts are given.
var readers = []string{"hither/edge/node", "hither/origin/gateway", "hither/dns/server", "hither/deploy/fleet", "hither/deploy/fleet/control", "hither/deploy/hither"}

// waiting are the fields, or whole types, whose reader is not built yet, with what they
// wait for. What has found its reader must leave the list.
var waiting = map[string]string{
	"Discover.Fleet": "the hub",
}

// readInside are fields that package deploy reads for everyone.
var readInside = map[string]bool{"Network.Version": true, "PoP.Trust": true, "Server.Name": true, "Site.DNS": true, "Zone.Name": true, "Origin.Gateways": true, "NamedGateway.App": true}

// TestFieldsAreRead fails on a key of the network file that no assembly reads: such a
// key would be taken without an error and do nothing.
func TestFieldsAreRead(t *testing.T) {
	read := fieldsRead(t, readers)
	for _, f := range fieldsDeclared(t) {
		kind, _, _ := strings.Cut(f, ".")
		why, waits := waiting[f]
		if !waits {
			why, waits = waiting[kind]
		}
		switch {
		case readInside[f]:
		case !read[f] && !waits:
			t.Errorf("no assembly reads deploy.%s: a file that sets it is taken without an error and nothing happens", f)
		case read[f] && waits:
			t.Errorf("deploy.%s is read now; take it off the list of those that wait for %s", f, why)
		}
	}
	if len(read) < 20 {
		t.Errorf("only %d fields were seen to be read: the test does not see what it should", len(read))
	}
}

// fieldsDeclared lists Type.Field for every field with a yaml key of its own.
func fieldsDeclared(t *testing.T) []string {
	t.Helper()
	var out []string
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if st, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					if f.Tag == nil || !strings.Contains(f.Tag.Value, `yaml:"`) || strings.Contains(f.Tag.Value, `yaml:"-"`) || strings.Contains(f.Tag.Value, `,inline`) {
						continue
					}
					for _, n := range f.Names {
						out = append(out, spec.Name.Name+"."+n.Name)
					}
				}
			}
			return false
		})
	}
	return out
}

// fieldsRead type-checks the packages and returns the fields of deploy's structs that
// their code selects.
func fieldsRead(t *testing.T, packages []string) map[string]bool {
	t.Helper()
	type listed struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
	}
	cmd := exec.Command("go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles"}, packages...)...)
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]listed)
	for d := json.NewDecoder(strings.NewReader(string(data))); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
	read := make(map[string]bool)
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if all[path].Export == "" {
			return nil, fmt.Errorf("no export data for %s", path)
		}
		return os.Open(all[path].Export)
	})
	for _, path := range packages {
		var files []*ast.File
		for _, name := range all[path].GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(all[path].Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		info := &types.Info{Selections: make(map[*ast.SelectorExpr]*types.Selection)}
		if _, err := (&types.Config{Importer: imports}).Check(path, fset, files, info); err != nil {
			t.Fatal(err)
		}
		for _, s := range info.Selections {
			note(read, s)
		}
	}
	return read
}

// note adds the fields on a selection's path, promoted ones included.
func note(read map[string]bool, s *types.Selection) {
	at := s.Recv()
	for _, i := range s.Index() {
		if p, ok := at.Underlying().(*types.Pointer); ok {
			at = p.Elem()
		}
		named, _ := at.(*types.Named)
		st, ok := at.Underlying().(*types.Struct)
		if !ok || i >= st.NumFields() {
			return
		}
		if named != nil && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "hither/deploy" {
			read[named.Obj().Name()+"."+st.Field(i).Name()] = true
		}
		at = st.Field(i).Type()
	}
}
