package learn

import (
	"math"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// built makes an operator, feeds it rows some times over and returns it with them.
func built[C any, P interface {
	*C
	spec.Config
}](t *testing.T, build func(*C, *operators.Env) operators.Operator, config, in string, times int,
) (operators.Operator, *batch.Batch) {
	t.Helper()
	var op operators.Operator
	d := operators.Define[C, P](operators.Spec[C]{Name: "tested", Build: func(c *C, env *operators.Env) operators.Operator {
		op = build(c, env)
		return op
	}})
	n, errs := spec.Parse("", []byte(config))
	if err := errs.Err(); err != nil {
		t.Fatal(err)
	}
	c := d.New()
	if err := spec.Decode(n, c).Err(); err != nil {
		t.Fatal(err)
	}
	tables, err := optest.Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	rows := tables[0].Rows
	node, errs := d.Build(c, operators.BuildOptions{Node: "m", Inputs: []*batch.Schema{rows.Schema}})
	if err := errs.Err(); err != nil {
		t.Fatal(err)
	}
	for range times {
		if err := node.Process(0, rows); err != nil {
			t.Fatal(err)
		}
	}
	return op, rows
}

// slopes compares the derivatives that were laid out with central differences of
// the score.
func slopes(t *testing.T, p *params, score func() float64) {
	t.Helper()
	sum := map[uint32]float64{}
	for k, i := range p.idx {
		sum[i] += float64(p.d[k])
	}
	if len(sum) == 0 {
		t.Fatal("no derivatives")
	}
	const h = 1.0 / 512
	for i, got := range sum {
		w := &p.table.Data[int(i)*p.slots]
		was := *w
		*w = was + h
		above := score()
		*w = was - h
		want := (above - score()) / (2 * h)
		*w = was
		if math.Abs(got-want) > 1e-3*max(1, math.Abs(want)) {
			t.Errorf("the derivative by weight %d is %v, the difference quotient %v", i, got, want)
		}
	}
}

func TestDerivatives(t *testing.T) {
	for name, op := range map[string]func() (operators.Operator, *batch.Batch){
		"factorization_machine": func() (operators.Operator, *batch.Batch) {
			return built(t, newMachine, "{label: y, factors: 3}", regressRows, 5)
		},
		"matrix_factorization": func() (operators.Operator, *batch.Batch) {
			return built(t, newFactorization, "{user: user, item: item, label: y, bits: 8, factors: 3}", ratings, 5)
		},
		"mlp, relu": func() (operators.Operator, *batch.Batch) {
			return built(t, newMLP, "{label: y, units: 5, layers: 2}", regressRows, 5)
		},
		"mlp, tanh": func() (operators.Operator, *batch.Batch) {
			return built(t, newMLP, "{label: y, units: 4, layers: 3, activation: tanh, optimizer: {sgd: {rate: 0.01}}}", regressRows, 5)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, rows := op()
			m := o.(*scored)
			m.scorer.of(rows)
			for row := range rows.N - 1 {
				m.params.begin()
				if s := m.scorer.prepare(row); s != m.scorer.score(row) {
					t.Errorf("row %d: prepare says %v, score %v", row, s, m.scorer.score(row))
				}
				slopes(t, m.params, func() float64 { return m.scorer.score(row) })
			}
		})
	}
	t.Run("bpr", func(t *testing.T) {
		o, rows := built(t, newBPR, "{user: user, item: item, bits: 8, factors: 3}", choices, 5)
		m := o.(*bpr)
		m.of(rows)
		u, x := m.groups(0)
		_, y := m.groups(1)
		m.begin()
		if s := m.prepare(u, x, y); s == 0 {
			t.Error("no difference was learnt")
		}
		slopes(t, m.params, func() float64 { return m.scoreOf(u, x) - m.scoreOf(u, y) })
	})
}

// The derivatives of the cross-entropy of several classes, a new one among them.
func TestClassDerivatives(t *testing.T) {
	for name, build := range map[string]func() (operators.Operator, *batch.Batch){
		"factorization_machine": func() (operators.Operator, *batch.Batch) {
			return built(t, newMachine, "{label: y, factors: 3}", classRows, 5)
		},
		"mlp, relu": func() (operators.Operator, *batch.Batch) {
			return built(t, newMLP, "{label: y, units: 5, layers: 2}", classRows, 5)
		},
		"mlp, tanh": func() (operators.Operator, *batch.Batch) {
			return built(t, newMLP, "{label: y, units: 4, layers: 3, activation: tanh, optimizer: {sgd: {rate: 0.01}}}", classRows, 5)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, rows := build()
			m := o.(*classed)
			m.scorer.of(rows)
			for row := range rows.N - 1 {
				for class := range 4 { // there are three as yet
					n := max(3, class+1)
					m.params.begin()
					m.scorer.first(row, n)
					g := make([]float64, n)
					m.scorer.scores(row, g)
					normalise(g)
					g[class]--
					m.scorer.spread(row, g)
					slopes(t, m.params, func() float64 {
						p := make([]float64, n)
						m.scorer.scores(row, p)
						normalise(p)
						return -math.Log(p[class])
					})
				}
			}
		})
	}
}

