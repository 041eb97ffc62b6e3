package optim

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// Float is the type of a weight table: float32 in pipelines, float64 where
// results are compared with other programs.
type Float interface{ ~float32 | ~float64 }

// Kind names a rule.
type Kind uint8

// The rules; the package comment defines them.
const (
	SGD Kind = iota
	Momentum
	Nesterov
	AdaGrad
	RMSProp
	Adam
	FTRL
	Normalized
	Coin
	Mixture
	AdaDelta
	AdaMax
	NAdam
	AMSGrad
	AdaBound
)

var kindNames = [...]string{"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "ftrl", "normalized", "coin", "mixture", "adadelta", "adamax", "nadam", "amsgrad", "adabound"}

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
	return 0, fmt.Errorf("optimizer %q is unknown; one of %s was expected", name, strings.Join(kindNames[:], ", "))
}

// Config holds the hyper-parameters of a rule. Start from [Defaults]; fields
// without meaning for the rule are ignored.
type Config struct {
	Kind Kind
	// Rate is η; all rules but FTRL.
	Rate Schedule
	// Rho is the share of the velocity (Momentum, Nesterov) or of the mean of
	// squares (RMSProp) kept from step to step, in [0, 1).
	Rho float64
	// Beta1 and Beta2 are the shares kept by Adam and its kin of the means of the gradient and
	// of its square, in [0, 1).
	Beta1, Beta2 float64
	// Eps keeps denominators from zero (AdaGrad, RMSProp, Adam), in (0, 1].
	Eps float64
	// Final is the rate that AdaBound ends at, in (0, 1e6], Gamma in (0, 1] how
	// fast its bounds close in on it.
	Final, Gamma float64
	// Alpha > 0 and Beta ≥ 0 are FTRL's rate and its smoothing, Coin's wealth at
	// the start and the least it takes for the greatest derivative.
	Alpha, Beta float64
	// L1 ≥ 0: SGD (cumulative) and FTRL; refused for the others.
	L1 float64
	// L2 ≥ 0: all rules.
	L2 float64
	// Clip > 0 holds the derivative of the loss to [-Clip, Clip] before it is
	// multiplied by the values; 0 turns that off.
	Clip float64
	// Power is the exponent t of Normalized, in (0, 1]: rates fall with the t-th
	// power of the sums of squared gradients.
	Power float64
	// Invariant makes SGD and AdaGrad rules that step by [Rule.Adapt] and
	// [Rule.Move]; Normalized always does.
	Invariant bool
	// GlobalCount makes Adam and its kin correct by the count of all steps instead of the
	// coordinate's own.
	GlobalCount bool
}

// Defaults are the recommended hyper-parameters of a rule for standardised
// features: no L1, no L2, Clip 1e12 (a guard, not a tuning knob).
func Defaults(k Kind) Config {
	c := Config{Kind: k, Clip: 1e12, Eps: 1e-8}
	switch k {
	case SGD:
		c.Rate = Const(0.01)
	case Momentum, Nesterov:
		c.Rate, c.Rho = Const(0.01), 0.9
	case AdaGrad:
		c.Rate = Const(0.05)
	case RMSProp:
		c.Rate, c.Rho = Const(0.01), 0.9
	case Adam:
		c.Rate, c.Beta1, c.Beta2 = Const(0.01), 0.9, 0.999
	case FTRL:
		c.Alpha, c.Beta = 0.1, 1
	case AdaDelta:
		c.Rate, c.Rho = Const(1), 0.95
	case AdaMax, NAdam, AMSGrad:
		c.Rate, c.Beta1, c.Beta2 = Const(0.01), 0.9, 0.999
	case AdaBound:
		c.Rate, c.Beta1, c.Beta2, c.Final, c.Gamma = Const(0.001), 0.9, 0.999, 0.1, 0.001
	case Coin:
		c.Alpha, c.Beta = 4, 1
	case Mixture:
		c.Rate = Const(1)
	case Normalized:
		c.Rate, c.Power, c.Invariant = Const(0.5), 0.5, true
	}
	return c
}

