package reference

import (
	"fmt"
	"math"
	"testing"

	"github.com/gradstream/gradstream/operators/feature/scale"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
)

// Phishing, sgd 0.1 and intercept rate 0.01, whose labels come some rows late: a
// row is learnt, as it was, once that many more were predicted.
func TestPhishingDelayed(t *testing.T) {
	s := load(t, streams, "phishing")
	y := s.numbers(t)
	for _, c := range []struct {
		delay             int
		accuracy, logLoss float64
	}{{10, .8864, .27180262}, {100, .8584, .30518078}, {500, .7656, .44263439}} {
		m := newLinear(t, len(s.columns), loss.Func{}, plain(0.1), plain(0.01))
		var p []float64
		for i := range y {
			if j := i - c.delay; j >= 0 {
				m.learn(t, s.x[j], sign(y[j]))
			}
			p = append(p, m.predict(s.x[i]))
		}
		got := score(p, y)
		near(t, fmt.Sprintf("accuracy, %d rows late", c.delay), got.accuracy, c.accuracy, 6e-9)
		near(t, fmt.Sprintf("log loss, %d rows late", c.delay), got.logLoss, c.logLoss, 6e-9)
	}
}

// TrumpApproval through scaler → linear regression on a standardised target.
func TestTrumpApprovalScaledTarget(t *testing.T) {
	s := load(t, streams, "trump_approval")
	y := s.numbers(t)
	m := newLinear(t, len(s.columns), loss.Func{Kind: loss.Squared}, plain(0.01), plain(0.15))
	var target scale.Standard
	var abs, sq float64
	// The variance over n-1, as there.
	deviation := func() float64 { return math.Sqrt(target.M2 / max(1, float64(target.N-1))) }
	for i, x := range s.x {
		back := func(z float64) float64 { return target.Mean + z*deviation() }
		d := back(m.predict(x)) - y[i]
		abs += math.Abs(d)
		sq += d * d
		target.Update(y[i])
		z := 0.0
		if d := deviation(); d > 0 {
			z = (y[i] - target.Mean) / d
		}
		m.learn(t, x, z)
	}
	n := float64(len(y))
	near(t, "MSE", sq/n, 2.00599890, 6e-9)
	near(t, "MAE", abs/n, .26488947, 6e-9)
}

// several is scaler → a linear model for each class.
type several struct {
	scalers []scale.Standard
	models  map[string]*linear
	order   []string
}

func (m *several) learnScale(x []float64) {
	for i := range m.scalers {
		m.scalers[i].Update(x[i])
	}
	for _, l := range m.models {
		l.scalers = m.scalers
	}
}

// model is that of a class, made if there is none.
func (m *several) model(t *testing.T, class string, c, intercept optim.Config) *linear {
	l := m.models[class]
	if l == nil {
		l = newLinear(t, len(m.scalers), loss.Func{}, c, intercept)
		l.scalers = m.scalers
		m.models[class] = l
		m.order = append(m.order, class)
	}
	return l
}

func (m *several) raw(class string, x []float64) float64 {
	l := m.models[class]
	return optim.Dot(l.tab, l.rule.Slots(), l.idx, l.scaled(x)) + l.b[0]
}

