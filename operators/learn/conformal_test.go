package learn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// The share of labels within the interval comes to the coverage asked for, within
// the bound of the paper, though errors grow tenfold on the way and trend.
func TestConformalCoverage(t *testing.T) {
	const n = 6000
	rng := rand.New(rand.NewPCG(3, 5))
	var in strings.Builder
	in.WriteString("p,y:float64?\n")
	for i := range n {
		scale := 1 + 9*float64(i/2000%2)
		fmt.Fprintf(&in, "%v,%v\n", float64(i), float64(i)+scale*rng.NormFloat64()+float64(i)/1000)
	}
	for _, coverage := range []float64{0.5, 0.9, 0.99} {
		const rate = 0.02
		h := runner(t, "conformal", fmt.Sprintf("{prediction: p, label: y, coverage: %v, rate: %v, window: 300}", coverage, rate), in.String())
		lower, upper, y := h.Output().Col("node.lower"), h.Output().Col("node.upper"), h.Output().Col("y")
		covered, width, late := 0, 0.0, 0.0
		for row := range n {
			in := lower.Null(row) || lower.Floats[row] <= y.Floats[row] && y.Floats[row] <= upper.Floats[row]
			if in != h.Output().Col("node.covered").Bools[row] {
				t.Fatalf("row %d: covered is not what the interval says", row)
			}
			if in {
				covered++
			}
			if !lower.Null(row) {
				switch {
				case row >= 1000 && row < 2000:
					width = upper.Floats[row] - lower.Floats[row]
				case row >= 3000 && row < 4000:
					late = upper.Floats[row] - lower.Floats[row]
				}
			}
		}
		got := float64(covered) / n
		if bound := (max(coverage, 1-coverage) + rate) / (rate * n); math.Abs(got-coverage) > bound {
			t.Errorf("coverage %v: %v of the labels are covered, allowed is %v to either side", coverage, got, bound)
		}
		if late < 3*width {
			t.Errorf("coverage %v: the width was %v and is %v after errors grew tenfold", coverage, width, late)
		}
		r := h.Node.Report()
		if v, _ := r.Get("coverage"); math.Abs(v-got) > 1e-12 {
			t.Errorf("the report says %v, counted are %v", v, got)
		}
	}
}

// Coverage is kept behind a time in which predictions were exact.
func TestConformalBehindExactPredictions(t *testing.T) {
	const exact, n = 20000, 10000
	rng := rand.New(rand.NewPCG(3, 6))
	var in strings.Builder
	in.WriteString("p,y\n")
	for i := range exact + n {
		y := 1.0
		if i >= exact {
			y += rng.NormFloat64()
		}
		fmt.Fprintf(&in, "1,%v\n", y)
	}
	const coverage, rate = 0.9, 0.02
	h := runner(t, "conformal", fmt.Sprintf("{prediction: p, label: y, coverage: %v, rate: %v}", coverage, rate), in.String())
	covered := 0
	for _, in := range h.Output().Col("node.covered").Bools[exact:] {
		if in {
			covered++
		}
	}
	if got := float64(covered) / n; math.Abs(got-coverage) > (2+1/rate)/n {
		t.Errorf("%v of the labels are covered", got)
	}
}

// A checkpoint writes the errors that came since the last, not the whole window.
func TestConformalCheckpoints(t *testing.T) {
	const header = "p,y\n"
	h := runner(t, "conformal", "{prediction: p, label: y, window: 10000}", header+strings.Repeat("1,2\n3,5\n", 6000))
	changed := func() (n int) {
		for _, s := range h.Node.States() {
			s.State.Changed(func(_, value []byte) bool { n += len(value); return true })
		}
		return n
	}
	if n := changed(); n < 80_000 {
		t.Errorf("the first writes %d bytes", n)
	}
	feed(t, h, header+"1,4\n")
	if n := changed(); n > 1000 {
		t.Errorf("a row later %d bytes are written", n)
	}
}
