package drift

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

func definition(name string) *operators.Definition { return operators.Merge(&Family).Lookup(name) }

func TestFamily(t *testing.T) {
	optest.TestFamily(t, &Family,
		optest.Case{Operator: "adwin", Name: "reset", Config: "{column: x, after: reset, direction: up, clock: 8}", In: "x:int64?\n1\n\n3\n"},
		optest.Case{Operator: "ddm", Name: "column", Config: "{column: wrong, min_samples: 5, min_errors: 2}", In: "wrong:bool?\ntrue\nfalse\n"},
		optest.Case{Operator: "eddm", Name: "classes", Config: "{prediction: p, label: y, spread: sample, min_errors: 3}", In: "p.class:string?,y:string\na,a\na,b\n"},
		optest.Case{Operator: "page_hinkley", Name: "MOA", Config: "{column: x, baseline: zero, direction: up, threshold: 5}", In: "x:float64?\n1\n-1\n"},
		optest.Case{Operator: "hddm_a", Name: "both", Config: "{column: x, direction: both, warning: 0.5, drift: 0.4}", In: "x:float64?\n0\n1\n0.5\n"},
		optest.Case{Operator: "hddm_w", Name: "down", Config: "{prediction: p, label: y, direction: down, warning: 0.5, drift: 0.4}", In: "p.probability:float64,y:bool?\n0.9,true\n0.2,true\n0.1,\n"},
		optest.Case{Operator: "data_drift", Name: "many", Config: "{columns: [x, n, s, b, k], categorical: [k], reference: 30, window: 20, bins: 4, categories: 2, alarm: [ks, js, {chi_squared: {below: 0.01}}, wasserstein], after: relearn}",
			In: "x:float64?,n:int64?,s:string?,b:bool?,k:int64\n1,1,a,true,1\n2.5,-7,b,,2\n,,,false,3\n1,2,c,true,1\n", Allocates: "a drift is followed by a new reference"},
		optest.Case{Operator: "data_drift", Name: "keep", Config: "{columns: [x, s], reference: 5, window: 3}", In: "x:timestamp?,s:string\n1,a\n2000,b\n,b\n"},
		optest.Case{Operator: "cusum", Name: "up", Config: "{column: x, direction: up, threshold: 2}", In: "x:int64?\n0\n1\n-3\n"},
		optest.Case{Operator: "kswin", Name: "small", Config: "{column: x, window: 12, recent: 5, alpha: 0.4, seed: 7}", In: "x:float64?\n0\n1\n-3.5\n"},
	)
}

// errorsAt is 1 where 7919·i mod 1000 is below before, from half on below after.
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
		xs[i] = f - 0.5
		if i >= 1000 {
			xs[i] += jump
		}
	}
	return xs
}

var streams = map[string][]float64{
	"B1": errorsAt(2000, 1000, 200, 500), "B2": errorsAt(4000, 2000, 100, 200), "C1": golden(0.5), "C2": golden(2),
}

// column makes a batch of one column x of numbers; NaN stands for null.
func column(xs []float64) *batch.Batch {
	b := batch.New(batch.NewSchema(batch.Field{Name: "x", Type: batch.Float64, Nullable: true}))
	for i, x := range xs {
		if math.IsNaN(x) {
			b.Cols[0].AppendNull()
		} else {
			b.Cols[0].AppendFloat(x)
		}
		b.Origin.Append(int64(i), int64(i), int32(i))
		b.N++
	}
	return b
}

