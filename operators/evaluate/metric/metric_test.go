package metric

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/columns"
	"github.com/gradstream/gradstream/internal/testutil/gunzip"
	"github.com/gradstream/gradstream/internal/testutil/splitmix"
)

func lookup(t testing.TB, name string) Spec {
	t.Helper()
	s, ok := Lookup(name)
	if !ok {
		t.Fatalf("no metric %q", name)
	}
	return s
}

func value(t testing.TB, m Metric) float64 {
	t.Helper()
	v, ok := m.Value()
	if !ok {
		t.Errorf("%T is undefined", m)
	}
	return v
}

func near(t testing.TB, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s is %.17g, want %.17g", what, got, want)
	}
}

// binaryRow is row i of a stream with ties among its probabilities.
func binaryRow(i uint64) (label bool, p float64) {
	label = splitmix.Uniform(1, i) < 0.3
	z := 4*(splitmix.Uniform(2, i)-0.5) - 0.8
	if label {
		z += 1.2
	}
	return label, math.Round(100/(1+math.Exp(-z))) / 100
}

var animals = []string{"ant", "bird", "cat", "dog"}

func classRow(i uint64) (label, predicted string) {
	label = animals[int(splitmix.Uniform(3, i)*splitmix.Uniform(4, i)*4)]
	if splitmix.Uniform(5, i) < 0.6 {
		return label, label
	}
	return label, animals[int(splitmix.Uniform(6, i)*4)]
}

func numberRow(i uint64) Number {
	label := 100 + 10*splitmix.Uniform(7, i) + float64(i)/100
	p := label + 3*(splitmix.Uniform(8, i)-0.4)
	return Number{label, p, p - 2*splitmix.Uniform(10, i), p + 2*splitmix.Uniform(11, i)}
}

// outcomeRow ranks one of four classes; distinct is false where probabilities tie.
func outcomeRow(i uint64) (o Outcome, distinct bool) {
	label := int(splitmix.Uniform(3, i) * splitmix.Uniform(4, i) * 4)
	var p [4]float64
	sum := 0.0
	for k := range p {
		p[k] = math.Floor(20*splitmix.Uniform(12+uint64(k), i))/20 + 0.05
		if k == label {
			p[k] += 0.5
		}
		sum += p[k]
	}
	o.Rank, o.P, distinct = 1, p[label]/sum, true
	for k, v := range p {
		o.Squares += v / sum * (v / sum)
		for _, u := range p[:k] {
			distinct = distinct && v/sum != u/sum
		}
		if v > p[label] || v == p[label] && k < label {
			o.Rank++
		}
	}
	return o, distinct
}

func number(label, predicted float64) Number {
	return Number{Label: label, Predicted: predicted, Upper: 1}
}

func updateBinary(m Binary, i uint64) {
	label, p := binaryRow(i)
	m.UpdateBinary(label, p, 1)
}

func updateClass(m Classes, i uint64) {
	label, predicted := classRow(i)
	m.UpdateClass(label, predicted, 1)
}

func updateNumber(m Numeric, i uint64) { m.UpdateNumber(numberRow(i), 1) }

func updateOutcome(m Ranked, i uint64) {
	o, _ := outcomeRow(i)
	m.UpdateOutcome(o, 1)
}

// weightOf is the importance of row i: 0, 0.5, 1 or 1.5.
func weightOf(i uint64) float64 { return math.Floor(4*splitmix.Uniform(9, i)) / 2 }

func runAUC() *Curve { return newCurve(false)(Options{}).(*Curve) }

func windowAUC(window int) Binary {
	s, _ := Lookup("roc_auc")
	return s.NewBinary(Options{Window: window})
}

