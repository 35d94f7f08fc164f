package deploy_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layout is the package map: which package may import which of ours. It is a
// statement of policy, as in go/build/deps_test.go: do not change it to make a build
// pass. A better cut changes this table, DESIGN and README together.
//
// A name that ends in /* stands for every package below. The first row that matches a
// package is its rule; in the last column, a name may stand for packages the same way,
// "any" for all but the programs and assemblies, and "assemblies" for those.
var layout = []struct {
	pkg  string
	may  string
	rule string
}{
	{"deploy", "", "the network description is pure data"},
	{"deploy/ops", "", "what every role owes its operator knows no role"},
	{"deploy/fleet", "deploy", "authorities and identities know the network only"},
	{"deploy/fleet/bus", "deploy/fleet", "what nodes tell each other, and how it travels"},
	{"deploy/fleet/hub", "deploy deploy/fleet deploy/fleet/bus", "where nodes meet: who may say and hear what"},
	{"deploy/fleet/member", "deploy deploy/fleet deploy/fleet/bus", "a node's part, whatever its role"},
	{"deploy/fleet/control", "deploy deploy/ops deploy/fleet deploy/fleet/bus deploy/fleet/hub", "the hand that leads a fleet"},
	{"deploy/scale", "", "scaling policies are pure"},
	{"deploy/scale/*", "deploy/scale", "a driver serves the policies"},
	{"deploy/e2e", "", "external tests of the programs"},
	{"deploy/hither", "any assemblies", "the program is anything but the bench"},

	{"cache", "", "cache semantics stand alone and declare what a store must do"},
	{"cache/store", "cache cache/store/*", "a store knows what it stores"},
	{"cache/store/disk", "cache", "the lower tier knows none above it"},

	{"origin/pool", "", "a pool is an http.RoundTripper and knows nothing of us"},
	{"origin/balance", "", "balance knows instances only"},
	{"origin/limit", "", "how many and who waits is decided without sockets, and of requests in general"},
	{"origin/discover", "", "names to addresses, for whoever asks"},
	{"origin/health", "", "asks instances, and knows nothing of who wants to know"},
	{"origin/upstream", "origin/*", "one of several instances for each request: the rooms of origin put together, without a network file"},
	{"origin/gateway", "origin/* edge/listen deploy deploy/ops deploy/fleet deploy/fleet/*", "the origin role assembled"},

	{"edge", "", "external tests: the scripts of edge/testdata"},
	{"edge/listen", "", "sockets and protocols in front of one handler"},
	{"edge/cert", "", "which certificate for which name, and no more"},
	{"edge/compress", "cache", "content codings of what is stored, and no request path"},
	{"edge/proxy", "cache edge/compress", "the request path reaches origins through net/http's interfaces"},
	{"edge/wire", "edge/proxy", "framing for a hit and a handler"},
	{"edge/accesslog", "edge/proxy", "an Exchange as one line"},
	{"edge/node", "edge/* cache cache/* origin/* deploy deploy/ops deploy/fleet deploy/fleet/*", "one PoP assembled"},

	{"dns/geo", "", "takes bytes, no paths, no sockets"},
	{"dns/geo/maketable", "dns/geo", "makes the table that dns/geo has built in"},
	{"dns/steer", "dns/geo", "steering is one pure function"},
	{"dns/zone", "", "records and zone files"},
	{"dns/server", "dns/* edge/listen deploy deploy/ops deploy/fleet deploy/fleet/*", "the dns role assembled"},

	{"bench/lab", "any assemblies", "only the lab and the program put assemblies together"},
	{"bench", "any bench/*", "the bench is anything but the program"},
	{"bench/*", "any bench/*", "parts of the bench reach assemblies through bench/lab"},
}

var (
	mains      = []string{"deploy/hither", "bench", "dns/geo/maketable"}
	assemblies = []string{"edge/node", "origin/gateway", "dns/server"}

	// testsOnly are folders with nothing but external tests.
	testsOnly = []string{"deploy/e2e", "edge"}

	// topLevel is all that the repository has at its top but dot files.
	topLevel = []string{"bench", "cache", "deploy", "dns", "edge", "origin", "go.mod", "go.sum", "LICENSE", "Makefile", "README.md"}
)

// maxLines is where a file must be split.
const maxLines = 600

// matches says whether a package is what a pattern of the table names.
func matches(pattern, pkg string) bool {
	if below, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(pkg, below+"/")
	}
	return pattern == pkg
}

