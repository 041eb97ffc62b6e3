package optim

import "math"

// Adapts tells that the rule steps by [Rule.Adapt] and [Rule.Move], and not by
// [Rule.Step].
func (r *Rule[F]) Adapts() bool { return r.cfg.Invariant }

// Adapt is the first half of a step in which the loss says how far to go: it
// takes up what the row says of its coordinates and returns norm, by how much
// the score moves for a unit of [Rule.Move]. grad is the derivative of the loss,
// weight > 0 counts the row as that many. The second half is
//
//	Move(tab, idx, u), u = loss.Func.Invariant(score, y, Rate()·weight, norm)
//
// A derivative of 0 leaves everything as it is, with norm 0. On ErrNonFinite
// table and states are as they were, and there is no second half.
func (r *Rule[F]) Adapt(tab []F, idx []uint32, val []F, grad, weight float64) (norm float64, err error) {
	grad = r.clipped(grad)
	r.last, r.lastShared = r.State, r.Shared
	r.room(len(idx))
	r.scratch(len(idx))
	val = val[:len(idx)]
	s := r.slots
	for k, i := range idx {
		copy(r.undo[k*s:], tab[int(i)*s:int(i)*s+s])
	}
	if grad == 0 {
		r.swept = false
		clear(r.rates)
		return 0, nil
	}
	r.State.Steps++
	r.grad, r.swept = grad, false
	h := F(float64(grad*grad) * weight)
	ok := false
	switch r.cfg.Kind {
	case AdaGrad:
		norm, ok = r.adaptSum(tab, idx, val, h)
	case Normalized:
		norm, ok = r.adaptNormal(tab, idx, val, h, weight)
	default:
		norm, ok = r.adaptNone(val)
	}
	if !ok || !(norm <= math.MaxFloat64) {
		r.Undo(tab, idx)
		return 0, ErrNonFinite
	}
	return norm, nil
}

// Rate is the rate of the step that the last Adapt began.
func (r *Rule[F]) Rate() float64 { return r.rate() }

// Move is the second half of a step. idx is the row of the last Adapt. On
// ErrNonFinite table and states are as they were before that.
func (r *Rule[F]) Move(tab []F, idx []uint32, u float64) error {
	if r.cfg.penalised() {
		return r.movePenalised(tab, idx, u)
	}
	step, s := F(u), r.slots
	for k, i := range idx {
		t := &tab[int(i)*s]
		w := flush(*t+F(step*r.rates[k]), r.tiny)
		if w-w != 0 {
			r.Undo(tab, idx)
			return ErrNonFinite
		}
		*t = w
	}
	return nil
}

// adaptNone serves plain descent: a unit moves each weight by the value.
func (r *Rule[F]) adaptNone(val []F) (float64, bool) {
	var sum F
	for k, x := range val {
		r.rates[k] = x
		sum += F(x * x)
	}
	return float64(sum), sum-sum == 0
}

// adaptSum is AdaGrad's: by the value over the root of the squared gradients.
func (r *Rule[F]) adaptSum(tab []F, idx []uint32, val []F, h F) (float64, bool) {
	var sum F
	for k, i := range idx {
		x, g := val[k], &tab[r.slots*int(i)+1]
		*g += F(h * F(x*x))
		rate := x / root(*g+r.eps)
		r.rates[k] = rate
		sum += F(rate * x)
		if !finite2(*g, sum) {
			return 0, false
		}
	}
	return float64(sum), true
}

// adaptNormal is that of Ross, Mineiro and Langford: a weight is kept in units of
// the greatest value seen at its coordinate, so that the unit of a column is of
// no account.
func (r *Rule[F]) adaptNormal(tab []F, idx []uint32, val []F, h F, weight float64) (float64, bool) {
	var sum, squares F
	half, least := r.cfg.Power == 0.5, F(r.tiny)
	s, raw := r.slots, 0
	if s > 4 {
		raw = 4
	}
	for k, i := range idx {
		t := tab[s*int(i) : s*int(i)+s]
		x := val[k]
		if x == 0 {
			continue
		}
		x2 := F(x * x)
		if x2 < least { // neither the square nor its reciprocal may be lost
			x2 = least
			x = F(math.Copysign(float64(root(least)), float64(x)))
		}
		t[1] += F(h * x2)
		if far := abs(x); far > t[2] {
			if t[2] > 0 {
				by := t[2] / far
				if !half {
					by = F(power(float64(F(by*by)), 1-r.cfg.Power))
				}
				t[raw] *= by
			}
			t[2] = far
		}
		n2 := F(t[2] * t[2])
		squares += x2 / n2
		var rate F
		if half {
			rate = 1 / F(root(t[1])*t[2])
		} else {
			rate = F(1 / float64(power(float64(t[1]), r.cfg.Power)*power(float64(n2), 1-r.cfg.Power)))
		}
		if rate-rate != 0 {
			rate = 0 // gradient and value are too small to say how far to go
		}
		// In the table, so that an index that occurs twice moves at its last rate.
		t[3] = rate
		sum += F(x2 * rate)
		if !finite2(t[raw], t[1]) || !finite2(sum, sum) {
			return 0, false
		}
	}
	sh := &r.Shared
	sh.Norm += float64(weight * float64(squares))
	sh.Weight += weight
	if sh.Norm == 0 {
		return 0, true
	}
	m := power(sh.Weight/sh.Norm, 1-r.cfg.Power)
	for k, i := range idx {
		r.rates[k] = F(F(m) * F(tab[s*int(i)+3]*val[k]))
	}
	return float64(m * float64(sum)), m-m == 0
}

// Where the scalars of the penalties get so far from 0, all weights are written
// as what they count and the scalars start anew.
const (
	leastScale = 1e-9
	mostPull   = 1e3
)

// shrunk is what a weight counts after the penalties on the row's features and
// all others: dual averaging as Vowpal Wabbit does it, in two scalars.
func (r *Rule[F]) shrunk(i uint32, w F) F {
	if i == r.Free {
		return w
	}
	far := abs(w) - F(r.Shared.Pull)
	if far <= 0 {
		return 0
	}
	return F(F(1-r.Shared.Shrink) * F(math.Copysign(float64(far), float64(w))))
}

// movePenalised is Move with penalties. -u/ℓ' is the rate that the step comes to.
func (r *Rule[F]) movePenalised(tab []F, idx []uint32, u float64) error {
	if r.grad == 0 || u == 0 {
		return nil
	}
	sh, s := &r.Shared, r.slots
	rate := -u / r.grad
	scale := max(leastScale/2, (1-sh.Shrink)*max(0, 1-float64(r.cfg.L2*rate)))
	sh.Shrink = 1 - scale
	sh.Pull += float64(r.cfg.L1 * rate)
	for k, i := range idx {
		t := tab[s*int(i) : s*int(i)+s]
		step := F(u)
		if i != r.Free {
			step = F(u / scale)
		}
		w := flush(t[s-1]+F(step*r.rates[k]), r.tiny)
		if w-w != 0 {
			r.Undo(tab, idx)
			return ErrNonFinite
		}
		t[s-1], t[0] = w, r.shrunk(i, w)
	}
	if scale < leastScale || sh.Pull > mostPull {
		for i := range len(tab) / s {
			t := tab[s*i : s*i+s]
			w := flush(r.shrunk(uint32(i), t[s-1]), r.tiny)
			t[0], t[s-1] = w, w
		}
		sh.Shrink, sh.Pull, r.swept = 0, 0, true
	}
	return nil
}

// Swept tells that the last Move wrote the whole table and not its row alone.
func (r *Rule[F]) Swept() bool { return r.swept }
