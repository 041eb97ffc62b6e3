package route

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[selectConfig]{
	Name:    "select",
	Summary: "Keeps some columns, in a new order or under new names.",
	Doc: "A list keeps names, a mapping gives new ones. One column may be taken under several names. Rows are not copied.\n\n" +
		"Cost: constant time a batch and column. No state.",
	Columns: "Those it names, with the types they have.",
	Examples: []spec.Example{{
		Title:  "A list",
		Config: "select: {columns: [ctr.probability, id]}",
		In:     "id:int64,site:string,ctr.probability:float64\n1,a,0.25\n2,b,0.75\n",
		Out:    "ctr.probability,id\n0.25,1\n0.75,2\n",
	}, {
		Title:  "New names",
		Config: "select: {columns: {id: id, p: ctr.probability}}",
		In:     "id:int64,site:string,ctr.probability:float64\n1,a,0.25\n2,b,0.75\n",
		Out:    "id,p\n1,0.25\n2,0.75\n",
	}},
	Build: newSelect,
}))

type selectConfig struct{ columns []spec.Entry }

func (c *selectConfig) Fields(f *spec.Fields) {
	f.Selection(&c.columns, "columns", "Columns to keep, in this order.").Required().Example("{id: id, p: ctr.probability}")
}

func (c *selectConfig) Check(add func(field, msg, want string)) {
	if len(c.columns) == 0 {
		add("columns", "no column is selected", "expected at least one")
	}
}

// selection is the operator.
type selection struct {
	from []operators.Col
	out  *batch.Batch
}

func newSelect(c *selectConfig, env *operators.Env) operators.Operator {
	o := &selection{}
	var fields []batch.Field
	for _, e := range c.columns {
		col := env.In(spec.Column(e.Value))
		field := env.Field(col)
		field.Name = e.Key.Name
		o.from, fields = append(o.from, col), append(fields, field)
	}
	o.out = env.Project(fields...)
	return o
}

func (o *selection) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.out.Cols = o.out.Cols[:0]
	for _, col := range o.from {
		o.out.Cols = append(o.out.Cols, col.Of(in))
	}
	o.out.N, o.out.Origin = in.N, in.Origin
	return out.Emit(o.out)
}
