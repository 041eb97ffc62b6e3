package detect

import "fmt"

// Baseline names what Page-Hinkley compares its cumulative sum with.
type Baseline string

// The two baselines in use.
const (
	Extreme Baseline = "extreme" // the lowest (highest) value the sum has had (Page, River)
	Zero    Baseline = "zero"    // zero: the sum itself must pass the threshold (MOA); later, with fewer false alarms
)

// PageHinkleyOptions tunes PageHinkley.
type PageHinkleyOptions struct {
	// Delta is the change of mean that is tolerated, in the input's unit, 0 to 1e9. Default 0.005.
	Delta float64
	// Threshold is the height of the statistic at which it alarms, in the input's unit, above 0 up to 1e12. Default 50.
	Threshold float64
	// Alpha is the factor by which the sum forgets at each input, in (0, 1]. Default 0.9999; 1 is Page's own test.
	Alpha float64
	// MinSamples is the number of inputs that must have passed before it may alarm, 1 to 1e9. Default 30.
	MinSamples int
	// Direction selects the changes that are looked for: Both (default), Up or Down.
	Direction Direction
	// Baseline is Extreme (default) or Zero.
	Baseline Baseline
}

// DefaultPageHinkley returns the defaults above.
func DefaultPageHinkley() PageHinkleyOptions {
	return PageHinkleyOptions{Delta: 0.005, Threshold: 50, Alpha: 0.9999, MinSamples: 30, Direction: Both, Baseline: Extreme}
}

// PageHinkleyState is what PageHinkley remembers.
type PageHinkleyState struct {
	N         int64   // inputs since the start or the last drift
	Mean      float64 // their mean
	Up, Down  float64 // the two cumulative sums, of x − mean − delta and of x − mean + delta
	Low, High float64 // the lowest value Up, and the highest value Down, has had
	Pending   bool    // a reset is due at the next input
}

// PageHinkley sums how far inputs lie above their running mean (less a tolerance Delta) and alarms when the sum has risen
// by Threshold from its lowest point, or, mirrored, fallen from its highest; then it starts over. (Page, Continuous
// Inspection Schemes, Biometrika 1954; the forgetting factor is later practice.) Delta and Threshold are in the unit of the
// input, so the defaults suit values of size about one. Estimate is the running mean. When both sides pass in one input, the
// farther one is reported, and Up if they tie.
type PageHinkley struct {
	opt PageHinkleyOptions
	s   PageHinkleyState
}

// NewPageHinkley returns a PageHinkley without inputs, or an error that names the option out of bounds.
func NewPageHinkley(o PageHinkleyOptions) (*PageHinkley, error) {
	if err := checkSums(o.Delta, o.Threshold, o.MinSamples, o.Direction); err != nil {
		return nil, err
	}
	if err := within("alpha", o.Alpha, 0, 1.000000001); err != nil {
		return nil, err
	}
	if o.Baseline != Extreme && o.Baseline != Zero {
		return nil, fmt.Errorf("baseline is %q; expected %q or %q", o.Baseline, Extreme, Zero)
	}
	return &PageHinkley{opt: o}, nil
}

// State implements Detector; the pointer is a *PageHinkleyState.
func (d *PageHinkley) State() any { return &d.s }

// Reset implements Detector.
func (d *PageHinkley) Reset() { d.s = PageHinkleyState{} }

// Estimate returns the mean since the start or the last drift.
func (d *PageHinkley) Estimate() (float64, bool) { return d.s.Mean, d.s.N > 0 }

// Update implements Detector.
func (d *PageHinkley) Update(x float64) Signal {
	if !usable(x) {
		return Signal{}
	}
	s := &d.s
	if s.Pending {
		*s = PageHinkleyState{}
	}
	s.N++
	s.Mean += (x - s.Mean) / float64(s.N)
	dev := x - s.Mean
	s.Up = float64(d.opt.Alpha*s.Up) + dev - d.opt.Delta
	s.Down = float64(d.opt.Alpha*s.Down) + dev + d.opt.Delta
	if s.N == 1 || s.Up < s.Low {
		s.Low = s.Up
	}
	if s.N == 1 || s.Down > s.High {
		s.High = s.Down
	}
	sig := Signal{Value: s.Mean}
	if s.N < int64(d.opt.MinSamples) {
		return sig
	}
	rise, fall := s.Up, -s.Down
	if d.opt.Baseline == Extreme {
		rise, fall = s.Up-s.Low, s.High-s.Down
	}
	switch {
	case d.opt.Direction != Down && rise > d.opt.Threshold && (d.opt.Direction == Up || rise >= fall):
		sig.Level, sig.Direction, s.Pending = Drift, Up, true
	case d.opt.Direction != Up && fall > d.opt.Threshold:
		sig.Level, sig.Direction, s.Pending = Drift, Down, true
	}
	return sig
}