// readReference returns the figures of testdata/reference.py.
func readReference(t *testing.T) (r struct {
	Run      map[string]map[string]float64 `json:"run"`
	Weighted map[string]map[string]float64 `json:"weighted"`
	Window   map[string]map[string]float64 `json:"window 500"`
	HalfLife map[string]map[string]float64 `json:"half-life 300"`
	River    struct {
		Binary, Classes, Numbers map[string]float64
		Toy                      float64 `json:"rolling_pr_auc_toy"`
	} `json:"river"`
}) {
	t.Helper()
	text, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// named makes the metric that a column of the reference means, and a function that feeds it a row.
func named(t *testing.T, kind, name string, o Options) (m Metric, feed func(i uint64, w float64)) {
	t.Helper()
	o.Bins, o.K, o.Season, o.Quantile = 10, map[string]int{"hit_rate": 2, "ndcg": 3, "mrr": 4}[name], 1, 0.9
	if base, ok := strings.CutSuffix(name, "_season_12"); ok {
		name, o.Season = base, 12
	}
	s := lookup(t, name)
	switch kind {
	case "binary":
		m := s.NewBinary(o)
		return m, func(i uint64, w float64) { label, p := binaryRow(i); m.UpdateBinary(label, p, w) }
	case "classes":
		m := s.NewClasses(o)
		return m, func(i uint64, w float64) { label, p := classRow(i); m.UpdateClass(label, p, w) }
	case "numbers":
		m := s.NewNumeric(o)
		return m, func(i uint64, w float64) { m.UpdateNumber(numberRow(i), w) }
	}
	r := s.NewRanked(o)
	return r, func(i uint64, w float64) {
		if o, distinct := outcomeRow(i); distinct {
			r.UpdateOutcome(o, w)
		}
	}
}

// The same 3,000 rows scored by scikit-learn 1.9 and NumPy: all of them, with weights, of late, and fading.
func TestReference(t *testing.T) {
	const rows = 3000
	r := readReference(t)
	seen := map[string]bool{}
	for _, c := range []struct {
		name   string
		o      Options
		weight func(uint64) float64
		want   map[string]map[string]float64
	}{
		{"run", Options{}, func(uint64) float64 { return 1 }, r.Run},
		{"weighted", Options{}, weightOf, r.Weighted},
		{"window", Options{Window: 500}, weightOf, r.Window},
		{"fading", Options{HalfLife: 300}, weightOf, r.HalfLife},
		{"river", Options{}, func(uint64) float64 { return 1 }, map[string]map[string]float64{"binary": r.River.Binary, "classes": r.River.Classes, "numbers": r.River.Numbers}},
	} {
		for kind, figures := range c.want {
			for name, want := range figures {
				m, feed := named(t, kind, name, c.o)
				for i := range uint64(rows) {
					feed(i, c.weight(i))
				}
				near(t, c.name+" "+kind+" "+name, value(t, m), want, 1e-12*max(1, math.Abs(want)))
				seen[strings.TrimSuffix(name, "_season_12")] = true
			}
		}
	}
	for _, name := range Names() {
		if !seen[name] && name != "kappa_t" && name != "kappa_m" { // these two: see TestElectricity
			t.Errorf("no figure of others for %s", name)
		}
	}
}

// The examples of River's documentation.
func TestToys(t *testing.T) {
	run := runAUC()
	for i, p := range []float64{0.1, 0.4, 0.35, 0.8} {
		run.UpdateBinary(i > 1, p, 1)
	}
	near(t, "AUC", value(t, run), 0.75, 0)

	window := windowAUC(4)
	labels := []bool{false, true, false, true, false, true, false, false, true, true}
	for i, p := range []float64{0.3, 0.5, 0.5, 0.7, 0.1, 0.3, 0.1, 0.4, 0.35, 0.8} {
		window.UpdateBinary(labels[i], p, 1)
	}
	near(t, "AUC of the last 4", value(t, window), 0.75, 0)

	pr := lookup(t, "pr_auc").NewBinary(Options{Window: 4})
	for i, p := range []float64{0.3, 0.5, 0.5, 0.7, 0.1, 0.3, 0.1, 0.4, 0.35, 0.8} {
		pr.UpdateBinary(labels[i], p, 1)
	}
	near(t, "average precision of the last 4", value(t, pr), readReference(t).River.Toy, 1e-15)
	near(t, "average precision of the last 4", value(t, pr), 0.8333, 5e-5)

	kappa := lookup(t, "kappa").Classes(Options{})
	predicted := []string{"ant", "ant", "cat", "cat", "ant", "cat"}
	for i, label := range []string{"cat", "ant", "cat", "cat", "ant", "bird"} {
		kappa.UpdateClass(label, predicted[i], 1)
	}
	near(t, "kappa", value(t, kappa), 3.0/7, 1e-15)
}

const streams = "../../../testdata/streams/"

// numbers are the cells of a row.
func numbers(t *testing.T, cells []string) []float64 {
	t.Helper()
	row := make([]float64, len(cells))
	for i, cell := range cells {
		v, err := strconv.ParseFloat(cell, 64)
		if err != nil {
			t.Fatal(err)
		}
		row[i] = v
	}
	return row
}

// Electricity, no-change and majority predictors, against CapyMOA's figures on the first 2,000 rows and on all.
func TestElectricity(t *testing.T) {
	_, cells := columns.Read(t, streams+"electricity.columns.gz", 45312)
	labels := numbers(t, cells[0])
	names := []string{"accuracy", "kappa", "kappa_t", "kappa_m"}
	var same, most []Binary
	for _, n := range names {
		same = append(same, lookup(t, n).Binary(Options{}))
		most = append(most, lookup(t, n).Binary(Options{}))
	}
	check := func(ms []Binary, want ...float64) {
		t.Helper()
		for i, w := range want {
			near(t, names[i], 100*value(t, ms[i]), w, 1e-8)
		}
	}
	last, lead := 1.0, 0 // before the first row both predict the class "up", there the first
	for i, y := range labels {
		if i == 2000 {
			check(same, 85.95, 70.62291956, 0, 64.34010152)
			check(most, 60.20, 0.69463851, -183.27402135, -1.01522843)
		}
		up := y == 1
		for k := range names {
			same[k].UpdateBinary(up, last, 1)
			p := 0.0
			if lead >= 0 {
				p = 1
			}
			most[k].UpdateBinary(up, p, 1)
		}
		last = y
		lead += 2*int(y) - 1
	}
	check(same, 85.32838983)
	// Naive Bayes has accuracy 73.63391596, kappa-t -79.70818291 and kappa-m 37.88280559 there: so err its baselines.
	errors := (100 - 73.63391596) / 100 * float64(len(labels))
	near(t, "errors of the majority", baselineErrors(same[3]), errors/(1-0.3788280559), 0.01)
	near(t, "errors of the last label", baselineErrors(same[2]), errors/(1+0.7970818291), 0.01)
}

func baselineErrors(m Metric) float64 {
	s := m.State().(*BaselineState)
	return s.Rows - s.Baseline
}

// Phishing, standard scaler and logistic regression by SGD at 0.1 (intercept 0.01), against River's figures.
func TestPhishing(t *testing.T) {
	const features = 9
	var w, mean, m2 [features]float64
	var bias float64
	names := []string{"accuracy", "f1", "log_loss", "kappa", "roc_auc"}
	var ms []Binary
	for _, n := range names {
		ms = append(ms, lookup(t, n).Binary(Options{}))
	}
	whole := windowAUC(2000)
	table, err := csv.NewReader(gunzip.Open(t, streams+"phishing.csv.gz")).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, cells := range table[1:] {
		row := numbers(t, cells)
		y, x := row[0], row[1:]
		n := float64(i)
		score := func() (p float64, z [features]float64) {
			s := bias
			for j, v := range x {
				if m2[j] > 0 {
					z[j] = (v - mean[j]) / math.Sqrt(m2[j]/n)
				}
				s += w[j] * z[j]
			}
			return 1 / (1 + math.Exp(-s)), z
		}
		p, _ := score()
		for _, m := range append(ms, whole) {
			m.UpdateBinary(y == 1, p, 1)
		}
		n++
		for j, v := range x {
			d := v - mean[j]
			mean[j] += d / n
			m2[j] += d * (v - mean[j])
		}
		p, z := score()
		for j := range w {
			w[j] -= 0.1 * (p - y) * z[j]
		}
		bias -= 0.01 * (p - y)
	}
	for i, want := range []float64{0.8896, 0.87852113, 0.27059442, 0.77757778, 0.95779785} {
		near(t, names[i], value(t, ms[i]), want, 5e-9)
	}
	near(t, "windowed AUC", value(t, whole), value(t, ms[4]), 0)
}
