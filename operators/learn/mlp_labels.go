package learn

import (
	"fmt"
	"math"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// labelsMLP is the operator of a network with a score for each of several labels.
// Its loss is the sum of theirs, over those that a row has.
type labelsMLP struct {
	net     *classMLP
	labels  []scoredLabel
	states  []labelState
	weight  rowWeight
	clip    float64
	version operators.Col

	s, g   []float64    // scores of the row, and derivatives of the loss by them
	y      []float64    // labels of the row, NaN = not known
	goals  []float64    // the same as the scores should have been
	before []labelScale // scales before the step

	rival  *labelsMLP // nil = there is no second model
	row    int        // what was learnt last
	counts float64    // its weight
}

// labelState is what is remembered of one label.
type labelState struct {
	Scale   labelScale
	Watched labelScale // the spread that the reaction to drift goes by
	Recent  recent     // losses of the latest predictions
}

// labelsVersion is the version of labelState, and of the meaning of the weights.
const labelsVersion = 1

// newLabelsMLP makes the operator of m, which has no weights yet.
func newLabelsMLP(c *mlpConfig, m *mlp, env *operators.Env) operators.Operator {
	n := len(c.labels)
	o := &labelsMLP{net: &classMLP{m}, states: make([]labelState, n), clip: c.clip,
		s: make([]float64, n), g: make([]float64, n), y: make([]float64, n), goals: make([]float64, n), before: make([]labelScale, n)}
	var names []string
	numbers := false
	for i, label := range c.labels {
		o.labels = append(o.labels, newScoredLabel(&c.scoredConfig, label, label.Name+".", env))
		o.labels[i].spread = &o.states[i].Scale
		numbers = numbers || o.labels[i].number()
		names = append(names, label.Name)
	}
	if c.scale.given && !numbers {
		env.Errorf(c.scale.at, "expected no label_scale", "label_scale is of labels that are numbers, but probabilities are predicted")
	}
	o.version = env.AddOwn("version", batch.Int64, false)
	o.weight = newRowWeight(&c.weightConfig, env)
	m.features, m.dim = sparseInput(env, c.features)
	env.Pin("labels", fmt.Sprintf("%q", names))
	of := c.paramsConfig
	of.clip = 0 // each label's derivative is bounded by itself
	m.params = newParams(&of, env, int64(m.inputs(m.layers))+int64(n)*int64(c.units+1), false, loss.Func{})
	if r := m.params.rival(); r != nil {
		second := &labelsMLP{net: &classMLP{m.with(r.second)}, labels: o.labels, clip: c.clip, goals: o.goals, s: make([]float64, n), g: make([]float64, n)}
		o.rival = second
		r.try = func() (float64, error) {
			second.net.scores(o.row, second.s)
			return second.lost(), second.step(o.row, o.counts)
		}
	}
	for i := range o.states {
		env.BindValue("label "+names[i], labelsVersion, &o.states[i])
	}
	env.Report(func(r *operators.Report) {
		for i, s := range o.states {
			if s.Recent.Weight > 0 {
				r.Set(names[i]+".loss", s.Recent.Mean)
			} else {
				r.SetNull(names[i] + ".loss")
			}
		}
	})
	return o
}

func (o *labelsMLP) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.net.of(in)
	if o.rival != nil {
		o.rival.net.of(in)
	}
	o.weight.of(in)
	for i := range o.labels {
		o.labels[i].of(in)
	}
	version := o.version.Of(in).Ints
	st := o.net.s
	for row := range in.N {
		o.net.scores(row, o.s)
		if !o.publish(row) {
			out.Reject(row, errScore)
			continue
		}
		version[row] = st.Version
		known, err := o.read(row)
		var weight float64
		if err == nil && known > 0 {
			weight, err = o.weight.at(row, 0)
		}
		if err == nil && weight > 0 {
			err = o.learn(row, weight)
		}
		if err != nil {
			out.Reject(row, err)
			continue
		}
		if known > 0 {
			o.lose(row, known, weight > 0)
		}
	}
	return out.Emit(in)
}

// publish writes the row's scores and what they predict; it is false if one of them
// is not finite.
func (o *labelsMLP) publish(row int) bool {
	for i, s := range o.s {
		if !o.labels[i].publish(row, s) {
			return false
		}
	}
	return true
}

// read takes the labels of a row, and returns how many are known.
func (o *labelsMLP) read(row int) (n int, err error) {
	for i := range o.labels {
		y, known, err := o.labels[i].read(row)
		switch {
		case err != nil:
			return 0, err
		case known:
			n++
		default:
			y = math.NaN()
			o.labels[i].lostOut.SetNull(row)
		}
		o.y[i] = y
	}
	return n, nil
}

// learn takes one step on the labels that are known; on an error nothing has changed.
func (o *labelsMLP) learn(row int, weight float64) error {
	for i, s := range o.states {
		o.before[i] = s.Scale
	}
	err := o.aim()
	if err == nil {
		err = o.step(row, weight)
	}
	if err != nil {
		for i, s := range o.before {
			o.states[i].Scale = s
		}
		return err
	}
	o.row, o.counts = row, weight
	return nil
}

// aim lets the scales learn the labels that are known.
func (o *labelsMLP) aim() (err error) {
	for i, y := range o.y {
		o.goals[i] = y
		if absent(y) {
			continue
		}
		if o.goals[i], err = o.labels[i].target(y); err != nil {
			return err
		}
	}
	return nil
}

// step moves the weights towards the goals.
func (o *labelsMLP) step(row int, weight float64) error {
	o.net.begin()
	o.net.first(row, len(o.g))
	o.net.scores(row, o.g)
	if !allFinite(o.g) {
		o.net.forget()
		return errScore
	}
	for i, goal := range o.goals {
		if absent(goal) {
			o.g[i] = goal
			continue
		}
		o.g[i] = o.labels[i].loss.Gradient(o.g[i], goal)
		if o.clip > 0 {
			o.g[i] = max(-o.clip, min(o.clip, o.g[i]))
		}
	}
	o.net.spread(row, o.g)
	return o.net.step(1, weight)
}

// lost is the sum of the losses of the scores, as far as there are goals.
func (o *labelsMLP) lost() float64 {
	sum := 0.0
	for i, goal := range o.goals {
		if !absent(goal) {
			sum += o.labels[i].loss.Value(o.s[i], goal)
		}
	}
	return sum
}

// lose writes the losses of the labels that are known, so many. The reaction to
// drift sees their mean, if the row was learnt.
func (o *labelsMLP) lose(row, known int, learnt bool) {
	sum, watched := 0.0, 0.0
	for i, y := range o.y {
		if absent(y) {
			continue
		}
		lost := o.labels[i].lose(row, y)
		s := &o.states[i]
		s.Recent.add(lost)
		sum += lost
		if o.net.react == nil || !learnt {
			continue
		}
		if o.labels[i].number() {
			lost = s.Watched.relative(lost, y, true)
		}
		watched += min(lost, 1)
	}
	o.net.s.Recent.add(sum / float64(known))
	if o.net.react != nil && learnt && o.net.react.after(o.lost(), watched/float64(known)) {
		o.net.restart()
	}
}
