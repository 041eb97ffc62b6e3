package learn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
	"github.com/gradstream/gradstream/state/weights"
)

func definition(t *testing.T, name string) *operators.Definition {
	t.Helper()
	d := operators.Merge(&Family).Lookup(name)
	if d == nil {
		t.Fatalf("no operator %q", name)
	}
	return d
}

// runner feeds rows and keeps the harness.
func runner(t *testing.T, operator, config, in string) *optest.Harness {
	t.Helper()
	tables, err := optest.Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	h, err := optest.Open(definition(t, operator), config, tables[0].Rows.Schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Feed(0, tables[0].Rows); err != nil {
		t.Fatal(err)
	}
	return h
}

// feed passes more rows to an operator.
func feed(t *testing.T, h *optest.Harness, in string) {
	t.Helper()
	tables, err := optest.Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Feed(0, tables[0].Rows); err != nil {
		t.Fatal(err)
	}
}

// Labels that are none reject the row, which then leaves no trace.
func TestRejectedRows(t *testing.T) {
	for _, c := range []struct{ operator, config, header, good, bad, why string }{
		{"logistic_regression", "{label: y}", "features:sparse[8],y:int64?", "1:1,1\n2:1,0\n", "1:1,2", `label "y" is 2; expected 0 or 1`},
		{"linear_regression", "{label: y, loss: poisson}", "features:sparse[8],y:float64?", "1:1,1\n2:1,0\n", "1:1,-2", `label "y" is -2; the poisson loss takes numbers of at least 0`},
		{"logistic_regression", "{label: y}", "features:sparse[8],y:int64?", "1:1,1\n2:1,0\n", "1:1,-1", `label "y" is -1; expected 0 or 1`},
		{"logistic_regression", "{label: y}", "features:sparse[8],y", "1:1,1\n2:1,0\n", "1:1,0.5", `label "y" is 0.5; expected 0 or 1`},
		{"logistic_regression", "{label: y, optimizer: {sgd: {rate: 100}}}", "features:sparse[8],y:int64?", "1:1,1\n2:1,0\n", "1:3e38,1", errScore.Error()},
		{"linear_regression", "{label: y}", "features:sparse[8],y", "1:1,1\n2:1,0\n3:1,3\n", "1:1,1.7e308", `label "y": 1.7e+308 is too large to be scaled`},
		{"linear_regression", "{label: y, label_scale: none, optimizer: {sgd: {rate: 1}}, clip: 0}", "features:sparse[8],y", "1:1,1\n2:1,0\n", "4:1e38,1e30", errStep.Error()},
		{"linear_regression", "{label: y, optimizer: {adagrad: {rate: 1}}}", "features:sparse[8],y", "1:1,1\n2:1,0\n3:1,3\n", "5:3e38,8", errStep.Error()},
	} {
		t.Run(c.why, func(t *testing.T) {
			good := runner(t, c.operator, c.config, c.header+"\n"+c.good+c.good)
			mixed := runner(t, c.operator, c.config, c.header+"\n"+c.good+c.bad+"\n"+c.good)
			if len(mixed.Rejected) != 1 || mixed.Rejected[0].Why != c.why || mixed.Rejected[0].Row != int64(strings.Count(c.good, "\n")) {
				t.Errorf("rejected %v", mixed.Rejected)
			}
			if got, want := optest.Format(mixed.Output()), optest.Format(good.Output()); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if mixed.Digest() != good.Digest() {
				t.Error("the state differs")
			}
		})
	}
}

// What cannot work is said when the pipeline is loaded.
func TestConfigurations(t *testing.T) {
	const in = "features:sparse[8],wide:sparse,y:bool,n,s:string\n"
	for _, c := range []struct{ operator, config, want string }{
		{"logistic_regression", "{}", "label is missing"},
		{"logistic_regression", "{label: z}", `no column "z"`},
		{"logistic_regression", "{label: s}", `column "s" is string`},
		{"logistic_regression", "{label: y, features: n}", `column "n" is float64`},
		{"logistic_regression", "{label: y, features: wide}", "needs the output of vectorize"},
		{"logistic_regression", "{label: y, loss: squared}", "loss is"},
		{"logistic_regression", "{label: y, l1: 0.1}", "l1 does not go with mixture"},
		{"logistic_regression", "{label: y, l1: 0.1, optimizer: {ftrl: {l1: 0.1}}}", "l1 is given twice"},
		{"logistic_regression", "{label: y, l2: 0.1, optimizer: {ftrl: {l2: 0.1}}}", "l2 is given twice"},
		{"logistic_regression", "{label: y, optimizer: {adagrad: {rate: 0}}}", "rate is 0"},
		{"logistic_regression", "{label: y, optimizer: {rate: 0.1}}", "optimizer is"},
		{"logistic_regression", "{label: y, intercept: {rate: 0.1}}", "mixture steps weights and intercept together"},
		{"logistic_regression", "{label: y, optimizer: coin, l2: 0.1}", "l2 does not go with coin"},
		{"linear_regression", "{label: y, optimizer: pistol, clip: 0}", "clip: 0 does not go with pistol and loss: squared, whose derivatives have no bound; expected clip: 1"},
		{"linear_regression", "{label: y, optimizer: pistol, clip: 0, loss: poisson}", "clip: 0 does not go with pistol and loss: poisson"},
		{"logistic_regression", "{label: y, optimizer: lion}", "optimizer is"},
		{"linear_regression", "{label: s}", `column "s" is string`},
		{"linear_regression", "{label: n, loss: {quantile: {tau: 1}}}", "tau is 1"},
		{"linear_regression", "{label: n, loss: {huber: {delta: 0}}}", "delta is 0"},
		{"linear_regression", "{label: n, loss: log}", "loss is"},
	} {
		if _, err := optest.Run(definition(t, c.operator), c.config, in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want an error with %q", c.operator, c.config, err, c.want)
		}
	}
}

// A model survives tuning; what gives its numbers another meaning is refused.
func TestStateIdentity(t *testing.T) {
	build := func(operator, config string, dim int) *operators.Node {
		t.Helper()
		n, errs := spec.Parse("", []byte(config))
		if err := errs.Err(); err != nil {
			t.Fatal(err)
		}
		d := definition(t, operator)
		c := d.New()
		if err := spec.Decode(n, c).Err(); err != nil {
			t.Fatal(err)
		}
		s := batch.NewSchema(batch.Field{Name: "features", Type: batch.Sparse, Dim: dim}, batch.Field{Name: "y", Type: batch.Float64},
			batch.Field{Name: "z", Type: batch.String}, batch.Field{Name: "b", Type: batch.Bool})
		node, errs := d.Build(c, operators.BuildOptions{Node: "m", Inputs: []*batch.Schema{s}})
		if err := errs.Err(); err != nil {
			t.Fatal(err)
		}
		return node
	}
	bind := func(store state.Store, n *operators.Node, save bool) error {
		t.Helper()
		p, err := store.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for _, b := range n.States() {
			if err := p.Bind(b.ID, b.State); err != nil {
				return err
			}
		}
		if !save {
			return nil
		}
		commit, err := p.Stage(state.Manifest{Step: 1})
		if err != nil {
			t.Fatal(err)
		}
		return commit(context.Background())
	}
	for _, c := range []struct {
		operator, before, after string
		dim                     int
		ok                      bool
	}{
		{"logistic_regression", "{label: y, optimizer: adagrad}", "{label: y, optimizer: {adagrad: {rate: 0.01, eps: 1e-6}}, l2: 0.1, clip: 1, loss: hinge}", 64, true},
		{"logistic_regression", "{label: y}", "{label: y, optimizer: {mixture: {rate: 0.5}}, l2: 0.1, loss: hinge}", 64, true},
		{"logistic_regression", "{label: y}", "{label: y, optimizer: adagrad}", 64, false},
		{"logistic_regression", "{label: y}", "{label: y, optimizer: sgd}", 64, false},
		{"logistic_regression", "{label: y, optimizer: momentum}", "{label: y, optimizer: nesterov}", 64, false},
		{"logistic_regression", "{label: y, optimizer: sgd}", "{label: y, optimizer: {sgd: {rate: 1, schedule: optimal}}}", 64, true},
		{"logistic_regression", "{label: y, optimizer: sgd}", "{label: y, optimizer: sgd, l1: 0.1}", 64, false},
		{"logistic_regression", "{label: y, optimizer: adagrad}", "{label: y, optimizer: adagrad, intercept: {rate: 0.1}}", 64, false},
		{"logistic_regression", "{label: y}", "{label: y}", 128, false},
		{"linear_regression", "{label: y, optimizer: adagrad}", "{label: y, loss: huber, optimizer: {adagrad: {rate: 1}}}", 64, true},
		{"linear_regression", "{label: y}", "{label: y, label_scale: none}", 64, false},
		{"linear_regression", "{label: y}", "{label: y, bounds: none}", 64, true},
		{"linear_regression", "{label: y, bounds: none}", "{label: y}", 64, true},
		{"linear_regression", "{label: y}", "{label: y, loss: poisson}", 64, false},
		{"linear_regression", "{label: y, loss: poisson}", "{label: y, loss: poisson, optimizer: {mixture: {rate: 0.5}}}", 64, true},
		{"mlp", "{label: z, units: 4}", "{label: z, units: 4, max_classes: 100, clip: 1}", 64, true},
		{"mlp", "{label: z, units: 4}", "{label: z, units: 8}", 64, false},
		{"mlp", "{label: b, units: 4}", "{label: z, units: 4}", 64, false},
		{"factorization_machine", "{label: z}", "{label: z, max_classes: 3}", 64, true},
		{"factorization_machine", "{label: z}", "{label: z, classes: [a, b]}", 64, false},
		{"alma", "{label: b}", "{label: b, b: 1, c: 2, alpha: 0.5}", 64, true},
		{"alma", "{label: b}", "{label: b, intercept: false}", 64, false},
	} {
		store := memstore.New()
		if err := bind(store, build(c.operator, c.before, 64), true); err != nil {
			t.Fatal(err)
		}
		err := bind(store, build(c.operator, c.after, c.dim), false)
		var mismatch *state.MismatchError
		if c.ok && err != nil || !c.ok && !errors.As(err, &mismatch) {
			t.Errorf("from %s to %s with %d indices: %v", c.before, c.after, c.dim, err)
		}
	}
}

// The report counts what was learnt.
func TestReport(t *testing.T) {
	h := runner(t, "logistic_regression", "{label: y, optimizer: {sgd: {rate: 0.5}}}", "features:sparse[8],y:bool?\n3:1 4:0,true\n3:1,\n5:2,false\n")
	r := h.Node.Report()
	got := map[string]string{}
	for _, v := range r.Values {
		got[v.Name] = fmt.Sprintf("%.6f %v", v.Number, v.Null)
	}
	// Two steps: weight 3 goes to 0.5·0.5; the second row's score is the
	// intercept 0.25, so weight 5 goes to -0.5·σ(0.25)·2.
	want := map[string]string{"version": "2.000000 false", "weights_nonzero": "2.000000 false", "weights_l2": "0.615258 false", "loss": "0.759577 false"}
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s is %s, want %s", name, got[name], w)
		}
	}
	fresh := runner(t, "linear_regression", "{label: y}", "features:sparse[8],y\n").Node.Report()
	if _, known := fresh.Get("loss"); known {
		t.Error("a model that has seen nothing has a loss")
	}
}

