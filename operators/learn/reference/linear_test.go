package reference

import (
	"fmt"
	"math"
	"testing"

	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
)

func with(c optim.Config, change func(*optim.Config)) optim.Config {
	change(&c)
	return c
}

func rated(k optim.Kind, rate float64) optim.Config {
	return with(optim.Defaults(k), func(c *optim.Config) { c.Rate = optim.Const(rate) })
}

// global corrects by the count of all steps, as River does.
func global(k optim.Kind, rate float64) optim.Config {
	return with(rated(k, rate), func(c *optim.Config) { c.GlobalCount = true })
}

func penalised(k optim.Kind, rate, l2 float64) optim.Config {
	return with(rated(k, rate), func(c *optim.Config) { c.L2 = l2 })
}

func falling(rate, power float64) optim.Config {
	c := optim.Defaults(optim.SGD)
	c.Rate = optim.Schedule{Decay: optim.InvScaling, Rate: rate, Power: power}
	return c
}

// missing marks a metric the source does not state.
var missing = math.NaN()

// Phishing through scaler → logistic regression, intercept rate 0.01.
func TestPhishing(t *testing.T) {
	s := load(t, streams, "phishing")
	y := s.numbers(t)
	for _, c := range []struct {
		name   string
		config optim.Config
		want   binary
	}{
		{"sgd 0.1", plain(0.1), binary{.8896, .87852113, .27059442, .77757778, .95779785}},
		{"sgd 0.01", plain(0.01), binary{.8928, .87971275, .33011205, missing, .95335018}},
		{"adagrad 0.1", rated(optim.AdaGrad, 0.1), binary{.8928, .88014311, .28388984, missing, missing}},
		{
			"adam 0.1, global count",
			with(rated(optim.Adam, 0.1), func(c *optim.Config) { c.GlobalCount = true }),
			binary{.8776, .86519824, .31348703, missing, missing},
		},
		{"adamax 0.1", global(optim.AdaMax, 0.1), binary{missing, .87610619, missing, missing, missing}},
		{"nadam 0.1", global(optim.NAdam, 0.1), binary{missing, .86596120, missing, missing, missing}},
		{"amsgrad 0.1", global(optim.AMSGrad, 0.1), binary{missing, .86596120, missing, missing, missing}},
		{"adadelta", optim.Defaults(optim.AdaDelta), binary{missing, .80561122, missing, missing, missing}},
		{"adabound", global(optim.AdaBound, 0.001), binary{missing, .88057041, missing, missing, missing}},
		{"rmsprop 0.1", rated(optim.RMSProp, 0.1), binary{.8832, .87237762, .34012947, missing, missing}},
		{"momentum 0.1", rated(optim.Momentum, 0.1), binary{.8544, .84090909, .61018342, missing, missing}},
		{"nesterov 0.1", rated(optim.Nesterov, 0.1), binary{.8552, .84219704, .58158965, missing, missing}},
		{"nesterov 0.1, l2 0.01", penalised(optim.Nesterov, 0.1, 0.01), binary{.836, .82127289, .45775531, missing, missing}},
		{"adagrad 0.1, l2 0.001", penalised(optim.AdaGrad, 0.1, 0.001), binary{.8928, .88014311, .28426050, missing, missing}},
		{"sgd 0.1/t^0.3", falling(0.1, 0.3), binary{.892, .87978629, .28712682, missing, missing}},
		{"sgd 0.1/sqrt t", falling(0.1, 0.5), binary{.8912, .87658802, .34209726, missing, missing}},
		{
			"ftrl of the paper, alpha 0.05, beta 1, l2 1",
			with(optim.Defaults(optim.FTRL), func(c *optim.Config) { c.Alpha, c.Beta, c.L2 = 0.05, 1, 1 }),
			binary{.8912, .87658802, .34068893, missing, missing},
		},
		{
			"ftrl of the paper, alpha 0.5, beta 1",
			with(optim.Defaults(optim.FTRL), func(c *optim.Config) { c.Alpha, c.Beta = 0.5, 1 }),
			binary{.8928, .88141593, .26570320, missing, missing},
		},
		{"sgd 0.1, l2 0.01", penalised(optim.SGD, 0.1, 0.01), binary{.8904, .87908208, .27309293, missing, missing}},
		{
			"sgd 0.1, cumulative l1 0.001",
			with(plain(0.1), func(c *optim.Config) { c.L1 = 0.001 }),
			binary{missing, missing, .27010495, missing, missing},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newLinear(t, len(s.columns), loss.Func{}, c.config, plain(0.01))
			p := make([]float64, len(y))
			for i, x := range s.x {
				p[i] = m.predict(x)
				m.learn(t, x, sign(y[i]))
			}
			got := score(p, y)
			for _, v := range []struct {
				what      string
				got, want float64
			}{
				{"accuracy", got.accuracy, c.want.accuracy}, {"F1", got.f1, c.want.f1},
				{"log loss", got.logLoss, c.want.logLoss}, {"kappa", got.kappa, c.want.kappa},
				{"AUC", got.auc, c.want.auc},
			} {
				if !math.IsNaN(v.want) {
					near(t, v.what, v.got, v.want, 6e-9)
				}
			}
		})
	}
}

