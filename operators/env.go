package operators

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/weights"
)

// Env is what an operator is given while it is built: the columns of its input,
// handles for state, and a place for complaints.
type Env struct {
	node     string
	def      *Definition
	pos      spec.Pos
	inputs   []*batch.Schema
	pinned   string
	planning bool
	task     int

	added   []batch.Field
	output  *batch.Schema // set by Output or Project
	states  []Binding
	reports []func(*Report)
	errs    spec.Errors

	explain  func(in *batch.Batch, row int, x *Explanation)
	features func(in *batch.Batch, row int) []Feature
}

// Binding is a state handle an operator asked for.
type Binding struct {
	ID    state.ID
	State state.Stateful
}

// Report collects named numbers that describe a node as it stands.
type Report struct{ Values []Value }

// Value is one number of a report.
type Value struct {
	Name   string
	Number float64
	Null   bool // undefined so far
}

// Set adds a number.
func (r *Report) Set(name string, v float64) {
	r.Values = append(r.Values, Value{Name: name, Number: v})
}

// SetNull adds a number that is undefined so far.
func (r *Report) SetNull(name string) { r.Values = append(r.Values, Value{Name: name, Null: true}) }

// Get returns the named number; ok is false if it is absent or undefined.
func (r *Report) Get(name string) (v float64, ok bool) {
	for _, x := range r.Values {
		if x.Name == name {
			return x.Number, !x.Null
		}
	}
	return 0, false
}

// Col is a handle on a column of the batches an operator processes.
type Col int

// Of returns the column in a batch that was passed to Process.
func (c Col) Of(b *batch.Batch) *batch.Column { return b.Cols[c] }

// Node returns the node's name in the pipeline file.
func (e *Env) Node() string { return e.node }

// Task returns the number of the task the node is built for, from 0; 0 while
// planning. It may be shown in what an operator emits, and nothing else may
// depend on it.
func (e *Env) Task() int { return e.task }

// Input returns the columns of an input.
func (e *Env) Input(port int) *batch.Schema { return e.inputs[port] }

// IsBool reports whether the first input has that column, and it is a bool.
func (e *Env) IsBool(c spec.Column) bool { return e.is(c, batch.Bool) }

// IsString is the same for a string.
func (e *Env) IsString(c spec.Column) bool { return e.is(c, batch.String) }

func (e *Env) is(c spec.Column, t batch.Type) bool {
	i := e.inputs[0].Lookup(c.Name)
	return i >= 0 && e.inputs[0].Fields[i].Type == t
}

// Errorf complains of something in the configuration. want may be empty.
func (e *Env) Errorf(at spec.Pos, want, format string, args ...any) {
	if at == (spec.Pos{}) {
		at = e.pos
	}
	e.errs = append(e.errs, spec.Error{Pos: at, Msg: fmt.Sprintf(format, args...), Want: want})
}

// In returns a handle on a column of the first input, which must have one of the
// types; no types mean any. A column that does not exist or has another type is
// complained of, and the handle is then useless but harmless.
func (e *Env) In(c spec.Column, types ...batch.Type) Col {
	s := e.inputs[0]
	at := c.Pos
	i := s.Lookup(c.Name)
	if i < 0 {
		want := columnsOf(s, types)
		if n := spec.Nearest(c.Name, s.Names()); n != "" {
			want = fmt.Sprintf("did you mean %q?", n)
		}
		e.Errorf(at, want, "no column %q", c.Name)
		return 0
	}
	if f := s.Fields[i]; len(types) > 0 && !slices.Contains(types, f.Type) {
		e.Errorf(at, "expected "+typeList(types), "column %q is %s", c.Name, f.TypeString())
	}
	return Col(i)
}

// InNumber returns a handle on a column that can be read as a number.
func (e *Env) InNumber(c spec.Column) Col {
	return e.In(c, batch.Bool, batch.Int64, batch.Float64, batch.Timestamp)
}

// Field returns the field of a column handle.
func (e *Env) Field(c Col) batch.Field {
	if n := len(e.inputs[0].Fields); int(c) < n {
		return e.inputs[0].Fields[c]
	} else if int(c)-n < len(e.added) {
		return e.added[int(c)-n]
	}
	return batch.Field{}
}

