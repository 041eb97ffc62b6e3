package spec

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sample uses every kind of field.
type sample struct {
	Deep      bool
	Bits      int
	Seed      int64
	Rate      float64
	Note      string
	Every     time.Duration
	Size      int64
	Loss      string
	Label     Column
	Numeric   []Column
	Cross     [][]Column
	Classes   []string
	From      []Name
	Window    window
	Intercept bool
	Slope     slope
	Optimizer Choice
	Metrics   []Choice
	Columns   []Entry
	Edges     []float64
	Formulas  []NamedText
	Sources   []NamedNode
	Extra     *Node

	BitsGiven bool
	RateAt    Pos
}

type window struct{ Min, Max int }

func (w *window) Fields(f *Fields) {
	f.Int(&w.Min, "min", 1, "Smallest window, in rows.").AtLeast(1)
	f.Int(&w.Max, "max", 100, "Largest window, in rows.").Pin()
}

func (w *window) Check(add func(field, msg, want string)) {
	if w.Max < w.Min {
		add("max", "max is less than min", "expected at least min")
	}
}

type slope struct{ Rate float64 }

func (s *slope) Fields(f *Fields) {
	f.Float(&s.Rate, "rate", 0.1, "Its own step size.").Above(0)
}

type sgd struct{ Rate float64 }

func (s *sgd) Fields(f *Fields) {
	f.Float(&s.Rate, "rate", 0.05, "Step size.").Above(0).AtMost(1)
}

type quantile struct{ Q float64 }

func (q *quantile) Fields(f *Fields) {
	f.Float(&q.Q, "q", 0, "Which quantile.").Above(0).Below(1).Required()
}

var optimizers = []Option{
	{"sgd", "Plain gradient steps.", func() Config { return new(sgd) }},
	{"none", "No steps.", nil},
	{"quantile", "Needs a field.", func() Config { return new(quantile) }},
}

var metrics = []Option{
	{"accuracy", "Share of right answers.", nil},
	{"roc_auc", "Area under the curve.", func() Config { return new(window) }},
}

func (s *sample) Fields(f *Fields) {
	f.Bool(&s.Deep, "deep", false, "Whether to go deep.")
	f.Int(&s.Bits, "bits", 18, "Width of the hash.").Within(8, 30).Pin().Given(&s.BitsGiven)
	f.Int64(&s.Seed, "seed", -1, "Seed.")
	f.Float(&s.Rate, "rate", 0.05, "Step size.").Above(0).At(&s.RateAt)
	f.String(&s.Note, "note", "a note", "Any text.")
	f.Duration(&s.Every, "every", 100*time.Millisecond, "How often.").Within(time.Millisecond, time.Hour)
	f.Bytes(&s.Size, "size", 16<<20, "How large.").AtLeast(1024)
	f.Enum(&s.Loss, "loss", "log", []string{"log", "hinge"}, "Loss.")
	f.Column(&s.Label, "label", "", "Label column.").Required().Example("y")
	f.Columns(&s.Numeric, "numeric", []string{"x"}, "Numeric columns.")
	f.ColumnLists(&s.Cross, "cross", "Crossed columns.")
	f.Strings(&s.Classes, "classes", nil, "Classes.")
	f.Names(&s.From, "from", nil, "Where it reads.").Matching("[a-z]+", "a name of small letters")
	f.Object(&s.Window, "window", "Window.")
	f.Switch(&s.Intercept, &s.Slope, "intercept", true, "Intercept.")
	f.Choice(&s.Optimizer, "optimizer", "sgd", optimizers, "Optimiser.")
	f.Choices(&s.Metrics, "metrics", []string{"accuracy"}, metrics, "Metrics.")
	f.Ordered(&s.Columns, "columns", "Columns out.")
	f.Floats(&s.Edges, "edges", nil, "Edges.")
	f.Texts(&s.Formulas, "formulas", "Formulas.")
	f.Nodes(&s.Sources, "sources", nil, "Sources.").Matching("[A-Za-z][A-Za-z0-9_-]*", "a letter, then letters, digits, _ or -")
	f.Raw(&s.Extra, "extra", "Anything.").Hidden()
}

