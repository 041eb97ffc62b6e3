package metric

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// maker makes one kind of metric and feeds it row i of a stream.
type maker struct {
	name string
	spec Spec
	mk   func() Metric
	feed func(m Metric, i uint64)
	bad  func(m Metric) // feeds rows that must be ignored; nil where there are none
}

// makers lists all metrics of the registry with all kinds of rows they score.
func makers() []maker {
	var all []maker
	add := func(s Spec, suffix string, o Options) {
		o.Bins, o.K, o.Season, o.Quantile = 10, 2, 1, 0.9
		if s.Binary != nil {
			all = append(all, maker{s.Name + suffix, s, func() Metric { return s.NewBinary(o) },
				func(m Metric, i uint64) { updateBinary(m.(Binary), i) },
				func(m Metric) {
					m.(Binary).UpdateBinary(true, math.NaN(), 1)
					m.(Binary).UpdateBinary(false, math.NaN(), 1)
				}})
		}
		if s.Classes != nil {
			all = append(all, maker{s.Name + " of classes" + suffix, s, func() Metric { return s.NewClasses(o) },
				func(m Metric, i uint64) { updateClass(m.(Classes), i) }, nil})
		}
		if s.Numeric != nil {
			all = append(all, maker{s.Name + " of numbers" + suffix, s, func() Metric { return s.NewNumeric(o) },
				func(m Metric, i uint64) { updateNumber(m.(Numeric), i) },
				func(m Metric) {
					for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
						m.(Numeric).UpdateNumber(number(x, 1), 1)
						m.(Numeric).UpdateNumber(number(1, x), 1)
					}
				}})
		}
		if s.Ranked != nil {
			all = append(all, maker{s.Name + " of ranks" + suffix, s, func() Metric { return s.NewRanked(o) },
				func(m Metric, i uint64) { updateOutcome(m.(Ranked), i) }, nil})
		}
	}
	for _, name := range Names() {
		s, _ := Lookup(name)
		add(s, "", Options{})
		add(s, windowed, Options{Window: 500})
		add(s, fading, Options{HalfLife: 400})
	}
	return all
}

const windowed, fading = ", windowed", ", fading"

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
	case reflect.Int64, reflect.Int, reflect.Float64, reflect.Bool, reflect.Uint8:
		dst.Set(src)
	default:
		panic("a state holds a " + src.Kind().String())
	}
}

func same(a, b Metric) bool {
	x, ok1 := a.Value()
	y, ok2 := b.Value()
	return ok1 == ok2 && x == y
}

func TestResume(t *testing.T) {
	for _, k := range makers() {
		whole, part := k.mk(), k.mk()
		for i := range uint64(6000) {
			if i%997 == 0 {
				next := k.mk()
				copyDeep(reflect.ValueOf(next.State()).Elem(), reflect.ValueOf(part.State()).Elem())
				if f, ok := part.(Fading); ok {
					*next.(Fading).Fade() = *f.Fade()
				}
				part = next
			}
			k.feed(whole, i)
			k.feed(part, i)
			if i%499 == 0 || i < 20 {
				if !same(whole, part) {
					t.Fatalf("%s: differs after row %d", k.name, i)
				}
				if v, ok := whole.Value(); ok && !(v >= k.spec.Lo && v <= k.spec.Hi) {
					t.Fatalf("%s: %v lies outside [%v, %v]", k.name, v, k.spec.Lo, k.spec.Hi)
				}
			}
		}
		if !same(whole, part) {
			t.Errorf("%s: differs at the end", k.name)
		}
	}
}

func TestEmptyResetAndBadRows(t *testing.T) {
	for _, k := range makers() {
		m := k.mk()
		if v, ok := m.Value(); ok || v != 0 {
			t.Errorf("%s of nothing: %v, %v", k.name, v, ok)
		}
		for i := range uint64(5000) {
			k.feed(m, i)
		}
		if k.bad != nil {
			before, _ := m.Value()
			k.bad(m)
			if after, ok := m.Value(); !ok || after != before {
				t.Errorf("%s: %v after bad rows, %v before", k.name, after, before)
			}
		}
		m.Reset()
		if v, ok := m.Value(); ok || v != 0 {
			t.Errorf("%s after a reset: %v, %v", k.name, v, ok)
		}
		fresh := k.mk()
		for i := range uint64(700) {
			k.feed(m, i)
			k.feed(fresh, i)
		}
		if !same(m, fresh) {
			t.Errorf("%s: a reset metric differs from a new one", k.name)
		}
	}
}

