package kalman

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The distribution is that of the normal equations, solved by elimination.
func TestAgainstNormalEquations(t *testing.T) {
	const n, rows, alpha, beta = 5, 200, 0.5, 4.0
	rng := rand.New(rand.NewPCG(1, 2))
	var s Scratch
	m := New(n, 1/alpha)
	a := make([][]float64, n) // [αI + βXᵀX | βXᵀy]
	for i := range a {
		a[i] = make([]float64, n+1)
		a[i][i] = alpha
	}
	x := make([]float64, n)
	for range rows {
		y := rng.NormFloat64()
		for i := range x {
			x[i] = rng.NormFloat64() * float64(i+1)
			y += x[i] * float64(i-2)
		}
		mean, _ := s.Predict(&m, x, 1/beta)
		if !s.Update(&m, y-mean) {
			t.Fatal("refused")
		}
		for i := range n {
			for j := range n {
				a[i][j] += beta * x[i] * x[j]
			}
			a[i][n] += beta * x[i] * y
		}
	}
	solution := solve(a)
	for i, w := range solution {
		if math.Abs(m.Mean[i]-w) > 1e-10 {
			t.Errorf("weight %d is %v, want %v", i, m.Mean[i], w)
		}
	}
	// The variance of the sum is xᵀ(αI + βXᵀX)⁻¹x + 1/β.
	for i := range a {
		a[i][n] = x[i]
	}
	want := 1 / beta
	for i, w := range solve(a) {
		want += x[i] * w
	}
	if _, got := s.Predict(&m, x, 1/beta); math.Abs(got-want) > 1e-12 {
		t.Errorf("variance %v, want %v", got, want)
	}
}

// solve is Gauss's elimination with pivots, on a copy.
func solve(in [][]float64) []float64 {
	n := len(in)
	a := make([][]float64, n)
	for i := range in {
		a[i] = append([]float64(nil), in[i]...)
	}
	for c := range n {
		p := c
		for r := c; r < n; r++ {
			if math.Abs(a[r][c]) > math.Abs(a[p][c]) {
				p = r
			}
		}
		a[c], a[p] = a[p], a[c]
		for r := range n {
			if r != c {
				k := a[r][c] / a[c][c]
				for j := c; j <= n; j++ {
					a[r][j] -= k * a[c][j]
				}
			}
		}
	}
	x := make([]float64, n)
	for i := range x {
		x[i] = a[i][n] / a[i][i]
	}
	return x
}

// Rows that would overflow leave no trace; variances never turn negative.
func TestHostileRows(t *testing.T) {
	var s Scratch
	m := New(3, 1)
	rng := rand.New(rand.NewPCG(3, 4))
	values := []float64{0, 1, -1, 1e100, -1e100, 1e-300, 1e38, 5e-324, 1e17}
	x := make([]float64, 3)
	for range 2000 {
		for i := range x {
			x[i] = values[rng.IntN(len(values))]
		}
		mean, variance := s.Predict(&m, x, 1)
		if !(variance >= 0) && !math.IsInf(mean, 0) {
			t.Fatalf("variance %v", variance)
		}
		before := append([]float64(nil), m.Mean...)
		if !s.Update(&m, values[rng.IntN(len(values))]-mean) {
			for i := range before {
				if before[i] != m.Mean[i] {
					t.Fatal("a refused row changed the means")
				}
			}
		}
		for i := range m.D {
			if !(m.D[i] >= 0) || m.Mean[i]-m.Mean[i] != 0 {
				t.Fatalf("%+v", m)
			}
		}
	}
}
