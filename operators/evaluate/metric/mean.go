package metric

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// MeanState is what Mean remembers.
type MeanState struct {
	Weight float64
	Sum    Sum
	// Bad is the weight of rows whose value is not a number: the metric is undefined while there are any.
	Bad float64
}

// Mean is the weighted mean of a value of each row. One of the functions is set; a row for which it is NaN makes the metric
// undefined.
type Mean struct {
	s       MeanState
	binary  func(label bool, p float64) float64
	numeric func(n Number) float64
	ranked  func(o Outcome) float64
	finish  func(mean float64) float64 // nil = the mean itself
}

func (m *Mean) add(v, w float64) {
	m.s.Weight += w
	if v != v {
		m.s.Bad += w
		return
	}
	m.s.Sum.Add(float64(v * w))
}

// UpdateBinary implements Binary.
func (m *Mean) UpdateBinary(label bool, p, w float64) {
	if p == p { // not NaN
		m.add(m.binary(label, p), w)
	}
}

// UpdateNumber implements Numeric.
func (m *Mean) UpdateNumber(n Number, w float64) {
	if finite(n.Label) && finite(n.Predicted) {
		m.add(m.numeric(n), w)
	}
}

// UpdateOutcome implements Ranked.
func (m *Mean) UpdateOutcome(o Outcome, w float64) { m.add(m.ranked(o), w) }

// Value implements Metric; it is undefined before the first row.
func (m *Mean) Value() (float64, bool) {
	if m.s.Weight == 0 || m.s.Bad > 0 {
		return 0, false
	}
	v := m.s.Sum.Value() / m.s.Weight
	if m.finish != nil {
		v = m.finish(v)
	}
	return defined(v)
}

// Merge implements Metric.
func (m *Mean) Merge(other Metric) error {
	o, ok := other.(*Mean)
	if !ok {
		return mismatch(m, other)
	}
	m.s.Weight += o.s.Weight
	m.s.Bad += o.s.Bad
	m.s.Sum.AddSum(o.s.Sum)
	return nil
}

// Reset implements Metric.
func (m *Mean) Reset() { m.s = MeanState{} }

// State implements Metric; the pointer is a *MeanState.
func (m *Mean) State() any { return &m.s }

// Scale implements Scaler.
func (m *Mean) Scale(f float64) {
	scale(f, &m.s.Weight, &m.s.Bad)
	m.s.Sum.Scale(f)
}

func meanOfBinary(of func(label bool, p float64) float64) func(Options) Binary {
	return func(Options) Binary { return &Mean{binary: of} }
}

func meanOfNumbers(of func(n Number) float64, finish func(float64) float64) func(Options) Numeric {
	return func(Options) Numeric { return &Mean{numeric: of, finish: finish} }
}

// clip bounds the probabilities of the log loss.
const clip = 1e-15

func logLoss(p float64) float64 { return -exact.Log(min(max(p, clip), 1-clip)) }

func squaredLogError(n Number) float64 {
	if n.Label <= -1 || n.Predicted <= -1 {
		return math.NaN()
	}
	d := exact.Log(1+n.Predicted) - exact.Log(1+n.Label)
	return d * d
}

func symmetricError(n Number) float64 {
	size := math.Abs(n.Label) + math.Abs(n.Predicted)
	if size == 0 {
		return 0
	}
	return 2 * math.Abs(n.Label-n.Predicted) / size
}

// among is 1 if what was right stands in the first k places.
func among(o Outcome, k int) float64 {
	if o.Rank >= 1 && o.Rank <= int64(k) {
		return 1
	}
	return 0
}

// gain is the normalised discounted cumulative gain of one relevant item: 1/log₂(1 + rank).
func gain(o Outcome, k int) float64 {
	if among(o, k) == 0 {
		return 0
	}
	return math.Ln2 / exact.Log(1+float64(o.Rank))
}

func ofRank(of func(o Outcome, k int) float64) func(Options) Ranked {
	return func(opt Options) Ranked {
		return &Mean{ranked: func(o Outcome) float64 { return of(o, opt.K) }}
	}
}