// ownBaseline reports whether a metric compares with a baseline that starts anew in each part.
func ownBaseline(k maker) bool {
	return !strings.HasSuffix(k.name, windowed) && slices.Contains([]string{"kappa_t", "kappa_m", "mase"}, k.spec.Name)
}

// Parts merged are the whole, in any number of parts; where order does not count, in any order.
func TestMerge(t *testing.T) {
	const rows = 9000
	for _, k := range makers() {
		whole := k.mk()
		for i := range uint64(rows) {
			k.feed(whole, i)
		}
		tolerance := 1e-12
		if ownBaseline(k) {
			tolerance = 2e-3
			if strings.HasSuffix(k.name, fading) {
				tolerance = 3e-2 // the last part alone may be new to its baseline
			}
		}
		for _, cuts := range [][]uint64{{0}, {rows}, {1}, {4500}, {100, 200, 8000}, {3000, 6000}, {rows - 1}} {
			merged := k.mk()
			from := uint64(0)
			for _, to := range append(slices.Clone(cuts), rows) {
				part := k.mk()
				for i := from; i < to; i++ {
					k.feed(part, i)
				}
				if err := merged.Merge(part); err != nil {
					t.Fatal(err)
				}
				from = to
			}
			near(t, k.name+" merged", value(t, merged), value(t, whole), tolerance*max(1, math.Abs(value(t, whole))))
		}
		if ownBaseline(k) || strings.HasSuffix(k.name, windowed) || strings.HasSuffix(k.name, fading) {
			continue
		}
		back := k.mk()
		for i := range uint64(rows) {
			k.feed(back, rows-1-i)
		}
		near(t, k.name+" backwards", value(t, back), value(t, whole), 1e-13)
	}
	for _, a := range makers() {
		for _, b := range makers() {
			if x, y := a.mk(), b.mk(); reflect.TypeOf(x) != reflect.TypeOf(y) && x.Merge(y) == nil {
				t.Errorf("%s merges with %s", a.name, b.name)
			}
		}
	}
	if windowAUC(3).Merge(windowAUC(4)) == nil {
		t.Error("windows of different lengths merge")
	}
}

func TestNoAllocation(t *testing.T) {
	for _, k := range makers() {
		m, i := k.mk(), uint64(0)
		for ; i < 10000; i++ {
			k.feed(m, i)
		}
		if n := testing.AllocsPerRun(5000, func() { k.feed(m, i); i++ }); n != 0 {
			t.Errorf("%s: %v allocations a row", k.name, n)
		}
	}
}

