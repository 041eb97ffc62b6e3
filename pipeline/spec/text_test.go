package spec

import "testing"

type texts struct{ x Text }

func (c *texts) Fields(f *Fields) { f.Text(&c.x, "x", "", "A text.") }

// The characters of a text have positions of their own where they are written one
// by one.
func TestTextPositions(t *testing.T) {
	for _, c := range []struct{ yaml, value, at2 string }{
		{"x: abc", "abc", "f:1:6"},
		{"{y: 1, x: a b c}", "a b c", "f:1:13"},
		{"x: 'abc'", "abc", "f:1:7"},
		{`x: "abc"`, "abc", "f:1:7"},
		{"x: !!str abc", "abc", "f:1:12"},
		{"x: äöü # é", "äöü", "f:1:6"},
		{"x: 'it''s'", "it's", "f:1:4"},
		{`x: "\u0061bc"`, "abc", "f:1:4"},
		{"x: a\n  bc", "a bc", "f:1:4"},
		{"x: |\n  abc\n", "abc\n", "f:1:4"},
		{"x: a${V}c", "abbc", "f:1:4"},
		{"x: a$${V}c", "a${V}c", "f:1:4"},
		{"x: 123", "123", "f:1:6"},
	} {
		n, errs := Parse("f", []byte(c.yaml))
		errs = append(errs, Interpolate(n, func(string) (string, bool) { return "bb", true })...)
		var got texts
		for _, e := range append(errs, decodeOnly(n, "x", &got)...) {
			t.Errorf("%q: %v", c.yaml, e)
		}
		if at := got.x.At(2).String(); got.x.Value != c.value || at != c.at2 {
			t.Errorf("%q: %q with the third character at %s; want %q, %s", c.yaml, got.x.Value, at, c.value, c.at2)
		}
	}
}

// decodeOnly decodes one field of a mapping.
func decodeOnly(n *Node, name string, c Config) Errors {
	return Decode(&Node{Kind: Map, Pos: n.Pos, Keys: []Key{{Name: name, Pos: n.Pos, Value: n.Get(name)}}}, c)
}

type selects struct{ x []Entry }

func (c *selects) Fields(f *Fields) { f.Selection(&c.x, "x", "Columns.") }

func TestSelection(t *testing.T) {
	for _, c := range []struct{ yaml, want, errs string }{
		{"x: [b, a.c]", "{x: {b: b, a.c: a.c}}", ""},
		{"x: b", "{x: {b: b}}", ""},
		{"x: {z: b, y: a.c}", "{x: {z: b, y: a.c}}", ""},
		{"x: [b, b]", "{x: {b: b}}", "f:1:8: x names \"b\" twice; expected each once"},
		{"x: [[b]]", "{x: {}}", "f:1:5: x[0] is a list; expected a name"},
		{"x: {z: [b]}", "{x: {}}", "f:1:8: z is a list; expected a name"},
	} {
		n, errs := Parse("f", []byte(c.yaml))
		var got selects
		errs = append(errs, Decode(n, &got)...)
		if errs.Error() != c.errs || Canonical(&got) != c.want {
			t.Errorf("%q: %s, %v; want %s, %s", c.yaml, Canonical(&got), errs, c.want, c.errs)
		}
	}
	if faults := Lint(new(selects)); len(faults) > 0 {
		t.Error(faults)
	}
}
