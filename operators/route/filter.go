package route

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[filterConfig]{
	Name:    "filter",
	Summary: "Keeps the rows for which an expression is true.",
	Doc: "The expression (language: Expr, expr-lang.org) compares columns and constants: == != < <= > >=, and or not, + - * / %, ** with a whole constant, in, contains, startsWith, endsWith, matches (a regular expression), " +
		"condition ? a : b, and ?? for the value of a null. Functions: abs all any ceil count float floor hasPrefix hasSuffix indexOf int lastIndexOf len lower max min none one round string trim trimPrefix trimSuffix upper. " +
		"string writes numbers as JSON does: the shortest decimal that reads back, with an exponent below 1e-6 and from 1e21 on. " +
		"Clocks and time zones are left out, as the same input must always give the same output.\n\n" +
		"A column is named as it is, with its dots: ctr.probability > 0.5. One whose name is not made of letters, digits, _ and dots is written $env[\"user-id\"]. " +
		"Timestamps are whole numbers of milliseconds since 1970; sparse columns cannot be read. Types are checked before anything runs.\n\n" +
		"A null is nil: price == nil is true for it; in, contains, startsWith, endsWith and matches are false. Where an expression computes with a null or orders it, or divides a whole number by zero with %, the row is rejected; " +
		"price != nil and price > 0, or (price ?? 0) > 0, says what is meant.\n\n" +
		"Cost: for a comparison or two 50 to 100 ns a row; arithmetic allocates its numbers. Rows are copied only if some of their batch are dropped. No state.",
	Columns: "Those of the input.",
	Examples: []spec.Example{{
		Title:  "Numbers and texts",
		Config: "filter: {where: price > 0 and site != 'x'}",
		In:     "price:float64,site:string\n1.5,a\n0,a\n2,x\n3,b\n",
		Out:    "price,site\n1.5,a\n3,b\n",
	}, {
		Title:  "Columns of a learner, and nulls",
		Config: "filter: {where: ctr.probability >= 0.5 or y == nil}",
		In:     "ctr.probability:float64,y:bool?\n0.7,true\n0.2,false\n0.1,\n",
		Out:    "ctr.probability,y\n0.7,true\n0.1,\n",
	}},
	Build: newFilter,
}))

type filterConfig struct{ where spec.Text }

func (c *filterConfig) Fields(f *spec.Fields) {
	f.Text(&c.where, "where", "", "Expression that is true or false for every row.").Required().Example("price > 0 and site != 'x'")
}

// filter is the operator.
type filter struct {
	where condition
	kept  *batch.Batch
	keep  []bool
}

func newFilter(c *filterConfig, env *operators.Env) operators.Operator {
	return &filter{where: newCondition(c.where, env), kept: batch.New(env.Input(0))}
}

func (o *filter) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.keep = o.keep[:0]
	dropped := false
	for row := range in.N {
		keep, err := o.where.holds(in, row)
		if err != nil {
			out.Reject(row, err)
		} else if !keep {
			dropped = true
		}
		o.keep = append(o.keep, keep)
	}
	if !dropped {
		return out.Emit(in) // without what was rejected
	}
	o.kept.Reset()
	o.kept.Like(in)
	for row, keep := range o.keep {
		if keep {
			o.kept.AppendRow(in, row)
		}
	}
	return out.Emit(o.kept)
}
