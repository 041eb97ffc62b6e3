package spec

import (
	"strings"
	"testing"
)

// seeds are documents with what the grammar has to offer, right and wrong.
var seeds = []string{
	full, "label: y", "", "# only a comment\n", "---\na: 1\n...\n", "a: 1\n---\nb: 2\n", "a: 1\n...\nb: 2\n", "%YAML 1.2\n---\na: {b: ${X}}", "a: ]",
	"a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\n", "a: &a [*a]", "<<: [{a: 1}, {b: 2}]",
	"a: 'it''s'\nb: \"\\u00e9\\n\"\nc: |+\n  x\n\nd: >-\n  y\n  z\n", "größe: {é: \"日本\", k: [ü, 'ö']} # x\n",
	"a: x y   \nb:\t1\nc: first\n  second\n", "\ufeffa: 1\r\nb: 2\r\n", "? a\n: b\n", "- a\n- - b\n  - c\n-\n  d: e\n",
	"a: !!str 1\nb: !!int \"2\"\nc: !x y\n", "a: [1, 2\nb: 3", "a: {b: 1,, c}", "a: \"x", "a:\n\tb: 1", "a: b: c", "a: @x",
	strings.Repeat("[", 100), strings.Repeat("- ", 100), "{a: 1, a: 2}", "a: ${X:1} $${Y} ${Z}", "a: ${", "a: b\n c: d\n",
	"a: \"multi\n\n  line\"\nb: plain\n\n  text\nc: [x,\n  y]\n", "- p q   \n- r\n", "a: 'x' \n'b' : \"c\" # d\n", "a: |2\n    x\n   y\n",
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, errs := Parse("f", data)
		checkErrors(t, data, errs)
		if n == nil {
			if errs == nil {
				t.Fatal("neither a tree nor errors")
			}
			return
		}
		lines := linesOf(data)
		n.each(func(n *Node) {
			checkInside(t, lines, n.Pos)
			for _, k := range n.Keys {
				checkInside(t, lines, k.Pos)
			}
			checkExact(t, lines, n)
		})
	})
}

func linesOf(data []byte) [][]rune {
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	var lines [][]rune
	for _, l := range strings.Split(text, "\n") {
		lines = append(lines, []rune(l))
	}
	return lines
}

func checkInside(t *testing.T, lines [][]rune, p Pos) {
	t.Helper()
	if p.File != "f" || p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > len(lines[p.Line-1])+1 {
		t.Fatalf("position %v is outside the file", p)
	}
}

func checkErrors(t *testing.T, data []byte, errs Errors) {
	t.Helper()
	lines := linesOf(data)
	for _, err := range errs {
		if strings.HasPrefix(err.Msg, "the text cannot be read") {
			t.Fatal(err) // a panic in the library
		}
		if err.Pos.Line != 0 {
			checkInside(t, lines, err.Pos)
		}
	}
}

// checkExact checks that n's position is the character n is written from.
func checkExact(t *testing.T, lines [][]rune, n *Node) {
	t.Helper()
	at := ' '
	if line := lines[n.Pos.Line-1]; n.Pos.Col <= len(line) {
		at = line[n.Pos.Col-1]
	}
	ok := true
	switch n.Kind {
	case Scalar:
		if n.Quoted {
			ok = strings.ContainsRune("\"'|>!", at) || at == []rune(n.Value + " ")[0]
		} else {
			ok = strings.HasPrefix(n.Value, string(at)) || at == '"' // a tag such as !!int unquotes
		}
	case List:
		ok = at == '[' || at == '-'
	}
	if !ok {
		t.Fatalf("%v: %c does not start %+v", n.Pos, at, *n)
	}
}

func FuzzInterpolate(f *testing.F) {
	for _, s := range []string{"${X}", "a${X:b}c", "$${X}", "${", "${X:${Y}}", "$$${X}", "${X:a:b}", "${1}", "${Z}", "${}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		pos := Pos{"f", 1, 1}
		n := &Node{Kind: Scalar, Pos: pos, Value: text}
		errs := Interpolate(n, func(name string) (string, bool) { return "${Y}", name == "X" })
		for _, err := range errs {
			if err.Pos != pos {
				t.Fatal(err)
			}
		}
		if !strings.Contains(text, "${") && (n.Value != text || n.Interpolated || errs != nil) {
			t.Fatalf("%q became %q", text, n.Value)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	for _, b := range badFragments {
		f.Add([]byte(b.yaml))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, errs := Parse("f", data)
		if n == nil {
			return
		}
		s := new(sample)
		errs = append(errs, Decode(n, s)...)
		checkErrors(t, data, errs)
		if errs != nil {
			return
		}
		text := Canonical(s)
		n, errs = Parse("canonical", []byte(text))
		again := new(sample)
		if errs = append(errs, Decode(n, again)...); errs != nil {
			t.Fatalf("%s: %v", text, errs)
		}
		if got := Canonical(again); got != text {
			t.Fatalf("%s\nreads back as\n%s", text, got)
		}
	})
}
