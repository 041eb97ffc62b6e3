package route

import (
	"fmt"
	"unicode/utf8"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[mapConfig]{
	Name:    "map",
	Summary: "Adds columns computed by expressions.",
	Doc: "Each entry adds a column: its name, and an expression in the language of filter, over the columns of the input. The entries do not see each other; a second map does. " +
		"The type follows from the expression and is checked before anything runs: bool, string, int64 for whole numbers, float64 for others and for a mix of both. / and ** give float64; whole numbers beyond 64 bits wrap around. Timestamps are read as whole numbers of milliseconds, and so is what is computed of them.\n\n" +
		"Nulls: what computes with a null is null, and so is an expression that comes to nil. A column may be null if its expression reads one that may be, except as in (price ?? 0) and price == nil. " +
		"A row is rejected if a result is not finite (1 / 0), not UTF-8 (a slice through a character), or fails otherwise (% 0).\n\n" +
		"Cost: some 100 ns a column and row for a short expression; arithmetic and functions allocate their results. No state.",
	Columns: "Those of the input, and one for each entry of `columns`.",
	Examples: []spec.Example{{
		Title:  "Arithmetic, a default for nulls, a condition",
		Config: "map: {columns: {total: price * n, known: site ?? 'none', size: 'n > 2 ? \"bulk\" : \"few\"'}}",
		In:     "price:float64,n:int64?,site:string?\n1.5,4,a\n2,,b\n3,1,\n",
		Out:    "price,n,site,total,known,size\n1.5,4,a,6,a,bulk\n2,,b,,b,\n3,1,,3,none,few\n",
	}, {
		Title:  "The hour of a time, as a category",
		Config: "map: {columns: {hour: int(ts / 3600000) % 24}}",
		In:     "ts:timestamp\n2024-02-29T13:45:00Z\n",
		Out:    "ts,hour\n2024-02-29T13:45:00.000Z,13\n",
	}},
	Allocates: "expressions make their results",
	Build:     newMapper,
}))

type mapConfig struct{ columns []spec.NamedText }

func (c *mapConfig) Fields(f *spec.Fields) {
	f.Texts(&c.columns, "columns", "Columns to add, each with the expression that computes it.").Required().Matching(`.+`, "a name").Example("{total: price * quantity}")
}

func (c *mapConfig) Check(add func(field, msg, want string)) {
	if len(c.columns) == 0 {
		add("columns", "no column is computed", "expected at least one")
	}
}

// mapper is the operator.
type mapper struct{ columns []computed }

type computed struct {
	name string
	from *expression
	typ  batch.Type
	null bool // it may be null
	out  operators.Col
}

func newMapper(c *mapConfig, env *operators.Env) operators.Operator {
	o := &mapper{}
	for _, e := range c.columns {
		x := compile(e.Text, env)
		if x == nil {
			continue
		}
		k := computed{name: e.Name.Name, from: x}
		var ok bool
		if k.typ, ok = resultType(x.program.Node()); !ok {
			env.Errorf(e.Text.Pos, "expected bool, int64, float64 or string, the same whatever its conditions", "the type of the expression is not known")
			continue
		}
		k.null = mayBeNull(x.program.Node(), env.Input(0))
		k.out = env.Add(batch.Field{Name: k.name, Type: k.typ, Nullable: k.null})
		o.columns = append(o.columns, k)
	}
	return o
}

func (o *mapper) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	for row := range in.N {
		var failed error
		for i := range o.columns {
			c := &o.columns[i]
			to := c.out.Of(in)
			if err := c.compute(in, row, to); err != nil && failed == nil {
				failed = err
			}
			if to.Type == batch.String && to.Len() == row { // it failed: the row is left out, but its place is not
				to.AppendString("")
			}
		}
		if failed != nil {
			out.Reject(row, failed)
		}
	}
	return out.Emit(in)
}

func (c *computed) compute(in *batch.Batch, row int, to *batch.Column) error {
	v, err := c.from.run(in, row)
	if err != nil {
		if !c.null || !c.from.readsNull() {
			return fmt.Errorf("column %q: %w", c.name, c.from.why(err))
		}
		v = nil
	}
	if v == nil && c.null {
		if to.Type == batch.String {
			to.AppendNull()
		} else {
			to.SetNull(row)
		}
		return nil
	}
	ok := false
	switch to.Type {
	case batch.Bool:
		to.Bools[row], ok = v.(bool)
	case batch.Int64:
		to.Ints[row], ok = whole(v)
	case batch.Float64:
		var x float64
		if x, ok = v.(float64); !ok {
			var n int64
			n, ok = whole(v)
			x = float64(n)
		}
		if ok && x-x != 0 {
			return fmt.Errorf("column %q: %s is %v; expected a finite number", c.name, c.from.text, x)
		}
		to.Floats[row] = x
	case batch.String:
		var s string
		if s, ok = v.(string); ok {
			if !utf8.ValidString(s) {
				return fmt.Errorf("column %q: %s is not UTF-8", c.name, c.from.text)
			}
			to.AppendString(s)
		}
	}
	if !ok {
		return fmt.Errorf("column %q: %s is %v; expected %s", c.name, c.from.text, v, to.Type)
	}
	return nil
}

func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	}
	return 0, false
}

// readsNull reports whether a column that the expression reads was null in the
// row it was last run on.
func (c *expression) readsNull() bool {
	for _, v := range c.vars {
		if v.null {
			return true
		}
	}
	return false
}
