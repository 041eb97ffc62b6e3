package scale

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Population mean and variance computed directly, two passes.
func twoPass(xs []float64) (mean, variance float64) {
	for _, x := range xs {
		mean += x
	}
	mean /= float64(len(xs))
	for _, x := range xs {
		variance += (x - mean) * (x - mean)
	}
	return mean, variance / float64(len(xs))
}

func series(n int, offset, amplitude float64) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = offset + amplitude*math.Sin(float64(i*i))
	}
	return xs
}

func TestStandardAgainstTwoPasses(t *testing.T) {
	for _, c := range []struct{ offset, amplitude, tol float64 }{
		{0, 1, 1e-12}, {1e9, 1, 1e-7}, {-5, 1e6, 1e-12}, {0, 1e-9, 1e-12},
	} {
		xs := series(5000, c.offset, c.amplitude)
		var s Standard
		for i, x := range xs {
			if !s.Update(x) {
				t.Fatalf("value %v refused", x)
			}
			if i%613 != 612 {
				continue
			}
			mean, variance := twoPass(xs[:i+1])
			if math.Abs(s.Mean-mean) > 1e-14*math.Abs(c.offset)+1e-14*c.amplitude || math.Abs(s.Variance()/variance-1) > c.tol {
				t.Fatalf("%+v row %d: mean %v, variance %v; want %v, %v", c, i, s.Mean, s.Variance(), mean, variance)
			}
			if got, want := s.Scale(x, 0), (x-mean)/math.Sqrt(variance); math.Abs(got-want) > 1e-6+2e-14*math.Abs(c.offset)/c.amplitude {
				t.Fatalf("%+v row %d: z-score %v, want %v", c, i, got, want)
			}
		}
	}
}

func TestStandardStartAndClip(t *testing.T) {
	var s Standard
	if s.Scale(3, 0) != 0 {
		t.Error("a fresh scaler does not give 0")
	}
	for range 10 {
		s.Update(7)
		if got := s.Scale(7, 0); got != 0 || s.Scale(100, 0) != 0 {
			t.Error("zero variance does not give 0")
		}
	}
	s = Standard{}
	s.Update(1)
	s.Update(3)
	for _, c := range []struct{ x, clip, want float64 }{
		{3, 0, 1}, {1, 0, -1}, {12, 0, 10}, {12, DefaultClip, 5}, {-12, DefaultClip, -5}, {4, DefaultClip, 2},
	} {
		if got := s.Scale(c.x, c.clip); got != c.want {
			t.Errorf("z-score of %v with clip %v is %v, want %v", c.x, c.clip, got, c.want)
		}
	}
}

// One absurd value hardly changes the scale of the others; a
// change of unit, which stays, is taken up; ordinary values are not touched.
func TestHold(t *testing.T) {
	var plain, held Standard
	for i, x := range series(5000, 20, 5) {
		if i == 2500 {
			for _, absurd := range []float64{1e38, -1e300} {
				if x := held.Hold(absurd); !held.Update(x) {
					t.Fatalf("%v held to %v is refused", absurd, x)
				}
			}
		} else if i < 2500 && held.Hold(x) != x {
			t.Fatalf("row %d: %v is held to %v", i, x, held.Hold(x))
		}
		plain.Update(x)
		held.Update(held.Hold(x))
	}
	if a, b := plain.Scale(30, 0), held.Scale(30, 0); b < a/10 || b > a {
		t.Errorf("30 scales to %v after two absurd values, to %v without", b, a)
	}
	for i, x := range series(300, 20e6, 5e6) {
		held.Update(held.Hold(x))
		if i == 299 && (held.Mean < 1e5 || math.Abs(held.Scale(x, 0)) > 100) {
			t.Errorf("after a change of unit %v scales to %v, the mean is %v", x, held.Scale(x, 0), held.Mean)
		}
	}
	fresh := Standard{N: Trust - 1, M2: 1}
	for _, s := range []Standard{{}, fresh, {N: 1000, Mean: 7}} {
		if got := s.Hold(1e38); got != 1e38 {
			t.Errorf("%+v holds 1e38 to %v", s, got)
		}
	}
}

