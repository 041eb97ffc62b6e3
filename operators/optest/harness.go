package optest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
)

// NodeName is the name of the node in every test, so that columns an operator
// names after its node are `node.…`.
const NodeName = "node"

// Clock is the step's clock in every test, milliseconds since 1970.
const Clock = 1_700_000_000_000

// Harness runs one operator over rows, with a store in memory beneath it.
type Harness struct {
	Node     *operators.Node
	Rejected []Rejected

	buildAs  func(config string) (*operators.Node, error)
	config   string
	store    *memstore.Store
	part     state.Partition
	step     uint64
	out      *batch.Batch
	laws     []error // what the operator emitted wrongly
	noRecord bool    // count rows, but do not keep them
}

// Rejected is a row an operator rejected.
type Rejected struct {
	Row int64 // its offset: the number of the row in the input
	Why string
}

// Open builds the operator. config is what a pipeline file says of the node
// besides from: `{bits: 8}`, or with the operator's name `vectorize: {bits: 8}`.
func Open(def *operators.Definition, config string, inputs ...*batch.Schema) (*Harness, error) {
	return OpenFile(def, config, "", inputs...)
}

// OpenFile is [Open] for an operator that reads a file ([operators.FileReader]),
// which holds content.
func OpenFile(def *operators.Definition, config, content string, inputs ...*batch.Schema) (*Harness, error) {
	h := &Harness{store: memstore.New()}
	h.buildAs = func(config string) (*operators.Node, error) {
		c, err := decode(def, config, content)
		if err != nil {
			return nil, err
		}
		if len(inputs) < def.Inputs {
			return nil, fmt.Errorf("%s has %d inputs, columns are given for %d", def.Name, def.Inputs, len(inputs))
		}
		// As when a pipeline is loaded: once for the sake of complaints.
		if _, errs := def.Build(c, operators.BuildOptions{Node: NodeName, Inputs: inputs, Planning: true}); len(errs) > 0 {
			return nil, errs
		}
		if c, err = decode(def, config, content); err != nil {
			return nil, err
		}
		n, errs := def.Build(c, operators.BuildOptions{Node: NodeName, Inputs: inputs})
		return n, errs.Err()
	}
	h.config = config
	return h, h.open()
}

func decode(def *operators.Definition, config, content string) (spec.Config, error) {
	n, err := parseConfig(def, config)
	if err != nil {
		return nil, err
	}
	c := def.New()
	errs := spec.Decode(n, c)
	if r, ok := c.(operators.FileReader); ok && len(errs) == 0 {
		errs = r.File().Read(strings.NewReader(content), r.ReadFile)
	}
	return c, errs.Err()
}

// parseConfig returns the operator's mapping.
func parseConfig(def *operators.Definition, config string) (*spec.Node, error) {
	n, errs := spec.Parse("", []byte(config))
	if err := errs.Err(); err != nil {
		return nil, err
	}
	if n != nil && n.Kind == spec.Map && len(n.Keys) == 1 && n.Keys[0].Name == def.Name {
		n = n.Keys[0].Value
	}
	return n, nil
}

func (h *Harness) open() error {
	var err error
	if h.Node, err = h.buildAs(h.config); err != nil {
		return err
	}
	if h.part, err = h.store.Open(0); err != nil {
		return err
	}
	for _, b := range h.Node.States() {
		if err := h.part.Bind(b.ID, b.State); err != nil {
			return err
		}
	}
	if h.out == nil {
		h.out = batch.New(h.Node.Schema)
	}
	h.Node.Next = func(b *batch.Batch) error {
		if h.noRecord {
			return nil
		}
		if err := checkEmitted(h.Node.Schema, b); err != nil {
			h.laws = append(h.laws, err)
			return nil
		}
		for row := range b.N {
			h.out.AppendRow(b, row)
		}
		return nil
	}
	h.Node.OnReject = func(in *batch.Batch, row int, why error) {
		if !h.noRecord {
			h.Rejected = append(h.Rejected, Rejected{in.Origin.Offset[row], why.Error()})
		}
	}
	return nil
}

// Feed passes rows to an input.
func (h *Harness) Feed(port int, b *batch.Batch) error {
	b.Origin.Clock = Clock
	if err := h.Node.Process(port, b); err != nil {
		return err
	}
	return errors.Join(h.laws...)
}

// Checkpoint makes the state durable.
func (h *Harness) Checkpoint() error {
	h.step++
	commit, err := h.part.Stage(state.Manifest{Step: h.step})
	if err != nil {
		return err
	}
	return commit(context.Background())
}

// Restart closes the store and builds the operator anew from the last checkpoint.
func (h *Harness) Restart() error {
	if err := h.part.Close(); err != nil {
		return err
	}
	return h.open()
}

