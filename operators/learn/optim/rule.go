package optim

import (
	"errors"
	"fmt"
	"math"
)

// Float is the type of a weight table: float32 in pipelines, float64 where
// results are compared with other programs.
type Float interface{ ~float32 | ~float64 }

// State is what a rule knows beside the table: plain data to save and load.
type State struct {
	// Steps counts the steps taken.
	Steps int64
	// Penalty is u of the cumulative L1 penalty: what a weight present in every
	// row would have been charged so far.
	Penalty float64
}

// Shared is what some rules know beside the table and [State]: plain data to save
// and load, its zero value a fresh one.
type Shared struct {
	// Weight and Norm are the sums over the rows, each times its weight, of 1
	// and of the squared values in units of the greatest ones (Normalized, Coin).
	Weight, Norm float64
	// Shrink and Pull are what the penalties of invariant steps came to: a weight
	// counts as (1 - Shrink)·sign(w)·max(0, |w| - Pull).
	Shrink, Pull float64
	// Shares are the weights of the experts, all 0 = as yet alike (Mixture).
	Shares [Experts]float64
	// Loss is a recent mean loss of the mixture, kept by whoever gives credit, and
	// LossWeight the rows in it.
	Loss, LossWeight float64
}

// ErrNonFinite is returned by [Rule.Step] for a row that would have made a
// weight or an accumulator NaN or Inf.
var ErrNonFinite = errors.New("the step would make a weight NaN or infinite")

// Rule steps the weights of one table. It must not be used by two goroutines at
// once. Its methods allocate nothing once a row of the greatest length was seen.
type Rule[F Float] struct {
	// Free is an index that the penalties of invariant steps spare, that of an
	// intercept; none at first.
	Free uint32
	// State may be read and set between steps.
	State State
	// Shared is the same for the rules that have more to know.
	Shared Shared
	// Boost is a factor of the rate, 0 = 1; without meaning for rules without one. It
	// may be set between steps, and is nothing that Undo takes back.
	Boost float64

	cfg                        Config
	slots                      int
	l1, l2, rho, rest, eps     F
	beta1, rest1, beta2, rest2 F
	alpha, beta                F
	weighs, joint, rateless    bool
	tiny                       float64
	correct                    [][2]F  // Adam: its corrections by step count, for the first steps
	settled                    int64   // Adam: the step count from which on they are 1
	undo                       []F     // slots of the last step's row as they were
	last                       State   // State before it
	lastShared                 Shared  // Shared before it, if the rule uses it
	rates                      []F     // by feature: of Adapt the step of a unit of Move, of Weigh the weight
	grad                       float64 // of the last Adapt
	swept                      bool    // the last Move wrote the whole table
	length                     float64 // of the row of the last Weigh: its squared length
	scores                     [Experts]float64
}

// New checks the configuration and returns a rule with a zero State.
func New[F Float](c Config) (*Rule[F], error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	// The smallest normal number of F; that of float64 is 0 as a float32.
	tiny := 0x1p-1022
	if F(tiny) == 0 {
		tiny = 0x1p-126
	}
	r := &Rule[F]{
		Free: math.MaxUint32, tiny: tiny, cfg: c, slots: c.Slots(),
		l1: F(c.L1), l2: F(c.L2), rho: F(c.Rho), rest: F(1 - c.Rho), eps: F(c.Eps),
		beta1: F(c.Beta1), rest1: F(1 - c.Beta1), beta2: F(c.Beta2), rest2: F(1 - c.Beta2),
		alpha: F(c.Alpha), beta: F(c.Beta),
	}
	r.weighs = c.Kind == Coin || c.Kind == Pistol || c.Kind == Mixture || c.penalised()
	r.joint = c.Invariant || r.weighs
	r.rateless = c.Rateless()
	if c.Beta1 > 0 || c.Beta2 > 0 {
		r.prepare()
	}
	return r, nil
}

// Config returns the hyper-parameters the rule was made with.
func (r *Rule[F]) Config() Config { return r.cfg }

// Slots is the number of slots per weight, the stride of the table.
func (r *Rule[F]) Slots() int { return r.slots }

// LooksAhead tells that the gradient is to be taken at [Rule.Score] and not at
// the score that predicts; only Nesterov does.
func (r *Rule[F]) LooksAhead() bool { return r.cfg.Kind == Nesterov }

// Score is the score, without intercept, at which the rule wants the gradient:
// [Dot], or for a rule that [Rule.LooksAhead] the same sum over w - ρs.
func (r *Rule[F]) Score(tab []F, idx []uint32, val []F) F {
	if !r.LooksAhead() {
		return Dot(tab, r.slots, idx, val)
	}
	val = val[:len(idx)]
	var sum F
	for k, i := range idx {
		t := tab[2*int(i) : 2*int(i)+2]
		w := t[0] - F(r.rho*t[1])
		sum += F(w * val[k])
	}
	return sum
}

