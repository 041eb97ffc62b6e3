package learn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/learn/loss"
)

// boundRows are rows of a label that a line of four features determines.
func boundRows(label func(row int, line float64, noise func() float64) float64) string {
	random := rand.New(rand.NewPCG(1, 2))
	var in strings.Builder
	in.WriteString("features:sparse[8],y\n")
	for row := range 2000 {
		line := 0.0
		for k := range 4 {
			x := random.NormFloat64()
			line += float64(x * float64(k+1))
			fmt.Fprintf(&in, "%d:%.4f ", k, x)
		}
		fmt.Fprintf(&in, "4:%.4f,%.4f\n", float64(row)/1000, label(row, line, random.NormFloat64))
	}
	return in.String()
}

// errorsOf runs the rows and gives the mean absolute and the root mean squared
// error, and how many predictions were no label's neighbours: beyond all before.
func errorsOf(t *testing.T, config, in string) (mae, rmse float64, beyond int) {
	t.Helper()
	h := runner(t, "linear_regression", config, in)
	p, y := h.Output().Col("node.prediction").Floats, h.Output().Col("y").Floats
	low, high := math.Inf(1), math.Inf(-1)
	for i := range p {
		e := p[i] - y[i]
		mae += math.Abs(e)
		rmse += float64(e * e)
		if i >= labelTrust && (p[i] < low || p[i] > high) {
			beyond++
		}
		low, high = min(low, y[i]), max(high, y[i])
	}
	n := float64(len(p))
	return mae / n, math.Sqrt(rmse / n), beyond
}

// Where labels come to rest at a bound, holding predictions to it makes them
// better, whatever steps; where they leave all bounds, it makes them no worse.
func TestBounds(t *testing.T) {
	for _, c := range []struct {
		what  string
		label func(row int, line float64, noise func() float64) float64
		gain  float64 // at least this share of both errors
	}{
		{"mostly zero", func(_ int, line float64, noise func() float64) float64 {
			return max(0, line-4+float64(0.5*noise()))
		}, 0.15},
		{"both ends", func(_ int, line float64, _ func() float64) float64 { return max(-3, min(3, line)) }, 0.15},
		{"no bound", func(_ int, line float64, noise func() float64) float64 { return line + noise() }, -0.01},
		{"up", func(row int, line float64, noise func() float64) float64 {
			return line + float64(0.05*float64(row)) + noise()
		}, -0.01},
		{"down", func(row int, line float64, noise func() float64) float64 {
			return line - float64(0.05*float64(row)) + noise()
		}, -0.01},
		{"zero, then up", func(row int, line float64, _ func() float64) float64 {
			return max(0, line-4) + float64(0.05*max(0, float64(row)-1000))
		}, 0.01},
		{"zero, then elsewhere", func(row int, line float64, _ func() float64) float64 {
			if row < 1000 {
				return max(0, line-4)
			}
			return line - 50
		}, 0},
	} {
		in := boundRows(c.label)
		for _, options := range []string{"", ", optimizer: coin", ", optimizer: normalized", ", optimizer: {adagrad: {rate: 0.1}}, loss: huber"} {
			mae, rmse, beyond := errorsOf(t, "{label: y"+options+"}", in)
			freeMAE, freeRMSE, freeBeyond := errorsOf(t, "{label: y, bounds: none"+options+"}", in)
			t.Logf("%s%s: mae %.4f, none %.4f; rmse %.4f, none %.4f; beyond %d, none %d", c.what, options, mae, freeMAE, rmse, freeRMSE, beyond, freeBeyond)
			if options == "" && (mae > freeMAE*(1-c.gain) || rmse > freeRMSE*(1-c.gain)) {
				t.Errorf("%s: mae %v, none %v; rmse %v, none %v", c.what, mae, freeMAE, rmse, freeRMSE)
			}
			if c.gain > 0.1 && (beyond > 0 || freeBeyond == 0) {
				t.Errorf("%s%s: %d predictions beyond the range, none %d", c.what, options, beyond, freeBeyond)
			}
		}
	}
}

// A range holds once it is known, lets go when that pays, and takes labels and
// predictions of any size.
func TestLabelRange(t *testing.T) {
	f := loss.Func{Kind: loss.Squared}
	r := labelRange{}
	for i := range labelTrust {
		if r.holds() {
			t.Fatalf("it holds after %d labels", i)
		}
		r.learn(f, 100, float64(i%3), 1)
	}
	if !r.holds() || r.Low != 0 || r.High != 2 || r.Gain != 0 {
		t.Fatalf("%+v", r)
	}
	r.learn(f, 3, 2, 1) // held at 2, which is right
	if r.Gain != 1 || r.nearest(3) != 2 || r.nearest(-1) != 0 || r.nearest(1.5) != 1.5 {
		t.Errorf("%+v", r)
	}
	r.learn(f, 3, 4, 1) // held at 2, 3 would have been better by 4 - 1
	if r.holds() || r.High != 4 || math.Abs(r.Gain-(gainKept-3)) > 1e-15 {
		t.Errorf("%+v", r)
	}
	for range 200 {
		if r.learn(f, 5, 4, 1); r.holds() {
			break
		}
	}
	if !r.holds() {
		t.Errorf("it never holds again: %+v", r)
	}
	for range 1000 {
		r.learn(f, math.MaxFloat64, -math.MaxFloat64, mostWeight)
		r.learn(f, -math.MaxFloat64, math.MaxFloat64, mostWeight)
		r.learn(f, math.MaxFloat64, 0, mostWeight)
	}
	if !finite(r.Gain) || !finite(r.Low) || !finite(r.High) {
		t.Errorf("%+v", r)
	}
}

// The loss that is learnt from is that of the prediction within the range, convex,
// and its derivative is what steps are taken on.
func TestMatchingLoss(t *testing.T) {
	const low, high, h = -1.5, 2, 1e-3
	for _, f := range []loss.Func{
		{Kind: loss.Squared}, {Kind: loss.Absolute}, {Kind: loss.Huber, Param: 0.7}, {Kind: loss.Quantile, Param: 0.2},
	} {
		for _, label := range []float64{low, -0.3, 1, high} {
			held := target{loss: f, label: label, bounded: true, low: low, high: high}
			free := target{loss: f, label: label}
			for s := -5.0; s <= 5; s += 0.25 {
				if s >= low && s <= high && (held.value(s) != free.value(s) || held.slope(s) != free.slope(s)) {
					t.Errorf("%v of %v, label %v: differs within the range", f.Kind, s, label)
				}
				left, here, right := held.value(s-h), held.value(s), held.value(s+h)
				if left+right-2*here < -1e-12 {
					t.Errorf("%v of %v, label %v: not convex", f.Kind, s, label)
				}
				kink := math.Abs(s-label) < 0.8 || s == low || s == high
				if d := (right - left) / (2 * h); !kink && math.Abs(d-held.slope(s)) > 1e-9 {
					t.Errorf("%v of %v, label %v: the slope is %v, the loss rises by %v", f.Kind, s, label, held.slope(s), d)
				}
				if label == high && s > high && (held.value(s) != 0 || f.Kind == loss.Squared && held.slope(s) != 0) {
					t.Errorf("%v of %v, label %v: beyond the bound is no mistake", f.Kind, s, label)
				}
			}
		}
	}
}
