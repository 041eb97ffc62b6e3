package loss

import (
	"math"
	"math/rand/v2"
	"testing"
)

// An outcome gives the bits that the functions give.
func TestOutcome(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	scores := []float64{0, math.Copysign(0, -1), 5e-324, 1, 18, math.Nextafter(18, 19), 36, 709.9, 745.2, 1e300, math.MaxFloat64}
	for range 20000 {
		scores = append(scores, rng.NormFloat64()*6, rng.NormFloat64()/1e6)
	}
	for _, f := range []Func{{Kind: Log}, {Kind: Hinge}} {
		for _, a := range scores {
			for _, s := range []float64{a, -a} {
				o := f.Outcome(s)
				for _, y := range []float64{-1, 1} {
					got := [3]float64{o.Link(), o.Value(y), o.Gradient(y)}
					want := [3]float64{f.Link(s), f.Value(s, y), f.Gradient(s, y)}
					for i := range got {
						if math.Float64bits(got[i]) != math.Float64bits(want[i]) {
							t.Fatalf("%v at %v, label %v: link, value, gradient are %v, want %v", f.Kind, s, y, got, want)
						}
					}
				}
			}
		}
	}
}
