// Package metric scores predictions one row at a time: classification from a probability, classification by name, and
// regression.
//
// A metric is a small state of exported numbers with three methods: take a row, tell the value, and take in another
// metric's rows. The value is undefined, never NaN or infinite, where its formula has no meaning yet (precision before
// the first positive prediction, AUC before both classes were seen). Nothing here allocates once a state has its size.
// Each metric is one entry of the registry: to add one, write its type and a register call in a file of its own.
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

// Binary is a metric of rows with a true-or-false label. p is the predicted probability that the label is true; the
// predicted class is p > 0.5. Rows whose p is NaN are ignored.
type Binary interface {
	Metric
	UpdateBinary(label bool, p float64)
}

// Classes is a metric of rows whose label and prediction are class names. The strings are copied when kept.
type Classes interface {
	Metric
	UpdateClass(label, predicted string)
}

// Numeric is a metric of rows whose label and prediction are numbers. Rows where either is NaN or infinite are ignored.
type Numeric interface {
	Metric
	UpdateNumber(label, predicted float64)
}

// Options tunes a metric; what a metric does not use it ignores.
type Options struct {
	// Window, if above zero, makes a metric that supports it (Spec.Windowed) count the latest Window rows only, up to
	// MaxWindow. Zero means all rows.
	Window int
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
	Name     string
	Doc      string  // one sentence: what it is, and where it is undefined
	Best     Best    // which direction is better
	Lo, Hi   float64 // range of defined values
	Windowed bool    // Options.Window is honoured

	Binary  func(Options) Binary
	Classes func(Options) Classes
	Numeric func(Options) Numeric
}

// Inputs names the kinds of rows the metric scores, of "probability", "class" and "number", in this order.
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

// CheckOptions reports options that s cannot take.
func (s Spec) CheckOptions(o Options) error {
	switch {
	case o.Window == 0:
		return nil
	case !s.Windowed:
		return fmt.Errorf("%s takes no window", s.Name)
	case o.Window < 0 || o.Window > MaxWindow:
		return fmt.Errorf("window is %d; expected 1 to %d", o.Window, MaxWindow)
	}
	return nil
}

// ratio is a/b, undefined where b is zero.
func ratio(a, b int64) (float64, bool) {
	if b == 0 {
		return 0, false
	}
	return float64(a) / float64(b), true
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

// AddSum adds another sum.
func (s *Sum) AddSum(o Sum) { s.Add(o.Total); s.Low += o.Low }

// Value returns the sum.
func (s *Sum) Value() float64 { return s.Total + s.Low }
