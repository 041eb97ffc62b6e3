package optim

// Slots of a coordinate under Coin.
const (
	coinW      = iota // the weight as of the last step
	coinMost          // greatest |value|
	coinSteep         // greatest |ℓ'|, at least Beta once there was one
	coinTheta         // Σ -g
	coinSum           // Σ |g|
	coinWealth        // Σ -g·w
	coinSlots
)

// coinWeight is the bet on a coordinate whose greatest value is most: a share of
// the wealth, in the direction of what gradients were seen.
func (r *Rule[F]) coinWeight(t []F, most F) F {
	scale := F(t[coinSteep] * most)
	if scale == 0 {
		return 0
	}
	rest := scale + t[coinSum]
	if by := F(scale * rest); float64(by) >= r.tiny && by-by == 0 {
		return F((r.alpha+t[coinWealth])/by) * t[coinTheta]
	}
	// The values are too small or too large for squares.
	w := F(F((r.alpha+t[coinWealth])/rest) * F(t[coinTheta]/scale))
	if w-w != 0 {
		return 0
	}
	return w
}

// weighCoin sets the weights of a row: the bets over the mean of the squared
// lengths of the rows, in units of the greatest values.
func (r *Rule[F]) weighCoin(tab []F, idx []uint32, val []F) {
	var length F
	for k, i := range idx {
		t := tab[coinSlots*int(i) : coinSlots*int(i)+coinSlots]
		x := abs(val[k])
		most := max(t[coinMost], x)
		r.rates[k] = r.coinWeight(t, most)
		if most > 0 {
			part := x / most
			length += F(part * part)
		}
	}
	r.length = float64(length)
	mean := F((r.Shared.Norm + r.length + 1e-6) / (r.Shared.Weight + 1))
	for k := range r.rates {
		r.rates[k] /= mean
	}
}

func (r *Rule[F]) coin(tab []F, idx []uint32, val []F, g F) int {
	r.Shared.Norm += r.length
	r.Shared.Weight++
	steep := abs(g)
	for k, i := range idx {
		t, old := tab[coinSlots*int(i):coinSlots*int(i)+coinSlots], r.undo[coinSlots*k:coinSlots*k+coinSlots]
		copy(old, t)
		gk := F(g * val[k])
		most, wealth := max(t[coinMost], abs(val[k])), t[coinWealth]
		if steep > t[coinSteep] {
			t[coinSteep] = max(steep, r.beta)
		}
		t[coinMost] = most
		bet := r.coinWeight(t, most)
		theta, sum := flush(t[coinTheta]-gk, r.tiny), flush(t[coinSum]+abs(gk), r.tiny)
		wealth = flush(wealth-F(gk*bet), r.tiny)
		t[coinTheta], t[coinSum], t[coinWealth] = theta, sum, wealth
		w := flush(r.coinWeight(t, most), r.tiny)
		t[coinW] = w
		if !finite2(theta, sum) || !finite2(wealth, w) || !finite2(most, t[coinSteep]) {
			copy(t, old)
			return k
		}
	}
	return len(idx)
}
