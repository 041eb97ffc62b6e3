package loss

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// Point is the log loss at one score, for a learner that wants likelihood and slope of
// it, with the exponential that they have in common computed once. Labels are -1 and +1.
type Point struct {
	score, e float64 // e is e^-|score|
}

// At returns the log loss at a finite score.
func At(score float64) Point {
	return Point{score, exact.Exp(-math.Abs(score))}
}

// Likelihood is the probability that a score of the log loss gives to the label.
func (p Point) Likelihood(y float64) float64 {
	if float64(y*p.score) >= 0 {
		return 1 / (1 + p.e)
	}
	return p.e / (1 + p.e)
}

// Slope is [Func.Gradient] of the log loss to the last bits or so, without
// another exponential.
func (p Point) Slope(y float64) float64 {
	if float64(y*p.score) > 0 {
		return -y * (p.e / (1 + p.e))
	}
	return -y / (1 + p.e)
}

// Outcome is a classification loss at one score, for a learner that wants link, value
// and gradient of it: the same bits as [Func.Link], [Func.Value] and [Func.Gradient]
// give. Labels are -1 and +1. Such a learner goes on from row to row, and
// the score of a row waits for the gradient of the row before. So
// the gradient of the log loss waits for one exponential and for no branch on the signs of
// score and label, which a processor cannot guess.
type Outcome struct {
	f               Func
	score, up, down float64 // up is e^score, down e^-score
}

// Outcome returns the loss at a finite score.
func (f Func) Outcome(score float64) Outcome {
	up, down := exact.ExpBoth(score)
	return Outcome{f, score, up, down}
}

// near tells that the log loss is computed by its formula and not as in its tails.
func (o *Outcome) near() bool { return o.f.Kind == Log && math.Abs(o.score) <= logTail }

// Link is [Func.Link] of the score.
func (o *Outcome) Link() float64 {
	negative := signMask(o.score)
	return pick(negative, o.up, 1) / (1 + pick(negative, o.up, o.down))
}

// Value is [Func.Value] of the score for the label y.
func (o *Outcome) Value(y float64) float64 {
	if !o.near() {
		return o.f.Value(o.score, y)
	}
	z := float64(y * o.score)
	return exact.Log1p(pick(signMask(o.score), o.up, o.down)) - pick(signMask(z), z, 0)
}

// Gradient is [Func.Gradient] of the score for the label y.
func (o *Outcome) Gradient(y float64) float64 {
	if !o.near() {
		return o.f.Gradient(o.score, y)
	}
	return -y / (1 + pick(signMask(y), o.down, o.up))
}

// signMask has all bits set if x has its sign bit set, and none otherwise.
func signMask(x float64) uint64 { return uint64(int64(math.Float64bits(x)) >> 63) }

// pick is a where the mask is set and b where it is not, without a branch.
func pick(mask uint64, a, b float64) float64 {
	return math.Float64frombits(math.Float64bits(a)&mask | math.Float64bits(b)&^mask)
}
