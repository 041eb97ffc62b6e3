package optim

// Weighs tells that a feature's weight does not stand in slot 0 but depends on the
// row and on [Shared]: rows are scored by [Rule.Weigh]. Slot 0 then is the weight
// as of the coordinate's last step, near enough for a look at the table.
func (r *Rule[F]) Weighs() bool { return r.weighs }

// Joint tells that the intercept is a feature among others, because what happens
// to one weight depends on the whole row.
func (r *Rule[F]) Joint() bool { return r.joint }

// Weigh returns the weights with which the features of a row count: the score is
// the sum of weight times value. They are borrowed until the rule is used again.
// A step of a rule that [Rule.Weighs] follows on Weigh of the same row.
func (r *Rule[F]) Weigh(tab []F, idx []uint32, val []F) []F {
	r.scratch(len(idx))
	val = val[:len(idx)]
	switch {
	case r.cfg.Kind == Coin:
		r.weighCoin(tab, idx, val)
	case r.cfg.Kind == Pistol:
		r.weighPistol(tab, idx, val)
	case r.cfg.Kind == Mixture:
		r.weighMixture(tab, idx, val)
	case r.cfg.penalised():
		for k, i := range idx {
			r.rates[k] = r.shrunk(i, tab[int(i)*r.slots+r.slots-1])
		}
	default:
		for k, i := range idx {
			r.rates[k] = tab[int(i)*r.slots]
		}
	}
	return r.rates
}

// scratch makes r.rates as long as a row of n features needs.
func (r *Rule[F]) scratch(n int) {
	if n > cap(r.rates) {
		r.rates = make([]F, n, 2*n)
	}
	r.rates = r.rates[:n]
}
