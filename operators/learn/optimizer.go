package learn

import (
	"github.com/gradstream/gradstream/operators/learn/optim"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// A rule is the configuration of one option of `optimizer`.
type rule interface {
	spec.Config
	// config returns the hyper-parameters; gradient is the derivative of the loss.
	config(gradient func(score, y float64) float64) optim.Config
}

// optimizers are the step rules, with a default rate each.
func optimizers(rates rates) []spec.Option {
	option := func(k optim.Kind, summary string, c func() spec.Config) spec.Option {
		return spec.Option{Name: k.String(), Summary: summary, New: c}
	}
	return []spec.Option{
		option(optim.Mixture, "Five rules side by side, sgd at 0.003, 0.03 and 0.3 and adagrad at 0.03 and 0.5, their weights mixed by the losses of their recent predictions (fixed share, Herbster, Warmuth 1998). Needs no tuning, follows drift; takes some four times as long as one.",
			func() spec.Config { return new(mixtureConfig) }),
		option(optim.AdaGrad, "A rate for each weight that falls with what its gradients add up to. Needs little tuning; slow to forget.",
			func() spec.Config { return &adagradConfig{def: rates.adagrad} }),
		option(optim.SGD, "The plain step. Forgets at a constant pace, which suits drift.",
			func() spec.Config { return &sgdConfig{def: rates.sgd} }),
		option(optim.Momentum, "The plain step with inertia (Polyak 1964).",
			func() spec.Config { return &momentumConfig{kind: optim.Momentum} }),
		option(optim.Nesterov, "Inertia, the gradient taken ahead of the weights (Nesterov 1983).",
			func() spec.Config { return &momentumConfig{kind: optim.Nesterov} }),
		option(optim.RMSProp, "A rate for each weight by the recent size of its gradients.",
			func() spec.Config { return new(rmspropConfig) }),
		option(optim.Adam, "Inertia and a rate for each weight (Kingma, Ba 2015), corrected by the steps of each weight.",
			func() spec.Config { return &adamConfig{kind: optim.Adam} }),
		option(optim.AdaMax, "Adam by the greatest gradient instead of the mean square (Kingma, Ba 2015).",
			func() spec.Config { return &adamConfig{kind: optim.AdaMax} }),
		option(optim.NAdam, "Adam with the inertia of nesterov (Dozat 2016).",
			func() spec.Config { return &adamConfig{kind: optim.NAdam} }),
		option(optim.AMSGrad, "Adam whose rates never rise (Reddi, Kale, Kumar 2018).",
			func() spec.Config { return &adamConfig{kind: optim.AMSGrad} }),
		option(optim.AdaBound, "Adam that turns into plain descent (Luo et al. 2019).",
			func() spec.Config { return &adaboundConfig{adamConfig: adamConfig{kind: optim.AdaBound}} }),
		option(optim.AdaDelta, "A rate for each weight by the recent size of its gradients and steps (Zeiler 2012).",
			func() spec.Config { return new(adadeltaConfig) }),
		option(optim.FTRL, "FTRL-Proximal (McMahan et al. 2013): keeps weights at zero that earn less than l1.",
			func() spec.Config { return new(ftrlConfig) }),
		option(optim.Coin, "Bets on each weight (Orabona, Tommasi 2017; as in Vowpal Wabbit): there is no rate.",
			func() spec.Config { return new(coinConfig) }),
		option(optim.Pistol, "Grows and shrinks each weight by what its gradients add up to (PiSTOL; Orabona 2014; as in Vowpal Wabbit): there is no rate. It is made for derivatives of the loss up to 1: log, hinge or absolute, or clip: 1.",
			func() spec.Config { return new(pistolConfig) }),
		option(optim.FreeGrad, "Grows and shrinks each weight by what its gradients add up to, in units of the first of them (Mhammedi, Koolen 2020): there is no rate.",
			func() spec.Config { return new(freegradConfig) }),
		option(optim.Normalized, "The rule of Vowpal Wabbit: adaptive, invariant steps in units of the greatest value of each feature (Ross, Mineiro, Langford 2013). Wants no scaling.",
			func() spec.Config { return new(normalizedConfig) }),
	}
}

// rates are the defaults that differ between learners.
type rates struct{ sgd, adagrad float64 }

func rateField(f *spec.Fields, p *float64, def float64) {
	f.Float(p, "rate", def, "Step size.").Above(0).AtMost(1e6)
}

// mostShare is the most of a mean or a velocity that a step keeps: what is nearer
// to 1 is 1 as a float32, with which nothing is ever forgotten.
const mostShare = 1 - 1e-7

// mostAdamShare is the same for Adam and its kin, whose corrections of a weight come
// to rest at 2^24 of its steps, where a float32 stops counting: they are 1 by then.
const mostAdamShare = 1 - 1e-6

func shareField(f *spec.Fields, p *float64, name string, def, most float64, doc string) {
	f.Float(p, name, def, doc).Within(0, most)
}

func epsField(f *spec.Fields, p *float64) {
	f.Float(p, "eps", 1e-8, "Keeps the denominator from zero; for adagrad what the squares of a weight's gradients count as before the first.").Within(1e-30, 1)
}

func invariantField(f *spec.Fields, p *bool) {
	f.Bool(p, "invariant", false, "Take the step that infinitely many short ones add up to, which never shoots past the label (Karampatziakis, Langford 2011).")
}

type sgdConfig struct {
	def, rate float64
	schedule  spec.Choice
	invariant bool
}

type scheduleInverse struct{ power, before float64 }

func (c *scheduleInverse) Fields(f *spec.Fields) {
	f.Float(&c.power, "power", optim.DefaultPower, "The rate of step t is rate / (initial_t + t)^power.").Within(0, 1)
	f.Float(&c.before, "initial_t", 0, "Steps that count as taken before the first.").Within(0, 1e12)
}

type scheduleOptimal struct{ alpha float64 }

func (c *scheduleOptimal) Fields(f *spec.Fields) {
	f.Float(&c.alpha, "alpha", optim.DefaultAlpha, "The rate of step t is 1 / (alpha · (t₀ + t - 1)), t₀ found from the loss; set l2 to the same number.").Above(0).AtMost(1e6)
}

func (c *sgdConfig) Fields(f *spec.Fields) {
	rateField(f, &c.rate, c.def)
	f.Choice(&c.schedule, "schedule", "constant", []spec.Option{
		{Name: "constant", Summary: "The rate stays."},
		{Name: "invscaling", Summary: "The rate falls with a power of the steps.", New: func() spec.Config { return new(scheduleInverse) }},
		{Name: "optimal", Summary: "Bottou's schedule as in scikit-learn's SGDClassifier; rate is not used.", New: func() spec.Config { return new(scheduleOptimal) }},
	}, "How the rate falls as events come.")
	invariantField(f, &c.invariant)
}

func (c *sgdConfig) config(gradient func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.SGD)
	o.Rate, o.Invariant = optim.Const(c.rate), c.invariant
	switch s := c.schedule.Config.(type) {
	case *scheduleInverse:
		o.Rate = optim.Schedule{Decay: optim.InvScaling, Rate: c.rate, Power: s.power, T0: s.before}
	case *scheduleOptimal:
		o.Rate = optim.Schedule{Decay: optim.Optimal, Alpha: s.alpha, T0: optim.OptimalStart(s.alpha, gradient)}
	}
	return o
}

