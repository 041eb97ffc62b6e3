// Package metric scores predictions one row at a time: classification from a probability, classification by name, and
// regression.
//
// A metric is a small state of exported numbers with three methods: take a row, tell the value, and take in another
// metric's rows. The value is undefined, never NaN or infinite, where its formula has no meaning yet (precision before
// the first positive prediction, AUC before both classes were seen). Nothing here allocates once a state has its size.
// Rows may have weights. Each metric
// is one entry of the registry, which says what kinds of rows it scores; [Spec.NewBinary] and the like make one, also over a window or with rows that
// fade. To add one, write its type, or a function of a row for [Mean], and a register call.
package metric

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Metric is what all metrics have in common.
type Metric interface {
	// Value returns the metric over the rows so far, and false where it is undefined. It never changes the state.
	Value() (float64, bool)
	// Merge adds the rows of another metric of the same type and options, as if they had come after this one's.
	Merge(other Metric) error
	// Reset forgets all rows.
	Reset()
	// State returns a pointer to the state: a struct of exported numbers and bools, and of slices, arrays and structs of
	// such. It stays the same pointer for the metric's life, so a checkpoint may be read from it and written into it.
	State() any
}

// Scaler is a metric whose rows can be made to count less, all by the same factor. Metrics over the whole run are.
type Scaler interface {
	// Scale multiplies the weight of every row so far by f, which is positive.
	Scale(f float64)
}

// Weights are 1, or the importance of a row; a row of weight 0 is one that labels were learnt from and that does not count.
// A weight is finite and at least 0.

// Binary is a metric of rows with a true-or-false label. p is the predicted probability that the label is true; the
// predicted class is p > 0.5. Rows whose p is NaN are ignored.
type Binary interface {
	Metric
	UpdateBinary(label bool, p, weight float64)
}

// Classes is a metric of rows whose label and prediction are class names. The strings are copied when kept.
type Classes interface {
	Metric
	UpdateClass(label, predicted string, weight float64)
}

// Number is a row whose label and prediction are numbers.
type Number struct {
	Label, Predicted float64
	Lower, Upper     float64 // bounds of a predicted interval, for metrics that need them (Spec.Interval)
}

// Numeric is a metric of rows whose label and prediction are numbers. Rows where one is NaN or infinite are ignored.
type Numeric interface {
	Metric
	UpdateNumber(n Number, weight float64)
}

// Outcome is a row in which several candidates were scored, classes or items, and one of them was right.
type Outcome struct {
	Rank    int64   // place of what was right, 1 = first; 0 = it was not among the candidates
	P       float64 // probability it was given
	Squares float64 // sum over the candidates of the squares of their probabilities
}

// Ranked is a metric of outcomes.
type Ranked interface {
	Metric
	UpdateOutcome(o Outcome, weight float64)
}

// Options tunes a metric; what a metric does not use it ignores.
type Options struct {
	// Window, if above zero, makes a metric count the latest Window rows only, up to MaxWindow. Zero means all rows.
	Window int
	// HalfLife, if above zero, makes a metric count a row half as much after so many more rows. Not with Window.
	HalfLife int
	Bins     int     // ece: number of bins, 1 to 10,000
	K        int     // hit_rate, ndcg, mrr, top_k: places that count, at least 1
	Season   int     // mase: rows back to the label that the baseline repeats, 1 to 10,000
	Quantile float64 // pinball: the quantile predicted, in (0, 1)
}

// MaxWindow bounds Options.Window.
const MaxWindow = 1_000_000

// Best says which end of a metric's range is the good one.
type Best string

// The two ends.
const (
	Higher Best = "higher"
	Lower  Best = "lower"
)

// Spec declares one metric. The constructors that are not nil say which kinds of rows it scores.
type Spec struct {
	Name   string
	Doc    string   // one sentence: what it is, and where it is undefined
	Best   Best     // which direction is better
	Lo, Hi float64  // range of defined values
	Takes  []string // names of the options it has beside window and half_life

	Interval    bool // needs Number.Lower and Number.Upper
	Probability bool // of outcomes: needs Outcome.P and Outcome.Squares, not the rank alone

	Binary  func(Options) Binary
	Classes func(Options) Classes
	Numeric func(Options) Numeric
	Ranked  func(Options) Ranked
}

// Inputs names the kinds of rows the metric scores, of "probability", "class", "number" and "rank", in this order.
func (s Spec) Inputs() []string {
	var in []string
	if s.Binary != nil {
		in = append(in, "probability")
	}
	if s.Classes != nil {
		in = append(in, "class")
	}
	if s.Numeric != nil {
		in = append(in, "number")
	}
	if s.Ranked != nil {
		in = append(in, "rank")
	}
	return in
}

var specs []Spec // sorted by name

// register adds a metric; it is called from init functions only.
func register(s Spec) {
	i, dup := slices.BinarySearchFunc(specs, s.Name, func(s Spec, name string) int { return strings.Compare(s.Name, name) })
	if dup {
		panic("metric: two metrics named " + s.Name)
	}
	specs = slices.Insert(specs, i, s)
}

// Lookup returns the metric of that name.
func Lookup(name string) (Spec, bool) {
	i, ok := slices.BinarySearchFunc(specs, name, func(s Spec, name string) int { return strings.Compare(s.Name, name) })
	if !ok {
		return Spec{}, false
	}
	return specs[i], true
}

// Names returns all names, sorted.
func Names() []string {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	return names
}

// ratio is a/b, undefined where b is zero.
func ratio(a, b float64) (float64, bool) {
	if b == 0 {
		return 0, false
	}
	return a / b, true
}

// defined passes v on unless it is NaN or infinite.
func defined(v float64) (float64, bool) {
	if !finite(v) {
		return 0, false
	}
	return v, true
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// mismatch is the error of merging two metrics of different types.
func mismatch(to, from Metric) error { return fmt.Errorf("metric: cannot merge %T into %T", from, to) }

// Sum adds numbers with a running correction (Neumaier's), so that the total of a billion terms is good to the last digits
// and hardly depends on how it was split.
type Sum struct{ Total, Low float64 }

// Add adds v.
func (s *Sum) Add(v float64) {
	t := s.Total + v
	if math.Abs(s.Total) >= math.Abs(v) {
		s.Low += s.Total - t + v
	} else {
		s.Low += v - t + s.Total
	}
	s.Total = t
}

// Scale multiplies the sum.
func (s *Sum) Scale(f float64) { scale(f, &s.Total, &s.Low) }

// AddSum adds another sum.
func (s *Sum) AddSum(o Sum) { s.Add(o.Total); s.Low += o.Low }

// Value returns the sum.
func (s *Sum) Value() float64 { return s.Total + s.Low }

// least is the magnitude below which a scaled number becomes zero, far from where numbers lose digits.
const least = 1e-250

// scale multiplies numbers by f.
func scale(f float64, numbers ...*float64) {
	for _, p := range numbers {
		if *p *= f; math.Abs(*p) < least {
			*p = 0
		}
	}
}
