package learn

import (
	"math"

	"github.com/gradstream/gradstream/operators/learn/loss"
)

// labelScaleVersion and labelRangeVersion are the versions of labelScale and
// labelRange.
const (
	labelScaleVersion = 1
	labelRangeVersion = 1
)

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

// rescale puts a target into the scale of scores.
func (s *labelScale) rescale(t *target) {
	if d := s.deviation(); t.loss.Kind == loss.Huber && d > 0 {
		t.loss.Param = min(t.loss.Param/d, math.MaxFloat64)
	}
	t.label, t.low, t.high = s.toScore(t.label), s.toScore(t.low), s.toScore(t.high)
}

// gainKept is the share of a gain that is kept when the next is taken up.
const gainKept = 0.99

// labelRange is the range of the labels learnt, to which predictions are held:
// what was never seen is seldom right, unless the labels leave their range, as
// they do under a trend. So predictions are let go while holding them costs more
// than it gains.
type labelRange struct {
	N         int64   // labels learnt
	Low, High float64 // the least and the greatest of them
	Gain      float64 // by how much holding has lessened the losses of the latest predictions beyond the range
}

// holds tells that predictions are held to the range: it is known, and that pays.
func (r *labelRange) holds() bool { return r.N >= labelTrust && r.Gain >= 0 }

// nearest is the number of the range that is nearest to x.
func (r *labelRange) nearest(x float64) float64 { return max(r.Low, min(r.High, x)) }

// learn takes up a label that counts as weight rows, and what would have been
// predicted without the range.
func (r *labelRange) learn(f loss.Func, prediction, label, weight float64) {
	if r.N >= labelTrust {
		if held := r.nearest(prediction); held != prediction {
			const most = 1e300 // of a loss, so that no sum overflows
			gain := min(most, f.Value(prediction, label)) - min(most, f.Value(held, label))
			r.Gain = float64(gainKept*r.Gain) + float64(weight*gain)
		}
	}
	if r.N == 0 {
		r.Low, r.High = label, label
	}
	r.N++
	r.Low, r.High = min(r.Low, label), max(r.High, label)
}
