package learn

import (
	"math"
	"testing"

	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// rating is a row of a stream from a formula: 200 users, 100 items, three true
// factors, noise, rounded to halves.
func rating(n uint64) (user, item int64, stars float64) {
	u := func(x uint64) float64 { return float64(scatter(x)>>11)*0x1p-52 - 1 }
	i, j := scatter(1_000_000+n)%200, scatter(2_000_000+n)%100
	r := 3.5 + 0.7*u(10_000+i) + 0.7*u(20_000+j)
	for f := range uint64(3) {
		r += 1.2 * u(30_000+3*i+f) * u(40_000+3*j+f)
	}
	r += 0.4 * u(3_000_000+n)
	return int64(i), int64(j), math.RoundToEven(2*r) / 2
}

func ratingRows(n int) *batch.Batch {
	b := batch.New(batch.NewSchema(batch.Field{Name: "user", Type: batch.Int64}, batch.Field{Name: "item", Type: batch.Int64}, batch.Field{Name: "y", Type: batch.Float64}))
	for k := range n {
		u, i, y := rating(uint64(k))
		b.Cols[0].AppendInt(u)
		b.Cols[1].AppendInt(i)
		b.Cols[2].AppendFloat(y)
		b.Origin.Append(int64(k), 0, int32(k))
		b.N++
	}
	return b
}

// Against River 0.26.1 over the same rows (testdata/ratings.py): its Baseline, of
// biases alone, has the RMSE 0.776872, its BiasedMF, with 10 factors that begin at
// random, 0.755887 and 0.763081 with two seeds. Steps of a rate for each weight,
// the default here, find the factors sooner.
func TestRatings(t *testing.T) {
	rows := ratingRows(20000)
	for _, c := range []struct {
		config   string
		min, max float64
	}{
		{"factors: 0, optimizer: {sgd: {rate: 0.025}}, l2: 0", 0.776862, 0.776882},
		{"optimizer: {sgd: {rate: 0.025}}", 0.74, 0.763},
		{"l2: 0.02", 0, 0.56},
	} {
		h, err := optest.Open(definition(t, "matrix_factorization"), "{user: user, item: item, label: y, "+c.config+"}", rows.Schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Feed(0, rows); err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, l := range h.Output().Col("node.loss").Floats {
			sum += l
		}
		got := math.Sqrt(sum / float64(rows.N))
		t.Logf("%s: RMSE %.6f", c.config, got)
		if got < c.min || got > c.max {
			t.Errorf("%s: RMSE %.6f, want %v to %v", c.config, got, c.min, c.max)
		}
	}
}

// Of what users choose by their true factors, BPR ranks the chosen above a drawn
// item more and more often.
func TestRankings(t *testing.T) {
	all := ratingRows(40000)
	rows := batch.New(all.Schema)
	for row := range all.N {
		if all.Cols[2].Floats[row] >= 4.5 {
			rows.AppendRow(all, row)
		}
	}
	h, err := optest.Open(definition(t, "bpr"), "{user: user, item: item}", rows.Schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Feed(0, rows); err != nil {
		t.Fatal(err)
	}
	above, half := h.Output().Col("node.above"), rows.N/2
	first, last := 0.0, 0.0
	for row := range rows.N {
		if row < half {
			first += above.Floats[row] / float64(half)
		} else {
			last += above.Floats[row] / float64(rows.N-half)
		}
	}
	t.Logf("%d choices, AUC %.4f, then %.4f", rows.N, first, last)
	if last < first || last < 0.73 {
		t.Errorf("AUC %.4f in the first half, %.4f in the second", first, last)
	}
}