func decodeSample(t *testing.T, text string) (*sample, Errors) {
	t.Helper()
	n, errs := Parse("p.yaml", []byte(text))
	if n == nil {
		return nil, errs
	}
	s := new(sample)
	return s, append(errs, Decode(n, s)...).Sorted()
}

func TestDefaults(t *testing.T) {
	for _, text := range []string{"label: y", "{label: y, bits: , optimizer: null, window: {}, metrics: ~}"} {
		s, errs := decodeSample(t, text)
		if errs != nil {
			t.Fatal(errs)
		}
		want := `{deep: false, bits: 18, seed: -1, rate: 0.05, note: "a note", every: 100ms, size: 16MiB, loss: log, label: y, numeric: [x], ` +
			`cross: [], classes: [], from: [], window: {min: 1, max: 100}, intercept: {rate: 0.1}, optimizer: {sgd: {rate: 0.05}}, metrics: [accuracy], columns: {}, edges: [], formulas: {}, sources: {}}`
		if diff := cmp.Diff(want, Canonical(s)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if s.BitsGiven {
			t.Error("bits counts as given")
		}
	}
}

const full = `
deep: true
bits: 0x14
seed: +12
rate: 1e-3
note: 012
every: 1m30s
size: 10kB
loss: hinge
label: y
numeric: [a, "b c"]
cross: [[user, site], [a]]
classes: one
from: [x, y]
window: {min: 5, max: 9}
intercept: {rate: 0.5}
optimizer: {quantile: {q: 0.5}}
metrics: [accuracy, {roc_auc: {max: 1000}}]
columns: {id: id, p: ctr.probability}
edges: [1, 2.5]
formulas: {b: x > 1, a: "y"}
sources:
  z: {topic: "1"}
  a: [1, yes, true, ~]
extra: "x"
`

func TestRoundTrip(t *testing.T) {
	s, errs := decodeSample(t, full)
	if errs != nil {
		t.Fatal(errs)
	}
	want := `{deep: true, bits: 20, seed: 12, rate: 0.001, note: "012", every: 1m30s, size: 10000, loss: hinge, label: y, numeric: [a, "b c"], ` +
		`cross: [[user, site], [a]], classes: [one], from: [x, y], window: {min: 5, max: 9}, intercept: {rate: 0.5}, optimizer: {quantile: {q: 0.5}}, ` +
		`metrics: [accuracy, {roc_auc: {min: 1, max: 1000}}], columns: {id: id, p: ctr.probability}, edges: [1, 2.5], formulas: {b: "x \u003e 1", a: y}, sources: {z: {topic: "1"}, a: [1, yes, true, null]}, extra: x}`
	text := Canonical(s)
	if diff := cmp.Diff(want, text); diff != "" {
		t.Fatal(diff)
	}
	again, errs := decodeSample(t, text)
	if errs != nil {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(text, Canonical(again)); diff != "" {
		t.Error(diff)
	}
	if got, want := Pinned(s), "bits=20 window.max=9 metrics.roc_auc.max=1000"; got != want {
		t.Errorf("pinned: %s, want %s", got, want)
	}
	if got, want := s.RateAt, (Pos{"p.yaml", 5, 7}); got != want {
		t.Errorf("rate is at %v, want %v", got, want)
	}
	if got, want := s.Numeric[1], (Column{"b c", Pos{"p.yaml", 11, 14}}); got != want {
		t.Errorf("column %v, want %v", got, want)
	}
	if !s.BitsGiven {
		t.Error("bits does not count as given")
	}
}

func TestErrorsAreSortedAndComplete(t *testing.T) {
	_, errs := decodeSample(t, strings.TrimLeft(`
bits: 40
rte: 1
deep: yes
optimizer: {adagard: {}}
`, "\n"))
	want := `p.yaml:1:1: label is missing; expected a column name
p.yaml:1:7: bits is 40; expected a whole number from 8 to 30
p.yaml:2:1: unknown field "rte"; did you mean "rate"?
p.yaml:3:7: deep is "yes"; expected true or false
p.yaml:4:13: optimizer is "adagard"; expected one of sgd, none, quantile`
	if diff := cmp.Diff(want, errs.Error()); diff != "" {
		t.Error(diff)
	}
}
