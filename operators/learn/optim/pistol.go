package optim

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// Slots of a coordinate under Pistol.
const (
	pistolW     = iota // the weight as of the last step
	pistolMost         // greatest |value|
	pistolTheta        // Σ -g
	pistolSum          // Σ |g|
	pistolSlots
)

// pistolWeight is the weight of a coordinate whose greatest value is most:
// β·√A·θ·e^(θ²c/2)·c with c = 1/(α·M·(M+A)).
func (r *Rule[F]) pistolWeight(t []F, most F) F {
	theta, sum, m := float64(t[pistolTheta]), float64(t[pistolSum]), float64(most)
	if theta == 0 {
		return 0
	}
	c := 1 / float64(r.cfg.Alpha*float64(m*(m+sum)))
	grown := exact.Exp(float64(float64(theta*theta)*c) / 2)
	return F(float64(float64(float64(r.cfg.Beta*math.Sqrt(sum))*theta)*c) * grown)
}

func (r *Rule[F]) weighPistol(tab []F, idx []uint32, val []F) {
	for k, i := range idx {
		t := tab[pistolSlots*int(i) : pistolSlots*int(i)+pistolSlots]
		r.rates[k] = r.pistolWeight(t, max(t[pistolMost], abs(val[k])))
	}
}

func (r *Rule[F]) pistol(tab []F, idx []uint32, val []F, g F) int {
	for k, i := range idx {
		t, old := tab[pistolSlots*int(i):pistolSlots*int(i)+pistolSlots], r.undo[pistolSlots*k:pistolSlots*k+pistolSlots]
		copy(old, t)
		gk := F(g * val[k])
		t[pistolMost] = max(t[pistolMost], abs(val[k]))
		t[pistolTheta] = flush(t[pistolTheta]-gk, r.tiny)
		t[pistolSum] = flush(t[pistolSum]+abs(gk), r.tiny)
		t[pistolW] = flush(r.pistolWeight(t, t[pistolMost]), r.tiny)
		if !finite2(t[pistolMost], t[pistolTheta]) || !finite2(t[pistolSum], t[pistolW]) {
			copy(t, old)
			return k
		}
	}
	return len(idx)
}
