package reference

import (
	"fmt"
	"math"
	"testing"

	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
)

// soft is a loss whose label may lie between two classes: labels of the log loss
// inside (-1, 1) mix those of both, as there.
func soft(y float64, of func(y float64) float64) float64 {
	if y <= -1 || y >= 1 {
		return of(y)
	}
	q := (y + 1) / 2
	return q*of(1) + (1-q)*of(-1)
}

// vwRun learns rows by invariant steps, in float64 and in the order of Vowpal
// Wabbit.
type vwRun struct {
	rule   *optim.Rule[float64]
	tab    []float64
	loss   loss.Func
	held   labelRange
	weight func(label float64) float64
	plain  bool                       // no invariant steps
	value  func(p, y float64) float64 // nil = that of loss
	sum, n float64
	seen   []float64 // predictions
}

func newVWRun(t *testing.T, bits int, f loss.Func, c optim.Config) *vwRun {
	t.Helper()
	r, err := optim.New[float64](c)
	if err != nil {
		t.Fatal(err)
	}
	v := &vwRun{rule: r, tab: make([]float64, r.Slots()<<bits), loss: f}
	switch f.Kind {
	case loss.Log:
		v.held = wide
	case loss.Poisson: // there twice ours, with a constant inside the logarithm
		v.held = wide
		v.value = func(p, y float64) float64 { return 2 * (f.Value(p, y) + y*(math.Log(y+1e-6)-math.Log(y))) }
	}
	return v
}

