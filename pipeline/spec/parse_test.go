package spec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dump writes a tree with its positions, one value a line.
func dump(b *strings.Builder, n *Node, indent string) {
	at := fmt.Sprintf("%d:%d", n.Pos.Line, n.Pos.Col)
	switch n.Kind {
	case Null:
		fmt.Fprintf(b, "%s%s null\n", indent, at)
	case Scalar:
		text := n.Value
		if n.Quoted {
			text = fmt.Sprintf("%q", text)
		}
		fmt.Fprintf(b, "%s%s %s\n", indent, at, text)
	case List:
		fmt.Fprintf(b, "%s%s list\n", indent, at)
		for _, item := range n.Items {
			dump(b, item, indent+"  ")
		}
	case Map:
		fmt.Fprintf(b, "%s%s map\n", indent, at)
		for _, k := range n.Keys {
			fmt.Fprintf(b, "%s  %d:%d %s:\n", indent, k.Pos.Line, k.Pos.Col, k.Name)
			dump(b, k.Value, indent+"    ")
		}
	}
}

func TestPositions(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"", "1:1 null\n"},
		{"# c\n", "1:1 null\n"},
		{"a:\n", "1:1 map\n  1:1 a:\n    1:2 null\n"},
		{"\ufeffa: 1\r\nb:\t2\r\n", "1:1 map\n  1:1 a:\n    1:4 1\n  2:1 b:\n    2:4 2\n"},
		{"größe: {é: 'ü', \"日\": [ä, ö]}", "1:1 map\n  1:1 größe:\n    1:8 map\n      1:9 é:\n        1:12 \"ü\"\n      1:17 日:\n        1:22 list\n          1:23 ä\n          1:26 ö\n"},
		{"a: x y   \nb: z  # c\n", "1:1 map\n  1:1 a:\n    1:4 x y\n  2:1 b:\n    2:4 z\n"},
		{"a: first\n  second\n\n  third\nb: 1", "1:1 map\n  1:1 a:\n    1:4 first second\nthird\n  5:1 b:\n    5:4 1\n"},
		{"a:  \"one\n   two\\n\" # c\nb: 'it''s'", "1:1 map\n  1:1 a:\n    1:5 \"one two\\n\"\n  3:1 b:\n    3:4 \"it's\"\n"},
		{"a: |\n  x\n\n  y\nb: >-\n  p\n  q\n# c\nc: 1", "1:1 map\n  1:1 a:\n    1:4 \"x\\n\\ny\\n\"\n  5:1 b:\n    5:4 \"p q\"\n  9:1 c:\n    9:4 1\n"},
		{"- a\n- - b\n  - c\n-\n  d: e\n-   \n- ~\n", "1:1 list\n  1:3 a\n  2:3 list\n    2:5 b\n    3:5 c\n  5:3 map\n    5:3 d:\n      5:6 e\n  6:1 null\n  7:3 null\n"},
		{"l:\n- a\nm: [\n  1,\n 2 ]", "1:1 map\n  1:1 l:\n    2:1 list\n      2:3 a\n  3:1 m:\n    3:4 list\n      4:3 1\n      5:2 2\n"},
		{"---\n? a\n: b\n...\n", "2:3 map\n  2:3 a:\n    3:3 b\n"},
		{"a: {b, c: }", "1:1 map\n  1:1 a:\n    1:4 map\n      1:5 b:\n        1:5 null\n      1:8 c:\n        1:9 null\n"},
		{"a: !!str 12\nb: !!int '3'", "1:1 map\n  1:1 a:\n    1:10 \"12\"\n  2:1 b:\n    2:10 3\n"},
		{"a: &x {b: 1}\nc: *x", "1:1 map\n  1:1 a:\n    1:7 map\n      1:8 b:\n        1:11 1\n  2:1 c:\n    1:7 map\n      1:8 b:\n        1:11 1\n"},
		{"a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3", "1:1 map\n  1:1 a:\n    1:7 map\n      1:8 b:\n        1:11 1\n      1:14 c:\n        1:17 2\n  2:1 d:\n    3:3 map\n      4:3 c:\n        4:6 3\n      1:8 b:\n        1:11 1\n"},
		{"a: {<<: [{x: 1, y: 1}, {x: 2, z: 2}]}", "1:1 map\n  1:1 a:\n    1:4 map\n      1:11 x:\n        1:14 1\n      1:17 y:\n        1:20 1\n      1:31 z:\n        1:34 2\n"},
		{"on: yes\ny: no", "1:1 map\n  1:1 on:\n    1:5 yes\n  2:1 y:\n    2:4 no\n"},
	} {
		n, errs := Parse("", []byte(c.yaml))
		if errs != nil {
			t.Errorf("%q: %v", c.yaml, errs)
			continue
		}
		var b strings.Builder
		dump(&b, n, "")
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%s\n%s", c.yaml, diff)
		}
	}
}

// TestBounds checks that a hostile text is refused early, not worked on.
func TestBounds(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		a := fmt.Sprintf("*a%d", i)
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Join([]string{a, a, a, a, a, a, a, a, a, a}, ", "))
	}
	var stairs strings.Builder
	for i := range 100 {
		fmt.Fprintf(&stairs, "%sa:\n", strings.Repeat(" ", i))
	}
	for _, c := range []struct{ name, yaml, want string }{
		{"size", strings.Repeat("# comment\n", 110_000), "f: the file has 1100000 bytes; expected at most 1048576"},
		{"aliases", bomb, "f:5:45: the document is too large once its aliases are replaced; expected at most 100000 values"},
		{"flow depth", strings.Repeat("[", 500_000), "f:1:65: lists and mappings are nested too deep; expected at most 64 levels"},
		{"block depth", strings.Repeat("- ", 200_000), "f:1:129: lists and mappings are nested too deep; expected at most 64 levels"},
		{"stairs", stairs.String(), "f:65:66: lists and mappings are nested too deep; expected at most 64 levels"},
		{"keys", strings.Repeat("a: 1\n", 200_000), "f:10001:2: the file has too many keys; expected at most 10000"},
		{"anchors", strings.Repeat("&a ", 300_000), "f:1:7: a value has several anchors or tags; expected at most one of each"},
		{"UTF-8", "a: é\nbc: é\xff", "f:2:6: byte 0xff is not UTF-8; expected a file in UTF-8"},
		{"control", "a: \"é\x07\"", "f:1:6: control character U+0007; expected an escape such as \"\\u0007\" in double quotes"},
	} {
		n, errs := Parse("f", []byte(c.yaml))
		if n != nil {
			t.Errorf("%s: accepted", c.name)
		}
		if diff := cmp.Diff(c.want, errs.Error()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestNearest(t *testing.T) {
	fields := []string{"rate", "bits", "label", "momentum", "l2"}
	for name, want := range map[string]string{
		"rte": "rate", "Rate": "rate", "lable": "label", "momentun": "momentum", "bit": "bits", "l1": "l2", "x": "", "learning": "", "": "", "beta": "",
	} {
		if got := Nearest(name, fields); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
