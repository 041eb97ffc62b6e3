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

// scored is the operator of a scorer.
type scored struct {
	params                      *params
	scorer                      scorer
	loss                        loss.Func
	scale                       string
	label                       operators.Col
	labelName                   string
	weight                      rowWeight
	scores, value, lost, number operators.Col
}

// newScored finds the label and adds the columns. Who calls sets scorer, behind
// the columns and the weights of the model.
func newScored(c *scoredConfig, env *operators.Env) *scored {
	o := &scored{labelName: c.label.Name, weight: newRowWeight(&c.weightConfig, env), scale: c.labelScale}
	kind := c.predict
	if kind == "auto" && env.IsBool(c.label) {
		kind = "probability"
	}
	o.scores = env.AddOwn("score", batch.Float64, false)
	if kind == "probability" {
		if c.scale.given {
			env.Errorf(c.scale.at, "expected no label_scale", "label_scale is of labels that are numbers, but a probability is predicted")
		}
		o.label = env.In(c.label, batch.Bool, batch.Int64, batch.Float64)
		o.value = env.AddOwn("probability", batch.Float64, false)
	} else {
		o.loss = loss.Func{Kind: loss.Squared}
		o.label = env.InNumber(c.label)
		o.value = env.AddOwn("prediction", batch.Float64, false)
	}
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.number = env.AddOwn("version", batch.Int64, false)
	return o
}

// published is the prediction of a score.
func (o *scored) published(score float64) float64 {
	s := &o.params.s.Scale
	switch {
	case o.loss.Kind != loss.Squared:
		return o.loss.Link(score)
	case o.scale == "standard":
		return s.toLabel(score)
	case o.scale == "center":
		return s.Mean + score
	}
	return score
}

func (o *scored) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.scorer.of(in)
	o.weight.of(in)
	y, lost := o.label.Of(in), o.lost.Of(in)
	scores, value, version := o.scores.Of(in).Floats, o.value.Of(in).Floats, o.number.Of(in).Ints
	st := o.params.s
	for row := range in.N {
		s := o.scorer.score(row)
		p := o.published(s)
		if !finite(s) || !finite(p) {
			out.Reject(row, errScore)
			continue
		}
		scores[row], value[row], version[row] = s, p, st.Version
		label, known := y.Number(row)
		if !known {
			lost.SetNull(row)
			continue
		}
		if o.loss.Kind != loss.Squared {
			if err := operators.CheckBinary(o.labelName, label); err != nil {
				out.Reject(row, err)
				continue
			}
			label += label - 1 // -1 or +1
		}
		weight, err := o.weight.at(row, 0)
		if err == nil && weight > 0 {
			err = o.learn(row, label, weight)
		}
		if err != nil {
			out.Reject(row, err)
			continue
		}
		lost.Floats[row] = o.loss.Value(p, label)
		if o.loss.Kind != loss.Squared {
			lost.Floats[row] = o.loss.Value(s, label)
		}
		st.Recent.add(lost.Floats[row])
		if weight > 0 {
			o.watch(lost.Floats[row], label)
		}
	}
	return out.Emit(in)
}

// watch lets the reaction see the loss of a row that was learnt.
func (o *scored) watch(lost, label float64) {
	r := o.params.react
	if r != nil && o.loss.Kind == loss.Squared {
		lost = r.relative(lost, label, true)
	}
	if r.forgets(lost) {
		o.params.restart()
	}
}

// learn takes one step; on an error nothing has changed.
func (o *scored) learn(row int, label, weight float64) error {
	st := o.params.s
	before := st.Scale
	if o.loss.Kind == loss.Squared && o.scale != "none" {
		if !st.Scale.learn(label) {
			return fmt.Errorf("label %q: %v is too large to be scaled", o.labelName, label)
		}
		if o.scale == "standard" {
			label = st.Scale.toScore(label)
		} else {
			label -= st.Scale.Mean
		}
	}
	o.params.begin()
	at := o.scorer.prepare(row)
	err := errScore
	if finite(at) {
		err = o.params.step(o.loss.Gradient(at, label), weight)
	} else {
		o.params.forget()
	}
	if err != nil {
		st.Scale = before
	}
	return err
}
