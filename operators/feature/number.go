package feature

import (
	"fmt"
	"math"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/feature/quantile"
	"github.com/gradstream/gradstream/operators/feature/scale"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

const scaleClip = scale.DefaultClip

// Versions of the states of numbers.
const (
	scalerVersion = 1
	meanVersion   = 1
)

// missing says what a null in a numeric column gives.
type missing uint8

const (
	absent    missing = iota // no feature
	mean                     // the mean of the values so far
	zero                     // the value 0
	indicator                // a feature that says so
)

var missingNames = []string{"absent", "mean", "zero", "indicator"}

// runningMean is the mean of a column, for its nulls.
type runningMean struct {
	N    int64   // values seen
	Mean float64 // in the unit of the column
}

// learn takes up x. It returns false and changes nothing if the mean would overflow.
func (m *runningMean) learn(x float64) bool {
	n := m.N + 1
	to := m.Mean + (x-m.Mean)/float64(n)
	if to-to != 0 {
		return false
	}
	m.N, m.Mean = n, to
	return true
}

// number is a numeric column with its scaler; at most one of the scalers is used.
// Each column has cells of its own, named after it, so that adding a column
// keeps what was learnt about the others.
type number struct {
	name    string
	col     operators.Col
	index   uint32
	missing missing
	null    uint32 // index of the indicator
	clip    float64
	newest  float64 // weight of the newest value in adaptive

	standard *state.Cell[scale.Standard]
	minmax   *state.Cell[scale.MinMax]
	maxabs   *state.Cell[scale.MaxAbs]
	robust   *scale.Robust // over a cell of quantile.Values
	adaptive *state.Cell[scale.Adaptive]
	mean     *state.Cell[runningMean]

	deviation scale.Deviation // of standard
	quick     bool            // there is nothing to learn but standard

	in     *batch.Column // of the batch being processed
	floats []float64     // its values, if it is of float64 without nulls

	touched int // row that the scaler has just learnt; -1 = none
	before  struct {
		standard scale.Standard
		minmax   scale.MinMax
		maxabs   scale.MaxAbs
		adaptive scale.Adaptive
		mean     runningMean
	}
}

func newNumber(env *operators.Env, col spec.Column, c *vectorizeConfig) number {
	n := number{name: col.Name, col: env.InNumber(col), clip: c.clip, newest: 1 - exact.Exp(-math.Ln2/c.halfLife), touched: -1}
	mask := uint32(1<<c.bits - 1)
	n.index = uint32(nameHash(1, col.Name)) & mask
	n.null = uint32(nameHash(nullSeed, col.Name)) & mask
	for i, name := range missingNames {
		if name == c.missing {
			n.missing = missing(i)
		}
	}
	cell := "scale/" + col.Name
	switch c.scale {
	case "standard":
		n.standard = operators.NewCell(env, cell, scalerVersion, scale.Standard{})
	case "minmax":
		n.minmax = operators.NewCell(env, cell, scalerVersion, scale.MinMax{})
	case "maxabs":
		n.maxabs = operators.NewCell(env, cell, scalerVersion, scale.MaxAbs{})
	case "robust":
		values := operators.NewCell(env, cell, scalerVersion, quantile.Values{})
		n.robust = &scale.Robust{Window: quantile.NewWindow(&values.V, c.window)}
	case "adaptive":
		n.adaptive = operators.NewCell(env, cell, scalerVersion, scale.Adaptive{})
	}
	n.quick = n.standard != nil && n.missing != mean
	if n.missing == mean {
		n.mean = operators.NewCell(env, "mean/"+col.Name, meanVersion, runningMean{})
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

// standardized is scaled for the scaler that most columns have. It returns false, and has
// changed nothing, where scaled has an error.
func (n *number) standardized(x float64, row int) (float32, bool) {
	s := &n.standard.V
	n.before.standard = *s
	z, ok := n.deviation.Learn(s, x, n.clip)
	if ok {
		n.touched = row
	}
	return float32(z), ok // the scaler holds z to what a float32 holds
}

// scaled lets the scaler learn x and scales it.
func (n *number) scaled(x float64, row int) (float32, error) {
	ok := true
	if n.mean != nil {
		n.before.mean = n.mean.V
		if ok = n.mean.V.learn(x); !ok {
			return 0, n.tooLarge(x)
		}
	}
	switch {
	case n.standard != nil:
		s := &n.standard.V
		n.before.standard = *s
		var z float64
		if z, ok = n.deviation.Learn(s, x, n.clip); ok {
			x = z
		}
	case n.minmax != nil:
		s := &n.minmax.V
		n.before.minmax = *s
		if ok = s.Update(x); ok {
			x = s.Scale(x)
		}
	case n.maxabs != nil:
		s := &n.maxabs.V
		n.before.maxabs = *s
		if ok = s.Update(x); ok {
			x = s.Scale(x)
		}
	case n.robust != nil:
		if ok = n.robust.Update(x); ok {
			x = n.robust.Scale(x, n.clip)
		}
	case n.adaptive != nil:
		s := &n.adaptive.V
		n.before.adaptive = *s
		if ok = s.Update(x, n.newest); ok {
			x = s.Scale(x, n.clip)
		}
	}
	if !ok {
		if n.mean != nil {
			n.mean.V = n.before.mean
		}
		return 0, n.tooLarge(x)
	}
	n.touched = row
	if !fits(x) {
		return 0, fmt.Errorf("column %q: %v does not fit a float32", n.name, x)
	}
	return float32(x), nil
}

func (n *number) tooLarge(x float64) error {
	return fmt.Errorf("column %q: %v is too large to be scaled", n.name, x)
}

// filled returns the feature that a null gives, which nothing learns from; ok is
// false if it gives none.
func (n *number) filled() (index uint32, value float32, ok bool) {
	var x float64
	switch n.missing {
	case absent:
		return 0, 0, false
	case indicator:
		return n.null, 1, true
	case mean:
		if n.mean.V.N == 0 {
			return 0, 0, false
		}
		x = n.mean.V.Mean
	case zero:
	}
	switch {
	case n.standard != nil:
		x = n.standard.V.Scale(x, n.clip)
	case n.minmax != nil:
		x = n.minmax.V.Scale(x)
	case n.maxabs != nil:
		x = n.maxabs.V.Scale(x)
	case n.robust != nil:
		x = n.robust.Scale(x, n.clip)
	case n.adaptive != nil:
		x = n.adaptive.V.Scale(x, n.clip)
	}
	return n.index, float32(x), true
}

// undo takes back what was learnt from the row.
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
	case n.robust != nil:
		n.robust.Undo()
	case n.adaptive != nil:
		n.adaptive.V = n.before.adaptive
	}
	if n.mean != nil {
		n.mean.V = n.before.mean
	}
}
