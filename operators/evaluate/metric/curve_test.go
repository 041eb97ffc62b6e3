package metric

import (
	"fmt"
	"math"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/splitmix"
	"github.com/gradstream/gradstream/state"
)

// pairs is the AUC by its definition, over all pairs.
func pairs(rows []Scored) (float64, bool) {
	won, all := 0.0, 0.0
	for _, a := range rows {
		for _, b := range rows {
			if a.Label && !b.Label {
				all++
				switch {
				case a.P > b.P:
					won++
				case a.P == b.P:
					won += 0.5
				}
			}
		}
	}
	return won / all, all > 0
}

func TestWindowAUC(t *testing.T) {
	for _, window := range []int{1, 2, 7, 60} {
		m := windowAUC(window)
		var rows []Scored
		for i := range uint64(400) {
			label, p := binaryRow(i)
			if i > 200 && i < 300 {
				label = true // a stretch of one class
			}
			m.UpdateBinary(label, p, 1)
			rows = append(rows, Scored{p, 1, label})
			last := rows[max(0, len(rows)-window):]
			got, ok := m.Value()
			if want, defined := pairs(last); ok != defined || ok && math.Abs(got-want) > 1e-15 {
				t.Fatalf("window %d, row %d: %v %v, want %v %v", window, i, got, ok, want, defined)
			}
		}
	}
}

// How often a value was asked for, and what a metric held before its state was loaded, never shows: not in a bit.
func TestCurveAsked(t *testing.T) {
	for _, name := range []string{"roc_auc", "pr_auc"} {
		s, _ := Lookup(name)
		for kind, o := range map[string]Options{"run": {}, "window": {Window: 700}, "half-life": {HalfLife: 30}} {
			never, often, loaded := s.NewBinary(o), s.NewBinary(o), s.NewBinary(o)
			for i := range uint64(9000) {
				label, p := binaryRow(i)
				w := weightOf(i) / 3
				p = math.Round(1000*p) / 1000
				never.UpdateBinary(label, p, w)
				often.UpdateBinary(label, p, w)
				loaded.UpdateBinary(!label, p, 1)
				if splitmix.Uniform(31, i) < 0.03 {
					often.Value()
					loaded.Value()
				}
				switch i {
				case 100, 699, 3000, 4096, 5000, 8999:
					if err := state.Decode(state.Append(nil, never.State()), loaded.State()); err != nil {
						t.Fatal(err)
					}
					if f, ok := never.(Fading); ok {
						*loaded.(Fading).Fade() = *f.Fade()
					}
					want := s.NewBinary(o)
					if err := want.Merge(never); err != nil {
						t.Fatal(err)
					}
					a, b, c := value(t, never), value(t, often), value(t, loaded)
					if a != b || a != c {
						t.Fatalf("%s of %s after row %d: %v, asked often %v, loaded %v", name, kind, i, a, b, c)
					}
					if kind != "half-life" {
						near(t, name+" of "+kind+" merged", value(t, want), a, 1e-12)
					}
				}
			}
		}
	}
}

// scores are the kinds of probability that learners give, as functions of a score that is normal, and one higher if the label is
// true: spread, saturated, within a millionth of each other, of few values, and moving.
var scores = map[string]func(z float64, i uint64) float64{
	"spread":            func(z float64, _ uint64) float64 { return sigmoid(z) },
	"uniform":           func(z float64, _ uint64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) },
	"timid":             func(z float64, _ uint64) float64 { return sigmoid(z / 200) },
	"rare":              func(z float64, _ uint64) float64 { return sigmoid(z/20 - 7) },
	"saturated":         func(z float64, _ uint64) float64 { return sigmoid(30 * z) },
	"saturated at 0":    func(z float64, _ uint64) float64 { return sigmoid(100 * (z - 2)) },
	"saturated at 1":    func(z float64, _ uint64) float64 { return sigmoid(8 * (z + 1)) },
	"overflowing":       func(z float64, _ uint64) float64 { return sigmoid(400 * z) },
	"close to 0":        func(z float64, _ uint64) float64 { return 1e-6 * (2 + math.Tanh(z)) },
	"close to 1":        func(z float64, _ uint64) float64 { return 1 - 1e-6*(1+0.01*math.Tanh(z)) },
	"close together":    func(z float64, _ uint64) float64 { return 0.5 + 1e-7*z },
	"few":               func(z float64, _ uint64) float64 { return math.Round(100*sigmoid(z)) / 100 },
	"single":            func(z float64, _ uint64) float64 { return float64(float32(sigmoid(3 * z))) },
	"equal at first":    func(z float64, i uint64) float64 { return sigmoid(z / 20 * min(1, float64(i/5000))) },
	"wider and wider":   func(z float64, i uint64) float64 { return sigmoid(z * 3e-5 * float64(i)) },
	"higher and higher": func(z float64, i uint64) float64 { return sigmoid(z + 3e-4*float64(i)) },
	"sudden": func(z float64, i uint64) float64 {
		if i < 10_000 {
			return sigmoid(z)
		}
		return 0.9 + 1e-7*z
	},
}

