package metric

import (
	"fmt"
	"math"
)

// CalibrationBin holds the rows whose probability lies in one bin.
type CalibrationBin struct{ Weight, Probability, True float64 }

// CalibrationState is what ECE remembers.
type CalibrationState struct{ Bins []CalibrationBin }

// ECE is the expected calibration error: with the probabilities in bins of equal width, [i/n, (i+1)/n), the last one closed,
// it is the mean over the rows of the distance between their bin's mean probability and its share of true labels (Naeini,
// Cooper and Hauskrecht, AAAI 2015). Probabilities are those of a true label, and are clipped to [0, 1].
type ECE struct{ s CalibrationState }

// NewECE returns an empty metric of so many bins, 1 to 10,000.
func NewECE(bins int) *ECE { return &ECE{CalibrationState{make([]CalibrationBin, bins)}} }

// UpdateBinary implements Binary.
func (m *ECE) UpdateBinary(label bool, p, w float64) {
	if math.IsNaN(p) {
		return
	}
	p = min(max(p, 0), 1)
	n := len(m.s.Bins)
	b := &m.s.Bins[min(int(p*float64(n)), n-1)]
	b.Weight += w
	b.Probability += float64(p * w)
	if label {
		b.True += w
	}
}

// Value implements Metric; it is undefined before the first row.
func (m *ECE) Value() (float64, bool) {
	all, gap := 0.0, 0.0
	for _, b := range m.s.Bins {
		all += b.Weight
		gap += math.Abs(b.Probability - b.True)
	}
	return ratio(gap, all)
}

// Merge implements Metric.
func (m *ECE) Merge(other Metric) error {
	o, ok := other.(*ECE)
	if !ok {
		return mismatch(m, other)
	}
	if len(o.s.Bins) != len(m.s.Bins) {
		return fmt.Errorf("metric: cannot merge %d bins into %d", len(o.s.Bins), len(m.s.Bins))
	}
	for i, b := range o.s.Bins {
		to := &m.s.Bins[i]
		to.Weight += b.Weight
		to.Probability += b.Probability
		to.True += b.True
	}
	return nil
}

// Reset implements Metric.
func (m *ECE) Reset() { clear(m.s.Bins) }

// State implements Metric; the pointer is a *CalibrationState.
func (m *ECE) State() any { return &m.s }

// Scale implements Scaler.
func (m *ECE) Scale(f float64) {
	for i := range m.s.Bins {
		b := &m.s.Bins[i]
		scale(f, &b.Weight, &b.Probability, &b.True)
	}
}

func init() {
	register(Spec{Name: "ece", Best: Lower, Hi: 1, Takes: []string{"bins"},
		Doc:    "Expected calibration error: the mean distance between the mean probability and the share of true labels of a row's bin, in bins of equal width, the lower bound included.",
		Binary: func(o Options) Binary { return NewECE(max(o.Bins, 1)) }})
}
