package optim

import (
	"math"
	"unsafe"
)

// Plain is a linear model that learns by [SGD] or [AdaGrad] at a constant rate without
// penalties: weights of float32 and, if it has one, a constant of float64. What it
// computes is to the bit what [Dot] and [Rule.Step] do. It takes half their time, as it
// knows its rule beforehand, tells weights that have decayed or overflown from others
// by one comparison of integers, and marks what it writes in the same pass.
type Plain struct {
	weights []float32    // of SGD
	pairs   [][2]float32 // of AdaGrad: weight and sum of squares
	rate    float32
	eps     float32

	marks []uint8 // index i is marked in marks[i>>shift]
	shift uint8

	constant        []float64 // its slots; nil = none
	ownRate, ownEps float64
	ownAdapts       bool // the constant is stepped by AdaGrad
	old             []float32
	oldPairs        [][2]float32
}

// plain tells that a rule needs nothing that [Plain] leaves out.
func (r *Rule[F]) plain() bool {
	c := r.cfg
	return (c.Kind == SGD || c.Kind == AdaGrad) && !c.Invariant && c.Rate.Decay == Constant && c.L1 == 0 && c.L2 == 0 && c.Clip == 0
}

// NewPlain returns the model over a table of that rule, and over the slots of the
// constant with its own rule; that is nil where there is none. Each step marks its
// indices i in marks[i>>shift]. It returns nil if the rules are not as plain as that.
func NewPlain(rule *Rule[float32], table []float32, marks []uint8, shift uint8, own *Rule[float64], constant []float64) *Plain {
	if !rule.plain() || own != nil && !own.plain() {
		return nil
	}
	p := &Plain{rate: float32(rule.cfg.Rate.Rate), eps: rule.eps, marks: marks, shift: shift}
	if rule.cfg.Kind == SGD {
		p.weights = table
	} else {
		p.pairs = unsafe.Slice((*[2]float32)(unsafe.Pointer(unsafe.SliceData(table))), len(table)/2)
	}
	if own != nil {
		p.constant, p.ownRate, p.ownEps, p.ownAdapts = constant, own.cfg.Rate.Rate, own.eps, own.cfg.Kind == AdaGrad
	}
	return p
}

// Score is the sum over the features of weight times value, and the constant.
func (p *Plain) Score(idx []uint32, val []float32) float64 {
	val = val[:len(idx)]
	var sum float32
	if p.pairs == nil {
		w := p.weights
		for k, i := range idx {
			sum += float32(w[i] * val[k])
		}
	} else {
		t := p.pairs
		for k, i := range idx {
			sum += float32(t[i][0] * val[k])
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
	val = val[:len(idx)]
	var done int
	if p.pairs == nil {
		done = p.sgd(idx, val, float32(grad))
	} else {
		done = p.adagrad(idx, val, float32(grad))
	}
	if done < len(idx) || !p.stepConstant(grad) {
		p.undo(idx[:done])
		return false
	}
	return true
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
	if len(idx) > len(p.old) {
		p.old = make([]float32, 2*len(idx))
	}
	weights, marks, shift, lr := p.weights, p.marks, p.shift&15, p.rate
	old := p.old[:len(idx)]
	for k, i := range idx {
		w := weights[i]
		old[k] = w
		w -= float32(lr * float32(g*val[k]))
		if b := math.Float32bits(w) << 1; b-leastNormal >= normalSpan {
			if b >= infinite {
				return k
			}
			w = 0
		}
		weights[i] = w
		marks[i>>shift] = 1
	}
	return len(idx)
}

// adagrad is Rule.adagrad. Weight and sum are read and written one by one: a processor
// has to wait for what it wrote in two parts and reads as one.
func (p *Plain) adagrad(idx []uint32, val []float32, g float32) int {
	if len(idx) > len(p.oldPairs) {
		p.oldPairs = make([][2]float32, 2*len(idx))
	}
	pairs, marks, shift, lr, eps := p.pairs, p.marks, p.shift&15, p.rate, p.eps
	old := p.oldPairs[:len(idx)]
	for k, i := range idx {
		t := &pairs[i]
		w, sum := t[0], t[1]
		old[k][0], old[k][1] = w, sum
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
		t[0], t[1] = w, sum
		marks[i>>shift] = 1
	}
	return len(idx)
}

// undo takes back the step of the first features of a row: backwards, so that of an
// index that occurs twice the first wins.
func (p *Plain) undo(idx []uint32) {
	for k := len(idx) - 1; k >= 0; k-- {
		if p.pairs == nil {
			p.weights[idx[k]] = p.old[k]
		} else {
			p.pairs[idx[k]] = p.oldPairs[k]
		}
	}
}