// One absurd label or one absurd feature passes without a trace that matters, and
// a true change of level is followed.
func TestOutliers(t *testing.T) {
	run := func(disturb func(i int, x, y *float64)) (deviation func(i int) float64) {
		var in strings.Builder
		in.WriteString("features:sparse[8],y\n")
		for i := range 1000 {
			x := float64(i%7) / 7
			y := 3*x + 10
			disturb(i, &x, &y)
			fmt.Fprintf(&in, "1:%v,%v\n", x, y)
		}
		h := runner(t, "linear_regression", "{label: y}", in.String())
		if len(h.Rejected) > 0 {
			t.Errorf("rejected %v", h.Rejected)
		}
		p, y := h.Output().Col("node.prediction").Floats, h.Output().Col("y").Floats
		return func(i int) float64 { return math.Abs(p[i] - y[i]) }
	}
	for _, c := range []struct {
		what    string
		disturb func(i int, x, y *float64)
		bounds  map[int]float64
	}{
		{"nothing", func(int, *float64, *float64) {}, map[int]float64{199: 0.1, 300: 0.05, 990: 0.01}},
		{"a label of 1e6", func(i int, _, y *float64) {
			if i == 200 {
				*y = 1e6
			}
		}, map[int]float64{199: 0.1, 210: 0.5, 300: 0.1, 990: 0.1}},
		{"a feature of 5", func(i int, x, _ *float64) {
			if i == 200 {
				*x = 5
			}
		}, map[int]float64{199: 0.1, 210: 1, 300: 0.2, 990: 0.1}},
		{"labels up by 1000", func(i int, _, y *float64) {
			if i >= 200 {
				*y += 1000
			}
		}, map[int]float64{199: 0.1, 500: 50, 990: 10}},
	} {
		deviation := run(c.disturb)
		for i, bound := range c.bounds {
			if d := deviation(i); d > bound {
				t.Errorf("%s: the prediction of row %d is off by %v, want at most %v", c.what, i, d, bound)
			}
		}
	}
}

