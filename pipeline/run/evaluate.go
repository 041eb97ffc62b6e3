package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// RowWriter writes rows [lo, hi) of a batch to a file. The batches of one sink
// have the schemas of its inputs.
type RowWriter interface {
	Write(b *batch.Batch, lo, hi int) error
	Close() error
}

// EvaluateOptions say what files stand in for the topics.
type EvaluateOptions struct {
	Formats Formats
	// Inputs holds a reader for every source, by name. Evaluate does not close them.
	Inputs map[string]connectors.Reader
	// Outputs holds a writer for each sink that is wanted, by name.
	Outputs map[string]RowWriter
	// Rejected is called with every row that could not be used, in order for each
	// source. Node is "" if it did not decode.
	Rejected func(source, node string, r connectors.Rejected)
	// Progress is called now and then with what was read, bytes and rows.
	Progress func(done, size, rows int64)
	// Encode renders a row that an operator rejected; the original bytes are gone.
	Encode    func(s *batch.Schema) (connectors.Encoder, error)
	BatchRows int // rows processed at once; 0 = the default; never changes a result
	Now       func() time.Time
}

// Evaluation is the result of running a pipeline over files.
type Evaluation struct {
	Pipeline string
	Rows     int64 // used
	Errors   int64 // rejected
	Seconds  float64
	Nodes    []NodeResult // in the order of the plan
}

// NodeResult is what one node came to.
type NodeResult struct {
	Name   string
	Def    *operators.Definition
	Values []operators.Value
	Drifts []int64 // detectors: the input rows at which they fired
}

// Evaluate runs the operators of a pipeline over files, test-then-train, as one
// task. It opens no broker and keeps no state.
func Evaluate(ctx context.Context, p *pipeline.Pipeline, o EvaluateOptions) (*Evaluation, error) {
	start := o.Now()
	e := &evaluation{p: p, o: o, result: &Evaluation{Pipeline: p.Name}}
	var err error
	e.core, err = newCore(p, 0, o.Formats, coreOptions{BatchRows: o.BatchRows, Files: true,
		Sinks: func(*pipeline.Sink) bool { return false }})
	if err != nil {
		return nil, err
	}
	if err := e.prepare(); err != nil {
		return nil, err
	}
	e.core.begin(0, &outputs{})
	if err := e.feed(ctx); err != nil {
		return nil, err
	}
	e.result.Rows = e.core.engine.V.Rows
	for i, n := range e.core.nodes {
		r := NodeResult{Name: n.Name, Def: n.Def, Values: n.Report().Values}
		r.Drifts = e.drifts[i]
		e.result.Nodes = append(e.result.Nodes, r)
	}
	e.result.Seconds = o.Now().Sub(start).Seconds()
	return e.result, nil
}

type evaluation struct {
	p      *pipeline.Pipeline
	o      EvaluateOptions
	core   *core
	result *Evaluation
	drifts [][]int64
	taps   []*tap
	inputs []*fileInput
}

// tap gathers what a sink would publish, until it can be written in order.
type tap struct {
	w     RowWriter
	ports []*tapPort
}

type tapPort struct {
	in   pipeline.SinkInput
	rows *batch.Batch
	view batch.Batch
	at   int // rows written
}

// fileInput reads ahead of one source.
type fileInput struct {
	name   string
	index  int
	reader connectors.Reader
	ahead  *batch.Batch
	at     int
	eof    bool
}

// prepare connects the sinks that are wanted, the detectors and the rejects.
func (e *evaluation) prepare() error {
	c := e.core
	e.drifts = make([][]int64, len(c.nodes))
	after := map[string]func(func(b *batch.Batch) error){}
	for _, in := range c.inputs {
		after[in.src.Name] = func(f func(b *batch.Batch) error) { in.next = append(in.next, f) }
		enc, err := e.o.Encode(in.src.Schema)
		if err != nil {
			return err
		}
		in.raw = func(b *batch.Batch, row int) []byte {
			text, err := enc.Encode(nil, b, row, row+1)
			if err != nil {
				return nil
			}
			return text
		}
	}
	for i, n := range c.nodes {
		add := func(f func(b *batch.Batch) error) {
			before := n.Next
			n.Next = func(b *batch.Batch) error {
				if err := before(b); err != nil {
					return err
				}
				return f(b)
			}
		}
		after[n.Name] = add
		if n.Def.Role == operators.Detector {
			e.drifts[i] = []int64{}
			kind := n.Schema.Lookup("kind")
			add(func(b *batch.Batch) error {
				for row := range b.N {
					if kind < 0 || b.Cols[kind].TextString(row) == "drift" {
						e.drifts[i] = append(e.drifts[i], b.Origin.Offset[row])
					}
				}
				return nil
			})
		}
	}
	for _, s := range e.p.Sinks {
		w := e.o.Outputs[s.Name]
		if w == nil {
			continue
		}
		t := &tap{w: w}
		for port, from := range s.From {
			p := &tapPort{in: s.Inputs[port], rows: batch.New(s.Inputs[port].Output)}
			p.view.Schema = p.in.Output
			t.ports = append(t.ports, p)
			after[from](p.take)
		}
		e.taps = append(e.taps, t)
	}
	for _, s := range e.p.Sources {
		r := e.o.Inputs[s.Name]
		if r == nil {
			return fmt.Errorf("source %s has no input", s.Name)
		}
		e.inputs = append(e.inputs, &fileInput{name: s.Name, index: e.p.Source(s.Name), reader: r, ahead: batch.New(s.Schema)})
	}
	return nil
}

