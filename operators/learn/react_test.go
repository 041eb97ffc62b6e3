package learn

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/gunzip"
	"github.com/gradstream/gradstream/internal/testutil/splitmix"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

var driftCases = []optest.Case{
	{Operator: "logistic_regression", Name: "drift, alarm", In: binaryRows, Config: "{label: y, optimizer: adam, on_drift: alarm}"},
	{Operator: "logistic_regression", Name: "drift, reset", In: binaryRows, Config: "{label: y, optimizer: adagrad, on_drift: {reset: {detector: {hddm_w: {drift: 0.5}}}}}"},
	{Operator: "logistic_regression", Name: "drift, boost", In: binaryRows, Config: "{label: y, optimizer: sgd, on_drift: {boost: {detector: {hddm_a: {drift: 0.9}}, factor: 3, half_life: 7}}}"},
	{Operator: "logistic_regression", Name: "drift, background", In: binaryRows, Config: "{label: y, on_drift: {background: {detector: {page_hinkley: {threshold: 0.5}}, least: 9, patience: 30}}}"},
	{Operator: "logistic_regression", Name: "drift, background, invariant", In: binaryRows, Config: "{label: y, optimizer: {sgd: {invariant: true}}, l2: 0.001, on_drift: {background: {detector: {page_hinkley: {threshold: 0.5}}, least: 9, patience: 30}}}"},
	{Operator: "linear_regression", Name: "drift, background", In: regressRows, Config: "{label: y, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "linear_regression", Name: "drift, boost", In: regressRows, Config: "{label: y, loss: absolute, optimizer: normalized, on_drift: {boost: {detector: {hddm_w: {drift: 0.4}}}}}"},
	{Operator: "linear_regression", Name: "drift, reset", In: regressRows, Config: "{label: y, label_scale: none, optimizer: momentum, on_drift: {reset: {detector: {adwin: {delta: 0.3}}}}}"},
	{Operator: "softmax", Name: "drift, reset", In: classRows, Config: "{label: y, weight: w, on_drift: {reset: {detector: {hddm_w: {drift: 0.4, lambda: 0.2}}}}}"},
	{Operator: "softmax", Name: "drift, boost", In: classRows, Config: "{label: y, optimizer: adagrad, on_drift: {boost: {detector: {cusum: {threshold: 0.5, min_samples: 2}}, half_life: 7}}}"},
	{Operator: "one_vs_rest", Name: "drift, boost", In: binaryRows, Config: "{label: y, optimizer: sgd, on_drift: {boost: {detector: {page_hinkley: {threshold: 0.5, alpha: 1, baseline: zero, min_samples: 3}}}}}"},
	{Operator: "perceptron", Name: "drift, reset", In: classRows, Config: "{label: y, on_drift: {reset: {detector: {hddm_a: {drift: 0.9}}}}}"},
	{Operator: "passive_aggressive", Name: "drift, reset", In: binaryRows, Config: "{label: y, on_drift: {reset: {detector: {hddm_w: {drift: 0.4}}}}}"},
	{Operator: "passive_aggressive_regression", Name: "drift, reset", In: regressRows, Config: "{label: y, on_drift: {reset: {detector: {adwin: {delta: 0.5, clock: 2, grace: 3, min_part: 2}}}}}"},
	{Operator: "mlp", Name: "drift, reset", In: regressRows, Config: "{label: y, units: 3, on_drift: {reset: {detector: {hddm_w: {drift: 0.4}}}}}"},
	{Operator: "mlp", Name: "drift, classes, boost", In: classRows, Config: "{label: y, units: 3, on_drift: {boost: {detector: {hddm_w: {drift: 0.4}}, half_life: 9}}}"},
	{Operator: "mlp", Name: "drift, classes, reset", In: classRows, Config: "{label: y, units: 3, optimizer: adam, on_drift: {reset: {detector: {hddm_w: {drift: 0.4}}}}}"},
	{Operator: "factorization_machine", Name: "drift, boost", In: binaryRows, Config: "{label: y, optimizer: adam, on_drift: {boost: {detector: {cusum: {threshold: 0.3}}}}}"},
	{Operator: "matrix_factorization", Name: "drift, reset", In: ratings4drift, Config: "{label: y, user: u, item: i, bits: 8, on_drift: {reset: {detector: {hddm_w: {drift: 0.4}}}}}"},
	{Operator: "softmax", Name: "drift, background", In: classRows, Config: "{label: y, max_classes: 3, weight: w, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "softmax", Name: "drift, background, classes given", In: classRows, Config: "{label: y, optimizer: adagrad, classes: [green, red, blue], on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "one_vs_rest", Name: "drift, background", In: classRows, Config: "{label: y, optimizer: normalized, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "perceptron", Name: "drift, background", In: classRows, Config: "{label: y, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "passive_aggressive", Name: "drift, background", In: binaryRows, Config: "{label: y, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "mlp", Name: "drift, background", In: regressRows, Config: "{label: y, units: 3, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "mlp", Name: "drift, classes, background", In: classRows, Config: "{label: y, units: 3, layers: 2, optimizer: adam, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "mlp", Name: "drift, labels, background", In: labelRows, Config: "{labels: [y, z], units: 3, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "factorization_machine", Name: "drift, background", In: binaryRows, Config: "{label: y, factors: 3, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "factorization_machine", Name: "drift, classes, background", In: classRows, Config: "{label: y, factors: 3, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "matrix_factorization", Name: "drift, background", In: ratings4drift, Config: "{label: y, user: u, item: i, bits: 8, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "gaussian_naive_bayes", Name: "drift, reset", In: columns4drift, Config: "{label: y, on_drift: {reset: {detector: {hddm_w: {drift: 0.4}}}}}"},
	{Operator: "hoeffding_tree", Name: "drift, reset", In: columns4drift, Config: "{label: y, grace_period: 9, on_drift: {reset: {detector: {hddm_w: {drift: 0.4}}}}}", Allocates: "what was forgotten is learnt anew"},
	{Operator: "passive_aggressive_regression", Name: "drift, background", In: regressRows, Config: "{label: y, variant: PA-II, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "gaussian_naive_bayes", Name: "drift, background", In: columns4drift, Config: "{label: y, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}"},
	{Operator: "hoeffding_tree", Name: "drift, background", In: columns4drift, Config: "{label: y, categorical: [z], grace_period: 9, on_drift: {background: {detector: {hddm_w: {drift: 0.4}}, least: 5, patience: 40}}}", Allocates: "what was forgotten is learnt anew"},
}

const (
	ratings4drift = "u:string,i:int64,y:float64?\nann,1,5\nbob,1,\nann,2,1\nbob,3,4\n"
	columns4drift = "x:float64?,z:int64,y:string?\n1,2,a\n,5,b\n3,1,\n0.5,2,c\n"
)

var driftSchema = batch.NewSchema(batch.Field{Name: "features", Type: batch.Sparse, Dim: 64}, batch.Field{Name: "y", Type: batch.Float64, Nullable: true})

// driftRows makes a batch of n rows of width features.
func driftRows(n, width int, row func(i int, x []float32) (y float64)) *batch.Batch {
	b := batch.New(driftSchema)
	idx, val := make([]uint32, width), make([]float32, width)
	for k := range idx {
		idx[k] = uint32(k)
	}
	for i := range n {
		y := row(i, val)
		b.Cols[0].Index, b.Cols[0].Value = append(b.Cols[0].Index, idx...), append(b.Cols[0].Value, val...)
		b.Cols[0].EndRow()
		b.Cols[1].AppendFloat(y)
		b.Origin.Append(int64(i), int64(i), int32(i))
		b.N++
	}
	return b
}

// turned is a stream whose labels change their meaning at rows 6,000 and 12,000.
func turned(numbers bool) *batch.Batch {
	weights := [][5]float64{{2, -1, 1, 0, 0.5}, {-2, 1, 1, 1, -0.5}, {1, 2, -2, 0, 1}}
	return driftRows(18000, 5, func(i int, x []float32) float64 {
		s := 0.0
		for k := range x {
			v := 2*splitmix.Uniform(1, uint64(5*i+k)) - 1
			x[k] = float32(v)
			s += v * weights[i/6000][k]
		}
		noise := splitmix.Uniform(2, uint64(i))
		if numbers {
			return 50 + 10*s + 4*noise
		}
		if (s > 0) == (noise < 0.95) {
			return 1
		}
		return 0
	})
}

// centred is turned(true) with labels around 0, for learners that take small steps.
func centred() *batch.Batch {
	in := turned(true)
	for i := range in.Cols[1].Floats {
		in.Cols[1].Floats[i] -= 52
	}
	return in
}

// lossOver runs a learner and returns its mean loss in rows [from, to), and its report.
func lossOver(t *testing.T, operator, config string, in *batch.Batch, from, to int) (float64, operators.Report) {
	t.Helper()
	h, err := optest.Open(operators.Merge(&Family).Lookup(operator), config, in.Schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Feed(0, in); err != nil {
		t.Fatal(err)
	}
	lost, sum := h.Output().Col("node.loss").Floats, 0.0
	for _, v := range lost[from:to] {
		sum += v
	}
	return sum / float64(to-from), h.Node.Report()
}

// After a drift the loss is lower than without a reaction, and alarm changes no prediction.
func TestReactions(t *testing.T) {
	for _, c := range []struct{ operator, options string }{
		{"logistic_regression", "label: y, optimizer: {adagrad: {rate: 0.1}}"},
		{"logistic_regression", "label: y, optimizer: {sgd: {rate: 0.01}}"},
		{"logistic_regression", "label: y, optimizer: {sgd: {schedule: invscaling}}"},
		{"linear_regression", "label: y, optimizer: {adagrad: {rate: 0.1}}"},
	} {
		in := turned(c.operator == "linear_regression")
		run := func(reaction string) (float64, operators.Report) {
			return lossOver(t, c.operator, fmt.Sprintf("{%s, on_drift: %s}", c.options, reaction), in, 6000, 18000)
		}
		none, _ := run("none")
		alarm, report := run("alarm")
		if alarm != none {
			t.Errorf("%s, %s: alarm has loss %v, none %v", c.operator, c.options, alarm, none)
		}
		if n, _ := report.Get("drifts"); n < 1 || n > 4 {
			t.Errorf("%s, %s: %v drifts, want 1 or 2: a model that never recovers hides the second", c.operator, c.options, n)
		}
		for _, reaction := range []string{"boost", "reset", "background"} {
			got, report := run(reaction)
			drifts, _ := report.Get("drifts")
			t.Logf("%s, %s: %s %.4f, alarm %.4f, %v drifts", c.operator, c.options, reaction, got, alarm, drifts)
			if got >= alarm {
				t.Errorf("%s, %s: %s has loss %v, alarm %v", c.operator, c.options, reaction, got, alarm)
			}
			if drifts < 2 {
				t.Errorf("%s, %s: %s saw %v drifts", c.operator, c.options, reaction, drifts)
			}
			if swaps, ok := report.Get("swaps"); ok != (reaction == "background") || ok && swaps < 2 {
				t.Errorf("%s, %s: %s swapped %v times", c.operator, c.options, reaction, swaps)
			}
		}
	}
}

// A run that is stopped and resumed at any place comes to the same bits, swaps and all.
func TestReactionsResume(t *testing.T) {
	type trial struct{ operator, config string }
	var trials []trial
	for _, reaction := range []string{"alarm", "{boost: {half_life: 2000}}", "reset", "{background: {least: 1500}}"} {
		trials = append(trials, trial{"logistic_regression", "{label: y, optimizer: adagrad, on_drift: " + reaction + "}"})
		if reaction != "alarm" {
			trials = append(trials, trial{"logistic_regression", "{label: y, optimizer: mixture, on_drift: " + reaction + "}"})
		}
	}
	trials = append(trials, trial{"softmax", "{label: y, predict: probability, optimizer: mixture, on_drift: reset}"},
		trial{"softmax", "{label: y, predict: probability, optimizer: {adagrad: {rate: 0.1}}, on_drift: {background: {least: 500}}}"},
		trial{"mlp", "{label: y, predict: probability, units: 4, optimizer: adagrad, on_drift: {background: {least: 1000}}}"},
		trial{"mlp", "{labels: [y], units: 4, optimizer: adagrad, on_drift: {background: {least: 1000}}}"},
		trial{"mlp", "{label: y, predict: probability, units: 4, optimizer: adagrad, on_drift: {boost: {half_life: 2000}}}"},
		trial{"gaussian_naive_bayes", "{label: y, predict: probability, on_drift: reset}"},
		trial{"hoeffding_tree", "{label: y, predict: probability, on_drift: reset}"},
		trial{"gaussian_naive_bayes", "{label: y, predict: probability, on_drift: {background: {least: 500}}}"},
		trial{"hoeffding_tree", "{label: y, predict: probability, grace_period: 50, on_drift: {background: {least: 500}}}"},
		trial{"passive_aggressive_regression", "{label: y, c: 0.01, on_drift: {background: {least: 500}}}"})
	for _, c := range trials {
		in, n := turned(false), 18000
		if c.operator != "logistic_regression" {
			n = 8000 // one drift
		}
		switch c.operator {
		case "gaussian_naive_bayes", "hoeffding_tree":
			in = columns(in)
		case "passive_aggressive_regression":
			in = centred()
		}
		def, config := operators.Merge(&Family).Lookup(c.operator), c.config
		var text [2]string
		var digest [2]uint64
		for k := range 2 {
			h, err := optest.Open(def, config, in.Schema)
			if err != nil {
				t.Fatal(err)
			}
			for from := 0; from < n; from += 701 {
				part := batch.New(in.Schema)
				for row := from; row < min(from+701, n); row++ {
					part.AppendRow(in, row)
				}
				if err := h.Feed(0, part); err != nil {
					t.Fatal(err)
				}
				if k == 0 {
					continue
				}
				if err := h.Checkpoint(); err != nil {
					t.Fatal(err)
				}
				if err := h.Restart(); err != nil {
					t.Fatal(err)
				}
			}
			report := h.Node.Report()
			if drifts, _ := report.Get("drifts"); drifts == 0 {
				t.Errorf("%s %s saw no drift", c.operator, config)
			}
			if swaps, ok := report.Get("swaps"); ok && swaps == 0 {
				t.Errorf("%s %s did not swap", c.operator, config)
			}
			text[k], digest[k] = h.Text(), h.Digest()
		}
		if text[0] != text[1] || digest[0] != digest[1] {
			t.Errorf("%s: resumed, the run is another", config)
		}
	}
}

// Another reaction keeps the model, also while a second one learns.
func TestReactionChanged(t *testing.T) {
	for _, operator := range []string{"logistic_regression", "gaussian_naive_bayes", "hoeffding_tree", "passive_aggressive_regression"} {
		for _, to := range []string{"alarm", "reset", "boost", "none"} {
			options := map[string]string{"logistic_regression": "label: y, optimizer: {adagrad: {rate: 0.1}}", "passive_aggressive_regression": "label: y, c: 0.01"}[operator]
			in := turned(false)
			switch {
			case operator == "passive_aggressive_regression":
				in = centred()
			case options == "":
				options, in = "label: y, predict: probability", columns(in)
			}
			if to == "boost" && operator != "logistic_regression" {
				continue // needs a rate
			}
			def := operators.Merge(&Family).Lookup(operator)
			h, err := optest.Open(def, "{"+options+", on_drift: {background: {least: 90000, patience: 100000}}}", in.Schema)
			if err != nil {
				t.Fatal(err)
			}
			feed := func(from, to int) {
				t.Helper()
				part := batch.New(in.Schema)
				for row := from; row < to; row++ {
					part.AppendRow(in, row)
				}
				if err := h.Feed(0, part); err != nil {
					t.Fatal(err)
				}
			}
			feed(0, 8000)
			report := h.Node.Report()
			if drifts, _ := report.Get("drifts"); drifts == 0 {
				t.Fatalf("%s saw no drift", operator)
			}
			before, _ := report.Get("version")
			if err := errors.Join(h.Checkpoint(), h.RestartAs("{"+options+", on_drift: "+to+"}")); err != nil {
				t.Fatal(err)
			}
			report = h.Node.Report()
			if now, _ := report.Get("version"); now != before {
				t.Errorf("%s, %s: version %v, before %v", operator, to, now, before)
			}
			feed(8000, 9000)
			if len(h.Rejected) > 0 {
				t.Errorf("%s, %s: rejected %v", operator, to, h.Rejected[0])
			}
		}
	}
}

func TestReactionComplaints(t *testing.T) {
	for config, want := range map[string]string{
		"{label: y, on_drift: restart}":                                                `on_drift is "restart"; expected one of none, alarm, reset, background, boost`,
		"{label: y, optimizer: ftrl, on_drift: boost}":                                 `boost does not go with ftrl, which has no rate; expected another reaction, or another optimizer`,
		"{label: y, on_drift: {background: {least: 9000}}}":                            `the second model is given up before it may take over; expected least to be at most patience`,
		"{label: y, on_drift: {reset: {detector: {adwin: {delta: 1}}}}}":               `delta is 1; expected a finite number above 0 and below 1`,
		"{label: y, on_drift: {reset: {factor: 2}}}":                                   `"factor"`,
		"{label: y, on_drift: {boost: {detector: {hddm_a: {drift: 0.2}}, factor: 1}}}": `factor is 1; expected a finite number above 1`,
	} {
		_, err := optest.Open(operators.Merge(&Family).Lookup("logistic_regression"), config, driftSchema)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", config, err, want)
		}
	}
}

// synthetic reads a generated stream of the data folder beside the repository, its columns between 0 and 1.
func synthetic(t *testing.T, name string) *batch.Batch {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", name+".csv.gz")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the data set %s is not here", name)
	}
	var rows [][]float64
	lines := bufio.NewScanner(gunzip.Open(t, path))
	for lines.Scan(); lines.Scan(); {
		var row []float64
		for cell := range strings.SplitSeq(lines.Text(), ",") {
			v, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				t.Fatal(err)
			}
			row = append(row, v)
		}
		rows = append(rows, row)
	}
	lo, hi := append([]float64(nil), rows[0]...), append([]float64(nil), rows[0]...)
	for _, row := range rows {
		for k, v := range row {
			lo[k], hi[k] = min(lo[k], v), max(hi[k], v)
		}
	}
	return driftRows(len(rows), len(lo)-1, func(i int, x []float32) float64 {
		for k := range x {
			x[k] = float32((rows[i][k+1] - lo[k+1]) / max(hi[k+1]-lo[k+1], 1e-9))
		}
		return rows[i][0]
	})
}

// The streams with abrupt drifts, from the first of them on.
func TestReactionsSynthetic(t *testing.T) {
	for name, from := range map[string]int{"synth_sea_abrupt": 10000, "synth_agrawal_abrupt": 10000} {
		t.Run(name, func(t *testing.T) {
			in := synthetic(t, name)
			for _, o := range []string{"adagrad", "{sgd: {schedule: invscaling}}", "mixture"} {
				alarm, _ := lossOver(t, "logistic_regression", "{label: y, optimizer: "+o+", on_drift: alarm}", in, from, in.N)
				for _, reaction := range []string{"boost", "reset", "background"} {
					got, report := lossOver(t, "logistic_regression", "{label: y, optimizer: "+o+", on_drift: "+reaction+"}", in, from, in.N)
					drifts, _ := report.Get("drifts")
					t.Logf("%s: %s %.4f, alarm %.4f, %v drifts", o, reaction, got, alarm, drifts)
					if large := name == "synth_agrawal_abrupt" && o != "mixture"; large && got >= alarm {
						t.Errorf("%s: %s has loss %v, alarm %v", o, reaction, got, alarm)
					}
					// A mixture follows by itself, and the drifts of sea are small: what tries before it takes does no harm.
					if reaction == "background" && got > alarm+5e-4 {
						t.Errorf("%s: %s has loss %v, alarm %v", o, reaction, got, alarm)
					}
				}
			}
		})
	}
}

// columns is turned(false) with the features in columns of their own.
func columns(in *batch.Batch) *batch.Batch {
	var fields []batch.Field
	for k := range 5 {
		fields = append(fields, batch.Field{Name: fmt.Sprint("x", k), Type: batch.Float64})
	}
	out := batch.New(batch.NewSchema(append(fields, in.Schema.Fields[1])...))
	for row := range in.N {
		_, val := in.Cols[0].Row(row)
		for k, v := range val {
			out.Cols[k].AppendFloat(float64(v))
		}
		out.Cols[5].AppendFloat(in.Cols[1].Floats[row])
		out.Origin.Append(int64(row), int64(row), int32(row))
		out.N++
	}
	return out
}

// Learners of other kinds recover as well: their loss from the first drift on is lower with each reaction they have.
func TestReactionsOfOthers(t *testing.T) {
	bools, numbers := turned(false), turned(true)
	for _, c := range []struct {
		operator, options string
		in                *batch.Batch
		reactions         []string
	}{
		{"softmax", "label: y, predict: probability, optimizer: {adagrad: {rate: 0.1}}", bools, []string{"boost", "reset", "background"}},
		{"one_vs_rest", "label: y, predict: probability, optimizer: {sgd: {schedule: invscaling}}", bools, []string{"boost", "reset", "background"}},
		{"mlp", "label: y, predict: probability, units: 8, optimizer: adagrad", bools, []string{"boost", "reset", "background"}},
		{"mlp", "label: y, units: 8, optimizer: adagrad", numbers, []string{"boost", "reset", "background"}},
		{"factorization_machine", "label: y, predict: probability, optimizer: adagrad", bools, []string{"boost", "reset", "background"}},
		{"passive_aggressive_regression", "label: y, c: 0.01", centred(), []string{"reset", "background"}},
		{"gaussian_naive_bayes", "label: y, predict: probability", columns(bools), []string{"reset", "background"}},
		{"hoeffding_tree", "label: y, predict: probability", columns(bools), []string{"reset", "background"}},
	} {
		if testing.Short() && c.operator != "softmax" && c.operator != "hoeffding_tree" {
			continue // the laws have them all, and the race detector is slow
		}
		run := func(reaction string) (float64, operators.Report) {
			return lossOver(t, c.operator, fmt.Sprintf("{%s, on_drift: %s}", c.options, reaction), c.in, 6000, 18000)
		}
		none, report := run("none")
		if _, ok := report.Get("drifts"); ok {
			t.Errorf("%s reports drifts that nobody looks for", c.operator)
		}
		alarm, report := run("alarm")
		if n, _ := report.Get("drifts"); alarm != none || n < 1 {
			t.Errorf("%s: alarm has loss %v and %v drifts, none %v", c.operator, alarm, n, none)
		}
		for _, reaction := range c.reactions {
			got, report := run(reaction)
			drifts, _ := report.Get("drifts")
			version, _ := report.Get("version")
			t.Logf("%s: %s %.4f, alarm %.4f, %v drifts", c.operator, reaction, got, alarm, drifts)
			if got >= alarm || drifts < 2 || version != 18000 {
				t.Errorf("%s: %s has loss %v, alarm %v; %v drifts, version %v", c.operator, reaction, got, alarm, drifts, version)
			}
			if swaps, ok := report.Get("swaps"); ok != (reaction == "background") || ok && swaps < 2 {
				t.Errorf("%s: %s swapped %v times", c.operator, reaction, swaps)
			}
		}
	}
}