// A row of weight w counts as w rows though their derivatives are bounded: a step of
// one rate is w times that of weight 1. The plain rules of a mixture stop where the
// loss is flat. A passive-aggressive step has no bound of this kind.
func TestWeightsBehindTheBound(t *testing.T) {
	for _, o := range []string{"{sgd: {rate: 0.001}}", "{ftrl: {alpha: 0.001, beta: 1e6}}", "mixture"} {
		config := "{label: y, weight: w, clip: 2, label_scale: none, intercept: false, optimizer: " + o + "}"
		second := func(w string) float64 {
			h := runner(t, "linear_regression", config, "features:sparse[8],w,y\n1:1,"+w+",5\n1:1,1,5\n")
			return h.Output().Col("node.score").Floats[1]
		}
		if one, many := second("1"), second("100"); !(math.Abs(many/one-100) < 1 || o == "mixture" && many > 2*one) {
			t.Errorf("%s: a row of weight 100 moves the score by %v, one of weight 1 by %v", o, many, one)
		}
	}
	if got := runner(t, "passive_aggressive_regression", "{label: y, intercept: false, epsilon: 0, variant: PA}", "features:sparse[8],y\n1:1,1048576e12\n1:1,1\n").Output().Col("node.prediction").Floats[1]; math.Abs(got/1048576e12-1) > 1e-6 {
		t.Errorf("a passive-aggressive step ends at %v", got)
	}
}

