package optim

// Experts is how many step rules Mixture keeps side by side.
const Experts = 5

// The experts, and where their slots lie: three of plain descent, of which only
// the weight is kept, and two of AdaGrad with their sums of squared gradients.
// The rates are a decade apart and more; what suits a stream, and when, is found
// out by the mixture.
const (
	mixW     = iota // the mixed weight as of the last step
	mixSlow         // plain, MixtureRates[0]
	mixFair         // plain, MixtureRates[1]
	mixFast         // plain, MixtureRates[2]
	mixSmall        // AdaGrad, MixtureRates[3]
	mixSmallG
	mixLarge // AdaGrad, MixtureRates[4]
	mixLargeG
	mixSlots
)

// MixtureRates are the rates of the experts for a Rate of 1.
var MixtureRates = [Experts]float64{0.003, 0.03, 0.3, 0.03, 0.5}

// share is what every expert is given back of the weight of all, so that one that
// was bad for long can come up again when the stream changes.
const share = 3e-4

// shares are the weights of the experts.
func (s *Shared) shares() [Experts]float64 {
	if s.Shares == [Experts]float64{} {
		return [Experts]float64{1. / Experts, 1. / Experts, 1. / Experts, 1. / Experts, 1. / Experts}
	}
	return s.Shares
}

func (r *Rule[F]) weighMixture(tab []F, idx []uint32, val []F) {
	v := r.Shared.shares()
	v0, v1, v2, v3, v4 := F(v[0]), F(v[1]), F(v[2]), F(v[3]), F(v[4])
	var s0, s1, s2, s3, s4, squares F
	rates := r.rates[:len(idx)]
	for k, i := range idx {
		t := (*[mixSlots]F)(tab[mixSlots*int(i):])
		x := val[k]
		a, b, c, d, e := t[mixSlow], t[mixFair], t[mixFast], t[mixSmall], t[mixLarge]
		s0 += F(a * x)
		s1 += F(b * x)
		s2 += F(c * x)
		s3 += F(d * x)
		s4 += F(e * x)
		squares += F(x * x)
		rates[k] = F(v0*a) + F(v1*b) + F(v2*c) + F(v3*d) + F(v4*e)
	}
	r.scores = [Experts]float64{float64(s0), float64(s1), float64(s2), float64(s3), float64(s4)}
	r.length = float64(squares)
}

// Scores are the scores of the experts for the row of the last [Rule.Weigh].
func (r *Rule[F]) Scores() *[Experts]float64 { return &r.scores }

// StepEach moves each expert along its own gradient and then the weights of the
// experts: credit[k] in (0, 1] is what the weight of expert k is multiplied by,
// after which all give and take share (fixed share, Herbster, Warmuth, Machine
// Learning 32, 1998). curvature is the greatest second derivative of the loss, or
// 0: no plain step is longer than what it allows. On ErrNonFinite table and
// states are as they were.
func (r *Rule[F]) StepEach(tab []F, idx []uint32, val []F, grad, credit *[Experts]float64, curvature float64) error {
	r.last, r.lastShared = r.State, r.Shared
	r.State.Steps++
	r.room(len(idx))
	scale := r.rate()
	var lr, g [Experts]F
	for k := range grad {
		rate := float64(scale * MixtureRates[k])
		if k < mixSmall-mixSlow {
			rate /= max(1, float64(rate*float64(r.length*curvature)))
		}
		lr[k], g[k] = F(rate), F(r.clipped(grad[k]))
	}
	v := r.Shared.shares()
	sum := 0.0
	for k := range v {
		v[k] = float64(v[k] * credit[k])
		sum += v[k]
	}
	for k := range v {
		kept := float64(v[k] / sum * (1 - share))
		v[k] = kept + share/Experts
	}
	r.Shared.Shares = v
	done := r.mixture(tab, idx, val[:len(idx)], &lr, &g)
	if done < len(idx) || !(sum > 0) {
		r.undo = r.undo[:done*r.slots]
		r.Undo(tab, idx[:done])
		return ErrNonFinite
	}
	return nil
}

func (r *Rule[F]) mixture(tab []F, idx []uint32, val []F, lr, grad *[Experts]F) int {
	v := &r.Shared.Shares
	v0, v1, v2, v3, v4 := F(v[0]), F(v[1]), F(v[2]), F(v[3]), F(v[4])
	g0, g1, g2, g3, g4 := F(lr[0]*grad[0]), F(lr[1]*grad[1]), F(lr[2]*grad[2]), grad[3], grad[4]
	l2, eps := r.l2, r.eps
	var d0, d1, d2 F // decay of the plain experts
	if l2 > 0 {
		d0, d1, d2 = F(lr[0]*l2), F(lr[1]*l2), F(lr[2]*l2)
	}
	for k, i := range idx {
		t, old := (*[mixSlots]F)(tab[mixSlots*int(i):]), (*[mixSlots]F)(r.undo[mixSlots*k:])
		*old = *t
		x := val[k]
		a := flush(t[mixSlow]-F(g0*x)-F(d0*t[mixSlow]), r.tiny)
		b := flush(t[mixFair]-F(g1*x)-F(d1*t[mixFair]), r.tiny)
		c := flush(t[mixFast]-F(g2*x)-F(d2*t[mixFast]), r.tiny)
		g := F(g3*x) + F(l2*t[mixSmall])
		dG := t[mixSmallG] + F(g*g)
		d := flush(t[mixSmall]-F(lr[3]*g)/root(dG+eps), r.tiny)
		g = F(g4*x) + F(l2*t[mixLarge])
		eG := t[mixLargeG] + F(g*g)
		e := flush(t[mixLarge]-F(lr[4]*g)/root(eG+eps), r.tiny)
		w := F(v0*a) + F(v1*b) + F(v2*c) + F(v3*d) + F(v4*e)
		if all := a + b + c + d + e + dG + eG; all-all != 0 {
			return k
		}
		*t = [mixSlots]F{w, a, b, c, d, dG, e, eG}
	}
	return len(idx)
}
