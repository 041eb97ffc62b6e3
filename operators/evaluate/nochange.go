package evaluate

import (
	"fmt"
	"math"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[noChangeConfig]{
	Name:    "no_change",
	Summary: "Predicts the label that was seen last: the baseline of every stream.",
	Doc: "Labels of a stream come in runs, so this predictor is often hard to beat, and a model that does not beat it has learnt nothing of use " +
		"(Bifet and others, ECML PKDD 2013).\n\n" +
		"A bool label gives a probability: confidence if the last label was true, 1 − confidence if it was false, 0.5 before the first. The default of 0.95 is that of published comparisons, whose log loss it reproduces; " +
		"for the log loss of a calibrated baseline set it to the share of labels that equal the one before. " +
		"A number gives a number, 0 before the first label. A string gives a class, null before the first. A row whose label is null is predicted, and nothing is learnt. A class of more than 256 bytes rejects its row.\n\n" +
		"Cost: constant time and memory.",
	Role: operators.Learner,
	Columns: "Those of the input, and, as for learners, `NODE.probability`: float64, or `NODE.prediction`: float64, or `NODE.class`: string?; " +
		"`NODE.loss`: float64?, −ln of the probability given to the label, the squared error, or 1 for a wrong class and 0 for the right one, null until the label is known; " +
		"`NODE.version`: int64, the labels seen before this row.",
	Examples: []spec.Example{{
		Title:  "Two classes",
		Config: "no_change: {label: y}",
		In:     "id:int64,y:bool?\n1,true\n2,true\n3,\n4,false\n",
		Out: "id,y,node.probability,node.loss,node.version\n" +
			"1,true,0.5,0.6931471805599453,0\n2,true,0.95,0.05129329438755058,1\n3,,0.95,,2\n4,false,0.95,2.99573227355399,2\n",
	}, {
		Title:  "Numbers",
		Config: "no_change: {label: price}",
		In:     "price:float64\n3\n5\n",
		Out:    "price,node.prediction,node.loss,node.version\n3,0,9,0\n5,3,4,1\n",
	}},
	Build: newNoChange,
}))

type noChangeConfig struct {
	label      spec.Column
	confidence float64
	predict    string
}

func (c *noChangeConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "What to predict; null = not known yet.").Required().Example("y")
	f.Float(&c.confidence, "confidence", 0.95, "Probability given to the last label, where the label is true or false.").Within(0.5, 0.999999999)
	f.Enum(&c.predict, "predict", "auto", []string{"auto", "probability", "class", "number"},
		"What to predict: auto = a probability for a bool label, a class for a string, else a number; probability takes labels that are 0 or 1 as well, class whole numbers and bools by their text.").Pin()
}

// noChange is the operator.
type noChange struct {
	kind                 operators.PredictionKind
	label                operators.Col
	labelName            string
	confidence           float64
	right, wrong         float64 // log losses
	value, lost, version operators.Col
	s                    noChangeState
	text                 []byte
}

type noChangeState struct {
	Version int64   // labels seen
	Number  float64 // the last, with true = 1
	Class   []byte  // its text
}

func newNoChange(c *noChangeConfig, env *operators.Env) operators.Operator {
	o := &noChange{labelName: c.label.Name, confidence: c.confidence, right: -exact.Log(c.confidence), wrong: -exact.Log(1 - c.confidence)}
	kind := c.predict
	if i := env.Input(0).Lookup(c.label.Name); kind == "auto" && i >= 0 {
		kind = map[batch.Type]string{batch.Bool: "probability", batch.String: "class"}[env.Input(0).Fields[i].Type]
	}
	switch kind {
	case "probability":
		o.kind = operators.Probability
		o.label = env.In(c.label, batch.Bool, batch.Int64, batch.Float64)
		o.value = env.AddOwn("probability", batch.Float64, false)
	case "class":
		o.kind = operators.Class
		o.label = env.In(c.label, batch.String, batch.Int64, batch.Bool)
		o.value = env.AddOwn("class", batch.String, true)
	default:
		o.kind = operators.Number
		types := []batch.Type{batch.Float64, batch.Int64, batch.Bool}
		if c.predict == "auto" {
			types = append(types, batch.String)
		}
		o.label = env.In(c.label, types...)
		o.value = env.AddOwn("prediction", batch.Float64, false)
	}
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	env.BindValue("last", 1, &o.s)
	reportBaseline(env, &o.s.Version)
	return o
}

func (o *noChange) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	label, lost, version := o.label.Of(in), o.lost.Of(in), o.version.Of(in).Ints
	for row := range in.N {
		version[row] = o.s.Version
		o.predict(o.value.Of(in), row)
		if label.Null(row) {
			lost.SetNull(row)
			continue
		}
		loss, err := o.learn(label, row)
		if err != nil {
			out.Reject(row, err)
			continue
		}
		lost.Floats[row] = loss
	}
	return out.Emit(in)
}

// predict writes what the last label says of a row.
func (o *noChange) predict(value *batch.Column, row int) {
	switch o.kind {
	case operators.Probability:
		value.Floats[row] = o.probability()
	case operators.Class:
		if o.s.Version == 0 {
			value.AppendNull()
		} else {
			value.AppendBytes(o.s.Class)
		}
	case operators.Number:
		value.Floats[row] = o.s.Number
	}
}

func (o *noChange) probability() float64 {
	switch {
	case o.s.Version == 0:
		return 0.5
	case o.s.Number == 1:
		return o.confidence
	}
	return 1 - o.confidence
}

// learn remembers the label of a row and returns the loss of its prediction.
func (o *noChange) learn(label *batch.Column, row int) (loss float64, err error) {
	if o.kind == operators.Class {
		if err := operators.CheckClass(o.labelName, label, row); err != nil {
			return 0, err
		}
		o.text = label.AppendText(o.text[:0], row)
		if o.s.Version == 0 || string(o.text) != string(o.s.Class) {
			loss = 1
		}
		o.s.Class = append(o.s.Class[:0], o.text...)
		o.s.Version++
		return loss, nil
	}
	y, _ := label.Number(row)
	if o.kind == operators.Number {
		d := y - o.s.Number
		if loss = d * d; math.IsInf(loss, 0) {
			return 0, fmt.Errorf("label %q is %v; its squared distance from the label before is infinite", o.labelName, y)
		}
	} else {
		if err := operators.CheckBinary(o.labelName, y); err != nil {
			return 0, err
		}
		switch {
		case o.s.Version == 0:
			loss = math.Ln2
		case y == o.s.Number:
			loss = o.right
		default:
			loss = o.wrong
		}
	}
	o.s.Number = y
	o.s.Version++
	return loss, nil
}
