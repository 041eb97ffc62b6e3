package feature

import (
	"fmt"
	"math"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[oneHotConfig]{
	Name:    "one_hot",
	Summary: "Turns categories into a sparse vector in which no two values share an index.",
	Doc: "A value gets the next free index of its column when it is first seen, up to size a column. Column k of the list, from 0, has the indices from k·(size+1) on: the first stands for all values that have no index of their own, the others for one value each. " +
		"Where vectorize hashes, and rare values may share a weight with frequent ones, this keeps a table; it is for columns with a bounded number of values.\n\n" +
		"With full: evict a value that was not seen for longest loses its index to a new one, and the learner behind keeps the weight there until the new value has taught it otherwise. With full: other nothing is ever lost and late values share one index. " +
		"Values of more than 1,024 bytes count as other. A null gives no feature.\n\n" +
		"To have hashed features beside these, give the column to vectorize: `sparse: [features]`.\n\n" +
		"Cost: one look-up a column and row. Memory and state: some 100 bytes a value and its text; with full: evict a checkpoint writes every value that was seen.",
	Columns: "Those of the input, and `features` (see as): sparse, as many indices as columns times size+1.",
	Examples: []spec.Example{{
		Title:  "Two columns; the third user comes too late",
		Config: "one_hot: {columns: [site, user], size: 2}",
		In:     "site:string,user:int64?\na,7\nb,8\na,9\na,\n",
		Out:    "site,user,features\na,7,1:1 4:1\nb,8,2:1 5:1\na,9,1:1 3:1\na,,1:1\n",
	}},
	Build: newOneHot,
}))

type oneHotConfig struct {
	columns []spec.Column
	words   vocabularyConfig
	as      string
}

func (c *oneHotConfig) Fields(f *spec.Fields) {
	f.Columns(&c.columns, "columns", nil, "Columns taken by their text: string, int64, bool. Another order, or one more before others, gives other indices.").Required().Pin().Example("[site, user]")
	c.words.fields(f, 1000)
	f.String(&c.as, "as", "features", "Name of the column that is added.").Matching(`.+`, "a name")
}

func (c *oneHotConfig) Check(add func(field, msg, want string)) {
	if len(c.columns) == 0 {
		add("columns", "no column is named", "expected at least one")
	}
	if n := int64(len(c.columns)) * int64(c.words.size+1); n > math.MaxInt32 {
		add("size", fmt.Sprintf("%d columns of %d values have more than 2^31 indices", len(c.columns), c.words.size), "expected less")
	}
}

// oneHot is the operator.
type oneHot struct {
	columns []category
	stride  uint32
	out     operators.Col
}

func newOneHot(c *oneHotConfig, env *operators.Env) operators.Operator {
	o := &oneHot{stride: uint32(c.words.size + 1)}
	env.Pin("size", fmt.Sprint(c.words.size))
	for _, col := range c.columns {
		o.columns = append(o.columns, newCategory(env, col, &c.words))
	}
	o.out = env.Add(batch.Field{Name: c.as, Type: batch.Sparse, Dim: len(c.columns) * (c.words.size + 1)})
	env.Features(o.features)
	return o
}

func (o *oneHot) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	to := o.out.Of(in)
	for row := range in.N {
		for k := range o.columns {
			c := &o.columns[k]
			if col := c.col.Of(in); !col.Null(row) {
				index, _ := c.values.learn(c.text(col, row))
				to.AddFeature(uint32(k)*o.stride+index, 1)
			}
		}
		to.EndRow()
	}
	return out.Emit(in)
}

// features names the features that a row will have.
func (o *oneHot) features(in *batch.Batch, row int) []operators.Feature {
	var all []operators.Feature
	for k := range o.columns {
		c := &o.columns[k]
		col := c.col.Of(in)
		if col.Null(row) {
			continue
		}
		text := c.text(col, row)
		all = append(all, operators.Feature{
			Index: uint32(k)*o.stride + c.values.would(text), Columns: []string{c.name}, Values: []string{string(text)},
		})
	}
	return all
}
