package feature

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/weights"
)

// vectors runs vectorize over rows, and returns the features of each row, sorted.
func vectors(t *testing.T, config, in string) []string {
	t.Helper()
	out, err := optest.Run(operators.Merge(&Family).Lookup("vectorize"), config, in)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(out, "\n")
	if !strings.HasSuffix(head, ",features") {
		t.Fatalf("columns are %s", head)
	}
	var rows []string
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		features := strings.Fields(line[strings.LastIndexByte(line, ',')+1:])
		slices.Sort(features)
		rows = append(rows, strings.Join(features, " "))
	}
	return rows
}

// table writes rows of the named columns.
func table(columns ...string) string {
	values := map[string]func(i int) string{
		"a:float64?": func(i int) string { return []string{"1.5", "", "-7", "1e30"}[i%4] },
		"b:int64":    func(i int) string { return fmt.Sprint(i * i) },
		"s:string?":  func(i int) string { return []string{"x", "ünïcode ☃", "", "X"}[i%4] },
		"u:bool":     func(i int) string { return fmt.Sprint(i%3 == 0) },
		"v:sparse":   func(i int) string { return fmt.Sprintf("%d:1 %d:2", i, 1000+i) },
		"z:string":   func(i int) string { return strings.Repeat("z", i%50) },
	}
	out := []string{strings.Join(columns, ",")}
	for i := range 200 {
		var row []string
		for _, c := range columns {
			row = append(row, values[c](i))
		}
		out = append(out, strings.Join(row, ","))
	}
	return strings.Join(out, "\n") + "\n"
}

// What must not change the features of a row: the order of the configuration and
// of the columns, columns that are not named, features of other columns.
func TestRelations(t *testing.T) {
	const config = "{bits: 20, numeric: [a, b], categorical: [s, u], cross: [[s, u], [b, s, u]], text: [s], sparse: [v]}"
	in := table("a:float64?", "b:int64", "s:string?", "u:bool", "v:sparse")
	want := vectors(t, config, in)
	for name, got := range map[string][]string{
		"order of the configuration": vectors(t, "{sparse: [v], text: [s], cross: [[b, s, u], [s, u]], categorical: [u, s], numeric: [b, a], bits: 20}", in),
		"order of the columns":       vectors(t, config, table("v:sparse", "u:bool", "s:string?", "b:int64", "a:float64?")),
		"a column that is not named": vectors(t, config, table("a:float64?", "z:string", "b:int64", "s:string?", "u:bool", "v:sparse")),
	} {
		if !slices.Equal(got, want) {
			t.Errorf("%s changes the features", name)
		}
	}
	more := vectors(t, "{bits: 20, numeric: [a, b], categorical: [s, u, z], cross: [[s, u], [b, s, u]], text: [s], sparse: [v]}",
		table("a:float64?", "z:string", "b:int64", "s:string?", "u:bool", "v:sparse"))
	for i := range want {
		if extra := len(strings.Fields(more[i])) - len(strings.Fields(want[i])); extra != 1 {
			t.Fatalf("row %d has %d more features with a category more, want 1", i, extra)
		}
		for _, f := range strings.Fields(want[i]) {
			if !slices.Contains(strings.Fields(more[i]), f) {
				t.Fatalf("row %d lost %s to a category more", i, f)
			}
		}
	}
	// Fewer bits keep the low bits of an index.
	few := vectors(t, strings.Replace(config, "bits: 20", "bits: 8", 1), in)
	for i := range want {
		var folded []string
		for _, f := range strings.Fields(want[i]) {
			var index int
			var value string
			if _, err := fmt.Sscanf(f, "%d:%s", &index, &value); err != nil {
				t.Fatal(err)
			}
			folded = append(folded, fmt.Sprintf("%d:%s", index%256, value))
		}
		slices.Sort(folded)
		if got := strings.Join(folded, " "); got != few[i] {
			t.Fatalf("row %d: %s with 8 bits, want %s", i, few[i], got)
		}
	}
}

// An empty text is a category, a null is none; the order of a cross counts.
func TestEmptyIsNotNull(t *testing.T) {
	got := vectors(t, "{bits: 20, categorical: [s]}", "s:string,u:bool\n,true\nx,true\n,true\n")
	if len(got) != 3 || got[0] == "" || got[0] == got[1] || got[0] != got[2] {
		t.Errorf("features of the empty text and of x: %q", got)
	}
	if got := vectors(t, "{bits: 20, categorical: [s], cross: [[s, u]]}", "s:string?,u:bool\n,true\n"); got[0] != "" {
		t.Errorf("a null has the features %s", got[0])
	}
	const in = "s:string,r:string\nab,c\na,bc\nc,ab\n"
	a, b := vectors(t, "{bits: 20, cross: [[s, r]]}", in), vectors(t, "{bits: 20, cross: [[r, s]]}", in)
	if a[0] == a[1] || a[0] == a[2] || a[0] == b[0] {
		t.Errorf("crosses of other parts share a feature: %q, %q", a, b)
	}
}

func TestThousandColumns(t *testing.T) {
	var head, row, names []string
	for i := range 1000 {
		head = append(head, fmt.Sprintf("c.%d x:float64", i))
		names = append(names, fmt.Sprintf(`"c.%d x"`, i))
		row = append(row, fmt.Sprint(i))
	}
	in := strings.Join(head, ",") + "\n" + strings.Join(row, ",") + "\n"
	got := vectors(t, "{bits: 30, scale: none, numeric: ["+strings.Join(names, ", ")+"]}", in)
	distinct := map[string]bool{}
	for _, f := range strings.Fields(got[0]) {
		distinct[f] = true
	}
	if len(distinct) != 1000 {
		t.Errorf("%d distinct features of 1,000 columns", len(distinct))
	}
}

// Halved counts leave the weights of later texts nearly as they were.
func TestTextsAreHalved(t *testing.T) {
	run := func(halve bool) []float32 {
		h, table := opened(t, "{bits: 12, text: [m], tokens: tfidf}", "m:string\n"+strings.Repeat("a b\na c\na d e\nf\n", 250))
		if err := h.Feed(0, table.Rows); err != nil {
			t.Fatal(err)
		}
		r := rarity{h.Node.States()[0].State.(*state.Cell[texts]), h.Node.States()[1].State.(*weights.Table)}
		if halve {
			r.halve()
		}
		to := batch.NewColumn(batch.Sparse)
		r.add([]uint64{nameHash(textSeed, "m", "a"), nameHash(textSeed, "m", "b"), nameHash(textSeed, "m", "new")}, 1<<12-1, to)
		if n := r.texts.V.N; halve && n != 501 || !halve && n != 1001 {
			t.Errorf("%d texts", n)
		}
		return to.Value
	}
	a, b := run(false), run(true)
	for i := range a {
		if d := a[i] - b[i]; d < -0.03 || d > 0.03 {
			t.Errorf("weights %v, with halved counts %v", a, b)
		}
	}
}
