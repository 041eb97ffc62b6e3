package optim

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
)

// Slots of a coordinate under FreeGrad.
const (
	freeW     = iota // the weight as of the last step
	freeSum          // Σ g, each held to the greatest before it
	freeSumSq        // Σ g² of the same, and the first once more
	freeFirst        // |g| of the first that was not 0
	freeMost         // greatest |g|
	freeSlots
)

// freeWeight is equation 9 of Mhammedi and Koolen: with G and V the sums of
// gradients and of their squares, h₁ the first and h the greatest of them,
// -G·ε·h₁²·(2V+h|G|)/(2(V+h|G|)²·√V)·e^(G²/(2V+2h|G|)).
func (r *Rule[F]) freeWeight(t []F) F {
	sum, squares, first, most := float64(t[freeSum]), float64(t[freeSumSq]), float64(t[freeFirst]), float64(t[freeMost])
	if sum == 0 || squares == 0 {
		return 0
	}
	pull := float64(most * math.Abs(sum))
	both := squares + pull
	grown := exact.Exp(float64(sum*sum) / (2 * both))
	share := float64(float64(first*first)*(squares+both)) / float64(float64(2*both)*float64(both*math.Sqrt(squares)))
	return F(-float64(float64(float64(sum*r.cfg.Alpha)*share) * grown))
}

func (r *Rule[F]) freegrad(tab []F, idx []uint32, val []F, g F) int {
	for k, i := range idx {
		t, old := tab[freeSlots*int(i):freeSlots*int(i)+freeSlots], r.undo[freeSlots*k:freeSlots*k+freeSlots]
		copy(old, t)
		gk := F(g * val[k])
		size := abs(gk)
		switch most := t[freeMost]; {
		case F(gk*gk) == 0: // its square is 0, too
			continue
		case most == 0:
			t[freeFirst], t[freeMost] = size, size
			t[freeSumSq] += F(gk * gk)
		case size > most:
			gk, t[freeMost] = F(math.Copysign(float64(most), float64(gk))), size
		}
		t[freeSum] = flush(t[freeSum]+gk, r.tiny)
		t[freeSumSq] += F(gk * gk)
		t[freeW] = flush(r.freeWeight(t), r.tiny)
		if !finite2(t[freeMost], t[freeSum]) || !finite2(t[freeSumSq], t[freeW]) {
			copy(t, old)
			return k
		}
	}
	return len(idx)
}