// alarms returns the rows of one kind that an operator emits for a column.
func alarms(t *testing.T, op, options, kind string, xs []float64) []int {
	t.Helper()
	in := column(xs)
	h, err := optest.Open(definition(op), "{column: x"+options+"}", in.Schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Feed(0, in); err != nil {
		t.Fatal(err)
	}
	var at []int
	for row, o := 0, h.Output(); row < o.N; row++ {
		if o.Col("row").Ints[row] != o.Origin.Offset[row] {
			t.Errorf("%s: row %d came of row %d", op, o.Col("row").Ints[row], o.Origin.Offset[row])
		}
		if o.Col("kind").TextString(row) == kind {
			at = append(at, int(o.Col("row").Ints[row]))
		}
	}
	return at
}

// The rows at which River 0.26 and MOA (through CapyMOA 0.15) alarm on the same streams.
func TestAlarmsOfOthers(t *testing.T) {
	for _, c := range []struct {
		op, options, stream string
		want                []int
	}{
		{"adwin", "", "B1", []int{1087, 1119, 1151}},
		{"adwin", "", "B2", []int{2335, 2367, 2399, 2463, 2783}},
		{"adwin", ", direction: up", "C1", []int{1055, 1087, 1311}},
		{"adwin", ", direction: up", "C2", []int{1023, 1055}},
		{"adwin", ", direction: down", "C2", nil},
		{"adwin", ", after: reset", "B1", []int{1087}},
		{"adwin", ", after: reset", "B2", []int{2335}},
		{"adwin", ", after: reset", "C1", []int{1055}},
		{"adwin", ", after: reset", "C2", []int{1023}},
		{"ddm", "", "B1", []int{1084}},
		{"ddm", "", "B2", []int{2295}},
		{"ddm", ", min_errors: 0", "B1", []int{1084}},
		{"ddm", ", min_errors: 0", "B2", []int{2295}},
		{"eddm", "", "B1", []int{1135}},
		{"eddm", "", "B2", nil},
		{"eddm", ", spread: sample", "B1", []int{1070}},
		{"eddm", ", spread: sample", "B2", []int{2777, 2938, 3086, 3443}},
		{"hddm_a", "", "B1", []int{1035}},
		{"hddm_a", "", "B2", []int{2406}},
		{"hddm_a", ", direction: both", "B1", []int{1035}},
		{"hddm_w", "", "B1", []int{1037}},
		{"hddm_w", "", "B2", nil},
		{"hddm_w", ", direction: both", "B1", []int{1037}},
		{"cusum", "", "B1", []int{1171}},
		{"cusum", "", "B2", []int{2580}},
		{"cusum", "", "C1", []int{1105}},
		{"cusum", "", "C2", []int{1025}},
		{"page_hinkley", "", "B1", []int{1171}},
		{"page_hinkley", "", "B2", []int{2592}},
		{"page_hinkley", "", "C1", []int{1105}},
		{"page_hinkley", "", "C2", []int{1025}},
		{"page_hinkley", ", baseline: zero, direction: up", "B1", []int{1221}},
		{"page_hinkley", ", baseline: zero, direction: up", "B2", []int{2814}},
		{"page_hinkley", ", baseline: zero, direction: up", "C1", []int{1111}},
		{"page_hinkley", ", baseline: zero, direction: up", "C2", []int{1026}},
	} {
		if got := alarms(t, c.op, c.options, "drift", streams[c.stream]); !slices.Equal(got, c.want) {
			t.Errorf("%s%s on %s: drift at %v, want %v", c.op, c.options, c.stream, got, c.want)
		}
	}
	got := alarms(t, "ddm", ", min_errors: 0", "warning", streams["B1"])
	if len(got) == 0 || got[0] != 37 {
		t.Errorf("ddm of the paper on B1: warnings at %v, want the first at 37", got)
	}
	for i := 1; i < len(got); i++ {
		if got[i] == got[i-1]+1 {
			t.Errorf("ddm warns at %d and again at %d", got[i-1], got[i])
		}
	}
}

// A null is passed over: the alarms are those of the stream without it, later by the nulls.
func TestNullsArePassedOver(t *testing.T) {
	for _, op := range []string{"adwin", "cusum", "ddm", "eddm", "hddm_a", "hddm_w", "kswin", "page_hinkley"} {
		stream := streams["B1"]
		if op == "kswin" {
			stream = streams["C1"]
		}
		var xs []float64
		for _, x := range stream {
			xs = append(xs, math.NaN(), x)
		}
		var want []int
		for _, row := range alarms(t, op, "", "drift", stream) {
			want = append(want, 2*row+1)
		}
		if got := alarms(t, op, "", "drift", xs); !slices.Equal(got, want) || len(got) == 0 {
			t.Errorf("%s: drift at %v, want %v", op, got, want)
		}
	}
}

// The errors of a prediction are those of the column of errors.
func TestPredictionInPlaceOfColumn(t *testing.T) {
	for _, c := range []struct {
		head, right, wrong string
	}{
		{"p.probability:float64,y:bool?", "0.5,false", "0.51,0"},
		{"p.probability:float64?,y:int64", "0.9,1", "0.9,0"},
		{"p.class:string,y:string?", "cat,cat", "cat,dog"},
		{"p.class:string,y:int64", "3,3", "3,4"},
	} {
		var in, bits strings.Builder
		fmt.Fprintln(&in, c.head)
		fmt.Fprintln(&bits, "x:bool")
		for _, x := range streams["B1"] {
			fmt.Fprintln(&in, map[bool]string{true: c.wrong, false: c.right}[x == 1])
			fmt.Fprintln(&bits, x == 1)
		}
		for _, op := range []string{"ddm", "eddm", "hddm_a", "hddm_w"} {
			got, err := optest.Run(definition(op), "{prediction: p, label: y}", in.String())
			if err != nil {
				t.Fatal(err)
			}
			want, err := optest.Run(definition(op), "{column: x}", bits.String())
			if err != nil {
				t.Fatal(err)
			}
			if got != want || !strings.Contains(got, "drift") {
				t.Errorf("%s on %s:\n%s\nwant\n%s", op, c.head, got, want)
			}
		}
	}
}

func TestRejects(t *testing.T) {
	for _, c := range []struct{ op, config, in, want string }{
		{"ddm", "{column: x}", "x:float64\n1\n0.5\n", "rejected 1: column \"x\" is 0.5; expected 1 for an error, or 0\n"},
		{"eddm", "{column: x}", "x:int64?\n1\n2\n", "rejected 1: column \"x\" is 2; expected 1 for an error, or 0\n"},
		{"adwin", "{column: x}", "x:float64\n1e101\n", "rejected 0: column \"x\" is 1e+101; expected a number from -1e100 to 1e100\n"},
		{"hddm_a", "{column: x}", "x:float64\n1.5\n", "rejected 0: column \"x\" is 1.5; expected a number from 0 to 1\n"},
		{"ddm", "{prediction: p, label: y}", "p.probability:float64,y:int64\n0.5,2\n", "rejected 0: label \"y\" is 2; expected 0 or 1\n"},
	} {
		got, err := optest.Run(definition(c.op), c.config, c.in)
		if err != nil || got != "node,task,row,value,kind\n"+c.want {
			t.Errorf("%s %s: %v\n%s", c.op, c.config, err, got)
		}
	}
}

func TestComplaints(t *testing.T) {
	const in = "loss:float64,site:string,ctr.probability:float64,eta.prediction:float64,y:bool?\n"
	for _, c := range []struct{ op, config, want string }{
		{"adwin", "{}", `1:1: column is missing; expected a column name`},
		{"adwin", "{column: los}", `1:10: no column "los"; did you mean "loss"?`},
		{"adwin", "{column: site}", `1:10: column "site" is string; expected bool, int64, float64 or timestamp`},
		{"adwin", "{column: loss, delta: 1}", `1:23: delta is 1; expected a finite number above 0 and below 1`},
		{"adwin", "{column: loss, direction: rise}", `1:27: direction is "rise"; expected one of both, up, down`},
		{"page_hinkley", "{column: loss, alpha: 0}", `1:23: alpha is 0; expected a finite number above 0 and at most 1`},
		{"ddm", "{}", `1:1: nothing says which errors to watch; expected column, or prediction and label`},
		{"ddm", "{prediction: ctr}", `1:1: nothing says which errors to watch; expected column, or prediction and label`},
		{"ddm", "{column: loss, prediction: ctr, label: y}", `1:28: both column and prediction say what to watch; expected one of them`},
		{"ddm", "{column: loss, label: y}", `1:23: label goes with prediction, and column is given; expected column alone, or prediction and label`},
		{"ddm", "{prediction: eta, label: y}", `1:14: "eta" predicts numbers, which are not right or wrong; expected a learner that predicts a probability or a class, or column`},
		{"ddm", "{prediction: crt, label: y}", `1:14: no column "crt", and no predictions of a node of that name; did you mean "ctr"?`},
		{"ddm", "{prediction: ctr, label: site}", `1:26: column "site" is string; expected bool, int64 or float64`},
		{"ddm", "{column: loss, warning: 4}", `1:25: warning is 4; expected at most drift, which is 3`},
		{"hddm_w", "{column: loss, drift: 0.2}", `1:23: drift is 0.2; expected at most warning, which is 0.005`},
		{"kswin", "{column: loss, recent: 51}", `1:24: recent is 51; expected at most half of window, which is 100`},
		{"data_drift", "{columns: [loss, los]}", `1:18: no column "los"; did you mean "loss"?`},
		{"data_drift", "{columns: [loss, loss]}", `1:18: columns names "loss" twice; expected each once`},
		{"data_drift", "{columns: [loss], categorical: [site, loss]}", `1:33: categorical names "site", which is not in columns; expected one of columns`},
		{"data_drift", "{columns: [loss], categorical: [loss]}", `1:33: column "loss" is float64, which is no category; expected string, int64 or bool`},
		{"data_drift", "{columns: loss, alarm: kl}", `1:24: alarm is "kl"; did you mean "ks"?`},
		{"data_drift", "{columns: loss, alarm: []}", `1:24: no measure is named, so nothing could ever be a drift; expected at least one, as in [psi]`},
		{"eddm", "{column: loss, drift: 0.97}", `1:23: drift is 0.97; expected at most warning, which is 0.95`},
	} {
		_, err := optest.Run(definition(c.op), c.config, in)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v\nwant %s", c.op, c.config, err, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	in := column(streams["B1"])
	h, err := optest.Open(definition("adwin"), "{column: x}", in.Schema)
	if err != nil {
		t.Fatal(err)
	}
	r := h.Node.Report()
	if _, ok := r.Get("value"); ok {
		t.Error("value is known before the first row")
	}
	if err := h.Feed(0, in); err != nil {
		t.Fatal(err)
	}
	r = h.Node.Report()
	for name, want := range map[string]float64{"rows": 2000, "drifts": 3} {
		if got, ok := r.Get(name); !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if v, ok := r.Get("value"); !ok || math.Abs(v-0.5) > 0.05 {
		t.Errorf("value is %v, want some 0.5", v)
	}
}

// Each window's measures are those of its rows, and a drift is what passes a bound.
func TestDataDrift(t *testing.T) {
	xs := make([]float64, 5000)
	for i := range xs {
		_, xs[i] = math.Modf(float64(i) * 0.6180339887498949)
		if i >= 3000 {
			xs[i] += 0.3
		}
	}
	xs[4999] = math.NaN() // null
	for _, c := range []struct {
		options string
		want    []int
	}{
		{"", []int{3999, 4999}},
		{", after: relearn", []int{3999}},
		{", alarm: [{ks: {above: 0.35}}, {wasserstein: {above: 2}}]", nil},
		{", alarm: [{chi_squared: {below: 1e-9}}]", []int{3999, 4999}},
	} {
		in := column(xs)
		h, err := optest.Open(definition("data_drift"), "{columns: [x]"+c.options+"}", in.Schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Feed(0, in); err != nil {
			t.Fatal(err)
		}
		var got []int
		for row, o := 0, h.Output(); row < o.N; row++ {
			if o.Col("kind").TextString(row) == "drift" {
				got = append(got, int(o.Col("row").Ints[row]))
			}
			if ks := o.Col("ks").Floats[row]; o.Col("row").Ints[row] < 3000 && ks > 0.01 || o.Col("row").Ints[row] == 3999 && math.Abs(ks-0.3) > 0.01 {
				t.Errorf("%s: ks is %v in the window that ends at %d", c.options, ks, o.Col("row").Ints[row])
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: drift at %v, want %v", c.options, got, c.want)
		}
	}
}

// Categories of a megabyte are others, on both sides, and leave nothing in the state.
func TestDataDriftLongTexts(t *testing.T) {
	in := "s:string\n"
	for i := range 12 {
		in += fmt.Sprintf("a\n%d%s\n", i, strings.Repeat("x", 1<<20))
	}
	tables, err := optest.Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	h, err := optest.Open(definition("data_drift"), "{columns: [s], reference: 12, window: 12}", tables[0].Rows.Schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Feed(0, tables[0].Rows); err != nil {
		t.Fatal(err)
	}
	if out := h.Output(); out.N != 1 || out.Col("psi").Floats[0] != 0 || len(h.Rejected) > 0 {
		t.Errorf("%.1000s", h.Text())
	}
	if n := h.StateSize(); n > 1000 {
		t.Errorf("a state of %d bytes", n)
	}
}
