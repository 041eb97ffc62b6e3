package detect

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/splitmix"
)

// every lists a maker of each detector and variant.
var every = []struct {
	name string
	mk   func() Detector
}{
	{"adwin", func() Detector { return adwin() }},
	{"adwin reset", func() Detector { return adwin(resets) }},
	{"ddm", func() Detector { return ddm() }},
	{"eddm", func() Detector { return eddm() }},
	{"eddm sample", func() Detector { return eddm(sampleSpread) }},
	{"page-hinkley", func() Detector { return pageHinkley() }},
	{"hddm-a", func() Detector { return must(NewHDDMA(DefaultHDDM())) }},
	{"hddm-a both", func() Detector { return must(NewHDDMA(twoSided())) }},
	{"hddm-w", func() Detector { return must(NewHDDMW(DefaultHDDM())) }},
	{"hddm-w both", func() Detector { return must(NewHDDMW(twoSided())) }},
	{"cusum", func() Detector { return must(NewCUSUM(DefaultCUSUM())) }},
	{"kswin", func() Detector { return must(NewKSWIN(DefaultKSWIN())) }},
	{"page-hinkley zero", func() Detector { return pageHinkley(zeroBaseline) }},
}

func twoSided() HDDMOptions {
	o := DefaultHDDM()
	o.Direction = Both
	return o
}

// The p-values that SciPy 1.17 gives for two samples of 30 and of 5.
func TestKSExact(t *testing.T) {
	for _, c := range []struct {
		n, gap int
		want   float64
	}{{5, 3, 0.35714285714285715}, {30, 10, 0.07088798787114439}, {30, 11, 0.034580084963334506}, {30, 12, 0.015643390496754332},
		{30, 13, 0.006548396368058784}, {30, 14, 0.0025300622362698397}, {30, 15, 0.0008995776840176799}} {
		if got := ksEqual(c.n, c.gap); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("gap %d of %d: p is %v, want %v", c.gap, c.n, got, c.want)
		}
	}
	if d := must(NewKSWIN(DefaultKSWIN())); d.gap != 14 {
		t.Errorf("alarms at a gap of %d, want 14", d.gap)
	}
	for _, c := range []struct {
		a, b []float64
		want int
	}{{[]float64{1, 2, 3}, []float64{1, 2, 3}, 0}, {[]float64{1, 1, 2}, []float64{1, 2, 2}, 1}, {[]float64{1, 2, 3}, []float64{4, 5, 6}, 3}, {[]float64{5, 5, 5}, []float64{1, 5, 6}, 1}} {
		if got := gap(c.a, c.b); got != c.want {
			t.Errorf("%v and %v lie %d apart, want %d", c.a, c.b, got, c.want)
		}
	}
}

// Each of the older inputs is drawn as often as any other.
func TestKSWINDraws(t *testing.T) {
	d := must(NewKSWIN(KSWINOptions{Alpha: 0.1, Window: 20, Recent: 5, MinGap: 0.1, Seed: 3}))
	var seen [15]int
	for range 30000 {
		taken := 0
		for i := 0; taken < 5; i++ {
			if d.draw(15-i) < 5-taken {
				taken++
				seen[i]++
			}
		}
	}
	for i, n := range seen {
		if n < 9600 || n > 10400 { // 10,000 expected, deviation 82
			t.Errorf("input %d was drawn %d times of 30,000", i, n)
		}
	}
}

// wander is a stream that changes many times.
func wander(i uint64) float64 {
	p := []float64{0.1, 0.6, 0.3, 0.9, 0.05}[i/1500%5]
	if splitmix.Uniform(11, i) < p {
		return 1
	}
	return 0
}

// copyDeep copies a state as a checkpoint does: by its exported fields only.
func copyDeep(dst, src reflect.Value) {
	switch src.Kind() {
	case reflect.Struct:
		for i := range src.NumField() {
			copyDeep(dst.Field(i), src.Field(i))
		}
	case reflect.Slice:
		s := reflect.MakeSlice(src.Type(), src.Len(), src.Len())
		for i := range src.Len() {
			copyDeep(s.Index(i), src.Index(i))
		}
		dst.Set(s)
	case reflect.Array:
		for i := range src.Len() {
			copyDeep(dst.Index(i), src.Index(i))
		}
	default:
		dst.Set(src)
	}
}

