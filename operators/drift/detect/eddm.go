package detect

import (
	"fmt"
	"math"
)

// Spread names the variance that EDDM takes of the distances between errors. The paper leaves it open.
type Spread string

// The two spreads in use.
const (
	Population Spread = "population" // divide by the number of errors (MOA)
	Sample     Spread = "sample"     // divide by one less; zero for a single error (River)
)

// EDDMOptions tunes EDDM.
type EDDMOptions struct {
	// Warning and Drift are the shares of the best distance below which the two levels start.
	// 0 < Drift <= Warning < 1. Defaults 0.95 and 0.9.
	Warning, Drift float64
	// MinSamples is the number of inputs, and MinErrors that of errors, that must have passed before anything is judged,
	// 0 to 1e9 and 1 to 1e9. Defaults 30 and 30.
	MinSamples, MinErrors int
	// Spread is Population (default) or Sample.
	Spread Spread
}

// DefaultEDDM returns the defaults above.
func DefaultEDDM() EDDMOptions {
	return EDDMOptions{Warning: 0.95, Drift: 0.9, MinSamples: 30, MinErrors: 30, Spread: Population}
}

// EDDMState is what EDDM remembers.
type EDDMState struct {
	N, Errors int64   // inputs and errors since the start or the last drift
	Last      int64   // N at the last error
	Mean, M2  float64 // of the distances between errors: mean, and sum of squared distances from it
	Best      float64 // the largest mean + 2 deviations so far; 0 before the first
	Warning   bool    // the last error left the detector in the warning zone
	Pending   bool    // a reset is due at the next input
}

// EDDM watches the number of inputs from one error to the next, which should grow or stay while a learner learns. It warns
// when mean + 2 deviations of that distance falls below Warning times its best, and alarms below Drift times; then it starts
// over. (Baena-García and others, Early Drift Detection Method, IWKDDS 2006.) An input above 0.5 is an error; the first
// distance counts from the start. It is quick, and prone to false alarms: 8 to 27 in 10,000 inputs of a stationary stream.
// Estimate is the mean distance, so it falls as the error rate rises; the direction of its signals is that of the error rate.
type EDDM struct {
	opt EDDMOptions
	s   EDDMState
}

// NewEDDM returns an EDDM without inputs, or an error that names the option out of bounds.
func NewEDDM(o EDDMOptions) (*EDDM, error) {
	if err := within("warning", o.Warning, 0, 1); err != nil {
		return nil, err
	}
	if err := within("drift", o.Drift, 0, 1); err != nil {
		return nil, err
	}
	if o.Drift > o.Warning {
		return nil, fmt.Errorf("drift is %v; expected at most warning, which is %v", o.Drift, o.Warning)
	}
	if err := inside("min_samples", float64(o.MinSamples), 0, 1e9); err != nil {
		return nil, err
	}
	if err := inside("min_errors", float64(o.MinErrors), 1, 1e9); err != nil {
		return nil, err
	}
	if o.Spread != Population && o.Spread != Sample {
		return nil, fmt.Errorf("spread is %q; expected %q or %q", o.Spread, Population, Sample)
	}
	return &EDDM{opt: o}, nil
}

// State implements Detector; the pointer is an *EDDMState.
func (d *EDDM) State() any { return &d.s }

// Reset implements Detector.
func (d *EDDM) Reset() { d.s = EDDMState{} }

// Estimate returns the mean number of inputs from one error to the next, and false before the first error.
func (d *EDDM) Estimate() (float64, bool) { return d.s.Mean, d.s.Errors > 0 }

// Update implements Detector.
func (d *EDDM) Update(x float64) Signal {
	if !usable(x) {
		return Signal{}
	}
	s := &d.s
	if s.Pending {
		*s = EDDMState{}
	}
	s.N++
	sig := Signal{}
	if x > 0.5 {
		sig.Level = d.onError()
		s.Warning = sig.Level == Warning
		s.Pending = sig.Level == Drift
	} else if s.Warning {
		sig.Level = Warning
	}
	if sig.Level != None {
		sig.Direction = Up
	}
	sig.Value = s.Mean
	return sig
}

func (d *EDDM) onError() Level {
	s := &d.s
	s.Errors++
	k := float64(s.Errors)
	gap := float64(s.N - s.Last)
	s.Last = s.N
	off := gap - s.Mean
	s.Mean += off / k
	s.M2 += float64(off * (gap - s.Mean))
	if s.N <= int64(d.opt.MinSamples) {
		return None
	}
	if d.opt.Spread == Sample {
		k = max(k-1, 1)
	}
	now := s.Mean + float64(2*math.Sqrt(s.M2/k))
	if now > s.Best {
		s.Best = now
		return None
	}
	if s.Errors <= int64(d.opt.MinErrors) {
		return None
	}
	switch {
	case now < d.opt.Drift*s.Best:
		return Drift
	case now < d.opt.Warning*s.Best:
		return Warning
	}
	return None
}
