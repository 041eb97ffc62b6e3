package detect

import (
	"fmt"
	"math"
)

// DDMOptions tunes DDM.
type DDMOptions struct {
	// Warning and Drift are the heights, in standard deviations over the lowest error rate seen, at which the two levels
	// start. 0 < Warning <= Drift <= 100. Defaults 2 and 3.
	Warning, Drift float64
	// MinSamples is the number of inputs that must have passed before anything is judged, 1 to 1e9. Default 30.
	MinSamples int
	// MinErrors is the number of errors that must have been seen before anything is judged, 0 to 1e9. Default 30. With 0, as
	// in the paper, a clean start sets the lowest error rate and its deviation to zero, and the next error is a drift; a
	// lucky start does the same more mildly. On stationary streams 30 takes false alarms to a third or less.
	MinErrors int
}

// DefaultDDM returns the defaults above.
func DefaultDDM() DDMOptions { return DDMOptions{Warning: 2, Drift: 3, MinSamples: 30, MinErrors: 30} }

// DDMState is what DDM remembers.
type DDMState struct {
	N, Errors      int64   // inputs and errors since the start or the last drift
	MinRate, MinSD float64 // the error rate and its deviation where their sum was lowest
	Started        bool    // the two above are set
	Pending        bool    // a reset is due at the next input
}

// DDM watches an error rate that should fall or stay while a learner learns. With p errors per input and s = √(p(1−p)/n),
// it warns when p+s exceeds the lowest such point by Warning deviations of that point and alarms at Drift of them; then it
// starts over. (Gama, Medas, Castillo and Rodrigues, Learning with Drift Detection, SBIA 2004.) An input above 0.5 is an
// error. It sees rises only and grows slow after a long quiet stretch. Estimate is the error rate p.
type DDM struct {
	opt DDMOptions
	s   DDMState
}

// NewDDM returns a DDM without inputs, or an error that names the option out of bounds.
func NewDDM(o DDMOptions) (*DDM, error) {
	if err := within("warning", o.Warning, 0, 100.000001); err != nil {
		return nil, err
	}
	if err := within("drift", o.Drift, 0, 100.000001); err != nil {
		return nil, err
	}
	if o.Warning > o.Drift {
		return nil, fmt.Errorf("warning is %v; expected at most drift, which is %v", o.Warning, o.Drift)
	}
	if err := inside("min_samples", float64(o.MinSamples), 1, 1e9); err != nil {
		return nil, err
	}
	if err := inside("min_errors", float64(o.MinErrors), 0, 1e9); err != nil {
		return nil, err
	}
	return &DDM{opt: o}, nil
}

// State implements Detector; the pointer is a *DDMState.
func (d *DDM) State() any { return &d.s }

// Reset implements Detector.
func (d *DDM) Reset() { d.s = DDMState{} }

// Estimate returns the error rate since the start or the last drift.
func (d *DDM) Estimate() (float64, bool) {
	if d.s.N == 0 {
		return 0, false
	}
	return float64(d.s.Errors) / float64(d.s.N), true
}

// Update implements Detector.
func (d *DDM) Update(x float64) Signal {
	if !usable(x) {
		return Signal{}
	}
	s := &d.s
	if s.Pending {
		*s = DDMState{}
	}
	s.N++
	if x > 0.5 {
		s.Errors++
	}
	n := float64(s.N)
	p := float64(s.Errors) / n
	sig := Signal{Value: p}
	if s.N <= int64(d.opt.MinSamples) || s.Errors < int64(d.opt.MinErrors) {
		return sig
	}
	sd := math.Sqrt(p * (1 - p) / n)
	now := p + sd
	if !s.Started || now <= s.MinRate+s.MinSD {
		s.Started, s.MinRate, s.MinSD = true, p, sd
	}
	if now > s.MinRate+float64(d.opt.Drift*s.MinSD) {
		s.Pending = true
		sig.Level, sig.Direction = Drift, Up
	} else if now > s.MinRate+float64(d.opt.Warning*s.MinSD) {
		sig.Level, sig.Direction = Warning, Up
	}
	return sig
}
