package reference

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/feature/scale"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// Phishing through scaler → the learners of a margin, as River has it: each event is a
// row that is predicted as the scaler stood before it, and then one that is learnt,
// scaled by what the scaler learnt from it.
func TestPhishingMargins(t *testing.T) {
	s := load(t, streams, "phishing")
	y := s.numbers(t)
	scalers := make([]scale.Standard, len(s.columns))
	var in strings.Builder
	fmt.Fprintf(&in, "features:sparse[%d],y:bool?\n", len(s.columns))
	write := func(x []float64, label string) {
		for i, v := range x {
			fmt.Fprintf(&in, "%d:%v ", i, scalers[i].Scale(v, 0))
		}
		in.WriteString("," + label + "\n")
	}
	for row, x := range s.x {
		write(x, "")
		for i, v := range x {
			scalers[i].Update(v)
		}
		write(x, fmt.Sprint(y[row] == 1))
	}
	tables, err := optest.Parse(in.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		learner string
		want    float64
	}{
		{"perceptron: {label: y}", .8584}, {"passive_aggressive: {label: y, variant: PA-I}", .8424}, {"alma: {label: y, intercept: false}", .8256},
	} {
		out, _ := alone(t, tables[0].Rows, c.learner)
		right, p := 0, out.Col("m.probability").Floats
		for row := range y {
			if (p[2*row] > 0.5) == (y[row] == 1) {
				right++
			}
		}
		near(t, "accuracy of "+c.learner, float64(right)/float64(len(y)), c.want, 6e-9)
	}
}

// CapyMOA's passive-aggressive classifier, scikit-learn's over columns as they are,
// calls 84.7 % of electricity_tiny right. Of the other learners of that table
// (adaptive trees, ensembles of trees, nearest neighbours) there is none here.
func TestElectricityAggressive(t *testing.T) {
	columns := strings.Join(columnsOf(t, streams, "electricity_tiny"), ",")
	right, n := 0, 0
	out := chainTo(t, typed(t, streams, "electricity_tiny", "y:bool,"+columns), "vectorize: {numeric: ["+columns+"], scale: none}", "passive_aggressive: {label: y}", func(b *batch.Batch) {
		p, y := b.Col("m.probability").Floats, b.Col("y").Bools
		for row := range b.N {
			if (p[row] > 0.5) == y[row] {
				right++
			}
			n++
		}
	})
	if out.rejected > 0 || n != 2000 {
		t.Errorf("%d rows, %d rejected", n, out.rejected)
	}
	near(t, "accuracy", 100*float64(right)/float64(n), 84.7, 1.5)
	t.Logf("accuracy %.2f", 100*float64(right)/float64(n))
}

// CapyMOA's root mean squared errors over the first 1,000 rows of fried, of
// scikit-learn's learners over the columns as they are: 3.70 of the
// passive-aggressive regressor, 4.63 of SGDRegressor, whose squared loss is half of
// ours.
func TestFriedLinear(t *testing.T) {
	columns := strings.Join(columnsOf(t, streams, "fried_1000"), ",")
	for _, c := range []struct {
		learner string
		want    float64
	}{
		{"passive_aggressive_regression: {label: y}", 3.70},
		{"linear_regression: {label: y, optimizer: {sgd: {rate: 0.005, schedule: {invscaling: {power: 0.25}}}}, l2: 2e-4, label_scale: none, bounds: none, clip: 0}", 4.63},
	} {
		got := chain(t, typed(t, streams, "fried_1000", "y:float64,"+columns), "vectorize: {numeric: ["+columns+"], scale: none}", c.learner, "prediction")
		_, rmse := got.errors()
		first := got.y[0] * got.y[0]
		t.Logf("%s: %.4f, without the first row %.4f", c.learner, rmse, math.Sqrt((rmse*rmse*1000-first)/999))
		near(t, "RMSE of "+c.learner, rmse, c.want, 0.01)
	}
}
