package learn

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// mostWeight bounds the weight of a row.
const mostWeight = 1e6

// weightConfig says as how many rows a row counts.
type weightConfig struct{ weight spec.Column }

func (c *weightConfig) weightField(f *spec.Fields) {
	f.Column(&c.weight, "weight", "", "Column that says as how many rows a row counts when it is learnt, a number from 0 to 1e6; null = 1, 0 = not learnt. Left out: every row counts once. The published loss is that of one row.").Example("cost")
}

// classWeightConfig says as well how much each class counts.
type classWeightConfig struct {
	weightConfig
	classWeights []float64
	weightsAt    spec.Pos // of class_weights
}

func (c *classWeightConfig) classWeightFields(f *spec.Fields) {
	c.weightField(f)
	f.Floats(&c.classWeights, "class_weights", nil, "How much a row of each class counts, in the order of classes, or for a label that is true or false of false and true.").Repeats().At(&c.weightsAt)
}

// newClassWeight finds the column, and compares class_weights with the classes.
func newClassWeight(c *classWeightConfig, classes *classes, env *operators.Env) rowWeight {
	w := newRowWeight(&c.weightConfig, env)
	w.classes = c.classWeights
	checkClassWeights(c.classWeights, c.weightsAt, len(classes.known.Names), classes.fixed, env)
	return w
}

// rowWeight reads the weights of rows.
type rowWeight struct {
	name    string // "" = 1
	col     operators.Col
	in      *batch.Column // of the batch being processed
	classes []float64     // by class; nil = 1
}

func newRowWeight(c *weightConfig, env *operators.Env) rowWeight {
	w := rowWeight{name: c.weight.Name}
	if w.name != "" {
		w.col = env.InNumber(c.weight)
	}
	return w
}

// of binds the column of a batch.
func (w *rowWeight) of(in *batch.Batch) {
	if w.name != "" {
		w.in = w.col.Of(in)
	}
}

// at is the weight of a row of a class.
func (w *rowWeight) at(row, class int) (float64, error) {
	weight := 1.0
	if w.in != nil {
		if x, known := w.in.Number(row); known {
			if !(x >= 0 && x <= mostWeight) {
				return 0, fmt.Errorf("weight %q is %v; expected a number from 0 to 1e6", w.name, x)
			}
			weight = x
		}
	}
	if w.classes != nil {
		weight *= w.classes[class]
	}
	return weight, nil
}

// checkClassWeights complains of weights of classes that are none, or not as many
// as there are classes known beforehand.
func checkClassWeights(weights []float64, at spec.Pos, n int, fixed bool, env *operators.Env) {
	if weights != nil && (!fixed || n != len(weights)) {
		env.Errorf(at, "expected classes, and a weight for each", "class_weights has %d entries, for %d known classes", len(weights), n)
	}
	for _, w := range weights {
		if !(w >= 0 && w <= mostWeight) {
			env.Errorf(at, "expected numbers from 0 to 1e6", "class_weights has %v", w)
		}
	}
}
