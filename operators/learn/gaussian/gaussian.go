// Package gaussian is the pure maths of learners that describe a column by a
// normal distribution: running moments, density and distribution function, and
// the split of a class mass at a cut. Nothing here allocates.
package gaussian

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// Most bounds the numbers that are taken: sums of squares of any number of them
// stay finite.
const Most = 1e100

// Moments are the count, mean and sum of squared distances from the mean of
// numbers, by Welford's recurrence (Technometrics 4, 1962).
type Moments struct{ N, Mean, M2 float64 }

// Add takes up a number within ±[Most].
func (m *Moments) Add(x float64) { m.AddTimes(x, 1) }

// AddTimes takes up a number as often as times says, which is above 0 and need not
// be whole (West, Communications of the ACM 22, 1979).
func (m *Moments) AddTimes(x, times float64) {
	m.N += times
	d := x - m.Mean
	m.Mean += float64(d*times) / m.N
	m.M2 += float64(float64(d*times) * (x - m.Mean))
}

// Variance is that of the sample, with divisor N-1; 0 up to one number.
func (m *Moments) Variance() float64 {
	if m.N <= 1 {
		return 0
	}
	return max(0, m.M2/(m.N-1))
}

// halfLog2Pi is ln(2π)/2.
const halfLog2Pi = 0.91893853320467274178

// LogDensity is the logarithm of the density at x of the normal distribution of a
// mean and a variance. A variance of 0 is a point: 0 at the mean, -Inf elsewhere.
func LogDensity(x, mean, variance float64) float64 {
	d := x - mean
	if variance <= 0 {
		if d == 0 {
			return 0
		}
		return math.Inf(-1)
	}
	sd := math.Sqrt(variance)
	z := d / sd
	return -halfLog2Pi - exact.Log(sd) - float64(z*z/2)
}

// Range is [Moments] with the least and the greatest number.
type Range struct {
	Moments
	Min, Max float64
}

// Add takes up a number within ±[Most].
func (r *Range) Add(x float64) { r.AddTimes(x, 1) }

// AddTimes is [Moments.AddTimes].
func (r *Range) AddTimes(x, times float64) {
	if r.N == 0 {
		r.Min, r.Max = x, x
	} else {
		r.Min, r.Max = min(r.Min, x), max(r.Max, x)
	}
	r.Moments.AddTimes(x, times)
}

// Below is the estimated count of the numbers that are at most cut: all or none
// where the cut lies outside the range, else by the normal distribution.
func (r *Range) Below(cut float64) float64 {
	switch {
	case r.N == 0 || cut < r.Min:
		return 0
	case cut >= r.Max:
		return r.N
	}
	v := r.Variance()
	if v <= 0 { // the spread is too small to be told from 0
		if cut >= r.Mean {
			return r.N
		}
		return 0
	}
	return float64(r.N * CDF((cut-r.Mean)/math.Sqrt(v)))
}

// CDF is the distribution function of the standard normal distribution, with an
// absolute error below 1e-15 and the same bits on every processor.
func CDF(z float64) float64 { return exact.Erfc(-z*(math.Sqrt2/2)) / 2 }
