package exact

// erfcFrom is where the continued fraction takes over from the series.
const erfcFrom = 2.5

// Erfc is the complementary error function, 1 - erf(x), within 1e-15 of the true
// value and the same bits on every processor. NaN gives NaN.
func Erfc(x float64) float64 {
	if x < 0 {
		return 2 - Erfc(-x)
	}
	const invSqrtPi = 0.56418958354775628695
	switch q := float64(x * x); {
	case x > 27: // e^-x² is 0
		return 0
	case x >= erfcFrom:
		// e^-x²/√π / (x + (1/2)/(x + (2/2)/(x + (3/2)/(x + …
		f := x
		for k := 40; k > 0; k-- {
			f = x + float64(k)/2/f
		}
		return Exp(-q) * invSqrtPi / f
	default:
		// erf(x) = 2/√π e^-x² (x + 2x³/3 + 4x⁵/15 + …), all terms positive.
		term, sum := x, x
		for k := 3.0; k < 91; k += 2 {
			term = float64(term * (2 * q / k))
			sum += term
		}
		return 1 - float64(2*invSqrtPi*Exp(-q)*sum)
	}
}
