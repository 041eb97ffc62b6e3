package loss

import (
	"math"
	"testing"
)

func all() []Func {
	return []Func{
		{Kind: Log}, {Kind: Hinge}, {Kind: Squared}, {Kind: Absolute},
		{Kind: Huber, Param: 0.7}, {Kind: Huber, Param: 3},
		{Kind: Quantile, Param: 0.1}, {Kind: Quantile, Param: 0.5}, {Kind: Quantile, Param: 0.9}, {Kind: Poisson},
	}
}

func labels(f Func) []float64 {
	if f.Task() == Classification {
		return []float64{-1, 1}
	}
	if f.Kind == Poisson {
		return []float64{0, 0.25, 1, 12}
	}
	return []float64{-3.5, 0, 0.25, 12}
}

// No loss escapes the tests.
func TestAll(t *testing.T) {
	seen := map[Kind]bool{}
	for _, f := range all() {
		seen[f.Kind] = true
	}
	if len(seen) != len(kindNames) {
		t.Errorf("%d of %d losses are under test", len(seen), len(kindNames))
	}
}

func TestGradientIsDerivative(t *testing.T) {
	for _, f := range all() {
		for _, y := range labels(f) {
			for s := -25.0333; s < 25; s += 0.137 {
				const h = 1e-6
				want := (f.Value(s+h, y) - f.Value(s-h, y)) / (2 * h)
				got := f.Gradient(s, y)
				if math.Abs(got-want) > 2e-6*(1+math.Abs(want)) {
					t.Fatalf("%v(%v): derivative at score %v, label %v is %v; differences say %v",
						f.Kind, f.Param, s, y, got, want)
				}
			}
		}
	}
}

func TestKnownValues(t *testing.T) {
	for _, c := range []struct {
		f           Func
		score, y    float64
		value, grad float64
	}{
		{Func{Kind: Log}, 0, 1, math.Ln2, -0.5},
		{Func{Kind: Log}, 0, -1, math.Ln2, 0.5},
		{Func{Kind: Log}, math.Log(3), 1, math.Log(4. / 3), -0.25},
		{Func{Kind: Log}, -20, 1, 20, -1},
		{Func{Kind: Log}, 20, 1, math.Exp(-20), -math.Exp(-20)},
		{Func{Kind: Hinge}, 0.25, 1, 0.75, -1},
		{Func{Kind: Hinge}, 0.25, -1, 1.25, 1},
		{Func{Kind: Hinge}, 1, 1, 0, 0},
		{Func{Kind: Squared}, 3, 5, 4, -4},
		{Func{Kind: Absolute}, 3, 5, 2, -1},
		{Func{Kind: Absolute}, 5, 5, 0, 0},
		{Func{Kind: Huber, Param: 1}, 0.5, 0, 0.125, 0.5},
		{Func{Kind: Huber, Param: 1}, -4, 0, 3.5, -1},
		{Func{Kind: Quantile, Param: 0.9}, 3, 5, 1.8, -0.9},
		{Func{Kind: Quantile, Param: 0.9}, 5, 3, 0.2, 0.1},
		{Func{Kind: Quantile, Param: 0.9}, 5, 5, 0, 0},
		{Func{Kind: Poisson}, 0, 0, 1, 1},
		{Func{Kind: Poisson}, 0, 1, 0, 0},
		{Func{Kind: Poisson}, math.Log(3), 2, 1 + 2*math.Log(2./3), 1},
		{Func{Kind: Poisson}, 0, -7, 1, 1},
	} {
		if got := c.f.Value(c.score, c.y); math.Abs(got-c.value) > 1e-14 {
			t.Errorf("%v value(%v, %v) = %v, want %v", c.f.Kind, c.score, c.y, got, c.value)
		}
		if got := c.f.Gradient(c.score, c.y); math.Abs(got-c.grad) > 1e-14 {
			t.Errorf("%v gradient(%v, %v) = %v, want %v", c.f.Kind, c.score, c.y, got, c.grad)
		}
	}
}

func TestFiniteForFiniteInput(t *testing.T) {
	extreme := []float64{0, 5e-324, 1e-300, 18, -18, 700, 746, 1e16, 1e160, math.MaxFloat64}
	for _, f := range all() {
		for _, a := range extreme {
			for _, s := range []float64{a, -a} {
				ys := []float64{-1, 1}
				if f.Task() == Regression {
					ys = append(ys, extreme...)
					ys = append(ys, -math.MaxFloat64)
				}
				for _, y := range ys {
					for what, v := range map[string]float64{
						"value": f.Value(s, y), "gradient": f.Gradient(s, y), "link": f.Link(s),
					} {
						if math.IsNaN(v) || math.IsInf(v, 0) {
							t.Errorf("%v %s at score %v, label %v is %v", f.Kind, what, s, y, v)
						}
					}
					if f.Value(s, y) < 0 {
						t.Errorf("%v value at score %v, label %v is negative", f.Kind, s, y)
					}
					if p := f.Link(s); f.Task() == Classification && (p < 0 || p > 1) {
						t.Errorf("%v link of %v is %v", f.Kind, s, p)
					}
				}
			}
		}
	}
}

func TestSigmoid(t *testing.T) {
	for _, c := range [][2]float64{{0, 0.5}, {800, 1}, {-800, 0}, {math.Log(3), 0.75}} {
		if got := Sigmoid(c[0]); math.Abs(got-c[1]) > 1e-15 {
			t.Errorf("Sigmoid(%v) = %v, want %v", c[0], got, c[1])
		}
	}
}

// Bits that must come out on every processor.
func TestBits(t *testing.T) {
	h := uint64(14695981039346656037)
	f := Func{Kind: Log}
	for i := -4000; i < 4000; i++ {
		x := float64(i) / 177
		for _, v := range []float64{Sigmoid(x), f.Value(x, 1), f.Gradient(x, -1)} {
			h = (h ^ math.Float64bits(v)) * 1099511628211
		}
	}
	if want := uint64(0x6727366a454393ba); h != want {
		t.Errorf("hash of the results is %#x, want %#x", h, want)
	}
}

func TestNames(t *testing.T) {
	for k := Log; k <= Poisson; k++ {
		got, err := Parse(k.String())
		if err != nil || got != k {
			t.Errorf("Parse(%q) = %v, %v", k.String(), got, err)
		}
		if _, err := New(k, 0.5); err != nil {
			t.Errorf("New(%v, 0.5): %v", k, err)
		}
	}
	if _, err := Parse("logg"); err == nil {
		t.Error("an unknown name was accepted")
	}
	for _, c := range []Func{{Huber, 0}, {Huber, math.NaN()}, {Huber, math.Inf(1)}, {Quantile, 0}, {Quantile, 1}, {Quantile, math.NaN()}, {Kind(99), 1}} {
		if _, err := New(c.Kind, c.Param); err == nil {
			t.Errorf("New(%v, %v) was accepted", c.Kind, c.Param)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	var sink float64
	if n := testing.AllocsPerRun(100, func() {
		for _, f := range [...]Func{{Kind: Log}, {Kind: Huber, Param: 1}, {Kind: Quantile, Param: 0.5}} {
			sink += f.Value(0.3, 1) + f.Gradient(0.3, 1) + f.Link(0.3)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLogGradient(b *testing.B) {
	b.ReportAllocs()
	f, s := Func{Kind: Log}, 0.0
	for i := 0; i < b.N; i++ {
		s += f.Gradient(float64(i&15)-8, 1)
	}
	if s == 1 {
		b.Log(s)
	}
}
