package run

import (
	"errors"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// oddFamily holds operators that real families do not have yet, or must not have.
var oddFamily operators.Family

// odd says at which event something goes wrong.
type oddConfig struct {
	id  spec.Column
	bad string
	how string
}

func (c *oddConfig) Fields(f *spec.Fields) {
	f.Column(&c.id, "id", "id", "Column that names events.")
	f.String(&c.bad, "bad", "", "The event.")
	f.Enum(&c.how, "how", "panic", []string{"panic", "error"}, "What happens.")
}

type odd struct {
	c  oddConfig
	id operators.Col
}

var errOdd = errors.New("too odd")

func (o *odd) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	for row := range in.N {
		if o.id.Of(in).TextString(row) == o.c.bad {
			if o.c.how == "error" {
				return errOdd
			}
			panic(errOdd)
		}
	}
	return out.Emit(in)
}

var _ = oddFamily.Add(operators.Define(operators.Spec[oddConfig]{
	Name: "odd",
	Build: func(c *oddConfig, env *operators.Env) operators.Operator {
		return &odd{c: *c, id: env.In(c.id, batch.String)}
	},
}))

// pairs numbers the rows of two inputs as they come: an operator that sees in what
// order they do.
type pairsConfig struct{}

func (*pairsConfig) Fields(*spec.Fields) {}

type pairs struct {
	seen *int64
	n    operators.Col
	from operators.Col
}

type pairsState struct{ Seen int64 }

func (o *pairs) Process(port int, in *batch.Batch, out operators.Emitter) error {
	for row := range in.N {
		*o.seen++
		o.n.Of(in).Ints[row] = *o.seen
		o.from.Of(in).Ints[row] = int64(port)
	}
	return out.Emit(in)
}

var _ = oddFamily.Add(operators.Define(operators.Spec[pairsConfig]{
	Name:   "pairs",
	Inputs: 2,
	Build: func(_ *pairsConfig, env *operators.Env) operators.Operator {
		s := operators.NewCell(env, "seen", 1, pairsState{})
		return &pairs{seen: &s.V.Seen, n: env.AddOwn("n", batch.Int64, false), from: env.AddOwn("port", batch.Int64, false)}
	},
}))
