package learn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/state"
)

// A class that hangs on a category and, where that is u, on the sign of a number.
func treeRows(n int) string {
	var b strings.Builder
	b.WriteString("s:string?,x:float64?,y:string?\n")
	for k := range uint64(n) {
		s := []string{"u", "v", "w"}[scatter(k)%3]
		x := float64(scatter(1000+k)%2001)/1000 - 1
		class := "none"
		if s == "u" {
			class = map[bool]string{true: "low", false: "high"}[x < 0]
		}
		fmt.Fprintf(&b, "%s,%v,%s\n", s, x, class)
	}
	return b.String()
}

func TestTreeSplitsCategoriesAndNumbers(t *testing.T) {
	for _, c := range []struct {
		config string
		wrong  int // at most, of the last thousand
		leaves float64
	}{
		{"{label: y, categorical: [s], leaf: majority}", 60, 0},
		{"{label: y, categorical: [s]}", 60, 0},
		{"{label: y, categorical: [s], leaf: majority, max_leaves: 2}", 300, 2},
		{"{label: y, categorical: [s], leaf: bayes, max_leaves: 1}", 400, 1},
	} {
		h := runner(t, "hoeffding_tree", c.config, treeRows(4000))
		out, wrong := h.Output(), 0
		for row := 3000; row < 4000; row++ {
			if out.Col("node.class").TextString(row) != out.Col("y").TextString(row) {
				wrong++
			}
		}
		report := h.Node.Report()
		leaves, _ := report.Get("leaves")
		t.Logf("%s: %d wrong, %v leaves", c.config, wrong, leaves)
		if wrong > c.wrong || c.leaves > 0 && leaves != c.leaves || c.leaves == 0 && leaves < 3 {
			t.Errorf("%s: %d of the last 1,000 are wrong, %v leaves", c.config, wrong, leaves)
		}
	}
}

// Below a split nulls go with the larger part, and a value never seen is not the
// one that was asked for.
func TestTreeNullsAndUnseenValues(t *testing.T) {
	const more = "nil,0.5,\n,0.5,\n"
	h := runner(t, "hoeffding_tree", "{label: y, categorical: [s], leaf: majority, max_leaves: 2}", treeRows(1000)+more)
	out := h.Output()
	for row := out.N - 2; row < out.N; row++ {
		if class := out.Col("node.class").TextString(row); class != "none" {
			t.Errorf("row %d: class %q, want none", row, class)
		}
	}
}

// What does not fit is said when the pipeline is loaded, or rejects the row.
func TestDenseConfigurations(t *testing.T) {
	const in = "features:sparse[8],wide:sparse,a.b,y:bool,n,s:string\n"
	for _, c := range []struct{ operator, config, want string }{
		{"gaussian_naive_bayes", "{label: y, numeric: [s]}", `column "s" is string`},
		{"gaussian_naive_bayes", "{label: y, numeric: [n, y]}", `column "y" is the label`},
		{"gaussian_naive_bayes", "{label: y, numeric: []}", "nothing to learn from"},
		{"gaussian_naive_bayes", "{label: y, classes: [a, b]}", "classes do not go with"},
		{"gaussian_naive_bayes", "{label: s, classes: [a]}", "classes has 1 entries"},
		{"gaussian_naive_bayes", "{label: n, predict: class}", `column "n" is float64`},
		{"hoeffding_tree", "{label: y, categorical: [n]}", `column "n" is float64`},
		{"hoeffding_tree", "{label: s, categorical: [s]}", `column "s" is the label`},
		{"bayesian_linear_regression", "{label: s}", `column "s" is string`},
		{"bayesian_linear_regression", "{label: n, numeric: [], intercept: false}", "nothing to learn from"},
		{"holt_winters", "{label: n, season: {additive: {period: 1}}}", "period is 1"},
		{"factorization_machine", "{label: y, features: wide}", "needs the output of vectorize"},
		{"mlp", "{label: y, optimizer: {sgd: {invariant: true}}}", "invariant steps need"},
		{"matrix_factorization", "{label: n, user: s}", "item is missing"},
		{"bpr", "{user: s, item: s, label: n}", `column "n" is float64`},
	} {
		if _, err := optest.Run(definition(t, c.operator), c.config, in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want an error with %q", c.operator, c.config, err, c.want)
		}
	}
	h := runner(t, "gaussian_naive_bayes", "{label: s, classes: [a, b], numeric: [n]}", "n,s:string?\n1,a\n2,c\n1e101,b\n3,b\n")
	if text := fmt.Sprint(h.Rejected); len(h.Rejected) != 2 || !strings.Contains(text, `"c", which is none of classes`) || !strings.Contains(text, `column "n" is 1e+101`) {
		t.Errorf("rejected %v", h.Rejected)
	}
	h = runner(t, "hoeffding_tree", "{label: s, max_classes: 2}", "n,s:string?\n1,a\n2,c\n3,b\n")
	if len(h.Rejected) != 1 || !strings.Contains(h.Rejected[0].Why, "beyond max_classes: 2") {
		t.Errorf("rejected %v", h.Rejected)
	}
}

// Texts of a megabyte leave nothing in the state: as classes they are rejected, as categories they count with the further ones.
func TestLongTexts(t *testing.T) {
	for operator, config := range map[string]string{
		"hoeffding_tree": "{label: y, numeric: [x], categorical: [c]}", "gaussian_naive_bayes": "{label: y, numeric: [x]}",
	} {
		in := "x:float64,c:string,y:string\n"
		for i := range 6 {
			in += fmt.Sprintf("1,a,%d%s\n2,%d%s,y%d\n", i, strings.Repeat("x", 1<<20), i, strings.Repeat("x", 1<<20), i%2)
		}
		tables, err := optest.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		h, err := optest.Open(operators.Merge(&Family).Lookup(operator), config, tables[0].Rows.Schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Feed(0, tables[0].Rows); err != nil {
			t.Fatal(err)
		}
		if len(h.Rejected) != 6 || !strings.Contains(h.Rejected[0].Why, "a class has at most 256") || len(h.Rejected[0].Why) > 200 {
			t.Errorf("%s: %d rows rejected", operator, len(h.Rejected))
		}
		if n := h.StateSize(); n > 5000 {
			t.Errorf("%s: a state of %d bytes", operator, n)
		}
	}
}

// What a prediction costs does not depend on how many values a column has had.
func TestTreeOfManyValues(t *testing.T) {
	var b strings.Builder
	b.WriteString("s:string,y:bool\n")
	for i := range 9000 {
		fmt.Fprintf(&b, "v%d,%v\n", i%3000, i%3 == 0)
	}
	h := runner(t, "hoeffding_tree", "{label: y, categorical: [s], max_values: 5000, leaf: bayes, grace_period: 1000000}", b.String())
	right, out := 0, h.Output()
	for row := 6000; row < 9000; row++ {
		if (out.Col("node.probability").Floats[row] > 0.5) == out.Col("y").Bools[row] {
			right++
		}
	}
	if right != 3000 {
		t.Errorf("%d of 3,000 values that decide the class are right", right)
	}
	for _, s := range h.Node.States() {
		nodes, ok := s.State.(*state.Map[uint32, treeNode])
		if !ok {
			continue
		}
		leaf, _ := nodes.Get(0)
		for class, known := range leaf.Known[0] {
			sum := 0.0
			for _, counts := range leaf.Values[0] {
				sum += at(counts, class)
			}
			if sum != known {
				t.Errorf("class %d: %v rows by value, %v in all", class, sum, known)
			}
		}
	}
}
