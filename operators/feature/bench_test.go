package feature

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// Five numbers, three categories and a cross, 1,024 rows a batch; ns/op is a row.
func BenchmarkVectorize(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	var fields []batch.Field
	for i := range 5 {
		fields = append(fields, batch.Field{Name: fmt.Sprint("n", i), Type: batch.Float64})
	}
	for i := range 3 {
		fields = append(fields, batch.Field{Name: fmt.Sprint("s", i), Type: batch.String})
	}
	rows := batch.New(batch.NewSchema(fields...))
	for n := range 1024 {
		for _, c := range rows.Cols {
			if c.Type == batch.Float64 {
				c.AppendFloat(rng.NormFloat64())
			} else {
				c.AppendString(fmt.Sprint("value-", rng.IntN(1000)))
			}
		}
		rows.Origin.Append(int64(n), 0, int32(n))
		rows.N++
	}
	h, err := optest.Open(operators.Merge(&Family).Lookup("vectorize"), "{numeric: [n0, n1, n2, n3, n4], categorical: [s0, s1, s2], cross: [[s0, s1]]}", rows.Schema)
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
}
