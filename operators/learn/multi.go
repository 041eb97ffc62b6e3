package learn

import (
	"math"
	"slices"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state/weights"
)

// multiVersion is the version of multiState, and of the meaning of the weights.
const multiVersion = 1

// multiState is what a model of several classes remembers beside its weights.
type multiState struct {
	Version int64
	Recent  recent
	Classes []classState
}

type classState struct {
	Rule, Own optim.State
	Intercept [8]float64
	Shared    optim.Shared
}

// A policy is how the linear models of the classes learn together. Both of its
// methods are given the scores of the known classes.
type policy interface {
	// probabilities turns scores into what is published.
	probabilities(scores []float64)
	// learn takes the step of a row of that class, which may be one behind those
	// that have a score. On an error nothing has changed.
	learn(m *multi, idx []uint32, val []float32, class int, weight float64) error
}

// multi is a linear model for each class. The rows of a class in the table lie
// together, and are there once the class was seen.
type multi struct {
	plan     *plan
	policy   policy
	classes  *classes
	weight   rowWeight
	table    *weights.Table
	block    int // rows of a class in the table
	cores    []core
	s        multiState
	features operators.Col

	scores []float64   // of the row, by class
	p      []float64   // the same as probabilities, also of experts
	react  *reaction   // nil = nothing follows a drift
	rival  *multiRival // nil = there is no second model
	moved  []int       // classes whose weights the last step changed; nil = all
	pair   [2]int      // room for it
}

// multiConfig is what the classifiers of several linear models have in common.
type multiConfig struct {
	classesConfig
	classWeightConfig
}

func (c *multiConfig) fields(f *spec.Fields) {
	c.classFields(f)
	c.classWeightFields(f)
}

// newMulti makes the models. It returns nil if it complained.
func newMulti(c *multiConfig, l *linearConfig, how policy, env *operators.Env) operators.Operator {
	p := newPlan(l, env, loss.Func{}.Gradient)
	c.bounded = true
	o := &multi{plan: p, policy: how, classes: newClasses(&c.classesConfig, env)}
	o.weight = newClassWeight(&c.classWeightConfig, o.classes, env)
	if p == nil {
		return nil
	}
	if p.cfg.Invariant && p.cfg.L1+p.cfg.L2 > 0 {
		env.Errorf(l.optimizer.Pos, "expected another optimizer", "invariant steps of several classes take no l1 and l2")
	}
	o.features = p.features
	page := weights.PageLen
	o.block = (p.rows() + page - 1) / page * page // no page of the table has two classes
	o.bind(env, "")
	o.react = newReaction(&l.driftConfig, p.cfg, env, func() rival {
		b := &multi{plan: p, policy: how, classes: o.classes, block: o.block}
		b.bind(env, background)
		o.rival = &multiRival{first: o, second: b}
		return o.rival
	})
	env.Report(func(r *operators.Report) {
		nonzero, sum := 0.0, 0.0
		for row, w := range o.table.Weights {
			if row%o.block < p.dim { // no intercept
				nonzero++
				sum += float64(float64(w) * float64(w))
			}
		}
		reportLearner(r, o.s.Version, nonzero, math.Sqrt(sum), o.s.Recent)
	})
	return o
}

// bind binds the state of the models, under names that begin with prefix.
func (o *multi) bind(env *operators.Env, prefix string) {
	most := o.classes.most
	if o.classes.fixed {
		most = len(o.classes.known.Names)
		o.s.Classes = make([]classState, most)
	}
	o.table = env.GrowingWeights(prefix+"weights", multiVersion, most*o.block, o.plan.cfg.Slots())
	env.BindValue(prefix+"model", multiVersion, &o.s)
}

