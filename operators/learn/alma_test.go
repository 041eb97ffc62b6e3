package learn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// Beside the algorithm as the paper writes it, in float64, with the weights scaled
// at once: the same corrections and scores, also where steps are so long that the
// table is written anew now and then.
func TestALMA(t *testing.T) {
	const n, dim = 3000, 6
	rng := rand.New(rand.NewPCG(5, 6))
	var in strings.Builder
	in.WriteString("features:sparse[8],y:bool\n")
	var x [n][dim]float64
	var y [n]float64
	for i := range n {
		sum := 0.1 * rng.NormFloat64()
		y[i] = -1
		for j := range dim - 1 {
			x[i][j] = float64(float32(rng.NormFloat64() / math.Sqrt(dim)))
			sum += x[i][j] * float64(j-2)
			fmt.Fprintf(&in, "%d:%v ", j, x[i][j])
		}
		x[i][dim-1] = 1
		if sum > 0.05 {
			y[i] = 1
		}
		fmt.Fprintf(&in, ",%v\n", y[i] > 0)
	}
	for _, c := range []struct {
		config         string
		alpha, b, step float64
	}{{"{label: y}", 0.9, 1 / 0.9, math.Sqrt2}, {"{label: y, alpha: 0.3, b: 1, c: 500}", 0.3, 1, 500}} {
		o, rows := built(t, newALMA, c.config, in.String(), 0)
		m := o.(*alma)
		w, k := [dim]float64{}, 1.0
		settled := 0
		for i := range n {
			score := 0.0
			for j, v := range w {
				score += v * x[i][j]
			}
			idx, val := m.features.Of(rows).Row(i)
			got := m.of(idx, val)
			if math.Abs(got-score) > 2e-5 {
				t.Fatalf("%s, row %d: the score is %v, want %v", c.config, i, got, score)
			}
			scale := m.s.V.Scale
			if err := m.learn(idx, val, score, y[i]); err != nil {
				t.Fatal(err)
			}
			if m.s.V.Scale > 2*scale {
				settled++
			}
			if y[i]*score < (1-c.alpha)*c.b/math.Sqrt(k) {
				squares := 0.0
				for j := range w {
					w[j] += y[i] * c.step / math.Sqrt(k) * x[i][j]
					squares += w[j] * w[j]
				}
				for j := range w {
					w[j] /= max(1, math.Sqrt(squares))
				}
				k++
			}
		}
		if m.s.V.Corrections != int64(k)-1 || k < 50 {
			t.Errorf("%s: %d corrections, want %v", c.config, m.s.V.Corrections, k-1)
		}
		if (settled > 0) != (c.step > 2) {
			t.Errorf("%s: the table was written anew %d times", c.config, settled)
		}
	}
}
