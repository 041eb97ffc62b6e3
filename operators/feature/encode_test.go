package feature

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
)

// run feeds a table to an operator and returns the named column, "" for a null.
func run(t *testing.T, operator, config, in, column string) []string {
	t.Helper()
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
	if len(h.Rejected) > 0 {
		t.Fatalf("rejected: %v", h.Rejected)
	}
	var out []string
	for row := range h.Output().N {
		out = append(out, string(h.Output().Col(column).AppendText(nil, row)))
	}
	return out
}

// A row's code is that of an encoder fitted to the labelled rows before it.
func TestTargetEncodingAgrees(t *testing.T) {
	want := reference(t, "targets.csv")
	in := rowsOf("c:string,y:float64?", want, "c", "y")
	compared := 0
	for column, config := range map[string]string{"sklearn": "smoothing: 10", "bayesian": "smoothing: 4, prior: 0.5"} {
		got := run(t, "target_encode", "{columns: [c], label: y, "+config+"}", in, "node.c")
		for row := range want {
			if w := want[row][column]; w != "" {
				compared++
				if g := parse(t, got[row]); math.Abs(g-parse(t, w)) > 1e-9 {
					t.Fatalf("row %d: %v, %s has %s", row, g, column, w)
				}
			}
		}
	}
	if compared < 590 {
		t.Errorf("%d codes were compared", compared)
	}
}

// No row's code hangs on its own label or on one behind it, and rows without a
// label teach nothing.
func TestTargetEncodingDoesNotLeak(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const config = "{columns: [c], label: y, size: 6}"
	rows := make([]string, 200)
	for i := range rows {
		rows[i] = fmt.Sprintf("c%d,%v", rng.IntN(9), rng.NormFloat64())
	}
	header := "c:string,y:float64?\n"
	want := run(t, "target_encode", config, header+strings.Join(rows, "\n"), "node.c")
	for _, at := range []int{0, 1, 50, 199} {
		changed := slices.Clone(rows)
		for i := at; i < len(rows); i++ {
			c, _, _ := strings.Cut(rows[i], ",")
			changed[i] = fmt.Sprintf("%s,%v", c, 1000*rng.NormFloat64())
		}
		if got := run(t, "target_encode", config, header+strings.Join(changed, "\n"), "node.c"); !slices.Equal(got[:at+1], want[:at+1]) {
			t.Errorf("labels from row %d on changed codes up to it", at)
		}
	}
	var with []string
	var at []int
	for i, r := range rows {
		with = append(with, fmt.Sprintf("u%d,", rng.IntN(9)))
		at = append(at, 2*i+1)
		with = append(with, r)
	}
	got := run(t, "target_encode", config, header+strings.Join(with, "\n"), "node.c")
	for i, k := range at {
		if got[k] != want[i] {
			t.Fatalf("rows without a label changed the code of row %d from %s to %s", i, want[i], got[k])
		}
	}
}

// Shares are those of counting.
func TestFrequencies(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	in, counts := []string{"c:int64"}, map[int]int{}
	var want []string
	for i := range 500 {
		c := int(rng.ExpFloat64() * 5)
		in = append(in, fmt.Sprint(c))
		counts[c]++
		want = append(want, fmt.Sprint(float64(counts[c])/float64(i+1)))
	}
	if got := run(t, "frequency_encode", "{columns: c}", strings.Join(in, "\n"), "node.c"); !slices.Equal(got, want) {
		t.Error("shares differ from counts")
	}
}

// Indices are dense, no two values share one, and what is full does as it says.
func TestVocabulary(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for _, evict := range []bool{false, true} {
		full := map[bool]string{false: "other", true: "evict"}[evict]
		const size = 5
		index, seen := map[string]int{}, []string{} // seen: oldest first
		var in, want []string
		for range 2000 {
			c := fmt.Sprintf("c%d", int(rng.ExpFloat64()*4))
			in = append(in, c)
			if i := slices.Index(seen, c); i >= 0 {
				seen = append(slices.Delete(seen, i, i+1), c)
			} else if len(seen) < size {
				seen = append(seen, c)
				index[c] = len(seen)
			} else if evict {
				index[c] = index[seen[0]]
				delete(index, seen[0])
				seen = append(seen[1:], c)
			}
			want = append(want, fmt.Sprintf("%d:1", index[c]))
		}
		got, _ := optest.Run(operators.Merge(&Family).Lookup("one_hot"), fmt.Sprintf("{columns: [c], size: %d, full: %s}", size, full), "c:string\n"+strings.Join(in, "\n"))
		for i, line := range strings.Split(strings.TrimSpace(got), "\n")[1:] {
			if line != in[i]+","+want[i] {
				t.Fatalf("%s, row %d: %s, want %s", full, i, line, want[i])
			}
		}
	}
	long := strings.Repeat("x", mostText+1)
	if got, _ := optest.Run(operators.Merge(&Family).Lookup("one_hot"), "{columns: [c]}", "c:string\n"+long+"\n"+long[1:]+"\n"); !strings.Contains(got, long+",0:1\n") || !strings.Contains(got, long[1:]+",1:1\n") {
		t.Error("values of 1,025 and 1,024 bytes")
	}
}

