package learn

import "math"

// labelScaleVersion is the version of labelScale.
const labelScaleVersion = 1

// A label counts as at most labelBound deviations from the mean once labelTrust
// labels were seen that were not all equal: one sentinel value among ordinary
// labels would otherwise widen the scale until they are all one point on it. A
// true change of level still gets through, by a widening scale, within some
// hundred labels.
const (
	labelBound = 10
	labelTrust = 10
)

// labelScale standardises the label of a regression. It is kept by Welford's
// recurrence (Technometrics 4, 1962); the variance is M2/N.
type labelScale struct {
	N        int64   // labels learnt
	Mean, M2 float64 // their mean, and the sum of their squared distances from it
}

// learn takes up a label. It returns false and changes nothing if a sum would
// overflow.
func (s *labelScale) learn(y float64) bool {
	if !finite(y * y) {
		return false
	}
	if d := s.deviation(); d > 0 && s.N >= labelTrust {
		y = max(s.Mean-float64(labelBound*d), min(s.Mean+float64(labelBound*d), y))
	}
	n := s.N + 1
	d := y - s.Mean
	mean := s.Mean + d/float64(n)
	m2 := s.M2 + float64(d*(y-mean))
	if !finite(mean) || !finite(m2) {
		return false
	}
	s.N, s.Mean, s.M2 = n, mean, m2
	return true
}

func (s *labelScale) deviation() float64 {
	if s.N == 0 {
		return 0
	}
	return math.Sqrt(s.M2 / float64(s.N))
}

// toScore is the standardised label within ±labelBound, 0 while all labels were
// equal.
func (s *labelScale) toScore(y float64) float64 {
	d := s.deviation()
	if d == 0 {
		return 0
	}
	return max(-labelBound, min(labelBound, (y-s.Mean)/d))
}

// toLabel is the inverse of toScore.
func (s *labelScale) toLabel(score float64) float64 {
	return s.Mean + float64(score*s.deviation())
}

// relative is a loss of a label, which it takes up, in units of the spread of labels,
// at most 1 as the bounds of detectors assume.
func (s *labelScale) relative(lost, label float64, squared bool) float64 {
	s.learn(label)
	unit := s.deviation()
	if squared {
		unit *= unit
	}
	if unit == 0 {
		return 0
	}
	return min(lost/unit, 1)
}