// The probabilities and weights on the way of "sgd 0.1".
func TestPhishingTrace(t *testing.T) {
	s := load(t, streams, "phishing")
	y := s.numbers(t)
	want := map[int]float64{
		1: .5, 2: .50125, 3: .53981863, 4: .52682062, 10: .41684662, 100: .96636819,
		1000: .12526861, 1250: .03017214,
	}
	m := newLinear(t, len(s.columns), loss.Func{}, plain(0.1), plain(0.01))
	seen := 0
	for i, x := range s.x {
		p := m.predict(x)
		if w, ok := want[i+1]; ok {
			near(t, fmt.Sprintf("probability at row %d", i+1), p, w, 6e-9)
			seen++
		}
		m.learn(t, x, sign(y[i]))
	}
	if seen != len(want) {
		t.Errorf("%d of %d rows compared", seen, len(want))
	}
	for name, w := range map[string]float64{
		"empty_server_form_handler": -1.80206811, "popup_window": -1.91297235,
		"https": -1.24205478, "age_of_domain": -.18306009,
	} {
		near(t, "weight of "+name, m.weight(s, name), w, 6e-9)
	}
	near(t, "intercept", m.b[0], -.40049775, 6e-9)
}

// The area under the ROC curve through 10 thresholds, as the stream goes on.
func TestPhishingCoarseAUC(t *testing.T) {
	near(t, "area of the example", coarseAUC([]float64{.1, .4, .35, .8}, []float64{0, 0, 1, 1}), .875, 1e-15)
	s := load(t, streams, "phishing")
	y := s.numbers(t)
	for _, c := range []struct {
		rate, tol float64
		byRows    map[int]float64
	}{
		{0.1, 6e-9, map[int]float64{1250: .95431198}},
		{0.01, 6e-9, map[int]float64{1250: .95069613}},
		{0.01, 6e-5, map[int]float64{200: .9020, 400: .9225, 600: .9323, 800: .9405, 1000: .9479, 1200: .9507}},
	} {
		m := newLinear(t, len(s.columns), loss.Func{}, plain(c.rate), plain(0.01))
		p := make([]float64, len(y))
		for i, x := range s.x {
			p[i] = m.predict(x)
			m.learn(t, x, sign(y[i]))
		}
		for n, want := range c.byRows {
			near(t, fmt.Sprintf("sgd %v: area after %d rows", c.rate, n), coarseAUC(p[:n], y[:n]), want, c.tol)
		}
	}
}