func init() {
	register(Spec{Name: "log_loss", Best: Lower, Hi: logLoss(0) + 1e-9, Probability: true,
		Doc: "Mean of −ln of the probability given to the label, clipped to [1e-15, 1−1e-15].",
		Binary: meanOfBinary(func(label bool, p float64) float64 {
			if !label {
				p = 1 - p
			}
			return logLoss(p)
		}),
		Ranked: func(Options) Ranked { return &Mean{ranked: func(o Outcome) float64 { return logLoss(o.P) }} }})
	register(Spec{Name: "brier", Best: Lower, Hi: 2, Probability: true,
		Doc: "Mean squared distance of the probability from 1 for a true label and 0 for a false one, from 0 to 1; of several classes the sum over them, from 0 to 2 (Brier, 1950).",
		Binary: meanOfBinary(func(label bool, p float64) float64 {
			p = min(max(p, 0), 1)
			if label {
				p = 1 - p
			}
			return p * p
		}),
		// The sum over the classes of (p−y)², where y is 1 for the label alone.
		Ranked: func(Options) Ranked {
			return &Mean{ranked: func(o Outcome) float64 {
				v := 1 - float64(2*o.P) + o.Squares
				if o.Rank == 0 {
					v = 1 + o.Squares
				}
				return max(v, 0)
			}}
		}})
	register(Spec{Name: "hit_rate", Best: Higher, Hi: 1, Takes: []string{"k"},
		Doc: "Share of rows in which what was right stands among the k best; for classes the top-k accuracy.", Ranked: ofRank(among)})
	register(Spec{Name: "ndcg", Best: Higher, Hi: 1, Takes: []string{"k"},
		Doc: "Mean of 1/log₂(1 + rank) of what was right, 0 beyond rank k: the normalised discounted cumulative gain where one item is relevant.", Ranked: ofRank(gain)})
	register(Spec{Name: "mrr", Best: Higher, Hi: 1, Takes: []string{"k"},
		Doc: "Mean reciprocal rank of what was right, 0 beyond rank k.",
		Ranked: ofRank(func(o Outcome, k int) float64 {
			if among(o, k) == 0 {
				return 0
			}
			return 1 / float64(o.Rank)
		})})
	register(Spec{Name: "mae", Best: Lower, Hi: math.MaxFloat64,
		Doc:     "Mean absolute error.",
		Numeric: meanOfNumbers(func(n Number) float64 { return math.Abs(n.Label - n.Predicted) }, nil)})
	register(Spec{Name: "rmse", Best: Lower, Hi: math.MaxFloat64,
		Doc:     "Square root of the mean squared error.",
		Numeric: meanOfNumbers(func(n Number) float64 { d := n.Label - n.Predicted; return d * d }, math.Sqrt)})
	register(Spec{Name: "rmsle", Best: Lower, Hi: math.MaxFloat64,
		Doc:     "Root of the mean squared distance of ln(1+label) and ln(1+prediction); undefined once one of them was −1 or less.",
		Numeric: meanOfNumbers(squaredLogError, math.Sqrt)})
	register(Spec{Name: "smape", Best: Lower, Hi: 200,
		Doc:     "Symmetric mean absolute percentage error, 0 to 200: the mean of 200·|error|/(|label| + |prediction|), 0 where both are 0.",
		Numeric: meanOfNumbers(symmetricError, func(v float64) float64 { return 100 * v })})
	register(Spec{Name: "pinball", Best: Lower, Hi: math.MaxFloat64, Takes: []string{"quantile"},
		Doc: "Mean pinball loss of the prediction as a quantile: quantile·error where the label is above it, (quantile−1)·error where below.",
		Numeric: func(opt Options) Numeric {
			return &Mean{numeric: func(n Number) float64 {
				d := n.Label - n.Predicted
				return max(float64(opt.Quantile*d), float64((opt.Quantile-1)*d))
			}}
		}})
	interval := func(of func(n Number) float64) func(Options) Numeric {
		return meanOfNumbers(func(n Number) float64 {
			if !finite(n.Lower) || !finite(n.Upper) {
				return math.NaN()
			}
			return of(n)
		}, nil)
	}
	register(Spec{Name: "coverage", Best: Higher, Hi: 1, Interval: true,
		Doc: "Share of labels within the predicted interval, bounds included. A good one is the interval's nominal level, not more.",
		Numeric: interval(func(n Number) float64 {
			if n.Lower <= n.Label && n.Label <= n.Upper {
				return 1
			}
			return 0
		})})
	register(Spec{Name: "interval_width", Best: Lower, Lo: -math.MaxFloat64, Hi: math.MaxFloat64, Interval: true,
		Doc:     "Mean width of the predicted interval.",
		Numeric: interval(func(n Number) float64 { return n.Upper - n.Lower })})
}
