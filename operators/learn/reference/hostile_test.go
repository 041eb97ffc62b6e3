package reference

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/optest"
)

// Columns as they should not be cost the defaults little beside what the good
// column alone gives: one of heavy tails, one that is constant until it is not, one
// whose unit changes, one that drifts away, one of 1e30 now and then.
func TestDefaultsOnHostileColumns(t *testing.T) {
	const n = 6000
	stream := func(label string) string {
		rng := rand.New(rand.NewPCG(11, 12))
		var in strings.Builder
		fmt.Fprintf(&in, "y:%s,good,tails,late,unit,away,absurd\n", label)
		for i := range n {
			good, noise := rng.NormFloat64(), rng.NormFloat64()/2
			late, unit, absurd := 0.0, rng.NormFloat64(), 0.0
			if i >= n/2 {
				late = float64(rng.IntN(2)) * 1000
			}
			if i >= 2*n/3 {
				unit *= 1e6
			}
			if rng.IntN(500) == 0 {
				absurd = 1e30
			}
			y := fmt.Sprint(100 + 10*good + noise)
			if label == "bool" {
				y = fmt.Sprint(good+noise > 0)
			}
			fmt.Fprintf(&in, "%s,%v,%v,%v,%v,%v,%v\n", y, good, math.Tan(math.Pi*(rng.Float64()-0.5)), late, unit, float64(i)*float64(i), absurd)
		}
		return in.String()
	}
	const all = "vectorize: {numeric: [good, tails, late, unit, away, absurd]}"
	run := func(label, vectorize, learner, published string) outcome {
		tables, err := optest.Parse(stream(label))
		if err != nil {
			t.Fatal(err)
		}
		out := chain(t, tables[0].Rows, vectorize, learner, published)
		if out.rejected > 0 {
			t.Errorf("%d rows are rejected", out.rejected)
		}
		return out
	}
	clean := run("bool", "vectorize: {numeric: [good]}", "logistic_regression: {label: y}", "probability")
	dirty := run("bool", all, "logistic_regression: {label: y}", "probability")
	a, b := score(clean.p, clean.y), score(dirty.p, dirty.y)
	t.Logf("accuracy %.4f, log loss %.4f; of the good column alone %.4f, %.4f", b.accuracy, b.logLoss, a.accuracy, a.logLoss)
	if b.accuracy < a.accuracy-0.01 || b.logLoss > 1.1*a.logLoss {
		t.Errorf("accuracy %.4f, log loss %.4f; of the good column alone %.4f, %.4f", b.accuracy, b.logLoss, a.accuracy, a.logLoss)
	}
	cleanMAE, _ := run("float64", "vectorize: {numeric: [good]}", "linear_regression: {label: y}", "prediction").errors()
	dirtyMAE, _ := run("float64", all, "linear_regression: {label: y}", "prediction").errors()
	t.Logf("MAE %.4f; of the good column alone %.4f", dirtyMAE, cleanMAE)
	if dirtyMAE > 1.2*cleanMAE {
		t.Errorf("MAE %.4f; of the good column alone %.4f", dirtyMAE, cleanMAE)
	}
}
