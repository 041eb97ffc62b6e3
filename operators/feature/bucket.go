package feature

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/feature/quantile"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[bucketConfig]{
	Name:    "bucket",
	Summary: "Adds for each number the interval it lies in, to be taken as a category.",
	Doc: "The bucket is the number of edges at or below the value: 0 below the first edge, so n edges make n+1 buckets, each with its lower edge. Edges are given, or with quantiles: n they are the n-1 inner quantiles of the last `window` values of the column, this row's included, so that each of n buckets has about as many rows; they are those of sorting, interpolated between the nearest two values. " +
		"Equal quantiles leave the buckets between them empty. A linear model with a weight a bucket, or a cross of buckets, learns what is not linear in a number.\n\n" +
		"A null gives null and is not learnt.\n\n" +
		"Cost: a comparison an edge; with quantiles also a search and a move in the window. Memory and state: with quantiles 16·window bytes a column.",
	Columns: "Those of the input, and for each of `columns` NODE.COLUMN: int64, null where the number may be null.",
	Examples: []spec.Example{{
		Title:  "Given edges",
		Config: "bucket: {columns: [age], edges: [18, 30, 65]}",
		In:     "age:int64?\n17\n18\n\"\"\n64\n99\n",
		Out:    "age,node.age\n17,0\n18,1\n,\n64,2\n99,3\n",
	}, {
		Title:  "Halves about the median so far",
		Config: "bucket: {columns: [x], quantiles: 2}",
		In:     "x\n5\n1\n9\n3\n4\n",
		Out:    "x,node.x\n5,1\n1,0\n9,1\n3,0\n4,1\n",
	}},
	Build: newBucket,
}))

type bucketConfig struct {
	columns   []spec.Column
	edges     []float64
	quantiles int
	window    int
}

func (c *bucketConfig) Fields(f *spec.Fields) {
	f.Columns(&c.columns, "columns", nil, "Columns of numbers: float64, int64, bool, timestamp.").Required().Example("[age]")
	f.Floats(&c.edges, "edges", nil, "Edges between buckets, ascending.").Example("[18, 30, 65]")
	f.Int(&c.quantiles, "quantiles", 0, "Number of buckets of equally many rows; 0 = edges are given.").Within(0, 1000)
	f.Int(&c.window, "window", 1000, "Number of values whose quantiles are taken.").Within(2, 100_000)
}

func (c *bucketConfig) Check(add func(field, msg, want string)) {
	switch {
	case len(c.columns) == 0:
		add("columns", "no column is named", "expected at least one")
	case len(c.edges) > 0 && c.quantiles > 0:
		add("edges", "there are edges and quantiles", "expected one of them")
	case len(c.edges) == 0 && c.quantiles < 2:
		add("", "there are no buckets", "expected edges, or quantiles of 2 or more")
	}
	for i := 1; i < len(c.edges); i++ {
		if c.edges[i] <= c.edges[i-1] {
			add("edges", fmt.Sprintf("edges[%d] is not above the one before", i), "expected ascending numbers")
		}
	}
}

// bucketVersion is the version of the state of bucket.
const bucketVersion = 1

// bucket is the operator.
type bucket struct {
	columns   []bucketColumn
	edges     []float64
	quantiles int
}

type bucketColumn struct {
	col, out operators.Col
	values   quantile.Window
}

func newBucket(c *bucketConfig, env *operators.Env) operators.Operator {
	o := &bucket{edges: c.edges, quantiles: c.quantiles, columns: make([]bucketColumn, len(c.columns))}
	for i, col := range c.columns {
		t := &o.columns[i]
		t.col = env.InNumber(col)
		if c.quantiles > 0 {
			cell := operators.NewCell(env, "values/"+col.Name, bucketVersion, quantile.Values{})
			t.values = quantile.NewWindow(&cell.V, c.window)
		}
		t.out = env.AddOwn(col.Name, batch.Int64, env.Field(t.col).Nullable)
	}
	return o
}

func (o *bucket) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	for i := range o.columns {
		c := &o.columns[i]
		col, to := c.col.Of(in), c.out.Of(in)
		for row := range in.N {
			x, ok := col.Number(row)
			if !ok {
				to.SetNull(row)
				continue
			}
			k := 0
			if o.quantiles > 0 {
				c.values.Update(x)
				for k < o.quantiles-1 && c.values.Quantile(k+1, o.quantiles) <= x {
					k++
				}
			} else {
				for k < len(o.edges) && o.edges[k] <= x {
					k++
				}
			}
			to.Ints[row] = int64(k)
		}
	}
	return out.Emit(in)
}
