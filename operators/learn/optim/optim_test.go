package optim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

func kinds() []Kind {
	return []Kind{SGD, Momentum, Nesterov, AdaGrad, RMSProp, Adam, FTRL, Normalized, Coin, Mixture, AdaDelta, AdaMax, NAdam, AMSGrad, AdaBound, Pistol, FreeGrad}
}

func configs() map[string]Config {
	m := map[string]Config{}
	for _, k := range kinds() {
		c := Defaults(k)
		m[k.String()] = c
		if !c.Bets() {
			c.L2 = 0.01
			m[k.String()+" l2"] = c
		}
	}
	for _, k := range []Kind{SGD, AdaGrad} {
		c := Defaults(k)
		c.Invariant = true
		m[k.String()+" invariant"] = c
		c.L1, c.L2 = 1e-3, 1e-2
		m[k.String()+" invariant l1 l2"] = c
	}
	n := Defaults(Normalized)
	n.L1, n.L2 = 1e-3, 1e-2
	m["normalized l1 l2"] = n
	p := Defaults(Normalized)
	p.Power = 0.7
	m["normalized 0.7"] = p
	l1 := Defaults(SGD)
	l1.L1 = 0.001
	m["sgd l1"] = l1
	f := Defaults(FTRL)
	f.L1, f.Beta = 0.1, 0
	m["ftrl l1"] = f
	g := Defaults(Adam)
	g.GlobalCount = true
	m["adam global"] = g
	o := Defaults(AdaGrad)
	o.Rate = Schedule{Decay: InvScaling, Rate: 0.1, Power: 0.25}
	m["adagrad falling"] = o
	return m
}

