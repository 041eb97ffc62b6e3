package learn

import (
	"fmt"
	"math"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

const marginDoc = " The published probability orders the classes as their scores do and is not calibrated: e to the power of the score, over the sum of all." + multiDoc +
	"\n\nCost: time and memory in proportion to the classes: 4 bytes times 2^bits for each, once it was seen."

var _ = Family.Add(operators.Define(operators.Spec[perceptronConfig]{
	Name:    "perceptron",
	Summary: "Predicts a class by the greatest linear score, learning from mistakes only.",
	Doc: "Where the score of the label's class is not above that of every other, half of the row is added to its weights and taken from those of the best other one (Rosenblatt 1958; several classes as in Crammer, Singer 2003). " +
		"For two classes that is the perceptron with a rate of 1." + marginDoc,
	Role:    operators.Learner,
	Columns: classColumns,
	Examples: []spec.Example{{
		Title:  "Two classes",
		Config: "perceptron: {label: y}",
		In:     "features:sparse[8],y:bool?\n1:1,true\n2:1,false\n1:1,\n",
		Out: "features,y,node.probability,node.loss,node.version\n" +
			"1:1,true,0.5,0.6931471805599453,0\n" +
			"2:1,false,0.7310585786300049,1.3132616875182228,1\n" +
			"1:1,,0.7310585786300049,,2\n",
	}},
	Build: func(c *perceptronConfig, env *operators.Env) operators.Operator {
		return newMulti(&c.multiConfig, c.linear(), margin{step: func(float64, float64) float64 { return 1 }}, env)
	},
}))

// marginConfig is what the learners of a margin have in common.
type marginConfig struct {
	features  spec.Column
	intercept bool
	driftConfig
}

func (c *marginConfig) marginFields(f *spec.Fields) {
	f.Column(&c.features, "features", "features", "Sparse column to learn from, as vectorize adds it.")
	f.Bool(&c.intercept, "intercept", true, "Whether a constant is added to the score. It moves like the weight of a feature that is always 1.")
}

// linear is the linear model that a step of 1 moves by the row.
func (c *marginConfig) linear() *linearConfig {
	return &linearConfig{
		features: c.features, intercept: c.intercept,
		optimizer: spec.Choice{Name: "sgd", Config: &sgdConfig{rate: 1}}, driftConfig: c.driftConfig,
	}
}

type perceptronConfig struct {
	multiConfig
	marginConfig
}

func (c *perceptronConfig) Fields(f *spec.Fields) {
	c.fields(f)
	c.marginFields(f)
	c.reactField(f, reactBackground)
}

// aggressiveConfig is how far a passive-aggressive step goes.
type aggressiveConfig struct {
	variant string
	c       float64
}

func (c *aggressiveConfig) aggressiveFields(f *spec.Fields) {
	f.Enum(&c.variant, "variant", "PA-I", []string{"PA", "PA-I", "PA-II"},
		"How a step is bounded: PA = not at all, PA-I = by c, PA-II = damped by c.")
	f.Float(&c.c, "c", 1, "Aggressiveness: how far one row may move the weights (PA-I, PA-II).").Above(0).AtMost(1e6)
}

// step is τ of Crammer et al. for a loss and the squared length of the row.
func (c *aggressiveConfig) step(loss, squares float64) float64 {
	switch {
	case c.variant == "PA-II":
		return loss / (squares + 0.5/c.c)
	case squares == 0:
		return 0
	case c.variant == "PA-I":
		return min(c.c, loss/squares)
	}
	return loss / squares
}

const aggressiveDoc = "PA takes τ = loss/‖x‖², PA-I at most c, PA-II loss/(‖x‖² + 1/(2c)) (Crammer, Dekel, Keshet, Shalev-Shwartz, Singer, JMLR 7, 2006). The intercept moves by τ too and is not counted in ‖x‖². A row without features moves nothing but under PA-II."

var _ = Family.Add(operators.Define(operators.Spec[passiveAggressiveConfig]{
	Name:    "passive_aggressive",
	Summary: "Predicts a class by the greatest linear score; each row moves the weights as little as puts it right.",
	Doc: "The loss of a row is what the score of the label's class lacks to be 1 above that of every other; if it is above 0, the weights of that class move by τ/2 times the row, and those of the best other one against it. For two classes that is the binary rule. " +
		aggressiveDoc + marginDoc,
	Role:    operators.Learner,
	Columns: classColumns,
	Examples: []spec.Example{{
		Title:  "Two classes",
		Config: "passive_aggressive: {label: y, intercept: false, variant: PA}",
		In:     "features:sparse[8],y:bool?\n1:2,true\n1:2,\n2:1,false\n",
		Out: "features,y,node.probability,node.loss,node.version\n" +
			"1:2,true,0.5,0.6931471805599453,0\n" +
			"1:2,,0.7310585786300049,,1\n" +
			"2:1,false,0.5,0.6931471805599453,1\n",
	}},
	Build: func(c *passiveAggressiveConfig, env *operators.Env) operators.Operator {
		return newMulti(&c.multiConfig, c.linear(), margin{enough: 1, step: c.step}, env)
	},
}))

type passiveAggressiveConfig struct {
	multiConfig
	marginConfig
	aggressiveConfig
}

func (c *passiveAggressiveConfig) Fields(f *spec.Fields) {
	c.fields(f)
	c.marginFields(f)
	c.aggressiveFields(f)
	c.reactField(f, reactBackground)
}

var _ = Family.Add(operators.Define(operators.Spec[aggressiveRegressionConfig]{
	Name:    "passive_aggressive_regression",
	Summary: "Predicts a number from a linear score; each row moves the weights as little as puts it right.",
	Doc: "The loss of a row is |prediction - label| beyond epsilon; the weights move by τ times the row towards the label. " + aggressiveDoc +
		" The label is taken as it is.\n\nA row whose label is null is predicted and not learnt. A row that would make a score or a weight infinite is rejected; the model is then as it was." +
		"\n\nCost: time in proportion to the features of a row; memory 4 bytes times 2^bits.",
	Role: operators.Learner,
	Columns: "Those of the input, and `NODE.prediction`: float64; `NODE.loss`: float64?, of this prediction, null until the label is known; " +
		"`NODE.version`: int64, the events learnt before this row.",
	Examples: []spec.Example{{
		Title:  "A step that puts the row right",
		Config: "passive_aggressive_regression: {label: y, intercept: false, epsilon: 0.5, variant: PA}",
		In:     "features:sparse[8],y:float64?\n1:2,4\n1:2,\n1:1,2\n",
		Out: "features,y,node.prediction,node.loss,node.version\n" +
			"1:2,4,0,3.5,0\n1:2,,3.5,,1\n1:1,2,1.75,0,1\n",
	}},
	Build: newAggressiveRegression,
}))

type aggressiveRegressionConfig struct {
	label spec.Column
	weightConfig
	marginConfig
	aggressiveConfig
	epsilon float64
}

func (c *aggressiveRegressionConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "The number to predict; null = not known yet.").Required()
	c.weightField(f)
	c.marginFields(f)
	c.aggressiveFields(f)
	f.Float(&c.epsilon, "epsilon", 0.1, "Errors up to this, in the unit of the label, are no loss.").Within(0, 1e300)
	c.reactField(f, reactBackground)
}

