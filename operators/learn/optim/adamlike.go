package optim

// Rules that keep decayed means of the gradient as Adam does, and AdaDelta.

func (r *Rule[F]) adadelta(tab []F, idx []uint32, val []F, g, lr F) int {
	l2, eps, rho, rest := r.l2, r.eps, r.rho, r.rest
	for k, i := range idx {
		t, old := tab[3*int(i):3*int(i)+3], r.undo[3*k:3*k+3]
		copy(old, t)
		gk := F(g*val[k]) + F(l2*t[0])
		mean := flush(F(rho*t[1])+F(rest*F(gk*gk)), r.tiny)
		step := F(root(t[2]+eps)/root(mean+eps)) * gk
		steps := flush(F(rho*t[2])+F(rest*F(step*step)), r.tiny)
		w := flush(t[0]-F(lr*step), r.tiny)
		if !finite2(w, mean) || !finite2(steps, steps) {
			return k
		}
		t[0], t[1], t[2] = w, mean, steps
	}
	return len(idx)
}

func (r *Rule[F]) adamLike(tab []F, idx []uint32, val []F, g, lr F) int {
	l2, eps, s := r.l2, r.eps, r.slots
	n, final := r.State.Steps, float64(r.cfg.Final*r.boost())
	var c1, c2 F
	if r.cfg.GlobalCount {
		c1, c2 = r.corrections(n)
	}
	for k, i := range idx {
		t, old := tab[s*int(i):s*int(i)+s], r.undo[s*k:s*k+s]
		copy(old, t)
		w, v, c := t[0], t[2], t[3]+1
		gk := F(g*val[k]) + F(l2*w)
		m := flush(F(r.beta1*t[1])+F(r.rest1*gk), r.tiny)
		if !r.cfg.GlobalCount {
			n = int64(c)
			c1, c2 = r.corrections(n)
		}
		if r.cfg.Kind == AdaMax {
			v = flush(max(F(r.beta2*v), abs(gk)), r.tiny)
		} else {
			v = flush(F(r.beta2*v)+F(r.rest2*F(gk*gk)), r.tiny)
		}
		switch r.cfg.Kind {
		case AdaMax:
			w -= F(lr*(m/c1)) / (v + eps)
		case NAdam:
			ahead := F(r.beta1*(m/c1)) + F(r.rest1*gk)/c1
			w -= F(lr*ahead) / (root(v/c2) + eps)
		case AMSGrad:
			t[4] = max(t[4], v)
			w -= F(F(lr*root(c2)/c1)*m) / (root(t[4]) + eps)
		case AdaBound:
			by := float64(r.cfg.Gamma * float64(n))
			lo, hi := F(final*(1-1/(by+1))), F(final*(1+1/by))
			rate := F(lr*root(c2)/c1) / (root(v) + eps)
			w -= F(max(lo, min(hi, rate)) * m)
		}
		w = flush(w, r.tiny)
		if !finite2(w, m) || !finite2(v, c) {
			copy(t, old)
			return k
		}
		t[0], t[1], t[2], t[3] = w, m, v, c
	}
	return len(idx)
}
