package detect

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// Closed-form streams on which other implementations' alarms are known.

// errorsAt is 1 when (7919·i mod 1000) < before (i < half) or after, in thousandths.
func errorsAt(n, half, before, after int) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		p := before
		if i >= half {
			p = after
		}
		if 7919*i%1000 < p {
			xs[i] = 1
		}
	}
	return xs
}

// golden is frac(i·φ) − 1/2, plus jump from row 1000.
func golden(jump float64) []float64 {
	xs := make([]float64, 2000)
	for i := range xs {
		_, f := math.Modf(float64(i) * 0.6180339887498949)
		base := 0.0
		if i >= 1000 {
			base = jump
		}
		xs[i] = base + f - 0.5
	}
	return xs
}

var streams = map[string][]float64{
	"B1": errorsAt(2000, 1000, 200, 500),
	"B2": errorsAt(4000, 2000, 100, 200),
	"C1": golden(0.5),
	"C2": golden(2),
}

func must[D any](d D, err error) D {
	if err != nil {
		panic(err)
	}
	return d
}

func adwin(change ...func(*ADWINOptions)) *ADWIN {
	o := DefaultADWIN()
	for _, f := range change {
		f(&o)
	}
	return must(NewADWIN(o))
}

func pageHinkley(change ...func(*PageHinkleyOptions)) *PageHinkley {
	o := DefaultPageHinkley()
	for _, f := range change {
		f(&o)
	}
	return must(NewPageHinkley(o))
}

func eddm(change ...func(*EDDMOptions)) *EDDM {
	o := DefaultEDDM()
	for _, f := range change {
		f(&o)
	}
	return must(NewEDDM(o))
}

func ddm(change ...func(*DDMOptions)) *DDM {
	o := DefaultDDM()
	for _, f := range change {
		f(&o)
	}
	return must(NewDDM(o))
}

func cusumUp() *CUSUM {
	o := DefaultCUSUM()
	o.Direction = Up
	return must(NewCUSUM(o))
}

func paperErrors(o *DDMOptions)          { o.MinErrors = 0 }
func resets(o *ADWINOptions)             { o.After = Reset }
func upOnly(o *ADWINOptions)             { o.Direction = Up }
func zeroBaseline(o *PageHinkleyOptions) { o.Baseline, o.Direction = Zero, Up }
func sampleSpread(o *EDDMOptions)        { o.Spread = Sample }

func alarms(d Detector, xs []float64, level Level) []int {
	var at []int
	for i, x := range xs {
		if d.Update(x).Level == level {
			at = append(at, i)
		}
	}
	return at
}

