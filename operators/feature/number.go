package feature

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/feature/scale"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

const scaleClip = scale.DefaultClip

// scalerVersion is the version of the state of the scalers.
const scalerVersion = 1

// number is a numeric column with its scaler; at most one of the cells is used.
// Each column has a cell of its own, named after it, so that adding a column
// keeps what was learnt about the others.
type number struct {
	name  string
	col   operators.Col
	index uint32
	clip  float64

	standard *state.Cell[scale.Standard]
	minmax   *state.Cell[scale.MinMax]
	maxabs   *state.Cell[scale.MaxAbs]

	deviation scale.Deviation // of standard

	in     *batch.Column // of the batch being processed
	floats []float64     // its values, if it is of float64 without nulls

	touched int // row that the scaler has just learnt; -1 = none
	before  struct {
		standard scale.Standard
		minmax   scale.MinMax
		maxabs   scale.MaxAbs
	}
}

func newNumber(env *operators.Env, col spec.Column, c *vectorizeConfig) number {
	n := number{name: col.Name, col: env.InNumber(col), clip: c.clip, touched: -1}
	n.index = uint32(nameHash(1, col.Name)) & (1<<c.bits - 1)
	cell := "scale/" + col.Name
	switch c.scale {
	case "standard":
		n.standard = operators.NewCell(env, cell, scalerVersion, scale.Standard{})
	case "minmax":
		n.minmax = operators.NewCell(env, cell, scalerVersion, scale.MinMax{})
	case "maxabs":
		n.maxabs = operators.NewCell(env, cell, scalerVersion, scale.MaxAbs{})
	}
	return n
}

// of looks the column up in a batch, once for all its rows.
func (n *number) of(b *batch.Batch) {
	n.in, n.floats = n.col.Of(b), nil
	if n.in.Type == batch.Float64 && !n.in.HasNulls() {
		n.floats = n.in.Floats
	}
}

// scaled lets the scaler learn x and scales it.
func (n *number) scaled(x float64, row int) (float32, error) {
	ok := true
	switch {
	case n.standard != nil:
		s := &n.standard.V
		n.before.standard = *s
		var z float64
		if z, ok = n.deviation.Learn(s, x, n.clip); ok {
			n.touched = row
			x = z
		}
	case n.minmax != nil:
		s := &n.minmax.V
		n.before.minmax = *s
		if ok = s.Update(x); ok {
			n.touched = row
			x = s.Scale(x)
		}
	case n.maxabs != nil:
		s := &n.maxabs.V
		n.before.maxabs = *s
		if ok = s.Update(x); ok {
			n.touched = row
			x = s.Scale(x)
		}
	}
	if !ok {
		return 0, fmt.Errorf("column %q: %v is too large to be scaled", n.name, x)
	}
	if !fits(x) {
		return 0, fmt.Errorf("column %q: %v does not fit a float32", n.name, x)
	}
	return float32(x), nil
}

// undo takes back what the scaler learnt from the row.
func (n *number) undo(row int) {
	if n.touched != row {
		return
	}
	n.touched = -1
	switch {
	case n.standard != nil:
		n.standard.V = n.before.standard
	case n.minmax != nil:
		n.minmax.V = n.before.minmax
	case n.maxabs != nil:
		n.maxabs.V = n.before.maxabs
	}
}
