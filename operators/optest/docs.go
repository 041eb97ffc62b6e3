package optest

import (
	"regexp"
	"strings"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var operatorName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// here marks the positions of the values that are checked.
const here = "value"

// checkDocs holds an operator's declaration to what tools make of it.
func checkDocs(t tester, d *operators.Definition) {
	t.Helper()
	if !operatorName.MatchString(d.Name) {
		t.Errorf("the name %q is not in lower_snake_case", d.Name)
	}
	if d.Summary == "" || !strings.HasSuffix(d.Summary, ".") || strings.Contains(d.Summary, "\n") {
		t.Errorf("the summary %q is not one sentence", d.Summary)
	}
	if d.Doc == "" {
		t.Error("there is no doc")
	}
	if d.Columns == "" {
		t.Error("the columns emitted are not documented")
	}
	if len(d.Examples) == 0 {
		t.Error("there is no example")
	}
	checkFields(t, d, spec.Describe(d.New()), func(n *spec.Node) *spec.Node { return n }, "")
	// A misspelt field is complained of.
	n, _ := spec.Parse("", []byte("{no_such_field: 1}"))
	if errs := spec.Decode(n, d.New()); len(errs) == 0 {
		t.Error("an unknown field is accepted")
	}
}

// checkFields checks fields and those below them. wrap puts a mapping of these
// fields into the operator's mapping.
func checkFields(t tester, d *operators.Definition, fields []spec.FieldDoc, wrap func(*spec.Node) *spec.Node, path string) {
	t.Helper()
	for _, f := range fields {
		name := path + f.Name
		if len(f.Doc) < 5 || !strings.HasSuffix(f.Doc, ".") && !strings.HasSuffix(f.Doc, "?") {
			t.Errorf("the doc of %s is %q, not a sentence", name, f.Doc)
		}
		in := func(value *spec.Node) *spec.Node {
			return wrap(&spec.Node{Kind: spec.Map, Keys: []spec.Key{{Name: f.Name, Value: value}}})
		}
		for what, text := range map[string]string{"default": f.Default, "example": f.Example} {
			if text == "" {
				continue
			}
			value, errs := spec.Parse(here, []byte(text))
			if err := errs.Err(); err != nil {
				t.Errorf("the %s of %s is not YAML: %v", what, name, err)
				continue
			}
			for _, e := range spec.Decode(in(value), d.New()) {
				if e.Pos.File == here { // not that other fields are missing
					t.Errorf("the %s of %s is refused: %v", what, name, e)
				}
			}
		}
		checkFields(t, d, f.Fields, in, name+".")
		for _, o := range f.Options {
			checkFields(t, d, o.Fields, func(n *spec.Node) *spec.Node {
				return in(&spec.Node{Kind: spec.Map, Keys: []spec.Key{{Name: o.Name, Value: n}}})
			}, name+"."+o.Name+".")
		}
	}
}

func checkExample(t tester, d *operators.Definition, e spec.Example) {
	t.Helper()
	if e.Title == "" {
		t.Error("the example has no title")
	}
	out, err := RunFile(d, e.Config, e.File, e.In)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(out) != strings.TrimSpace(e.Out) {
		t.Errorf("the example prints\n%s\nand is documented to print\n%s\n%s", out, e.Out, difference(strings.TrimSpace(out), strings.TrimSpace(e.Out)))
	}
}
