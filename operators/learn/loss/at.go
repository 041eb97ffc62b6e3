package loss

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// Point is a classification loss at one score, for a learner that wants link,
// value and gradient of it: the same bits as [Func.Link], [Func.Value] and
// [Func.Gradient] give, with the exponential that they have in common computed
// once. Labels are -1 and +1.
type Point struct {
	f        Func
	score, e float64 // e is e^-|score|
}

// At returns the loss at a finite score.
func (f Func) At(score float64) Point {
	return Point{f, score, exact.Exp(-math.Abs(score))}
}

// Link is [Func.Link] of the score.
func (p Point) Link() float64 {
	if p.score >= 0 {
		return 1 / (1 + p.e)
	}
	return p.e / (1 + p.e)
}

// Value is [Func.Value] of the score for the label y.
func (p Point) Value(y float64) float64 {
	z := float64(y * p.score)
	switch {
	case p.f.Kind != Log:
		return p.f.Value(p.score, y)
	case z > logTail:
		return p.e
	case z < -logTail:
		return -z
	case z < 0:
		return exact.Log1p(p.e) - z
	}
	return exact.Log1p(p.e)
}

// Gradient is [Func.Gradient] of the score for the label y.
func (p Point) Gradient(y float64) float64 {
	z := float64(y * p.score)
	switch {
	case p.f.Kind != Log:
		return p.f.Gradient(p.score, y)
	case z > logTail:
		return -y * p.e
	case z < -logTail:
		return -y
	case z <= 0:
		return -y / (1 + p.e)
	}
	return -y / (1 + exact.Exp(z))
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