// Dot is the sum of tab[i*stride]·value over the row, in the row's order, each
// product rounded to F and added in F. len(val) must be at least len(idx), and
// every index must lie in the table.
func Dot[F Float](tab []F, stride int, idx []uint32, val []F) F {
	val = val[:len(idx)]
	var sum F
	if stride == 1 {
		for k, i := range idx {
			sum += F(tab[i] * val[k])
		}
		return sum
	}
	for k, i := range idx {
		sum += F(tab[int(i)*stride] * val[k])
	}
	return sum
}

// Step moves the weights of one row. idx and val are the row (not kept), grad
// is the derivative of the loss with respect to the score. On ErrNonFinite
// table and states are as they were. Of a rule that [Rule.Adapts] it is the plain
// step and not the invariant one; of Mixture one in which the experts are alike.
func (r *Rule[F]) Step(tab []F, idx []uint32, val []F, grad float64) error {
	switch {
	case r.cfg.Kind == Mixture:
		var g, credit [Experts]float64
		for k := range g {
			g[k], credit[k] = grad, 1
		}
		return r.StepEach(tab, idx, val, &g, &credit, 0)
	case r.cfg.Invariant:
		if _, err := r.Adapt(tab, idx, val, grad, 1); err != nil {
			return err
		}
		return r.Move(tab, idx, -r.Rate()*r.clipped(grad))
	}
	grad = r.clipped(grad)
	r.last = r.State
	if r.cfg.Kind == Coin {
		r.lastShared = r.Shared
	}
	r.State.Steps++
	r.room(len(idx))
	val = val[:len(idx)]
	g, lr := F(grad), F(0)
	if !r.rateless {
		lr = F(r.rate())
	}
	var done int
	switch r.cfg.Kind {
	case SGD:
		if r.slots == 1 {
			done = r.sgd(tab, idx, val, g, lr)
		} else {
			done = r.sgdL1(tab, idx, val, g, lr)
		}
	case Momentum, Nesterov:
		done = r.momentum(tab, idx, val, g, lr)
	case AdaGrad:
		done = r.adagrad(tab, idx, val, g, lr)
	case RMSProp:
		done = r.rmsprop(tab, idx, val, g, lr)
	case Adam:
		done = r.adam(tab, idx, val, g, lr)
	case AdaDelta:
		done = r.adadelta(tab, idx, val, g, lr)
	case AdaMax, NAdam, AMSGrad, AdaBound:
		done = r.adamLike(tab, idx, val, g, lr)
	case FTRL:
		done = r.ftrl(tab, idx, val, g)
	case Coin:
		done = r.coin(tab, idx, val, g)
	case Pistol:
		done = r.pistol(tab, idx, val, g)
	case FreeGrad:
		done = r.freegrad(tab, idx, val, g)
	}
	if done < len(idx) {
		r.undo = r.undo[:done*r.slots]
		r.Undo(tab, idx[:done])
		return ErrNonFinite
	}
	return nil
}

// rate is the rate of the step that State counts last.
func (r *Rule[F]) rate() float64 {
	return float64(r.cfg.Rate.At(max(1, r.State.Steps)) * r.boost())
}

func (r *Rule[F]) boost() float64 {
	if r.Boost > 0 {
		return r.Boost
	}
	return 1
}

func (r *Rule[F]) clipped(grad float64) float64 {
	if c := r.cfg.Clip; c > 0 {
		return max(-c, min(c, grad))
	}
	return grad
}

// room makes r.undo as long as a row of n features needs.
func (r *Rule[F]) room(n int) {
	if n *= r.slots; n > cap(r.undo) {
		r.undo = make([]F, n, 2*n)
	} else {
		r.undo = r.undo[:n]
	}
}

// Undo takes back the last Step, to the bit: table and State are as before it.
// idx must be that step's. It serves a learner of which another part refuses
// the row. After it, and after a failed Step, there is nothing to take back.
func (r *Rule[F]) Undo(tab []F, idx []uint32) {
	s := r.slots
	if len(r.undo) != len(idx)*s {
		panic(fmt.Sprintf("optim: undo of %d features, the last step had %d", len(idx), len(r.undo)/s))
	}
	// Backwards, so that of an index that occurs twice the first wins.
	for k := len(idx) - 1; k >= 0; k-- {
		copy(tab[int(idx[k])*s:int(idx[k])*s+s], r.undo[k*s:])
	}
	r.undo = r.undo[:0]
	r.State = r.last
	if r.Joint() {
		r.Shared = r.lastShared
	}
}
