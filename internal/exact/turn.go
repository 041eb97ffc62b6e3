package exact

import "math"

// sinTerms and cosTerms are the Taylor coefficients of sin(x)/x from x^16 down and
// of cos x from x^16 down, both in powers of x²; the remainders are below 2^-58
// for |x| ≤ π/4.
var (
	sinTerms = [...]float64{
		1.0 / 355687428096000, -1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800,
		1.0 / 362880, -1.0 / 5040, 1.0 / 120, -1.0 / 6, 1,
	}
	cosTerms = [...]float64{
		1.0 / 20922789888000, -1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800,
		1.0 / 40320, -1.0 / 720, 1.0 / 24, -1.0 / 2, 1,
	}
)

// SinCosTurn is the sine and the cosine of t turns, t·2π, within 1e-15 of the true
// values and the same bits on every processor. Multiples of a quarter turn give
// exactly 0, 1 and -1. NaN and Inf give NaN.
func SinCosTurn(t float64) (sin, cos float64) {
	t -= math.Floor(t) // exact
	k := math.Floor(float64(t*4) + 0.5)
	x := float64((t - float64(k/4)) * (2 * math.Pi)) // the difference is exact
	q := float64(x * x)
	s, c := sinTerms[0], cosTerms[0]
	for i := 1; i < len(sinTerms); i++ {
		s = float64(s*q) + sinTerms[i]
		c = float64(c*q) + cosTerms[i]
	}
	s = float64(s * x)
	switch int(k) & 3 {
	case 1:
		return c, 0 - s
	case 2:
		return 0 - s, 0 - c
	case 3:
		return 0 - c, s
	}
	return s, c
}