// A state copied out and in at any row leaves the signals as they were; copyDeep panics on a field it may not set.
func TestResume(t *testing.T) {
	for _, e := range every {
		whole := e.mk()
		part := e.mk()
		drifts := 0
		for i := range uint64(20000) {
			if i%997 == 0 || i > 3000 && i < 3100 {
				next := e.mk()
				copyDeep(reflect.ValueOf(next.State()).Elem(), reflect.ValueOf(part.State()).Elem())
				part = next
			}
			a, b := whole.Update(wander(i)), part.Update(wander(i))
			if a != b {
				t.Fatalf("%s: row %d: %v whole, %v resumed", e.name, i, a, b)
			}
			if v, _ := whole.Estimate(); v != a.Value {
				t.Fatalf("%s: row %d: estimate %v, signal %v", e.name, i, v, a)
			}
			if a.Level == Drift {
				drifts++
			}
			if (a.Level == None) != (a.Direction == Both) {
				t.Fatalf("%s: row %d: %v has the wrong kind of direction", e.name, i, a)
			}
		}
		if drifts < 3 {
			t.Errorf("%s: %d drifts in 12 changes", e.name, drifts)
		}
		if !reflect.DeepEqual(whole.State(), part.State()) {
			t.Errorf("%s: states differ at the end", e.name)
		}
	}
}

func TestUnusableInputs(t *testing.T) {
	for _, e := range every {
		d := e.mk()
		if _, ok := d.Estimate(); ok {
			t.Errorf("%s: an estimate of nothing", e.name)
		}
		for i := range uint64(500) {
			d.Update(wander(i))
		}
		before := reflect.New(reflect.TypeOf(d.State()).Elem()).Elem()
		copyDeep(before, reflect.ValueOf(d.State()).Elem())
		for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1.1e100, -math.MaxFloat64} {
			if s := d.Update(x); s != (Signal{}) {
				t.Errorf("%s: %v gives %v", e.name, x, s)
			}
		}
		if !reflect.DeepEqual(before.Interface(), reflect.ValueOf(d.State()).Elem().Interface()) {
			t.Errorf("%s: unusable inputs changed the state", e.name)
		}
		for i := range uint64(3000) { // extreme but usable inputs leave it finite
			x := 1e100
			if i%3 == 0 {
				x = -1e100
			}
			if s := d.Update(x * wander(i)); math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
				t.Fatalf("%s: value %v after large inputs", e.name, s.Value)
			}
		}
	}
}

func TestNoAllocation(t *testing.T) {
	for _, e := range every {
		d, i := e.mk(), uint64(0)
		if n := testing.AllocsPerRun(20000, func() { d.Update(wander(i)); i++ }); n != 0 {
			t.Errorf("%s: %v allocations an update", e.name, n)
		}
	}
}

// A reset detector is a new one, and a mirrored stream gives mirrored alarms.
func TestResetAndMirror(t *testing.T) {
	for _, e := range every {
		fresh, used := e.mk(), e.mk()
		for i := range uint64(4000) {
			used.Update(wander(i))
		}
		used.Reset()
		for i := range uint64(4000) {
			if a, b := fresh.Update(wander(i)), used.Update(wander(i)); a != b {
				t.Fatalf("%s: row %d: %v new, %v after a reset", e.name, i, a, b)
			}
		}
	}
	for _, e := range every[:2] {
		a, b := e.mk(), e.mk()
		for i := range uint64(20000) {
			if x, y := a.Update(wander(i)), b.Update(1-wander(i)); x.Level != y.Level || x.Direction != -y.Direction {
				t.Fatalf("%s: row %d: %v, mirrored %v", e.name, i, x, y)
			}
		}
	}
	up := pageHinkley(func(o *PageHinkleyOptions) { o.Direction = Up })
	down := pageHinkley(func(o *PageHinkleyOptions) { o.Direction = Down })
	for i := range uint64(20000) {
		if x, y := up.Update(wander(i)), down.Update(-wander(i)); x.Level != y.Level || x.Direction != -y.Direction || x.Value != -y.Value {
			t.Fatalf("page-hinkley: row %d: up %v, down on the mirror %v", i, x, y)
		}
	}
}

