package optim

import "math"

// Plain is a linear model that learns by [SGD] or [AdaGrad] at a constant rate without
// penalties: weights of float32 and, if it has one, a constant of float64. What it
// computes is to the bit what [Dot] and [Rule.Step] do. It takes half their time, as it
// knows its rule beforehand, tells weights that have decayed or overflown from others
// by one comparison of integers, and marks what it writes in the same pass.
type Plain struct {
	adapts bool      // AdaGrad
	table  []float32 // weights, of AdaGrad each followed by its sum of squares
	rate   float32
	eps    float32

	marks []uint8 // of each MarkLen values of the table

	constant        []float64 // its slots; nil = none
	ownRate, ownEps float64
	ownAdapts       bool // the constant is stepped by AdaGrad

	ahead        uint32    // of Ahead: what a compiler has to compute
	old, oldSums []float32 // of the features of a row
}

// plain tells that a rule needs nothing that [Plain] leaves out.
func (r *Rule[F]) plain() bool {
	c := r.cfg
	return (c.Kind == SGD || c.Kind == AdaGrad) && !c.Invariant && c.Rate.Decay == Constant && c.L1 == 0 && c.L2 == 0 && c.Clip == 0
}

// MarkLen is how many values of a table a mark is for. It is a constant because a
// processor shifts by one that it knows in half the time.
const MarkLen = 1024

// NewPlain returns the model over a table of that rule, and over the slots of the
// constant with its own rule; that is nil where there is none. A step that writes value
// j of the table sets marks[j/MarkLen]. It returns nil if the rules are not as plain as that.
func NewPlain(rule *Rule[float32], table []float32, marks []uint8, own *Rule[float64], constant []float64) *Plain {
	if !rule.plain() || own != nil && !own.plain() {
		return nil
	}
	p := &Plain{adapts: rule.cfg.Kind == AdaGrad, table: table, rate: float32(rule.cfg.Rate.Rate), eps: rule.eps, marks: marks}
	if own != nil {
		p.constant, p.ownRate, p.ownEps, p.ownAdapts = constant, own.cfg.Rate.Rate, own.eps, own.cfg.Kind == AdaGrad
	}
	return p
}

// Score is the sum over the features of weight times value, and the constant.
func (p *Plain) Score(idx []uint32, val []float32) float64 {
	table := p.table
	val = val[:len(idx)]
	var sum float32
	if p.adapts {
		for k, i := range idx {
			sum += float32(table[2*int(i)] * val[k])
		}
	} else {
		for k, i := range idx {
			sum += float32(table[i] * val[k])
		}
	}
	own := 0.0
	if p.constant != nil {
		own = p.constant[0]
	}
	return float64(sum) + own
}

// Step moves weights and constant along the derivative of the loss with respect to the
// score. It returns false, and has changed nothing, if one of them would be NaN or infinite.
func (p *Plain) Step(idx []uint32, val []float32, grad float64) bool {
	if len(idx) > len(p.old) {
		p.old, p.oldSums = make([]float32, 2*len(idx)), make([]float32, 2*len(idx))
	}
	var done int
	if p.adapts {
		done = p.adagrad(idx, val, float32(grad))
	} else {
		done = p.sgd(idx, val, float32(grad))
	}
	if done < len(idx) || !p.stepConstant(grad) {
		p.undo(idx[:done])
		return false
	}
	return true
}

// farTable is from how many values on a table does not stay in the cache next to a
// processor: 1 MiB of them does.
const farTable = 1<<18 + 1

// Ahead reads the weights of a row that is to be scored next, for a caller who has something
// else to wait for: in a large table they have to be fetched from far away.
func (p *Plain) Ahead(idx []uint32) {
	if len(p.table) < farTable {
		return
	}
	stride := 1
	if p.adapts {
		stride = 2
	}
	table := p.table
	var all uint32
	for _, i := range idx {
		all ^= math.Float32bits(table[int(i)*stride])
	}
	p.ahead = all
}

// stepConstant steps the constant, a feature that is always 1.
func (p *Plain) stepConstant(g float64) bool {
	if p.constant == nil {
		return true
	}
	w, sum := p.constant[0], p.constant[1]
	if p.ownAdapts {
		sum += float64(g * g)
		w -= float64(p.ownRate*g) / math.Sqrt(sum+p.ownEps)
	} else {
		w -= float64(p.ownRate * g)
	}
	w = flush(w, 0x1p-1022)
	if !finite2(w, sum) {
		return false
	}
	p.constant[0], p.constant[1] = w, sum
	return true
}

// Twice the bits of a float32, so without its sign, ascend with what it is far from zero:
// the normal numbers are normalSpan values from leastNormal on, then Inf and NaN follow.
const (
	leastNormal = 0x00800000 << 1
	infinite    = 0x7f800000 << 1
	normalSpan  = infinite - leastNormal
)

// sgd is Rule.sgd.
func (p *Plain) sgd(idx []uint32, val []float32, g float32) int {
	table, marks, lr := p.table, p.marks, p.rate
	val, old := val[:len(idx)], p.old[:len(idx)]
	for k, i := range idx {
		w := table[i]
		old[k] = w
		w -= float32(lr * float32(g*val[k]))
		if b := math.Float32bits(w) << 1; b-leastNormal >= normalSpan {
			if b >= infinite {
				return k
			}
			w = 0
		}
		table[i] = w
		marks[i/MarkLen] = 1
	}
	return len(idx)
}

// adagrad is Rule.adagrad.
func (p *Plain) adagrad(idx []uint32, val []float32, g float32) int {
	table, marks, lr, eps := p.table, p.marks, p.rate, p.eps
	val, old, oldSums := val[:len(idx)], p.old[:len(idx)], p.oldSums[:len(idx)]
	for k, i := range idx {
		at := 2 * int(i)
		sum, w := table[at+1], table[at]
		old[k], oldSums[k] = w, sum
		gk := float32(g * val[k])
		sum += float32(gk * gk)
		if math.Float32bits(sum)<<1 >= infinite {
			return k
		}
		w -= float32(lr*gk) / root(sum+eps)
		if b := math.Float32bits(w) << 1; b-leastNormal >= normalSpan {
			if b >= infinite {
				return k
			}
			w = 0
		}
		table[at+1], table[at] = sum, w
		marks[i/(MarkLen/2)] = 1
	}
	return len(idx)
}

// undo takes back the step of the first features of a row: backwards, so that of an
// index that occurs twice the first wins.
func (p *Plain) undo(idx []uint32) {
	for k := len(idx) - 1; k >= 0; k-- {
		if i := int(idx[k]); p.adapts {
			p.table[2*i], p.table[2*i+1] = p.old[k], p.oldSums[k]
		} else {
			p.table[i] = p.old[k]
		}
	}
}
