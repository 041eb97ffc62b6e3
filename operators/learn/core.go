package learn

import (
	"errors"

	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
	"github.com/gradstream/gradstream/state/weights"
)

// core is the arithmetic of one linear model: a score, the sum over the features of
// weight times value, and the intercept; and a step on the derivative of a loss.
//
// The intercept is a weight of its own, in float64. Where what happens to a weight
// depends on all features of the row, it is one of them: the last of the table.
type core struct {
	data     []float32 // its part of the table
	rule     *optim.Rule[float32]
	own      *optim.Rule[float64] // of the intercept, if it is none of the table
	constant int                  // row of data that is the intercept; -1 = none
	clip     float64              // bound of the derivative of the loss; 0 = none

	ruleState, ownState *optim.State
	slots               []float64 // of the intercept

	idx []uint32 // scratch: a row with the intercept
	val []float32
}

// target is what a row teaches.
type target struct {
	loss     loss.Func
	label    float64 // as the loss takes it
	gradient float64 // of the loss at the score that predicts
	weight   float64 // as how many rows it counts

	bounded   bool    // predictions are held to the range of labels,
	low, high float64 // which this is, as the loss takes labels
}

// held is the prediction of a score.
func (t *target) held(score float64) float64 {
	if t.bounded {
		return max(t.low, min(t.high, score))
	}
	return score
}

// slope is the derivative of the loss at what a score predicts. Of scores beyond
// the range it is that of [target.value].
func (t *target) slope(score float64) float64 { return t.loss.Gradient(t.held(score), t.label) }

// value is the loss of a score that is learnt from. Beyond the range of labels it
// goes on as a straight line: the matching loss (Helmbold, Kivinen, Warmuth, IEEE
// Transactions on Neural Networks 10, 1999) of a prediction that is held. It is
// convex, and a score that says "at least as much as there ever was" of the
// greatest label is right, however great.
func (t *target) value(score float64) float64 {
	at := t.held(score)
	v := t.loss.Value(at, t.label)
	if at != score {
		v += float64(t.loss.Gradient(at, t.label) * (score - at))
	}
	return v
}

var (
	errScore = errors.New("the score is not finite: a weight times a value of the features overflows")
	errStep  = errors.New("the row would make a weight infinite")
)

// core makes a model; the configurations were checked.
func (p *plan) core() core {
	c := core{constant: -1, clip: p.clip}
	c.rule, _ = optim.New[float32](p.cfg)
	switch {
	case p.intercept && p.joint:
		c.constant = p.dim
		c.rule.Free = uint32(p.dim)
	case p.intercept:
		c.own, _ = optim.New[float64](p.own)
	}
	return c
}

var (
	always = []uint32{0}
	one    = []float64{1}
)

