package learn

import (
	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
	"github.com/gradstream/gradstream/state/weights"
)

// linearRival is the rival of a linear model.
type linearRival struct {
	first, second *linear
	idx           []uint32 // the row
	val           []float32
	t             target
}

func (r *linearRival) forget()  { r.second.forget() }
func (r *linearRival) replace() { r.first.take(r.second) }

func (r *linearRival) trial() (float64, bool) {
	b, t := r.second, r.t
	score := b.score(r.idx, r.val)
	t.gradient = t.slope(score)
	if !finite(score) || b.core.learn(r.idx, r.val, score, t) != nil {
		return 0, false
	}
	b.touch(b.table, r.idx, 0)
	return t.loss.Value(t.held(score), t.label), true
}

// reactTo takes up the loss of a row that the model has learnt, and follows a drift.
func (m *linear) reactTo(idx []uint32, val []float32, score float64, t target) {
	lost := t.loss.Value(t.held(score), t.label)
	watched := lost
	if t.loss.Task() == loss.Regression {
		watched = m.react.s.Labels.relative(lost, t.label, t.loss.Kind == loss.Squared)
	}
	if m.rival != nil {
		m.rival.idx, m.rival.val, m.rival.t = idx, val, t
	}
	if m.react.after(lost, watched) {
		m.forget()
	}
}

// forget makes a model as it was at the start. The events learnt are counted on.
func (m *linear) forget() {
	clear(m.table.Data)
	m.table.TouchAll()
	m.rule.Shared = optim.Shared{}
	m.state.V = modelState{Version: m.state.V.Version, Recent: m.state.V.Recent}
}

// take makes a model what another one is.
func (m *linear) take(b *linear) {
	replaceTable(m.table, b.table)
	m.rule.Shared = b.rule.Shared
	m.state.V.Rule, m.state.V.Own, m.state.V.Intercept = b.state.V.Rule, b.state.V.Own, b.state.V.Intercept
}

// replaceTable makes a table what another one is, which may have grown less: what it
// has not is zero.
func replaceTable(t, by *weights.Table) {
	clear(t.Data[copy(t.Data, by.Data):])
	t.TouchAll()
}

// classRow is what rivals of classes are told of a row beside its features.
type classRow struct {
	class, known int // its class, and how many were known when it was predicted
	weight       float64
	p            []float64
}

// room is room for the probabilities of the known classes.
func (r *classRow) room() []float64 {
	r.p = upTo(r.p, r.known-1)
	return r.p[:r.known]
}

// multiRival is the rival of linear models of several classes.
type multiRival struct {
	first, second *multi
	idx           []uint32 // the row
	val           []float32
	classRow
}

func (r *multiRival) forget() {
	r.second.have(len(r.second.classes.known.Names))
	r.second.forget()
}

func (r *multiRival) trial() (float64, bool) {
	b := r.second
	b.have(r.known)
	if !b.score(r.idx, r.val) {
		return 0, false
	}
	r.p = append(r.p[:0], b.scores...)
	b.policy.probabilities(r.p)
	if b.learn(r.idx, r.val, r.class, r.weight) != nil {
		b.have(r.known)
		return 0, false
	}
	return lossOfClass(r.p, r.class), true
}

func (r *multiRival) replace() {
	a, b := r.first, r.second
	replaceTable(a.table, b.table)
	copy(a.s.Classes, b.s.Classes)
	for i := range a.cores {
		a.cores[i].rule.Shared = a.s.Classes[i].Shared
	}
}

// paramsRival is the rival of a model whose score is not linear in its weights.
type paramsRival struct {
	first, second *params
	try           func() (lost float64, err error) // set by the operator, which knows the row
}

func (r *paramsRival) forget()  { r.second.restart() }
func (r *paramsRival) replace() { r.first.take(r.second) }

func (r *paramsRival) trial() (float64, bool) {
	lost, err := r.try()
	return lost, err == nil
}

// take makes a model what another one is, but for the scale of labels.
func (p *params) take(b *params) {
	replaceTable(p.table, b.table)
	p.rule.Shared = b.rule.Shared
	p.s.Rule, p.s.Own, p.s.Intercept = b.s.Rule, b.s.Own, b.s.Intercept
}

// rival is the second model, nil if there is none.
func (p *params) rival() *paramsRival {
	if p == nil || p.react == nil {
		return nil
	}
	r, _ := p.react.second.(*paramsRival)
	return r
}

// lossOfClass is the logarithmic loss of probabilities, which may have none of the
// class.
func lossOfClass(p []float64, class int) float64 {
	given := 0.0
	if class < len(p) {
		given = p[class]
	}
	return 0 - exact.Log(max(leastProbability, given)) // not -0
}
