package evaluate

import (
	"fmt"
	"math"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[runningMeanConfig]{
	Name:    "running_mean",
	Summary: "Predicts the mean of the labels so far: the baseline of regression.",
	Doc: "With half_life a label counts half as much after so many later ones: the mean is that of the last 1.44·half_life labels or so. 0 is predicted before the first label. " +
		"A row whose label is null is predicted, and nothing is learnt. A label beyond ±1e100 rejects its row.\n\n" +
		"Cost: constant time and memory.",
	Role: operators.Learner,
	Columns: "Those of the input, and `NODE.prediction`: float64; `NODE.loss`: float64?, the squared error, null until the label is known; " +
		"`NODE.version`: int64, the labels seen before this row.",
	Examples: []spec.Example{{
		Title:  "The mean so far",
		Config: "running_mean: {label: y}",
		In:     "y:float64?,id:int64\n3,1\n5,2\n,3\n10,4\n",
		Out:    "y,id,node.prediction,node.loss,node.version\n3,1,0,9,0\n5,2,3,4,1\n,3,4,,2\n10,4,4,36,2\n",
	}},
	Build: newRunningMean,
}))

type runningMeanConfig struct {
	label    spec.Column
	halfLife float64
}

func (c *runningMeanConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "The number to predict; null = not known yet.").Required().Example("y")
	f.Float(&c.halfLife, "half_life", 0, "Labels after which a label counts half as much; 0 = all count alike.").Within(0, 1e9).
		Was("fading", "the labels after which one counts half as much: −0.69/ln(fading)")
}

type runningMeanState struct {
	Version      int64
	Weight, Mean float64
}

type runningMean struct {
	label                     operators.Col
	labelName                 string
	kept                      float64 // of the weight of a label, with each later one
	prediction, lost, version operators.Col
	s                         runningMeanState
}

func newRunningMean(c *runningMeanConfig, env *operators.Env) operators.Operator {
	o := &runningMean{label: env.InNumber(c.label), labelName: c.label.Name, kept: 1}
	if c.halfLife > 0 {
		o.kept = exact.Exp(-math.Ln2 / c.halfLife)
	}
	o.prediction = env.AddOwn("prediction", batch.Float64, false)
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	env.BindValue("mean", 1, &o.s)
	reportBaseline(env, &o.s.Version)
	return o
}

func (o *runningMean) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	label, lost := o.label.Of(in), o.lost.Of(in)
	prediction, version := o.prediction.Of(in).Floats, o.version.Of(in).Ints
	for row := range in.N {
		prediction[row], version[row] = o.s.Mean, o.s.Version
		y, known := label.Number(row)
		if !known {
			lost.SetNull(row)
			continue
		}
		if math.Abs(y) > 1e100 {
			out.Reject(row, fmt.Errorf("label %q is %v; expected a number from -1e100 to 1e100", o.labelName, y))
			continue
		}
		d := y - o.s.Mean
		lost.Floats[row] = float64(d * d)
		o.s.Weight = float64(o.kept*o.s.Weight) + 1
		o.s.Mean += d / o.s.Weight
		o.s.Version++
	}
	return out.Emit(in)
}
