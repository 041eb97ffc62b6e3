package metric

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// LogLossState is what LogLoss remembers.
type LogLossState struct {
	Rows int64
	Loss Sum
}

// LogLoss is the mean of −ln of the probability given to the label, with probabilities clipped to [1e-15, 1−1e-15].
type LogLoss struct{ s LogLossState }

// UpdateBinary implements Binary.
func (m *LogLoss) UpdateBinary(label bool, p float64) {
	if math.IsNaN(p) {
		return
	}
	q := p // of the label
	if !label {
		q = 1 - p
	}
	const edge = 1e-15
	m.s.Rows++
	m.s.Loss.Add(-exact.Log(min(max(q, edge), 1-edge)))
}

// Value implements Metric; it is undefined before the first row.
func (m *LogLoss) Value() (float64, bool) {
	if m.s.Rows == 0 {
		return 0, false
	}
	return m.s.Loss.Value() / float64(m.s.Rows), true
}

// Merge implements Metric.
func (m *LogLoss) Merge(other Metric) error {
	o, ok := other.(*LogLoss)
	if !ok {
		return mismatch(m, other)
	}
	m.s.Rows += o.s.Rows
	m.s.Loss.AddSum(o.s.Loss)
	return nil
}

// Reset implements Metric.
func (m *LogLoss) Reset() { m.s = LogLossState{} }

// State implements Metric; the pointer is a *LogLossState.
func (m *LogLoss) State() any { return &m.s }

func init() {
	register(Spec{Name: "log_loss", Best: Lower, Hi: exact.Log(1e15) + 1e-9,
		Doc:    "Mean of −ln of the probability given to the label, clipped to [1e-15, 1−1e-15].",
		Binary: func(Options) Binary { return &LogLoss{} }})
}