// Check reports the first hyper-parameter that is out of bounds.
func (c Config) Check() error {
	in := func(what string, v float64, ok bool, want string) error {
		if ok {
			return nil
		}
		return fmt.Errorf("%v: %s: %v is %s", c.Kind, what, v, want)
	}
	share := func(what string, v float64) error {
		return in(what, v, v >= 0 && v < 1, "outside [0, 1)")
	}
	penalty := func(what string, v float64) error {
		return in(what, v, v >= 0 && v <= maxRate, "outside [0, 1e6]")
	}
	errs := []error{
		penalty("l1", c.L1), penalty("l2", c.L2),
		in("clip", c.Clip, c.Clip >= 0 && c.Clip <= math.MaxFloat64, "neither 0 nor a finite number above 0"),
	}
	if c.Kind != SGD && c.Kind != FTRL && !c.Invariant {
		errs = append(errs, in("l1", c.L1, c.L1 == 0, "refused: only sgd, ftrl and invariant steps have an L1 penalty"))
	}
	if c.Invariant {
		if c.Kind != SGD && c.Kind != AdaGrad && c.Kind != Normalized {
			errs = append(errs, errors.New(c.Kind.String()+": there are no invariant steps"))
		}
	} else if c.Kind == Normalized {
		errs = append(errs, errors.New("normalized: only invariant steps"))
	}
	switch c.Kind {
	case FTRL, Coin:
		errs = append(errs,
			in("alpha", c.Alpha, c.Alpha > 0 && c.Alpha <= maxRate, "outside (0, 1e6]"),
			in("beta", c.Beta, c.Beta >= 0 && c.Beta <= maxRate, "outside [0, 1e6]"))
	default:
		if err := c.Rate.check(); err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", c.Kind, err))
		}
	}
	if c.Kind == Coin {
		errs = append(errs, in("l2", c.L2, c.L2 == 0, "refused: coin has no penalty"))
	}
	eps := in("eps", c.Eps, c.Eps >= 1e-30 && c.Eps <= 1, "outside [1e-30, 1]")
	switch c.Kind {
	case SGD, FTRL, Coin:
	case Momentum, Nesterov:
		errs = append(errs, share("rho", c.Rho))
	case AdaGrad, Mixture:
		errs = append(errs, eps)
	case RMSProp, AdaDelta:
		errs = append(errs, share("rho", c.Rho), eps)
	case Normalized:
		errs = append(errs, in("power", c.Power, c.Power > 0 && c.Power <= 1, "outside (0, 1]"))
	case Adam, AdaMax, NAdam, AMSGrad, AdaBound:
		errs = append(errs, share("beta1", c.Beta1), share("beta2", c.Beta2), eps)
		if c.Kind == AdaBound {
			errs = append(errs, in("final", c.Final, c.Final > 0 && c.Final <= maxRate, "outside (0, 1e6]"),
				in("gamma", c.Gamma, c.Gamma > 0 && c.Gamma <= 1, "outside (0, 1]"))
		}
	default:
		return fmt.Errorf("optimizer %v is unknown", c.Kind)
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// penalised tells that invariant steps have a penalty.
func (c Config) penalised() bool { return c.Invariant && (c.L1 > 0 || c.L2 > 0) }

// Slots is the number of slots per weight of the rule.
func (c Config) Slots() int {
	if c.penalised() {
		c.L1, c.L2 = 0, 0
		return c.Slots() + 1
	}
	switch c.Kind {
	case SGD:
		if c.L1 > 0 {
			return 2
		}
		return 1
	case FTRL:
		return 3
	case AdaDelta:
		return 3
	case Adam, Normalized, AdaMax, NAdam, AdaBound:
		return 4
	case AMSGrad:
		return 5
	case Coin:
		return coinSlots
	case Mixture:
		return mixSlots
	}
	return 2
}

// Layout names the meaning of the slots. Tables of equal layout can be
// exchanged: a table written under one configuration may be read under another
// exactly when their layouts are equal.
func (c Config) Layout() string {
	if c.penalised() {
		c.L1, c.L2 = 0, 0
		return c.Layout() + ",unpenalised"
	}
	switch {
	case c.Kind == SGD && c.L1 > 0:
		return "w,q"
	case c.Kind == SGD:
		return "w"
	case c.Kind == Momentum || c.Kind == Nesterov:
		return "w,velocity"
	case c.Kind == AdaGrad:
		return "w,sumsq"
	case c.Kind == RMSProp:
		return "w,meansq"
	case c.Kind == Adam || c.Kind == NAdam || c.Kind == AdaBound:
		return "w,m,v,count"
	case c.Kind == AMSGrad:
		return "w,m,v,count,vmax"
	case c.Kind == AdaMax:
		return "w,m,max,count"
	case c.Kind == AdaDelta:
		return "w,meansq,meansqstep"
	case c.Kind == Normalized:
		return "w,sumsq,max,rate"
	case c.Kind == Coin:
		return "w,max,steepest,theta,sumabs,wealth"
	case c.Kind == Mixture:
		return "w,sgd0,sgd1,sgd2,adagrad0,sumsq0,adagrad1,sumsq1"
	}
	return "w,z,n"
}

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
	// Boost is a factor of the rate, 0 = 1; without meaning for FTRL and Coin. It
	// may be set between steps, and is nothing that Undo takes back.
	Boost float64

	cfg                        Config
	slots                      int
	l1, l2, rho, rest, eps     F
	beta1, rest1, beta2, rest2 F
	alpha, beta                F
	weighs, joint              bool
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
	r.weighs = c.Kind == Coin || c.Kind == Mixture || c.penalised()
	r.joint = c.Invariant || r.weighs
	if c.Beta2 > 0 {
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
	if r.cfg.Kind != FTRL && r.cfg.Kind != Coin {
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
	rate := r.cfg.Rate.At(max(1, r.State.Steps))
	if r.Boost > 0 {
		rate *= r.Boost
	}
	return rate
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
