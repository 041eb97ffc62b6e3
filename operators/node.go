package operators

import (
	"fmt"

	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// Node is a built operator in its place: it gives the operator its view of the
// input and passes on what it emits.
type Node struct {
	Name   string
	Def    *Definition
	Schema *batch.Schema // the columns it emits

	// Next is called with every batch emitted.
	Next func(b *batch.Batch) error
	// OnReject is called with every row rejected; row counts in in.
	OnReject func(in *batch.Batch, row int, why error)

	op      Operator
	env     *Env
	added   []*batch.Column
	view    batch.Batch
	in      *batch.Batch
	dropped []int
	kept    *batch.Batch // copy without rejected rows, made when first needed
}

// BuildOptions are what Build needs beside the configuration.
type BuildOptions struct {
	Node   string   // name in the pipeline file
	Pos    spec.Pos // where it is declared
	Inputs []*batch.Schema
	Task   int // number of the task, from 0
	// Planning builds for the sake of schemas and complaints: weight tables are
	// empty, and the node must not be run.
	Planning bool
}

// Build makes a node of an operator with a decoded configuration.
func (d *Definition) Build(c spec.Config, o BuildOptions) (*Node, spec.Errors) {
	env := &Env{node: o.Node, def: d, pos: o.Pos, inputs: o.Inputs, planning: o.Planning, task: o.Task, pinned: spec.Pinned(c)}
	if env.pinned != "" {
		env.pinned = d.Name + " " + env.pinned
	} else {
		env.pinned = d.Name
	}
	n := &Node{Name: o.Node, Def: d, env: env}
	n.op = d.build(c, env)
	switch {
	case env.output != nil:
		n.Schema = env.output
	case len(env.added) > 0:
		n.Schema = batch.NewSchema(append(append([]batch.Field(nil), o.Inputs[0].Fields...), env.added...)...)
	default:
		n.Schema = o.Inputs[0]
	}
	if len(env.errs) > 0 {
		return n, env.errs
	}
	for _, f := range env.added {
		n.added = append(n.added, batch.NewColumn(f.Type))
	}
	n.view.Schema = n.Schema
	if env.output != nil {
		// The view has the added columns, though the output has not.
		n.view.Schema = batch.NewSchema(append(append([]batch.Field(nil), o.Inputs[0].Fields...), env.added...)...)
	}
	return n, nil
}

// States returns the handles the operator asked for, in the order asked.
func (n *Node) States() []Binding { return n.env.states }

// Report asks the operator for its numbers.
func (n *Node) Report() Report {
	var r Report
	for _, f := range n.env.reports {
		f(&r)
	}
	return r
}

// Process runs the operator over a batch. It allocates nothing once its memory
// has grown to the size of the batches.
func (n *Node) Process(port int, in *batch.Batch) error {
	n.in = in
	if len(n.added) > 0 {
		n.view.N, n.view.Origin = in.N, in.Origin
		n.view.Cols = append(n.view.Cols[:0], in.Cols...)
		for _, c := range n.added {
			c.Resize(in.N)
			n.view.Cols = append(n.view.Cols, c)
		}
		n.in = &n.view
	}
	n.dropped = n.dropped[:0]
	return n.op.Process(port, n.in, n)
}

// Emit implements Emitter.
func (n *Node) Emit(b *batch.Batch) error {
	if len(n.dropped) > 0 && b.Origin == n.in.Origin {
		b = n.withoutDropped(b)
	}
	if b.N == 0 || n.Next == nil {
		return nil
	}
	return n.Next(b)
}

// Reject implements Emitter.
func (n *Node) Reject(row int, why error) {
	if k := len(n.dropped); k > 0 && n.dropped[k-1] >= row {
		if n.dropped[k-1] == row {
			return
		}
		panic(fmt.Sprintf("operators: %s rejected row %d after row %d", n.Name, row, n.dropped[k-1]))
	}
	n.dropped = append(n.dropped, row)
	if n.OnReject != nil {
		n.OnReject(n.in, row, why)
	}
}

func (n *Node) withoutDropped(b *batch.Batch) *batch.Batch {
	if n.kept == nil {
		n.kept = batch.New(b.Schema)
	}
	n.kept.Reset()
	n.kept.Like(b)
	d := 0
	for row := range b.N {
		if d < len(n.dropped) && n.dropped[d] == row {
			d++
			continue
		}
		n.kept.AppendRow(b, row)
	}
	return n.kept
}
