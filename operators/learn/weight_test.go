package learn

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/optest"
)

// weighted are rows of x, c, w, y, each once with its weight, or as often as it says,
// then rows to predict.
func weighted(weight func(k uint64, label bool) int, repeat bool) string {
	var b strings.Builder
	b.WriteString("x,c:string,w,y:bool?\n")
	for k := range uint64(40) {
		x, label := float64(scatter(k)%1000)/100, scatter(k)%3 == 0
		if label {
			x += 2
		}
		n, w := 1, weight(k, label)
		if repeat {
			n, w = w, 1
		}
		for range n {
			fmt.Fprintf(&b, "%v,%s,%d,%v\n", x, []string{"u", "v", "w"}[scatter(99+k)%3], w, label)
		}
	}
	b.WriteString("1,u,1,\n4.5,v,1,\n7,w,1,\n12,new,1,\n")
	return b.String()
}

// last are the numbers of a column in the rows that are predicted at the end.
func last(h *optest.Harness, column string) []float64 {
	out := h.Output()
	return out.Col(column).Floats[out.N-4 : out.N]
}

var weighing = []struct{ operator, config, column string }{
	{"gaussian_naive_bayes", "{label: y, numeric: [x]", "node.probability"},
	{"gaussian_naive_bayes", "{label: y, numeric: [x], density: plain", "node.probability"},
	{"gaussian_naive_bayes", "{label: y, numeric: [x], density: floored", "node.probability"},
	{"hoeffding_tree", "{label: y, numeric: [x], categorical: [c], leaf: bayes, max_leaves: 1", "node.probability"},
	{"hoeffding_tree", "{label: y, numeric: [x], categorical: [c], leaf: majority, max_leaves: 1", "node.probability"},
	{"bayesian_linear_regression", "{label: y, numeric: [x]", "node.prediction"},
	{"bayesian_linear_regression", "{label: y, numeric: [x], beta: 3", "node.deviation"},
}

// A row of weight w is w rows, one of weight 0 none.
func TestWeightsAreRepeats(t *testing.T) {
	weight := func(k uint64, _ bool) int { return int(scatter(7+k) % 4) }
	for _, c := range weighing {
		got := last(runner(t, c.operator, c.config+", weight: w}", weighted(weight, false)), c.column)
		want := last(runner(t, c.operator, c.config+"}", weighted(weight, true)), c.column)
		plain := last(runner(t, c.operator, c.config+"}", weighted(weight, false)), c.column)
		differs := false
		for i := range want {
			if !(math.Abs(got[i]-want[i]) <= 1e-9*(1+math.Abs(want[i]))) {
				t.Errorf("%s %s: weights give %v, repeats %v", c.operator, c.config, got, want)
				break
			}
			differs = differs || math.Abs(plain[i]-want[i]) > 1e-3
		}
		if !differs {
			t.Errorf("%s %s: the weights make no difference: %v", c.operator, c.config, want)
		}
	}
}

// The weight of a class is that of all its rows, times their own.
func TestClassWeightsAreWeights(t *testing.T) {
	own := func(k uint64, _ bool) int { return int(scatter(7+k) % 4) }
	both := func(k uint64, label bool) int {
		if label {
			return 5 * own(k, label)
		}
		return 2 * own(k, label)
	}
	for _, c := range weighing {
		if c.operator == "bayesian_linear_regression" {
			continue
		}
		got := last(runner(t, c.operator, c.config+", weight: w, class_weights: [2, 5]}", weighted(own, false)), c.column)
		want := last(runner(t, c.operator, c.config+", weight: w}", weighted(both, false)), c.column)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s %s: class_weights give %v, weights %v", c.operator, c.config, got, want)
		}
	}
}

// Where a column of weights is not one of numeric, it is not learnt from.
func TestWeightIsNoInput(t *testing.T) {
	for _, o := range []string{"gaussian_naive_bayes", "hoeffding_tree", "bayesian_linear_regression"} {
		in := weighted(func(k uint64, _ bool) int { return int(k % 3) }, false)
		all, named := runner(t, o, "{label: y, weight: w}", in), runner(t, o, "{label: y, weight: w, numeric: [x]}", in)
		if all.Text() != named.Text() || all.Digest() != named.Digest() {
			t.Errorf("%s: the column of weights is learnt from", o)
		}
	}
}

