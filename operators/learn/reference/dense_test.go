package reference

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// alone runs rows through one learner called m and returns what it emitted.
func alone(t *testing.T, rows *batch.Batch, learner string) (*batch.Batch, *operators.Node) {
	t.Helper()
	n, errs := spec.Parse("", []byte(learner))
	if err := errs.Err(); err != nil {
		t.Fatal(err)
	}
	def := operators.Merge(&learn.Family).Lookup(n.Keys[0].Name)
	c := def.New()
	if err := spec.Decode(n.Keys[0].Value, c).Err(); err != nil {
		t.Fatal(err)
	}
	node, errs := def.Build(c, operators.BuildOptions{Node: "m", Inputs: []*batch.Schema{rows.Schema}})
	if err := errs.Err(); err != nil {
		t.Fatal(err)
	}
	out := batch.New(node.Schema)
	node.Next = func(b *batch.Batch) error {
		for row := range b.N {
			out.AppendRow(b, row)
		}
		return nil
	}
	node.OnReject = func(_ *batch.Batch, row int, why error) { t.Errorf("row %d is rejected: %v", row, why) }
	if err := node.Process(0, rows); err != nil {
		t.Fatal(err)
	}
	return out, node
}

// verdict is how often a classifier was right; a row of probability ½, or with no
// class yet, is called the first class, or not counted.
type verdict struct {
	right, counted int
	lastRight      int // of the last 100 rows
	kappa          float64
	kappaT, kappaM float64 // against "the label before" and against the majority
}

func judge(out *batch.Batch) verdict { return verdictOf(called(out)) }

// called are the labels and the calls of the rows that count.
func called(out *batch.Batch) (labels, calls []string) {
	class, p, y := out.Col("m.class"), out.Col("m.probability"), out.Col("y")
	for row := range out.N {
		label := string(y.AppendText(nil, row))
		call := "0"
		switch {
		case class == nil && p.Floats[row] > 0.5:
			call = "1"
		case class == nil:
		case class.Null(row):
			continue
		default:
			call = class.TextString(row)
		}
		if class == nil {
			label = map[string]string{"true": "1", "false": "0", "1": "1", "0": "0"}[label]
		}
		labels, calls = append(labels, label), append(calls, call)
	}
	return labels, calls
}

func verdictOf(labels, calls []string) (v verdict) {
	count, by := map[string]float64{}, map[string]float64{}
	same, majority, best := 0, 0, ""
	for i, label := range labels {
		v.counted++
		if label == calls[i] {
			v.right++
			if i >= len(labels)-100 {
				v.lastRight++
			}
		}
		if i > 0 && label == labels[i-1] {
			same++
		}
		count[label]++
		by[calls[i]]++
		for _, class := range slices.Sorted(maps.Keys(count)) { // of equals the first
			if best == "" || count[class] > count[best] || count[class] == count[best] && class < best {
				best = class
			}
		}
		if label == best { // the majority of the labels up to this one, itself included
			majority++
		}
	}
	n := float64(v.counted)
	accuracy, chance := float64(v.right)/n, 0.0
	for c := range count {
		chance += count[c] * by[c] / (n * n)
	}
	against := func(base float64) float64 { return (accuracy - base) / (1 - base) }
	v.kappa, v.kappaT, v.kappaM = against(chance), against(float64(same)/n), against(float64(majority)/n)
	return v
}

func (v verdict) accuracy() float64 { return float64(v.right) / float64(v.counted) }

// numbersAndLabel reads a set of numbers with the label's type.
func numbersAndLabel(t *testing.T, dir, set, label string) *batch.Batch {
	t.Helper()
	return typed(t, dir, set, "y:"+label+","+strings.Join(columnsOf(t, dir, set), ","))
}