func (v *vwRun) learn(t *testing.T, rows []vwRow) float64 {
	t.Helper()
	v.sum, v.n = 0, 0
	for _, r := range rows {
		w := r.weight
		if v.weight != nil {
			w *= v.weight(r.label)
		}
		p := 0.0
		for k, weight := range v.rule.Weigh(v.tab, r.idx, r.val) {
			p += weight * r.val[k]
		}
		if v.loss.Kind == loss.Log {
			p = max(-50, min(50, p))
		} else {
			p = v.held.hold(p, r.label)
		}
		of := func(what func(p, y float64) float64) float64 {
			if v.loss.Kind != loss.Log {
				return what(p, r.label)
			}
			return soft(r.label, func(y float64) float64 { return what(p, y) })
		}
		v.seen = append(v.seen, p)
		value := v.loss.Value
		if v.value != nil {
			value = v.value
		}
		lost := of(value)
		v.sum += w * lost
		v.n += w
		if v.plain || !v.rule.Adapts() {
			if err := v.rule.Step(v.tab, r.idx, r.val, w*of(v.loss.Gradient)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		norm, err := v.rule.Adapt(v.tab, r.idx, r.val, of(v.loss.Gradient), w)
		if err != nil {
			t.Fatal(err)
		}
		u := of(func(p, y float64) float64 { return v.loss.Invariant(p, y, v.rule.Rate()*w, norm) })
		if err := v.rule.Move(v.tab, r.idx, u); err != nil {
			t.Fatal(err)
		}
	}
	return v.sum / v.n
}

func lazily(l1, l2 float64) optim.Config {
	c := optim.Defaults(optim.Normalized)
	c.L1, c.L2 = l1, l2
	return c
}

func proximal(alpha, beta, l1 float64) optim.Config {
	c := optim.Defaults(optim.FTRL)
	c.Alpha, c.Beta, c.L1 = alpha, beta, l1
	return c
}

func bet(k optim.Kind, alpha, beta float64) optim.Config {
	return with(optim.Defaults(k), func(c *optim.Config) { c.Alpha, c.Beta = alpha, beta })
}

func powered(t float64) optim.Config {
	c := optim.Defaults(optim.Normalized)
	c.Power = t
	return c
}

// invariant is plain descent or AdaGrad with invariant steps as that program has
// them: the rate of the former falls with the root of the rows.
func invariant(k optim.Kind, rate float64) optim.Config {
	c := optim.Defaults(k)
	c.Invariant, c.Eps = true, 1e-30
	c.Rate = optim.Const(rate)
	if k == optim.SGD {
		c.Rate = optim.Schedule{Decay: optim.InvScaling, Rate: rate, Power: 0.5}
	}
	return c
}

func TestAgainstVW(t *testing.T) {
	log, squared := loss.Func{}, loss.Func{Kind: loss.Squared}
	quantile := func(tau float64) loss.Func { return loss.Func{Kind: loss.Quantile, Param: tau} }
	for _, c := range []struct {
		options, set string
		rows, bits   int
		loss         loss.Func
		config       optim.Config
		pairs        []string
		want         float64
	}{
		{"-d 0002.dat", "0002", 0, 18, squared, powered(0.5), nil, .003499},
		{"-d 0001.dat", "0001", 0, 18, squared, powered(0.5), nil, .195759},
		{"-d 0002.dat --power_t 0.45", "0002", 0, 18, squared, powered(0.45), nil, .003447},
		{"-d 0002.dat --loss_function hinge", "0002", 0, 18, loss.Func{Kind: loss.Hinge}, powered(0.5), nil, .624379},
		{"-d 0001_25.dat --loss_function logistic", "0001", 25, 18, log, powered(0.5), nil, .647029},
		{"-d 0002_25.dat -b 7 --loss_function quantile --quantile_tau .5", "0002", 25, 7, quantile(.5), powered(0.5), nil, .079014},
		{"-d 0002_25.dat -b 7 --loss_function quantile --quantile_tau .25", "0002", 25, 7, quantile(.25), powered(0.5), nil, .043192},
		{"-d 0001.dat --l1 0.01", "0001", 0, 18, squared, lazily(.01, 0), nil, .224128},
		{"-d 0002_25.dat --l1 .001 --l2 .001", "0002", 25, 18, squared, lazily(.001, .001), nil, .056744},
		{"-k -d 0002.dat --invariant", "0002", 0, 18, squared, invariant(optim.SGD, 10), nil, .003382},
		{"-d 0002.dat --adaptive --invariant -l 0.5", "0002", 0, 18, squared, invariant(optim.AdaGrad, 0.5), nil, .002786},
		{"-d 0002.dat --adaptive --invariant -l 0.5 --loss_function logistic", "0002", 0, 18, log, invariant(optim.AdaGrad, 0.5), nil, .555602},
		// Squared gradients that add up to initial_t count as seen before the first.
		{"-k -d 0002.dat --initial_t 1 --adaptive --invariant -q Tf -q ff", "0002", 0, 18, squared, with(invariant(optim.AdaGrad, 10), func(c *optim.Config) { c.Eps = 1 }), []string{"Tf", "ff"}, .004364},
		// The rate there is that at initial_t.
		{"-k -d 0002.dat --invariant --initial_t 100", "0002", 0, 18, squared, with(invariant(optim.SGD, 100), func(c *optim.Config) { c.Rate.T0 = 100 }), nil, .003392},
		{"-d 0002.dat --loss_function poisson", "0002", 0, 18, loss.Func{Kind: loss.Poisson}, powered(0.5), nil, .010535},
		{"-d 0002.dat --loss_function poisson --adaptive --invariant -l 0.5", "0002", 0, 18, loss.Func{Kind: loss.Poisson}, invariant(optim.AdaGrad, 0.5), nil, .006794},
		{"-d 0001.dat --pistol", "0001", 0, 18, squared, optim.Defaults(optim.Pistol), nil, .264456},
		{"-d 0002_25.dat --pistol", "0002", 25, 18, squared, optim.Defaults(optim.Pistol), nil, .061902},
		{"-d 0001.dat --pistol --ftrl_alpha 2 --ftrl_beta 0.3", "0001", 0, 18, squared, bet(optim.Pistol, 2, 0.3), nil, .179785},
		{"-d 0002.dat --pistol", "0002", 0, 18, squared, optim.Defaults(optim.Pistol), nil, .006232},
		{"-d 0002.dat --pistol --loss_function logistic", "0002", 0, 18, log, optim.Defaults(optim.Pistol), nil, .546159},
		{"-d 0002_25.dat --freegrad", "0002", 25, 18, squared, optim.Defaults(optim.FreeGrad), nil, .049825},
		{"-d 0001.dat --freegrad", "0001", 0, 18, squared, optim.Defaults(optim.FreeGrad), nil, .240770},
		{"-d 0002.dat --freegrad", "0002", 0, 18, squared, optim.Defaults(optim.FreeGrad), nil, .017936},
		{"-d 0001.dat --freegrad --fepsilon 0.25", "0001", 0, 18, squared, bet(optim.FreeGrad, 0.25, 0), nil, .268547},
		{"-d 0002.dat --freegrad --loss_function logistic", "0002", 0, 18, log, optim.Defaults(optim.FreeGrad), nil, .546837},
		{"-k -d 0002.dat --adaptive --invariant -q Tf -q ff", "0002", 0, 18, squared, invariant(optim.AdaGrad, 10), []string{"Tf", "ff"}, .006645},
		{"-d 0001.dat --coin", "0001", 0, 18, squared, optim.Defaults(optim.Coin), nil, .193569},
		{"-d 0002_25.dat --coin", "0002", 25, 18, squared, optim.Defaults(optim.Coin), nil, .039358},
		{"-d 0002.dat --coin", "0002", 0, 18, squared, optim.Defaults(optim.Coin), nil, .004100},
		{"-d 0001.dat --ftrl --ftrl_alpha .01 --ftrl_beta 0 --l1 2", "0001", 0, 18, squared, proximal(.01, 0, 2), nil, .379717},
		{"-d 0002_25.dat --ftrl", "0002", 25, 18, squared, proximal(.5, 1, 0), nil, .059771},
		{"-d 0002.dat -q Tf -q ff", "0002", 0, 18, squared, powered(0.5), []string{"Tf", "ff"}, .013114},
	} {
		t.Run(c.options, func(t *testing.T) {
			v := newVWRun(t, c.bits, c.loss, c.config)
			got := v.learn(t, vwRows(t, c.set, c.rows, c.bits, 4, c.pairs...))
			near(t, "mean loss", got, c.want, 6e-7)
		})
	}
}

func TestNormalizedTrace(t *testing.T) {
	v := newVWRun(t, 18, loss.Func{Kind: loss.Squared}, powered(0.5))
	v.learn(t, vwRows(t, "0002", 0, 18, 4))
	for row, want := range map[int]float64{1: 0, 2: .509763, 3: .140832, 4: .585408, 10: .487388, 100: .514678, 1000: .558663} {
		near(t, fmt.Sprintf("prediction of row %d", row), v.seen[row-1], want, 6e-7)
	}
}

// A second pass goes on from the model of the first.
func TestNormalizedSecondPass(t *testing.T) {
	v := newVWRun(t, 18, loss.Func{Kind: loss.Squared}, powered(0.5))
	rows := vwRows(t, "0001", 0, 18, 4)
	near(t, "mean loss, -d 0001.dat", v.learn(t, rows), .195759, 6e-7)
	near(t, "mean loss, -i MODEL -d 0001.dat", v.learn(t, rows), .012333, 6e-7)
}

// Rows count as their class weighs: --classweight 1:2,0:3.1,-1:5.
func TestNormalizedClassWeight(t *testing.T) {
	v := newVWRun(t, 18, loss.Func{Kind: loss.Squared}, powered(0.5))
	v.weight = func(label float64) float64 { return map[float64]float64{1: 2, 0: 3.1, -1: 5}[label] }
	near(t, "mean loss", v.learn(t, vwRows(t, "0001", 0, 18, 4)), .178875, 6e-7)
}

// Text features of Reuters; the set has indices of its own.
func TestNormalizedSparse(t *testing.T) {
	for _, c := range []struct {
		loss   loss.Func
		config optim.Config
		want   float64
	}{
		{loss.Func{Kind: loss.Squared}, powered(0.5), .502732},
		{loss.Func{}, powered(0.5), .429393},
		{loss.Func{}, proximal(.5, 1, 0), .586666},
	} {
		rows := typed(t, largeStreams, "rcv1_small", "y:float64,x:sparse")
		var in []vwRow
		features := 0
		for row := range rows.N {
			r := vwRow{label: 2*rows.Cols[0].Floats[row] - 1, weight: 1}
			idx, val := rows.Cols[1].Row(row)
			for k, i := range idx {
				r.idx, r.val = append(r.idx, i&(1<<18-1)), append(r.val, float64(val[k]))
			}
			r.idx, r.val = append(r.idx, vwConstant&(1<<18-1)), append(r.val, 1)
			in, features = append(in, r), features+len(r.idx)
		}
		if features != 78739 {
			t.Errorf("%d features, want 78739", features)
		}
		v := newVWRun(t, 18, c.loss, c.config)
		near(t, fmt.Sprintf("mean loss, %v, %v", c.loss.Kind, c.config.Kind), v.learn(t, in), c.want, 6e-7)
	}
}

// Gradient steps of the same length as if the loss were straight: --loss_function
// classic.
func TestNormalizedPlain(t *testing.T) {
	v := newVWRun(t, 18, loss.Func{Kind: loss.Squared}, powered(0.5))
	v.plain = true
	near(t, "mean loss", v.learn(t, vwRows(t, "0002", 0, 18, 4)), .014848, 6e-7)
}

// One against all: ten classes, ten passes over ten rows, the predictions of a row
// made before its steps; the models share the sums of the row lengths.
// --oaa 10 --passes 10 --holdout_off.
func TestNormalizedOneAgainstAll(t *testing.T) {
	words := []string{"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"}
	r, err := optim.New[float64](powered(0.5))
	if err != nil {
		t.Fatal(err)
	}
	var tabs [10][]float64
	var index = map[uint32]uint32{}
	at := func(hash uint32) uint32 { // no two words share an index there
		if _, ok := index[hash]; !ok {
			index[hash] = uint32(len(index))
		}
		return index[hash]
	}
	for c := range tabs {
		tabs[c] = make([]float64, r.Slots()*11)
	}
	wrong, f := 0, loss.Func{Kind: loss.Squared}
	for range 10 {
		for row, w := range words {
			idx, val := []uint32{at(vwFeature(w, 0)), at(vwConstant)}, []float64{1, 1}
			best, most := 0, 0.0
			for c := range tabs {
				label := -1.0
				if c == row {
					label = 1
				}
				p := max(-1, min(1, optim.Dot(tabs[c], r.Slots(), idx, val)))
				if c == 0 || p > most {
					best, most = c, p
				}
				norm, err := r.Adapt(tabs[c], idx, val, f.Gradient(p, label), 1)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Move(tabs[c], idx, f.Invariant(p, label, r.Rate(), norm)); err != nil {
					t.Fatal(err)
				}
			}
			if best != row {
				wrong++
			}
		}
	}
	near(t, "share of wrong rows", float64(wrong)/100, .09, 1e-9)
}
