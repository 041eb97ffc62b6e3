package feature

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

var _ = Family.Add(operators.Define(operators.Spec[frequencyConfig]{
	Name:    "frequency_encode",
	Summary: "Adds for each category how frequent it is.",
	Doc: "A value is encoded as its number of rows so far, this one included, or as its share of the column's rows that are not null. Labels are not looked at. A null gives null.\n\n" +
		"Values of more than 1,024 bytes count as other, and so do those beyond size, which are counted together; with full: evict a value that loses its place loses its count, and the total keeps it.\n\n" +
		"Cost: one look-up a column and row. Memory and state: some 150 bytes a value and its text.",
	Columns: "Those of the input, and for each of `columns` NODE.COLUMN: float64, null where the category may be null.",
	Examples: []spec.Example{{
		Title:  "Shares",
		Config: "frequency_encode: {columns: [site]}",
		In:     "site:string?\na\nb\n\"\"\na\na\n",
		Out:    "site,node.site\na,1\nb,0.5\n,\na,0.6666666666666666\na,0.75\n",
	}},
	Build: newFrequency,
}))

type frequencyConfig struct {
	columns []spec.Column
	value   string
	words   vocabularyConfig
}

func (c *frequencyConfig) Fields(f *spec.Fields) {
	f.Columns(&c.columns, "columns", nil, "Columns taken by their text: string, int64, bool.").Required().Example("[site, user]")
	f.Enum(&c.value, "value", "share", []string{"share", "count"}, "What is added: the share of the rows, or their number.")
	c.words.fields(f, 100_000)
}

func (c *frequencyConfig) Check(add func(field, msg, want string)) {
	if len(c.columns) == 0 {
		add("columns", "no column is named", "expected at least one")
	}
}

// frequencyVersion is the version of the states of frequency_encode.
const frequencyVersion = 1

// rowCount counts rows.
type rowCount struct{ N int64 }

// frequency is the operator.
type frequency struct {
	columns []frequencyColumn
	share   bool
}

type frequencyColumn struct {
	category
	counts state.Map[uint32, rowCount] // by index in the vocabulary
	all    *state.Cell[rowCount]
	out    operators.Col
}

func newFrequency(c *frequencyConfig, env *operators.Env) operators.Operator {
	o := &frequency{share: c.value == "share", columns: make([]frequencyColumn, len(c.columns))}
	for i, col := range c.columns {
		t := &o.columns[i]
		t.category = newCategory(env, col, &c.words)
		env.Bind("counts/"+col.Name, frequencyVersion, &t.counts)
		t.all = operators.NewCell(env, "rows/"+col.Name, frequencyVersion, rowCount{})
		t.out = env.AddOwn(col.Name, batch.Float64, env.Field(t.col).Nullable)
	}
	return o
}

func (o *frequency) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	for i := range o.columns {
		c := &o.columns[i]
		col, to := c.col.Of(in), c.out.Of(in)
		for row := range in.N {
			if col.Null(row) {
				to.SetNull(row)
				continue
			}
			index, taken := c.values.learn(c.text(col, row))
			n := c.counts.Ensure(index)
			if taken {
				n.N = 0
			}
			n.N++
			c.all.V.N++
			to.Floats[row] = float64(n.N)
			if o.share {
				to.Floats[row] /= float64(c.all.V.N)
			}
		}
	}
	return out.Emit(in)
}
