package exact

import (
	"math"
	"math/big"
	"testing"
)

func ulps(got, want float64) float64 {
	return math.Abs(got-want) / (math.Nextafter(math.Abs(want), math.Inf(1)) - math.Abs(want))
}

// The functions of package math are within 1 ulp of the true value themselves.
func TestAgainstMath(t *testing.T) {
	for x := -745.0; x < 709.7; x += 0.0371 {
		if u := ulps(Exp(x), math.Exp(x)); u > 2 {
			t.Fatalf("Exp(%v) = %v, %v units off", x, Exp(x), u)
		}
	}
	for x := 1e-20; x <= 1; x *= 1.0013 {
		if u := ulps(Log1p(x), math.Log1p(x)); u > 3 {
			t.Fatalf("Log1p(%v) = %v, %v units off", x, Log1p(x), u)
		}
	}
	for x := 2.3e-308; x <= math.MaxFloat64/1.01; x *= 1.0037 {
		if u := ulps(Log(x), math.Log(x)); u > 1 {
			t.Fatalf("Log(%v) = %v, %v units off", x, Log(x), u)
		}
	}
	for x := 0.5; x < 2; x += 0.00013 {
		if u := ulps(Log(x), math.Log(x)); u > 1 && x != 1 {
			t.Fatalf("Log(%v) = %v, %v units off", x, Log(x), u)
		}
	}
}

// Logarithms to 60 digits, computed with rational arithmetic of 200 bits: ln x is
// the sum of the series of 2 artanh((x-1)/(x+1)).
func TestLogAgainstTheSeries(t *testing.T) {
	for _, x := range []float64{0.05, 0.3, 0.70710678, 0.7072, 0.95, 0.99999, 1.00001, 1.3, 1.41421356, 1.4143, 3, 20, 500} {
		const precision = 300
		v := new(big.Float).SetPrec(precision).SetFloat64(x)
		one := big.NewFloat(1).SetPrec(precision)
		s := new(big.Float).Quo(new(big.Float).Sub(v, one), new(big.Float).Add(v, one))
		square := new(big.Float).Mul(s, s)
		sum, term := new(big.Float).SetPrec(precision), new(big.Float).Set(s)
		for k := int64(1); k < 40001; k += 2 {
			sum.Add(sum, new(big.Float).Quo(term, new(big.Float).SetPrec(precision).SetInt64(k)))
			if term.Mul(term, square); term.MantExp(nil) < -precision {
				break
			}
		}
		want, _ := sum.Add(sum, sum).Float64()
		if u := ulps(Log(x), want); u > 1 {
			t.Errorf("Log(%v) = %v, want %v: %v units off", x, Log(x), want, u)
		}
	}
}

func TestEdges(t *testing.T) {
	for _, c := range [][2]float64{
		{Exp(0), 1}, {Exp(1000), math.Inf(1)}, {Exp(-1000), 0}, {Exp(math.Inf(-1)), 0},
		{Log1p(0), 0}, {Log1p(math.Copysign(0, -1)), 0}, {Log1p(1), math.Ln2},
		{Log(1), 0}, {Log(2), math.Ln2}, {Log(0.5), -math.Ln2}, {Log(0), math.Inf(-1)}, {Log(math.Inf(1)), math.Inf(1)},
		{Log(5e-324), -1074 * math.Ln2},
	} {
		if c[0] != c[1] {
			t.Errorf("got %v, want %v", c[0], c[1])
		}
	}
	for i, x := range []float64{Exp(math.NaN()), Log1p(2), Log1p(-1), Log1p(math.NaN()), Log(-1), Log(math.NaN()), Log(math.Inf(-1))} {
		if !math.IsNaN(x) {
			t.Errorf("%d: %v outside the domain, expected NaN", i, x)
		}
	}
}

// ExpBoth gives the bits that Exp gives: of numbers of all sizes, and of those about
// the halves of x/ln 2, where the series changes.
func TestExpBoth(t *testing.T) {
	xs := []float64{0, 5e-324, 1e-300, 1e-17, 700, math.Nextafter(700, 701), 709.79, 745.14, 1e300, math.Inf(1)}
	for i := range 200_000 {
		xs = append(xs, float64(i)/271)
	}
	for k := range 1020 {
		for near, n := (float64(k)+0.5)*math.Ln2, 0; n < 40; n++ {
			xs = append(xs, near*(1+float64(n-20)*0x1p-53))
		}
	}
	for _, x := range xs {
		for _, x := range []float64{x, -x} {
			up, down := ExpBoth(x)
			if math.Float64bits(up) != math.Float64bits(Exp(x)) || math.Float64bits(down) != math.Float64bits(Exp(-x)) {
				t.Fatalf("ExpBoth(%v) is %v, %v; Exp gives %v, %v", x, up, down, Exp(x), Exp(-x))
			}
		}
	}
	if up, down := ExpBoth(math.NaN()); up == up || down == down {
		t.Errorf("ExpBoth(NaN) is %v, %v", up, down)
	}
}

// Bits that must come out on every processor.
func TestBits(t *testing.T) {
	h := uint64(14695981039346656037)
	for i := -4000; i < 4000; i++ {
		x := float64(i) / 177
		for _, v := range []float64{Exp(x), Log1p(math.Abs(float64(i)) / 4000), Log(float64(x*x) + 0.001)} {
			h = (h ^ math.Float64bits(v)) * 1099511628211
		}
	}
	if want := uint64(0x18e73e40a55dd2a8); h != want {
		t.Errorf("hash of the results is %#x, want %#x", h, want)
	}
}
