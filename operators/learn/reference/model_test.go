package reference

import (
	"bytes"
	"encoding/csv"
	"math"
	"path/filepath"
	"sort"
	"strconv"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/gunzip"
	"github.com/gradstream/gradstream/operators/feature/scale"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
)

// stream is a data set: features by row, labels as written.
type stream struct {
	columns []string
	x       [][]float64
	y       []string
}

// numbers are the labels as numbers.
func (s stream) numbers(t *testing.T) []float64 {
	t.Helper()
	out := make([]float64, len(s.y))
	for i, v := range s.y {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = f
	}
	return out
}

const streams = "../../../testdata/streams"

func load(t *testing.T, dir, name string) stream {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(gunzip.File(t, filepath.Join(dir, name+".csv.gz")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	s := stream{columns: rows[0][1:]}
	for _, r := range rows[1:] {
		x := make([]float64, len(r)-1)
		for i, v := range r[1:] {
			if x[i], err = strconv.ParseFloat(v, 64); err != nil {
				t.Fatal(err)
			}
		}
		s.x, s.y = append(s.x, x), append(s.y, r[0])
	}
	return s
}

// linear is scaler → linear model, float64.
type linear struct {
	scalers   []scale.Standard // empty: no scaling
	rule, own *optim.Rule[float64]
	tab, b    []float64
	loss      loss.Func
	idx       []uint32
	x         []float64
}

var one, zeroth = []float64{1}, []uint32{0}

func newLinear(t *testing.T, n int, f loss.Func, c, intercept optim.Config) *linear {
	t.Helper()
	m := &linear{scalers: make([]scale.Standard, n), loss: f, x: make([]float64, n)}
	var err error
	if m.rule, err = optim.New[float64](c); err != nil {
		t.Fatal(err)
	}
	if m.own, err = optim.New[float64](intercept); err != nil {
		t.Fatal(err)
	}
	m.tab, m.b = make([]float64, n*m.rule.Slots()), make([]float64, m.own.Slots())
	for i := range n {
		m.idx = append(m.idx, uint32(i))
	}
	return m
}

func (m *linear) scaled(x []float64) []float64 {
	copy(m.x, x)
	for i := range m.scalers {
		m.x[i] = m.scalers[i].Scale(x[i], 0)
	}
	return m.x
}

// predict is the published value: a probability or a number.
func (m *linear) predict(x []float64) float64 {
	return m.loss.Link(optim.Dot(m.tab, m.rule.Slots(), m.idx, m.scaled(x)) + m.b[0])
}

func (m *linear) learn(t *testing.T, x []float64, y float64) {
	t.Helper()
	for i := range m.scalers {
		if !m.scalers[i].Update(x[i]) {
			t.Fatalf("scaler refused %v", x[i])
		}
	}
	z := m.scaled(x)
	g := m.loss.Gradient(m.rule.Score(m.tab, m.idx, z)+m.b[0], y)
	if err := m.rule.Step(m.tab, m.idx, z, g); err != nil {
		t.Fatal(err)
	}
	if err := m.own.Step(m.b, zeroth, one, g); err != nil {
		t.Fatal(err)
	}
}

func (m *linear) weight(s stream, name string) float64 {
	for i, c := range s.columns {
		if c == name {
			return m.tab[i*m.rule.Slots()]
		}
	}
	return math.NaN()
}

func plain(rate float64) optim.Config {
	c := optim.Defaults(optim.SGD)
	c.Rate = optim.Const(rate)
	return c
}

// binary metrics of probabilities p against labels 0 and 1; a row is called
// positive when p > 1/2.
type binary struct{ accuracy, f1, logLoss, kappa, auc float64 }

func score(p, y []float64) binary {
	var tp, tn, fp, fn, ll float64
	for i := range p {
		q := max(1e-15, min(1-1e-15, p[i]))
		switch hit := p[i] > 0.5; {
		case y[i] == 1:
			ll -= math.Log(q)
			if hit {
				tp++
			} else {
				fn++
			}
		default:
			ll -= math.Log(1 - q)
			if hit {
				fp++
			} else {
				tn++
			}
		}
	}
	n := tp + tn + fp + fn
	pe := ((tp+fp)*(tp+fn) + (tn+fn)*(tn+fp)) / (n * n)
	return binary{
		accuracy: (tp + tn) / n, f1: 2 * tp / (2*tp + fp + fn), logLoss: ll / n,
		kappa: ((tp+tn)/n - pe) / (1 - pe), auc: auc(p, y),
	}
}

// auc is the exact area under the ROC curve: the Mann-Whitney statistic, ties
// counted half.
func auc(p, y []float64) float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(a, b int) bool { return p[order[a]] < p[order[b]] })
	var below, sum, pos float64
	for i := 0; i < len(order); {
		var np, nn float64
		j := i
		for ; j < len(order) && p[order[j]] == p[order[i]]; j++ {
			if y[order[j]] == 1 {
				np++
			} else {
				nn++
			}
		}
		sum += np * (below + nn/2)
		below += nn
		pos += np
		i = j
	}
	return sum / (pos * below)
}

// coarseAUC joins the points of the curve at 10 thresholds, evenly spaced over
// [0, 1], by straight lines.
func coarseAUC(p, y []float64) float64 {
	const n = 10
	var area, lastFalse, lastTrue float64
	for k := n - 1; k >= 0; k-- {
		at := float64(k) / (n - 1)
		if k == 0 {
			at = -1e-7
		} else if k == n-1 {
			at = 1 + 1e-7
		}
		var tp, fp, pos float64
		for i := range p {
			pos += y[i]
			if p[i] > at {
				tp += y[i]
				fp += 1 - y[i]
			}
		}
		tpr, fpr := tp/pos, fp/(float64(len(p))-pos)
		area += (fpr - lastFalse) * (tpr + lastTrue) / 2
		lastFalse, lastTrue = fpr, tpr
	}
	return area
}

func sign(y float64) float64 { return 2*y - 1 }

// near compares to the digits given: want is rounded to tol.
func near(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol) {
		t.Errorf("%s is %.10f, want %.8f", what, got, want)
	}
}
