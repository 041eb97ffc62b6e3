package evaluate

import (
	"math"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/gunzip"
	"github.com/gradstream/gradstream/operators/optest"
)

var baselineCases = []optest.Case{
	{Operator: "majority", Name: "classes of numbers", Config: "{label: y, max_classes: 5}", In: "y:int64?\n1\n2\n"},
	{Operator: "majority", Name: "probability of numbers", Config: "{label: y, predict: probability}", In: "y:float64?\n1\n0\n"},
	{Operator: "majority", Name: "texts", Config: "{label: y}", In: "y:string?\na\nb\n"},
	{Operator: "running_mean", Name: "half-life", Config: "{label: y, half_life: 6}", In: "y:int64?\n1\n2\n"},
}

// overStream runs an operator over a small set.
func overStream(t *testing.T, set, label, operator, config string) *optest.Harness {
	t.Helper()
	text := gunzip.File(t, "../../testdata/streams/"+set+".csv.gz")
	tables, err := optest.Parse(strings.Replace(string(text), "y,", "y:"+label+",", 1))
	if err != nil {
		t.Fatal(err)
	}
	h, err := optest.Open(definition(operator), config, tables[0].Rows.Schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Feed(0, tables[0].Rows); err != nil {
		t.Fatal(err)
	}
	return h
}

// MOA's majority over the first 2,000 rows of electricity is right in 60.20 %.
func TestMajorityElectricity(t *testing.T) {
	out := overStream(t, "electricity_tiny", "bool", "majority", "{label: y}").Output()
	right := 0
	for row := range out.N {
		if (out.Col("node.probability").Floats[row] > 0.5) == out.Col("y").Bools[row] {
			right++
		}
	}
	if right != 1204 {
		t.Errorf("%d of 2,000 are right, want 1,204", right)
	}
}

// River's NoChangeClassifier over phishing is right in .51561249 of the rows but the first, of which it says nothing.
func TestNoChangePhishing(t *testing.T) {
	out := overStream(t, "phishing", "bool", "no_change", "{label: y}").Output()
	right := 0
	for row := 1; row < out.N; row++ {
		if (out.Col("node.probability").Floats[row] > 0.5) == out.Col("y").Bools[row] {
			right++
		}
	}
	if right != 644 {
		t.Errorf("%d of 1,249 are right, want 644", right)
	}
}

func TestMajorityWithoutClasses(t *testing.T) {
	_, err := optest.Run(definition("majority"), "{label: y, max_classes: 5}", "y:bool\n")
	if want := "1:25: max_classes is of classes that come as seen, but none are predicted; expected no max_classes, or predict: class"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// CapyMOA's root mean squared errors over the first 1,000 rows of fried: 4.98 for
// the mean of the target, 5.09 for the fading one, 6.89 for the label before.
// A half-life of 6.58 rows is their fading factor of 0.9.
func TestMeansFried(t *testing.T) {
	for _, c := range []struct {
		operator, config string
		want             float64
	}{
		{"running_mean", "{label: y}", 4.98}, {"running_mean", "{label: y, half_life: 6.578813478960585}", 5.09}, {"no_change", "{label: y}", 6.89},
	} {
		out, sum := overStream(t, "fried_1000", "float64", c.operator, c.config).Output(), 0.0
		for _, l := range out.Col("node.loss").Floats {
			sum += l
		}
		if got := math.Sqrt(sum / float64(out.N)); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s %s: RMSE %.4f, want %.2f", c.operator, c.config, got, c.want)
		}
	}
}
