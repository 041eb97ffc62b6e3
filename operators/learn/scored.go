package learn

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// scorer is a model that gives rows a score.
type scorer interface {
	// of binds the columns of a batch.
	of(in *batch.Batch)
	// score is the score that predicts; it changes nothing.
	score(row int) float64
	// prepare gives weights that were never learnt their first values, lays out the
	// derivatives of the score, and returns it with these weights.
	prepare(row int) float64
	// beside is the same model with weights of its own, for the same columns.
	beside(p *params) scorer
}

// scoredConfig says what a model of any score predicts.
type scoredConfig struct {
	label spec.Column
	weightConfig
	predict, labelScale string
	scale               givenField // label_scale
}

func (c *scoredConfig) labelFields(f *spec.Fields, labelScale string) {
	f.Column(&c.label, "label", "", "What to predict: true or false, or a number; null = not known yet.").Required().Example("y")
	c.weightField(f)
	f.Enum(&c.predict, "predict", "auto", []string{"auto", "probability", "number"},
		"What to predict: auto = for a bool label the probability that it is true, with the logarithmic loss, else a number, with the squared loss; probability takes labels that are 0 or 1 as well.").Pin()
	c.scaleField(f, labelScale)
}

func (c *scoredConfig) scaleField(f *spec.Fields, labelScale string) {
	c.scale.note(f.Enum(&c.labelScale, "label_scale", labelScale, []string{"standard", "center", "none"},
		"What becomes of a number: standard = its distance from the mean so far in standard deviations is learnt, center = its distance from the mean, none = the number.").Pin())
}

// scoredColumns documents what a model of any score emits.
const scoredColumns = "Those of the input, and `NODE.score`: float64, of the model; `NODE.probability`: float64, that the label is true, or `NODE.prediction`: float64, in the unit of the label; " +
	"`NODE.loss`: float64?, of this prediction, null until the label is known; `NODE.version`: int64, the events learnt before this row."

// scoredLabel is a label with the columns in which a score of it is published.
type scoredLabel struct {
	loss                loss.Func
	scale               string
	spread              *labelScale // of the labels so far
	label               operators.Col
	name                string
	scores, value, lost operators.Col
	labelIn, lostOut    *batch.Column // of the batch being processed
	scoreOut, valueOut  []float64
}

// newScoredLabel finds the label and adds the columns, whose names begin with
// prefix behind that of the node. Who calls sets spread.
func newScoredLabel(c *scoredConfig, label spec.Column, prefix string, env *operators.Env) scoredLabel {
	o := scoredLabel{name: label.Name, scale: c.labelScale}
	o.scores = env.AddOwn(prefix+"score", batch.Float64, false)
	if c.predict == "probability" || c.predict == "auto" && env.IsBool(label) {
		o.label = env.In(label, batch.Bool, batch.Int64, batch.Float64)
		o.value = env.AddOwn(prefix+"probability", batch.Float64, false)
	} else {
		o.loss = loss.Func{Kind: loss.Squared}
		o.label = env.InNumber(label)
		o.value = env.AddOwn(prefix+"prediction", batch.Float64, false)
	}
	o.lost = env.AddOwn(prefix+"loss", batch.Float64, true)
	return o
}

// number reports that the label is a number and not whether something is true.
func (o *scoredLabel) number() bool { return o.loss.Kind == loss.Squared }

// of binds the columns of a batch.
func (o *scoredLabel) of(in *batch.Batch) {
	o.labelIn, o.lostOut = o.label.Of(in), o.lost.Of(in)
	o.scoreOut, o.valueOut = o.scores.Of(in).Floats, o.value.Of(in).Floats
}

// publish writes a row's score and what it predicts; it is false and writes nothing
// if one of them is not finite.
func (o *scoredLabel) publish(row int, score float64) bool {
	p := score
	switch {
	case !o.number():
		p = o.loss.Link(score)
	case o.scale == "standard":
		p = o.spread.toLabel(score)
	case o.scale == "center":
		p = o.spread.Mean + score
	}
	if !finite(score) || !finite(p) {
		return false
	}
	o.scoreOut[row], o.valueOut[row] = score, p
	return true
}

// read returns the label of a row, -1 or +1 of one that is false or true.
func (o *scoredLabel) read(row int) (label float64, known bool, err error) {
	label, known = o.labelIn.Number(row)
	if known && !o.number() {
		err = operators.CheckBinary(o.name, label)
		label += label - 1
	}
	return label, known, err
}

