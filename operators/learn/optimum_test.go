package learn

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/optimize"

	"github.com/gradstream/gradstream/internal/testutil/splitmix"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// Pass after pass over the same rows softmax comes to the cross-entropy that gonum's BFGS
// finds for all rows at once. (The losses of one number are compared in reference.)
func TestSoftmaxOptimum(t *testing.T) {
	const n, width, classes, passes = 600, 4, 3, 60
	truth := [classes][width]float64{{1, -0.5, 0, 0.5}, {-1, 0.5, 1, 0}, {0, 0, -1, -0.5}}
	b := batch.New(batch.NewSchema(batch.Field{Name: "features", Type: batch.Sparse, Dim: width}, batch.Field{Name: "y", Type: batch.String}))
	x, y := make([][]float64, n), make([]int, n)
	for i := range n {
		z := make([]float64, classes)
		x[i] = make([]float64, width+1)
		for k := range width {
			v := float32(2*splitmix.Uniform(1, uint64(width*i+k)) - 1)
			x[i][k] = float64(v)
			b.Cols[0].Index, b.Cols[0].Value = append(b.Cols[0].Index, uint32(k)), append(b.Cols[0].Value, v)
			for c := range z {
				z[c] += truth[c][k] * x[i][k]
			}
		}
		x[i][width] = 1
		for c := range z { // a Gumbel noise makes a draw of the greatest
			z[c] -= math.Log(-math.Log(splitmix.Uniform(2, uint64(classes*i+c))))
		}
		y[i] = floats.MaxIdx(z)
		b.Cols[0].EndRow()
		b.Cols[1].AppendString(string(rune('a' + y[i])))
		b.Origin.Append(int64(i), int64(i), int32(i))
		b.N++
	}
	// Weights of a class lie behind each other; each row's losses and its derivatives.
	each := func(w []float64, row func(i int, p []float64)) {
		p := make([]float64, classes)
		for i := range x {
			for c := range p {
				p[c] = floats.Dot(w[c*(width+1):(c+1)*(width+1)], x[i])
			}
			sum := floats.LogSumExp(p)
			for c := range p {
				p[c] = math.Exp(p[c] - sum)
			}
			row(i, p)
		}
	}
	best, err := optimize.Minimize(optimize.Problem{
		Func: func(w []float64) (sum float64) {
			each(w, func(i int, p []float64) { sum -= math.Log(p[y[i]]) / n })
			return sum
		},
		Grad: func(grad, w []float64) {
			clear(grad)
			each(w, func(i int, p []float64) {
				p[y[i]]--
				for c := range p {
					floats.AddScaled(grad[c*(width+1):(c+1)*(width+1)], p[c]/n, x[i])
				}
			})
		},
	}, make([]float64, classes*(width+1)), &optimize.Settings{GradientThreshold: 1e-7}, &optimize.BFGS{})
	if err != nil {
		t.Fatal(err)
	}
	for _, optimizer := range []string{"{sgd: {rate: 0.1, schedule: invscaling}}", "{adagrad: {rate: 0.1}}", "normalized", "coin"} {
		h, err := optest.Open(operators.Merge(&Family).Lookup("softmax"), "{label: y, classes: [a, b, c], optimizer: "+optimizer+"}", b.Schema)
		if err != nil {
			t.Fatal(err)
		}
		for range passes {
			if err := h.Feed(0, b); err != nil {
				t.Fatal(err)
			}
		}
		lost := h.Output().Col("node.loss").Floats
		if got := floats.Sum(lost[(passes-1)*n:]) / n; math.Abs(got/best.F-1) > 0.015 {
			t.Errorf("%s: the mean loss of pass %d is %v, at the optimum %v", optimizer, passes, got, best.F)
		} else {
			t.Logf("%s: %.5f, at the optimum %.5f, of knowing nothing %.5f", optimizer, got, best.F, math.Log(classes))
		}
	}
}
