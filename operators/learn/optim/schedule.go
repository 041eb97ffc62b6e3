package optim

import (
	"fmt"
	"math"
)

// Decay names how the rate falls with the number of steps t = 1, 2, ….
type Decay uint8

const (
	// Constant is η = Rate.
	Constant Decay = iota
	// InvScaling is η = Rate/(T0+t)^Power.
	InvScaling
	// Optimal is η = 1/(Alpha·(T0+t-1)), Bottou's schedule as scikit-learn's
	// SGDClassifier uses it; it knows no Rate. [OptimalStart] gives T0. It is
	// meant together with L2 = Alpha.
	Optimal
)

// Defaults of the schedules.
const (
	DefaultPower = 0.5  // InvScaling
	DefaultAlpha = 1e-4 // Optimal
)

// maxRate bounds rates and penalties from above; nothing useful is near it.
const maxRate = 1e6

// Schedule is a rate with its decay. The zero value is not valid.
type Schedule struct {
	Decay Decay
	Rate  float64 // (0, 1e6]; without meaning for Optimal
	Power float64 // InvScaling: [0, 1]
	Alpha float64 // Optimal: (0, 1e6]
	T0    float64 // Optimal: ≥ 1; InvScaling: ≥ 0
}

// Const is the constant schedule.
func Const(rate float64) Schedule { return Schedule{Rate: rate} }

// OptimalStart is T0 of [Optimal] for a loss with that derivative: the step
// count at which the schedule's rate would be the typical weight 1/√√α over the
// derivative there. The result is at least 1.
func OptimalStart(alpha float64, gradient func(score, y float64) float64) float64 {
	typical := math.Sqrt(1 / math.Sqrt(alpha))
	eta0 := typical / max(1, math.Abs(gradient(-typical, 1)))
	return max(1, 1/(eta0*alpha))
}

// At is the rate of step t, counted from 1.
func (s Schedule) At(t int64) float64 {
	switch s.Decay {
	case InvScaling:
		return s.Rate / power(s.T0+float64(t), s.Power)
	case Optimal:
		return 1 / (s.Alpha * (s.T0 + float64(t-1)))
	}
	return s.Rate
}

func (s Schedule) check() error {
	within := func(what string, v, over, to float64) error {
		if !(v > over && v <= to) {
			return fmt.Errorf("%s: %v is outside (%v, %v]", what, v, over, to)
		}
		return nil
	}
	switch s.Decay {
	case Constant:
		return within("rate", s.Rate, 0, maxRate)
	case InvScaling:
		if !(s.Power >= 0 && s.Power <= 1) {
			return fmt.Errorf("power: %v is outside [0, 1]", s.Power)
		}
		if !(s.T0 >= 0 && s.T0 <= 1e12) {
			return fmt.Errorf("t0: %v is outside [0, 1e12]", s.T0)
		}
		return within("rate", s.Rate, 0, maxRate)
	case Optimal:
		if !(s.T0 >= 1 && s.T0 <= math.MaxFloat64) {
			return fmt.Errorf("t0: %v is not a finite number of at least 1", s.T0)
		}
		return within("alpha", s.Alpha, 0, maxRate)
	}
	return fmt.Errorf("schedule %d is unknown", s.Decay)
}

// power is t^p for t > 0 and 0 ≤ p ≤ 1, the same bits on every processor
// (math.Pow is not): the product of the roots t^(1/2), t^(1/4), … that the
// binary digits of p select.
func power(t, p float64) float64 {
	if p == 1 {
		return t
	}
	y := 1.0
	for p > 0 && t != 1 {
		t = math.Sqrt(t)
		p += p
		if p >= 1 {
			y *= t
			p--
		}
	}
	return y
}

// raise is b^n for n ≥ 0 by repeated squaring.
func raise(b float64, n int64) float64 {
	y := 1.0
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			y *= b
		}
		b *= b
	}
	return y
}