func softmaxOf(z []float64) []float64 {
	most, sum := math.Inf(-1), 0.0
	for _, v := range z {
		most = max(most, v)
	}
	p := make([]float64, len(z))
	for i, v := range z {
		p[i] = math.Exp(v - most)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// ImageSegments through scaler → softmax regression, no intercept, and through
// scaler → one logistic regression for each class; the first row, for which no
// class is known, is not scored.
func TestImageSegments(t *testing.T) {
	s := load(t, streams, "image_segments")
	t.Run("softmax", func(t *testing.T) {
		m := &several{scalers: make([]scale.Standard, len(s.columns)), models: map[string]*linear{}}
		right, lost, matrix := 0, 0.0, map[[2]string]float64{}
		for i, x := range s.x {
			probabilities := func() []float64 {
				z := make([]float64, len(m.order))
				for k, c := range m.order {
					z[k] = m.raw(c, x)
				}
				return softmaxOf(z)
			}
			if i > 0 {
				p, best, given := probabilities(), 0, 0.0
				for k := range p {
					if p[k] > p[best] {
						best = k
					}
					if m.order[k] == s.y[i] {
						given = p[k]
					}
				}
				if m.order[best] == s.y[i] {
					right++
				}
				matrix[[2]string{s.y[i], m.order[best]}]++
				if given > 0 { // a class that is not known costs nothing there
					lost -= math.Log(given)
				}
			}
			m.learnScale(x)
			p, known := probabilities(), len(m.order)
			m.model(t, s.y[i], plain(0.01), plain(0.01))
			for k, c := range m.order {
				l, g := m.models[c], 0.0
				if k < known {
					g = p[k]
				}
				if c == s.y[i] {
					g--
				}
				if err := l.rule.Step(l.tab, l.idx, l.scaled(x), g); err != nil {
					t.Fatal(err)
				}
			}
		}
		n := float64(len(s.x) - 1)
		near(t, "accuracy", float64(right)/n, .82546557, 6e-9)
		near(t, "cross-entropy", lost/n, .68192051, 6e-9)
		f1 := 0.0
		for _, c := range m.order {
			tp, fp, fn := matrix[[2]string{c, c}], 0.0, 0.0
			for _, d := range m.order {
				if d != c {
					fp += matrix[[2]string{d, c}]
					fn += matrix[[2]string{c, d}]
				}
			}
			f1 += 2 * tp / (2*tp + fp + fn) / float64(len(m.order))
		}
		near(t, "macro F1", f1, .81876311, 6e-9)
	})
	t.Run("one against the rest", func(t *testing.T) {
		m := &several{scalers: make([]scale.Standard, len(s.columns)), models: map[string]*linear{}}
		right := 0
		for i, x := range s.x {
			if i > 0 {
				best := m.order[0]
				for _, c := range m.order {
					if m.raw(c, x) > m.raw(best, x) {
						best = c
					}
				}
				if best == s.y[i] {
					right++
				}
			}
			m.learnScale(x)
			m.model(t, s.y[i], plain(0.01), plain(0.01))
			for _, c := range m.order {
				l, label := m.models[c], -1.0
				if c == s.y[i] {
					label = 1
				}
				z := l.scaled(x)
				g := l.loss.Gradient(m.raw(c, x), label)
				if err := l.rule.Step(l.tab, l.idx, z, g); err != nil {
					t.Fatal(err)
				}
				if err := l.own.Step(l.b, zeroth, one, g); err != nil {
					t.Fatal(err)
				}
			}
		}
		near(t, "accuracy", float64(right)/float64(len(s.x)-1), .79601559, 6e-9)
	})
}

// Flink ML's online logistic regression: FTRL, alpha and beta 0.1, both penalties
// 0.1, a step a batch on the mean gradient; of sparse rows the mean is by
// coordinate, its divisor the number of rows or the sum of their weights. The
// rows and the results are those of its own test.
func TestFlinkFTRL(t *testing.T) {
	config := optim.Defaults(optim.FTRL)
	config.Alpha, config.Beta, config.L1, config.L2 = 0.1, 0.1, 0.1, 0.1
	type row struct {
		idx []uint32
		val []float64
		y   float64
		w   float64
	}
	dense := func(a, b, y float64) row { return row{[]uint32{0, 1}, []float64{a, b}, y, 1} }
	ones := func(y, w float64, idx ...uint32) row { return row{idx, []float64{1, 1, 1}, y, w} }
	fill := func(n int, v float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = v
		}
		return out
	}
	sparse := [][]row{
		{ones(0, 1, 1, 3, 4), ones(0, 1.4, 0, 2, 3), ones(0, 1.3, 0, 3, 4), ones(0, 1.4, 2, 3, 4), ones(0, 1.6, 1, 3, 4), ones(1, 1.8, 6, 7, 8), ones(1, 1.9, 6, 8, 9), ones(1, 1, 5, 8, 9), ones(1, 1.1, 5, 6, 7)},
		{ones(0, 1, 1, 2, 4), ones(0, 1.3, 2, 3, 4), ones(0, 1.4, 0, 2, 4), ones(0, 1, 1, 3, 4), ones(1, 1.6, 6, 7, 9), ones(1, 1.8, 7, 8, 9), ones(1, 1, 5, 7, 9), ones(1, 1.5, 5, 6, 7), ones(1, 1, 5, 8, 9)},
	}
	for _, c := range []struct {
		name    string
		start   []float64
		weighed bool
		batches [][]row
		probes  []row
		want    [][]float64
	}{
		{
			"dense", []float64{0.41233679404769874, -0.18088118293232122}, false,
			[][]row{
				{dense(.1, 2, 0), dense(.2, 2, 0), dense(.3, 2, 0), dense(.4, 2, 0), dense(.5, 2, 0), dense(11, 12, 1), dense(12, 11, 1), dense(13, 12, 1), dense(14, 12, 1), dense(15, 12, 1)},
				{dense(.2, 3, 0), dense(.8, 1, 0), dense(.7, 1, 0), dense(.6, 2, 0), dense(.2, 2, 0), dense(14, 17, 1), dense(15, 10, 1), dense(16, 16, 1), dense(17, 10, 1), dense(18, 13, 1)},
			},
			[]row{dense(.8, 2.7, 0), dense(15.5, 11.2, 1)},
			[][]float64{{.46460333, .95518966}, {.49048556, .98689568}},
		},
		{
			"sparse", fill(10, 0.01), false, sparse,
			[]row{ones(0, 1, 1, 3, 5), ones(1, 1, 5, 8, 9)},
			[][]float64{{.48944483, .55476901}, {.47503812, .59689568}},
		},
		{
			"sparse, weights", fill(10, 0.01), true, sparse,
			[]row{ones(0, 1, 1, 3, 5), ones(1, 1, 5, 8, 9)},
			[][]float64{{.4930807070493455, .547508006246618}, {.4752272399025419, .5889111719383581}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := optim.New[float64](config)
			if err != nil {
				t.Fatal(err)
			}
			n := len(c.start)
			tab, all := make([]float64, n*r.Slots()), make([]uint32, n)
			for i, w := range c.start {
				tab[i*r.Slots()], all[i] = w, uint32(i)
			}
			for b, rows := range c.batches {
				g, weight := make([]float64, n), make([]float64, n)
				for _, x := range rows {
					p := loss.Sigmoid(optim.Dot(tab, r.Slots(), x.idx, x.val))
					for k, i := range x.idx {
						g[i] += (p - x.y) * x.val[k]
						if c.weighed {
							weight[i] += x.w
						} else {
							weight[i]++
						}
					}
				}
				for i := range g {
					if weight[i] > 0 {
						g[i] /= weight[i]
					}
				}
				if err := r.Step(tab, all, g, 1); err != nil {
					t.Fatal(err)
				}
				got := []float64{}
				for _, x := range c.probes {
					got = append(got, loss.Sigmoid(optim.Dot(tab, r.Slots(), x.idx, x.val)))
				}
				for k, want := range c.want[b] {
					if !(math.Abs(got[k]-want) < 6e-9) {
						t.Errorf("batch %d: probability %d is %.8f, want %.8f", b+1, k, got[k], want)
					}
				}
			}
		})
	}
}