func TestMinMaxAndMaxAbs(t *testing.T) {
	var mm MinMax
	var ma MaxAbs
	if mm.Scale(4) != 0 || ma.Scale(4) != 0 {
		t.Error("a fresh scaler does not give 0")
	}
	for _, c := range []struct{ x, minmax, maxabs float64 }{
		{-4, 0, -1}, {0, 1, 0}, {4, 1, 1}, {0, 0.5, 0}, {8, 1, 1}, {2, 0.5, 0.25}, {-4, 0, -0.5},
	} {
		mm.Update(c.x)
		ma.Update(c.x)
		if got := mm.Scale(c.x); got != c.minmax {
			t.Errorf("minmax of %v is %v, want %v", c.x, got, c.minmax)
		}
		if got := ma.Scale(c.x); got != c.maxabs {
			t.Errorf("maxabs of %v is %v, want %v", c.x, got, c.maxabs)
		}
	}
	if got := mm.Scale(14); got != 1.5 {
		t.Errorf("a value outside the range gives %v, want 1.5", got)
	}
}

func TestNothingNonFiniteGetsInOrOut(t *testing.T) {
	hostile := []float64{math.NaN(), 1, math.Inf(1), math.MaxFloat64, -math.MaxFloat64, math.Inf(-1), 5e-324, 0, math.MaxFloat64, 3}
	var st Standard
	var mm MinMax
	var ma MaxAbs
	for round := range 3 {
		for _, x := range hostile {
			before, bmm, bma := st, mm, ma
			if !st.Update(x) && st != before {
				t.Errorf("standard: refused %v but changed", x)
			}
			bad := math.IsNaN(x) || math.IsInf(x, 0)
			if got := mm.Update(x); got == bad || bad && mm != bmm {
				t.Errorf("minmax: Update(%v) = %v", x, got)
			}
			if got := ma.Update(x); got == bad || bad && ma != bma {
				t.Errorf("maxabs: Update(%v) = %v", x, got)
			}
			for _, v := range []float64{st.Mean, st.M2, mm.Min, mm.Max, ma.Max} {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					t.Fatalf("round %d, after %v: state %+v %+v %+v", round, x, st, mm, ma)
				}
			}
			if bad {
				continue
			}
			for _, v := range []float64{st.Scale(x, 0), st.Scale(x, 5), mm.Scale(x), ma.Scale(x)} {
				if f := float32(v); math.IsNaN(v) || math.IsInf(float64(f), 0) {
					t.Fatalf("round %d: %v scales to %v", round, x, v)
				}
			}
		}
	}
	if st.N < 3 {
		t.Errorf("standard accepted %d values only", st.N)
	}
}

func TestNoAllocations(t *testing.T) {
	var st Standard
	var mm MinMax
	var ma MaxAbs
	x, sum := 0.0, 0.0
	if n := testing.AllocsPerRun(1000, func() {
		x += 0.5
		st.Update(x)
		mm.Update(x)
		ma.Update(x)
		sum += st.Scale(x, DefaultClip) + mm.Scale(x) + ma.Scale(x)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkStandard(b *testing.B) {
	b.ReportAllocs()
	var s Standard
	sum := 0.0
	for i := 0; i < b.N; i++ {
		x := float64(i & 1023)
		s.Update(x)
		sum += s.Scale(x, DefaultClip)
	}
	if sum == 1 {
		b.Log(sum)
	}
}

// Learn gives the bits that the methods give one after another, also where the
// state is set from outside between two rows.
func TestDeviation(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var a, b, old Standard
	var d Deviation
	for i := range 20000 {
		x := rng.NormFloat64() * 3
		switch {
		case i%1000 == 7:
			x *= 1e9
		case i%1500 == 8:
			x = math.Inf(1 - i%2*2)
		case i%999 == 9:
			x = math.MaxFloat64
		}
		if i%777 == 0 {
			a, b = old, old
		}
		if i%500 == 0 {
			old = a
		}
		clip := []float64{0, 5}[i%2]
		ok := a.Update(a.Hold(x))
		z, learnt := d.Learn(&b, x, clip)
		if ok != learnt || a != b {
			t.Fatalf("value %d, %v: %v %+v, want %v %+v", i, x, learnt, b, ok, a)
		}
		if want := a.Scale(x, clip); ok && math.Float64bits(z) != math.Float64bits(want) {
			t.Fatalf("value %d, %v: score %v, want %v", i, x, z, want)
		}
	}
}