// A row that is refused leaves no weight behind that it would have begun with.
func TestRefusedRowsBeginNothing(t *testing.T) {
	for _, c := range []struct{ operator, config, good, bad string }{
		{"factorization_machine", "{label: y, factors: 2, label_scale: none, clip: 0, optimizer: {sgd: {rate: 1}}}", "features:sparse[64],y\n1:1,1\n", "2:1e20 3:3e38,1\n"},
		{"mlp", "{label: y, units: 3, label_scale: none, clip: 0, optimizer: {sgd: {rate: 1}}}", "features:sparse[64],y\n1:1,1\n", "2:1e38 3:3e38,1e30\n"},
		{"factorization_machine", "{label: y, factors: 2}", "features:sparse[64],y:string\n1:1,a\n1:2,b\n", "2:1e20 3:3e38,c\n"},
		{"mlp", "{label: y, units: 32}", "features:sparse[64],y:string\n1:1,a\n1:2,b\n", "5:3.4e38 3:3.4e38,c\n"},
	} {
		good, both := runner(t, c.operator, c.config, c.good), runner(t, c.operator, c.config, c.good+c.bad)
		if len(both.Rejected) != 1 || good.Digest() != both.Digest() {
			t.Errorf("%s: rejected %v, state differs: %v", c.operator, both.Rejected, good.Digest() != both.Digest())
		}
	}
}

// The network learns what no linear model can.
func TestNetworkLearnsExclusiveOr(t *testing.T) {
	const rows = "features:sparse[8],y:bool\n0:-1 1:-1,false\n0:-1 1:1,true\n0:1 1:-1,true\n0:1 1:1,false\n"
	for _, activation := range []string{"relu", "tanh"} {
		o, b := built(t, newMLP, "{label: y, units: 8, activation: "+activation+"}", rows, 500)
		m := o.(*scored)
		m.scorer.of(b)
		for row := range b.N {
			if s := m.scorer.score(row); (s > 0) != b.Col("y").Bools[row] || math.Abs(s) < 1 {
				t.Errorf("%s, row %d: score %v", activation, row, s)
			}
		}
	}
	// And so does a factorization machine, whose pair is the product.
	o, b := built(t, newMachine, "{label: y, factors: 2}", rows, 500)
	m := o.(*scored)
	m.scorer.of(b)
	for row := range b.N {
		if s := m.scorer.score(row); (s > 0) != b.Col("y").Bools[row] || math.Abs(s) < 1 {
			t.Errorf("factorization_machine, row %d: score %v", row, s)
		}
	}
}

// Of rows of one feature a factorization machine is a linear model, under every
// schedule of the rate.
func TestMachineOfSingleFeatures(t *testing.T) {
	const in = "features:sparse[8],y:bool?\n1:1,true\n2:-1,false\n1:2,true\n1:1,false\n2:0.5,true\n1:1,\n"
	for _, schedule := range []string{"constant", "invscaling", "optimal", "{optimal: {alpha: 0.01}}"} {
		o := ", optimizer: {sgd: {rate: 0.5, schedule: " + schedule + "}}, l2: 0, clip: 10}"
		machine := runner(t, "factorization_machine", "{label: y"+o, in)
		linear := runner(t, "logistic_regression", "{label: y"+o, in)
		got, want := machine.Output().Col("node.score").Floats, linear.Output().Col("node.score").Floats
		for i := range want {
			if math.Abs(got[i]-want[i]) > 1e-6*(1+math.Abs(want[i])) {
				t.Errorf("%s: scores %v, of the linear model %v", schedule, got, want)
				break
			}
		}
	}
}

// A learnt vector of which one number happens to be 0 is no new one.
func TestVectorsWithZeros(t *testing.T) {
	o, rows := built(t, newFactorization, "{user: user, item: item, label: y, bits: 8, factors: 3}", ratings, 5)
	m := o.(*scored)
	m.scorer.of(rows)
	f := m.scorer.(factorization)
	u, i := f.groups(0)
	before := m.scorer.score(0)
	was := f.at(u)
	m.params.table.Data[u*m.params.slots] = 0
	if got, want := m.scorer.score(0), before-float64(was*f.at(i)); math.Abs(got-want) > 1e-6 {
		t.Errorf("the score is %v, want %v", got, want)
	}
	rest := f.at(u + 1)
	m.params.begin()
	m.scorer.prepare(0)
	if f.at(u) != 0 || f.at(u+1) != rest || len(m.params.fresh) > 0 {
		t.Errorf("the vector begins anew: %v %v, was 0 %v", f.at(u), f.at(u+1), rest)
	}
}
