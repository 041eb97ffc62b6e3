//go:build unix

package main

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// TestMeasure has gradstream and the bare loop learn the same: their log losses agree.
func TestMeasure(t *testing.T) {
	r := generate(2000, 12)
	if again := generate(2000, 12); !slices.Equal(r.at, again.at) || !slices.Equal(r.labels, again.labels) {
		t.Error("the rows differ from call to call")
	}
	results, err := rounds(t.Context(), r, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	loss := map[string]float64{}
	for _, x := range results {
		loss[x.Learner] = x.Loss
		if x.Features != 12 || x.PerSec <= 0 {
			t.Errorf("%+v", x)
		}
	}
	// gradstream has an intercept besides.
	if a, b := loss["adagrad"], loss["bare adagrad"]; math.Abs(a-b) > 0.01 || a > math.Ln2+0.02 {
		t.Errorf("adagrad: log loss %.4f, the bare loop's %.4f", a, b)
	}
	if a, b := loss["sgd"], loss["bare sgd"]; math.Abs(a-b) > 0.02 {
		t.Errorf("sgd: log loss %.4f, the bare loop's %.4f", a, b)
	}
}

func TestWrite(t *testing.T) {
	r := &rows{features: 2, at: []uint32{0, 1, 0, 77}, values: []float32{0.5, -1.25, 2, 1}, labels: []bool{true, false}}
	var text strings.Builder
	if err := r.write(&text); err != nil {
		t.Fatal(err)
	}
	if want := "1 | 0:0.5 1:-1.25\n-1 | 0:2 77:1\n"; text.String() != want {
		t.Errorf("%q", text.String())
	}
	if b := r.batches(); len(b) != 1 || b[0].N != 2 {
		t.Errorf("%d batches", len(b))
	}
}

func TestParseVW(t *testing.T) {
	line := `{"options": "", "version": "9.1", "events": 100, "seconds": [0.5, 0.1, 0.2], "loss": 0.6}` + "\n"
	results, version, err := parseVW([]byte(strings.Repeat(line, len(vw))), 8, 100)
	if err != nil || version != "9.1" || len(results) != len(vw) {
		t.Fatalf("%v %s %v", results, version, err)
	}
	if x := results[0]; x.PerSec != 500 || x.Min != 200 || x.Max != 1000 || x.Loss != 0.6 || x.Features != 8 {
		t.Errorf("%+v", x)
	}
	for _, bad := range []string{"", line, strings.Repeat(strings.Replace(line, "100", "99", 1), len(vw))} {
		if _, _, err := parseVW([]byte(bad), 8, 100); err == nil {
			t.Errorf("accepted: %q", bad)
		}
	}
}

func TestCompare(t *testing.T) {
	results := []result{{Learner: "bare adagrad", PerSec: 10}, {Learner: "adagrad", PerSec: 5}, {Learner: "vw adaptive", PerSec: 2}, {Learner: "adam", PerSec: 1}}
	compare(results)
	if a := results[1]; a.OfBare != 0.5 || a.OfVW != 2.5 {
		t.Errorf("%+v", a)
	}
	if a := results[3]; a.OfBare != 0.1 || a.OfVW != 0 {
		t.Errorf("%+v", a)
	}
	for _, bad := range []string{"", "8,x", "0", "8,"} {
		if _, err := parseCounts(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
