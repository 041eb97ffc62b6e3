package optim

import (
	"math"
	"testing"
)

// Adam without a memory of squares still corrects its mean: the first step is one
// of the rate, whatever the gradient.
func TestAdamWithoutMemoryOfSquares(t *testing.T) {
	for _, k := range []Kind{Adam, NAdam, AMSGrad} {
		c := Defaults(k)
		c.Beta2, c.Eps = 0, 1e-30
		r, tab := rule[float64](t, c), make([]float64, c.Slots())
		if err := r.Step(tab, []uint32{0}, []float64{1}, 3); err != nil {
			t.Fatal(err)
		}
		want := -c.Rate.Rate
		if k == NAdam {
			want *= 1.9 // β₁ + (1-β₁)/(1-β₁)
		}
		if math.Abs(tab[0]-want) > 1e-12 {
			t.Errorf("%v: the first step goes to %v, want %v", k, tab[0], want)
		}
	}
}

// A factor of the rate counts behind the bounds of AdaBound, too.
func TestBoostOfAdaBound(t *testing.T) {
	c := Defaults(AdaBound)
	c.Gamma = 1
	step := func(boost float64) float64 {
		r, tab := rule[float64](t, c), make([]float64, c.Slots())
		for range 5000 {
			if err := r.Step(tab, []uint32{0}, []float64{1}, 1); err != nil {
				t.Fatal(err)
			}
		}
		was := tab[0]
		r.Boost = boost
		if err := r.Step(tab, []uint32{0}, []float64{1}, 1); err != nil {
			t.Fatal(err)
		}
		return tab[0] - was
	}
	if one, five := step(0), step(5); math.Abs(one+c.Final) > 1e-3*c.Final || math.Abs(five/one-5) > 1e-9 {
		t.Errorf("a step is %v, boosted by 5 it is %v", one, five)
	}
}

// Values and gradients whose squares a float32 does not hold are no reason to refuse
// a row, and the score follows the gradient.
func TestTinyAndHugeInFloat32(t *testing.T) {
	for _, k := range []Kind{Coin, Normalized} {
		for _, x := range []float32{1e-42, 1e-30, 1e-21, 1e-19, 1, 1e18, 1e25, 1e37} {
			if k == Normalized && x > 1e18 {
				continue // the sum of squared gradients overflows
			}
			for _, grad := range []float64{-1e-30, -1e-22, -1e-3, -1} {
				r := rule[float32](t, Defaults(k))
				tab, idx, val := make([]float32, r.Slots()), []uint32{0}, []float32{x}
				score := func() float64 { return float64(r.Weigh(tab, idx, val)[0]) * float64(x) }
				for range 2 {
					score()
					if err := r.Step(tab, idx, val, grad); err != nil {
						t.Fatalf("%v: value %v, gradient %v: %v", k, x, grad, err)
					}
				}
				s := score()
				if s < 0 || s-s != 0 {
					t.Errorf("%v: value %v, gradient %v: score %v", k, x, grad, s)
				}
				if grad == -1 && x > 1e-20 && s < 0.1 {
					t.Errorf("%v: value %v: score %v after two steps", k, x, s)
				}
			}
		}
	}
}

// The count of a weight's steps stops at 2^24 in a float32. Corrections are 1 by
// then to the last bit, if less than a millionth is forgotten a step they are not.
func TestCorrectionsWhereTheCountStops(t *testing.T) {
	last := func(beta2 float64) float32 {
		c := Defaults(Adam)
		c.Beta2 = beta2
		r, err := New[float32](c)
		if err != nil {
			t.Fatal(err)
		}
		_, c2 := r.corrections(1 << 24)
		return c2
	}
	if got := last(1 - 1e-6); got < math.Nextafter32(1, 0) {
		t.Errorf("the correction is %v", got)
	}
	if got := last(1 - 1e-7); !(got > 0.8 && got < 0.82) {
		t.Errorf("the correction is %v, want 1 - e^-1.68", got)
	}
}
