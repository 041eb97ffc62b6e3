package operators

import "github.com/gradstream/gradstream/pipeline/batch"

// Contribution is what one feature of a row adds to a score.
type Contribution struct {
	Index  uint32
	Value  float32 // of the feature
	Weight float32
	Amount float32 // weight times value, rounded as the model rounds it
}

// Explanation takes apart the score that a linear learner gives to a row.
type Explanation struct {
	Features      string         // sparse column that the learner reads
	Contributions []Contribution // in the order of the vector
	Intercept     float64        // 0 if there is none
	Score         float64        // as the learner computes it
}

// Sum adds up the contributions in the order and the precision in which the
// learner does, and then the intercept: it is the score, bit for bit.
func (e *Explanation) Sum() float64 {
	var sum float32
	for _, c := range e.Contributions {
		sum += c.Amount
	}
	return float64(sum) + e.Intercept
}

// Feature says what made one feature of a row.
type Feature struct {
	Index   uint32
	Columns []string // several for a cross
	Values  []string // one for each column: its text, the words of a token, or the index in a sparse column
}

// Explain registers a function that explains the score which the learner gives to
// a row of its first input. It is called before Process is called with the row,
// must change nothing, and is never called while a pipeline runs.
func (e *Env) Explain(f func(in *batch.Batch, row int, x *Explanation)) { e.explain = f }

// Features registers a function that tells what made each feature of a row in the
// sparse column that the operator adds: one entry for each of the vector, in its
// order. Like that of Explain it changes nothing.
func (e *Env) Features(f func(in *batch.Batch, row int) []Feature) { e.features = f }

// Explain explains the score of a row that was not processed yet; ok is false if
// the operator cannot.
func (n *Node) Explain(in *batch.Batch, row int) (x Explanation, ok bool) {
	if n.env.explain == nil {
		return x, false
	}
	n.env.explain(in, row, &x)
	return x, true
}

// Features tells what makes each feature of a row; ok is false if the operator
// makes none.
func (n *Node) Features(in *batch.Batch, row int) (all []Feature, ok bool) {
	if n.env.features == nil {
		return nil, false
	}
	return n.env.features(in, row), true
}
