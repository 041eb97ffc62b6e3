package detect

import (
	"fmt"
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// HDDMOptions tunes HDDMA and HDDMW.
type HDDMOptions struct {
	// Warning and Drift are the chances of a false alarm that the bounds of the two levels are built for, in (0, 1); Drift at
	// most Warning. Defaults 0.005 and 0.001.
	Warning, Drift float64
	// Lambda is the weight of the newest input in HDDMW's means, in (0, 1). Default 0.05.
	Lambda float64
	// Direction selects the changes that are reported: Up (default), Down or Both.
	Direction Direction
}

// DefaultHDDM returns the defaults above.
func DefaultHDDM() HDDMOptions {
	return HDDMOptions{Warning: 0.005, Drift: 0.001, Lambda: 0.05, Direction: Up}
}

func (o *HDDMOptions) check() error {
	if err := within("warning", o.Warning, 0, 1); err != nil {
		return err
	}
	if err := within("drift", o.Drift, 0, 1); err != nil {
		return err
	}
	if o.Drift > o.Warning {
		return fmt.Errorf("drift is %v; expected at most warning, which is %v", o.Drift, o.Warning)
	}
	if err := within("lambda", o.Lambda, 0, 1); err != nil {
		return err
	}
	return inside("direction", float64(o.Direction), float64(Down), float64(Up))
}

// Part is the number of some inputs and their sum.
type Part struct {
	N   int64
	Sum float64
}

func (p Part) mean() float64 { return p.Sum / float64(p.N) }

// HDDMAState is what HDDMA remembers.
type HDDMAState struct {
	All     Part // since the start or the last drift
	Low     Part // the beginning of All whose upper bound of the mean is lowest
	High    Part // the beginning of All whose lower bound of the mean is highest
	Pending bool // a reset is due at the next input
}

// HDDMA compares the mean of all inputs since the last drift with that of the beginning of them at which the mean was
// lowest, for a rise, or highest, for a fall, by Hoeffding's inequality. (Frías-Blanco and others, Online and
// Non-Parametric Drift Detection Methods Based on Hoeffding's Bounds, IEEE TKDE 27, 2015, the A-test.) Inputs are clipped to
// [0, 1], as the bounds are about such. With the defaults it alarms where MOA's and River's do; where those are made
// two-sided they start over at a fall and report nothing, and this one, with Both, reports it. Estimate is the mean since
// the last drift.
type HDDMA struct {
	opt            HDDMOptions
	side           float64 // of the bound that picks the cut
	warning, drift float64 // of the tests
	s              HDDMAState
}

// NewHDDMA returns an HDDMA without inputs, or an error that names the option out of bounds.
func NewHDDMA(o HDDMOptions) (*HDDMA, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return &HDDMA{opt: o, side: -exact.Log(o.Drift) / 2, warning: exact.Log(2/o.Warning) / 2, drift: exact.Log(2/o.Drift) / 2}, nil
}

// State implements Detector; the pointer is an *HDDMAState.
func (d *HDDMA) State() any { return &d.s }

// Reset implements Detector.
func (d *HDDMA) Reset() { d.s = HDDMAState{} }

// Estimate returns the mean since the start or the last drift.
func (d *HDDMA) Estimate() (float64, bool) {
	if d.s.All.N == 0 {
		return 0, false
	}
	return d.s.All.mean(), true
}

// Update implements Detector.
func (d *HDDMA) Update(x float64) Signal {
	if !usable(x) {
		return Signal{}
	}
	s := &d.s
	if s.Pending {
		*s = HDDMAState{}
	}
	s.All.N++
	s.All.Sum += min(max(x, 0), 1)
	mean := s.All.mean()
	side := math.Sqrt(d.side / float64(s.All.N))
	if s.Low.N == 0 || s.Low.mean()+math.Sqrt(d.side/float64(s.Low.N)) >= mean+side {
		s.Low = s.All
	}
	if s.High.N == 0 || s.High.mean()-math.Sqrt(d.side/float64(s.High.N)) <= mean-side {
		s.High = s.All
	}
	sig := Signal{Value: mean}
	if d.opt.Direction != Down {
		sig.Level = d.test(mean-s.Low.mean(), s.Low.N)
		sig.Direction = Up
	}
	if d.opt.Direction != Up {
		if level := d.test(s.High.mean()-mean, s.High.N); level > sig.Level {
			sig.Level, sig.Direction = level, Down
		}
	}
	if sig.Level == None {
		sig.Direction = Both
	}
	s.Pending = sig.Level == Drift
	return sig
}

// test judges the distance of the mean of all inputs from that of the first n.
func (d *HDDMA) test(gap float64, n int64) Level {
	all := d.s.All.N
	if n == all {
		return None
	}
	m := float64(all-n) / float64(n) / float64(all)
	switch {
	case gap >= math.Sqrt(m*d.drift):
		return Drift
	case gap >= math.Sqrt(m*d.warning):
		return Warning
	}
	return None
}

// Fading is a mean in which inputs count less with each later one.
type Fading struct {
	Mean    float64
	Squares float64 // sum of the squares of the inputs' weights; 0 before the first
}

func (f *Fading) add(x, lambda float64) {
	if f.Squares == 0 {
		f.Mean, f.Squares = x, 1
		return
	}
	f.Mean = float64(lambda*x) + float64((1-lambda)*f.Mean)
	f.Squares = float64(lambda*lambda) + float64((1-lambda)*(1-lambda)*f.Squares)
}

// Cut is a split of the inputs at the point where the fading mean was most extreme.
type Cut struct {
	Bound         float64 // of the mean there
	Before, After Fading
}

// HDDMWState is what HDDMW remembers.
type HDDMWState struct {
	All       Fading
	Low, High Cut  // at the lowest upper bound of All, and at its highest lower bound
	Pending   bool // a reset is due at the next input
}

// HDDMW is HDDMA with exponentially weighted means: quick on large changes, blind to small ones (the W-test of the same
// paper, by McDiarmid's inequality). With the defaults it alarms where MOA's and River's do. Estimate is the weighted mean
// since the last drift.
type HDDMW struct {
	opt            HDDMOptions
	warning, drift float64
	s              HDDMWState
}

// NewHDDMW returns an HDDMW without inputs, or an error that names the option out of bounds.
func NewHDDMW(o HDDMOptions) (*HDDMW, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return &HDDMW{opt: o, warning: -exact.Log(o.Warning) / 2, drift: -exact.Log(o.Drift) / 2}, nil
}

// State implements Detector; the pointer is an *HDDMWState.
func (d *HDDMW) State() any { return &d.s }

// Reset implements Detector.
func (d *HDDMW) Reset() { d.s = HDDMWState{} }

// Estimate returns the weighted mean since the start or the last drift.
func (d *HDDMW) Estimate() (float64, bool) { return d.s.All.Mean, d.s.All.Squares > 0 }

// Update implements Detector.
func (d *HDDMW) Update(x float64) Signal {
	if !usable(x) {
		return Signal{}
	}
	s := &d.s
	if s.Pending {
		*s = HDDMWState{}
	}
	x = min(max(x, 0), 1)
	s.All.add(x, d.opt.Lambda)
	bound := math.Sqrt(s.All.Squares * d.drift)
	s.Low.add(x, d.opt.Lambda, s.All, s.All.Mean+bound, 1)
	s.High.add(x, d.opt.Lambda, s.All, s.All.Mean-bound, -1)
	sig := Signal{Value: s.All.Mean}
	if d.opt.Direction != Down {
		sig.Level = d.test(&s.Low, 1)
		sig.Direction = Up
	}
	if d.opt.Direction != Up {
		if level := d.test(&s.High, -1); level > sig.Level {
			sig.Level, sig.Direction = level, Down
		}
	}
	if sig.Level == None {
		sig.Direction = Both
	}
	s.Pending = sig.Level == Drift
	return sig
}

// add puts the cut here if the bound is the best so far, which is the lowest if sign is 1, and the highest if it is -1.
func (c *Cut) add(x, lambda float64, all Fading, bound, sign float64) {
	if c.Before.Squares == 0 || sign*bound < sign*c.Bound {
		*c = Cut{Bound: bound, Before: all}
		return
	}
	c.After.add(x, lambda)
}

func (d *HDDMW) test(c *Cut, sign float64) Level {
	if c.After.Squares == 0 {
		return None
	}
	gap := sign * (c.After.Mean - c.Before.Mean)
	squares := c.Before.Squares + c.After.Squares
	switch {
	case gap > math.Sqrt(squares*d.drift):
		return Drift
	case gap > math.Sqrt(squares*d.warning):
		return Warning
	}
	return None
}
