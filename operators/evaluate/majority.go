package evaluate

import (
	"fmt"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[majorityConfig]{
	Name:    "majority",
	Summary: "Predicts the label that was most frequent so far: a baseline.",
	Doc: "What knows nothing of a row but the shares of the labels predicts so; where one label is rare, it is right nearly always, and only a score against it shows what a model has learnt.\n\n" +
		"A bool label gives a probability: the share of true among the labels so far, true and false each counted once more (Laplace), so 0.5 before the first. Any other gives a class: the most frequent so far, of equals the one seen first, null before the first. " +
		"A row whose label is null is predicted, and nothing is learnt. A label of more than 256 bytes rejects its row.\n\n" +
		"Cost: constant time a row; memory of some 100 bytes a class and its text.",
	Role: operators.Learner,
	Columns: "Those of the input, and, as for learners, `NODE.probability`: float64, or `NODE.class`: string?; " +
		"`NODE.loss`: float64?, −ln of the probability given to the label, at most 34.54, or 1 for a wrong class and 0 for the right one, null until the label is known; " +
		"`NODE.version`: int64, the labels seen before this row.",
	Examples: []spec.Example{{
		Title:  "The share of true",
		Config: "majority: {label: y}",
		In:     "id:int64,y:bool?\n1,true\n2,false\n3,\n4,false\n",
		Out:    "id,y,node.probability,node.loss,node.version\n1,true,0.5,0.6931471805599453,0\n2,false,0.6666666666666666,1.0986122886681096,1\n3,,0.5,,2\n4,false,0.5,0.6931471805599453,2\n",
	}, {
		Title:  "Classes",
		Config: "majority: {label: color}",
		In:     "color:string\nred\nblue\nblue\nblue\n",
		Out:    "color,node.class,node.loss,node.version\nred,,1,0\nblue,red,1,1\nblue,red,1,2\nblue,blue,0,3\n",
	}},
	Build: newMajority,
}))

type majorityConfig struct {
	label   spec.Column
	predict string
	most    int
	given   bool     // max_classes
	mostAt  spec.Pos // of it
}

func (c *majorityConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "What to predict; null = not known yet.").Required().Example("y")
	f.Enum(&c.predict, "predict", "auto", []string{"auto", "probability", "class"},
		"What to predict: auto = a probability for a bool label, else a class; probability takes labels that are 0 or 1 as well, class whole numbers and bools by their text.").Pin()
	f.Int(&c.most, "max_classes", 1000, "Most classes; a row with a further one is rejected.").Within(2, 100_000).Given(&c.given).At(&c.mostAt)
}

// majorityState counts labels: of false and true, or of the classes in the order seen.
type majorityState struct {
	Version int64
	Names   []string
	Counts  []int64
	Best    int64 // the class with the greatest count
}

type majority struct {
	kind                 operators.PredictionKind
	label                operators.Col
	labelName            string
	most                 int
	value, lost, version operators.Col
	s                    majorityState
	index                operators.TextIndex // of s.Names
	text                 []byte
}

func newMajority(c *majorityConfig, env *operators.Env) operators.Operator {
	o := &majority{labelName: c.label.Name, most: c.most}
	kind := c.predict
	if kind == "auto" && env.IsBool(c.label) {
		kind = "probability"
	}
	if kind == "probability" {
		if c.given {
			env.Errorf(c.mostAt, "expected no max_classes, or predict: class", "max_classes is of classes that come as seen, but none are predicted")
		}
		o.kind = operators.Probability
		o.label = env.In(c.label, batch.Bool, batch.Int64, batch.Float64)
		o.value = env.AddOwn("probability", batch.Float64, false)
		o.s.Counts = make([]int64, 2)
	} else {
		o.kind = operators.Class
		o.label = env.In(c.label, batch.String, batch.Int64, batch.Bool)
		o.value = env.AddOwn("class", batch.String, true)
	}
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	env.BindValue("labels", 1, &o.s)
	reportBaseline(env, &o.s.Version)
	return o
}

// reportBaseline reports what every learner does, of one without weights.
func reportBaseline(env *operators.Env, version *int64) {
	env.Report(func(r *operators.Report) {
		r.Set("version", float64(*version))
		r.Set("weights_nonzero", 0)
		r.Set("weights_l2", 0)
	})
}

func (o *majority) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	label, value, lost, version := o.label.Of(in), o.value.Of(in), o.lost.Of(in), o.version.Of(in).Ints
	for row := range in.N {
		version[row] = o.s.Version
		p := 0.0
		switch {
		case o.kind == operators.Probability:
			p = float64(o.s.Counts[1]+1) / float64(o.s.Version+2)
			value.Floats[row] = p
		case o.s.Version == 0:
			value.AppendNull()
		default:
			value.AppendString(o.s.Names[o.s.Best])
		}
		if label.Null(row) {
			lost.SetNull(row)
			continue
		}
		loss, err := o.learn(label, row, p)
		if err != nil {
			out.Reject(row, err)
			continue
		}
		lost.Floats[row] = loss
	}
	return out.Emit(in)
}

// learn counts the label of a row and returns the loss of its prediction.
func (o *majority) learn(label *batch.Column, row int, p float64) (loss float64, err error) {
	if o.kind == operators.Probability {
		y, _ := label.Number(row)
		if err := operators.CheckBinary(o.labelName, y); err != nil {
			return 0, err
		}
		if y == 0 {
			p = 1 - p
		}
		o.s.Counts[int(y)]++
		o.s.Version++
		return 0 - exact.Log(max(1e-15, p)), nil // not -0
	}
	if err := operators.CheckClass(o.labelName, label, row); err != nil {
		return 0, err
	}
	o.text = label.AppendText(o.text[:0], row)
	class := o.index.Place(o.s.Names, o.text)
	if class < 0 {
		class = len(o.s.Names)
		if class >= o.most {
			return 0, fmt.Errorf("label %q is %q, a class beyond max_classes: %d", o.labelName, o.text, o.most)
		}
		o.s.Names, o.s.Counts = append(o.s.Names, string(o.text)), append(o.s.Counts, 0)
	}
	if o.s.Version == 0 || int64(class) != o.s.Best {
		loss = 1
	}
	o.s.Counts[class]++
	o.s.Version++
	if n, best := o.s.Counts[class], o.s.Counts[o.s.Best]; n > best || n == best && int64(class) < o.s.Best {
		o.s.Best = int64(class)
	}
	return loss, nil
}
