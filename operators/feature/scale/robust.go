package scale

import (
	"math"

	"github.com/gradstream/gradstream/operators/feature/quantile"
)

// Robust subtracts the median of the last values and divides by the distance
// between their quartiles, which a share of absurd values below a quarter does
// not move. While the quartiles are equal every result is 0.
type Robust struct{ quantile.Window }

// Scale returns (x-median)/(third quartile-first quartile), held to [-clip, clip];
// clip 0 turns that off.
func (s *Robust) Scale(x, clip float64) float64 {
	low, median, high := s.Quantile(1, 4), s.Quantile(2, 4), s.Quantile(3, 4)
	d, spread := x-median, high-low
	if spread == 0 {
		return 0
	}
	if !finite(d) || !finite(spread) {
		d, spread = float64(x/2)-float64(median/2), float64(high/2)-float64(low/2)
	}
	return hold(d/spread, bound(clip))
}

// Adaptive maps a value to its z-score under the exponentially weighted mean and
// variance (Finch, Incremental calculation of weighted mean and variance, 2009),
// so that it follows a column whose level or spread changes. While the variance
// is zero every score is 0.
type Adaptive struct {
	N    int64   // values seen
	Mean float64 // in the unit of the column
	Var  float64 // its square
}

// Update learns x with the weight newest, from 0 to 1; what came before keeps
// 1-newest. It returns false and changes nothing if x is NaN or Inf or so large
// that the state would overflow.
func (s *Adaptive) Update(x, newest float64) bool {
	if s.N == 0 {
		if !finite(x) {
			return false
		}
		s.N, s.Mean = 1, x
		return true
	}
	d := x - s.Mean
	step := float64(newest * d)
	mean, v := s.Mean+step, float64((1-newest)*(s.Var+float64(d*step)))
	if !finite(mean) || !finite(v) {
		return false
	}
	s.N, s.Mean, s.Var = s.N+1, mean, v
	return true
}

// Scale returns the z-score of x, held to [-clip, clip]; clip 0 turns that off.
func (s *Adaptive) Scale(x, clip float64) float64 { return score(x, s.Mean, math.Sqrt(s.Var), clip) }
