package detect

import "cmp"

// CUSUMOptions tunes CUSUM.
type CUSUMOptions struct {
	// Delta is the change of mean that is tolerated, in the input's unit, 0 to 1e9. Default 0.005.
	Delta float64
	// Threshold is the height of the sum at which it alarms, in the input's unit, above 0 up to 1e12. Default 50.
	Threshold float64
	// MinSamples is the number of inputs that must have passed before it may alarm, 1 to 1e9. Default 30.
	MinSamples int
	// Direction selects the changes that are looked for: Both (default), Up or Down.
	Direction Direction
}

// DefaultCUSUM returns the defaults above.
func DefaultCUSUM() CUSUMOptions {
	return CUSUMOptions{Delta: 0.005, Threshold: 50, MinSamples: 30, Direction: Both}
}

// CUSUMState is what CUSUM remembers.
type CUSUMState struct {
	N         int64   // inputs since the start or the last drift
	Mean      float64 // their mean
	Rise, Low float64 // the sums of distances above and below the mean, at least 0
	Pending   bool    // a reset is due at the next input
}

// CUSUM sums how far inputs lie above their running mean, less a tolerance Delta, and alarms when the sum, which is never
// below zero, passes Threshold; and the same below the mean. Then it starts over. (Page, Continuous Inspection Schemes,
// Biometrika 1954, in the two-sided tabular form.) With Direction Up it alarms where MOA's does. It differs from Page-Hinkley
// with alpha 1 in nothing but where the sum starts again. Estimate is the running mean.
type CUSUM struct {
	opt CUSUMOptions
	s   CUSUMState
}

// NewCUSUM returns a CUSUM without inputs, or an error that names the option out of bounds.
func NewCUSUM(o CUSUMOptions) (*CUSUM, error) {
	if err := checkSums(o.Delta, o.Threshold, o.MinSamples, o.Direction); err != nil {
		return nil, err
	}
	return &CUSUM{opt: o}, nil
}

// checkSums checks what detectors that sum have in common.
func checkSums(delta, threshold float64, minSamples int, d Direction) error {
	return cmp.Or(inside("delta", delta, 0, 1e9), within("threshold", threshold, 0, 1.000001e12),
		inside("min_samples", float64(minSamples), 1, 1e9), inside("direction", float64(d), float64(Down), float64(Up)))
}

// State implements Detector; the pointer is a *CUSUMState.
func (d *CUSUM) State() any { return &d.s }

// Reset implements Detector.
func (d *CUSUM) Reset() { d.s = CUSUMState{} }

// Estimate returns the mean since the start or the last drift.
func (d *CUSUM) Estimate() (float64, bool) { return d.s.Mean, d.s.N > 0 }

// Update implements Detector.
func (d *CUSUM) Update(x float64) Signal {
	if !usable(x) {
		return Signal{}
	}
	s := &d.s
	if s.Pending {
		*s = CUSUMState{}
	}
	s.N++
	s.Mean += (x - s.Mean) / float64(s.N)
	dev := x - s.Mean
	s.Rise = max(0, s.Rise+dev-d.opt.Delta)
	s.Low = max(0, s.Low-dev-d.opt.Delta)
	sig := Signal{Value: s.Mean}
	if s.N < int64(d.opt.MinSamples) {
		return sig
	}
	switch {
	case d.opt.Direction != Down && s.Rise > d.opt.Threshold && (d.opt.Direction == Up || s.Rise >= s.Low):
		sig.Level, sig.Direction, s.Pending = Drift, Up, true
	case d.opt.Direction != Up && s.Low > d.opt.Threshold:
		sig.Level, sig.Direction, s.Pending = Drift, Down, true
	}
	return sig
}