// The expected rows were seen in River 0.26 and in MOA (through CapyMOA 0.15) on the same streams.
func TestAlarmsOfOthers(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		d            Detector
		want         []int
	}{
		{"adwin as MOA", "B1", adwin(upOnly), []int{1087, 1119, 1151}},
		{"adwin as MOA", "B2", adwin(upOnly), []int{2335, 2367, 2399, 2463, 2783}},
		{"adwin as MOA", "C1", adwin(upOnly), []int{1055, 1087, 1311}},
		{"adwin as MOA", "C2", adwin(upOnly), []int{1023, 1055}},
		{"adwin default", "B1", adwin(), []int{1087, 1119, 1151}},
		{"adwin default", "B2", adwin(), []int{2335, 2367, 2399, 2463, 2783}},
		{"adwin default", "C1", adwin(), []int{1055, 1087, 1311}},
		{"adwin default", "C2", adwin(), []int{1023, 1055}},
		{"adwin as River", "B1", adwin(resets), []int{1087}},
		{"adwin as River", "B2", adwin(resets), []int{2335}},
		{"adwin as River", "C1", adwin(resets), []int{1055}},
		{"adwin as River", "C2", adwin(resets), []int{1023}},
		{"ddm", "B1", ddm(), []int{1084}},
		{"ddm", "B2", ddm(), []int{2295}},
		{"ddm of the paper", "B1", ddm(paperErrors), []int{1084}},
		{"ddm of the paper", "B2", ddm(paperErrors), []int{2295}},
		{"eddm as MOA", "B1", eddm(), []int{1135}},
		{"eddm as MOA", "B2", eddm(), nil},
		{"eddm as River", "B1", eddm(sampleSpread), []int{1070}},
		{"eddm as River", "B2", eddm(sampleSpread), []int{2777, 2938, 3086, 3443}},
		{"hddm-a", "B1", must(NewHDDMA(DefaultHDDM())), []int{1035}},
		{"hddm-a", "B2", must(NewHDDMA(DefaultHDDM())), []int{2406}},
		{"hddm-w", "B1", must(NewHDDMW(DefaultHDDM())), []int{1037}},
		{"hddm-w", "B2", must(NewHDDMW(DefaultHDDM())), nil},
		{"cusum as MOA", "B1", cusumUp(), []int{1171}},
		{"cusum as MOA", "B2", cusumUp(), []int{2580}},
		{"cusum as MOA", "C1", cusumUp(), []int{1105}},
		{"cusum as MOA", "C2", cusumUp(), []int{1025}},
		{"page-hinkley as River", "B1", pageHinkley(), []int{1171}},
		{"page-hinkley as River", "B2", pageHinkley(), []int{2592}},
		{"page-hinkley as River", "C1", pageHinkley(), []int{1105}},
		{"page-hinkley as River", "C2", pageHinkley(), []int{1025}},
		{"page-hinkley as MOA", "B1", pageHinkley(zeroBaseline), []int{1221}},
		{"page-hinkley as MOA", "B2", pageHinkley(zeroBaseline), []int{2814}},
		{"page-hinkley as MOA", "C1", pageHinkley(zeroBaseline), []int{1111}},
		{"page-hinkley as MOA", "C2", pageHinkley(zeroBaseline), []int{1026}},
	} {
		if got := alarms(c.d, streams[c.stream], Drift); !slices.Equal(got, c.want) {
			t.Errorf("%s on %s: alarms at %v, want %v", c.name, c.stream, got, c.want)
		}
	}
	if got := alarms(must(NewHDDMA(DefaultHDDM())), streams["B2"], Warning); len(got) != 81 || got[0] != 2296 {
		t.Errorf("hddm-a on B2: %d warnings %v, want 81 from 2296", len(got), got)
	}
	if got := alarms(must(NewHDDMW(DefaultHDDM())), streams["B1"], Warning); !slices.Equal(got, []int{1024, 1034, 1035, 1036}) {
		t.Errorf("hddm-w on B1: warnings at %v", got)
	}
	if got := alarms(ddm(paperErrors), streams["B1"], Warning); len(got) == 0 || got[0] != 37 {
		t.Errorf("ddm of the paper on B1: warnings at %v, want the first at 37", got)
	}
}

// Every alarm and every warning of River 0.26 on the same streams, see testdata/reference.py.
func TestRiver(t *testing.T) {
	text, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ Alarms, Warnings map[string][]int }
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	makers := map[string]func() Detector{
		"adwin":        func() Detector { return adwin(resets) },
		"page-hinkley": func() Detector { return pageHinkley() },
		"ddm":          func() Detector { return ddm(paperErrors) },
		"eddm":         func() Detector { return eddm(sampleSpread) },
		"hddm-a":       func() Detector { return must(NewHDDMA(DefaultHDDM())) },
		"hddm-w":       func() Detector { return must(NewHDDMW(DefaultHDDM())) },
	}
	if len(want.Alarms) < 16 || len(want.Warnings) < 8 {
		t.Errorf("%d streams with alarms, %d with warnings", len(want.Alarms), len(want.Warnings))
	}
	for level, figures := range map[Level]map[string][]int{Drift: want.Alarms, Warning: want.Warnings} {
		for what, rows := range figures {
			name, stream, _ := strings.Cut(what, " ")
			if got := alarms(makers[name](), streams[stream], level); !slices.Equal(got, rows) {
				t.Errorf("%s: %v at %v, want %v", what, level, got, rows)
			}
		}
	}
}
