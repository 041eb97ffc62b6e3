package learn

import (
	"math"
	"strconv"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/weights"
)

// weightsVersion and modelVersion are the versions of the state of the linear
// learners. They rise when the meaning or a default changes.
const (
	weightsVersion = 1
	modelVersion   = 2
	heldVersion    = 3 // of a model whose predictions are held to the range of the labels
	ruleVersion    = 1
)

// linearConfig is what the linear learners have in common.
type linearConfig struct {
	label, features spec.Column
	optimizer       spec.Choice
	l1, l2, clip    float64
	intercept       bool
	own             interceptConfig
	driftConfig
}

type interceptConfig struct{ rate float64 }

func (c *interceptConfig) Fields(f *spec.Fields) {
	f.Float(&c.rate, "rate", 0, "Step size of plain SGD for the intercept alone; 0 = the optimizer's, as for any weight.").Within(0, 1e6)
}

// modelFields declares the fields behind label and loss.
func (c *linearConfig) modelFields(f *spec.Fields, r rates, clip float64) {
	f.Column(&c.features, "features", "features", "Sparse column to learn from, as vectorize adds it.")
	f.Choice(&c.optimizer, "optimizer", "mixture", optimizers(r), "The step rule.")
	f.Float(&c.l1, "l1", 0, "Weight of the penalty on absolute weights, which makes weights zero: sgd (cumulative, Tsuruoka, Tsujii, Ananiadou 2009), ftrl, and invariant steps (dual averaging over all features, present or not).").Within(0, 1e6)
	f.Float(&c.l2, "l2", 0, "Weight of the penalty on squared weights. It acts on the features of the row; with invariant steps on all.").Within(0, 1e6)
	f.Float(&c.clip, "clip", clip, "Bound of the derivative of the loss with respect to the score, before it is multiplied by the weight of the row; 0 = none.").Within(0, 1e12)
	f.Switch(&c.intercept, &c.own, "intercept", true, "Whether a constant is added to the score. It is trained like the weight of a feature that is always 1, without l1 and l2.")
}

func (c *linearConfig) checkModel(add func(field, msg, want string)) {
	if f, ok := c.optimizer.Config.(*ftrlConfig); ok {
		if f.l1 > 0 && c.l1 > 0 {
			add("l1", "l1 is given twice", "expected it here or in ftrl")
		}
		if f.l2 > 0 && c.l2 > 0 {
			add("l2", "l2 is given twice", "expected it here or in ftrl")
		}
	} else if r, ok := c.optimizer.Config.(rule); ok {
		o := r.config(func(float64, float64) float64 { return 0 })
		if c.l1 > 0 && o.Kind != optim.SGD && !o.Invariant {
			add("l1", "l1 does not go with "+c.optimizer.Name, "expected optimizer sgd, ftrl or one with invariant steps, or l2")
		}
		if c.l2 > 0 && o.Bets() {
			add("l2", "l2 does not go with "+c.optimizer.Name, "expected another optimizer")
		}
	}
}

// modelState is what a linear model remembers beside its weights.
type modelState struct {
	Version   int64       // events learnt
	Rule, Own optim.State // of the weights and of the intercept
	Intercept [8]float64  // slots of the rule that steps it; the first is the intercept
	Recent    recent      // losses of the latest predictions
}

// recent is a mean in which a value counts 0.1 % less with each later one.
type recent struct{ Weight, Mean float64 }

func (r *recent) add(x float64) {
	r.Weight = float64(0.999*r.Weight) + 1
	r.Mean += (x - r.Mean) / r.Weight
}

// linear is one linear model over the features of a row, with its state.
type linear struct {
	core
	features operators.Col
	column   string // name of features
	table    *weights.Table
	state    *state.Cell[modelState]
	plain    *optim.Plain // the same model, if its rule is plain and no drift is followed; nil = not so
	react    *reaction    // nil = nothing follows a drift
	rival    *linearRival // nil = there is no second model
}

var _ [optim.MarkLen]struct{} = [weights.PageLen]struct{}{} // a plain model marks pages

// plan is how the linear models of a node are made.
type plan struct {
	features  operators.Col
	dim       int // indices of the features
	cfg, own  optim.Config
	clip      float64 // bound of the derivative of the loss; 0 = none
	joint     bool    // the intercept is a row of the table
	intercept bool
	version   int // of the state of a model
}

// rows is how many rows of a table a model takes.
func (p *plan) rows() int {
	if p.joint && p.intercept {
		return p.dim + 1
	}
	return p.dim
}

