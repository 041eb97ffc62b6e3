package learn

import (
	"math/rand/v2"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// One row a step, 1,024 rows a batch; ns/op is a row.
func BenchmarkLogisticRegression(b *testing.B) {
	for _, c := range []struct {
		name, config string
		features     int
	}{
		{"sgd/8", "{label: y, optimizer: sgd}", 8},
		{"adagrad/8", "{label: y, optimizer: adagrad}", 8},
		{"adagrad/78", "{label: y, optimizer: adagrad}", 78},
		{"mixture/8", "{label: y, optimizer: mixture}", 8},
		{"mixture/78", "{label: y, optimizer: mixture}", 78},
		{"normalized/8", "{label: y, optimizer: normalized}", 8},
		{"coin/8", "{label: y, optimizer: coin}", 8},
		{"ftrl/8", "{label: y, optimizer: ftrl}", 8},
	} {
		b.Run(c.name, func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			s := batch.NewSchema(batch.Field{Name: "features", Type: batch.Sparse, Dim: 1 << 18}, batch.Field{Name: "y", Type: batch.Bool})
			rows := batch.New(s)
			for n := range 1024 {
				for range c.features {
					rows.Cols[0].AddFeature(uint32(rng.IntN(1<<18)), float32(rng.NormFloat64()))
				}
				rows.Cols[0].EndRow()
				rows.Cols[1].AppendBool(rng.IntN(2) == 0)
				rows.Origin.Append(int64(n), 0, int32(n))
				rows.N++
			}
			h, err := optest.Open(operators.Merge(&Family).Lookup("logistic_regression"), c.config, s)
			if err != nil {
				b.Fatal(err)
			}
			h.Node.Next = nil
			b.ReportAllocs()
			for n := 0; n < b.N; n += rows.N {
				if err := h.Node.Process(0, rows); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
