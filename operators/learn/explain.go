package learn

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// explain takes the score of a row apart; see [operators.Env.Explain].
func (m *linear) explain(in *batch.Batch, row int, x *operators.Explanation) {
	idx, val := m.features.Of(in).Row(row)
	x.Features = m.column
	x.Score = m.score(idx, val)
	whole, values := m.whole(idx, val)
	weights := m.rule.Weigh(m.data, whole, values)
	for k, i := range idx {
		w := weights[k]
		x.Contributions = append(x.Contributions, operators.Contribution{Index: i, Value: val[k], Weight: w, Amount: float32(w * val[k])})
	}
	if n := len(idx); len(weights) > n {
		x.Intercept = float64(weights[n])
	} else {
		x.Intercept = m.intercept()
	}
}