// RestartAs is [Harness.Restart] with another configuration.
func (h *Harness) RestartAs(config string) error {
	h.config = config
	return h.Restart()
}

// Output returns what was emitted so far, all batches as one.
func (h *Harness) Output() *batch.Batch { return h.out }

// Text returns what was emitted and rejected so far: the rows as csv, then a
// line `rejected ROW: WHY` for each rejected row.
func (h *Harness) Text() string {
	var b strings.Builder
	b.WriteString(Format(h.out))
	for _, r := range h.Rejected {
		fmt.Fprintf(&b, "rejected %d: %s\n", r.Row, r.Why)
	}
	return b.String()
}

// Digest is a hash of the whole state.
func (h *Harness) Digest() uint64 {
	var d uint64
	for _, b := range h.Node.States() {
		d ^= state.Digest(b.ID, b.State)
	}
	return d
}

// StateSize is the length of the whole state in bytes.
func (h *Harness) StateSize() int {
	n := 0
	for _, b := range h.Node.States() {
		b.State.All(func(key, value []byte) bool {
			n += len(key) + len(value)
			return true
		})
	}
	return n
}

// Run builds the operator, feeds it the rows of in ([Parse]) in one batch a
// table, and returns what it emitted and rejected ([Harness.Text]).
func Run(def *operators.Definition, config, in string) (out string, err error) {
	return RunFile(def, config, "", in)
}

// RunFile is [Run] for an operator that reads a file, which holds content.
func RunFile(def *operators.Definition, config, content, in string) (out string, err error) {
	tables, err := Parse(in)
	if err != nil {
		return "", err
	}
	h, err := OpenFile(def, config, content, schemas(tables)...)
	if err != nil {
		return "", err
	}
	for _, t := range tables {
		if err := h.Feed(t.Port, t.Rows); err != nil {
			return "", err
		}
	}
	return h.Text(), nil
}

// schemas returns the columns of each port.
func schemas(tables []Table) []*batch.Schema {
	var out []*batch.Schema
	for _, t := range tables {
		for len(out) <= t.Port {
			out = append(out, nil)
		}
		if out[t.Port] == nil {
			out[t.Port] = t.Rows.Schema
		}
	}
	for i := range out {
		if out[i] == nil {
			out[i] = batch.NewSchema()
		}
	}
	return out
}

// checkEmitted reports what is wrong with an emitted batch.
func checkEmitted(want *batch.Schema, b *batch.Batch) error {
	if !slices.Equal(b.Schema.Fields, want.Fields) {
		return fmt.Errorf("emitted the columns %s, declared %s", b.Schema, want)
	}
	if len(b.Cols) != len(want.Fields) {
		return fmt.Errorf("emitted %d columns, declared %d", len(b.Cols), len(want.Fields))
	}
	o := b.Origin
	if o == nil || len(o.Offset) < b.N || len(o.Time) < b.N || len(o.Seq) < b.N {
		return fmt.Errorf("emitted %d rows, not all with an origin", b.N)
	}
	for row := 1; row < b.N; row++ {
		if o.Seq[row] < o.Seq[row-1] {
			return fmt.Errorf("emitted row %d, caused by row %d of the step, after one caused by row %d", row, o.Seq[row], o.Seq[row-1])
		}
	}
	for i, c := range b.Cols {
		if err := checkColumn(want.Fields[i], c, b.N); err != nil {
			return fmt.Errorf("emitted a column %s: %w", want.Fields[i].Name, err)
		}
	}
	return nil
}

func checkColumn(f batch.Field, c *batch.Column, rows int) error {
	if c.Type != f.Type {
		return fmt.Errorf("it is %s, declared %s", c.Type, f.Type)
	}
	if c.Len() != rows {
		return fmt.Errorf("it has %d rows, the batch %d", c.Len(), rows)
	}
	for row := range rows {
		if c.Null(row) && !f.Nullable {
			return fmt.Errorf("row %d is null", row)
		}
		switch f.Type {
		case batch.Float64:
			if v := c.Floats[row]; math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("row %d is %v", row, v)
			}
		case batch.String:
			if !utf8.Valid(c.Text(row)) {
				return fmt.Errorf("row %d is not UTF-8", row)
			}
		case batch.Sparse:
			idx, val := c.Row(row)
			if len(idx) != len(val) {
				return fmt.Errorf("row %d has %d indices and %d values", row, len(idx), len(val))
			}
			for k, i := range idx {
				if f.Dim > 0 && int64(i) >= int64(f.Dim) {
					return fmt.Errorf("row %d has the index %d, not below %d", row, i, f.Dim)
				}
				if v := float64(val[k]); math.IsNaN(v) || math.IsInf(v, 0) {
					return fmt.Errorf("row %d has the value %v at index %d", row, v, i)
				}
			}
		}
	}
	return nil
}
