// Package scale holds the online scalers of one numeric column as pure maths.
// Each learns from one value at a time ([Standard.Update]) and maps a value
// with what it has learnt ([Standard.Scale]); an operator that scales a row
// updates first and scales then.
//
// The state is float64 whatever the width of the features, in exported fields,
// so that it can be saved and loaded as it is; the zero value is a fresh
// scaler. It is finite at all times: an Update that would not leave it so
// changes nothing and returns false. Scale returns a finite number within
// ±[math.MaxFloat32] for every finite input, so the result fits a float32.
package scale

import "math"

// DefaultClip is the recommended bound of z-scores. A column that is almost
// always constant (a rare flag, an outage) has z-scores of 30 and more at the
// rare rows, and one such row would move a linear model further than thousands
// of others; 5 standard deviations leave ordinary data untouched.
const DefaultClip = 5.0

// Standard maps a value to its z-score, the distance from the mean in standard
// deviations. Mean and variance are kept by Welford's recurrence (Technometrics
// 4, 1962); the variance is the population variance, M2/N. While the variance
// is zero, that is before a second distinct value, every score is 0.
type Standard struct {
	N    int64   // values seen
	Mean float64 // their mean, in the unit of the column
	M2   float64 // sum of squared distances from the mean
}

// Update learns x. It returns false and changes nothing if x is NaN or Inf or
// so large that the state would overflow.
func (s *Standard) Update(x float64) bool {
	n := s.N + 1
	d := x - s.Mean
	mean := s.Mean + d/float64(n)
	m2 := s.M2 + float64(d*(x-mean))
	if !finite(mean) || !finite(m2) {
		return false
	}
	s.N, s.Mean, s.M2 = n, mean, m2
	return true
}

// Once Trust values were seen that were not all equal, a value counts in
// [Standard.Hold] as at most HoldAt deviations from the mean.
const (
	HoldAt = 100
	Trust  = 100
)

// Hold is the value to [Standard.Update] with in place of x, where one absurd
// value (1e38 among prices) must not widen the scale until all others are one
// point on it. Ordinary values are what they are; a change of unit still gets
// through, by a widening scale, within some values.
func (s *Standard) Hold(x float64) float64 {
	if s.N < Trust || s.M2 == 0 {
		return x
	}
	return s.within(x, math.Sqrt(s.Variance()))
}

// within is x, or the end of the range of HoldAt deviations sd about the mean.
func (s *Standard) within(x, sd float64) float64 {
	far := float64(HoldAt * sd)
	if lo := s.Mean - far; x < lo {
		return lo
	}
	if hi := s.Mean + far; x > hi {
		return hi
	}
	return x
}

// Variance is the population variance of the values seen, 0 before the first.
func (s *Standard) Variance() float64 {
	if s.N == 0 {
		return 0
	}
	return s.M2 / float64(s.N)
}

// Scale returns the z-score of x, held to [-clip, clip]; clip 0 turns that off.
func (s *Standard) Scale(x, clip float64) float64 {
	return score(x, s.Mean, math.Sqrt(s.Variance()), clip)
}

func score(x, mean, sd, clip float64) float64 {
	if sd == 0 {
		return 0
	}
	return hold((x-mean)/sd, bound(clip))
}

// bound is the bound that a clip means.
func bound(clip float64) float64 {
	if clip == 0 {
		return math.MaxFloat32
	}
	return clip
}

// Deviation remembers the standard deviation of a [Standard], so that a row takes
// one root and not two. It is no part of the state; the zero value remembers
// nothing.
type Deviation struct {
	n      int64
	m2, sd float64 // of a Standard with these N and M2
}

// Learn updates s with x as [Standard.Hold] holds it and returns the z-score of x:
// the same bits as the three methods one after another, which written out take half as
// long again. On false nothing has changed.
func (d *Deviation) Learn(s *Standard, x, clip float64) (z float64, ok bool) {
	n, mean, m2, held := s.N, s.Mean, s.M2, x
	if n >= Trust && m2 != 0 {
		sd := d.sd
		if d.n != n || d.m2 != m2 {
			sd = math.Sqrt(s.Variance())
		}
		held = s.within(x, sd)
	}
	n++
	off := held - mean
	mean += off / float64(n)
	m2 += float64(off * (held - mean))
	if (mean-mean)+(m2-m2) != 0 { // one of them is NaN or Inf
		return 0, false
	}
	sd := math.Sqrt(m2 / float64(n))
	s.N, s.Mean, s.M2 = n, mean, m2
	d.n, d.m2, d.sd = n, m2, sd
	return score(x, mean, sd, clip), true
}

// MinMax maps the range seen so far to [0, 1]; a value outside lands outside.
// While the range is a single point every result is 0.
type MinMax struct {
	N        int64   // values seen; 0: Min and Max mean nothing yet
	Min, Max float64 // least and greatest value, in the unit of the column
}

// Update learns x. It returns false and changes nothing if x is NaN or Inf.
func (s *MinMax) Update(x float64) bool {
	if !finite(x) {
		return false
	}
	if s.N == 0 {
		s.Min, s.Max = x, x
	} else {
		s.Min, s.Max = min(s.Min, x), max(s.Max, x)
	}
	s.N++
	return true
}

// Scale returns (x-Min)/(Max-Min).
func (s *MinMax) Scale(x float64) float64 {
	d, r := x-s.Min, s.Max-s.Min
	if r == 0 {
		return 0
	}
	if !finite(d) || !finite(r) {
		// The range itself overflows: the ratio of the halves is the same.
		h := float64(s.Min / 2)
		d, r = float64(x/2)-h, float64(s.Max/2)-h
	}
	return hold(d/r, math.MaxFloat32)
}

// MaxAbs divides by the greatest absolute value seen so far, which keeps zeros
// and signs. While only zeros were seen every result is 0.
type MaxAbs struct {
	N   int64   // values seen
	Max float64 // greatest absolute value, in the unit of the column
}

// Update learns x. It returns false and changes nothing if x is NaN or Inf.
func (s *MaxAbs) Update(x float64) bool {
	if !finite(x) {
		return false
	}
	s.Max = max(s.Max, math.Abs(x))
	s.N++
	return true
}

// Scale returns x/Max.
func (s *MaxAbs) Scale(x float64) float64 {
	if s.Max == 0 {
		return 0
	}
	return hold(x/s.Max, math.MaxFloat32)
}

// finite is false for NaN and ±Inf.
func finite(x float64) bool { return x-x == 0 }

// hold is max(-bound, min(bound, x)) for a bound above 0, without what these do
// for the signs of zeros.
func hold(x, bound float64) float64 {
	if x > bound {
		return bound
	}
	if x < -bound {
		return -bound
	}
	return x
}