// Add adds a column behind those of the input and returns its handle. Before
// every Process it has a zero, non-null value for each row, to be written by
// index; columns of type string and sparse are empty and must be appended to,
// one row for each row of the input. A name that exists already is complained of.
func (e *Env) Add(f batch.Field) Col {
	s := e.inputs[0]
	if s.Lookup(f.Name) >= 0 || slices.ContainsFunc(e.added, func(a batch.Field) bool { return a.Name == f.Name }) {
		e.Errorf(e.pos, "expected another name for this operator or column", "column %q exists already", f.Name)
	}
	e.added = append(e.added, f)
	return Col(len(s.Fields) + len(e.added) - 1)
}

// AddOwn adds a column named after the node: NODE.suffix.
func (e *Env) AddOwn(suffix string, t batch.Type, nullable bool) Col {
	return e.Add(batch.Field{Name: e.node + "." + suffix, Type: t, Nullable: nullable})
}

// Output declares that the operator emits batches of its own instead of its
// input: rows of these columns, appended by it to the returned batch. It must
// empty the batch itself, and give each row an origin with EndRow.
func (e *Env) Output(fields ...batch.Field) *batch.Batch {
	e.output = batch.NewSchema(fields...)
	return batch.New(e.output)
}

// Project declares that the operator emits the rows of its input with other
// columns: at each Process it sets the returned batch's Cols, N and Origin.
func (e *Env) Project(fields ...batch.Field) *batch.Batch {
	e.output = batch.NewSchema(fields...)
	return &batch.Batch{Schema: e.output}
}

// Weights returns a weight table of rows times stride float32, all zero before
// anything was learnt.
func (e *Env) Weights(name string, version, rows, stride int) *weights.Table {
	if e.planning {
		rows = 0
	}
	t := weights.New(rows, stride)
	e.Bind(name, version, t)
	return t
}

// GrowingWeights is [Env.Weights] for a table of which nobody knows yet how much
// of it is needed: see [weights.NewGrowing].
func (e *Env) GrowingWeights(name string, version, most, stride int) *weights.Table {
	t := weights.NewGrowing(most, stride)
	e.Bind(name, version, t)
	return t
}

// NewCell returns a state handle for one value, which is initial before anything
// was stored.
func NewCell[T any](e *Env, name string, version int, initial T) *state.Cell[T] {
	c := &state.Cell[T]{V: initial}
	e.Bind(name, version, c)
	return c
}

// BindValue makes what p points to part of the task's state: a cell whose value
// lies where its user wants it. p is a pointer to a struct as of [state.Cell]
// and stays the same for the node's life.
func (e *Env) BindValue(name string, version int, p any) {
	NewCell(e, name, version, elsewhere{p})
}

// elsewhere is a value that lies behind a pointer.
type elsewhere struct{ p any }

// AppendState implements [state.Codec].
func (v *elsewhere) AppendState(dst []byte) []byte { return state.Append(dst, v.p) }

// LoadState implements [state.Codec].
func (v *elsewhere) LoadState(src []byte) error { return state.Decode(src, v.p) }

// Bind makes a handle part of the task's state under the node's name.
func (e *Env) Bind(name string, version int, s state.Stateful) {
	id := state.ID{Node: e.node, Name: name, Version: version, Pinned: e.pinned}
	e.states = append(e.states, Binding{id, s})
}

// Pin adds a setting to those under which the node's state can be read, beside
// the pinned fields of its configuration: a layout that follows from several of
// them, say. State asked for before it is not bound to it.
func (e *Env) Pin(name, value string) { e.pinned += " " + name + "=" + value }

// Report registers a function that describes the node as it stands. It is called
// between batches.
func (e *Env) Report(f func(r *Report)) { e.reports = append(e.reports, f) }

// columnsOf says which columns of the types there are; a column whose own type is
// wrong counts.
func columnsOf(s *batch.Schema, types []batch.Type) string {
	const most = 12
	var names []string
	for _, f := range s.Fields {
		if len(types) == 0 || f.Type == 0 || slices.Contains(types, f.Type) {
			names = append(names, f.Name)
		}
	}
	switch n := len(names); {
	case n == 0:
		return "expected a column of type " + typeList(types) + ", but the input has none"
	case n > most:
		return fmt.Sprintf("expected one of %s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return spec.Suggest("", names)
}

func typeList(types []batch.Type) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.String()
	}
	switch n := len(names); n {
	case 0:
		return "any type"
	case 1:
		return names[0]
	default:
		return strings.Join(names[:n-1], ", ") + " or " + names[n-1]
	}
}
