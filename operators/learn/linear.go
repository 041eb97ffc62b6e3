package learn

import (
	"errors"
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
	ruleVersion    = 1
)

// linearConfig is what the linear learners have in common.
type linearConfig struct {
	label, features spec.Column
	optimizer       spec.Choice
	l1, l2, clip    float64
	intercept       bool
	own             interceptConfig
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
	f.Float(&c.clip, "clip", clip, "Bound of the derivative of the loss with respect to the score; 0 = none.").Within(0, 1e12)
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
		if c.l2 > 0 && o.Kind == optim.Coin {
			add("l2", "l2 does not go with coin", "expected another optimizer")
		}
	}
}

// modelState is what a linear model remembers beside its weights.
type modelState struct {
	Version   int64       // events learnt
	Rule, Own optim.State // of the weights and of the intercept
	Intercept [4]float64  // slots of the rule that steps it; the first is the intercept
	Recent    recent      // losses of the latest predictions
}

// recent is a mean in which a value counts 0.1 % less with each later one.
type recent struct{ Weight, Mean float64 }

func (r *recent) add(x float64) {
	r.Weight = float64(0.999*r.Weight) + 1
	r.Mean += (x - r.Mean) / r.Weight
}

// linear is a linear model: a score, the sum over the features of weight times
// value, and the intercept; and a step on the derivative of a loss.
//
// The intercept is a weight of its own, in float64. Where the length of a step
// depends on all features of the row, it is one of them: the last of the table.
type linear struct {
	features operators.Col
	column   string // name of features
	table    *weights.Table
	rule     *optim.Rule[float32]
	own      *optim.Rule[float64] // of the intercept, if it is none of the table
	constant int                  // row of the table that is the intercept; -1 = none
	state    *state.Cell[modelState]

	idx []uint32 // scratch: a row with the intercept
	val []float32
}

// target is what a row teaches.
type target struct {
	loss     loss.Func
	label    float64 // as the loss takes it
	gradient float64 // of the loss at the score that predicts
	weight   float64 // as how many rows it counts
}

var (
	errScore = errors.New("the score is not finite: a weight times a value of the features overflows")
	errStep  = errors.New("the row would make a weight infinite")
)

// newLinear makes the model. It returns nil if it complained.
func newLinear(c *linearConfig, env *operators.Env, gradient func(score, y float64) float64) *linear {
	m := &linear{features: env.In(c.features, batch.Sparse), constant: -1}
	dim := env.Field(m.features).Dim
	if f := env.Field(m.features); f.Name == c.features.Name && f.Type == batch.Sparse && dim == 0 {
		env.Errorf(c.features.Pos, "needs the output of vectorize", "column %q is sparse, but how many indices it has is not known", c.features.Name)
		return nil
	}
	chosen, ok := c.optimizer.Config.(rule)
	if !ok {
		return nil // complained of by whoever decoded the configuration
	}
	cfg := chosen.config(gradient)
	cfg.L1, cfg.L2 = max(cfg.L1, c.l1), max(cfg.L2, c.l2)
	if c.clip > 0 {
		cfg.Clip = c.clip
	}
	own := cfg
	own.L1, own.L2 = 0, 0
	if c.own.rate > 0 {
		own = optim.Defaults(optim.SGD)
		own.Rate, own.Clip = optim.Const(c.own.rate), cfg.Clip
	}
	var err error
	if m.rule, err = optim.New[float32](cfg); err != nil {
		env.Errorf(c.optimizer.Pos, "", "%v", err)
		return nil
	}
	joint := m.rule.Joint()
	rows := dim
	if joint && c.own.rate > 0 {
		env.Errorf(c.optimizer.Pos, "expected intercept: true or false", "%s steps weights and intercept together, at one rate", cfg.Kind)
		return nil
	}
	switch {
	case c.intercept && joint:
		m.constant = dim
		m.rule.Free = uint32(dim)
		rows++
	case c.intercept:
		if m.own, err = optim.New[float64](own); err != nil {
			env.Errorf(c.optimizer.Pos, "", "%v", err)
			return nil
		}
	}
	env.Pin("optimizer", cfg.Kind.String())
	env.Pin("slots", cfg.Layout())
	if m.own != nil {
		env.Pin("intercept", own.Layout())
	} else if m.constant >= 0 {
		env.Pin("intercept", "last")
	}
	env.Pin("indices", strconv.Itoa(dim))
	m.table = env.Weights("weights", weightsVersion, rows, cfg.Slots())
	m.table.Apart = rows - dim
	m.state = operators.NewCell(env, "model", modelVersion, modelState{})
	if joint {
		env.BindValue("rule", ruleVersion, &m.rule.Shared)
	}
	env.Explain(m.explain)
	m.column = env.Field(m.features).Name
	env.Report(func(r *operators.Report) {
		r.Set("version", float64(m.state.V.Version))
		r.Set("weights_nonzero", float64(m.table.NonZero()))
		r.Set("weights_l2", m.table.L2())
		if m.state.V.Recent.Weight > 0 {
			r.Set("loss", m.state.V.Recent.Mean)
		} else {
			r.SetNull("loss")
		}
	})
	return m
}

