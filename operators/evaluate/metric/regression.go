package metric

import (
	"fmt"
	"math"
)

// R2State is what r2 remembers.
type R2State struct {
	Weight  float64
	Squared Sum     // of the squared errors
	Mean    float64 // of the labels
	M2      float64 // sum of the labels' squared distances from it
}

// r2 is the coefficient of determination.
type r2 struct{ s R2State }

// UpdateNumber implements Numeric.
func (m *r2) UpdateNumber(n Number, w float64) {
	if !finite(n.Label) || !finite(n.Predicted) || w == 0 {
		return
	}
	s, d := &m.s, n.Label-n.Predicted
	s.Squared.Add(float64(w * float64(d*d)))
	s.Weight += w
	off := n.Label - s.Mean
	s.Mean += float64(off*w) / s.Weight
	s.M2 += float64(w * float64(off*(n.Label-s.Mean)))
}

// Value implements Metric.
func (m *r2) Value() (float64, bool) {
	if m.s.M2 <= 0 {
		return 0, false
	}
	return defined(1 - m.s.Squared.Value()/m.s.M2)
}

// Merge implements Metric.
func (m *r2) Merge(other Metric) error {
	other2, ok := other.(*r2)
	if !ok {
		return mismatch(m, other)
	}
	s, o := &m.s, &other2.s
	if o.Weight == 0 {
		return nil
	}
	all, d := s.Weight+o.Weight, o.Mean-s.Mean
	s.Mean += float64(d * (o.Weight / all))
	s.M2 += o.M2 + float64(d*d*(s.Weight/all*o.Weight))
	s.Weight = all
	s.Squared.AddSum(o.Squared)
	return nil
}

// Reset implements Metric.
func (m *r2) Reset() { m.s = R2State{} }

// State implements Metric; the pointer is an *R2State.
func (m *r2) State() any { return &m.s }

// Scale implements Scaler.
func (m *r2) Scale(f float64) {
	scale(f, &m.s.Weight, &m.s.M2)
	m.s.Squared.Scale(f)
}

// MASEState is what MASE remembers.
type MASEState struct {
	Error, Naive MeanState // absolute errors of the model and of the baseline, which has none in the first season
	Labels       []float64 // the latest labels, at most Season; a ring
	Next         int       // where the next label goes
}

// MASE is the mean absolute error in units of that of the baseline which repeats the label of Season rows before (Hyndman
// and Koehler, International Journal of Forecasting 22, 2006), over the same rows: 1 is as good as the baseline, below is
// better. Undefined until the baseline has erred.
type MASE struct {
	season int
	s      MASEState
}

// NewMASE returns an empty metric.
func NewMASE(season int) *MASE { return &MASE{season: season} }

// UpdateNumber implements Numeric.
func (m *MASE) UpdateNumber(n Number, w float64) {
	if !finite(n.Label) || !finite(n.Predicted) {
		return
	}
	s := &m.s
	s.Error.Weight += w
	s.Error.Sum.Add(float64(w * math.Abs(n.Label-n.Predicted)))
	if len(s.Labels) < m.season {
		s.Labels = append(s.Labels, n.Label)
		return
	}
	s.Naive.Weight += w
	s.Naive.Sum.Add(float64(w * math.Abs(n.Label-s.Labels[s.Next])))
	s.Labels[s.Next] = n.Label
	if s.Next++; s.Next == m.season {
		s.Next = 0
	}
}

// Value implements Metric.
func (m *MASE) Value() (float64, bool) {
	naive := m.s.Naive.Sum.Value()
	if m.s.Naive.Weight == 0 || naive <= 0 {
		return 0, false
	}
	return defined(m.s.Error.Sum.Value() / m.s.Error.Weight / (naive / m.s.Naive.Weight))
}

// Merge implements Metric. The baseline is scored on each part of the rows alone, so a merged value differs slightly from
// that of the rows in one piece.
func (m *MASE) Merge(other Metric) error {
	o, ok := other.(*MASE)
	if !ok {
		return mismatch(m, other)
	}
	if o.season != m.season {
		return fmt.Errorf("metric: cannot merge a season of %d rows into one of %d", o.season, m.season)
	}
	for _, p := range []struct{ to, from *MeanState }{{&m.s.Error, &o.s.Error}, {&m.s.Naive, &o.s.Naive}} {
		p.to.Weight += p.from.Weight
		p.to.Sum.AddSum(p.from.Sum)
	}
	if len(o.s.Labels) == m.season {
		m.s.Labels, m.s.Next = append(m.s.Labels[:0], o.s.Labels...), o.s.Next
	}
	return nil
}

// Reset implements Metric.
func (m *MASE) Reset() { m.s = MASEState{Labels: m.s.Labels[:0]} }

// State implements Metric; the pointer is a *MASEState.
func (m *MASE) State() any { return &m.s }

// Scale implements Scaler.
func (m *MASE) Scale(f float64) {
	for _, p := range []*MeanState{&m.s.Error, &m.s.Naive} {
		scale(f, &p.Weight)
		p.Sum.Scale(f)
	}
}

func init() {
	register(Spec{Name: "r2", Best: Higher, Lo: -math.MaxFloat64, Hi: 1,
		Doc:     "Coefficient of determination: 1 is perfect, 0 is as good as the labels' mean; undefined while all labels are the same.",
		Numeric: func(Options) Numeric { return &r2{} }})
	register(Spec{Name: "mase", Best: Lower, Hi: math.MaxFloat64, Takes: []string{"season"},
		Doc: "Mean absolute error in units of that of repeating the label of season rows before, over the same rows (Hyndman and Koehler, 2006): below 1 is better than that; " +
			"undefined until the baseline has erred.",
		Numeric: func(o Options) Numeric { return NewMASE(max(o.Season, 1)) }})
}
