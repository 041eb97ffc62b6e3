package learn

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[logisticConfig]{
	Name:    "logistic_regression",
	Summary: "Predicts the probability of one of two classes from a linear score.",
	Doc: "The score is the sum over the features of weight times value, and the intercept; the probability of the positive class is 1/(1+e^-score). " +
		"With loss: hinge the model is a linear support vector machine, whose probability is ordered like the score but not calibrated.\n\n" +
		"Row by row: predict; if the label is known, take the loss of that prediction, then one step on its derivative. A row whose label is null is predicted and not learnt. " +
		"A label other than true, false, 1 and 0 rejects the row, as does a row that would make a score or a weight infinite; the model is then as it was.\n\n" +
		"The default optimizer, mixture, keeps five step rules side by side and weighs them by what they predicted lately, so there is nothing to tune, and drift is followed: it costs some four times the time of one rule, more where the table is larger than the cache, and 8 numbers a weight. Where that is too much, take adagrad where the stream stays as it is, sgd where it drifts.\n\n" +
		"Under a learnt model the rates may change, and so may weights of rows, loss, l2 and clip; the optimizer, l1 coming or going with sgd, and intercept may not. Weights are float32.\n\n" +
		"Cost: time in proportion to the features of a row; memory 4 bytes times 2^bits times the numbers a weight takes: sgd 1 (with l1 2), ftrl 3, adadelta 3, adam and its kin, pistol and normalized 4, amsgrad and freegrad 5, coin 6, mixture 8, the others 2.",
	Role: operators.Learner,
	Columns: "Those of the input, and `NODE.score`: float64; `NODE.probability`: float64, of the positive class; " +
		"`NODE.loss`: float64?, of this prediction, null until the label is known; `NODE.version`: int64, the events learnt before this row.",
	Examples: []spec.Example{{
		Title:  "An untrained model says one half; then it learns",
		Config: "logistic_regression: {label: y, optimizer: {sgd: {rate: 0.5}}}",
		In:     "features:sparse[8],y:bool?\n3:1,true\n3:1,\n3:1,false\n3:1,true\n",
		Out: "features,y,node.score,node.probability,node.loss,node.version\n" +
			"3:1,true,0,0.5,0.6931471805599453,0\n" +
			"3:1,,0.5,0.6224593312018546,,1\n" +
			"3:1,false,0.5,0.6224593312018546,0.9740769841801067,1\n" +
			"3:1,true,-0.12245934160915178,0.46942336639026977,0.7562502175321757,2\n",
	}},
	Build: newLogistic,
}))

type logisticConfig struct {
	linearConfig
	weightConfig
	loss         string
	classWeights []float64
	weightsAt    spec.Pos // of class_weights
}

func (c *logisticConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "What to predict: a bool, or a number that is 0 or 1; null = not known yet.").Required()
	f.Enum(&c.loss, "loss", "log", []string{"log", "hinge"}, "What to minimise: log = cross-entropy, hinge = a support vector machine.")
	c.weightField(f)
	f.Floats(&c.classWeights, "class_weights", nil, "How much a row counts whose label is false, and whose label is true.").Example("[1, 10]").Repeats().At(&c.weightsAt)
	c.modelFields(f, rates{sgd: 0.05, adagrad: 0.5}, 0)
	c.reactField(f, reactAll)
}

func (c *logisticConfig) Check(add func(field, msg, want string)) { c.checkModel(add) }

type logistic struct {
	model                             *linear
	loss                              loss.Func
	label                             operators.Col
	labelName                         string
	weight                            rowWeight
	score, probability, lost, version operators.Col
}

func newLogistic(c *logisticConfig, env *operators.Env) operators.Operator {
	o := &logistic{loss: lossOf(c.loss, 0), labelName: c.label.Name}
	o.label = env.In(c.label, batch.Bool, batch.Int64, batch.Float64)
	o.weight = newRowWeight(&c.weightConfig, env)
	o.weight.classes = c.classWeights
	checkClassWeights(c.classWeights, c.weightsAt, 2, true, env)
	o.model = newLinear(&c.linearConfig, env, modelVersion, o.loss.Gradient)
	o.score = env.AddOwn("score", batch.Float64, false)
	o.probability = env.AddOwn("probability", batch.Float64, false)
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	return o
}

func (o *logistic) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	m := o.model
	x, y := m.features.Of(in), o.label.Of(in)
	o.weight.of(in)
	weighted := o.weight.in != nil || o.weight.classes != nil
	score, probability := o.score.Of(in).Floats, o.probability.Of(in).Floats
	lost, version := o.lost.Of(in), o.version.Of(in).Ints
	st := &m.state.V
	bools := y.Bools // its values, if it is of bools without nulls
	if y.HasNulls() {
		bools = nil
	}
	var before outcome // of the row before
	for row := range in.N {
		idx, val := x.Row(row)
		s := m.score(idx, val)
		if !finite(s) {
			out.Reject(row, errScore)
			continue
		}
		score[row], version[row] = s, st.Version
		class := 0
		if row < len(bools) {
			if bools[row] {
				class = 1
			}
		} else if known, err := o.class(y, row, &class); !known {
			probability[row] = o.loss.Link(s)
			lost.SetNull(row)
			if err != nil {
				out.Reject(row, err)
			}
			continue
		}
		weight, err := 1.0, error(nil)
		if weighted {
			weight, err = o.weight.at(row, class)
		}
		label := float64(2*class - 1) // -1 or +1
		here := o.loss.Outcome(s)
		before.publish(probability, lost.Floats, &st.Recent)
		before.learnt = false
		if m.plain != nil && row+1 < in.N {
			next, _ := x.Row(row + 1)
			m.plain.Ahead(next)
		}
		if gradient := here.Gradient(label); err == nil && weight > 0 {
			err = m.learn(idx, val, s, target{loss: o.loss, label: label, gradient: gradient, weight: weight})
		}
		if err != nil {
			probability[row] = here.Link()
			out.Reject(row, err)
			continue
		}
		before = outcome{row: row, label: label, loss: here, learnt: true}
	}
	before.publish(probability, lost.Floats, &st.Recent)
	return out.Emit(in)
}

// outcome is what is still to be published of a row. That is done, and the weights of the
// row after are read, while the processor waits for the exponentials of a row.
type outcome struct {
	row    int
	label  float64
	loss   loss.Outcome
	learnt bool // there is such a row
}

func (o *outcome) publish(probability, lost []float64, mean *recent) {
	if !o.learnt {
		return
	}
	value := o.loss.Value(o.label)
	probability[o.row], lost[o.row] = o.loss.Link(), value
	mean.add(value)
}

// class reads the class of a row, 0 or 1. known is false of a null, and of what is
// neither, with an error.
func (o *logistic) class(y *batch.Column, row int, class *int) (known bool, err error) {
	label, known := y.Number(row)
	if !known {
		return false, nil
	}
	if err := operators.CheckBinary(o.labelName, label); err != nil {
		return false, err
	}
	*class = int(label)
	return true, nil
}