// have makes the models of the first n classes, and lets them have their state.
func (o *multi) have(n int) {
	if len(o.cores) == n {
		return
	}
	o.table.Grow(n * o.block)
	for k := len(o.cores); k < n; k++ {
		if k < cap(o.cores) && o.cores[:k+1][k].rule != nil {
			o.cores = o.cores[:k+1] // of a class whose first row was rejected
		} else {
			o.cores = append(o.cores, o.plan.core())
		}
	}
	o.cores = o.cores[:n]
	for len(o.s.Classes) < n {
		s := classState{}
		if len(o.s.Classes) > 0 {
			s.Shared.Shares = o.s.Classes[0].Shared.Shares // what was found out about the experts
		}
		o.s.Classes = append(o.s.Classes, s)
	}
	o.s.Classes = o.s.Classes[:n]
	slots := o.plan.cfg.Slots()
	for i := range o.cores {
		c, s := &o.cores[i], &o.s.Classes[i]
		c.data = o.table.Data[i*o.block*slots : (i+1)*o.block*slots]
		c.ruleState, c.ownState, c.slots = &s.Rule, &s.Own, s.Intercept[:]
		c.rule.Shared = s.Shared
	}
}

func (o *multi) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.classes.of(in)
	o.weight.of(in)
	x := o.features.Of(in)
	for row := range in.N {
		idx, val := x.Row(row)
		n := len(o.classes.known.Names)
		o.have(n)
		if !o.score(idx, val) {
			o.classes.skip(row)
			out.Reject(row, errScore)
			continue
		}
		p := append(o.classes.scores()[:0], o.scores...)
		o.policy.probabilities(p)
		o.classes.publish(row, p, o.s.Version)
		class, err := o.classes.labelOf(row)
		var weight float64
		if err == nil && class >= 0 {
			if weight, err = o.weight.at(row, class); err == nil && weight > 0 {
				err = o.learn(idx, val, class, weight)
			}
		}
		switch {
		case err != nil:
			o.have(n)
			out.Reject(row, err)
		case class < 0:
			o.classes.lostIn.SetNull(row)
		default:
			o.classes.lose(row, class, p)
			o.have(len(o.classes.known.Names)) // of weight 0, a class is not learnt but known
			o.s.Recent.add(o.classes.lostIn.Floats[row])
			if weight > 0 && o.react != nil {
				o.reactTo(idx, val, class, len(p), weight, o.classes.lostIn.Floats[row])
			}
		}
	}
	return out.Emit(in)
}

// reactTo takes up the loss of a row that was learnt, and follows a drift. So many
// classes were known when it was predicted.
func (o *multi) reactTo(idx []uint32, val []float32, class, known int, weight, lost float64) {
	if r := o.rival; r != nil {
		r.idx, r.val, r.class, r.known, r.weight = idx, val, class, known, weight
	}
	if o.react.after(lost, lost) {
		o.forget()
	}
}

// forget makes the models as they were at the start, but for the classes that are
// known. The events learnt are counted on.
func (o *multi) forget() {
	clear(o.table.Data)
	o.table.TouchAll()
	for i := range o.cores {
		o.s.Classes[i] = classState{}
		o.cores[i].rule.Shared = optim.Shared{}
	}
}

// score fills the scores of the known classes; it is false if one is not finite.
func (o *multi) score(idx []uint32, val []float32) bool {
	o.scores = o.scores[:0]
	ok := true
	for i := range o.cores {
		s := o.cores[i].score(idx, val)
		ok = ok && finite(s)
		o.scores = append(o.scores, s)
	}
	return ok
}

func (o *multi) learn(idx []uint32, val []float32, class int, weight float64) error {
	o.have(max(len(o.cores), class+1))
	if class == len(o.scores) && o.cores[class].rule.Weighs() {
		o.cores[class].score(idx, val) // a step follows on it
	}
	if by := o.react.rate(); by > 0 {
		for i := range o.cores {
			o.cores[i].boost(by)
		}
	}
	if err := o.policy.learn(o, idx, val, class, weight); err != nil {
		return err
	}
	for i := range o.cores {
		if o.moved != nil && !slices.Contains(o.moved, i) {
			continue // a checkpoint need not copy it
		}
		o.cores[i].touch(o.table, idx, i*o.block)
		o.s.Classes[i].Shared = o.cores[i].rule.Shared
	}
	o.s.Version++
	return nil
}