func (p *tapPort) take(b *batch.Batch) error {
	p.view.Cols = p.view.Cols[:0]
	for _, i := range p.in.Columns {
		p.view.Cols = append(p.view.Cols, b.Cols[i])
	}
	p.view.N, p.view.Origin = b.N, b.Origin
	for row := range b.N {
		p.rows.AppendRow(&p.view, row)
	}
	return nil
}

// feed merges the inputs by event time, ties by source name, into the core.
func (e *evaluation) feed(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		next := -1
		best := int64(math.MaxInt64)
		for i, in := range e.inputs {
			if err := e.fill(ctx, in); err != nil {
				return err
			}
			if in.at < in.ahead.N && (next < 0 || in.ahead.Origin.Time[in.at] < best) {
				next, best = i, in.ahead.Origin.Time[in.at]
			}
		}
		if next < 0 {
			break
		}
		if err := e.take(next); err != nil {
			return err
		}
	}
	return nil
}

// fill reads ahead of an input until it has a row or is at its end.
func (e *evaluation) fill(ctx context.Context, in *fileInput) error {
	for in.at >= in.ahead.N && !in.eof {
		in.ahead.Reset()
		in.at = 0
		bad, err := in.reader.Read(ctx, in.ahead, e.core.rows)
		for _, r := range bad {
			e.result.Errors++
			if e.o.Rejected != nil {
				e.o.Rejected(in.name, "", r)
			}
		}
		if errors.Is(err, io.EOF) {
			in.eof = true
		} else if err != nil {
			return fmt.Errorf("source %s: %w", in.name, err)
		}
		if e.o.Progress != nil {
			done, size := int64(0), int64(0)
			for _, in := range e.inputs {
				d, s := in.reader.Progress()
				done, size = done+d, size+s
			}
			e.o.Progress(done, size, e.core.engine.V.Rows)
		}
	}
	return nil
}

// take moves rows of an input into the core: all that come before the next row of
// any other input.
func (e *evaluation) take(i int) error {
	in := e.inputs[i]
	until, tie := int64(math.MaxInt64), true
	for j, other := range e.inputs {
		if j == i || other.at >= other.ahead.N {
			continue
		}
		if t := other.ahead.Origin.Time[other.at]; t < until {
			until, tie = t, i < j
		}
	}
	to := in.at + 1
	for to < in.ahead.N && (in.ahead.Origin.Time[to] < until || in.ahead.Origin.Time[to] == until && tie) {
		to++
	}
	b := e.core.inputs[in.index].batch
	b.Reset()
	for ; in.at < to; in.at++ {
		b.AppendRow(in.ahead, in.at)
	}
	if err := e.core.feedRows(in.index); err != nil {
		return err
	}
	return e.flush()
}

// flush writes what the sinks gathered, ordered by the row that caused it, and
// reports what operators rejected.
func (e *evaluation) flush() error {
	for _, t := range e.taps {
		if err := t.flush(); err != nil {
			return err
		}
	}
	for _, r := range e.core.errs.refs {
		e.result.Errors++
		if e.o.Rejected != nil {
			e.o.Rejected(r.in.src.Name, r.node, connectors.Rejected{Offset: r.record.Offset, Raw: r.record.Value, Why: r.why})
		}
	}
	e.core.errs.refs = e.core.errs.refs[:0]
	e.core.seq = 0
	return nil
}

func (t *tap) flush() error {
	if len(t.ports) == 1 {
		p := t.ports[0]
		if p.rows.N > 0 {
			if err := t.w.Write(p.rows, 0, p.rows.N); err != nil {
				return err
			}
		}
		p.rows.Reset()
		return nil
	}
	one := make([]*batch.Batch, len(t.ports))
	for i, p := range t.ports {
		p.at, one[i] = 0, batch.New(p.in.Output)
	}
	for {
		next := -1
		for i, p := range t.ports {
			if p.at < p.rows.N && (next < 0 || p.rows.Origin.Seq[p.at] < t.ports[next].rows.Origin.Seq[t.ports[next].at]) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		p := t.ports[next]
		one[next].Reset()
		one[next].AppendRow(p.rows, p.at)
		p.at++
		if err := t.w.Write(one[next], 0, 1); err != nil {
			return err
		}
	}
	for _, p := range t.ports {
		p.rows.Reset()
	}
	return nil
}

// JSON renders the evaluation as one object, its keys in the documented order.
func (e *Evaluation) JSON() []byte {
	var b strings.Builder
	rate := 0.0
	if e.Seconds > 0 {
		rate = float64(e.Rows) / e.Seconds
	}
	fmt.Fprintf(&b, `{"pipeline":%q,"rows":%d,"errors":%d,"seconds":%s,"rows_per_second":%s,"operators":{`,
		e.Pipeline, e.Rows, e.Errors, number(e.Seconds), number(math.Round(rate)))
	for i, n := range e.Nodes {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:{", n.Name)
		n.Values = slices.DeleteFunc(slices.Clone(n.Values), func(v operators.Value) bool {
			return n.Def.Role == operators.Detector && v.Name == "drifts" // their rows, below
		})
		for j, v := range n.Values {
			if j > 0 {
				b.WriteByte(',')
			}
			if v.Null {
				fmt.Fprintf(&b, "%q:null", v.Name)
			} else {
				fmt.Fprintf(&b, "%q:%s", v.Name, number(v.Number))
			}
		}
		if n.Def.Role == operators.Detector {
			if len(n.Values) > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"drifts":%s`, strings.ReplaceAll(fmt.Sprint(slices.Clone(n.Drifts)), " ", ","))
		}
		b.WriteByte('}')
	}
	b.WriteString("}}\n")
	return []byte(b.String())
}

// number formats a number as the shortest JSON that reads back.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return fmt.Sprintf("%.0f", v)
	}
	return strings.Replace(fmt.Sprintf("%g", v), "e+", "e", 1)
}
