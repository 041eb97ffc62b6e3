package feature

import (
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
)

// opened builds vectorize over the rows of a table.
func opened(t *testing.T, config, in string) (*optest.Harness, optest.Table) {
	t.Helper()
	tables, err := optest.Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	h, err := optest.Open(operators.Merge(&Family).Lookup("vectorize"), config, tables[0].Rows.Schema)
	if err != nil {
		t.Fatal(err)
	}
	return h, tables[0]
}

// What is named is what comes out, entry for entry, and naming leaves no trace.
func TestFeaturesAreNamed(t *testing.T) {
	in := table("a:float64?", "b:int64", "s:string?", "u:bool", "v:sparse", "z:string")
	for _, config := range []string{
		"{bits: 20, numeric: [b, a], categorical: [s, u, b], cross: [[s, u], [b, s, u]], text: [z, s], sparse: [v]}",
		"{bits: 8, numeric: [a], scale: none, categorical: [s], text: [s], ngrams: 3}",
		"{bits: 20, text: [z, s], ngrams: 2, chars: {min: 1, max: 4}}",
		"{bits: 16, numeric: [a, b], missing: zero, polynomial: 3, dates: [b], text: [s], tokens: tfidf}",
		"{bits: 16, numeric: [a, b], missing: indicator, polynomial: 2, dates: [b], cycles: year, text: [s], tokens: count}",
		"{bits: 11, numeric: [a], scale: minmax, text: [s], tokens: count, sparse: [v], raw: true}",
	} {
		h, rows := opened(t, config, in)
		before := h.Digest()
		var named [][]operators.Feature
		for row := range rows.Rows.N {
			f, ok := h.Node.Features(rows.Rows, row)
			if !ok {
				t.Fatal("vectorize does not name its features")
			}
			named = append(named, f)
		}
		if h.Digest() != before {
			t.Errorf("%s: naming features has changed the state", config)
		}
		if err := h.Feed(0, rows.Rows); err != nil {
			t.Fatal(err)
		}
		col := h.Output().Col("features")
		for row, f := range named {
			idx, _ := col.Row(row)
			if !slices.EqualFunc(idx, f, func(i uint32, f operators.Feature) bool { return i == f.Index && len(f.Columns) == len(f.Values) }) {
				t.Fatalf("%s: row %d has the features %v, named are %v", config, row, idx, f)
			}
		}
	}
}

func TestNamesOfFeatures(t *testing.T) {
	h, rows := opened(t, "{bits: 16, numeric: [price], categorical: [site, n], cross: [[n, site]], text: [m], ngrams: 2, sparse: [v]}",
		"price:float64?,site:string,n:int64,m:string,v:sparse\n1.25,a b,-7,\"Two TWO, cats\",5:2 9:0.5\n,,0,,\n")
	for row, want := range [][]string{
		{"m=cats", "m=two", "m=two cats", "m=two two", "n=-7", "n*site=-7*a b", "price=1.25", "site=a b", "v=5", "v=9"},
		{"n=0", "n*site=0*", "site="},
	} {
		all, _ := h.Node.Features(rows.Rows, row)
		var got []string
		for _, f := range all {
			got = append(got, strings.Join(f.Columns, "*")+"="+strings.Join(f.Values, "*"))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("row %d: %q, want %q", row, got, want)
		}
	}
}