type aggressiveRegression struct {
	model                     *linear
	rival                     *aggressiveRival // nil = there is no second model
	config                    *aggressiveRegressionConfig
	label                     operators.Col
	weight                    rowWeight
	prediction, lost, version operators.Col
}

func newAggressiveRegression(c *aggressiveRegressionConfig, env *operators.Env) operators.Operator {
	o := &aggressiveRegression{config: c, label: env.InNumber(c.label), weight: newRowWeight(&c.weightConfig, env)}
	o.model = newLinear(c.linear(), env, modelVersion, func(float64, float64) float64 { return 1 })
	if o.model != nil && o.model.react != nil && o.model.rival != nil {
		o.rival = &aggressiveRival{linearRival: o.model.rival, of: o}
		o.model.react.second = o.rival
	}
	o.prediction = env.AddOwn("prediction", batch.Float64, false)
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	return o
}

func (o *aggressiveRegression) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	m := o.model
	x, y := m.features.Of(in), o.label.Of(in)
	o.weight.of(in)
	prediction, lost, version := o.prediction.Of(in).Floats, o.lost.Of(in), o.version.Of(in).Ints
	for row := range in.N {
		idx, val := x.Row(row)
		s := m.score(idx, val)
		if !finite(s) {
			out.Reject(row, errScore)
			continue
		}
		prediction[row], version[row] = s, m.state.V.Version
		label, known := y.Number(row)
		if !known {
			lost.SetNull(row)
			continue
		}
		loss := o.config.loss(s - label)
		weight, err := o.weight.at(row, 0)
		if err == nil && weight > 0 {
			err = o.learn(m, idx, val, s-label, weight)
		}
		if err != nil {
			out.Reject(row, err)
			continue
		}
		lost.Floats[row] = loss
		m.state.V.Recent.add(loss)
		if weight > 0 {
			m.state.V.Version++
		}
		if o.rival != nil {
			o.rival.idx, o.rival.val, o.rival.label, o.rival.weight = idx, val, label, weight
		}
		if r := m.react; r != nil && weight > 0 && r.after(loss, r.s.Labels.relative(loss, label, false)) {
			m.forget()
		}
	}
	return out.Emit(in)
}

// loss is that of a prediction which is off by so much.
func (c *aggressiveRegressionConfig) loss(off float64) float64 {
	return max(0, math.Abs(off)-c.epsilon)
}

// learn moves a model whose prediction was off; on an error nothing has changed.
func (o *aggressiveRegression) learn(m *linear, idx []uint32, val []float32, off, weight float64) error {
	if !finite(off) {
		return fmt.Errorf("label %q is too far from the prediction", o.config.label.Name)
	}
	step := float64(weight * o.config.step(o.config.loss(off), squares(val)))
	if !finite(step) {
		return errStep
	}
	if err := m.follow(idx, val, math.Copysign(step, off)); err != nil {
		return err
	}
	m.touch(m.table, idx, 0)
	return nil
}

// aggressiveRival is the rival of a passive-aggressive regression.
type aggressiveRival struct {
	*linearRival
	of            *aggressiveRegression
	label, weight float64 // of the row
}

func (r *aggressiveRival) trial() (float64, bool) {
	off := r.second.score(r.idx, r.val) - r.label
	if r.of.learn(r.second, r.idx, r.val, off, r.weight) != nil {
		return 0, false
	}
	return r.of.config.loss(off), true
}

// squares is the squared length of a row.
func squares(val []float32) float64 {
	sum := 0.0
	for _, x := range val {
		sum += float64(float64(x) * float64(x))
	}
	return sum
}