// Under plain descent weights of 4 are four times the rate, also where the derivative
// of the loss is clipped.
func TestWeightsAreRates(t *testing.T) {
	const sparse, pairs = "features:sparse[16],w,y%s\n", "user:string,item:string,w,y%s\n"
	for _, c := range []struct{ operator, config, header string }{
		{"factorization_machine", "factors: 2, l2: 0, clip: 0.3", sparse},
		{"mlp", "units: 3, l2: 0, clip: 0.3", sparse},
		{"matrix_factorization", "user: user, item: item, bits: 8, factors: 2, l2: 0, clip: 0.3", pairs},
	} {
		for kind, labels := range map[string][]string{"": {"1.5", "-2", "10"}, ":bool": {"true", "false"}, ":string": {"a", "b", "c"}} {
			if kind == ":string" && c.operator == "matrix_factorization" {
				continue
			}
			run := func(extra, rate string) string {
				var b strings.Builder
				fmt.Fprintf(&b, c.header, kind)
				for k := range uint64(30) {
					label := labels[scatter(k)%uint64(len(labels))]
					if c.header == sparse {
						fmt.Fprintf(&b, "%d:1 9:0.5,4,%s\n", scatter(50+k)%8, label)
					} else {
						fmt.Fprintf(&b, "u%d,i%d,4,%s\n", scatter(50+k)%3, scatter(70+k)%4, label)
					}
				}
				return runner(t, c.operator, "{label: y, "+c.config+", optimizer: {sgd: {rate: "+rate+"}}"+extra+"}", b.String()).Text()
			}
			if got, want := run(", weight: w", "0.03125"), run("", "0.125"); got != want {
				t.Errorf("%s, labels%s: weights of 4 give\n%s\nfour times the rate\n%s", c.operator, kind, got, want)
			}
		}
	}
}

// A weight that is none rejects its row and leaves no trace, one of 0 is not learnt.
func TestWeightsThatAreNone(t *testing.T) {
	for o, c := range map[string]struct{ config, rows, bad string }{
		"gaussian_naive_bayes":       {"{label: y, weight: w}", "x,w,y:bool\n1,2,true\n3,1,false\n", "2,%s,true\n"},
		"hoeffding_tree":             {"{label: y, weight: w}", "x,w,y:bool\n1,2,true\n3,1,false\n", "2,%s,true\n"},
		"bayesian_linear_regression": {"{label: y, weight: w}", "x,w,y\n1,2,1\n3,1,2\n", "2,%s,5\n"},
		"factorization_machine":      {"{label: y, weight: w}", "features:sparse[8],w,y\n1:1,2,1\n2:1,1,2\n", "1:1,%s,5\n"},
		"mlp":                        {"{label: y, weight: w}", "features:sparse[8],w,y:string\n1:1,2,a\n2:1,1,b\n", "1:1,%s,b\n"},
		"matrix_factorization":       {"{user: u, item: i, label: y, bits: 8, weight: w}", "u:string,i:string,w,y\na,x,2,1\nb,y,1,2\n", "a,y,%s,5\n"},
	} {
		good := runner(t, o, c.config, c.rows)
		bad := runner(t, o, c.config, c.rows+fmt.Sprintf(c.bad, "-1"))
		if len(bad.Rejected) != 1 || bad.Rejected[0].Why != `weight "w" is -1; expected a number from 0 to 1e6` || bad.Digest() != good.Digest() {
			t.Errorf("%s: rejected %v, state %x, was %x", o, bad.Rejected, bad.Digest(), good.Digest())
		}
		none := runner(t, o, c.config, c.rows+fmt.Sprintf(c.bad, "0")+fmt.Sprintf(c.bad, "0"))
		v := none.Output().Col("node.version").Ints
		if len(none.Rejected) != 0 || v[len(v)-1] != 2 {
			t.Errorf("%s: rejected %v, versions %v", o, none.Rejected, v)
		}
	}
}
