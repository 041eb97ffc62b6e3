package spec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

type badly struct {
	N      int
	Kind   string
	Choice Choice
}

func (b *badly) Fields(f *Fields) {
	f.Int(&b.N, "N", 5, "Number").AtMost(4).Example("x")
	f.Enum(&b.Kind, "kind", "c", []string{"a", "b"}, "Kind.")
	f.Choice(&b.Choice, "choice", "", []Option{
		{"self", "Again.", func() Config { return new(badly) }},
		{"bare", "bare", func() Config { return new(bare) }},
	}, "Choice.")
}

type bare struct{ On bool }

func (b *bare) Fields(f *Fields) { f.Bool(&b.On, "on", true, "") }

func TestLint(t *testing.T) {
	for _, c := range []Config{new(sample), new(small), new(tree)} {
		if faults := Lint(c); faults != nil {
			t.Errorf("%T: %q", c, faults)
		}
	}
	want := []string{
		"N: the name is not of small letters, digits and _",
		`N: the doc is not a sentence: "Number"`,
		"N: default:1:1: N is 5; expected a whole number of at most 4",
		`N: example:1:1: N is "x"; expected a whole number of at most 4`,
		`kind: default:1:1: kind is "c"; expected one of a, b`,
		`choice.bare: the summary is not a sentence: "bare"`,
		`choice.bare.on: the doc is not a sentence: ""`,
	}
	if diff := cmp.Diff(want, Lint(new(badly))); diff != "" {
		t.Error(diff)
	}
}

func TestMisdeclared(t *testing.T) {
	for name, declare := range map[string]func(*Fields){
		"a field twice": func(f *Fields) {
			f.Int(new(int), "a", 0, "A.")
			f.Bool(new(bool), "a", false, "A.")
		},
		"bounds without order":        func(f *Fields) { f.Bool(new(bool), "a", false, "A.").AtLeast(0) },
		"bounds of another type":      func(f *Fields) { f.Int(new(int), "a", 0, "A.").AtLeast("0") },
		"a default that is no option": func(f *Fields) { f.Choice(new(Choice), "a", "x", optimizers, "A.") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			declare(&Fields{reset: true})
		}()
	}
}