var (
	always = []uint32{0}
	one    = []float64{1}
)

// score is the score that predicts. A step on the same row may follow.
func (m *linear) score(idx []uint32, val []float32) float64 {
	if !m.rule.Weighs() {
		return float64(optim.Dot(m.table.Data, m.table.Stride(), idx, val)) + m.intercept()
	}
	n := len(idx)
	idx, val = m.whole(idx, val)
	w := m.rule.Weigh(m.table.Data, idx, val)
	var sum float32
	for k, x := range val[:n] {
		sum += float32(w[k] * x)
	}
	s := float64(sum)
	for k := range w[n:] {
		s += float64(w[n+k])
	}
	return s
}

// whole is a row with the intercept, if that is one of its features.
func (m *linear) whole(idx []uint32, val []float32) ([]uint32, []float32) {
	if m.constant < 0 {
		return idx, val
	}
	m.idx = append(append(m.idx[:0], idx...), uint32(m.constant))
	m.val = append(append(m.val[:0], val...), 1)
	return m.idx, m.val
}

// intercept is what every score has added to it, where the rule does not weigh.
func (m *linear) intercept() float64 {
	switch {
	case m.own != nil:
		return m.state.V.Intercept[0]
	case m.constant >= 0:
		return float64(m.table.Data[m.constant*m.table.Stride()])
	}
	return 0
}

// gradientAt is the score at which the rule wants the gradient, score being the
// one that predicts.
func (m *linear) gradientAt(idx []uint32, val []float32, score float64) float64 {
	ownAhead := m.own != nil && m.own.LooksAhead()
	if !m.rule.LooksAhead() && !ownAhead {
		return score
	}
	s := float64(m.rule.Score(m.table.Data, idx, val))
	if m.own != nil {
		s += m.own.Score(m.state.V.Intercept[:], always, one)
	}
	return s
}

// learn takes one step from the score that predicts; on an error nothing has
// changed.
func (m *linear) learn(idx []uint32, val []float32, score float64, t target) error {
	if at := m.gradientAt(idx, val, score); at != score {
		if !finite(at) {
			return errScore
		}
		t.gradient = t.loss.Gradient(at, t.label)
	}
	if !m.rule.Joint() {
		return m.step(idx, val, float64(t.weight*t.gradient))
	}
	idx, val = m.whole(idx, val)
	st := &m.state.V
	m.rule.State = st.Rule
	var err error
	switch {
	case m.rule.Adapts():
		err = m.adapt(idx, val, score, t)
	case m.rule.Config().Kind == optim.Mixture:
		err = m.mix(idx, val, score, t)
	default:
		err = m.rule.Step(m.table.Data, idx, val, float64(t.weight*t.gradient))
	}
	if err != nil {
		return errStep
	}
	st.Rule = m.rule.State
	if m.rule.Swept() {
		m.table.TouchAll()
	} else {
		m.table.Touch(idx)
	}
	st.Version++
	return nil
}

// adapt takes an invariant step.
func (m *linear) adapt(idx []uint32, val []float32, score float64, t target) error {
	norm, err := m.rule.Adapt(m.table.Data, idx, val, t.gradient, t.weight)
	if err != nil {
		return err
	}
	u := t.loss.Invariant(score, t.label, float64(m.rule.Rate()*t.weight), norm)
	return m.rule.Move(m.table.Data, idx, u)
}

// mix lets every expert of a mixture take its step, and gives them credit for
// what they said of the row.
func (m *linear) mix(idx []uint32, val []float32, score float64, t target) error {
	var gradient, credit [optim.Experts]float64
	m.credit(&t, score, &gradient, &credit)
	for k := range gradient {
		gradient[k] *= t.weight
	}
	return m.rule.StepEach(m.table.Data, idx, val, &gradient, &credit, float64(t.weight*t.loss.Curvature()))
}

// step moves weights and intercept along a gradient; on an error nothing has
// changed.
func (m *linear) step(idx []uint32, val []float32, gradient float64) error {
	st := &m.state.V
	m.rule.State = st.Rule
	if err := m.rule.Step(m.table.Data, idx, val, gradient); err != nil {
		return errStep
	}
	if m.own != nil {
		m.own.State = st.Own
		if err := m.own.Step(st.Intercept[:], always, one, gradient); err != nil {
			m.rule.Undo(m.table.Data, idx)
			return errStep
		}
		st.Own = m.own.State
	}
	st.Rule = m.rule.State
	m.table.Touch(idx)
	st.Version++
	return nil
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
