package loss

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// Below this product of rate and norm a step is the plain one: the loss is
// straight over so short a way.
const shortStep = 1e-6

// Invariant is the step of gradient descent in infinitely many infinitely short
// steps (Karampatziakis, Langford, UAI 2011), so that a row of weight 2 counts as
// two rows of weight 1 and no rate shoots past the label. rate > 0 is the rate
// times the weight of the row; norm > 0 says by how much the score moves for
// every unit of the result, the sum of the squared values in plain descent. The
// result u moves weights by u times value; it has the sign of -[Func.Gradient]
// and is 0 where that is 0.
//
//	log       u = y(z'-z)/norm with z = y·score, z' + e^z' = z + e^z + rate·norm
//	hinge     y·min(rate, (1-z)/norm)
//	squared   (y-score)(1 - e^(-2·rate·norm))/norm
//	absolute  sign(y-score)·min(rate, |y-score|/norm)
//	quantile  the same with τ·rate below the label and (1-τ)·rate above it
//	huber     δ·sign(y-score) per unit of rate until |y-score| = δ, then
//	          1 - e^(-rate·norm) of what is left
//	poisson   (p'-score)/norm with e^-p' = 1/y + (e^-score - 1/y)·e^(-y·rate·norm),
//	          for y = 0 with e^-p' = e^-score + rate·norm
func (f Func) Invariant(score, y, rate, norm float64) float64 {
	if !(norm > 0) {
		return 0
	}
	short := rate*norm < shortStep
	r := y - score
	switch f.Kind {
	case Log:
		z := float64(y * score)
		if short || z > 2*logTail {
			return -rate * f.Gradient(score, y)
		}
		if float64(rate*norm) < -2*logTail-z {
			return y * rate // all the way the derivative is 1, and z may be too far off to be moved
		}
		return y * ((margin(z, rate*norm) - z) / norm)
	case Hinge:
		if z := float64(y * score); z < 1 {
			return y * min(rate, (1-z)/norm)
		}
		return 0
	case Squared:
		if short {
			return 2 * rate * r
		}
		return r * (1 - exact.Exp(-2*rate*norm)) / norm
	case Absolute:
		return math.Copysign(min(rate, math.Abs(r)/norm), r)
	case Quantile:
		if r >= 0 {
			return min(f.Param*rate, r/norm)
		}
		return -min((1-f.Param)*rate, -r/norm)
	case Huber:
		far := math.Abs(r)
		// The rate that brings the error down to δ.
		straight := max(0, (far-f.Param)/f.Param/norm)
		if straight >= rate {
			return math.Copysign(rate*f.Param, r)
		}
		left, near := (rate-straight)*norm, min(far, f.Param)
		return math.Copysign((far-near+float64(near*(1-exact.Exp(-left))))/norm, r)
	case Poisson:
		return countStep(score, max(0, y), rate, norm)
	}
	panic("loss: unknown kind " + f.Kind.String())
}

// margin is z' ≥ z with z' + e^z' = z + e^z + move: where the margin of the log
// loss comes to. Newton's method from a bound above converges from above, as the
// left side is convex.
func margin(z, move float64) float64 {
	e, move := exact.Exp(z), min(move, 1e300)
	to := z + e + move
	// z' ≤ the straight line from z, and e^z' = to - z' ≤ to - z.
	at := min(z+move/(1+e), exact.Log(e+move))
	for range 20 {
		e := exact.Exp(at)
		d := (at + e - to) / (1 + e)
		at -= d
		if !(d > 1e-12*(1+math.Abs(at))) {
			break
		}
	}
	return max(at, z)
}