func rule[F Float](t testing.TB, c Config) *Rule[F] {
	t.Helper()
	r, err := New[F](c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Two steps of one weight, worked by hand: gradient 2·3 = 6, then 1·3 = 3.
func TestStepsByHand(t *testing.T) {
	rho, lr := 0.9, 0.1
	adam := func(m1, v1, m2, v2 float64) (float64, float64) {
		w := -lr * (m1 / 0.1) / (math.Sqrt(v1/0.001) + 1e-8)
		return w, w - lr*(m2/(1-0.81))/(math.Sqrt(v2/(1-0.999*0.999))+1e-8)
	}
	a1, a2 := adam(0.6, 0.036, 0.9*0.6+0.3, 0.999*0.036+0.009)
	z1 := 6.0
	f1 := -z1 / (1 + 6)
	z2 := z1 + 3 - (math.Sqrt(45)-6)*f1
	// PiSTOL: θ = A = 6, then 9; M = 3.
	p1 := 0.5 * math.Sqrt(6) * 6 / 27 * math.Exp(36./27/2)
	p2 := 0.5 * 3 * 9 / 36 * math.Exp(81./36/2)
	// FreeGrad: G = 6, then 9; V = 72, then 81; h = 6.
	e1 := 6. * 36 * (144 + 36) / (2 * 108 * 108 * math.Sqrt(72)) * math.Exp(36./216)
	e2 := 9. * 36 * (162 + 54) / (2 * 135 * 135 * 9) * math.Exp(81./270)
	for _, c := range []struct {
		kind   Kind
		change func(*Config)
		w1, w2 float64
	}{
		{SGD, nil, -0.6, -0.9},
		{SGD, func(c *Config) { c.L2 = 0.5 }, -0.6, -0.6 - lr*(3-0.3)},
		{SGD, func(c *Config) { c.L1 = 2 }, -0.4, -0.5},
		{SGD, func(c *Config) { c.L1 = 10 }, 0, 0},
		{SGD, func(c *Config) { c.Clip = 1.5 }, -0.45, -0.75},
		{SGD, func(c *Config) { c.Rate = Schedule{Decay: InvScaling, Rate: 0.1, Power: 0.5} }, -0.6, -0.6 - 0.3/math.Sqrt2},
		{SGD, func(c *Config) { c.Rate = Schedule{Decay: InvScaling, Rate: 0.1, Power: 0.5, T0: 15} }, -0.15, -0.15 - 0.3/math.Sqrt(17)},
		{SGD, func(c *Config) { c.Rate = Schedule{Decay: Optimal, Alpha: 0.1, T0: 100} }, -0.6, -0.6 - 3/(0.1*101)},
		{Momentum, nil, -0.6, -0.6 - (rho*0.6 + 0.3)},
		{Nesterov, nil, -0.6, -0.6 - (rho*0.6 + 0.3)},
		{Nesterov, func(c *Config) { c.L2 = 0.5 }, -0.6, -0.6 - (rho*0.6 + lr*(3+0.5*(-0.6-rho*0.6)))},
		{AdaGrad, nil, -0.6 / math.Sqrt(36+1e-8), -0.6/math.Sqrt(36+1e-8) - 0.3/math.Sqrt(45+1e-8)},
		{RMSProp, nil, -0.6 / math.Sqrt(3.6+1e-8), -0.6/math.Sqrt(3.6+1e-8) - 0.3/math.Sqrt(0.9*3.6+0.9+1e-8)},
		{Adam, nil, a1, a2},
		{Pistol, nil, -p1, -p2},
		{FreeGrad, nil, -e1, -e2},
		{FTRL, func(c *Config) { c.Alpha = 1 }, f1, -z2 / (1 + math.Sqrt(45))},
		{FTRL, func(c *Config) { c.Alpha, c.L1, c.L2 = 1, 1, 2 }, -5. / 9, -(9 + (math.Sqrt(45)-6)*5/9 - 1) / (3 + math.Sqrt(45))},
		{FTRL, func(c *Config) { c.Alpha, c.L1 = 1, 100 }, 0, 0},
	} {
		conf := Defaults(c.kind)
		if conf.Rate.Rate != 0 {
			conf.Rate = Const(lr)
		}
		if c.change != nil {
			c.change(&conf)
		}
		r := rule[float64](t, conf)
		tab := make([]float64, 3*r.Slots())
		for step, want := range []float64{c.w1, c.w2} {
			if err := r.Step(tab, []uint32{1}, []float64{3}, float64(2-step)); err != nil {
				t.Fatal(err)
			}
			if got := tab[r.Slots()]; math.Abs(got-want) > 1e-12 {
				t.Errorf("%v (l1 %v, l2 %v): weight after step %d is %v, want %v", c.kind, conf.L1, conf.L2, step+1, got, want)
			}
		}
		for i, v := range tab {
			if i/r.Slots() != 1 && v != 0 {
				t.Errorf("%v: slot %d of a feature that was not in the row is %v", c.kind, i, v)
			}
		}
		if r.State.Steps != 2 {
			t.Errorf("%v: %d steps counted", c.kind, r.State.Steps)
		}
	}
}

// A rare coordinate's first step under Adam is as long as any first step.
func TestAdamCountsByCoordinate(t *testing.T) {
	for _, global := range []bool{false, true} {
		c := Defaults(Adam)
		c.GlobalCount = global
		r := rule[float64](t, c)
		tab := make([]float64, 2*r.Slots())
		for range 1000 {
			if err := r.Step(tab, []uint32{0}, []float64{1}, 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Step(tab, []uint32{1}, []float64{1}, 1); err != nil {
			t.Fatal(err)
		}
		w := tab[r.Slots()]
		if whole := math.Abs(w+c.Rate.Rate) < 1e-8; whole == global {
			t.Errorf("global %v: first step of the rare coordinate is %v, the rate %v", global, w, c.Rate.Rate)
		}
	}
}

func TestAdamCorrections(t *testing.T) {
	r := rule[float32](t, Defaults(Adam))
	for _, n := range []int64{1, 2, 1023, 1024, 1025, 5000, 1 << 15, 1 << 16, 1 << 40} {
		c1, c2 := r.corrections(n)
		w1, w2 := 1-math.Pow(0.9, float64(n)), 1-math.Pow(0.999, float64(n))
		if math.Abs(float64(c1)-w1) > 1e-7 || math.Abs(float64(c2)-w2) > 1e-7*w2 {
			t.Errorf("step %d: %v, %v; want %v, %v", n, c1, c2, w1, w2)
		}
	}
}

// The penalty owed for the rows a weight was absent from is charged when it
// comes back.
func TestCumulativeL1ChargesArrears(t *testing.T) {
	c := Defaults(SGD)
	c.Rate, c.L1 = Const(0.1), 0.01
	r := rule[float64](t, c)
	tab := make([]float64, 4)
	step := func(i uint32, g float64) {
		if err := r.Step(tab, []uint32{i}, []float64{1}, g); err != nil {
			t.Fatal(err)
		}
	}
	step(0, -5)
	if w := tab[0]; math.Abs(w-0.499) > 1e-12 {
		t.Fatalf("weight is %v, want 0.499", w)
	}
	for range 99 {
		step(1, 0)
	}
	step(0, 0)
	if w := tab[0]; math.Abs(w-(0.5-101*0.001)) > 1e-12 {
		t.Errorf("weight is %v, want %v", w, 0.5-101*0.001)
	}
	for range 1000 {
		step(0, 0)
	}
	if tab[0] != 0 {
		t.Errorf("weight is %v, want exactly 0", tab[0])
	}
}

func TestNesterovLooksAhead(t *testing.T) {
	r := rule[float64](t, Defaults(Nesterov))
	tab := []float64{2, 1, 4, -1}
	idx, val := []uint32{0, 1}, []float64{1, 10}
	if got := Dot(tab, r.Slots(), idx, val); got != 42 {
		t.Errorf("score is %v, want 42", got)
	}
	if got := r.Score(tab, idx, val); math.Abs(got-(1.1+49)) > 1e-12 || !r.LooksAhead() {
		t.Errorf("score ahead is %v, want 50.1", got)
	}
	s := rule[float64](t, Defaults(Momentum))
	if got := s.Score(tab, idx, val); got != 42 || s.LooksAhead() {
		t.Errorf("momentum: score is %v, want 42", got)
	}
}

// rows is a deterministic stream of sparse rows, some indices twice.
func rows[F Float](n, features, width int, each func(i int, idx []uint32, val []F, grad float64)) {
	z := uint64(1)
	next := func() uint64 {
		z ^= z << 13
		z ^= z >> 7
		z ^= z << 17
		return z
	}
	for i := range n {
		idx, val := make([]uint32, width), make([]F, width)
		for k := range idx {
			idx[k], val[k] = uint32(next()%uint64(features)), F(next()%2000)/500-2
		}
		each(i, idx, val, float64(next()%1000)/250-2)
	}
}

func TestUndoIsExact(t *testing.T) {
	for name, c := range configs() {
		t.Run(name, func(t *testing.T) {
			r := rule[float32](t, c)
			tab := make([]float32, 16*r.Slots())
			rows(200, 16, 6, func(i int, idx []uint32, val []float32, g float64) {
				was, state, shared := slices.Clone(tab), r.State, r.Shared
				if r.Weighs() {
					r.Weigh(tab, idx, val)
				}
				if err := r.Step(tab, idx, val, g); err != nil {
					t.Fatal(err)
				}
				stepped := slices.Clone(tab)
				r.Undo(tab, idx)
				if !slices.Equal(was, tab) || r.State != state || r.Shared != shared {
					t.Fatalf("row %d: undo left a difference", i)
				}
				if err := r.Step(tab, idx, val, g); err != nil || !slices.Equal(stepped, tab) {
					t.Fatalf("row %d: the step repeated after undo differs (%v)", i, err)
				}
			})
			if slices.Equal(tab, make([]float32, len(tab))) {
				t.Error("nothing was learnt")
			}
		})
	}
}

func TestUndoOfOtherRowPanics(t *testing.T) {
	r := rule[float32](t, Defaults(SGD))
	tab := make([]float32, 4)
	if err := r.Step(tab, []uint32{0, 1}, []float32{1, 1}, 1); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	r.Undo(tab, []uint32{0})
}

// Hostile values never get into the table, and a refused row leaves no trace.
func TestNonFiniteIsRefused(t *testing.T) {
	nan, inf, big := float32(math.NaN()), float32(math.Inf(1)), float32(math.MaxFloat32)
	hostile := [][]float32{
		{1, nan, 2}, {inf, 1, 1}, {1, 1, -inf}, {1, big, 1}, {-big, big, 1}, {big, big, big}, {1e-45, 1, 1e-30}, {1, 2, 3},
	}
	for name, c := range configs() {
		for _, clip := range []float64{0, 1e12} {
			c.Clip = clip
			t.Run(fmt.Sprintf("%s clip %v", name, clip), func(t *testing.T) {
				r := rule[float32](t, c)
				tab := make([]float32, 8*r.Slots())
				refused := 0
				for round := range 5 {
					for _, val := range hostile {
						for _, g := range []float64{1, -1e300, 1e38, 1e-300, math.NaN(), math.Inf(-1)} {
							idx := []uint32{uint32(round), 5, uint32(round)}
							was, state, shared := slices.Clone(tab), r.State, r.Shared
							if r.Weighs() {
								r.Weigh(tab, idx, val)
							}
							err := r.Step(tab, idx, val, g)
							if err != nil {
								refused++
								if !errors.Is(err, ErrNonFinite) {
									t.Fatal(err)
								}
								if !slices.Equal(was, tab) || r.State != state || r.Shared != shared {
									t.Fatalf("values %v, gradient %v: refused, but something changed", val, g)
								}
							}
							for i, v := range tab {
								if v-v != 0 {
									t.Fatalf("values %v, gradient %v: slot %d is %v", val, g, i, v)
								}
							}
							if err == nil && (math.IsNaN(g) || val[1] != val[1]) {
								t.Fatalf("values %v, gradient %v: accepted", val, g)
							}
						}
					}
				}
				if refused == 0 {
					t.Error("nothing was refused")
				}
			})
		}
	}
}

// A float32 table follows the float64 one.
func TestFloat32FollowsFloat64(t *testing.T) {
	for name, c := range configs() {
		if name == "ftrl l1" {
			c.Beta = 1 // without it a first step is -sign(z), however small z
		}
		t.Run(name, func(t *testing.T) {
			lo, hi := rule[float32](t, c), rule[float64](t, c)
			a, b := make([]float32, 32*lo.Slots()), make([]float64, 32*hi.Slots())
			rows(400, 32, 5, func(i int, idx []uint32, val []float64, g float64) {
				v32 := make([]float32, len(val))
				for k := range val {
					v32[k] = float32(val[k])
				}
				if lo.Weighs() {
					lo.Weigh(a, idx, v32)
					hi.Weigh(b, idx, val)
				}
				if err := errors.Join(lo.Step(a, idx, v32, g), hi.Step(b, idx, val, g)); err != nil {
					t.Fatal(err)
				}
			})
			for i := 0; i < len(a); i += lo.Slots() {
				if d := math.Abs(float64(a[i]) - b[i]); !(d <= 1e-4*(1+math.Abs(b[i]))) {
					t.Errorf("weight %d: float32 %v, float64 %v", i/lo.Slots(), a[i], b[i])
				}
			}
		})
	}
}

// What decays ends at 0, not in the slow numbers below the normal ones.
func TestDecayEndsAtZero(t *testing.T) {
	for _, k := range []Kind{Momentum, Nesterov, RMSProp, Adam} {
		c := Defaults(k)
		c.Beta2 = 0.9
		r := rule[float32](t, c)
		tab := make([]float32, r.Slots())
		for i := range 3000 {
			g := 0.0
			if i == 0 {
				g = 1
			}
			if err := r.Step(tab, []uint32{0}, []float32{1}, g); err != nil {
				t.Fatal(err)
			}
		}
		if tab[0] == 0 || tab[1] != 0 || k == Adam && tab[2] != 0 {
			t.Errorf("%v: slots are %v", k, tab)
		}
	}
}

// Weights whose gradient is in proportion to themselves, as under a squared loss
// whose label has become 0, shrink for ever; they must not stay among those slow
// numbers either.
func TestShrinkingEndsAtZero(t *testing.T) {
	for _, k := range kinds() {
		c := Defaults(k)
		if k == Pistol {
			c.Clip = 1 // what it is made for
		}
		r := rule[float32](t, c)
		tab := make([]float32, 2*r.Slots())
		idx, val := []uint32{0, 1}, []float32{1, 0.5}
		for i := range 100_000 {
			label := 0.0
			if i < 100 {
				label = 3
			}
			if err := r.Step(tab, idx, val, 2*(float64(r.Score(tab, idx, val))-label)); err != nil {
				t.Fatal(err)
			}
		}
		for i, x := range tab {
			if x != 0 && abs(x) < 0x1p-126 {
				t.Errorf("%v: slot %d of weight %d is %v", k, i%r.Slots(), i/r.Slots(), x)
			}
		}
	}
}

func TestSchedules(t *testing.T) {
	for _, tt := range []float64{1, 2, 3, 10, 12345, 1e12} {
		for _, p := range []float64{0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.999, 1} {
			if got, want := power(tt, p), math.Pow(tt, p); math.Abs(got/want-1) > 1e-14 {
				t.Errorf("power(%v, %v) = %v, want %v", tt, p, got, want)
			}
		}
	}
	for _, n := range []int64{0, 1, 2, 3, 17, 1000, 1 << 40} {
		if got, want := raise(0.999, n), math.Pow(0.999, float64(n)); math.Abs(got-want) > 1e-13 {
			t.Errorf("raise(0.999, %d) = %v, want %v", n, got, want)
		}
	}
	// scikit-learn, alpha 1e-4: typical weight 10, hinge derivative 1 there.
	if got := OptimalStart(1e-4, func(_, _ float64) float64 { return -1 }); math.Abs(got-1000) > 1e-9 {
		t.Errorf("T0 is %v, want 1000", got)
	}
}

func TestConfigBounds(t *testing.T) {
	for _, k := range kinds() {
		if err := Defaults(k).Check(); err != nil {
			t.Errorf("defaults of %v: %v", k, err)
		}
	}
	nan := math.NaN()
	for _, c := range []struct {
		kind   Kind
		want   string
		change func(*Config)
	}{
		{SGD, "sgd: rate: 0 is outside (0, 1e+06]", func(c *Config) { c.Rate.Rate = 0 }},
		{SGD, "sgd: rate: NaN is outside (0, 1e+06]", func(c *Config) { c.Rate.Rate = nan }},
		{SGD, "sgd: power: 2 is outside [0, 1]", func(c *Config) { c.Rate = Schedule{Decay: InvScaling, Rate: 1, Power: 2} }},
		{SGD, "sgd: t0: 0 is not a finite number of at least 1", func(c *Config) { c.Rate = Schedule{Decay: Optimal, Alpha: 1} }},
		{SGD, "sgd: t0: -1 is outside [0, 1e12]", func(c *Config) { c.Rate = Schedule{Decay: InvScaling, Rate: 1, T0: -1} }},
		{Pistol, "pistol: l2: 1 is refused: pistol has no penalty", func(c *Config) { c.L2 = 1 }},
		{FreeGrad, "freegrad: alpha: 0 is outside (0, 1e6]", func(c *Config) { c.Alpha = 0 }},
		{SGD, "sgd: schedule 9 is unknown", func(c *Config) { c.Rate.Decay = 9 }},
		{SGD, "sgd: l1: -1 is outside [0, 1e6]", func(c *Config) { c.L1 = -1 }},
		{SGD, "sgd: l2: NaN is outside [0, 1e6]", func(c *Config) { c.L2 = nan }},
		{SGD, "sgd: clip: +Inf is neither 0 nor a finite number above 0", func(c *Config) { c.Clip = math.Inf(1) }},
		{Adam, "adam: l1: 0.1 is refused: only sgd, ftrl and invariant steps have an L1 penalty", func(c *Config) { c.L1 = 0.1 }},
		{Adam, "adam: beta1: 1 is outside [0, 1)", func(c *Config) { c.Beta1 = 1 }},
		{Adam, "adam: beta2: -0.1 is outside [0, 1)", func(c *Config) { c.Beta2 = -0.1 }},
		{AdaGrad, "adagrad: eps: 0 is outside [1e-30, 1]", func(c *Config) { c.Eps = 0 }},
		{RMSProp, "rmsprop: rho: 1 is outside [0, 1)", func(c *Config) { c.Rho = 1 }},
		{FTRL, "ftrl: alpha: 0 is outside (0, 1e6]", func(c *Config) { c.Alpha = 0 }},
		{FTRL, "ftrl: beta: NaN is outside [0, 1e6]", func(c *Config) { c.Beta = nan }},
	} {
		conf := Defaults(c.kind)
		c.change(&conf)
		if _, err := New[float32](conf); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	if _, err := New[float32](Config{Kind: 77}); err == nil {
		t.Error("an unknown rule was accepted")
	}
}

func TestLayouts(t *testing.T) {
	seen := map[string]string{}
	for name, c := range configs() {
		r := rule[float32](t, c)
		if n := 1 + countCommas(c.Layout()); n != r.Slots() || n != c.Slots() {
			t.Errorf("%s: layout %q, %d slots", name, c.Layout(), r.Slots())
		}
		seen[c.Layout()] = name
	}
	if len(seen) != 18 {
		t.Errorf("%d layouts: %v", len(seen), seen)
	}
}

func countCommas(s string) (n int) {
	for _, c := range s {
		if c == ',' {
			n++
		}
	}
	return n
}

func TestNoAllocations(t *testing.T) {
	for name, c := range configs() {
		r := rule[float32](t, c)
		tab := make([]float32, 64*r.Slots())
		idx, val := []uint32{3, 60, 7}, []float32{1, -1, 0.5}
		var sink float32
		if err := r.Step(tab, idx, val, 1); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			sink += Dot(tab, r.Slots(), idx, val) + r.Score(tab, idx, val)
			if r.Step(tab, idx, val, 0.1) == nil {
				r.Undo(tab, idx)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a row", name, n)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	for _, k := range kinds() {
		for _, width := range []int{8, 80} {
			b.Run(fmt.Sprintf("%v/%d", k, width), func(b *testing.B) {
				r := rule[float32](b, Defaults(k))
				tab := make([]float32, r.Slots()<<18)
				var idx [][]uint32
				var val [][]float32
				var y []float64 // noise, so that gradients do not vanish
				rows(1024, 1<<18, width, func(_ int, i []uint32, v []float32, g float64) {
					idx, val, y = append(idx, i), append(val, v), append(y, g)
				})
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i++ {
					x, v := idx[i&1023], val[i&1023]
					p := Dot(tab, r.Slots(), x, v)
					if err := r.Step(tab, x, v, float64(p)-y[(i*7)&1023]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
