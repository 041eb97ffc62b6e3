package learn

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// One row a step, 1,024 rows a batch of 8 features; ns/op is a row.
func BenchmarkOtherLearners(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	fields := []batch.Field{
		{Name: "features", Type: batch.Sparse, Dim: 1 << 12}, {Name: "y", Type: batch.Bool}, {Name: "z", Type: batch.Float64},
		{Name: "user", Type: batch.Int64}, {Name: "item", Type: batch.Int64},
	}
	numeric := "numeric: [x0, x1, x2, x3, x4, x5, x6, x7]"
	for i := range 8 {
		fields = append(fields, batch.Field{Name: "x" + strconv.Itoa(i), Type: batch.Float64})
	}
	rows := batch.New(batch.NewSchema(fields...))
	for n := range 1024 {
		sum := 0.0
		for i := range 8 {
			x := rng.NormFloat64()
			sum += x
			rows.Cols[0].AddFeature(uint32(100*i), float32(x))
			rows.Cols[5+i].AppendFloat(x)
		}
		rows.Cols[0].EndRow()
		rows.Cols[1].AppendBool(sum > 0)
		rows.Cols[2].AppendFloat(sum)
		rows.Cols[3].AppendInt(int64(rng.IntN(1000)))
		rows.Cols[4].AppendInt(int64(rng.IntN(1000)))
		rows.Origin.Append(int64(n), 0, int32(n))
		rows.N++
	}
	for _, c := range []struct{ operator, config string }{
		{"gaussian_naive_bayes", "{label: y, " + numeric + "}"},
		{"hoeffding_tree", "{label: y, " + numeric + "}"},
		{"bayesian_linear_regression", "{label: z, " + numeric + "}"},
		{"holt_winters", "{label: z}"},
		{"factorization_machine", "{label: y}"},
		{"matrix_factorization", "{label: z, user: user, item: item}"},
		{"bpr", "{user: user, item: item}"},
		{"mlp", "{label: y}"},
	} {
		b.Run(c.operator, func(b *testing.B) {
			h, err := optest.Open(operators.Merge(&Family).Lookup(c.operator), c.config, rows.Schema)
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