// The window's totals are those of the latest Width inputs, and its rows keep their sizes.
func TestADWINWindow(t *testing.T) {
	d := adwin()
	var xs []float64
	for i := range uint64(20000) {
		x := wander(i)*3 + splitmix.Uniform(5, i)
		xs = append(xs, x)
		d.Update(x)
		if i%61 != 0 {
			continue
		}
		s := d.s
		var n int64
		for r, row := range s.Rows {
			if row.Len < 0 || row.Len > perRow {
				t.Fatalf("row %d: %d buckets of size 2^%d", i, row.Len, r)
			}
			n += int64(row.Len) << r
		}
		window := xs[len(xs)-int(s.Width):]
		var sum, m2 float64
		for _, v := range window {
			sum += v
		}
		for _, v := range window {
			m2 += (v - sum/float64(len(window))) * (v - sum/float64(len(window)))
		}
		if n != s.Width || math.Abs(s.Sum-sum) > 1e-9*sum || math.Abs(s.M2-m2) > 1e-9*(1+m2) {
			t.Fatalf("row %d: window of %d (buckets %d), sum %v, squares %v; want %v, %v", i, s.Width, n, s.Sum, s.M2, sum, m2)
		}
	}
	if d.Width() > 3000 {
		t.Errorf("window of %d rows after many changes", d.Width())
	}
}

