package spec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInterpolate(t *testing.T) {
	env := map[string]string{"A": "x", "B": "20", "EMPTY": "", "TRICK": "${A}"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	for _, c := range []struct{ text, want, err string }{
		{"${A}", "x", ""},
		{"a-${A}-${B}", "a-x-20", ""},
		{"${NONE:def}", "def", ""},
		{"${NONE:}", "", ""},
		{"${EMPTY:def}", "", ""},
		{"${NONE:http://h:80/}", "http://h:80/", ""},
		{"${A:def}", "x", ""},
		{"$${A}", "${A}", ""},
		{"$${A}${A}", "${A}x", ""},
		{"${TRICK}", "${A}", ""},
		{"$A $ {A} }", "$A $ {A} }", ""},
		{"${NONE}", "", "f:1:1: the variable NONE is not set; expected a value in the environment, or a default as in ${NONE:default}"},
		{"${A", "${A", "f:1:1: ${ has no end; expected ${VAR} or ${VAR:default}, or $${ for the text itself"},
		{"${}", "", `f:1:1: "" is no name of a variable; expected letters, digits and _, as in ${VAR} or ${VAR:default}`},
		{"${1:x}", "", `f:1:1: "1" is no name of a variable; expected letters, digits and _, as in ${VAR} or ${VAR:default}`},
	} {
		n := &Node{Kind: Scalar, Pos: Pos{"f", 1, 1}, Value: c.text}
		errs := Interpolate(n, lookup)
		if n.Value != c.want || errs.Error() != c.err {
			t.Errorf("%q: %q, %v", c.text, n.Value, errs)
		}
	}
}

// TestInterpolatedTypes checks that a replaced text takes its field's type,
// that keys are left alone, and that one anchor's copies are replaced once each.
func TestInterpolatedTypes(t *testing.T) {
	n, errs := Parse("p.yaml", []byte("bits: '${B:12}'\nrate: ${R}\nnote: \"${B:12}\"\nlabel: &l $${y}\nnumeric: [*l, '${W}']\ncolumns: {'${B}': a}\ndeep: ${B:1}\n"))
	if errs != nil {
		t.Fatal(errs)
	}
	errs = Interpolate(n, func(name string) (string, bool) { return "0.5", name == "R" })
	s := new(sample)
	errs = append(errs, Decode(n, s)...)
	want := `p.yaml:5:15: the variable W is not set; expected a value in the environment, or a default as in ${W:default}
p.yaml:5:15: numeric[1] is ""; expected a column name
p.yaml:7:7: deep is 1; expected true or false`
	if diff := cmp.Diff(want, errs.Error()); diff != "" {
		t.Error(diff)
	}
	if s.Bits != 12 || s.Rate != 0.5 || s.Note != "12" || s.Label.Name != "${y}" || s.Numeric[0].Name != "${y}" || s.Columns[0].Key.Name != "${B}" {
		t.Errorf("%+v", s)
	}
}

func TestSet(t *testing.T) {
	const base = "pipeline: p\noperators:\n  m:\n    sgd: {l2: 1, optimizer: adagrad}\n    in: [a, b]\n  n:\n"
	for _, c := range []struct{ arg, want string }{
		{"operators.m.sgd.l2=0", "{pipeline: p, operators: {m: {sgd: {l2: 0, optimizer: adagrad}, in: [a, b]}, n: null}}"},
		{"operators.m.sgd.optimizer.adagrad.rate=0.1", "{pipeline: p, operators: {m: {sgd: {l2: 1, optimizer: {adagrad: {rate: 0.1}}}, in: [a, b]}, n: null}}"},
		{"operators.n.x.y={a: [1, '2']}", `{pipeline: p, operators: {m: {sgd: {l2: 1, optimizer: adagrad}, in: [a, b]}, n: {x: {y: {a: [1, "2"]}}}}}`},
		{"operators.m.in.1=c", "{pipeline: p, operators: {m: {sgd: {l2: 1, optimizer: adagrad}, in: [a, c]}, n: null}}"},
		{"operators.m.in.2=c", "{pipeline: p, operators: {m: {sgd: {l2: 1, optimizer: adagrad}, in: [a, b, c]}, n: null}}"},
		{`operators.m={"a.b": 1}`, `{pipeline: p, operators: {m: {a.b: 1}, n: null}}`},
		{`operators."m.x"=`, `{pipeline: p, operators: {m: {sgd: {l2: 1, optimizer: adagrad}, in: [a, b]}, n: null, m.x: null}}`},
		{"pipeline=a=b", `{pipeline: "a=b", operators: {m: {sgd: {l2: 1, optimizer: adagrad}, in: [a, b]}, n: null}}`},
		{"operators.m.in.x=c", `--set operators.m.in.x: operators.m.in is a list of 2; expected a number from 0 to 2 in place of "x"`},
		{"operators", "--set operators: there is no = sign; expected path=value"},
		{"a..b=1", `--set a..b: the path has an empty name or an open quote; expected names joined by dots, as in kafka.brokers or schema."a.b"`},
		{`a."b=1`, `--set a."b: the path has an empty name or an open quote; expected names joined by dots, as in kafka.brokers or schema."a.b"`},
		{"=1", `--set : the path has an empty name or an open quote; expected names joined by dots, as in kafka.brokers or schema."a.b"`},
		{"a=[1", "--set a: a list in brackets is not closed, or lacks a comma; expected `,` or `]`"},
	} {
		n, errs := Parse("p.yaml", []byte(base))
		if errs != nil {
			t.Fatal(errs)
		}
		got := ""
		if errs := Set(n, c.arg); errs != nil {
			got = errs.Error()
		} else {
			got = n.text()
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.arg, diff)
		}
	}
}

func TestSetPositions(t *testing.T) {
	n, errs := Parse("p.yaml", []byte("label: y\nbits: 9\n"))
	for _, arg := range []string{"bits=99", "optimizer.sgd.rate=x", "lable=z"} {
		errs = append(errs, Set(n, arg)...)
	}
	errs = append(errs, Decode(n, new(sample))...)
	want := `--set bits: bits is 99; expected a whole number from 8 to 30
--set lable: unknown field "lable"; did you mean "label"?
--set optimizer.sgd.rate: rate is "x"; expected a finite number above 0 and at most 1`
	if diff := cmp.Diff(want, errs.Error()); diff != "" {
		t.Error(diff)
	}
}
