// Package profile compares the distribution of a column's values with that of a reference: numbers and categories, in fixed
// memory.
//
// The reference is held in full, as its distinct values and how often each came; the values compared with it are only
// counted, between which of the reference's values they fall. That is enough for the exact distance of Kolmogorov and
// Smirnov, whatever the number of values counted, and counts of the same reference can be added. Nothing here allocates once
// a reference is complete.
package profile

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// Measures say how two distributions differ.
type Measures struct {
	PSI float64 // population stability index
	JS  float64 // Jensen-Shannon distance with logarithms to base 2: 0 = the same, 1 = nothing in common
	// ChiSquared is Pearson's statistic of the two samples' table of counts, and ChiSquaredP the chance of as high a one
	// if there were no difference.
	ChiSquared, ChiSquaredP float64
	// KS is the greatest distance of the distribution functions, and KSP its asymptotic p-value. Wasserstein is the area
	// between the functions in units of the reference's standard deviation. Numbers only.
	KS, KSP, Wasserstein float64
	// Numbers is false where the last three do not exist: of categories, or if either side has no number.
	Numbers bool
}

// leastShare is the share that an empty bin counts as in PSI.
const leastShare = 1e-4

// compare fills in the measures of counts by bin: a of the reference, b of what is compared with it.
func (m *Measures) compare(a, b []int64) {
	n, k := 0.0, 0.0
	for i := range a {
		n += float64(a[i])
		k += float64(b[i])
	}
	if n == 0 || k == 0 {
		return
	}
	divergence, bins := 0.0, 0
	for i := range a {
		if a[i]+b[i] == 0 {
			continue
		}
		bins++
		p, q := float64(a[i])/n, float64(b[i])/k
		middle := (p + q) / 2
		divergence += part(p, middle) + part(q, middle)
		all := (float64(a[i]) + float64(b[i])) / (n + k)
		da, db := float64(a[i])-float64(n*all), float64(b[i])-float64(k*all)
		m.ChiSquared += float64(da*da)/float64(n*all) + float64(db*db)/float64(k*all)
		p, q = max(p, leastShare), max(q, leastShare)
		m.PSI += float64((p - q) * exact.Log(p/q))
	}
	m.JS = math.Sqrt(max(divergence, 0) / 2 / math.Ln2)
	m.ChiSquaredP = chiSquaredTail(m.ChiSquared, bins-1)
}

// part is p·ln(p/m), 0 at p = 0.
func part(p, m float64) float64 {
	if p == 0 {
		return 0
	}
	return float64(p * exact.Log(p/m))
}

// chiSquaredTail is the chance that a chi-squared variable of so many degrees of freedom is above x (Abramowitz and Stegun
// 26.4.4 and 26.4.5).
func chiSquaredTail(x float64, df int) float64 {
	if df < 1 || x <= 0 {
		return 1
	}
	half := x / 2
	if df%2 == 0 {
		term := exact.Exp(-half)
		sum := term
		for i := 1; i < df/2; i++ {
			term = float64(term * (half / float64(i)))
			sum += term
		}
		return min(sum, 1)
	}
	sum := exact.Erfc(math.Sqrt(half))
	term := exact.Exp(-half) * math.Sqrt(half) * (2 / math.Sqrt(math.Pi))
	for i := 1; i <= df/2; i++ {
		sum += term
		term = float64(term * (half / (float64(i) + 0.5)))
	}
	return min(sum, 1)
}

// kolmogorovTail is the limit of the chance that √(n·k/(n+k)) times the distance of two samples' distribution functions is
// above x: 2·Σ (−1)^(i−1)·e^(−2i²x²).
func kolmogorovTail(x float64) float64 {
	if x < 0.2 {
		return 1
	}
	sum, sign := 0.0, 1.0
	for i := 1.0; i <= 50; i++ {
		term := exact.Exp(-2 * i * i * x * x)
		sum += float64(sign * term)
		sign = -sign
		if term < 1e-17 {
			break
		}
	}
	return min(max(2*sum, 0), 1)
}
