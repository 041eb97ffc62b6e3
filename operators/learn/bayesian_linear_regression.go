package learn

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/kalman"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[bayesianConfig]{
	Name:    "bayesian_linear_regression",
	Summary: "Predicts a number from columns of numbers, and says how sure it is.",
	Doc: "The weights have a normal distribution: before the first label with mean 0 and precision alpha, each by itself; a label is the sum of weight times number with normal noise of precision beta. " +
		"Each labelled row turns the distribution into the one given that row, exactly (Bishop, Pattern Recognition and Machine Learning, 3.3): there is no rate to tune, and the order of the rows does not matter but for rounding. " +
		"The covariance is kept as U·D·Uᵀ and updated by Bierman's recurrence (Factorization Methods for Discrete Sequential Estimation, 1977), which cannot lose its sign to rounding.\n\n" +
		"A null counts as 0. Nothing is scaled: alpha is in the unit of the columns. A row whose label is null is predicted and not learnt; one that would overflow the model is rejected, and the model is as it was.\n\n" +
		"Cost: time and memory in proportion to the square of the number of columns: 4 bytes times its square.",
	Role: operators.Learner,
	Columns: "Those of the input, and `NODE.prediction`: float64, the mean; `NODE.deviation`: float64, the standard deviation of the label around it, noise included; " +
		"`NODE.loss`: float64?, the squared error, null until the label is known; `NODE.version`: int64, the events learnt before this row.",
	Examples: []spec.Example{{
		Title:  "On y = 2x, each row makes it surer",
		Config: "bayesian_linear_regression: {label: y, intercept: false}",
		In:     "x,y:float64?\n1,2\n1,2\n2,4\n3,\n",
		Out:    "x,y,node.prediction,node.deviation,node.loss,node.version\n1,2,0,1.4142135623730951,4,0\n1,2,1,1.224744871391589,1,1\n2,4,2.6666666666666665,1.5275252316519465,1.7777777777777781,2\n3,,5.142857142857143,1.5118578920369088,,3\n",
	}},
	Build: newBayesian,
}))

type bayesianConfig struct {
	label       spec.Column
	alpha, beta float64
	intercept   bool
	weightConfig
	inputsConfig
}

func (c *bayesianConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "The number to predict; null = not known yet.").Required().Example("y")
	c.weightField(f)
	c.numericField(f)
	f.Float(&c.alpha, "alpha", 1, "Precision of the weights before the first label: 1 / variance.").Within(1e-12, 1e12).Pin()
	f.Float(&c.beta, "beta", 1, "Precision of the labels: 1 / variance of their noise.").Within(1e-12, 1e12)
	f.Bool(&c.intercept, "intercept", true, "Whether there is a column that is always 1.").Pin()
}

// bayesianVersion is the version of bayesianState, mostBayesian the most columns:
// 2,000 make 16 MB of state that every checkpoint writes.
const (
	bayesianVersion = 1
	mostBayesian    = 2000
)

type bayesianState struct {
	Version int64
	Recent  recent
	Filter  kalman.Filter
}

type bayesian struct {
	numbers                              *numbers
	label                                operators.Col
	labelName                            string
	weight                               rowWeight
	noise                                float64
	filter                               kalman.Scratch
	x                                    []float64
	prediction, deviation, lost, version operators.Col
	s                                    bayesianState
}

func newBayesian(c *bayesianConfig, env *operators.Env) operators.Operator {
	o := &bayesian{label: env.InNumber(c.label), labelName: c.label.Name, numbers: newNumbers(&c.inputsConfig, env, c.label, c.weight), weight: newRowWeight(&c.weightConfig, env), noise: 1 / c.beta}
	n := len(o.numbers.cols)
	if c.intercept {
		n++
	}
	if n > mostBayesian {
		env.Errorf(spec.Pos{}, "expected at most "+strconv.Itoa(mostBayesian)+", or linear_regression", "there are %d columns", n)
		n = 1
	}
	n = max(1, n) // of none was complained
	o.x = make([]float64, n)
	o.x[n-1] = 1
	o.s.Filter = kalman.New(n, 1/c.alpha)
	o.prediction = env.AddOwn("prediction", batch.Float64, false)
	o.deviation = env.AddOwn("deviation", batch.Float64, false)
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	env.BindValue("model", bayesianVersion, &o.s)
	env.Report(func(r *operators.Report) {
		nonzero, l2 := 0.0, 0.0
		for _, w := range o.s.Filter.Mean {
			if w != 0 {
				nonzero++
				l2 += float64(w * w)
			}
		}
		reportLearner(r, o.s.Version, nonzero, math.Sqrt(min(l2, math.MaxFloat64)), o.s.Recent)
	})
	return o
}

var errBayesian = errors.New("the row would make the model infinite")

func (o *bayesian) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.numbers.of(in)
	o.weight.of(in)
	y, lost := o.label.Of(in), o.lost.Of(in)
	prediction, deviation, version := o.prediction.Of(in).Floats, o.deviation.Of(in).Floats, o.version.Of(in).Ints
	for row := range in.N {
		x, err := o.numbers.read(row)
		if err != nil {
			out.Reject(row, err)
			continue
		}
		for i, v := range x {
			if absent(v) {
				v = 0
			}
			o.x[i] = v
		}
		mean, variance := o.filter.Predict(&o.s.Filter, o.x, o.noise)
		if !finite(mean) || !finite(variance) {
			out.Reject(row, errBayesian)
			continue
		}
		prediction[row], deviation[row], version[row] = mean, math.Sqrt(variance), o.s.Version
		label, known := y.Number(row)
		if !known {
			lost.SetNull(row)
			continue
		}
		weight, err := o.weight.at(row, 0)
		if err != nil {
			out.Reject(row, err)
			continue
		}
		if weight != 1 && weight > 0 {
			o.filter.Predict(&o.s.Filter, o.x, o.noise/weight) // as that many rows tell: with less noise
		}
		d := label - mean
		if loss := float64(d * d); !finite(loss) {
			out.Reject(row, fmt.Errorf("label %q is %v; its squared distance from the prediction is infinite", o.labelName, label))
			continue
		} else if weight > 0 && !o.filter.Update(&o.s.Filter, d) {
			out.Reject(row, errBayesian)
			continue
		} else {
			lost.Floats[row] = loss
			o.s.Recent.add(loss)
		}
		if weight > 0 {
			o.s.Version++
		}
	}
	return out.Emit(in)
}
