package optim

import (
	"errors"
	"fmt"
	"math"
)

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
	Pistol
	FreeGrad
)

var kindNames = [...]string{"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "ftrl", "normalized", "coin", "mixture", "adadelta", "adamax", "nadam", "amsgrad", "adabound", "pistol", "freegrad"}

// String is the name used in pipeline files.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Config holds the hyper-parameters of a rule. Start from [Defaults]; fields
// without meaning for the rule are ignored.
type Config struct {
	Kind Kind
	// Rate is η; all rules that are not [Config.Rateless].
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
	// the start and the least it takes for the greatest derivative, a and b of
	// Pistol; Alpha is FreeGrad's wealth at the start.
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
	case Pistol:
		c.Alpha, c.Beta = 1, 0.5
	case FreeGrad:
		c.Alpha = 1
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
	case FTRL, Coin, Pistol, FreeGrad:
		errs = append(errs,
			in("alpha", c.Alpha, c.Alpha > 0 && c.Alpha <= maxRate, "outside (0, 1e6]"),
			in("beta", c.Beta, c.Beta >= 0 && c.Beta <= maxRate, "outside [0, 1e6]"))
	default:
		if err := c.Rate.check(); err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", c.Kind, err))
		}
	}
	if c.Bets() {
		errs = append(errs, in("l2", c.L2, c.L2 == 0, "refused: "+c.Kind.String()+" has no penalty"))
	}
	eps := in("eps", c.Eps, c.Eps >= 1e-30 && c.Eps <= 1, "outside [1e-30, 1]")
	switch c.Kind {
	case SGD, FTRL, Coin, Pistol, FreeGrad:
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

// Bets tells that a weight follows from sums over its gradients alone, without a
// rate or a penalty.
func (c Config) Bets() bool { return c.Kind == Coin || c.Kind == Pistol || c.Kind == FreeGrad }

// Rateless tells that the rule has no Rate.
func (c Config) Rateless() bool { return c.Kind == FTRL || c.Bets() }

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
	case Pistol:
		return pistolSlots
	case FreeGrad:
		return freeSlots
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
	case c.Kind == Pistol:
		return "w,max,theta,sumabs"
	case c.Kind == FreeGrad:
		return "w,sum,sumsq,first,greatest"
	case c.Kind == Mixture:
		return "w,sgd0,sgd1,sgd2,adagrad0,sumsq0,adagrad1,sumsq1"
	}
	return "w,z,n"
}
