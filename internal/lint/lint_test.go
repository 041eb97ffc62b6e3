package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/gradstream/gradstream"

// file is one parsed Go file of the repository.
type file struct {
	name string // from the root, with slashes
	pkg  string // folder from the root, with slashes
	test bool
	ast  *ast.File
	fset *token.FileSet
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func files(t *testing.T) []file {
	t.Helper()
	dir := root(t)
	var all []file
	fset := token.NewFileSet()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != dir {
			// Folders of data, of other modules, and hidden ones hold no code of ours.
			_, err := os.Stat(filepath.Join(p, "go.mod"))
			if d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || err == nil {
				return filepath.SkipDir
			}
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		parsed, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, file{name: rel, pkg: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), ast: parsed, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d Go files found: the walk is broken", len(all))
	}
	return all
}

// within reports whether a package is a folder or lies below it.
func within(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

// layers lists for each part of the tree, most specific first, which parts of ours
// it may import. A part may always import itself where own is set.
var layers = []struct {
	part    string
	may     []string
	own     bool
	because string
}{
	{"operators/learn/optim", []string{"internal/exact"}, false, "step rules are pure maths"},
	{"operators/learn/loss", []string{"internal/exact"}, false, "losses are pure maths"},
	{"operators/learn/kalman", nil, false, "filters are pure maths"},
	{"operators/learn/gaussian", []string{"internal/exact"}, false, "densities are pure maths"},
	{"operators/learn/reference", []string{"operators/learn/optim", "operators/learn/loss", "operators/feature/scale"}, false, "it drives the pure maths alone"},
	{"operators/feature/scale", []string{"operators/feature/quantile"}, false, "scalers are pure maths"},
	{"operators/feature/quantile", nil, false, "quantiles are pure maths"},
	{"operators/drift/detect", []string{"internal/exact"}, false, "detectors are pure maths"},
	{"operators/drift/profile", []string{"internal/exact"}, false, "comparisons are pure maths"},
	{"operators/evaluate/metric", []string{"internal/exact"}, false, "metrics are pure maths"},
	{"operators/optest", []string{"operators", "state", "state/memstore", "pipeline/batch", "pipeline/spec"}, true, "it stands in for the engine"},
	{"operators/feature", []string{"operators", "state", "pipeline/batch", "pipeline/spec", "operators/feature", "internal/exact"}, true, "families never import each other"},
	{"operators/learn", []string{"operators", "state", "pipeline/batch", "pipeline/spec", "operators/learn", "operators/drift/detect", "internal/exact"}, true, "families never import each other, but for maths that are none's operators"},
	{"operators/drift", []string{"operators", "state", "pipeline/batch", "pipeline/spec", "operators/drift"}, true, "families never import each other"},
	{"operators/evaluate", []string{"operators", "state", "pipeline/batch", "pipeline/spec", "operators/evaluate", "internal/exact"}, true, "families never import each other"},
	{"operators/route", []string{"operators", "state", "pipeline/batch", "pipeline/spec", "operators/route"}, true, "families never import each other"},
	{"operators", []string{"state", "state/weights", "pipeline/batch", "pipeline/spec"}, false, "the contract sees state and the leaves"},
	{"state/weights", []string{"state"}, false, "a handle knows the contract"},
	{"state", []string{"state", "pipeline/batch"}, true, "state knows neither operators nor the engine"},
	{"connectors", []string{"connectors", "pipeline/batch", "pipeline/spec"}, true, "connectors never see operators or state"},
	{"pipeline/batch", nil, false, "it is a leaf"},
	{"pipeline/spec", nil, false, "it is a leaf"},
	{"pipeline/run", []string{"pipeline", "pipeline/batch", "pipeline/spec", "operators", "state", "connectors"}, false, "the engine knows contracts, not implementations"},
	{"pipeline/admin", []string{"pipeline", "pipeline/run", "pipeline/batch", "pipeline/spec", "operators"}, true, "it shows the engine"},
	{"pipeline", []string{"pipeline/batch", "pipeline/spec", "operators"}, false, "the graph knows contracts only"},
	{"cmd", nil, true, ""},
	{"internal/exact", nil, false, "it is pure maths"},
	{"internal", nil, true, ""},
	{"examples", nil, true, ""},
	{"bench", nil, true, ""},
}

// leafOnly lists libraries that only some packages may import.
var leafOnly = []struct {
	library string
	parts   []string
}{
	{"github.com/cockroachdb/pebble", []string{"state/pebblestore", "state/statetest"}},
	{"github.com/twmb/franz-go", []string{"connectors/kafka", "internal/testutil", "bench"}},
	{"github.com/twmb/avro", []string{"connectors/codec"}},
	{"github.com/apache/arrow", []string{"connectors/codec", "connectors/file"}},
	{"github.com/parquet-go", []string{"connectors/file"}},
	{"github.com/goccy/go-yaml", []string{"pipeline/spec"}},
	{"github.com/spf13/cobra", []string{"cmd"}},
	{"github.com/expr-lang/expr", []string{"operators/route"}},
}

func TestImports(t *testing.T) {
	for _, f := range files(t) {
		if f.test {
			continue // tests may reach for a memory store or an embedded broker
		}
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			at := f.fset.Position(spec.Pos())
			for _, l := range leafOnly {
				if within(imported, l.library) && !slices.ContainsFunc(l.parts, func(p string) bool { return within(f.pkg, p) }) {
					t.Errorf("%s:%d imports %s; only %s may: use what it offers instead", f.name, at.Line, imported, strings.Join(l.parts, ", "))
				}
			}
			ours, found := strings.CutPrefix(imported, module+"/")
			if !found {
				continue
			}
			checkLayer(t, f, at.Line, ours)
		}
	}
}

func checkLayer(t *testing.T, f file, line int, imported string) {
	t.Helper()
	for _, l := range layers {
		if !within(f.pkg, l.part) {
			continue
		}
		if l.part == "cmd" || l.part == "internal" || l.part == "examples" || l.part == "bench" {
			return
		}
		ok := l.own && within(imported, l.part)
		for _, m := range l.may {
			ok = ok || imported == m || m == "state" && imported == "state/weights"
		}
		if !ok {
			t.Errorf("%s:%d imports %s; %s may not: %s", f.name, line, imported, l.part, l.because)
		}
		return
	}
	t.Errorf("%s is in no layer of the import table", f.pkg)
}

// TestNobodyImportsMain keeps implementations out of the contracts: nothing but
// commands, tests and benchmarks may import cmd.
func TestNobodyImportsMain(t *testing.T) {
	for _, f := range files(t) {
		for _, spec := range f.ast.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			if strings.HasPrefix(p, module+"/cmd/") {
				t.Errorf("%s imports %s", f.name, p)
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range files(t) {
		if f.test {
			continue
		}
		documented[f.pkg] = documented[f.pkg] || f.ast.Doc != nil && len(f.ast.Doc.Text()) > 40
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment that says what it is for", pkg)
		}
	}
}

// banned lists calls that make an operator's result depend on more than its input.
var banned = map[string]string{
	"time.Now":   "read Origin.Clock of the batch: the step's clock is journaled",
	"time.Since": "read Origin.Clock of the batch: the step's clock is journaled",
	"time.After": "operators do not wait",
	"time.Sleep": "operators do not wait",
	"os.Getenv":  "ask for it in the configuration",
}

func init() {
	// Their last bits differ between processors, and a task may move.
	for _, f := range []string{"Exp", "Exp2", "Expm1", "Log", "Log2", "Log10", "Log1p", "Pow", "Cbrt", "Hypot", "Sin", "Cos", "Sincos", "Tan",
		"Asin", "Acos", "Atan", "Atan2", "Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh", "Erf", "Erfc", "Erfinv", "Gamma", "Lgamma"} {
		banned["math."+f] = "take it from internal/exact, which gives the same bits on every processor"
	}
}

// TestNoFusedOperations compiles the operators for a processor that has fused
// multiplication and addition, which rounds once where others round twice: an
// explicit conversion, float64(a*b) + c, keeps the compiler from it.
func TestNoFusedOperations(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles for another processor")
	}
	build := func(dir string, packages ...string) []string {
		c := exec.Command("go", append([]string{"build", "-gcflags=-S"}, packages...)...)
		c.Dir = dir
		c.Env = append(os.Environ(), "GOARCH=arm64", "GOOS=linux", "CGO_ENABLED=0")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("go build: %v\n%.2000s", err, out)
		}
		var fused []string
		for line := range strings.Lines(string(out)) {
			if fusedOperation.MatchString(line) {
				fused = append(fused, strings.TrimSpace(line))
			}
		}
		return fused
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module fused\n\ngo 1.26\n",
		"a.go":   "package fused\n\nfunc F(a, b, c float64) float64 { return a*b + c }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(build(dir, ".")) != 1 {
		t.Fatal("the compiler does not fuse a*b + c, or says so in other words: the test sees nothing")
	}
	for _, line := range build(root(t), "./internal/exact", "./operators/drift/...", "./operators/evaluate/...", "./operators/feature/...", "./operators/learn/...") {
		t.Errorf("fused: %s", line)
	}
}

