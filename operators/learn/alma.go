package learn

import (
	"math"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/weights"
)

var _ = Family.Add(operators.Define(operators.Spec[almaConfig]{
	Name:    "alma",
	Summary: "Predicts one of two classes by a linear score whose margin is close to the largest there is.",
	Doc: "The approximate maximal margin algorithm for the Euclidean norm (ALMA₂; Gentile, JMLR 2, 2001). With k - 1 corrections made so far, a row is learnt whose margin, its label (±1) times its score, is below (1 - alpha)·b/√k: " +
		"the weights move by c/√k times the row towards its label, and are then scaled back to length 1 if they are longer. For rows of length 1 that the classes separate, the paper's bounds hold with b = 1/alpha and c = √2. Scale the features.\n\n" +
		"The published probability is 1/(1+e^-score): it orders rows as the score does and exceeds 1/2 exactly where the score exceeds 0; it is not calibrated.\n\n" +
		"A row whose label is null is predicted and not learnt. A label other than true, false, 1 and 0 rejects the row, as does a row that would make a score or a weight infinite; the model is then as it was. Weights are float32." +
		"\n\nCost: time in proportion to the features of a row, and seldom to the table; memory 4 bytes times 2^bits.",
	Role: operators.Learner,
	Columns: "Those of the input, and `NODE.score`: float64; `NODE.probability`: float64, of the positive class; " +
		"`NODE.loss`: float64?, of this prediction, null until the label is known; `NODE.version`: int64, the events learnt before this row.",
	Examples: []spec.Example{{
		Title:  "Weights of length 1 at most",
		Config: "alma: {label: y, intercept: false}",
		In:     "features:sparse[8],y:bool?\n1:3 2:4,true\n1:3 2:4,\n1:1,false\n1:1,\n",
		Out: "features,y,node.score,node.probability,node.loss,node.version\n" +
			"1:3 2:4,true,0,0.5,0.6931471805599453,0\n" +
			"1:3 2:4,,5,0.9933071490757153,,1\n" +
			"1:1,false,0.6000000238418579,0.6456563116804368,1.0374879658795315,1\n" +
			"1:1,,-0.40000003576278687,0.4013123312951542,,2\n",
	}},
	Build: newALMA,
}))

type almaConfig struct {
	label spec.Column
	marginConfig
	alpha, b, c float64
}

func (c *almaConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "What to predict: a bool, or a number that is 0 or 1; null = not known yet.").Required()
	c.marginFields(f)
	f.Float(&c.alpha, "alpha", 0.9, "How far the margin may stay behind the largest one, as a part of that.").Above(0).AtMost(1)
	f.Float(&c.b, "b", 1/0.9, "Scale of the margin that a row has to have.").Above(0).AtMost(1e6)
	f.Float(&c.c, "c", math.Sqrt2, "Scale of the steps.").Above(0).AtMost(1e6)
}

// almaVersion is the version of almaState and of the weights.
const almaVersion = 1

// almaState is what the model knows beside its table. The weights that count are
// Scale times those of the table, so that scaling all of them is no work.
type almaState struct {
	Version, Corrections int64
	Scale                float64
	Squares              float64 // sum of the squares of the table
	Recent               recent
}

// leastALMA is the scale at which the table is written as what it counts.
const leastALMA = 1e-6

type alma struct {
	config                            *almaConfig
	features, label                   operators.Col
	table                             *weights.Table
	constant                          int // index of the intercept; -1 = none
	s                                 *state.Cell[almaState]
	score, probability, lost, version operators.Col

	idx []uint32 // the row with the intercept
	val []float32
	old []float32
}

func newALMA(c *almaConfig, env *operators.Env) operators.Operator {
	o := &alma{config: c, label: env.In(c.label, batch.Bool, batch.Int64, batch.Float64), constant: -1}
	col, dim := sparseInput(env, c.features)
	o.features = col
	rows := dim
	if c.intercept {
		o.constant, rows = dim, dim+1
		env.Pin("intercept", "last")
	}
	o.table = env.Weights("weights", almaVersion, rows, 1)
	o.table.Apart = rows - dim
	o.s = operators.NewCell(env, "model", almaVersion, almaState{Scale: 1})
	env.Explain(o.explain)
	env.Report(func(r *operators.Report) {
		s := &o.s.V
		reportLearner(r, s.Version, float64(o.table.NonZero()), s.Scale*math.Sqrt(s.Squares), s.Recent)
		r.Set("corrections", float64(s.Corrections))
	})
	o.score = env.AddOwn("score", batch.Float64, false)
	o.probability = env.AddOwn("probability", batch.Float64, false)
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	return o
}