func TestOptions(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		want string // what the error begins with
		err  error
	}{
		{"delta is 0;", second(NewADWIN(ADWINOptions{}))},
		{"delta is NaN;", second(NewADWIN(ADWINOptions{Delta: nan}))},
		{"delta is 1;", second(NewADWIN(ADWINOptions{Delta: 1}))},
		{"clock is 0;", second(NewADWIN(ADWINOptions{Delta: 0.1}))},
		{"grace is -1;", second(NewADWIN(ADWINOptions{Delta: 0.1, Clock: 1, Grace: -1}))},
		{"min_part is 0;", second(NewADWIN(ADWINOptions{Delta: 0.1, Clock: 1}))},
		{"direction is 2;", second(NewADWIN(ADWINOptions{Delta: 0.1, Clock: 1, MinPart: 1, Direction: 2}))},
		{`after is "";`, second(NewADWIN(ADWINOptions{Delta: 0.1, Clock: 1, MinPart: 1}))},
		{"warning is 0;", second(NewDDM(DDMOptions{}))},
		{"drift is NaN;", second(NewDDM(DDMOptions{Warning: 2, Drift: nan}))},
		{"warning is 4; expected at most drift", second(NewDDM(DDMOptions{Warning: 4, Drift: 3}))},
		{"min_samples is 0;", second(NewDDM(DDMOptions{Warning: 2, Drift: 3}))},
		{"min_errors is -1;", second(NewDDM(DDMOptions{Warning: 2, Drift: 3, MinSamples: 1, MinErrors: -1}))},
		{"warning is 1;", second(NewEDDM(EDDMOptions{Warning: 1}))},
		{"drift is 0;", second(NewEDDM(EDDMOptions{Warning: 0.9}))},
		{"drift is 0.95; expected at most warning", second(NewEDDM(EDDMOptions{Warning: 0.9, Drift: 0.95}))},
		{"min_samples is -1;", second(NewEDDM(EDDMOptions{Warning: 0.95, Drift: 0.9, MinSamples: -1}))},
		{"min_errors is 0;", second(NewEDDM(EDDMOptions{Warning: 0.95, Drift: 0.9}))},
		{`spread is "";`, second(NewEDDM(EDDMOptions{Warning: 0.95, Drift: 0.9, MinErrors: 1}))},
		{"warning is 0;", second(NewHDDMA(HDDMOptions{}))},
		{"drift is NaN;", second(NewHDDMW(HDDMOptions{Warning: 0.1, Drift: nan}))},
		{"drift is 0.2; expected at most warning", second(NewHDDMA(HDDMOptions{Warning: 0.1, Drift: 0.2}))},
		{"lambda is 1;", second(NewHDDMW(HDDMOptions{Warning: 0.1, Drift: 0.1, Lambda: 1}))},
		{"direction is 3;", second(NewHDDMW(HDDMOptions{Warning: 0.1, Drift: 0.1, Lambda: 0.1, Direction: 3}))},
		{"delta is -1;", second(NewCUSUM(CUSUMOptions{Delta: -1}))},
		{"threshold is 0;", second(NewCUSUM(CUSUMOptions{}))},
		{"min_samples is 0;", second(NewCUSUM(CUSUMOptions{Threshold: 1}))},
		{"direction is 2;", second(NewCUSUM(CUSUMOptions{Threshold: 1, MinSamples: 1, Direction: 2}))},
		{"alpha is 0;", second(NewKSWIN(KSWINOptions{}))},
		{"window is 3;", second(NewKSWIN(KSWINOptions{Alpha: 0.1, Window: 3}))},
		{"recent is 6;", second(NewKSWIN(KSWINOptions{Alpha: 0.1, Window: 10, Recent: 6}))},
		{"min_gap is 2;", second(NewKSWIN(KSWINOptions{Alpha: 0.1, Window: 10, Recent: 5, MinGap: 2}))},
		{"delta is -1;", second(NewPageHinkley(PageHinkleyOptions{Delta: -1}))},
		{"threshold is +Inf;", second(NewPageHinkley(PageHinkleyOptions{Threshold: math.Inf(1)}))},
		{"alpha is 0;", second(NewPageHinkley(PageHinkleyOptions{Threshold: 1, MinSamples: 1}))},
		{"alpha is 1.5;", second(NewPageHinkley(PageHinkleyOptions{Threshold: 1, MinSamples: 1, Alpha: 1.5}))},
		{"min_samples is 0;", second(NewPageHinkley(PageHinkleyOptions{Threshold: 1, Alpha: 1}))},
		{"direction is -2;", second(NewPageHinkley(PageHinkleyOptions{Threshold: 1, Alpha: 1, MinSamples: 1, Direction: -2}))},
		{`baseline is "";`, second(NewPageHinkley(PageHinkleyOptions{Threshold: 1, Alpha: 1, MinSamples: 1}))},
	} {
		if c.err == nil || !strings.HasPrefix(c.err.Error(), c.want) {
			t.Errorf("error %v, want one that begins with %q", c.err, c.want)
		}
	}
	for got, want := range map[string]string{None.String(): "none", Warning.String(): "warning", Drift.String(): "drift",
		Up.String(): "up", Down.String(): "down", Both.String(): "both"} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func second[D any](_ D, err error) error { return err }

// A clean start and then errors at a steady rate of one in a hundred: the first errors are no drift.
func TestDDMCleanStart(t *testing.T) {
	run := func(d *DDM) (first int) {
		for i := range 3000 {
			x := 0.0
			if i >= 200 && i%100 == 50 {
				x = 1
			}
			if d.Update(x).Level == Drift {
				return i
			}
		}
		return -1
	}
	if got := run(ddm()); got != -1 {
		t.Errorf("drift at row %d", got)
	}
	if got := run(ddm(paperErrors)); got != 250 {
		t.Errorf("the paper's rule: drift at row %d, want the first error, 250", got)
	}
}

func BenchmarkUpdate(b *testing.B) {
	xs := make([]float64, 1<<16)
	for i := range xs {
		xs[i] = flips(0.2, 0.2, 0)(3, uint64(i))
	}
	for _, e := range every {
		b.Run(e.name, func(b *testing.B) {
			d := e.mk()
			b.ReportAllocs()
			for i := range b.N {
				d.Update(xs[i&(len(xs)-1)])
			}
			b.ReportMetric(float64(b.N)/1e6/b.Elapsed().Seconds(), "M/s")
		})
	}
}
