package learn

import (
	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
)

// Experts of a mixture are told apart by the losses of their predictions: the
// weight of one is multiplied by e^(-rate·loss). For the log loss the rate is 1
// and the factor the probability given to the label, so that weights are those of
// Bayes' rule. Losses of a regression have a unit, so the rate goes by the recent
// mean loss of the mixture: 1/(2·mean) makes of the squared loss the likelihood
// under normal errors. Nothing that one row says counts for more than leastCredit.
const (
	leastCredit = 4.5399929762484854e-05 // e^-10
	recentKept  = 0.99                   // share of the mean loss kept from row to row
)

// credit sets for each expert the gradient at its own score, and what its weight
// is to be multiplied by.
func (m *core) credit(t *target, score float64, gradient, credit *[optim.Experts]float64) {
	scores := m.rule.Scores()
	switch t.loss.Kind {
	case loss.Log:
		for k, s := range scores {
			here := loss.At(s)
			gradient[k], credit[k] = here.Slope(t.label), here.Likelihood(t.label)
		}
	default:
		rate := 1.0
		if t.loss.Task() == loss.Regression && t.loss.Kind != loss.Poisson { // whose loss is a logarithm, too
			rate = m.lossRate(t, score)
		}
		least := t.value(scores[0])
		for k, s := range scores {
			credit[k] = t.value(s)
			least = min(least, credit[k])
			gradient[k] = t.slope(s)
		}
		for k := range credit {
			credit[k] = exact.Exp(-min(10, float64(rate*(credit[k]-least))))
		}
	}
	sharpen(credit, t.weight)
}

// curvature bounds the second derivative of the loss on the way of every expert.
func (m *core) curvature(t *target) float64 {
	if t.loss.Kind != loss.Poisson {
		return t.loss.Curvature(0, t.label)
	}
	most := 0.0
	for _, s := range m.rule.Scores() {
		most = max(most, t.loss.Curvature(s, t.label))
	}
	return most
}

// sharpen brings credits into range, the best at 1, and raises them to the power
// of the weight of the row.
func sharpen(credit *[optim.Experts]float64, weight float64) {
	best := 0.0
	for _, c := range credit {
		best = max(best, c)
	}
	for k, c := range credit {
		if best > 0 {
			c /= best
		}
		c = max(leastCredit, c)
		if weight != 1 && c < 1 {
			c = max(leastCredit, exact.Exp(float64(weight*exact.Log(c))))
		}
		credit[k] = c
	}
}

// lossRate takes up the loss of the mixture and returns one over twice its recent
// mean.
func (m *core) lossRate(t *target, score float64) float64 {
	s := &m.rule.Shared
	s.LossWeight = float64(recentKept*s.LossWeight) + 1
	s.Loss += (t.loss.Value(t.held(score), t.label) - s.Loss) / s.LossWeight
	if !(s.Loss > 1e-300) {
		return 0
	}
	return 0.5 / s.Loss
}