// Names of one_hot are what comes out.
func TestOneHotIsNamed(t *testing.T) {
	for _, full := range []string{"other", "evict"} {
		tables, err := optest.Parse("s:string?,i:int64\n" + strings.Repeat("a,1\nb,2\n\"\",3\nc,1\na,4\n", 10))
		if err != nil {
			t.Fatal(err)
		}
		h, err := optest.Open(operators.Merge(&Family).Lookup("one_hot"), "{columns: [s, i], size: 3, full: "+full+"}", tables[0].Rows.Schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Feed(0, tables[0].Rows); err != nil {
			t.Fatal(err)
		}
		before := h.Digest()
		for row := range 5 { // each as the next row
			named, _ := h.Node.Features(tables[0].Rows, row)
			if h.Digest() != before {
				t.Fatal("naming features has changed the state")
			}
			if want := 2 - map[int]int{2: 1}[row]; len(named) != want {
				t.Errorf("row %d: %v", row, named)
			}
		}
	}
}

// Buckets by quantiles have about as many rows each; those by edges are NumPy's digitize.
func TestBuckets(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	in := []string{"x"}
	for range 6000 {
		in = append(in, fmt.Sprint(math.Exp(3*rng.NormFloat64())))
	}
	counts := map[string]int{}
	for _, k := range run(t, "bucket", "{columns: x, quantiles: 10, window: 2000}", strings.Join(in, "\n"), "node.x") {
		counts[k]++
	}
	for k, n := range counts {
		if n < 500 || n > 700 {
			t.Errorf("bucket %s has %d of 6,000 rows", k, n)
		}
	}
	if len(counts) != 10 {
		t.Errorf("%d buckets", len(counts))
	}
	// numpy.digitize([0.2, 6.4, 3.0, 1.6], [0.0, 1.0, 2.5, 4.0, 10.0]) of its manual.
	if got := run(t, "bucket", "{columns: x, edges: [0, 1, 2.5, 4, 10]}", "x\n0.2\n6.4\n3.0\n1.6\n-1\n10\n", "node.x"); strings.Join(got, " ") != "1 4 3 2 0 5" {
		t.Errorf("buckets %v", got)
	}
}

func TestEncodersComplain(t *testing.T) {
	const in = "s:string,x:float64,y:bool,v:sparse\n"
	for _, c := range []struct{ op, config, want string }{
		{"one_hot", "{}", "columns is missing"},
		{"one_hot", "{columns: [x]}", `column "x" is float64; expected string, int64 or bool`},
		{"one_hot", "{columns: []}", "no column is named"},
		{"one_hot", "{columns: [s], size: 0}", "size is 0"},
		{"one_hot", "{columns: [s], full: drop}", "full is"},
		{"one_hot", "{columns: [s], as: x}", `column "x" exists already`},
		{"target_encode", "{columns: [s]}", "label is missing"},
		{"target_encode", "{columns: [s], label: s}", `column "s" is string; expected bool, int64 or float64`},
		{"target_encode", "{columns: [z], label: y}", `no column "z"`},
		{"target_encode", "{columns: [s], label: y, smoothing: -1}", "smoothing is -1"},
		{"frequency_encode", "{columns: [v]}", `column "v" is sparse`},
		{"bucket", "{columns: [x]}", "there are no buckets; expected edges, or quantiles of 2 or more"},
		{"bucket", "{columns: [x], quantiles: 1}", "there are no buckets"},
		{"bucket", "{columns: [x], quantiles: 3, edges: [1]}", "there are edges and quantiles"},
		{"bucket", "{columns: [x], edges: [1, 3, 2]}", "edges[2] is not above the one before"},
		{"bucket", "{columns: [s], edges: [1]}", `column "s" is string`},
	} {
		if _, err := optest.Run(operators.Merge(&Family).Lookup(c.op), c.config, in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v\nwant %s", c.op, c.config, err, c.want)
		}
	}
	got, err := optest.Run(operators.Merge(&Family).Lookup("target_encode"), "{columns: [s], label: x}", "s:string,x:float64?\na,1e300\na,1\na,2\n")
	if err != nil || !strings.Contains(got, `rejected 0: label "x" is 1e+300; expected a number from -1e100 to 1e100`) || !strings.Contains(got, "a,2,1\n") {
		t.Errorf("%s %v", got, err)
	}
}