// Classes may weigh the same, and all twice as much is every row twice.
func TestEqualClassWeights(t *testing.T) {
	const header = "features:sparse[8],y:string\n"
	rows := []string{"1:1,a\n", "2:1,b\n", "3:1,c\n", "1:1 2:1,a\n", "3:1,b\n"}
	for _, o := range []string{"softmax", "one_vs_rest", "perceptron", "passive_aggressive"} {
		in := header + strings.Join(rows, "")
		plain := runner(t, o, "{label: y, classes: [a, b, c]}", in)
		ones := runner(t, o, "{label: y, classes: [a, b, c], class_weights: [1, 1, 1]}", in)
		if plain.Text() != ones.Text() {
			t.Errorf("%s: class_weights of 1 make a difference", o)
		}
	}
	in := "features:sparse[8],w,y:bool\n1:1,2,true\n2:1,2,false\n1:1 2:1,2,true\n"
	classes := runner(t, "logistic_regression", "{label: y, class_weights: [2, 2]}", in)
	rowwise := runner(t, "logistic_regression", "{label: y, weight: w}", in)
	if classes.Text() != rowwise.Text() {
		t.Errorf("class_weights of 2 give\n%s\nweights of 2\n%s", classes.Text(), rowwise.Text())
	}
}

// The report of several classes counts the weights of all, and no intercept.
func TestReportOfClasses(t *testing.T) {
	const in = "features:sparse[2000],y:string\n1:1,a\n1999:-2,b\n1500:0.5 1:1,c\n3:0.25,a\n"
	for _, o := range []string{"sgd", "adam", "mixture"} {
		h := runner(t, "softmax", "{label: y, optimizer: "+o+"}", in)
		var data []float32
		slots, block := 0, 0
		for _, s := range h.Node.States() {
			if table, ok := s.State.(*weights.Table); ok {
				data, slots = table.Data, table.Stride()
				block = len(data) / slots / 3
			}
		}
		nonzero, squares := 0.0, 0.0
		for c := range 3 {
			for i := range 2000 {
				if w := float64(data[(c*block+i)*slots]); w != 0 {
					nonzero++
					squares += w * w
				}
			}
		}
		r := h.Node.Report()
		gotN, _ := r.Get("weights_nonzero")
		gotL2, _ := r.Get("weights_l2")
		if nonzero == 0 || gotN != nonzero || math.Abs(gotL2-math.Sqrt(squares)) > 1e-12 {
			t.Errorf("%s: the report says %v weights of norm %v, there are %v of %v", o, gotN, gotL2, nonzero, math.Sqrt(squares))
		}
	}
}