// Gaussian naive Bayes in the forms of other programs, over the same rows.
func TestNaiveBayes(t *testing.T) {
	for _, c := range []struct {
		name, set, label, config string
		right, counted           int
		warm                     int // first rows that are not counted
	}{
		// CapyMOA 0.15: 84.00 % of 2,000; all rows are counted.
		{"MOA", "electricity_tiny", "bool", "gaussian_naive_bayes: {label: y, density: plain}", 1680, 2000, 0},
		// River 0.25: .88470777 of 1,249 and .73191858 of 2,309.
		{"River", "phishing", "bool", "gaussian_naive_bayes: {label: y, density: floored}", 1105, 1249, 1},
		{"River", "image_segments", "string", "gaussian_naive_bayes: {label: y, density: floored}", 1690, 2309, 0},
	} {
		t.Run(c.name+" "+c.set, func(t *testing.T) {
			rows := numbersAndLabel(t, streams, c.set, c.label)
			out, _ := alone(t, rows, c.config)
			v := judge(out)
			if c.warm > 0 { // whether right or not, the first rows do not count
				for row := range c.warm {
					y, _ := out.Col("y").Number(row)
					if (out.Col("m.probability").Floats[row] > 0.5) == (y == 1) {
						v.right--
					}
					v.counted--
				}
			}
			t.Logf("%d of %d, %.8f", v.right, v.counted, v.accuracy())
			if v.right != c.right || v.counted != c.counted {
				t.Errorf("%d of %d are right, want %d of %d", v.right, v.counted, c.right, c.counted)
			}
		})
	}
}

func TestNaiveBayesElectricity(t *testing.T) {
	out, _ := alone(t, numbersAndLabel(t, streams, "electricity_tiny", "bool"), "gaussian_naive_bayes: {label: y, density: plain}")
	v := judge(out)
	near(t, "kappa", 100*v.kappa, 66.56748353, 6e-9)
	near(t, "kappa against the label before", 100*v.kappaT, -13.87900356, 6e-9)
	near(t, "kappa against the majority", 100*v.kappaM, 59.39086294, 6e-9)
	if v.lastRight != 91 {
		t.Errorf("%d of the last 100 are right, want 91", v.lastRight)
	}
}

// What smoothing gives over the forms of other programs.
func TestNaiveBayesDefaults(t *testing.T) {
	for _, c := range []struct {
		set, label string
		most       float64 // log loss
		least      float64 // accuracy
	}{
		{"electricity_tiny", "bool", 0.524, 0.84}, {"phishing", "bool", 0.396, 0.8879}, {"image_segments", "string", 1.97, 0.795},
	} {
		out, node := alone(t, numbersAndLabel(t, streams, c.set, c.label), "gaussian_naive_bayes: {label: y}")
		v, lost := judge(out), meanLoss(out)
		t.Logf("%s: accuracy %.4f, log loss %.4f", c.set, v.accuracy(), lost)
		if v.accuracy() < c.least || lost > c.most {
			t.Errorf("%s: accuracy %.4f, log loss %.4f; want at least %v, at most %v", c.set, v.accuracy(), lost, c.least, c.most)
		}
		if r := node.Report(); r.Values[0].Number != float64(out.N) {
			t.Errorf("%s: version %v after %d rows", c.set, r.Values[0].Number, out.N)
		}
	}
}