// scoreOf is the score of a class, 0 of one that has none yet.
func (o *multi) scoreOf(class int) float64 {
	if class < len(o.scores) {
		return o.scores[class]
	}
	return 0
}

// softmax is the policy of multinomial logistic regression.
type softmax struct{}

func (softmax) probabilities(scores []float64) { normalise(scores) }

func (softmax) learn(o *multi, idx []uint32, val []float32, class int, weight float64) error {
	n := len(o.scores)
	given := func(p []float64, c int) float64 {
		if c >= n {
			return 0
		}
		return p[c]
	}
	right := func(c int) float64 {
		if c == class {
			return 1
		}
		return 0
	}
	if o.plan.cfg.Kind != optim.Mixture {
		for i := range o.scores {
			o.scores[i] = o.cores[i].gradientAt(idx, val, o.scores[i])
		}
		o.p = append(o.p[:0], o.scores...)
		normalise(o.p)
		for i := range o.cores {
			if err := o.cores[i].follow(idx, val, float64(weight*o.cores[i].clipped(given(o.p, i)-right(i)))); err != nil {
				return o.undo(idx, i, err)
			}
		}
		return nil
	}
	var credit [optim.Experts]float64
	o.p = o.p[:0]
	for e := range credit {
		for i := range n {
			o.p = append(o.p, o.cores[i].rule.Scores()[e])
		}
		normalise(o.p[e*n:])
		credit[e] = 1
		if class < n {
			credit[e] = o.p[e*n+class]
		}
	}
	sharpen(&credit, weight)
	for i := range o.cores {
		var gradient [optim.Experts]float64
		for e := range gradient {
			gradient[e] = float64(weight * o.cores[i].clipped(given(o.p[e*n:], i)-right(i)))
		}
		if err := o.cores[i].followEach(idx, val, &gradient, &credit, float64(weight*0.5)); err != nil {
			return o.undo(idx, i, err)
		}
	}
	return nil
}

// undo takes back the steps of the first n classes.
func (o *multi) undo(idx []uint32, n int, err error) error {
	for i := range n {
		o.cores[i].undo(idx)
	}
	return err
}

// oneVsRest is the policy of a logistic regression for each class.
type oneVsRest struct{}

func (oneVsRest) probabilities(scores []float64) {
	sum := 0.0
	for i, s := range scores {
		scores[i] = max(leastProbability, loss.Sigmoid(s))
		sum += scores[i]
	}
	for i := range scores {
		scores[i] /= sum
	}
}

func (oneVsRest) learn(o *multi, idx []uint32, val []float32, class int, weight float64) error {
	for i := range o.cores {
		label := -1.0
		if i == class {
			label = 1
		}
		s := o.scoreOf(i)
		t := target{label: label, gradient: loss.Func{}.Gradient(s, label), weight: weight}
		if err := o.cores[i].learn(idx, val, s, t); err != nil {
			return o.undo(idx, i, err)
		}
	}
	return nil
}

// margin is the policy of learners that move the weights of the label's class and
// of the best other one, if the label does not win by enough.
type margin struct {
	enough float64                              // by how much it is to win; a perceptron asks for any win
	step   func(short, squares float64) float64 // of the difference of the two, per value
}

func (margin) probabilities(scores []float64) { normalise(scores) }

func (m margin) learn(o *multi, idx []uint32, val []float32, class int, weight float64) error {
	other := -1
	o.moved = o.pair[:0]
	for i, s := range o.scores {
		if i != class && (other < 0 || s > o.scores[other]) {
			other = i
		}
	}
	if other < 0 {
		return nil // the first class of all
	}
	short := m.enough - (o.scoreOf(class) - o.scores[other])
	if short < 0 || short == 0 && m.enough > 0 {
		return nil
	}
	half := float64(weight*m.step(short, squares(val))) / 2
	if !finite(half) {
		return errStep
	}
	if err := o.cores[class].follow(idx, val, -half); err != nil {
		return err
	}
	if err := o.cores[other].follow(idx, val, half); err != nil {
		o.cores[class].undo(idx)
		return err
	}
	o.moved = append(o.moved, class, other)
	return nil
}
