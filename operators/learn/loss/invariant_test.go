package loss

import (
	"math"
	"testing"
)

// A step of rate a and then one of rate b end where a step of rate a+b does, and
// many short plain steps end there too.
func TestInvariantSteps(t *testing.T) {
	for _, f := range all() {
		for _, y := range labels(f) {
			for _, norm := range []float64{1e-3, 0.7, 40} {
				for score := -20.3; score < 21; score += 1.7 {
					for _, rate := range []float64{1e-7, 0.03, 0.5, 9} {
						u := f.Invariant(score, y, rate, norm)
						half := f.Invariant(score, y, rate/2, norm)
						rest := f.Invariant(score+half*norm, y, rate/2, norm)
						if d := math.Abs(half + rest - u); !(d <= 1e-9*(1+math.Abs(u))) {
							t.Fatalf("%v(%v) score %v label %v rate %v norm %v: %v in one step, %v in two", f.Kind, f.Param, score, y, rate, norm, u, half+rest)
						}
						if g := f.Gradient(score, y); u*g > 0 || g == 0 && u != 0 {
							t.Fatalf("%v(%v) score %v label %v: moves by %v along the gradient %v", f.Kind, f.Param, score, y, u, g)
						}
					}
				}
			}
		}
		y, score, norm, rate := labels(f)[0], 2.0, 1.5, 0.8
		p, n := score, 200000
		for range n {
			p -= rate / float64(n) * norm * f.Gradient(p, y)
		}
		if got := score + norm*f.Invariant(score, y, rate, norm); math.Abs(got-p) > 1e-4 {
			t.Errorf("%v(%v): one step comes to %v, many short ones to %v", f.Kind, f.Param, got, p)
		}
	}
}

func TestInvariantIsFinite(t *testing.T) {
	for _, f := range all() {
		for _, y := range labels(f) {
			for _, score := range []float64{0, -1e300, 1e300, 700, -700, 36.5, 18.5} {
				for _, rate := range []float64{1e-300, 1, 1e6, 1e300} {
					for _, norm := range []float64{0, 1e-300, 1, 1e300} {
						if u := f.Invariant(score, y, rate, norm); u-u != 0 {
							// What overflows here is refused by the step rule.
							if math.Abs(score) < 1e300 && rate < 1e300 && norm != 1e-300 {
								t.Errorf("%v: score %v label %v rate %v norm %v moves by %v", f.Kind, score, y, rate, norm, u)
							}
						}
					}
				}
			}
		}
	}
}

// However wrong the score, the step of the log loss is at least near that of its
// rate, and joins what Newton's method finds.
func TestInvariantOfFarScores(t *testing.T) {
	f := Func{}
	for _, y := range []float64{-1, 1} {
		for z := 30.0; z < 1e300; z *= 1.1 {
			if u := f.Invariant(-y*z, y, 0.5, 1e-3); math.Abs(u*y-0.5) > 1e-9 {
				t.Fatalf("margin %v: moves by %v, want %v", -z, u, 0.5*y)
			}
			if u := f.Invariant(-y*z, y, 2*z, 1); !(u*y >= 0.9*z && u*y <= 2*z) {
				t.Fatalf("margin %v, rate %v: moves by %v", -z, 2*z, u)
			}
		}
	}
}