// mayImport says whether the rule for pkg lets it import target. External tests are
// held to less: they may import any but mains.
func mayImport(pkg, target string, external bool) (rule string, ok bool) {
	if external {
		return "an external test may import any package but a program", !slices.Contains(mains, target)
	}
	for _, row := range layout {
		if !matches(row.pkg, pkg) {
			continue
		}
		for _, m := range strings.Fields(row.may) {
			switch {
			case slices.Contains(mains, target):
			case m == "any" && !slices.Contains(assemblies, target),
				m == "assemblies" && slices.Contains(assemblies, target),
				matches(m, target) && !slices.Contains(assemblies, target):
				return row.rule, true
			}
		}
		return row.rule, false
	}
	return "", false
}

// checkLayout returns what is wrong with the Go files of a tree.
func checkLayout(module string, tree fs.FS) ([]string, error) {
	var wrong []string
	docs := map[string][]string{} // folder -> files with a package comment
	code := map[string]bool{}     // folders with files that are no tests
	files := token.NewFileSet()
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := path.Base(name); d.IsDir() && name != "." && (base == "testdata" || base[0] == '.' || base[0] == '_') {
			return fs.SkipDir
		}
		if d.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(files, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg, test := path.Dir(name), strings.HasSuffix(name, "_test.go")
		if !test {
			code[pkg] = true
			if f.Doc != nil {
				docs[pkg] = append(docs[pkg], name)
				if f.Name.Name != "main" && !strings.HasPrefix(f.Doc.Text(), "Package "+f.Name.Name+" ") {
					wrong = append(wrong, fmt.Sprintf("%s: the package comment does not begin with \"Package %s\"", name, f.Name.Name))
				}
			}
		}
		wrong = append(wrong, checkFile(module, name, src, f)...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for pkg := range code {
		switch has := docs[pkg]; {
		case len(has) == 0:
			wrong = append(wrong, fmt.Sprintf("%s: no file has a package comment; one says in its first sentence what the package is", pkg))
		case len(has) > 1:
			wrong = append(wrong, fmt.Sprintf("%s: %s each have a package comment; one is enough", pkg, strings.Join(has, " and ")))
		}
	}
	slices.Sort(wrong)
	return wrong, nil
}

// checkFile returns what is wrong with one file.
func checkFile(module, name string, src []byte, f *ast.File) []string {
	var wrong []string
	pkg := path.Dir(name)
	if !slices.ContainsFunc(layout, func(row struct{ pkg, may, rule string }) bool { return matches(row.pkg, pkg) }) {
		return []string{fmt.Sprintf("%s: package %s is not in the package map; put it into the table of deploy/layout_test.go, with what it may import and why", name, pkg)}
	}
	external := strings.HasSuffix(name, "_test.go") && strings.HasSuffix(f.Name.Name, "_test")
	if slices.Contains(testsOnly, pkg) && !external {
		wrong = append(wrong, fmt.Sprintf("%s: %s has external tests only, in package %s_test", name, pkg, path.Base(pkg)))
	}
	for _, spec := range f.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		target, ours := strings.CutPrefix(target, module+"/")
		if !ours || target == pkg {
			continue
		}
		if rule, ok := mayImport(pkg, target, external); !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %s must not import %s: %s", name, pkg, target, rule))
		}
	}
	if lines := bytes.Count(src, []byte("\n")); lines > maxLines && !ast.IsGenerated(f) {
		wrong = append(wrong, fmt.Sprintf("%s: %d lines; a file holds one idea, so split it before %d", name, lines, maxLines))
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			wrong = append(wrong, fmt.Sprintf("%s: func init; say what is to happen where it happens", name))
		}
	}
	return wrong
}

// checkTop returns the names at the top of the repository that do not belong there.
func checkTop(names []string) []string {
	var wrong []string
	for _, n := range names {
		top, _, _ := strings.Cut(n, "/")
		message := fmt.Sprintf("%s is at the top of the repository, where only %s and dot files are", top, strings.Join(topLevel, ", "))
		if top != "" && top[0] != '.' && !slices.Contains(topLevel, top) && !slices.Contains(wrong, message) {
			wrong = append(wrong, message)
		}
	}
	return wrong
}

func TestLayout(t *testing.T) {
	wrong, err := checkLayout("hither", os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	wrong = append(wrong, checkTop(atTop(t))...)
	for _, w := range wrong {
		t.Error(w)
	}
}

// atTop lists what git keeps or, where this is not a repository (an unpacked archive),
// what lies in the folder but for what building leaves there.
func atTop(t *testing.T) []string {
	t.Helper()
	if out, err := exec.Command("git", "-C", "..", "ls-files").Output(); err == nil && len(out) > 0 {
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "bin" {
			names = append(names, e.Name())
		}
	}
	return names
}