func TestRegistry(t *testing.T) {
	want := []string{"accuracy", "balanced_accuracy", "brier", "coverage", "ece", "f1", "hit_rate", "interval_width", "kappa", "kappa_m", "kappa_t", "log_loss",
		"macro_f1", "macro_precision", "macro_recall", "mae", "mase", "mcc", "micro_f1", "micro_precision", "micro_recall", "mrr", "ndcg", "pinball", "pr_auc", "precision",
		"r2", "recall", "rmse", "rmsle", "roc_auc", "smape", "weighted_f1", "weighted_precision", "weighted_recall"}
	if got := Names(); !slices.Equal(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
	for _, n := range want {
		s := lookup(t, n)
		if s.Doc == "" || s.Best != Higher && s.Best != Lower || s.Lo >= s.Hi || len(s.Inputs()) == 0 {
			t.Errorf("%s is declared in part only: %+v", n, s)
		}
		for _, m := range []Metric{s.NewBinary(Options{}), s.NewClasses(Options{}), s.NewNumeric(Options{}), s.NewRanked(Options{})} {
			if _, ok := m.(Scaler); !ok && m != nil && !reflect.ValueOf(m).IsNil() {
				t.Errorf("%s cannot be scaled, and so not fade", n)
			}
		}
	}
	if _, ok := Lookup("acuracy"); ok {
		t.Error("found a misspelt metric")
	}
	if got := lookup(t, "accuracy").Inputs(); !slices.Equal(got, []string{"probability", "class"}) {
		t.Errorf("accuracy scores %v", got)
	}
}

// Values with no meaning are undefined, not NaN.
func TestUndefined(t *testing.T) {
	feed := func(name string, rows ...Scored) (float64, bool) {
		m := lookup(t, name).Binary(Options{})
		for _, r := range rows {
			m.UpdateBinary(r.Label, r.P, 1)
		}
		return m.Value()
	}
	down, miss, up := Scored{0.5, 1, false}, Scored{0.5, 1, true}, Scored{0.51, 1, true} // 0.5 is a negative prediction
	for _, c := range []struct {
		name string
		rows []Scored
		want float64
		ok   bool
	}{
		{"precision", []Scored{down, miss}, 0, false},
		{"recall", []Scored{down}, 0, false},
		{"recall", []Scored{miss}, 0, true},
		{"f1", []Scored{down}, 0, false},
		{"f1", []Scored{miss}, 0, true},
		{"f1", []Scored{up}, 1, true},
		{"kappa", []Scored{up, up}, 0, false},
		{"kappa", []Scored{up, down}, 1, true},
		{"balanced_accuracy", []Scored{up}, 0, false},
		{"roc_auc", []Scored{up, miss}, 0, false},
		{"roc_auc", []Scored{miss, down}, 0.5, true},
		{"kappa_m", []Scored{up, up}, 0, false},
		{"kappa_t", []Scored{miss}, 0, true},
		{"log_loss", []Scored{{0, 1, true}}, -math.Log(1e-15), true},
		{"log_loss", []Scored{{1, 1, false}}, -math.Log(1e-15), true},
		{"log_loss", []Scored{{7, 1, true}, {-7, 1, false}}, 0, true}, // beyond [0, 1]: clipped
	} {
		got, ok := feed(c.name, c.rows...)
		if ok != c.ok || math.Abs(got-c.want) > 1e-14 {
			t.Errorf("%s of %v: %v, %v; want %v, %v", c.name, c.rows, got, ok, c.want, c.ok)
		}
	}
	r2, rmse := lookup(t, "r2").Numeric(Options{}), lookup(t, "rmse").Numeric(Options{})
	for range 3 {
		r2.UpdateNumber(number(5, 4), 1)
		rmse.UpdateNumber(number(math.MaxFloat64, -math.MaxFloat64), 1)
	}
	for _, m := range []Metric{r2, rmse} { // constant labels; an overflow
		if v, ok := m.Value(); ok || v != 0 {
			t.Errorf("%v, %v", v, ok)
		}
	}
}

// More classes than a table holds leave accuracy alone and make the rest undefined.
func TestManyClasses(t *testing.T) {
	acc, kappa := lookup(t, "accuracy").Classes(Options{}), lookup(t, "kappa").Classes(Options{})
	name := []byte("class 00000")
	for i := range MaxClasses + 10 {
		for k, n := len(name)-1, i; n > 0; k, n = k-1, n/10 {
			name[k] = byte('0' + n%10)
		}
		acc.UpdateClass(string(name), string(name), 1)
		kappa.UpdateClass(string(name), string(name), 1)
		if _, ok := kappa.Value(); ok != (i > 0 && i < MaxClasses) {
			t.Fatalf("kappa with %d classes defined: %v", i+1, ok)
		}
	}
	near(t, "accuracy", value(t, acc), 1, 0)
	if n := len(kappa.State().(*Table).Class); n != MaxClasses {
		t.Errorf("%d classes kept", n)
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, k := range makers() {
		b.Run(k.name, func(b *testing.B) {
			m := k.mk()
			for i := range uint64(8192) {
				k.feed(m, i)
			}
			var labels [4096]bool
			var ps [4096]float64
			for i := range labels {
				labels[i], ps[i] = binaryRow(uint64(i))
			}
			bin, ok := m.(Binary)
			if !ok {
				b.Skip("the stream costs more than the metric")
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				bin.UpdateBinary(labels[i&4095], ps[i&4095], 1)
			}
		})
	}
}

func BenchmarkValue(b *testing.B) {
	for _, k := range makers() {
		if k.spec.Name != "roc_auc" {
			continue
		}
		b.Run(k.name, func(b *testing.B) {
			m := k.mk()
			for i := range uint64(8192) {
				k.feed(m, i)
			}
			b.ResetTimer()
			for range b.N {
				m.Value()
			}
		})
	}
}
