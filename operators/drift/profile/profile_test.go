package profile

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/splitmix"
)

func list(n int, f func(i int) float64) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = f(i)
	}
	return xs
}

func u(seed uint64, i int) float64 { return splitmix.Uniform(seed, uint64(i)) }

// pairs are a reference and what is compared with it.
var pairs = map[string][2][]float64{
	"waves": {list(500, func(i int) float64 { return 2*math.Sin(0.7*float64(i)) + 0.3*float64(i%7) }),
		list(400, func(i int) float64 { return 2*math.Sin(0.9*float64(i)) + 0.5*float64(i%5) })},
	"shifted": {list(1000, func(i int) float64 { return u(1, i) }), list(3000, func(i int) float64 { return 0.1 + u(2, i) })},
	"whole":   {list(800, func(i int) float64 { return math.Floor(6 * u(3, i)) }), list(700, func(i int) float64 { return math.Floor(7 * u(4, i) * u(4, i)) })},
	"apart":   {list(50, func(i int) float64 { return u(5, i) }), list(60, func(i int) float64 { return 3 + u(6, i) })},
	"names":   {list(900, func(i int) float64 { return math.Floor(5 * u(7, i) * u(8, i)) }), list(400, func(i int) float64 { return math.Floor(6 * u(9, i)) })},
}

func compared(a, b []float64) (*NumbersReference, *NumbersCounts) {
	r, c := new(NumbersReference), new(NumbersCounts)
	for _, x := range a {
		r.Add(x)
	}
	r.Seal(10)
	c.Fit(r)
	for _, x := range b {
		c.Add(r, x)
	}
	return r, c
}

func categories(a, b []float64, most int) *Categories {
	c := new(Categories)
	for side, xs := range [][]float64{a, b} {
		for _, x := range xs {
			if name := []byte{'a' + byte(x)}; side == 0 {
				c.Learn(name, false, most)
			} else {
				c.Add(name, false)
			}
		}
	}
	return c
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s is %.17g, want %.17g", what, got, want)
	}
}

// The measures that SciPy computes of the same samples, see testdata/reference.py.
func TestSciPy(t *testing.T) {
	text, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for name, raw := range all {
		if name == "scipy" {
			continue
		}
		var want map[string]float64
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		var m Measures
		switch p := pairs[name]; name {
		case "shares":
			m.compare([]int64{50, 30, 20}, []int64{40, 40, 20})
		case "names":
			m = categories(p[0], p[1], 100).Measure(new(Scratch))
		default:
			r, c := compared(p[0], p[1])
			m = c.Measure(r)
			near(t, name+" ks", m.KS, want["ks"], 1e-12)
			near(t, name+" ks p", m.KSP, want["ks_p"], 1e-12)
			tolerance := 1e-12
			if name == "waves" || name == "shifted" { // where the functions cross is known but for the gaps of the reference
				tolerance = 5e-4
			}
			near(t, name+" wasserstein", m.Wasserstein, want["wasserstein"], tolerance)
		}
		near(t, name+" psi", m.PSI, want["psi"], 1e-12)
		near(t, name+" js", m.JS, want["js"], 1e-7) // a root of a small difference
		near(t, name+" chi squared", m.ChiSquared, want["chi_squared"], 1e-11)
		near(t, name+" chi squared p", m.ChiSquaredP, want["chi_squared_p"], 1e-11)
	}
}

// Published figures of the same samples.
func TestVectors(t *testing.T) {
	p := pairs["waves"]
	r, c := compared(p[0], p[1])
	m := c.Measure(r)
	near(t, "ks", m.KS, 0.0425, 1e-12)
	near(t, "psi", m.PSI, 0.010838, 5e-7)
	near(t, "js", m.JS, 0.044185, 5e-7)
	near(t, "wasserstein", m.Wasserstein, 0.068453, 5e-4)
	m = Measures{}
	m.compare([]int64{50, 30, 20}, []int64{40, 40, 20})
	near(t, "psi", m.PSI, 0.051083, 5e-7)
	near(t, "js", m.JS, 0.095843, 5e-7)
}

func TestMerge(t *testing.T) {
	for name, p := range pairs {
		r, whole := compared(p[0], p[1])
		want := whole.Measure(r)
		_, a := compared(p[0], p[1][:123%len(p[1])])
		_, b := compared(p[0], p[1][123%len(p[1]):])
		a.Merge(b)
		got := a.Measure(r)
		near(t, name+" wasserstein", got.Wasserstein, want.Wasserstein, 1e-12)
		got.Wasserstein = want.Wasserstein
		if got != want {
			t.Errorf("%s: %+v merged, %+v whole", name, got, want)
		}
		whole.Clear()
		for _, x := range p[1] {
			whole.Add(r, x)
		}
		if got := whole.Measure(r); got != want {
			t.Errorf("%s: %+v after Clear, %+v before", name, got, want)
		}
	}
}

// A reference compared with itself differs in nothing; one without numbers has the measures of bins only.
func TestSame(t *testing.T) {
	for name, p := range pairs {
		r, c := compared(p[0], p[0])
		if m := c.Measure(r); m.PSI != 0 || m.JS > 1e-7 || m.KS != 0 || m.Wasserstein > 1e-15 || m.ChiSquared > 1e-20 || m.ChiSquaredP != 1 || m.KSP != 1 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	r, c := compared(nil, []float64{1, 2})
	if m := c.Measure(r); m.Numbers || m != (Measures{}) {
		t.Errorf("an empty reference: %+v", m)
	}
	r, c = compared([]float64{1, 2, 3}, nil)
	c.Nulls = 5
	m := c.Measure(r)
	if m.Numbers || m.PSI < 1 || m.JS != 1 {
		t.Errorf("nulls alone: %+v", m)
	}
	r, c = compared([]float64{4, 4, 4}, []float64{4, 5, 3})
	if m := c.Measure(r); m.Wasserstein != 0 || math.Abs(m.KS-1.0/3) > 1e-15 {
		t.Errorf("a constant reference: %+v", m)
	}
}

func TestCategoriesBeyondTheBound(t *testing.T) {
	c := categories([]float64{0, 1, 2, 2}, []float64{0, 3, 4, 1}, 2)
	if len(c.List) != 2 || c.Other.Reference != 2 || c.Other.Compared != 2 {
		t.Errorf("%+v", c)
	}
	c = categories([]float64{0, 0}, []float64{5, 0}, 9)
	if c.Clear(); len(c.List) != 1 || c.Rows != 0 || c.List[0].Reference != 2 || c.List[0].Compared != 0 {
		t.Errorf("after Clear: %+v", c)
	}
}

func TestTails(t *testing.T) {
	for _, c := range []struct{ got, want float64 }{ // SciPy's chi2.sf and kstwobign.sf
		{chiSquaredTail(3.841458820694124, 1), 0.05},
		{chiSquaredTail(5.991464547107979, 2), 0.05},
		{chiSquaredTail(7.814727903251179, 3), 0.05},
		{chiSquaredTail(124.34211340400407, 100), 0.05},
		{kolmogorovTail(1.3580986393225505), 0.05},
		{kolmogorovTail(0.3), 0.9999906941986655},
		{kolmogorovTail(0), 1}, {chiSquaredTail(5, 0), 1}, {chiSquaredTail(1e6, 9), 0},
	} {
		near(t, "a tail", c.got, c.want, 1e-12)
	}
}

func BenchmarkAdd(b *testing.B) {
	p := pairs["shifted"]
	r, c := compared(p[0], nil)
	b.ReportAllocs()
	for i := range b.N {
		c.Add(r, p[1][i%len(p[1])])
	}
}
