package evaluate

import (
	"fmt"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/splitmix"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// ns/op is a row.
func BenchmarkEvaluate(b *testing.B) {
	for _, c := range []struct {
		name, operator, config string
		values, before         int // values of the column c, rows before the clock starts
	}{
		{"1000 segments", "evaluate", "{prediction: p, label: y, by: c, segments: 1000, every: 1000000, metrics: [accuracy]}", 1000, 2048},
		{"1000 classes", "majority", "{label: c}", 1000, 2048},
		{"32 segments, roc_auc, exact", "evaluate", "{prediction: p, label: y, by: c, every: 8, metrics: [roc_auc]}", 32, 40960},
		{"32 segments, roc_auc, binned", "evaluate", "{prediction: p, label: y, by: c, every: 8, metrics: [roc_auc]}", 32, 137216},
		{"32 segments, roc_auc of 1000 rows", "evaluate", "{prediction: p, label: y, by: c, every: 8, metrics: [{roc_auc: {window: 1000}}]}", 32, 40960},
	} {
		b.Run(c.name, func(b *testing.B) {
			rows := batch.New(batch.NewSchema(batch.Field{Name: "p.probability", Type: batch.Float64},
				batch.Field{Name: "y", Type: batch.Bool}, batch.Field{Name: "c", Type: batch.String}))
			for i := range uint64(8192) {
				y := splitmix.Uniform(1, i) < 0.3
				p := splitmix.Uniform(2, i)
				if y {
					p = max(p, splitmix.Uniform(3, i))
				}
				rows.Cols[0].AppendFloat(p)
				rows.Cols[1].AppendBool(y)
				rows.Cols[2].AppendString(fmt.Sprint("country-", int(splitmix.Uniform(4, i)*float64(c.values))))
				rows.Origin.Append(int64(i), 0, int32(i))
				rows.N++
			}
			h, err := optest.Open(definition(c.operator), c.config, rows.Schema)
			if err != nil {
				b.Fatal(err)
			}
			h.Node.Next = nil
			process := func(n int) {
				for ; n > 0; n -= rows.N {
					if err := h.Node.Process(0, rows); err != nil {
						b.Fatal(err)
					}
				}
			}
			process(c.before)
			b.ReportAllocs()
			b.ResetTimer()
			process(b.N)
		})
	}
}
