package learn

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

var _ = Family.Add(operators.Define(operators.Spec[linearRegressionConfig]{
	Name:    "linear_regression",
	Summary: "Predicts a number from a linear score.",
	Doc: "The score is the sum over the features of weight times value, and the intercept. With label_scale: standard the model learns the label's distance " +
		"from its mean in standard deviations (Welford, over all labels so far), so that one rate suits any unit: the prediction is mean + deviation · score. A label further than 10 deviations from the mean counts as one at 10, after the first 10 labels. With none the prediction is the score.\n\n" +
		"With bounds: seen, after the first 10 labels the prediction is held to the range of the labels learnt so far: what is below the least becomes the least, what is above the greatest the greatest; the score stays as it is. " +
		"What is learnt from a score beyond the range is the derivative of the loss at the bound, the matching loss of such a prediction (Helmbold, Kivinen, Warmuth 1999): a score beyond the bound is no mistake where the label is the bound. " +
		"Labels may leave their range, as under a trend: over the latest predictions beyond it (one counts 1 % less with each later one) it is summed up by how much holding them lessened the loss, and below 0 predictions are let go, and learnt from, as with none. The range is learnt with none too.\n\n" +
		"Row by row: predict; if the label is known, take the loss of that prediction, let the label's range and scale learn the label, then take one step on the derivative of the loss. " +
		"A row whose label is null is predicted and not learnt. A row that would make a score, a prediction or a weight infinite is rejected; the model is then as it was.\n\n" +
		"Losses, with r = prediction - label: squared r²; absolute |r|; huber r²/2 where |r| ≤ delta, else delta·(|r| - delta/2); quantile -tau·r below the label, (1-tau)·r above it; " +
		"poisson prediction - label + label·ln(label/prediction), for counts and other labels of at least 0: the prediction is e^score (a log-linear model; McCullagh, Nelder 1989), label_scale is not used, and a negative label rejects the row.\n\n" +
		"The default optimizer, mixture, keeps five step rules side by side and weighs them by what they predicted lately, so there is nothing to tune, and drift is followed: it costs some four times the time of one rule, more where the table is larger than the cache, and 8 numbers a weight. Where that is too much, take adagrad where the stream stays as it is, sgd where it drifts.\n\n" +
		"Under a learnt model the rates may change, and so may bounds, weights of rows, loss, l2 and clip; label_scale, loss: poisson coming or going, the optimizer, l1 coming or going with sgd, and intercept may not. Weights are float32.\n\n" +
		"Cost: time in proportion to the features of a row; memory 4 bytes times 2^bits times the numbers a weight takes: sgd 1 (with l1 2), ftrl 3, adadelta 3, adam and its kin, pistol and normalized 4, amsgrad and freegrad 5, coin 6, mixture 8, the others 2.",
	Role: operators.Learner,
	Columns: "Those of the input, and `NODE.score`: float64, of the model; `NODE.prediction`: float64, in the unit of the label; " +
		"`NODE.loss`: float64?, of this prediction, null until the label is known; `NODE.version`: int64, the events learnt before this row.",
	Examples: []spec.Example{{
		Title:  "Plain gradient descent on y = 2x",
		Config: "linear_regression: {label: y, optimizer: {sgd: {rate: 0.25}}, label_scale: none, intercept: false}",
		In:     "features:sparse[8],y:float64?\n0:1,2\n0:1,2\n0:2,4\n0:2,\n",
		Out: "features,y,node.score,node.prediction,node.loss,node.version\n" +
			"0:1,2,0,0,4,0\n0:1,2,1,1,1,1\n0:2,4,3,3,1,2\n0:2,,5,5,,3\n",
	}},
	Build: newLinearRegression,
}))

type linearRegressionConfig struct {
	linearConfig
	weightConfig
	loss       spec.Choice
	labelScale string
	bounds     string
	boundsAt   givenField
}

type huberConfig struct{ delta float64 }

func (c *huberConfig) Fields(f *spec.Fields) {
	f.Float(&c.delta, "delta", loss.DefaultDelta, "Error from which on the loss grows in proportion, in the unit of the label.").Above(0).AtMost(1e300)
}

type quantileConfig struct{ tau float64 }

func (c *quantileConfig) Fields(f *spec.Fields) {
	f.Float(&c.tau, "tau", loss.DefaultTau, "Quantile to predict: the share of labels below the prediction.").Above(0).Below(1)
}

func (c *linearRegressionConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "The number to predict; null = not known yet.").Required()
	f.Choice(&c.loss, "loss", "squared", []spec.Option{
		{Name: "squared", Summary: "Predicts the mean."},
		{Name: "absolute", Summary: "Predicts the median."},
		{Name: "huber", Summary: "Squared for small errors, absolute for large ones.", New: func() spec.Config { return new(huberConfig) }},
		{Name: "quantile", Summary: "Predicts a quantile.", New: func() spec.Config { return new(quantileConfig) }},
		{Name: "poisson", Summary: "Predicts the mean of a count, through its logarithm."},
	}, "What to minimise.")
	f.Enum(&c.labelScale, "label_scale", "standard", []string{"standard", "none"}, "Whether the label is standardised, learnt online, or taken as it is.").Pin()
	c.boundsAt.note(f.Enum(&c.bounds, "bounds", "seen", []string{"seen", "none"}, "Whether predictions are held to the range of the labels learnt so far, as long as that pays; not with loss: poisson."))
	c.weightField(f)
	c.modelFields(f, rates{sgd: 0.01, adagrad: 0.5}, 10)
	c.reactField(f, reactAll)
}