// TrumpApproval through scaler → linear regression, plain SGD.
func TestTrumpApproval(t *testing.T) {
	s := load(t, streams, "trump_approval")
	y := s.numbers(t)
	for _, c := range []struct {
		loss                 loss.Func
		rate, interceptRate  float64
		mae, rmse, intercept float64
	}{
		{loss.Func{Kind: loss.Squared}, 0.01, 0.1, .55873501, 2.23531432, 35.61767096},
		{loss.Func{Kind: loss.Squared}, 0.05, 0.2, .93819497, 2.94173253, 33.95235129},
		{loss.Func{Kind: loss.Absolute}, 0.05, 0.2, 2.84055399, 8.21386354, 24.2},
		{loss.Func{Kind: loss.Huber, Param: 1}, 0.05, 0.2, 2.75404311, 8.20620058, 23.97347049},
		{loss.Func{Kind: loss.Quantile, Param: 0.25}, 0.05, 0.2, 8.95919651, 14.35432857, 23.05},
		{loss.Func{Kind: loss.Quantile, Param: 0.9}, 0.05, 0.2, 4.93802992, 9.18561681, 23.98},
	} {
		t.Run(fmt.Sprintf("%v %v, rate %v", c.loss.Kind, c.loss.Param, c.rate), func(t *testing.T) {
			m := newLinear(t, len(s.columns), c.loss, plain(c.rate), plain(c.interceptRate))
			var abs, sq float64
			for i, x := range s.x {
				d := m.predict(x) - y[i]
				abs += math.Abs(d)
				sq += d * d
				m.learn(t, x, y[i])
			}
			n := float64(len(y))
			near(t, "MAE", abs/n, c.mae, 6e-9)
			near(t, "RMSE", math.Sqrt(sq/n), c.rmse, 6e-9)
			near(t, "intercept", m.b[0], c.intercept, 6e-9)
		})
	}
}

// Phishing through scaler → linear SVM: the weights, since its probabilities
// are no shared convention.
func TestPhishingHinge(t *testing.T) {
	s := load(t, streams, "phishing")
	y := s.numbers(t)
	m := newLinear(t, len(s.columns), loss.Func{Kind: loss.Hinge}, plain(0.1), plain(0.01))
	p := make([]float64, len(y))
	for i, x := range s.x {
		p[i] = m.predict(x)
		m.learn(t, x, sign(y[i]))
	}
	got := score(p, y)
	near(t, "accuracy", got.accuracy, .8912, 6e-9)
	near(t, "F1", got.f1, .87943262, 6e-9)
	near(t, "weight of "+s.columns[0], m.tab[0], -1.47456480, 6e-9)
	near(t, "intercept", m.b[0], -.36, 6e-9)
}

// scikit-learn's SGDClassifier (alpha 1e-4, schedule "optimal") row by row over
// the first 2,000 rows of the electricity prices, six columns, unscaled; the
// first row, which it cannot predict, counts as wrong.
func TestElectricityOptimalSchedule(t *testing.T) {
	rows := electricity(t)
	for _, c := range []struct {
		loss    loss.Func
		right   int
		weights []float64
		b       float64
	}{
		{loss.Func{Kind: loss.Log}, 1715, []float64{-.86916874, -17.41523492, 5.76055986, -.01158425, -1.41308077, -1.38634044}, -3.49633947},
		{loss.Func{Kind: loss.Hinge}, 1694, []float64{-.78041014, -19.8171724, 4.65939313, -.01156052, -1.41018673, -1.38350117}, -3.04495352},
	} {
		t.Run(c.loss.Kind.String(), func(t *testing.T) {
			own := optim.Defaults(optim.SGD)
			own.Rate = optim.Schedule{Decay: optim.Optimal, Alpha: 1e-4, T0: optim.OptimalStart(1e-4, c.loss.Gradient)}
			m := newLinear(t, 6, c.loss, with(own, func(c *optim.Config) { c.L2 = 1e-4 }), own)
			m.scalers = nil
			right := 0
			for i := range 2000 {
				x, y := make([]float64, 6), float64(rows.Cols[0].Ints[i])
				for k := range x {
					x[k] = rows.Cols[1+k].Floats[i]
				}
				if i > 0 && (m.predict(x) > 0.5) == (y == 1) {
					right++
				}
				m.learn(t, x, sign(y))
			}
			if right != c.right {
				t.Errorf("%d rows right, want %d", right, c.right)
			}
			for i, w := range c.weights {
				near(t, "weight of "+rows.Schema.Fields[1+i].Name, m.tab[i], w, 6e-8)
			}
			near(t, "intercept", m.b[0], c.b, 6e-9)
		})
	}
}
