package quantile

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat"
)

// Whatever is learnt, taken back, saved, loaded and fitted to another size: the
// quantiles are those of sorting the last values.
func TestWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	hostile := []float64{0, math.Copysign(0, -1), math.MaxFloat64, -math.MaxFloat64, 1e-310}
	for size := 1; size < 40; size += 3 {
		var v Values
		w := NewWindow(&v, size)
		var all []float64
		for step := range 500 {
			x := rng.NormFloat64()
			if rng.IntN(4) == 0 {
				x = hostile[rng.IntN(len(hostile))]
			} else if rng.IntN(2) == 0 {
				x = float64(rng.IntN(3))
			}
			before := fmt.Sprint(v, w.Quantile(1, 2))
			if !w.Update(x) {
				t.Fatalf("%v refused", x)
			}
			if rng.IntN(5) == 0 {
				w.Undo()
				if after := fmt.Sprint(v, w.Quantile(1, 2)); after != before {
					t.Fatalf("size %d, step %d: %s after Undo, was %s", size, step, after, before)
				}
			} else {
				all = append(all, x)
			}
			if rng.IntN(20) == 0 { // a restart, perhaps with another size
				v = Values{slices.Clone(v.Ring), v.Next}
				if rng.IntN(2) == 0 {
					size = max(1, size+rng.IntN(5)-2)
					all = all[max(0, len(all)-len(v.Ring)):]
				}
				w = NewWindow(&v, size)
			}
			want := slices.Clone(all[max(0, len(all)-size):])
			slices.Sort(want)
			for i := 0; i <= 4 && len(want) > 0; i++ {
				got := w.Quantile(i, 4)
				if got-got != 0 || math.Abs(got-linear(want, float64(i)/4)) > 1e-9*math.Abs(got) {
					t.Fatalf("size %d, step %d: quantile %d/4 of %v is %v", size, step, i, want, got)
				}
			}
		}
		for _, x := range []float64{math.NaN(), math.Inf(1)} {
			if before := fmt.Sprint(v); w.Update(x) || fmt.Sprint(v) != before {
				t.Errorf("%v was learnt", x)
			}
		}
	}
}

func linear(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	k := int(at)
	if k == len(sorted)-1 {
		return sorted[k]
	}
	return sorted[k]*(1-(at-float64(k))) + sorted[k+1]*(at-float64(k))
}

// Against gonum, whose empirical quantile is the nearest value.
func TestAgainstGonum(t *testing.T) {
	var v Values
	w := NewWindow(&v, 1001)
	var all []float64
	for i := range 1001 {
		x := math.Sin(float64(i * i))
		all = append(all, x)
		w.Update(x)
	}
	slices.Sort(all)
	for i := 1; i < 10; i++ {
		if got, want := w.Quantile(i, 10), stat.Quantile(float64(i)/10, stat.Empirical, all, nil); math.Abs(got-want) > 0.01 {
			t.Errorf("quantile %d/10 is %v, gonum has %v", i, got, want)
		}
	}
}
