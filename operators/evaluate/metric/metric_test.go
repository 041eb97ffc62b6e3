package metric

import (
	"bufio"
	"compress/gzip"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// uniform is the i-th splitmix64 number of a seed, in [0, 1).
func uniform(seed, i uint64) float64 {
	z := seed + (i+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	z ^= z >> 31
	return float64(z>>11) / (1 << 53)
}

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
	label = uniform(1, i) < 0.3
	z := 4*(uniform(2, i)-0.5) - 0.8
	if label {
		z += 1.2
	}
	return label, math.Round(100/(1+math.Exp(-z))) / 100
}

var animals = []string{"ant", "bird", "cat", "dog"}

func classRow(i uint64) (label, predicted string) {
	label = animals[int(uniform(3, i)*uniform(4, i)*4)]
	if uniform(5, i) < 0.6 {
		return label, label
	}
	return label, animals[int(uniform(6, i)*4)]
}

func numberRow(i uint64) (label, predicted float64) {
	label = 100 + 10*uniform(7, i) + float64(i)/100
	return label, label + 3*(uniform(8, i)-0.4)
}

// The wanted figures were computed by scikit-learn 1.9 on the same 3,000 rows.
func TestScikitLearn(t *testing.T) {
	const rows = 3000
	for _, c := range []struct {
		name string
		want float64
		opt  Options
	}{
		{"accuracy", 0.68, Options{}},
		{"precision", 0.49362786745964315, Options{}},
		{"recall", 0.6148148148148148, Options{}},
		{"f1", 0.5475966069745523, Options{}},
		{"balanced_accuracy", 0.6623952419572858, Options{}},
		{"kappa", 0.3045947453440445, Options{}},
		{"log_loss", 0.5449344414555816, Options{}},
		{"roc_auc", 0.767191132738578, Options{}},
		{"roc_auc", 0.7513938332297376, Options{Window: 1000}},
	} {
		m := lookup(t, c.name).Binary(c.opt)
		for i := range uint64(rows) {
			m.UpdateBinary(binaryRow(i))
		}
		near(t, c.name, value(t, m), c.want, 1e-12)
	}
	for name, want := range map[string]float64{"accuracy": 0.712, "balanced_accuracy": 0.7369891813680578, "kappa": 0.5464751037228235, "macro_f1": 0.610625326397658} {
		m := lookup(t, name).Classes(Options{})
		for i := range uint64(rows) {
			m.UpdateClass(classRow(i))
		}
		near(t, name+" of classes", value(t, m), want, 1e-12)
	}
	for name, want := range map[string]float64{"mae": 0.7782588744597462, "rmse": 0.9170212302259155, "r2": 0.9900795591057983} {
		m := lookup(t, name).Numeric(Options{})
		for i := range uint64(rows) {
			m.UpdateNumber(numberRow(i))
		}
		near(t, name, value(t, m), want, 1e-12)
	}
}

// The examples of River's documentation.
func TestToys(t *testing.T) {
	run := NewRunAUC()
	for i, p := range []float64{0.1, 0.4, 0.35, 0.8} {
		run.UpdateBinary(i > 1, p)
	}
	near(t, "AUC", value(t, run), 0.75, 0)

	window := NewWindowAUC(4)
	labels := []bool{false, true, false, true, false, true, false, false, true, true}
	for i, p := range []float64{0.3, 0.5, 0.5, 0.7, 0.1, 0.3, 0.1, 0.4, 0.35, 0.8} {
		window.UpdateBinary(labels[i], p)
	}
	near(t, "AUC of the last 4", value(t, window), 0.75, 0)

	kappa := lookup(t, "kappa").Classes(Options{})
	predicted := []string{"ant", "ant", "cat", "cat", "ant", "cat"}
	for i, label := range []string{"cat", "ant", "cat", "cat", "ant", "bird"} {
		kappa.UpdateClass(label, predicted[i])
	}
	near(t, "kappa", value(t, kappa), 3.0/7, 1e-15)
}

// readSet returns the rows, numbers only, of a set in the data folder beside the repository.
func readSet(t *testing.T, name string) [][]float64 {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "data", name+".csv.gz"))
	if err != nil {
		t.Skipf("data set %s is not here", name)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]float64
	sc := bufio.NewScanner(z)
	for sc.Scan() {
		if len(rows) == 0 && strings.HasPrefix(sc.Text(), "y,") {
			continue
		}
		var row []float64
		for cell := range strings.SplitSeq(sc.Text(), ",") {
			v, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				t.Fatal(err)
			}
			row = append(row, v)
		}
		rows = append(rows, row)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// Electricity, no-change and majority predictors, against CapyMOA's figures on the first 2,000 rows and on all.
func TestElectricity(t *testing.T) {
	rows := readSet(t, "elec2")
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
	for i, row := range rows {
		if i == 2000 {
			check(same, 85.95, 70.62291956, 0, 64.34010152)
			check(most, 60.20, 0.69463851, -183.27402135, -1.01522843)
		}
		up := row[0] == 1
		for k := range names {
			same[k].UpdateBinary(up, last)
			p := 0.0
			if lead >= 0 {
				p = 1
			}
			most[k].UpdateBinary(up, p)
		}
		last = row[0]
		lead += 2*int(row[0]) - 1
	}
	check(same, 85.32838983)
	// Naive Bayes has accuracy 73.63391596, kappa-t -79.70818291 and kappa-m 37.88280559 there: so err its baselines.
	errors := (100 - 73.63391596) / 100 * float64(len(rows))
	near(t, "errors of the majority", float64(baselineErrors(same[3])), errors/(1-0.3788280559), 0.01)
	near(t, "errors of the last label", float64(baselineErrors(same[2])), errors/(1+0.7970818291), 0.01)
}

func baselineErrors(m Metric) int64 {
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
	whole := lookup(t, "roc_auc").Binary(Options{Window: 2000})
	binned := NewRunAUC()
	binned.s.toBins()
	for i, row := range readSet(t, "phishing") {
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
		for _, m := range append(ms, whole, binned) {
			m.UpdateBinary(y == 1, p)
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
	near(t, "binned AUC", value(t, binned), value(t, ms[4]), 1e-5)
}