func sigmoid(z float64) float64 { return 1 / (1 + math.Exp(-z)) }
func shift(label bool) float64 {
	if label {
		return 1
	}
	return 0
}
func normal(i uint64) float64 {
	return math.Sqrt(-2*math.Log(1-splitmix.Uniform(21, 2*i))) * math.Cos(2*math.Pi*splitmix.Uniform(21, 2*i+1))
}

// The value over the run against the exact one, of many rows with true labels and of few.
func TestCurveOfManyRows(t *testing.T) {
	const rows = 24_000
	for _, share := range []float64{0.4, 0.004} {
		labels, z := make([]bool, rows), make([]float64, rows)
		for i := range uint64(rows) {
			labels[i] = splitmix.Uniform(22, i) < share
			z[i] = normal(i) + shift(labels[i])
		}
		for name, p := range scores {
			auc, precision := newCurve(false)(Options{}).(*Curve), newCurve(true)(Options{})
			exact := order{}
			for i, label := range labels {
				r := Scored{p(z[i], uint64(i)), 1, label}
				auc.UpdateBinary(label, r.P, 1)
				precision.UpdateBinary(label, r.P, 1)
				exact.add(&r, uint32(i))
			}
			exact.settle(0)
			var want sweep
			want.rows(exact.rows)
			a, _ := want.auc()
			b, _ := want.averagePrecision()
			tolerance := map[string]float64{"few": 1e-12, "sudden": 3e-5}[name]
			if tolerance == 0 {
				tolerance = 1e-5
			}
			near(t, fmt.Sprint("roc_auc of ", name, ", true: ", share), value(t, auc), a, tolerance)
			near(t, fmt.Sprint("pr_auc of ", name, ", true: ", share), value(t, precision), b, 10*tolerance)
			if n := max(len(auc.s.Pos.P), len(auc.s.Neg.P)); n > mostPoints {
				t.Errorf("%s: %d points", name, n)
			}
		}
	}
}

// As long as no more distinct probabilities came, the value is exact.
func TestCurveOfFewProbabilities(t *testing.T) {
	run, exact := newCurve(false)(Options{}), windowAUC(MaxWindow)
	for i := range uint64(50_000) {
		label := splitmix.Uniform(6, i) < 0.3
		p := math.Floor(mostPoints*sigmoid(normal(i)+shift(label))) / mostPoints
		w := math.Ceil(3 * splitmix.Uniform(5, i))
		run.UpdateBinary(label, p, w)
		exact.UpdateBinary(label, p, w)
		if i%10_000 == 0 || i == 49_999 {
			got, ok := run.Value()
			if want, defined := exact.Value(); got != want || ok != defined {
				t.Errorf("row %d: %v %v, want %v %v", i, got, ok, want, defined)
			}
		}
	}
}

// Rows that fade come by falling probability: each has less above it than it weighs itself, so no neighbours are as fine as
// ranks asks for, and still the points are few.
func TestCurveOfFallingRows(t *testing.T) {
	const rows, half = 20_000, 30
	for _, name := range []string{"roc_auc", "pr_auc"} {
		s, _ := Lookup(name)
		m := s.NewBinary(Options{HalfLife: half})
		var exact sweep
		for i := range uint64(rows) {
			label, weight := splitmix.Uniform(41, i) < 0.5, math.Exp2(float64(int(i)-rows)/half)
			m.UpdateBinary(label, 1-float64(i)/rows, 1)
			if label {
				exact.add(weight, 0)
			} else {
				exact.add(0, weight)
			}
		}
		want, _ := exact.value(name == "pr_auc")
		near(t, name, value(t, m), want, 1e-3)
	}
}