type momentumConfig struct {
	kind          optim.Kind
	rate, inertia float64
}

func (c *momentumConfig) Fields(f *spec.Fields) {
	rateField(f, &c.rate, 0.01)
	shareField(f, &c.inertia, "momentum", 0.9, mostShare, "Share of the last step that is taken again.")
}

func (c *momentumConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(c.kind)
	o.Rate, o.Rho = optim.Const(c.rate), c.inertia
	return o
}

type adagradConfig struct {
	def, rate, eps float64
	invariant      bool
}

func (c *adagradConfig) Fields(f *spec.Fields) {
	rateField(f, &c.rate, c.def)
	epsField(f, &c.eps)
	invariantField(f, &c.invariant)
}

func (c *adagradConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.AdaGrad)
	o.Rate, o.Eps, o.Invariant = optim.Const(c.rate), c.eps, c.invariant
	return o
}

type rmspropConfig struct{ rate, rho, eps float64 }

func (c *rmspropConfig) Fields(f *spec.Fields) {
	rateField(f, &c.rate, 0.01)
	shareField(f, &c.rho, "rho", 0.9, mostShare, "Share of the mean of squared gradients that is kept from step to step.")
	epsField(f, &c.eps)
}

func (c *rmspropConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.RMSProp)
	o.Rate, o.Rho, o.Eps = optim.Const(c.rate), c.rho, c.eps
	return o
}

type adamConfig struct {
	kind                    optim.Kind
	rate, beta1, beta2, eps float64
}

func (c *adamConfig) Fields(f *spec.Fields) {
	rateField(f, &c.rate, optim.Defaults(c.kind).Rate.Rate)
	shareField(f, &c.beta1, "beta1", 0.9, mostAdamShare, "Share of the mean gradient that is kept from step to step.")
	shareField(f, &c.beta2, "beta2", 0.999, mostAdamShare, "Share of the mean squared gradient that is kept from step to step.")
	epsField(f, &c.eps)
}

