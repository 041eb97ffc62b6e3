package learn

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// sortedConfig says what a model predicts that has a score, or one for each class.
type sortedConfig struct {
	scoredConfig
	fixed []string
	most  int
	room  givenField // max_classes
}

// labelFields returns the field of the label.
func (c *sortedConfig) labelFields(f *spec.Fields, labelScale string) *spec.Field {
	label := f.Column(&c.label, "label", "", "What to predict: true or false, a number, or a class; null = not known yet.").Example("y")
	c.weightField(f)
	f.Enum(&c.predict, "predict", "auto", []string{"auto", "probability", "class", "number"},
		"What to predict: auto = for a bool label the probability that it is true, for a string its class, both with the logarithmic loss, else a number, with the squared loss; probability takes labels that are 0 or 1 as well, class int64 and bool by their text.").Pin()
	c.scaleField(f, labelScale)
	f.Strings(&c.fixed, "classes", nil, "The classes, where they are known beforehand: any other rejects its row, and each gets a column of its own. Left out: they come as seen. Under a learnt model they may not change.").Matching(className, "a class that is not empty")
	c.room.note(f.Int(&c.most, "max_classes", 64, "Most classes that come as seen; a row with a further one is rejected.").Within(2, 1000))
	return label
}

func (c *sortedConfig) Check(add func(field, msg, want string)) {
	if c.fixed != nil && (c.predict == "probability" || c.predict == "number") {
		add("classes", "classes do not go with predict: "+c.predict, "expected predict: class with them")
	}
}

// classes are those of a model that predicts them; nil = it does not.
func (c *sortedConfig) classes(env *operators.Env) *classes {
	if c.predict != "class" && !(c.predict == "auto" && (c.fixed != nil || env.IsString(c.label))) {
		c.room.needClasses(env)
		return nil
	}
	if c.scale.given {
		env.Errorf(c.scale.at, "expected no label_scale", "label_scale is of labels that are numbers, but classes are predicted")
	}
	if c.fixed != nil { // pinned here, so that a model of other labels has nothing of it
		env.Pin("classes", fmt.Sprintf("%q", c.fixed))
	}
	return newClasses(&classesConfig{label: c.label, predict: "class", fixed: c.fixed, most: c.most, room: c.room, bounded: true}, env)
}

// room is how many classes there may be.
func (o *classes) room() int {
	if o.fixed {
		return len(o.known.Names)
	}
	return o.most
}

// sortedColumns documents what such a model emits.
const sortedColumns = scoredColumns + " With predict: class, no `NODE.score`, and `NODE.class`: string?, the likeliest, null before the first label, `NODE.probability`: float64?, of that class, and with `classes` also `NODE.probability.CLASS`: float64, of each."

// classScorer is a model that gives rows a score for each class.
type classScorer interface {
	// of binds the columns of a batch.
	of(in *batch.Batch)
	// scores are those of the first len(s) classes; it changes nothing.
	scores(row int, s []float64)
	// first gives weights that were never learnt their first values, of that many classes.
	first(row int, classes int)
	// spread lays out the derivatives of a loss of which g are those by the scores
	// that were asked for last, NaN of one that the loss has nothing to do with.
	spread(row int, g []float64)
	// beside is the same model with weights of its own, for the same columns.
	beside(p *params) classScorer
}

// classed is the operator of a classScorer: the probability of a class is in
// proportion to e to the power of its score.
type classed struct {
	params  *params
	scorer  classScorer
	classes *classes
	weight  rowWeight
	clip    float64
	g       []float64
	rival   *classed // nil = there is no second model
	last    struct { // what was learnt last
		row, class, known int // the row, its class, and how many were known before it
		weight            float64
	}
}

// newClassed makes the operator; p = nil if something was complained of.
func newClassed(s classScorer, p *params, classes *classes, weight rowWeight, clip float64) *classed {
	o := &classed{params: p, scorer: s, classes: classes, weight: weight, clip: clip}
	if r := p.rival(); r != nil {
		o.rival = &classed{params: r.second, scorer: s.beside(r.second), clip: clip}
		var p []float64
		r.try = func() (float64, error) {
			l := &o.last
			p = upTo(p, l.known-1)
			o.rival.scorer.scores(l.row, p[:l.known])
			normalise(p[:l.known])
			return lossOfClass(p[:l.known], l.class), o.rival.learn(l.row, l.class, max(l.known, l.class+1), l.weight)
		}
	}
	return o
}

func (o *classed) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.scorer.of(in)
	if o.rival != nil {
		o.rival.scorer.of(in)
	}
	o.classes.of(in)
	o.weight.of(in)
	st := o.params.s
	for row := range in.N {
		p := o.classes.scores()
		o.scorer.scores(row, p)
		if !allFinite(p) {
			o.classes.skip(row)
			out.Reject(row, errScore)
			continue
		}
		normalise(p)
		o.classes.publish(row, p, st.Version)
		class, err := o.classes.labelOf(row)
		var weight float64
		if err == nil && class >= 0 {
			if weight, err = o.weight.at(row, class); err == nil && weight > 0 {
				err = o.learn(row, class, max(len(p), class+1), weight)
			}
		}
		switch {
		case err != nil:
			out.Reject(row, err)
		case class < 0:
			o.classes.lostIn.SetNull(row)
		default:
			o.classes.lose(row, class, p)
			st.Recent.add(o.classes.lostIn.Floats[row])
			if weight > 0 {
				o.last.row, o.last.class, o.last.known, o.last.weight = row, class, len(p), weight
				if lost := o.classes.lostIn.Floats[row]; o.params.react.after(lost, lost) {
					o.params.restart()
				}
			}
		}
	}
	return out.Emit(in)
}

// learn takes one step with that many classes, of a row that counts that often; on
// an error nothing has changed.
func (o *classed) learn(row, class, classes int, weight float64) error {
	o.params.begin()
	o.scorer.first(row, classes)
	o.g = upTo(o.g, classes-1)
	g := o.g[:classes]
	o.scorer.scores(row, g)
	if !allFinite(g) {
		o.params.forget()
		return errScore
	}
	normalise(g)
	g[class]--
	if o.clip > 0 {
		for i := range g {
			g[i] = max(-o.clip, min(o.clip, g[i]))
		}
	}
	o.scorer.spread(row, g)
	return o.params.step(1, weight)
}

func allFinite(x []float64) bool {
	for _, v := range x {
		if !finite(v) {
			return false
		}
	}
	return true
}
