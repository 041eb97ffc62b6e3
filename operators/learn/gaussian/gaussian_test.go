package gaussian

import (
	"math"
	"testing"
)

func TestMoments(t *testing.T) {
	var m Moments
	for _, x := range []float64{2, 4, 4, 4, 5, 5, 7, 9} {
		m.Add(x)
	}
	if m.N != 8 || m.Mean != 5 || math.Abs(m.Variance()-32.0/7) > 1e-15 {
		t.Errorf("got %+v, variance %v", m, m.Variance())
	}
	for range 1000 {
		m.Add(Most)
		m.Add(-Most)
	}
	if v := m.Variance(); math.IsNaN(v) || math.IsInf(v, 0) {
		t.Errorf("variance of the greatest numbers is %v", v)
	}
}

func TestLogDensity(t *testing.T) {
	for _, c := range []struct{ x, mean, variance, want float64 }{
		{0, 0, 1, -0.9189385332046727},
		{1, 0, 1, -1.4189385332046727},
		{3, 1, 4, -0.9189385332046727 - math.Log(2) - 0.5},
		{1, 1, 0, 0},
		{1, 2, 0, math.Inf(-1)},
	} {
		if got := LogDensity(c.x, c.mean, c.variance); got != c.want && math.Abs(got-c.want) > 1e-15 {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

// The distribution function is that of package math.
func TestCDF(t *testing.T) {
	for i := -800; i <= 800; i++ {
		z := float64(i) / 100
		if got, want := CDF(z), math.Erfc(-z/math.Sqrt2)/2; math.Abs(got-want) > 1e-15 {
			t.Errorf("CDF(%v) is %v, want %v", z, got, want)
		}
	}
}

func TestBelow(t *testing.T) {
	var r Range
	if r.Below(3) != 0 {
		t.Error("an empty range has mass")
	}
	r.Add(1)
	if r.Below(0.5) != 0 || r.Below(1) != 1 {
		t.Error("a point is cut in two")
	}
	r.Add(3)
	if r.Below(0) != 0 || r.Below(3) != 2 || math.Abs(r.Below(2)-1) > 1e-15 {
		t.Errorf("got %v, %v, %v", r.Below(0), r.Below(3), r.Below(2))
	}
}