var fusedOperation = regexp.MustCompile(`\tFN?M(ADD|SUB)[SD]\t`)

func TestOperatorsAreDeterministic(t *testing.T) {
	for _, f := range files(t) {
		if f.test || !within(f.pkg, "operators") || within(f.pkg, "operators/optest") {
			continue
		}
		for _, spec := range f.ast.Imports {
			switch p, _ := strconv.Unquote(spec.Path.Value); p {
			case "math/rand", "math/rand/v2", "crypto/rand", "net", "net/http", "os":
				t.Errorf("%s imports %s: an operator has no dice and no I/O", f.name, p)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine in an operator; the engine owns them all", f.fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok {
					if why, bad := banned[x.Name+"."+n.Sel.Name]; bad {
						t.Errorf("%s: %s.%s in an operator; %s", f.fset.Position(n.Pos()), x.Name, n.Sel.Name, why)
					}
				}
			}
			return true
		})
	}
}

// TestFamiliesAreUnderTheLaws keeps operators from escaping them: each family is handed to optest.TestFamily, which
// takes all of its operators.
func TestFamiliesAreUnderTheLaws(t *testing.T) {
	families, held := map[string]bool{}, map[string]bool{}
	for _, f := range files(t) {
		if !within(f.pkg, "operators") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				families[f.pkg] = families[f.pkg] || !f.test && n.Names[0].Name == "Family"
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "TestFamily" {
					x, ok := s.X.(*ast.Ident)
					held[f.pkg] = held[f.pkg] || ok && f.test && x.Name == "optest"
				}
			}
			return true
		})
	}
	n := 0
	for pkg, is := range families {
		if !is {
			continue
		}
		n++
		if !held[pkg] {
			t.Errorf("%s: no test gives the family to optest.TestFamily", pkg)
		}
	}
	if n < 5 {
		t.Errorf("%d families found", n)
	}
}

// TestFileSize asks for a reason: a file past this length is usually two things.
func TestFileSize(t *testing.T) {
	const most = 700
	for _, f := range files(t) {
		if n := f.fset.File(f.ast.Pos()).LineCount(); n > most && !f.test {
			t.Errorf("%s has %d lines, more than %d: is it two things?", f.name, n, most)
		}
	}
}

// TestNoExit keeps os.Exit and log.Fatal in main functions.
func TestNoExit(t *testing.T) {
	for _, f := range files(t) {
		if f.test || f.ast.Name.Name == "main" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && (x.Name == "os" && s.Sel.Name == "Exit" || x.Name == "log" && strings.HasPrefix(s.Sel.Name, "Fatal")) {
					t.Errorf("%s: %s.%s outside main; return an error", f.fset.Position(n.Pos()), x.Name, s.Sel.Name)
				}
			}
			return true
		})
	}
}