// The Hoeffding tree row by row against River's with the rules of ours in its leaves,
// and against the figures of MOA, which differs in some rows for the reasons that
// testdata/river_tree.py gives.
func TestHoeffdingTree(t *testing.T) {
	text, err := os.ReadFile("testdata/river_tree.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Came map[string][2]float64 `json:"as it comes"`
		Ours map[string]struct {
			Leaves  float64
			LogLoss float64  `json:"log loss"`
			Calls   []uint32 // checksum of each 1,000 rows
		} `json:"as ours"`
		MOA map[string]struct {
			Leaves    float64
			Right     int
			Otherwise []int
		} `json:"as MOA"`
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	whole := electricity(t)
	for _, c := range []struct {
		name, label, config string
		classes             []string // nil = in the order they come
	}{
		{"phishing", "bool", "label: y", []string{"0", "1"}},
		{"image_segments", "string", "label: y", nil},
		{"electricity_tiny", "bool", "label: y, delta: 1e-3", []string{"0", "1"}},
		{"electricity, delta 1e-3", "", electricityColumns + ", delta: 1e-3", []string{"1", "0"}},
		{"electricity, delta 1e-7", "", electricityColumns, []string{"1", "0"}},
	} {
		rows := whole
		if c.label != "" {
			rows = numbersAndLabel(t, streams, c.name, c.label)
		}
		out, node := alone(t, rows, "hoeffding_tree: {smooth: false, "+c.config+"}")
		w, report := want.Ours[c.name], node.Report()
		if leaves, _ := report.Get("leaves"); leaves != w.Leaves {
			t.Errorf("%s: %v leaves, want %v", c.name, leaves, w.Leaves)
		}
		near(t, c.name+": log loss", meanLoss(out), w.LogLoss, 1e-9)
		labels, calls := called(out)
		var numbers []byte
		for range out.N - len(calls) { // a row before the first class
			numbers = append(numbers, '-')
		}
		known := c.classes
		for i, call := range calls {
			if c.classes == nil && i == 0 {
				known = append(known, out.Col("y").TextString(0))
			}
			numbers = append(numbers, byte('0'+slices.Index(known, call)))
			if !slices.Contains(known, labels[i]) {
				known = append(known, labels[i])
			}
		}
		if len(w.Calls) != (out.N+999)/1000 {
			t.Errorf("%s: %d sums for %d rows", c.name, len(w.Calls), out.N)
		}
		for i, sum := range w.Calls {
			if got := crc32.ChecksumIEEE(numbers[1000*i : min(1000*i+1000, out.N)]); got != sum {
				t.Errorf("%s: a row from %d on is called otherwise", c.name, 1000*i)
			}
		}
		if moa, ok := want.MOA[c.name]; ok != (c.label == "") {
			t.Errorf("%s: nothing of MOA", c.name)
		} else if ok {
			for _, row := range moa.Otherwise {
				calls[row] = map[string]string{"0": "1", "1": "0"}[calls[row]]
			}
			if v := verdictOf(labels, calls); v.right != moa.Right || moa.Leaves != w.Leaves {
				t.Errorf("%s: %d right by MOA's rules, want %d, %v leaves", c.name, v.right, moa.Right, moa.Leaves)
			}
		}
		v := verdictOf(labels, calls)
		switch c.name {
		case "electricity_tiny":
			near(t, "MOA's accuracy, tiny", 100*v.accuracy(), 82.65, 6e-9)
		case "electricity, delta 1e-3":
			near(t, "MOA's accuracy, delta 1e-3", 100*v.accuracy(), 79.03866525, 6e-9)
			near(t, "MOA's kappa", 100*v.kappa, 56.77627087, 6e-9)
			near(t, "MOA's kappa against the majority", 100*v.kappaM, 50.61612853, 6e-9)
		case "electricity, delta 1e-7":
			near(t, "MOA's accuracy, delta 1e-7", 100*v.accuracy(), 78.27727754, 6e-9)
		case "phishing":
			near(t, "River's accuracy as it comes, phishing", want.Came[c.name][0]/want.Came[c.name][1], .87990392, 6e-9)
		case "image_segments":
			near(t, "River's accuracy as it comes, image_segments", want.Came[c.name][0]/want.Came[c.name][1], .77825899, 6e-9)
		}
	}
}

// What a tree reaches as it comes: no less than River's and MOA's, and far less sure.
func TestHoeffdingTreeDefaults(t *testing.T) {
	for _, c := range []struct {
		dir, set, label string
		accuracy        float64 // least
		logLoss         float64 // most; without smooth 0.53, 2.35, 0.70, 0.75, 0.41, 0.94
	}{
		{streams, "phishing", "bool", .8799, 0.34}, {streams, "image_segments", "string", .778, 1.1}, {streams, "electricity_tiny", "bool", .8265, 0.38},
		{largeStreams, "elec2", "bool", .803, 0.5}, {largeStreams, "synth_hyperplane", "bool", .871, 0.37}, {largeStreams, "synth_rbf_drift", "string", .794, 0.62},
	} {
		t.Run(c.set, func(t *testing.T) {
			out, _ := alone(t, numbersAndLabel(t, c.dir, c.set, c.label), "hoeffding_tree: {label: y}")
			v, lost := judge(out), meanLoss(out)
			t.Logf("accuracy %.4f, log loss %.4f", v.accuracy(), lost)
			if v.accuracy() < c.accuracy || lost > c.logLoss {
				t.Errorf("accuracy %.4f, log loss %.4f; want at least %v, at most %v", v.accuracy(), lost, c.accuracy, c.logLoss)
			}
		})
	}
}

// meanLoss is the mean of the published losses.
func meanLoss(out *batch.Batch) float64 {
	sum := 0.0
	for _, l := range out.Col("m.loss").Floats {
		sum += l
	}
	return sum / float64(out.N)
}

// meanErrors of a regression, over the rows that have a prediction.
func meanErrors(out *batch.Batch) (mae, rmse float64) {
	p, y, n := out.Col("m.prediction"), out.Col("y"), 0.0
	for row := range out.N {
		if label, ok := y.Number(row); ok && !p.Null(row) {
			d := p.Floats[row] - label
			mae, rmse, n = mae+math.Abs(d), rmse+d*d, n+1
		}
	}
	return mae / n, math.Sqrt(rmse / n)
}

// River's Bayesian linear regression, alpha and beta 1, nothing scaled.
func TestBayesianLinearRegression(t *testing.T) {
	rows := numbersAndLabel(t, streams, "trump_approval", "float64")
	out, _ := alone(t, rows, "bayesian_linear_regression: {label: y, intercept: false}")
	mae, _ := meanErrors(out)
	t.Logf("MAE %.6f", mae)
	near(t, "MAE", mae, 0.5864, 1e-4)
}

// Holt-Winters over the airline passengers: the forecasts made 1 to 12 months
// before, over the last 120 months, against River's aligned with their months.
func TestHoltWinters(t *testing.T) {
	rows := typed(t, streams, "airline_passengers", "y:float64,month:string")
	out, _ := alone(t, rows, "holt_winters: {label: y, alpha: 0.3, beta: 0.1, gamma: 0.6, season: {multiplicative: {period: 12}}, horizon: 12}")
	y := out.Col("y").Floats
	for k, want := range []float64{8.287597, 9.747728, 10.95636, 11.816511, 12.292601, 13.226323, 13.851744, 14.527356, 15.149715, 16.453505, 16.874186, 17.972966} {
		ahead := out.Col(fmt.Sprintf("m.ahead.%d", k+1))
		mae := 0.0
		for row := 11; row < 131; row++ {
			mae += math.Abs(ahead.Floats[row]-y[row+k+1]) / 120
		}
		near(t, fmt.Sprintf("MAE %d ahead", k+1), mae, want, 6e-7)
	}
	// River itself compares a forecast with the month after the one that it is for.
	for k, want := range map[int]float64{1: 25.899087, 12: 33.975057} {
		late := 0.0
		for row := 11; row < 131; row++ {
			late += math.Abs(out.Col(fmt.Sprintf("m.ahead.%d", k)).Floats[row]-y[row+k+1]) / 120
		}
		near(t, fmt.Sprintf("MAE %d ahead, a month late", k), late, want, 6e-7)
	}
	for row := 12; row < out.N; row++ {
		if out.Col("m.prediction").Floats[row] != out.Col("m.ahead.1").Floats[row-1] {
			t.Fatalf("row %d: the prediction is not the forecast of the row before", row)
		}
	}
}

// A season that repeats exactly is forecast exactly once it was seen.
func TestHoltWintersSeason(t *testing.T) {
	text := "y\n"
	for range 10 {
		text += "3\n-1\n4\n3\n"
	}
	tables, err := optest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := alone(t, tables[0].Rows, "holt_winters: {label: y, season: {additive: {period: 4}}, horizon: 7}")
	for row := 4; row < out.N; row++ {
		near(t, fmt.Sprintf("row %d", row), out.Col("m.prediction").Floats[row], out.Col("y").Floats[row], 1e-12)
		near(t, fmt.Sprintf("row %d, 7 ahead", row), out.Col("m.ahead.7").Floats[row], out.Col("y").Floats[(row+7)%4], 1e-12)
	}
}
