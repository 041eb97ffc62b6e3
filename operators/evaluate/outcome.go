package evaluate

import (
	"fmt"
	"strings"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/evaluate/metric"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// outcome reads the place of what was right among what was scored: from a column of ranks, or from the probabilities that a
// learner gives to classes.
type outcome struct {
	fromRank bool
	rank     operators.Col
	name     string // of rank

	classes       []string
	probabilities []operators.Col
}

// distribution finds the probabilities of classes of a learner, in columns NODE.probability.CLASS; nil if there are none.
func distribution(node string, env *operators.Env) *outcome {
	o := new(outcome)
	prefix := node + ".probability."
	for i, f := range env.Input(0).Fields {
		if class, ok := strings.CutPrefix(f.Name, prefix); ok && f.Type == batch.Float64 {
			o.classes, o.probabilities = append(o.classes, class), append(o.probabilities, operators.Col(i))
		}
	}
	if len(o.classes) == 0 {
		return nil
	}
	return o
}

// place reads a rank.
func (o *outcome) place(in *batch.Batch, row int, r *metric.Outcome) (ok bool, err error) {
	c := o.rank.Of(in)
	if c.Null(row) {
		return false, nil
	}
	if r.Rank = c.Ints[row]; r.Rank < 0 {
		return false, fmt.Errorf("rank %q is %d; expected a whole number from 0", o.name, r.Rank)
	}
	return true, nil
}

// among ranks the class that was right by the probabilities of a row. Null ones are 0.
func (o *outcome) among(in *batch.Batch, row int, truth string, r *metric.Outcome) error {
	*r = metric.Outcome{}
	right := -1
	for i, class := range o.classes {
		p, _ := o.probabilities[i].Of(in).Number(row)
		if p < 0 || p > 1 {
			return fmt.Errorf("the probability of class %q is %v; expected a number from 0 to 1", class, p)
		}
		r.Squares += float64(p * p)
		if class == truth {
			right, r.P = i, p
		}
	}
	if right < 0 {
		return nil
	}
	r.Rank = 1
	for i := range o.classes {
		if p, _ := o.probabilities[i].Of(in).Number(row); p > r.P || p == r.P && i < right {
			r.Rank++
		}
	}
	return nil
}
