package detect

import (
	"fmt"
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// After says what ADWIN does with its window once it has raised an alarm.
type After string

// What may happen after an alarm.
const (
	Shrink After = "shrink" // keep the part of the window that agrees with the present (the paper, MOA)
	Reset  After = "reset"  // forget everything at the next input (River)
)

// ADWINOptions tunes ADWIN.
type ADWINOptions struct {
	// Delta is the chance of a false alarm the bound is built for, in (0, 1). Default 0.002. Smaller is slower and surer.
	Delta float64
	// Clock is the number of inputs from one search for a cut to the next, 1 to 1e6. Default 32.
	Clock int
	// Grace is the window length up to which no search is made, 0 to 1e9. Default 10.
	Grace int
	// MinPart is the least number of inputs on each side of a cut, 1 to 1e6. Default 5.
	MinPart int
	// Direction selects the changes that are reported: Both (default), Up or Down. The window is cut on any change.
	Direction Direction
	// After is Shrink (default) or Reset. Shrink goes on alarming, about three more times after one abrupt change, while
	// it drops what is left of the old data; Reset alarms once and then has to fill its window again.
	After After
}

// DefaultADWIN returns the defaults above.
func DefaultADWIN() ADWINOptions {
	return ADWINOptions{Delta: 0.002, Clock: 32, Grace: 10, MinPart: 5, Direction: Both, After: Shrink}
}

// perRow is the paper's M: buckets of one size kept before the two oldest are merged.
const perRow = 5

// ADWINRow holds the buckets of one size, oldest first.
type ADWINRow struct {
	Len int                 // buckets in use, at most perRow between updates
	Sum [perRow + 1]float64 // sum of a bucket's inputs
	M2  [perRow + 1]float64 // sum of squared distances from the bucket's own mean
}

// ADWINState is what ADWIN remembers: O(log of the window) numbers.
type ADWINState struct {
	Ticks   int64      // inputs since the start or the last reset
	Width   int64      // inputs in the window
	Sum     float64    // their sum
	M2      float64    // their sum of squared distances from the mean
	Rows    []ADWINRow // row i holds buckets of 2^i inputs
	Pending bool       // a reset is due at the next input
}

// ADWIN keeps a window of the latest inputs that shows no change of mean at confidence Delta: whenever two adjoining
// parts of it differ by more than a Bernstein bound allows, the oldest data are dropped and an alarm is raised. (Bifet and
// Gavaldà, Learning from Time-Changing Data with Adaptive Windowing, SDM 2007, the bucketed version ADWIN2 with the
// variance-based bound.) The bound assumes inputs in [0, 1]; on a wider range it is more eager. Estimate is the window's mean.
//
// With the defaults it alarms where MOA's and River's ADWIN do, except that MOA reports rises only (Direction: Up) and
// River starts over after an alarm (After: Reset).
type ADWIN struct {
	opt ADWINOptions
	s   ADWINState
}

// NewADWIN returns an ADWIN without inputs, or an error that names the option out of bounds.
func NewADWIN(o ADWINOptions) (*ADWIN, error) {
	if err := within("delta", o.Delta, 0, 1); err != nil {
		return nil, err
	}
	if err := inside("clock", float64(o.Clock), 1, 1e6); err != nil {
		return nil, err
	}
	if err := inside("grace", float64(o.Grace), 0, 1e9); err != nil {
		return nil, err
	}
	if err := inside("min_part", float64(o.MinPart), 1, 1e6); err != nil {
		return nil, err
	}
	if err := inside("direction", float64(o.Direction), float64(Down), float64(Up)); err != nil {
		return nil, err
	}
	if o.After != Shrink && o.After != Reset {
		return nil, fmt.Errorf("after is %q; expected %q or %q", o.After, Shrink, Reset)
	}
	a := &ADWIN{opt: o}
	a.s.Rows = make([]ADWINRow, 0, 24) // a window of 80 million without growing
	return a, nil
}

// State implements Detector; the pointer is an *ADWINState.
func (a *ADWIN) State() any { return &a.s }

// Reset implements Detector.
func (a *ADWIN) Reset() { a.s = ADWINState{Rows: a.s.Rows[:0]} }

// Width returns the number of inputs in the window.
func (a *ADWIN) Width() int64 { return a.s.Width }

// Estimate returns the mean of the window.
func (a *ADWIN) Estimate() (float64, bool) {
	if a.s.Width == 0 {
		return 0, false
	}
	return a.s.Sum / float64(a.s.Width), true
}

// Update implements Detector. It costs O(1) on most inputs and O(log window) on every Clock-th.
func (a *ADWIN) Update(x float64) Signal {
	if !usable(x) {
		return Signal{}
	}
	s := &a.s
	if s.Pending {
		a.Reset()
	}
	s.Ticks++
	s.insert(x)
	var dir Direction
	if s.Ticks%int64(a.opt.Clock) == 0 && s.Width > int64(a.opt.Grace) {
		dir = a.shrink()
	}
	sig := Signal{Value: s.Sum / float64(s.Width)}
	if dir != Both && (a.opt.Direction == Both || a.opt.Direction == dir) {
		sig.Level, sig.Direction = Drift, dir
		s.Pending = a.opt.After == Reset
	}
	return sig
}

func (s *ADWINState) insert(x float64) {
	if s.Width > 0 {
		n := float64(s.Width)
		d := x - s.Sum/n
		s.M2 += d * d * n / (n + 1)
	}
	s.Width++
	s.Sum += x
	if len(s.Rows) == 0 {
		s.Rows = append(s.Rows, ADWINRow{})
	}
	r := &s.Rows[0]
	r.Sum[r.Len], r.M2[r.Len] = x, 0
	r.Len++
	if r.Len > perRow {
		s.compress()
	}
}

// compress merges the two oldest buckets of each overfull row into one of the next row.
func (s *ADWINState) compress() {
	half := 0.5 // size/2 of a bucket of this row
	for i := 0; i < len(s.Rows) && s.Rows[i].Len > perRow; i++ {
		if i+1 == len(s.Rows) {
			s.Rows = append(s.Rows, ADWINRow{})
		}
		r, next := &s.Rows[i], &s.Rows[i+1]
		// Chan's merge for two parts of size m = 2·half: the cross term is d²·m·m/(2m) = d²·half of the means' distance.
		d := (r.Sum[0] - r.Sum[1]) / (2 * half)
		next.Sum[next.Len] = r.Sum[0] + r.Sum[1]
		next.M2[next.Len] = r.M2[0] + r.M2[1] + float64(d*d*half)
		next.Len++
		r.Len -= 2
		copy(r.Sum[:], r.Sum[2:])
		copy(r.M2[:], r.M2[2:])
		half *= 2
	}
}

// shrink drops oldest buckets while some cut of the window shows a change. It returns the sign of the change of the mean
// that this made, or Both when nothing was dropped.
func (a *ADWIN) shrink() Direction {
	s := &a.s
	before := s.Sum / float64(s.Width)
	dir := Both
	for {
		gap := a.cut()
		if gap == 0 {
			break
		}
		if dir == Both {
			dir = sign(gap)
		}
		s.dropOldest()
	}
	if dir == Both {
		return Both
	}
	if d := sign(s.Sum/float64(s.Width) - before); d != Both {
		dir = d
	}
	return dir
}

func sign(x float64) Direction {
	switch {
	case x > 0:
		return Up
	case x < 0:
		return Down
	}
	return Both
}

// cut searches the window, oldest bucket first, for two parts whose means differ beyond the bound. It returns the newer
// part's mean minus the older part's at the first such place, or 0.
func (a *ADWIN) cut() float64 {
	s := &a.s
	width := float64(s.Width)
	minPart := float64(a.opt.MinPart)
	logTerm := exact.Log(2 * exact.Log(width) / a.opt.Delta)
	if !(logTerm > 0) { // a window of one or two inputs at a very large delta: the bound has no meaning
		return 0
	}
	scale := 2 * (s.M2 / width) * logTerm
	linear := 2.0 / 3 * logTerm
	n0, sum0 := 0.0, 0.0
	for i := len(s.Rows) - 1; i >= 0; i-- {
		r := &s.Rows[i]
		size := float64(int64(1) << i)
		for k := 0; k < r.Len; k++ {
			n0 += size
			sum0 += r.Sum[k]
			n1 := width - n0
			if n0 < minPart {
				continue
			}
			if n1 < minPart {
				return 0
			}
			gap := (s.Sum-sum0)/n1 - sum0/n0
			m := 1/(n0-minPart+1) + 1/(n1-minPart+1)
			root := scale * m
			if gap*gap <= root { // the bound is sqrt(root) plus something positive
				continue
			}
			if math.Abs(gap) > math.Sqrt(root)+float64(linear*m) {
				return gap
			}
		}
	}
	return 0
}

// dropOldest removes the oldest bucket and rebuilds the totals from those that are left, so that rounding errors of
// departed data do not stay behind.
func (s *ADWINState) dropOldest() {
	last := len(s.Rows) - 1
	r := &s.Rows[last]
	r.Len--
	copy(r.Sum[:], r.Sum[1:])
	copy(r.M2[:], r.M2[1:])
	if r.Len == 0 {
		s.Rows = s.Rows[:last]
	}
	var n, sum, m2 float64
	for i := len(s.Rows) - 1; i >= 0; i-- {
		r := &s.Rows[i]
		size := float64(int64(1) << i)
		for k := 0; k < r.Len; k++ {
			if n > 0 {
				d := r.Sum[k]/size - sum/n
				m2 += d * d * n * size / (n + size)
			}
			m2 += r.M2[k]
			sum += r.Sum[k]
			n += size
		}
	}
	s.Width, s.Sum, s.M2 = int64(n), sum, m2
}
