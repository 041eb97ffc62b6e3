package optim

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A plain model is to the bit what its rules make of the same rows: features that occur
// twice, weights that decay to nothing, values and gradients that overflow one of them
// in the middle of a row, or the constant.
func TestPlainIsTheRule(t *testing.T) {
	const width = 8192
	sgd, adagrad := Defaults(SGD), Defaults(AdaGrad)
	sgd.Clip, adagrad.Clip, sgd.Rate = 0, 0, Const(0.3)
	for _, c := range []struct{ rule, own *Config }{{&sgd, &sgd}, {&sgd, nil}, {&adagrad, &adagrad}, {&adagrad, &sgd}, {&adagrad, nil}} {
		r, stride := rule[float32](t, *c.rule), c.rule.Slots()
		var own *Rule[float64]
		if c.own != nil {
			own = rule[float64](t, *c.own)
		}
		want, got := make([]float32, width*stride), make([]float32, width*stride)
		constant, gotConstant := make([]float64, 8), make([]float64, 8)
		touched, marks := make([]uint8, width*stride/MarkLen), make([]uint8, width*stride/MarkLen)
		p := NewPlain(r, got, marks, own, gotConstant)
		if p == nil {
			t.Fatalf("%v is not plain", c.rule.Kind)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		exponent := func(most int) float64 { return math.Ldexp(rng.NormFloat64(), rng.IntN(most)-most/2) }
		refused := 0
		for n := range 20000 {
			idx, val := make([]uint32, rng.IntN(20)), make([]float32, 20)
			for k := range idx {
				idx[k], val[k] = rng.Uint32N(width>>rng.IntN(13)), float32(rng.NormFloat64())
				switch {
				case n%7 == 0: // large and small, to Inf and below what is normal
					val[k] = float32(exponent(280))
				case n%5 == 0:
					val[k] = 0
				}
			}
			grad := rng.NormFloat64()
			if n%11 == 0 {
				grad = exponent(200)
			}
			if n%501 == 0 {
				grad = math.Copysign(math.MaxFloat64, grad)
			}
			score := float64(Dot(want, stride, idx, val))
			if score += constant[0]; own == nil {
				score += 0
			}
			if s := p.Score(idx, val); math.Float64bits(s) != math.Float64bits(score) && s == s {
				t.Fatalf("%v, row %d: the score is %v, of the rule %v", c.rule.Kind, n, s, score)
			}
			err := r.Step(want, idx, val, grad)
			if err == nil && own != nil {
				if err = own.Step(constant, []uint32{0}, []float64{1}, grad); err != nil {
					r.Undo(want, idx)
				}
			}
			if ok := p.Step(idx, val, grad); ok != (err == nil) {
				t.Fatalf("%v, row %d: step says %v, the rule %v", c.rule.Kind, n, ok, err)
			}
			if err != nil {
				refused++
			} else {
				for _, i := range idx {
					touched[int(i)*stride/MarkLen] = 1
				}
			}
			for i := range want {
				if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
					t.Fatalf("%v, row %d: slot %d is %v, of the rule %v", c.rule.Kind, n, i, got[i], want[i])
				}
			}
			if !slices.Equal(constant, gotConstant) {
				t.Fatalf("%v, row %d: the constant is %v, of the rule %v", c.rule.Kind, n, gotConstant, constant)
			}
		}
		for i := range marks {
			if touched[i] > marks[i] {
				t.Errorf("%v: page %d was written and is not marked", c.rule.Kind, i)
			}
		}
		if refused < 100 || refused > 10000 {
			t.Errorf("%v: %d rows of 20000 were refused", c.rule.Kind, refused)
		}
	}
}

// Rules that know more than a plain model are none.
func TestNotPlain(t *testing.T) {
	for _, change := range []func(c *Config){
		func(c *Config) { c.L1 = 0.1 }, func(c *Config) { c.L2 = 0.1 }, func(c *Config) { c.Clip = 1 }, func(c *Config) { c.Invariant = true },
		func(c *Config) { c.Rate = Schedule{Decay: InvScaling, Rate: 1, Power: 0.5} }, func(c *Config) { c.Kind, c.Rho = Momentum, 0.9 },
	} {
		c := Defaults(SGD)
		c.Clip = 0
		if r := rule[float32](t, c); NewPlain(r, make([]float32, 8), make([]uint8, 8), nil, nil) == nil {
			t.Fatal("sgd is not plain")
		}
		plain := rule[float32](t, c)
		change(&c)
		if NewPlain(rule[float32](t, c), make([]float32, 16), make([]uint8, 16), nil, nil) != nil {
			t.Errorf("%+v is plain", c)
		}
		if c.L1 == 0 && NewPlain(plain, make([]float32, 16), make([]uint8, 16), rule[float64](t, c), make([]float64, 8)) != nil {
			t.Errorf("a constant by %+v is plain", c)
		}
	}
}
