package learn

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// explain takes the score of a row apart; see [operators.Env.Explain].
func (m *linear) explain(in *batch.Batch, row int, x *operators.Explanation) {
	idx, val := m.features.Of(in).Row(row)
	x.Features = m.column
	for k, i := range idx {
		w := m.table.Row(int(i))[0]
		x.Contributions = append(x.Contributions, operators.Contribution{Index: i, Value: val[k], Weight: w, Amount: float32(w * val[k])})
	}
	x.Intercept = m.intercept()
	x.Score = m.score(idx, val)
}