// weight is one that counts.
func (o *alma) weight(i uint32) float32 {
	return float32(float32(o.s.V.Scale) * o.table.Data[i])
}

func (o *alma) intercept() float64 {
	if o.constant < 0 {
		return 0
	}
	return float64(o.weight(uint32(o.constant)))
}

func (o *alma) of(idx []uint32, val []float32) float64 {
	var sum float32
	for k, i := range idx {
		sum += float32(o.weight(i) * val[k])
	}
	return float64(sum) + o.intercept()
}

func (o *alma) explain(in *batch.Batch, row int, x *operators.Explanation) {
	idx, val := o.features.Of(in).Row(row)
	x.Features, x.Intercept, x.Score = o.config.features.Name, o.intercept(), o.of(idx, val)
	for k, i := range idx {
		w := o.weight(i)
		x.Contributions = append(x.Contributions, operators.Contribution{Index: i, Value: val[k], Weight: w, Amount: float32(w * val[k])})
	}
}

func (o *alma) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	x, y := o.features.Of(in), o.label.Of(in)
	score, probability := o.score.Of(in).Floats, o.probability.Of(in).Floats
	lost, version := o.lost.Of(in), o.version.Of(in).Ints
	s := &o.s.V
	for row := range in.N {
		idx, val := x.Row(row)
		z := o.of(idx, val)
		if !finite(z) {
			out.Reject(row, errScore)
			continue
		}
		here := loss.Func{}.Outcome(z)
		score[row], probability[row], version[row] = z, here.Link(), s.Version
		label, known := y.Number(row)
		if !known {
			lost.SetNull(row)
			continue
		}
		err := operators.CheckBinary(o.config.label.Name, label)
		label += label - 1 // -1 or +1
		if err == nil {
			err = o.learn(idx, val, z, label)
		}
		if err != nil {
			out.Reject(row, err)
			continue
		}
		s.Version++
		lost.Floats[row] = here.Value(label)
		s.Recent.add(lost.Floats[row])
	}
	return out.Emit(in)
}

// learn takes a step if the margin asks for one; on an error nothing has changed.
func (o *alma) learn(idx []uint32, val []float32, score, label float64) error {
	s, c := &o.s.V, o.config
	root := math.Sqrt(float64(s.Corrections + 1))
	if float64(label*score) >= (1-c.alpha)*c.b/root {
		return nil
	}
	if o.constant >= 0 {
		o.idx = append(append(o.idx[:0], idx...), uint32(o.constant))
		o.val = append(append(o.val[:0], val...), 1)
		idx, val = o.idx, o.val
	}
	step := float32(label * c.c / (root * s.Scale))
	squares := s.Squares
	o.old = o.old[:0]
	for k, i := range idx {
		w := &o.table.Data[i]
		was := float64(*w)
		o.old = append(o.old, *w)
		*w += float32(step * val[k])
		squares += float64(float64(*w)*float64(*w)) - float64(was*was)
	}
	if !finite(squares) {
		for k := len(idx) - 1; k >= 0; k-- { // of an index that occurs twice the first wins
			o.table.Data[idx[k]] = o.old[k]
		}
		return errStep
	}
	s.Corrections++
	s.Squares = max(0, squares)
	if length := s.Scale * math.Sqrt(s.Squares); length > 1 {
		s.Scale /= length
	}
	o.table.Touch(idx)
	if s.Scale < leastALMA {
		o.settle()
	}
	return nil
}

// settle writes the table as what it counts.
func (o *alma) settle() {
	s := &o.s.V
	s.Squares = 0
	for i := range o.table.Data {
		w := o.weight(uint32(i))
		o.table.Data[i] = w
		s.Squares += float64(float64(w) * float64(w))
	}
	s.Scale = 1
	o.table.TouchAll()
}