// target lets the scale learn a label, and is what the score should have been. On
// an error nothing has changed.
func (o *scoredLabel) target(label float64) (float64, error) {
	if !o.number() || o.scale == "none" {
		return label, nil
	}
	if !o.spread.learn(label) {
		return 0, fmt.Errorf("label %q: %v is too large to be scaled", o.name, label)
	}
	if o.scale == "standard" {
		return o.spread.toScore(label), nil
	}
	return label - o.spread.Mean, nil
}

// lose writes the loss of what was published, and returns it.
func (o *scoredLabel) lose(row int, label float64) float64 {
	at := o.scoreOut[row]
	if o.number() {
		at = o.valueOut[row]
	}
	o.lostOut.Floats[row] = o.loss.Value(at, label)
	return o.lostOut.Floats[row]
}

// scored is the operator of a scorer.
type scored struct {
	scoredLabel
	params  *params
	scorer  scorer
	weight  rowWeight
	version operators.Col

	rival        scorer  // nil = there is no second model
	row          int     // what was learnt last
	goal, counts float64 // its label as a score, and its weight
}

// newScored finds the label and adds the columns. Who calls sets the scorer, behind
// the columns and the weights of the model.
func newScored(c *scoredConfig, env *operators.Env) *scored {
	o := &scored{weight: newRowWeight(&c.weightConfig, env)}
	o.scoredLabel = newScoredLabel(c, c.label, "", env)
	if !o.number() && c.scale.given {
		env.Errorf(c.scale.at, "expected no label_scale", "label_scale is of labels that are numbers, but a probability is predicted")
	}
	o.version = env.AddOwn("version", batch.Int64, false)
	return o
}

// with sets the scorer; p = nil if something was complained of.
func (o *scored) with(s scorer, p *params) *scored {
	if o.scorer, o.params = s, p; p != nil {
		o.spread = &p.s.Scale
	}
	if r := p.rival(); r != nil {
		second := &scored{scoredLabel: scoredLabel{loss: o.loss}, params: r.second, scorer: s.beside(r.second)}
		o.rival = second.scorer
		r.try = func() (float64, error) {
			score := second.scorer.score(o.row)
			return o.loss.Value(score, o.goal), second.step(o.row, o.goal, o.counts)
		}
	}
	return o
}

func (o *scored) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.scorer.of(in)
	if o.rival != nil {
		o.rival.of(in)
	}
	o.weight.of(in)
	o.of(in)
	version := o.version.Of(in).Ints
	st := o.params.s
	for row := range in.N {
		if !o.publish(row, o.scorer.score(row)) {
			out.Reject(row, errScore)
			continue
		}
		version[row] = st.Version
		label, known, err := o.read(row)
		if !known {
			o.lostOut.SetNull(row)
			continue
		}
		var weight float64
		if err == nil {
			weight, err = o.weight.at(row, 0)
		}
		if err == nil && weight > 0 {
			err = o.learn(row, label, weight)
		}
		if err != nil {
			out.Reject(row, err)
			continue
		}
		lost := o.lose(row, label)
		st.Recent.add(lost)
		if weight > 0 {
			o.watch(lost, label)
		}
	}
	return out.Emit(in)
}

// watch lets the reaction see the loss of a row that was learnt.
func (o *scored) watch(lost, label float64) {
	r := o.params.react
	if r == nil {
		return
	}
	if o.number() {
		lost = r.s.Labels.relative(lost, label, true)
	}
	if r.after(o.loss.Value(o.scoreOut[o.row], o.goal), lost) {
		o.params.restart()
	}
}

// learn takes one step; on an error nothing has changed.
func (o *scored) learn(row int, label, weight float64) error {
	st := o.params.s
	before := st.Scale
	label, err := o.target(label)
	if err != nil {
		return err
	}
	if err = o.step(row, label, weight); err != nil {
		st.Scale = before
		return err
	}
	o.row, o.goal, o.counts = row, label, weight
	return nil
}

// step moves the weights towards a label, as the score should have been.
func (o *scored) step(row int, label, weight float64) error {
	o.params.begin()
	at := o.scorer.prepare(row)
	if !finite(at) {
		o.params.forget()
		return errScore
	}
	return o.params.step(o.loss.Gradient(at, label), weight)
}
