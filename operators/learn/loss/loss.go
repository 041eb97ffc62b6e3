package loss

import (
	"fmt"
	"math"
	"strings"

	"github.com/gradstream/gradstream/internal/exact"
)

// Kind names a loss function.
type Kind uint8

// The loss functions; the package comment defines them.
const (
	Log Kind = iota
	Hinge
	Squared
	Absolute
	Huber
	Quantile
	Poisson
)

var kindNames = [...]string{"log", "hinge", "squared", "absolute", "huber", "quantile", "poisson"}

// String is the name used in pipeline files.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Parse is the inverse of [Kind.String].
func Parse(name string) (Kind, error) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("loss %q is unknown; one of %s was expected", name, strings.Join(kindNames[:], ", "))
}

// Task is what a loss is for.
type Task uint8

// Classification losses take labels -1 and +1, regression losses any number;
// Poisson takes one below 0 as 0.
const (
	Classification Task = iota
	Regression
)

// Defaults of the losses' parameters.
const (
	DefaultDelta = 1.0 // huber
	DefaultTau   = 0.5 // quantile
)

// Func is a loss with its parameter. The zero value is the log loss. It is a
// value without state: copy it freely, use it from any goroutine.
type Func struct {
	// Kind picks the function.
	Kind Kind
	// Param is δ > 0 for Huber, in units of the label; 0 < τ < 1 for
	// Quantile; without meaning for the others.
	Param float64
}

// New checks param and returns the function. param is δ for Huber and τ for
// Quantile and is ignored for the others.
func New(k Kind, param float64) (Func, error) {
	switch k {
	case Log, Hinge, Squared, Absolute, Poisson:
		return Func{Kind: k}, nil
	case Huber:
		if !(param > 0 && param <= math.MaxFloat64) {
			return Func{}, fmt.Errorf("delta of huber: %v is not a finite number above 0", param)
		}
	case Quantile:
		if !(param > 0 && param < 1) {
			return Func{}, fmt.Errorf("tau of quantile: %v is outside (0, 1)", param)
		}
	default:
		return Func{}, fmt.Errorf("loss %v is unknown", k)
	}
	return Func{Kind: k, Param: param}, nil
}

// Task tells which labels the loss takes.
func (f Func) Task() Task {
	if f.Kind == Log || f.Kind == Hinge {
		return Classification
	}
	return Regression
}

// Beyond this margin e^-z is below 2^-25 and ln(1+e^-z) is taken as e^-z (or
// as -z on the other side).
const logTail = 18

// Value is the loss of the score for the label y: never negative, finite for
// finite input.
func (f Func) Value(score, y float64) float64 {
	switch f.Kind {
	case Log:
		z := float64(y * score)
		switch {
		case z > logTail:
			return exact.Exp(-z)
		case z < -logTail:
			return hold(-z)
		case z < 0:
			return exact.Log1p(exact.Exp(z)) - z
		}
		return exact.Log1p(exact.Exp(-z))
	case Hinge:
		return hold(max(0, 1-float64(y*score)))
	case Squared:
		r := score - y
		return hold(r * r)
	case Absolute:
		return hold(math.Abs(score - y))
	case Huber:
		r := math.Abs(score - y)
		if r <= f.Param {
			return hold(float64(r*r) / 2)
		}
		return hold(f.Param * (r - float64(f.Param/2)))
	case Quantile:
		if r := y - score; r >= 0 {
			return hold(f.Param * r)
		}
		return hold((1 - f.Param) * (score - y))
	case Poisson:
		return deviance(score, y)
	}
	panic("loss: unknown kind " + f.Kind.String())
}

// Gradient is the derivative of [Func.Value] with respect to the score, finite
// for finite input.
func (f Func) Gradient(score, y float64) float64 {
	switch f.Kind {
	case Log:
		z := float64(y * score)
		switch {
		case z > logTail:
			return -y * exact.Exp(-z)
		case z < -logTail:
			return -y
		}
		return -y / (1 + exact.Exp(z))
	case Hinge:
		if y*score < 1 {
			return -y
		}
		return 0
	case Squared:
		return hold(2 * (score - y))
	case Absolute:
		return sign(score - y)
	case Huber:
		return max(-f.Param, min(f.Param, score-y))
	case Quantile:
		switch {
		case score < y:
			return -f.Param
		case score > y:
			return 1 - f.Param
		}
		return 0
	case Poisson:
		return hold(exact.Exp(score) - max(0, y))
	}
	panic("loss: unknown kind " + f.Kind.String())
}

// Curvature is the greatest second derivative of [Func.Value] between the score and
// where the loss of the label is least, 0 for losses made of straight lines.
func (f Func) Curvature(score, y float64) float64 {
	switch f.Kind {
	case Log:
		return 0.25
	case Squared:
		return 2
	case Huber:
		return 1
	case Poisson:
		return hold(max(exact.Exp(score), y, 0))
	}
	return 0
}

// Link turns a score into what a learner publishes: for classification the
// probability of the label +1, for regression the score itself, but for Poisson the
// mean e^score.
//
// The probability is 1/(1+e^-score). For the hinge loss, which models no
// probability, the same curve only makes a number in [0, 1] that orders rows
// as the score does and exceeds 1/2 exactly when the score exceeds 0; it is
// not calibrated.
func (f Func) Link(score float64) float64 {
	switch {
	case f.Kind == Poisson:
		return hold(exact.Exp(score))
	case f.Task() == Regression:
		return score
	}
	return Sigmoid(score)
}

// Sigmoid is 1/(1+e^-x), without overflow at either end.
func Sigmoid(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + exact.Exp(-x))
	}
	e := exact.Exp(x)
	return e / (1 + e)
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}

// hold keeps x inside the finite numbers.
func hold(x float64) float64 {
	return max(-math.MaxFloat64, min(math.MaxFloat64, x))
}
