package learn

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/gaussian"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// inputsConfig names the columns of a learner that reads them itself instead of
// the vector of vectorize.
type inputsConfig struct {
	numeric, categorical []spec.Column
	given                bool // numeric was written
}

func (c *inputsConfig) numericField(f *spec.Fields) {
	f.Columns(&c.numeric, "numeric", nil, "Columns taken as numbers: float64, int64, bool, timestamp. "+
		"Left out: all of type float64, int64 and bool but the label, those taken in another way, and those with a dot in their name, as other learners add them.").Example("[price, volume]").Given(&c.given)
}

func (c *inputsConfig) categoricalField(f *spec.Fields) {
	f.Columns(&c.categorical, "categorical", nil, "Columns taken by their text: string, int64, bool.").Example("[site]")
}

// numbers are the columns of a learner that are read as numbers.
type numbers struct {
	names []string
	cols  []operators.Col
	in    []*batch.Column // of the batch being processed
	x     []float64       // the row, NaN where it is null
}

// newNumbers finds the numeric columns and pins them: what was learnt of one
// column says nothing of another. weight is taken for nothing else unless numeric
// names it.
func newNumbers(c *inputsConfig, env *operators.Env, label, weight spec.Column) *numbers {
	cols := c.numeric
	if !c.given {
		taken := append([]spec.Column{label, weight}, c.categorical...)
		for _, f := range env.Input(0).Fields {
			if !slices.Contains([]batch.Type{batch.Float64, batch.Int64, batch.Bool}, f.Type) || strings.Contains(f.Name, ".") ||
				slices.ContainsFunc(taken, func(t spec.Column) bool { return t.Name == f.Name }) {
				continue
			}
			cols = append(cols, spec.Column{Name: f.Name})
		}
	}
	n := &numbers{x: make([]float64, len(cols)), in: make([]*batch.Column, len(cols))}
	for _, col := range cols {
		if col.Name == label.Name {
			env.Errorf(col.Pos, "expected columns that are known when the label is not", "column %q is the label", col.Name)
		}
		n.names = append(n.names, col.Name)
		n.cols = append(n.cols, env.InNumber(col))
	}
	if len(cols)+len(c.categorical) == 0 {
		env.Errorf(spec.Pos{}, "expected a column of type float64, int64 or bool beside the label, or numeric", "there is nothing to learn from")
	}
	env.Pin("numeric", fmt.Sprintf("%q", n.names))
	return n
}

// of binds the columns of a batch.
func (n *numbers) of(in *batch.Batch) {
	for i, c := range n.cols {
		n.in[i] = c.Of(in)
	}
}

// read returns the numbers of a row, NaN where it is null, borrowed until the
// next call.
func (n *numbers) read(row int) ([]float64, error) {
	for i, c := range n.in {
		v, ok := c.Number(row)
		if !ok {
			v = math.NaN()
		} else if math.Abs(v) > gaussian.Most {
			return nil, fmt.Errorf("column %q is %v; expected a number from -1e100 to 1e100", n.names[i], v)
		}
		n.x[i] = v
	}
	return n.x, nil
}

// absent reports whether a number of [numbers.read] is that of a null.
func absent(x float64) bool { return x != x }

// The number of a value that is none: of a null, and of a text not seen before.
const (
	nullValue   = -1
	unseenValue = -2
)

// categories are the columns of a learner that are read by their text. A text has
// the number of its place among those its column has had; further ones than most,
// and those that are too long, share the number most.
type categories struct {
	most  int
	cols  []operators.Col
	in    []*batch.Column // of the batch being processed
	known *categoryNames
	index []operators.TextIndex // of known.Columns
	v     []int32               // the row
	text  []byte
}

type categoryNames struct{ Columns [][]string }

// categoriesVersion is the version of categoryNames as a state.
const categoriesVersion = 1

// newCategories finds the columns and pins them. Their state is the cell "values".
func newCategories(c *inputsConfig, most int, env *operators.Env, label spec.Column) *categories {
	o := &categories{most: most, known: &categoryNames{Columns: make([][]string, len(c.categorical))}}
	var names []string
	for _, col := range c.categorical {
		if col.Name == label.Name {
			env.Errorf(col.Pos, "expected columns that are known when the label is not", "column %q is the label", col.Name)
		}
		names = append(names, col.Name)
		o.cols = append(o.cols, env.In(col, batch.String, batch.Int64, batch.Bool))
	}
	o.in, o.v = make([]*batch.Column, len(o.cols)), make([]int32, len(o.cols))
	o.index = make([]operators.TextIndex, len(o.cols))
	env.Pin("categorical", fmt.Sprintf("%q", names))
	if len(o.cols) > 0 {
		env.BindValue("values", categoriesVersion, o.known)
	}
	return o
}

// of binds the columns of a batch.
func (o *categories) of(in *batch.Batch) {
	for i, c := range o.cols {
		o.in[i] = c.Of(in)
	}
}

// read returns the numbers of a row's values, borrowed until the next call.
func (o *categories) read(row int) []int32 {
	for i, c := range o.in {
		o.v[i] = nullValue
		if c.Null(row) {
			continue
		}
		o.text = c.AppendText(o.text[:0], row)
		o.v[i] = o.number(i)
	}
	return o.v
}

// number is that of the text of a column.
func (o *categories) number(column int) int32 {
	names := o.known.Columns[column]
	if k := o.index[column].Place(names, o.text); k >= 0 {
		return int32(k)
	}
	if len(names) >= o.most || len(o.text) > operators.MostText {
		return int32(o.most)
	}
	return unseenValue
}

// learn makes the values of the row last read known.
func (o *categories) learn(row int) {
	for i, v := range o.v {
		if v == unseenValue {
			o.text = o.in[i].AppendText(o.text[:0], row)
			o.v[i] = int32(len(o.known.Columns[i]))
			o.known.Columns[i] = append(o.known.Columns[i], string(o.text))
		}
	}
}
