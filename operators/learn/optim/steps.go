package optim

import "math"

// One loop per rule. Each saves the slots it is about to change in r.undo,
// writes only finite values, and returns how many features it stepped: fewer
// than the row has when the next one would not have stayed finite.

// finite2 is false if a or b is NaN or Inf (Inf-Inf and NaN-NaN are NaN).
func finite2[F Float](a, b F) bool { return (a-a)+(b-b) == 0 }

// flush turns what has decayed below the normal numbers into 0: a processor
// takes a hundred times as long over each of them.
func flush[F Float](x F, tiny float64) F {
	if math.Abs(float64(x)) < tiny { // one branch that does not depend on the sign
		return 0
	}
	return x
}

func abs[F Float](x F) F { return F(math.Abs(float64(x))) }

func root[F Float](x F) F { return F(math.Sqrt(float64(x))) }

func (r *Rule[F]) sgd(tab []F, idx []uint32, val []F, g, lr F) int {
	l2, old := r.l2, r.undo[:len(idx)]
	val = val[:len(idx)]
	for k, i := range idx {
		w := tab[i]
		old[k] = w
		gk := F(g*val[k]) + F(l2*w)
		w = flush(w-F(lr*gk), r.tiny)
		if w-w != 0 {
			return k
		}
		tab[i] = w
	}
	return len(idx)
}

func (r *Rule[F]) sgdL1(tab []F, idx []uint32, val []F, g, lr F) int {
	r.State.Penalty += float64(r.cfg.L1 * float64(lr))
	u, l2 := F(r.State.Penalty), r.l2
	for k, i := range idx {
		t, old := tab[2*int(i):2*int(i)+2], r.undo[2*k:2*k+2]
		w, q := t[0], t[1]
		old[0], old[1] = w, q
		gk := F(g*val[k]) + F(l2*w)
		w -= F(lr * gk)
		v := w
		if w > 0 {
			v = max(0, w-(u+q))
		} else if w < 0 {
			v = min(0, w+(u-q))
		}
		q += v - w
		if !finite2(v, q) {
			return k
		}
		t[0], t[1] = v, q
	}
	return len(idx)
}

func (r *Rule[F]) momentum(tab []F, idx []uint32, val []F, g, lr F) int {
	l2, rho, point := r.l2, r.rho, F(0)
	if r.cfg.Kind == Nesterov {
		point = rho // L2's gradient is taken at the look-ahead point, too
	}
	for k, i := range idx {
		t, old := tab[2*int(i):2*int(i)+2], r.undo[2*k:2*k+2]
		w, s := t[0], t[1]
		old[0], old[1] = w, s
		at := w - F(point*s)
		gk := F(g*val[k]) + F(l2*at)
		s = flush(F(rho*s)+F(lr*gk), r.tiny)
		w -= s
		if !finite2(w, s) {
			return k
		}
		t[0], t[1] = w, s
	}
	return len(idx)
}

func (r *Rule[F]) adagrad(tab []F, idx []uint32, val []F, g, lr F) int {
	l2, eps := r.l2, r.eps
	for k, i := range idx {
		t, old := tab[2*int(i):2*int(i)+2], r.undo[2*k:2*k+2]
		w, sum := t[0], t[1]
		old[0], old[1] = w, sum
		gk := F(g*val[k]) + F(l2*w)
		sum += F(gk * gk)
		w = flush(w-F(lr*gk)/root(sum+eps), r.tiny)
		if !finite2(w, sum) {
			return k
		}
		t[0], t[1] = w, sum
	}
	return len(idx)
}

func (r *Rule[F]) rmsprop(tab []F, idx []uint32, val []F, g, lr F) int {
	l2, eps, rho, rest := r.l2, r.eps, r.rho, r.rest
	for k, i := range idx {
		t, old := tab[2*int(i):2*int(i)+2], r.undo[2*k:2*k+2]
		w, mean := t[0], t[1]
		old[0], old[1] = w, mean
		gk := F(g*val[k]) + F(l2*w)
		mean = flush(F(rho*mean)+F(rest*F(gk*gk)), r.tiny)
		w -= F(lr*gk) / root(mean+eps)
		if !finite2(w, mean) {
			return k
		}
		t[0], t[1] = w, mean
	}
	return len(idx)
}

func (r *Rule[F]) adam(tab []F, idx []uint32, val []F, g, lr F) int {
	l2, eps := r.l2, r.eps
	var c1, c2 F
	if r.cfg.GlobalCount {
		c1, c2 = r.corrections(r.State.Steps)
	}
	for k, i := range idx {
		t, old := tab[4*int(i):4*int(i)+4], r.undo[4*k:4*k+4]
		copy(old, t)
		w, m, v, c := t[0], t[1], t[2], t[3]
		gk := F(g*val[k]) + F(l2*w)
		m = flush(F(r.beta1*m)+F(r.rest1*gk), r.tiny)
		v = flush(F(r.beta2*v)+F(r.rest2*F(gk*gk)), r.tiny)
		c++ // a float32 stops counting at 2^24, where the corrections are long 1
		if !r.cfg.GlobalCount {
			c1, c2 = r.corrections(int64(c))
		}
		w -= F(lr*(m/c1)) / (root(v/c2) + eps)
		if !finite2(w, m) || !finite2(v, c) {
			return k
		}
		t[0], t[1], t[2], t[3] = w, m, v, c
	}
	return len(idx)
}

// corrections are 1-β₁ⁿ and 1-β₂ⁿ.
func (r *Rule[F]) corrections(n int64) (c1, c2 F) {
	if n < int64(len(r.correct)) {
		c := &r.correct[n]
		return c[0], c[1]
	}
	if n >= r.settled {
		return 1, 1
	}
	return F(1 - raise(r.cfg.Beta1, n)), F(1 - raise(r.cfg.Beta2, n))
}

// prepare fills the corrections of the first steps and finds the step from
// which on both are 1 in F.
func (r *Rule[F]) prepare() {
	correct := make([][2]F, 1024)
	r.settled = math.MaxInt64
	for n := range correct {
		correct[n][0], correct[n][1] = r.corrections(int64(n))
	}
	n := int64(len(correct))
	for c1, c2 := r.corrections(n); c1 != 1 || c2 != 1; c1, c2 = r.corrections(n) {
		n *= 2
	}
	r.settled, r.correct = n, correct
}

func (r *Rule[F]) ftrl(tab []F, idx []uint32, val []F, g F) int {
	l1, l2, alpha, beta := r.l1, r.l2, r.alpha, r.beta
	for k, i := range idx {
		t, old := tab[3*int(i):3*int(i)+3], r.undo[3*k:3*k+3]
		w, z, n := t[0], t[1], t[2]
		old[0], old[1], old[2] = w, z, n
		gk := F(g * val[k])
		was := root(n)
		n += F(gk * gk)
		now := root(n)
		sigma := (now - was) / alpha
		z += gk - F(sigma*w)
		w = 0
		den := (beta+now)/alpha + l2
		// den is 0 only if nothing but gradients too small to square was seen.
		if far := abs(z); far > l1 && den > 0 {
			w = F(math.Copysign(float64((far-l1)/den), -float64(z)))
		}
		if !finite2(w, z) || !finite2(n, n) {
			return k
		}
		t[0], t[1], t[2] = w, z, n
	}
	return len(idx)
}