// score is the score that predicts. A step on the same row may follow.
func (m *core) score(idx []uint32, val []float32) float64 {
	if !m.rule.Weighs() {
		return float64(optim.Dot(m.data, m.rule.Slots(), idx, val)) + m.intercept()
	}
	n := len(idx)
	idx, val = m.whole(idx, val)
	w := m.rule.Weigh(m.data, idx, val)
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
func (m *core) whole(idx []uint32, val []float32) ([]uint32, []float32) {
	if m.constant < 0 {
		return idx, val
	}
	m.idx = append(append(m.idx[:0], idx...), uint32(m.constant))
	m.val = append(append(m.val[:0], val...), 1)
	return m.idx, m.val
}

// intercept is what every score has added to it, where the rule does not weigh.
func (m *core) intercept() float64 {
	switch {
	case m.own != nil:
		return m.slots[0]
	case m.constant >= 0:
		return float64(m.data[m.constant*m.rule.Slots()])
	}
	return 0
}

// gradientAt is the score at which the rule wants the gradient, score being the
// one that predicts.
func (m *core) gradientAt(idx []uint32, val []float32, score float64) float64 {
	ownAhead := m.own != nil && m.own.LooksAhead()
	if !m.rule.LooksAhead() && !ownAhead {
		return score
	}
	s := float64(m.rule.Score(m.data, idx, val))
	if m.own != nil {
		s += m.own.Score(m.slots, always, one)
	}
	return s
}

// learn takes one step from the score that predicts; on an error nothing has
// changed.
func (m *core) learn(idx []uint32, val []float32, score float64, t target) error {
	if at := m.gradientAt(idx, val, score); at != score {
		if !finite(at) {
			return errScore
		}
		t.gradient = t.slope(at)
	}
	t.gradient = m.clipped(t.gradient)
	if !m.rule.Joint() {
		return m.step(idx, val, float64(t.weight*t.gradient))
	}
	idx, val = m.whole(idx, val)
	m.rule.State = *m.ruleState
	var err error
	switch {
	case m.rule.Adapts():
		err = m.adapt(idx, val, score, t)
	case m.rule.Config().Kind == optim.Mixture:
		err = m.mix(idx, val, score, t)
	default:
		err = m.rule.Step(m.data, idx, val, float64(t.weight*t.gradient))
	}
	if err != nil {
		return errStep
	}
	*m.ruleState = m.rule.State
	return nil
}

// clipped is a derivative of the loss within its bound: that of one row, before it
// is multiplied by the weight.
func (m *core) clipped(gradient float64) float64 {
	if m.clip > 0 {
		return max(-m.clip, min(m.clip, gradient))
	}
	return gradient
}

// touch marks in the table what the last step wrote; first is where the rows of
// the model begin.
func (m *core) touch(t *weights.Table, idx []uint32, first int) {
	switch {
	case m.rule.Swept():
		t.TouchAll()
	case first == 0:
		t.Touch(idx)
	default:
		for _, i := range idx {
			t.TouchRow(first + int(i))
		}
	}
	if m.constant >= 0 {
		t.TouchRow(first + m.constant)
	}
}

// adapt takes an invariant step.
func (m *core) adapt(idx []uint32, val []float32, score float64, t target) error {
	norm, err := m.rule.Adapt(m.data, idx, val, t.gradient, t.weight)
	if err != nil {
		return err
	}
	u := t.loss.Invariant(t.held(score), t.label, float64(m.rule.Rate()*t.weight), norm)
	return m.rule.Move(m.data, idx, u)
}

// mix lets every expert of a mixture take its step, and gives them credit for
// what they said of the row.
func (m *core) mix(idx []uint32, val []float32, score float64, t target) error {
	var gradient, credit [optim.Experts]float64
	before := m.rule.Shared
	m.credit(&t, score, &gradient, &credit)
	for k := range gradient {
		gradient[k] = float64(t.weight * m.clipped(gradient[k]))
	}
	err := m.rule.StepEach(m.data, idx, val, &gradient, &credit, float64(t.weight*m.curvature(&t)))
	if err != nil {
		m.rule.Shared = before
	}
	return err
}

// step moves weights and intercept along a gradient; on an error nothing has
// changed.
func (m *core) step(idx []uint32, val []float32, gradient float64) error {
	m.rule.State = *m.ruleState
	if err := m.rule.Step(m.data, idx, val, gradient); err != nil {
		return errStep
	}
	if m.own != nil {
		m.own.State = *m.ownState
		if err := m.own.Step(m.slots, always, one, gradient); err != nil {
			m.rule.Undo(m.data, idx)
			return errStep
		}
		*m.ownState = m.own.State
	}
	*m.ruleState = m.rule.State
	return nil
}

// follow moves weights and intercept along a gradient of this score that was
// taken elsewhere; on an error nothing has changed.
func (m *core) follow(idx []uint32, val []float32, gradient float64) error {
	if !m.rule.Joint() {
		return m.step(idx, val, gradient)
	}
	idx, val = m.whole(idx, val)
	m.rule.State = *m.ruleState
	if err := m.rule.Step(m.data, idx, val, gradient); err != nil {
		return errStep
	}
	*m.ruleState = m.rule.State
	return nil
}

// followEach is follow for the experts of a mixture.
func (m *core) followEach(idx []uint32, val []float32, gradient, credit *[optim.Experts]float64, curvature float64) error {
	idx, val = m.whole(idx, val)
	m.rule.State = *m.ruleState
	if err := m.rule.StepEach(m.data, idx, val, gradient, credit, curvature); err != nil {
		return errStep
	}
	*m.ruleState = m.rule.State
	return nil
}

// undo takes back the last step on the row.
func (m *core) undo(idx []uint32) {
	if m.constant >= 0 {
		m.idx = append(append(m.idx[:0], idx...), uint32(m.constant))
		idx = m.idx
	}
	m.rule.Undo(m.data, idx)
	*m.ruleState = m.rule.State
	if m.own != nil {
		m.own.Undo(m.slots, always)
		*m.ownState = m.own.State
	}
}
