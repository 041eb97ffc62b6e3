// Package exact has elementary functions that give the same bits on every
// processor. Those of package math do not: some are written in assembly, others
// leave the compiler to fuse multiplications and additions where the processor
// can. A task that moves to another kind of processor has to come to the same
// state and the same outputs, so what operators compute goes through these.
package exact

import "math"

// ln 2 split in two: the high part has 21 trailing zero bits, so k*ln2Hi is
// exact for every exponent k of a float64.
const (
	ln2Hi = 0x1.62e42fee00000p-1
	ln2Lo = 0x1.a39ef35793c76p-33
)

// expTerms are 1/13!, 1/12!, … 1/2!: the Taylor series of e^r to r^13, whose
// remainder is below 2^-57 for |r| ≤ ln(2)/2.
var expTerms = [...]float64{
	1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
	1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24,
	1.0 / 6, 1.0 / 2,
}

// artanhTerms are 1/25, 1/23, … 1/3: artanh(s)/s - 1 in powers of q = s², with a
// remainder below 2^-60 for |s| ≤ 1/5.
var artanhTerms = [...]float64{
	1.0 / 25, 1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
	1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3,
}

// Exp is e^x, within 1 unit in the last place of the true value and the same
// bits on every processor. It overflows to +Inf above 709.78 and is 0 below
// -745.13, as [math.Exp]; NaN gives NaN.
func Exp(x float64) float64 {
	switch {
	case x != x:
		return x
	case x > 709.782712893384:
		return math.Inf(1)
	case x < -745.1332191019412:
		return 0
	}
	k := math.Floor(float64(x*math.Log2E) + 0.5)
	r := x - float64(k*ln2Hi)
	r -= float64(k * ln2Lo)
	t := &expTerms
	p := float64(t[0]*r) + t[1] // written out: a loop takes as long again
	p = float64(p*r) + t[2]
	p = float64(p*r) + t[3]
	p = float64(p*r) + t[4]
	p = float64(p*r) + t[5]
	p = float64(p*r) + t[6]
	p = float64(p*r) + t[7]
	p = float64(p*r) + t[8]
	p = float64(p*r) + t[9]
	p = float64(p*r) + t[10]
	p = float64(p*r) + t[11]
	y := 1 + (r + float64(float64(r*r)*p))
	// Two factors: 2^k alone is not a normal float64 at both ends.
	n := int(k)
	h := n / 2
	return y * pow2(h) * pow2(n-h)
}

// ExpBoth is [Exp] of x and of -x, to the bit. For |x| ≤ 700 it takes little longer
// than one of them: a processor computes the two series side by side.
func ExpBoth(x float64) (up, down float64) {
	if !(math.Abs(x) <= 700) {
		return Exp(x), Exp(-x)
	}
	a := float64(x * math.Log2E)
	k, l := math.Floor(a+0.5), math.Floor(0.5-a)
	r, s := x-float64(k*ln2Hi), -x-float64(l*ln2Hi)
	r -= float64(k * ln2Lo)
	s -= float64(l * ln2Lo)
	t := &expTerms
	p, q := float64(t[0]*r)+t[1], float64(t[0]*s)+t[1]
	p, q = float64(p*r)+t[2], float64(q*s)+t[2]
	p, q = float64(p*r)+t[3], float64(q*s)+t[3]
	p, q = float64(p*r)+t[4], float64(q*s)+t[4]
	p, q = float64(p*r)+t[5], float64(q*s)+t[5]
	p, q = float64(p*r)+t[6], float64(q*s)+t[6]
	p, q = float64(p*r)+t[7], float64(q*s)+t[7]
	p, q = float64(p*r)+t[8], float64(q*s)+t[8]
	p, q = float64(p*r)+t[9], float64(q*s)+t[9]
	p, q = float64(p*r)+t[10], float64(q*s)+t[10]
	p, q = float64(p*r)+t[11], float64(q*s)+t[11]
	up = 1 + (r + float64(float64(r*r)*p))
	down = 1 + (s + float64(float64(s*s)*q))
	return up * pow2(int(k)), down * pow2(int(l)) // one factor: all is far from the ends
}

// pow2 is 2^n for -1022 ≤ n ≤ 1023.
func pow2(n int) float64 { return math.Float64frombits(uint64(n+1023) << 52) }

// Log1p is ln(1+x) for 0 ≤ x ≤ 1, within 2 units in the last place and the
// same bits on every processor. Other x give NaN.
func Log1p(x float64) float64 {
	if !(x >= 0 && x <= 1) {
		return math.NaN()
	}
	x = math.Abs(x) // -0 has other bits
	// Above 1/2 ln(1+x) = ln 2 + ln(1+(x-1)/2), which keeps the series short. No branch:
	// of the losses of rows there is no guessing which side of 1/2 they come from.
	above := uint64(int64(math.Float64bits(0.5)-math.Float64bits(x)) >> 63)
	hi := math.Float64frombits(math.Float64bits(ln2Hi) & above)
	lo := math.Float64frombits(math.Float64bits(ln2Lo) & above)
	x = math.Float64frombits(math.Float64bits((x-1)/2)&above | math.Float64bits(x)&^above)
	// ln(1+x) = 2 artanh(s), s = x/(2+x), |s| ≤ 1/5.
	s := x / (2 + x)
	p := artanh(float64(s * s))
	s += s
	return hi + (s + (float64(s*p) + lo))
}

// artanh is artanh(s)/s - 1 for |s| ≤ 1/5, of q = s².
func artanh(q float64) float64 {
	t := &artanhTerms
	p := float64(q * t[0])
	p = float64(q * (p + t[1]))
	p = float64(q * (p + t[2]))
	p = float64(q * (p + t[3]))
	p = float64(q * (p + t[4]))
	p = float64(q * (p + t[5]))
	p = float64(q * (p + t[6]))
	p = float64(q * (p + t[7]))
	p = float64(q * (p + t[8]))
	p = float64(q * (p + t[9]))
	p = float64(q * (p + t[10]))
	return float64(q * (p + t[11]))
}

// Log is ln x, within 1 unit in the last place of the true value and the same
// bits on every processor. Log(0) is -Inf, Log(+Inf) is +Inf, and negative
// numbers and NaN give NaN, as [math.Log].
func Log(x float64) float64 {
	switch {
	case x != x || x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	case x > math.MaxFloat64:
		return x
	}
	// x = m·2^k with m in [√½, √2).
	m, n := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m += m
		n--
	}
	// ln m = 2 artanh(s) with s = f/(2+f), and 2s = f - s·f, so that the error of
	// s counts in the small part only.
	k, f := float64(n), m-1
	s := f / (2 + f)
	p := 2 * artanh(float64(s*s))
	return float64(k*ln2Hi) + (f - (float64(s*(f-p)) - float64(k*ln2Lo)))
}
