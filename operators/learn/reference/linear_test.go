package reference

import (
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
		{"rmsprop 0.1", rated(optim.RMSProp, 0.1), binary{missing, .87237762, missing, missing, missing}},
		{"momentum 0.1", rated(optim.Momentum, 0.1), binary{missing, .84090909, missing, missing, missing}},
		{"nesterov 0.1", rated(optim.Nesterov, 0.1), binary{missing, .84219704, missing, missing, missing}},
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
		{
			"sgd 0.1, l2 0.01",
			with(plain(0.1), func(c *optim.Config) { c.L2 = 0.01 }),
			binary{missing, missing, .27309292, missing, missing},
		},
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
			t.Logf("%+v", got)
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
			near(t, "probability at row "+s.columns[0], p, w, 6e-9)
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

// The area under the curve of "sgd 0.01" as the stream goes on, in per cent.
func TestPhishingAUCByRows(t *testing.T) {
	s := load(t, streams, "phishing")
	y := s.numbers(t)
	m := newLinear(t, len(s.columns), loss.Func{}, plain(0.01), plain(0.01))
	p := make([]float64, len(y))
	for i, x := range s.x {
		p[i] = m.predict(x)
		m.learn(t, x, sign(y[i]))
	}
	for n, want := range map[int]float64{200: 90.20, 400: 92.25, 600: 93.23, 800: 94.05, 1000: 94.79, 1200: 95.07} {
		got := 100 * auc(p[:n], y[:n])
		t.Logf("%d rows: exact AUC %.4f, on 10 thresholds %.2f", n, got, want)
	}
}

// TrumpApproval through scaler → linear regression, SGD 0.01, intercept rate
// 0.1.
func TestTrumpApproval(t *testing.T) {
	s := load(t, streams, "trump_approval")
	y := s.numbers(t)
	m := newLinear(t, len(s.columns), loss.Func{Kind: loss.Squared}, plain(0.01), plain(0.1))
	var abs, sq float64
	for i, x := range s.x {
		d := m.predict(x) - y[i]
		abs += math.Abs(d)
		sq += d * d
		m.learn(t, x, y[i])
	}
	n := float64(len(y))
	near(t, "MAE", abs/n, .55873501, 6e-9)
	near(t, "RMSE", math.Sqrt(sq/n), 2.23531432, 6e-9)
	near(t, "intercept", m.b[0], 35.61767096, 6e-9)
}
