package learn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// Counts drawn with the mean e^(0.5 + 0.8x₁ - 0.6x₂) are predicted by that mean.
func TestPoissonRegression(t *testing.T) {
	const n = 6000
	rng := rand.New(rand.NewPCG(3, 4))
	var in strings.Builder
	in.WriteString("features:sparse[8],y\n")
	means := make([]float64, n)
	for i := range means {
		x1, x2 := rng.NormFloat64(), rng.NormFloat64()
		means[i] = math.Exp(0.5 + 0.8*x1 - 0.6*x2)
		y, p := 0, rng.Float64() // Knuth's product of uniform numbers
		for ; p > math.Exp(-means[i]); p *= rng.Float64() {
			y++
		}
		fmt.Fprintf(&in, "1:%v 2:%v,%d\n", x1, x2, y)
	}
	for _, c := range []struct {
		optimizer string
		most      float64 // mean of |prediction/mean - 1| over the last third
	}{{"mixture", 0.1}, {"{sgd: {rate: 0.3, schedule: invscaling, invariant: true}}", 0.1}, {"{adagrad: {rate: 0.5, invariant: true}}", 0.1}, {"normalized", 0.1}, {"freegrad", 0.2}, {"coin", 0.1}} {
		h := runner(t, "linear_regression", "{label: y, loss: poisson, optimizer: "+c.optimizer+"}", in.String())
		if len(h.Rejected) > 0 {
			t.Fatalf("%s: %s", c.optimizer, h.Rejected[0].Why)
		}
		off := 0.0
		p := h.Output().Col("node.prediction").Floats
		for i := 2 * n / 3; i < n; i++ {
			off += math.Abs(p[i]/means[i]-1) / (n / 3)
		}
		t.Logf("%s: off by %.4f", c.optimizer, off)
		if !(off < c.most) {
			t.Errorf("%s: predictions are off by %.4f, want below %v", c.optimizer, off, c.most)
		}
	}
}
