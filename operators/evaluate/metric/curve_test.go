package metric

import (
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

// scores are the kinds of probability that learners give, and the error that bins may have on them.
var scores = []struct {
	name      string
	p         func(label bool, i uint64) float64
	tolerance float64
}{
	{"spread", func(label bool, i uint64) float64 { return sigmoid(normal(i) + shift(label)) }, 1e-6},
	{"timid", func(label bool, i uint64) float64 { return sigmoid((normal(i) + shift(label)) / 200) }, 1e-4},
	{"rare", func(label bool, i uint64) float64 { return sigmoid((normal(i)+shift(label))/2 - 6) }, 1e-5},
	{"certainly true", func(label bool, i uint64) float64 { return sigmoid(8 * (normal(i) + shift(label) + 1)) }, 1e-6},
	{"certainly false", func(label bool, i uint64) float64 { return sigmoid(8 * (normal(i) - shift(label) - 1)) }, 1e-6},
	{"few", func(label bool, i uint64) float64 { return math.Round(10*sigmoid(normal(i)+shift(label))) / 10 }, 1e-12},
	{"single", func(label bool, i uint64) float64 { return float64(float32(sigmoid(3 * (normal(i) + shift(label))))) }, 1e-6},
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

// Up to 4,096 rows the value is exact; the error of the bins that then take over shrinks as rows come.
func TestRunAUCBins(t *testing.T) {
	for _, c := range scores {
		run, exact := runAUC(), windowAUC(MaxWindow)
		for i := range uint64(100_000) {
			label := splitmix.Uniform(22, i) < 0.2
			p := c.p(label, i)
			run.UpdateBinary(label, p, 1)
			exact.UpdateBinary(label, p, 1)
			switch i + 1 {
			case exactRows:
				near(t, c.name+" before bins", value(t, run), value(t, exact), 0)
			case exactRows + 1:
				if !run.s.Binned {
					t.Error("no bins after the exact rows")
				}
				near(t, c.name+" at the first bins", value(t, run), value(t, exact), 2e-5+4*c.tolerance)
			case 100_000:
				near(t, c.name+" at the end", value(t, run), value(t, exact), c.tolerance)
			}
		}
	}
}

func TestBins(t *testing.T) {
	if bin(0) != 0 || bin(1) != aucBins-1 || bin(math.SmallestNonzeroFloat64) != 0 {
		t.Errorf("ends in bins %d and %d of %d", bin(0), bin(1), aucBins)
	}
	if aucBins < 1<<14 {
		t.Errorf("%d bins", aucBins)
	}
	seen, last, previous := make([]bool, aucBins), 0, 0.0
	step := func(p float64) {
		b := bin(p)
		if b < last || b >= aucBins {
			t.Fatalf("bin %d at %v after bin %d at %v", b, p, last, previous)
		}
		seen[b], last, previous = true, b, p
	}
	for e := 64; e >= 5; e-- { // the lower tail, from 2^-64
		for k := range 256 {
			step(math.Ldexp(1+float64(k)/256, -e))
		}
	}
	for k := 2 * middleFirst; k < 2*(middleScale-middleFirst); k++ {
		step(float64(k) / (2 * middleScale))
	}
	for e := 5; e <= 64; e++ { // the upper tail, as 1−p
		for k := 255; k >= 0; k-- {
			if q := math.Ldexp(1+float64(k)/256, -e); 1-q > previous {
				step(1 - q)
			}
		}
	}
	step(1)
	missing := 0
	for b := range aucBins {
		if !seen[b] {
			missing++
		}
	}
	// Above 1−2^-53 there are no numbers but 1, so the last octaves of the upper tail stay empty.
	if want := 20 * tailPer; missing > want {
		t.Errorf("%d bins that no probability meets, want at most %d", missing, want)
	}
	for k := range uint64(100000) { // mirror: p and 1−p in opposite bins, but for bins' edges
		p := splitmix.Uniform(23, k) / 16
		if d := bin(1-p) - (aucBins - 1 - bin(1-(1-p))); d < -1 || d > 1 {
			t.Fatalf("bin %d at %v, bin %d at 1 minus it", bin(p), p, bin(1-p))
		}
	}
}