// newPlan finds the features and checks the step rule. It returns nil if it
// complained.
func newPlan(c *linearConfig, env *operators.Env, gradient func(score, y float64) float64) *plan {
	p := &plan{intercept: c.intercept}
	p.features, p.dim = sparseInput(env, c.features)
	chosen, ok := c.optimizer.Config.(rule)
	if !ok {
		return nil // complained of by whoever decoded the configuration
	}
	p.cfg = chosen.config(gradient)
	p.cfg.L1, p.cfg.L2 = max(p.cfg.L1, c.l1), max(p.cfg.L2, c.l2)
	p.clip, p.cfg.Clip = c.clip, 0 // rows are clipped before they are weighted
	p.own = p.cfg
	p.own.L1, p.own.L2 = 0, 0
	if c.own.rate > 0 {
		p.own = optim.Defaults(optim.SGD)
		p.own.Rate, p.own.Clip = optim.Const(c.own.rate), 0
	}
	r, err := optim.New[float32](p.cfg)
	if err != nil {
		env.Errorf(c.optimizer.Pos, "", "%v", err)
		return nil
	}
	p.joint = r.Joint()
	if p.joint && c.own.rate > 0 {
		env.Errorf(c.optimizer.Pos, "expected intercept: true or false", "%s steps weights and intercept together, at one rate", p.cfg.Kind)
		return nil
	}
	env.Pin("optimizer", p.cfg.Kind.String())
	env.Pin("slots", p.cfg.Layout())
	switch {
	case p.intercept && p.joint:
		env.Pin("intercept", "last")
	case p.intercept:
		env.Pin("intercept", p.own.Layout())
	}
	env.Pin("indices", strconv.Itoa(p.dim))
	return p
}

// newLinear makes the model, whose state has that version. It returns nil if it
// complained.
func newLinear(c *linearConfig, env *operators.Env, version int, gradient func(score, y float64) float64) *linear {
	p := newPlan(c, env, gradient)
	if p == nil {
		return nil
	}
	p.version = version
	m := p.model(env, "")
	m.react = newReaction(&c.driftConfig, p.cfg, env, func() rival {
		m.rival = &linearRival{first: m, second: p.model(env, background)}
		return m.rival
	})
	if m.react == nil {
		m.plain = optim.NewPlain(m.rule, m.data, m.table.Marks(), m.own, m.slots)
	}
	env.Explain(m.explain)
	m.column = env.Field(m.features).Name
	env.Report(func(r *operators.Report) {
		reportLearner(r, m.state.V.Version, float64(m.table.NonZero()), m.table.L2(), m.state.V.Recent)
	})
	return m
}

// reportLearner gives the numbers that every learner reports.
func reportLearner(r *operators.Report, version int64, nonzero, l2 float64, recent recent) {
	r.Set("version", float64(version))
	r.Set("weights_nonzero", nonzero)
	r.Set("weights_l2", l2)
	if recent.Weight > 0 {
		r.Set("loss", recent.Mean)
	} else {
		r.SetNull("loss")
	}
}

// model makes a model and binds its state, under names that begin with prefix.
func (p *plan) model(env *operators.Env, prefix string) *linear {
	m := &linear{core: p.core(), features: p.features}
	m.table = env.Weights(prefix+"weights", weightsVersion, p.rows(), p.cfg.Slots())
	m.table.Apart = p.rows() - p.dim
	m.state = operators.NewCell(env, prefix+"model", p.version, modelState{})
	m.data = m.table.Data
	m.ruleState, m.ownState, m.slots = &m.state.V.Rule, &m.state.V.Own, m.state.V.Intercept[:]
	if p.joint {
		env.BindValue(prefix+"rule", ruleVersion, &m.rule.Shared)
	}
	return m
}

// learn takes one step from the score that predicts; on an error nothing has
// changed.
func (m *linear) learn(idx []uint32, val []float32, score float64, t target) error {
	if m.plain != nil {
		return m.step(idx, val, float64(t.weight*m.clipped(t.gradient)))
	}
	if by := m.react.rate(); by > 0 {
		m.core.boost(by)
	}
	if err := m.core.learn(idx, val, score, t); err != nil {
		return err
	}
	m.touch(m.table, idx, 0)
	m.state.V.Version++
	if m.react != nil {
		m.reactTo(idx, val, score, t)
	}
	return nil
}

// score is the score that predicts.
func (m *linear) score(idx []uint32, val []float32) float64 {
	if m.plain != nil {
		return m.plain.Score(idx, val)
	}
	return m.core.score(idx, val)
}

// step is the step of a plain model; on an error nothing has changed.
func (m *linear) step(idx []uint32, val []float32, gradient float64) error {
	if !m.plain.Step(idx, val, gradient) {
		return errStep
	}
	s := &m.state.V
	s.Version++
	s.Rule.Steps++
	if m.own != nil {
		s.Own.Steps++
	}
	return nil
}

// sparseInput finds a column of features and how many indices it has.
func sparseInput(env *operators.Env, c spec.Column) (operators.Col, int) {
	col := env.In(c, batch.Sparse)
	f := env.Field(col)
	if f.Name == c.Name && f.Type == batch.Sparse && f.Dim == 0 {
		env.Errorf(c.Pos, "needs the output of vectorize", "column %q is sparse, but how many indices it has is not known", c.Name)
	}
	return col, f.Dim
}

// finite is false for NaN and ±Inf.
func finite(x float64) bool { return math.Abs(x) <= math.MaxFloat64 }

// lossOf names the loss of a configuration; the name was checked when it was decoded.
func lossOf(name string, param float64) loss.Func {
	k, err := loss.Parse(name)
	if err != nil {
		return loss.Func{}
	}
	return loss.Func{Kind: k, Param: param}
}
