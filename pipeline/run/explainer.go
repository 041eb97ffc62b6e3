package run

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// explainer follows one row through a step. The step is replayed as a whole first,
// which tells which row caused the output; then its input goes row by row into a
// second core that has the state from before, up to that row.
type explainer struct {
	r  *rebuild
	p  *pipeline.Pipeline
	id OutputID

	input []portion
	step  *stepRecord
	refs  [][]cause // of what each sink held at the step's end, in order
	at    place     // of the output

	core  *core   // the second one
	out   outputs // it makes
	heads []taken // learners' explanations of the row, as they came
	named map[string][]operators.Feature
	row   rowOrigin
}

// portion is a part of a step's input.
type portion struct {
	source    int
	partition int32
	recs      []connectors.Record
	end       int32 // ordinal of the step behind it
}

// place says which sink made an output, of which row.
type place struct {
	sink *sink
	port int
	seq  int32 // of the row
	nth  int   // among the outputs of this row by this port
}

// taken is what a learner said of the row, and what it made of it.
type taken struct {
	node    int
	x       operators.Explanation
	can     bool
	columns []ExplainedColumn
}

type rowOrigin struct {
	source       int
	partition    int32
	offset, time int64
}

// twin makes the second core and gives it the state as it stands.
func (x *explainer) twin() (err error) {
	x.named = map[string][]operators.Feature{}
	o := x.r.coreOptions()
	o.SinkPartitions = x.r.t.core.partitions // as they were then
	o.BatchRows, o.Around = 1, x.around
	if x.core, err = newCore(x.p, x.id.Task, x.r.o.Formats, o); err != nil {
		return err
	}
	for _, k := range append(slices.Clone(x.r.t.core.sinks), x.core.sinks...) {
		k.traced = true
	}
	x.core.leaveOut(x.r.t.backfilled)
	for _, in := range x.core.inputs {
		in.one = batch.New(in.src.Schema) // a record may hold many rows
	}
	for i, n := range x.core.nodes {
		if n.Def.Role != operators.Learner {
			continue
		}
		next := n.Next
		n.Next = func(b *batch.Batch) error {
			if x.isRow(b) {
				x.emitted(i, b)
			}
			return next(b)
		}
	}
	to := x.core.states()
	for i, b := range x.r.t.core.states() {
		b.State.All(func(key, value []byte) bool {
			err = to[i].State.Load(key, value)
			return err == nil
		})
		if err != nil {
			return fmt.Errorf("copy of state %s: %w", b.ID, err)
		}
	}
	return nil
}

// around asks a node about the row before the node processes it.
func (x *explainer) around(i int, process func(b *batch.Batch) error) func(b *batch.Batch) error {
	return func(b *batch.Batch) error {
		if x.isRow(b) {
			n := x.core.nodes[i]
			if f, ok := n.Features(b, 0); ok {
				x.named[n.Name] = f
			}
			if n.Def.Role == operators.Learner {
				t := taken{node: i}
				t.x, t.can = n.Explain(b, 0)
				x.heads = append(x.heads, t)
			}
		}
		return process(b)
	}
}

func (x *explainer) isRow(b *batch.Batch) bool { return b.N == 1 && b.Origin.Seq[0] == x.at.seq }

// emitted notes the columns that a learner has added to the row.
func (x *explainer) emitted(node int, b *batch.Batch) {
	n := x.core.nodes[node]
	x.row = rowOrigin{b.Origin.Source, b.Origin.Partition, b.Origin.Offset[0], b.Origin.Time[0]}
	at := len(x.heads) - 1
	for x.heads[at].node != node { // learners downstream, if this one emits the row twice
		at--
	}
	t := &x.heads[at]
	for i, f := range n.Schema.Fields {
		if !strings.HasPrefix(f.Name, n.Name+".") || f.Type == batch.Sparse {
			continue
		}
		c := ExplainedColumn{Name: f.Name, Type: f.Type, Null: b.Cols[i].Null(0)}
		if !c.Null {
			c.Text = string(b.Cols[i].AppendText(nil, 0))
			if f.Type == batch.Float64 {
				c.Real = b.Cols[i].Floats[0]
			}
		}
		t.columns = append(t.columns, c)
	}
}