func (c *linearRegressionConfig) Check(add func(field, msg, want string)) {
	c.checkModel(add)
	if c.boundsAt.given && c.loss.Name == "poisson" {
		add("bounds", "bounds does not go with loss: poisson", "expected no bounds")
	}
	if _, ok := c.optimizer.Config.(*pistolConfig); ok && c.clip == 0 && (c.loss.Name == "squared" || c.loss.Name == "poisson") {
		add("clip", "clip: 0 does not go with pistol and loss: "+c.loss.Name+", whose derivatives have no bound", "expected clip: 1")
	}
}

// lossFunc is the loss in the unit of the label.
func (c *linearRegressionConfig) lossFunc() loss.Func {
	param := 0.0
	switch p := c.loss.Config.(type) {
	case *huberConfig:
		param = p.delta
	case *quantileConfig:
		param = p.tau
	}
	return lossOf(c.loss.Name, param)
}

type regression struct {
	model                            *linear
	loss                             loss.Func
	scale                            *state.Cell[labelScale] // nil = none
	seen                             *state.Cell[labelRange] // nil = none, of the poisson loss
	bounded                          bool                    // predictions are held to seen
	label                            operators.Col
	labelName                        string
	weight                           rowWeight
	score, prediction, lost, version operators.Col
}

func newLinearRegression(c *linearRegressionConfig, env *operators.Env) operators.Operator {
	o := &regression{loss: c.lossFunc(), labelName: c.label.Name}
	o.label = env.InNumber(c.label)
	o.weight = newRowWeight(&c.weightConfig, env)
	poisson := o.loss.Kind == loss.Poisson
	version := heldVersion
	if poisson {
		env.Pin("link", "log")
		version = modelVersion
	}
	o.model = newLinear(&c.linearConfig, env, version, o.loss.Gradient)
	if c.labelScale == "standard" && !poisson {
		o.scale = operators.NewCell(env, "label_scale", labelScaleVersion, labelScale{})
	}
	if !poisson {
		o.seen = operators.NewCell(env, "label_range", labelRangeVersion, labelRange{})
		o.bounded = c.bounds == "seen"
	}
	o.score = env.AddOwn("score", batch.Float64, false)
	o.prediction = env.AddOwn("prediction", batch.Float64, false)
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	return o
}

func (o *regression) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	m := o.model
	x, y := m.features.Of(in), o.label.Of(in)
	o.weight.of(in)
	score, prediction := o.score.Of(in).Floats, o.prediction.Of(in).Floats
	lost, version := o.lost.Of(in), o.version.Of(in).Ints
	st := &m.state.V
	for row := range in.N {
		idx, val := x.Row(row)
		s := m.score(idx, val)
		p := o.loss.Link(s)
		if o.scale != nil {
			p = o.scale.V.toLabel(s)
		}
		free := p
		if o.bounded && o.seen.V.holds() {
			p = o.seen.V.nearest(p)
		}
		if !finite(s) || !finite(free) {
			out.Reject(row, errScore)
			continue
		}
		score[row], prediction[row], version[row] = s, p, st.Version
		label, known := y.Number(row)
		if !known {
			lost.SetNull(row)
			continue
		}
		weight, err := o.weight.at(row, 0)
		at := p // of the loss
		if o.loss.Kind == loss.Poisson {
			if at = s; label < 0 {
				err = fmt.Errorf("label %q is %v; the poisson loss takes numbers of at least 0", o.labelName, label)
			}
		}
		if err == nil && weight > 0 {
			err = o.learn(idx, val, s, free, label, weight)
		}
		if err != nil {
			out.Reject(row, err)
			continue
		}
		lost.Floats[row] = o.loss.Value(at, label)
		st.Recent.add(lost.Floats[row])
	}
	return out.Emit(in)
}

// learn takes one step; on an error nothing has changed. free is the prediction
// before it was held to a range.
func (o *regression) learn(idx []uint32, val []float32, score, free, label, weight float64) error {
	t := target{loss: o.loss, label: label, weight: weight}
	if o.seen == nil {
		t.gradient = t.slope(score)
		return o.model.learn(idx, val, score, t)
	}
	seen := o.seen.V
	o.seen.V.learn(o.loss, free, label, weight)
	t.bounded, t.low, t.high = o.bounded && o.seen.V.holds(), o.seen.V.Low, o.seen.V.High
	var scale labelScale
	if o.scale != nil {
		scale = o.scale.V
		if !o.scale.V.learn(label) {
			o.seen.V = seen
			return fmt.Errorf("label %q: %v is too large to be scaled", o.labelName, label)
		}
		o.scale.V.rescale(&t)
	}
	t.gradient = t.slope(score)
	err := o.model.learn(idx, val, score, t)
	if err != nil {
		o.seen.V = seen
		if o.scale != nil {
			o.scale.V = scale
		}
	}
	return err
}