func (c *adamConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(c.kind)
	o.Rate, o.Beta1, o.Beta2, o.Eps = optim.Const(c.rate), c.beta1, c.beta2, c.eps
	return o
}

type ftrlConfig struct{ alpha, beta, l1, l2 float64 }

func (c *ftrlConfig) Fields(f *spec.Fields) {
	f.Float(&c.alpha, "alpha", 0.5, "Step size.").Above(0).AtMost(1e6)
	f.Float(&c.beta, "beta", 1, "Smooths the first steps of a weight.").Within(0, 1e6)
	f.Float(&c.l1, "l1", 0, "Same as l1 of the operator.").Within(0, 1e6)
	f.Float(&c.l2, "l2", 0, "Same as l2 of the operator.").Within(0, 1e6)
}

func (c *ftrlConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.FTRL)
	o.Alpha, o.Beta, o.L1, o.L2 = c.alpha, c.beta, c.l1, c.l2
	return o
}

type normalizedConfig struct{ rate, power float64 }

func (c *normalizedConfig) Fields(f *spec.Fields) {
	rateField(f, &c.rate, 0.5)
	f.Float(&c.power, "power", 0.5, "The rate of a weight falls with this power of its sum of squared gradients; other than 0.5 costs time.").Above(0).AtMost(1)
}

func (c *normalizedConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.Normalized)
	o.Rate, o.Power = optim.Const(c.rate), c.power
	return o
}

type coinConfig struct{ alpha, beta float64 }

func (c *coinConfig) Fields(f *spec.Fields) {
	f.Float(&c.alpha, "alpha", 4, "What there is to bet at the start.").Above(0).AtMost(1e6)
	f.Float(&c.beta, "beta", 1, "Least that the greatest derivative of the loss is taken for.").Within(0, 1e6)
}

func (c *coinConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.Coin)
	o.Alpha, o.Beta = c.alpha, c.beta
	return o
}

type pistolConfig struct{ alpha, beta float64 }

func (c *pistolConfig) Fields(f *spec.Fields) {
	f.Float(&c.alpha, "alpha", 1, "The larger, the more a weight waits for its gradients to agree.").Above(0).AtMost(1e6)
	f.Float(&c.beta, "beta", 0.5, "Scale of all weights.").Above(0).AtMost(1e6)
}

func (c *pistolConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.Pistol)
	o.Alpha, o.Beta = c.alpha, c.beta
	return o
}

type freegradConfig struct{ wealth float64 }

func (c *freegradConfig) Fields(f *spec.Fields) {
	f.Float(&c.wealth, "wealth", 1, "What there is to bet at the start: scale of all weights.").Above(0).AtMost(1e6)
}

func (c *freegradConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.FreeGrad)
	o.Alpha = c.wealth
	return o
}

type mixtureConfig struct{ rate, eps float64 }

func (c *mixtureConfig) Fields(f *spec.Fields) {
	f.Float(&c.rate, "rate", 1, "Factor of the rates of all rules.").Above(0).AtMost(1e6)
	epsField(f, &c.eps)
}

func (c *mixtureConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.Mixture)
	o.Rate, o.Eps = optim.Const(c.rate), c.eps
	return o
}

type adaboundConfig struct {
	adamConfig
	final, gamma float64
}

func (c *adaboundConfig) Fields(f *spec.Fields) {
	c.adamConfig.Fields(f)
	f.Float(&c.final, "final", 0.1, "Step size of the plain descent that it turns into.").Above(0).AtMost(1e6)
	f.Float(&c.gamma, "gamma", 0.001, "How fast it turns. The steps of a weight are counted to 2^24.").Above(0).AtMost(1)
}

func (c *adaboundConfig) config(gradient func(score, y float64) float64) optim.Config {
	o := c.adamConfig.config(gradient)
	o.Final, o.Gamma = c.final, c.gamma
	return o
}

type adadeltaConfig struct{ rate, rho, eps float64 }

func (c *adadeltaConfig) Fields(f *spec.Fields) {
	rateField(f, &c.rate, 1)
	shareField(f, &c.rho, "rho", 0.95, mostShare, "Share of the means of squared gradients and steps that is kept from step to step.")
	epsField(f, &c.eps)
}

func (c *adadeltaConfig) config(func(score, y float64) float64) optim.Config {
	o := optim.Defaults(optim.AdaDelta)
	o.Rate, o.Rho, o.Eps = optim.Const(c.rate), c.rho, c.eps
	return o
}