func (x *explainer) took(source int, partition int32, recs []connectors.Record) {
	x.input = append(x.input, portion{source, partition, slices.Clone(recs), x.r.t.core.seq})
}

// fed notes what the sinks hold.
func (x *explainer) fed(s *stepRecord) {
	x.step = s
	for _, k := range x.r.t.core.sinks {
		x.refs = append(x.refs, slices.Clone(k.inOrder()))
	}
}

// find finds the row that caused the output; false if it is not of a sink that
// publishes one row in a record.
func (x *explainer) find() bool {
	for i, k := range x.r.t.core.sinks {
		refs, n := x.refs[i], x.id.Index-k.first
		if n < 0 || n >= len(refs) {
			continue
		}
		x.at = place{sink: k, port: int(refs[n].rank), seq: refs[n].seq}
		for j := n - 1; j >= 0 && byCause(refs[j], refs[n]) == 0; j-- {
			x.at.nth++
		}
		return true
	}
	return false
}

// locate finds where the output comes from, or says why it cannot be explained.
func (x *explainer) locate() error {
	out := &x.r.rep.out
	if x.id.Index >= out.Len() {
		if out.Len() == 0 {
			return wrongRequest("step %d of task %d has no outputs", x.id.Step, x.id.Task)
		}
		return wrongRequest("step %d of task %d has no output %d; it has %d, from 0", x.id.Step, x.id.Task, x.id.Index, out.Len())
	}
	o := out.At(x.id.Index)
	if why, ok := headerOf(&o.Record, "__connect.errors.exception.message"); ok {
		at, _ := headerOf(&o.Record, "__connect.errors.offset")
		from, _ := headerOf(&o.Record, "__connect.errors.topic")
		partition, _ := headerOf(&o.Record, "__connect.errors.partition")
		return wrongRequest("output %v is a rejected record, offset %s of %s[%s], on %s: %s", x.id, at, from, partition, o.Topic, why)
	}
	if !x.find() {
		return wrongRequest("output %v is on %s, whose sink publishes many rows in a record; only sinks with one row in a record can be explained", x.id, o.Topic)
	}
	from := x.at.sink.def.From[x.at.port]
	if len(x.learnersOf(from)) == 0 {
		what := "which reads no learner"
		if i := slices.IndexFunc(x.p.Nodes, func(n *pipeline.Node) bool { return n.Name == from }); i >= 0 {
			if role := x.p.Nodes[i].Def.Role; role == operators.Evaluator || role == operators.Detector {
				what = fmt.Sprintf("whose type %s is of the %ss", x.p.Nodes[i].Def.Name, role)
			}
		}
		return wrongRequest("output %v is no prediction: sink %s publishes what comes from %s, %s", x.id, x.at.sink.def.Name, from, what)
	}
	return nil
}

func headerOf(r *connectors.Record, key string) (string, bool) {
	for _, h := range slices.Backward(r.Headers) { // ours come behind those the record came with
		if h.Key == key {
			return string(h.Value), true
		}
	}
	return "", false
}

// learnersOf returns the learners that a row passes on its way to a node and in
// the node: what an evaluator or a detector emits is not its input any more.
func (x *explainer) learnersOf(name string) (on []int) {
	i := slices.IndexFunc(x.p.Nodes, func(n *pipeline.Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	n := x.p.Nodes[i]
	switch n.Def.Role {
	case operators.Evaluator, operators.Detector:
		return nil
	case operators.Learner:
		on = append(on, i)
	}
	for _, from := range n.From {
		on = append(on, x.learnersOf(from)...)
	}
	slices.Sort(on)
	return slices.Compact(on)
}

// feed gives the second core the step's input up to the row.
func (x *explainer) feed() error {
	c := x.core
	c.begin(x.step.Clock, &x.out)
	for _, in := range x.input {
		if c.seq > x.at.seq {
			break
		}
		if _, _, err := c.feed(in.source, in.partition, in.recs, bounds{rows: int(x.at.seq) + 1, bytes: math.MaxInt64}); err != nil {
			return fmt.Errorf("task %d: %w", x.id.Task, err)
		}
		c.seq = max(c.seq, in.end) // quarantined records are skipped, and count
	}
	return nil
}
