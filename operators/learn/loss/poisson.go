package loss

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// deviance is the value of the Poisson loss.
func deviance(score, y float64) float64 {
	mean := exact.Exp(score)
	switch {
	case mean > math.MaxFloat64:
		return math.MaxFloat64
	case !(y > 0):
		return mean
	}
	return hold(max(0, mean-y+float64(y*(exact.Log(y)-score))))
}

// countStep is the invariant step of the Poisson loss for a label y ≥ 0. With
// k = y·rate·norm and t the logarithm of e^score·(e^k - 1)/y it is
// (k - ln(1+e^t))/norm.
func countStep(score, y, rate, norm float64) float64 {
	move, mean := min(rate*norm, 1e300), exact.Exp(score)
	gradient := hold(mean - y)
	if gradient == 0 || max(mean, y)*move < 1e-9 {
		return -rate * gradient
	}
	var u float64
	if k := float64(y * move); k == 0 {
		u = -softplus(score+exact.Log(move)) / norm
	} else {
		log, part := exact.Log(y), exact.Log(below(k))
		// Without k where it would only be taken away again, lost digits and all.
		if t := score - log + part + k; t > 0 {
			u = (log - score - part - exact.Log1p(exact.Exp(-t))) / norm
		} else {
			u = (k - exact.Log1p(exact.Exp(t))) / norm
		}
	}
	if u*gradient > 0 { // rounded past the minimum
		return 0
	}
	return u
}

// softplus is ln(1 + e^x).
func softplus(x float64) float64 {
	return max(0, x) + exact.Log1p(exact.Exp(-math.Abs(x)))
}

// below is 1 - e^-k for k > 0.
func below(k float64) float64 {
	if k > 0.01 {
		return 1 - exact.Exp(-k)
	}
	p := 1 - k/6
	for _, n := range [...]float64{5, 4, 3, 2} {
		p = 1 - float64(k/n*p)
	}
	return float64(k * p)
}
