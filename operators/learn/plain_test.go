package learn

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/state"
)

// The quick loops of plain models predict what the general ones do, to the bit. With
// on_drift: alarm, which predicts like none, a model takes the general ones.
func TestPlainModelsPredictTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	var binary, numbers strings.Builder
	binary.WriteString("features:sparse[64],w:float64?,y:int64?\n")
	numbers.WriteString("features:sparse[64],w:float64?,y:float64?\n")
	for n := range 3000 {
		var row strings.Builder
		for range rng.IntN(9) {
			x := rng.NormFloat64()
			if n%97 == 0 {
				x *= 1e38 / 4 // scores and weights that are not finite
			}
			fmt.Fprintf(&row, "%d:%v ", rng.IntN(64), float32(x))
		}
		weight := fmt.Sprint(float64(rng.IntN(4)) / 2)
		if n%13 == 0 {
			weight = ""
		}
		label := fmt.Sprint(rng.IntN(2))
		if n%17 == 0 {
			label = ""
		} else if n%101 == 0 {
			label = "7" // no class
		}
		fmt.Fprintf(&binary, "%s,%s,%s\n", strings.TrimSpace(row.String()), weight, label)
		fmt.Fprintf(&numbers, "%s,%s,%s\n", strings.TrimSpace(row.String()), weight, label)
	}
	bools := strings.NewReplacer(",0\n", ",false\n", ",1\n", ",true\n", ",7\n", ",true\n", "y:int64?", "y:bool?").Replace(binary.String())
	for _, c := range []struct{ operator, in, config string }{
		{"logistic_regression", bools, "optimizer: sgd"},
		{"logistic_regression", strings.ReplaceAll(strings.ReplaceAll(bools, ",\n", ",true\n"), "bool?", "bool"), "optimizer: {adagrad: {rate: 0.1}}"},
		{"logistic_regression", binary.String(), "optimizer: adagrad, weight: w"},
		{"logistic_regression", binary.String(), "optimizer: {sgd: {rate: 30}}, class_weights: [1, 3]"},
		{"logistic_regression", binary.String(), "optimizer: adagrad, intercept: {rate: 0.01}, clip: 0.2"},
		{"logistic_regression", binary.String(), "optimizer: sgd, intercept: false"},
		{"logistic_regression", bools, "optimizer: adagrad, loss: hinge"},
		{"linear_regression", numbers.String(), "optimizer: sgd, weight: w"},
		{"linear_regression", numbers.String(), "optimizer: adagrad, label_scale: none"},
	} {
		quick := runner(t, c.operator, "{label: y, "+c.config+"}", c.in)
		general := runner(t, c.operator, "{label: y, "+c.config+", on_drift: {alarm: {}}}", c.in)
		if got, want := quick.Text(), general.Text(); got != want {
			a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Errorf("%s, %s: row %d is\n%s\nof the general loops\n%s", c.operator, c.config, i, a[i], b[i])
					break
				}
			}
		}
		for _, b := range quick.Node.States() {
			for _, g := range general.Node.States() { // which has a detector beside
				if b.ID == g.ID && state.Digest(b.ID, b.State) != state.Digest(g.ID, g.State) {
					t.Errorf("%s, %s: state %s differs", c.operator, c.config, b.ID)
				}
			}
		}
		if len(quick.Rejected) == 0 || fmt.Sprint(quick.Rejected) != fmt.Sprint(general.Rejected) {
			t.Errorf("%s, %s: %d rows are rejected, by the general loops %d", c.operator, c.config, len(quick.Rejected), len(general.Rejected))
		}
	}
}
