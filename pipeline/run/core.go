package run

import (
	"fmt"
	"slices"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/state"
)

// Formats makes the codecs a pipeline names. They are functions so that this
// package knows no implementation.
type Formats struct {
	NewDecoder func(format string, s *batch.Schema) (connectors.Decoder, error)
	NewEncoder func(format string, s *batch.Schema) (connectors.Encoder, error)
	// PartitionForKey maps a record key to one of n partitions, as Kafka's own
	// clients do.
	PartitionForKey func(key []byte, n int) int32
}

// How much is processed at once. It never changes a result.
const (
	maxBatchRows  = 1024
	maxBatchBytes = 8 << 20 // of input; columns address their bytes with 31 bits
)

// core is the deterministic heart of a task: records in, outputs out. It has no
// clock, no goroutine and no I/O; what it does is a function of its state and of
// the calls made on it.
type core struct {
	p       *pipeline.Pipeline
	task    int
	formats Formats
	rows    int // rows in a batch, at most

	inputs []*input // as p.Sources
	nodes  []*operators.Node
	sinks  []*sink // as p.Sinks
	errs   *errorSink
	engine *state.Cell[engineState]

	seq   int32 // of the next row or rejected record of the step
	clock int64
}

// engineState is what the engine itself remembers of a task.
type engineState struct {
	Rows      int64 // rows decoded, all sources
	Rejected  int64 // records and rows sent to the errors topics
	Outputs   int64 // records published
	Clock     int64 // clock of the last step, milliseconds; steps never go back
	Watermark int64 // greatest event time seen, milliseconds
}

// input is a source of the graph: where its rows go.
type input struct {
	src     *pipeline.Source
	index   int
	dec     connectors.Decoder
	batch   *batch.Batch
	timeCol int // position of the event time column; -1 = the record's timestamp
	next    []func(b *batch.Batch) error

	records []connectors.Record // of the rows in batch
	recOf   []int32             // row of batch -> index in records
	raw     func(b *batch.Batch, row int) []byte
}

// coreOptions are the choices of whoever drives a core.
type coreOptions struct {
	BatchRows int // 0 = maxBatchRows
	// SinkPartitions gives the number of partitions of a sink's or errors topic.
	SinkPartitions func(topic string) int32
	// Sinks selects the sinks that are fed; nil = all.
	Sinks func(s *pipeline.Sink) bool
	// Files says that rows come decoded, by feedRows.
	Files bool
}

func newCore(p *pipeline.Pipeline, task int, f Formats, o coreOptions) (*core, error) {
	c := &core{p: p, task: task, formats: f, rows: o.BatchRows, engine: &state.Cell[engineState]{}}
	if c.rows <= 0 {
		c.rows = maxBatchRows
	}
	outlets := map[string]*[]func(b *batch.Batch) error{}
	for i, s := range p.Sources {
		in := &input{src: s, index: i, batch: batch.New(s.Schema), timeCol: -1}
		if s.Time != "" {
			in.timeCol = s.Schema.Lookup(s.Time)
		}
		in.batch.Origin.Source = i
		if !o.Files {
			dec, err := f.NewDecoder(s.Format, s.Schema)
			if err != nil {
				return nil, fmt.Errorf("source %s: %w", s.Name, err)
			}
			in.dec = dec
		}
		c.inputs = append(c.inputs, in)
		outlets[s.Name] = &in.next
	}
	c.errs = newErrorSink(c, o.SinkPartitions)
	for i, n := range p.Nodes {
		node, err := n.Build(task)
		if err != nil {
			return nil, err
		}
		rank := i + 1 // decoding comes before all nodes
		node.OnReject = func(in *batch.Batch, row int, why error) { c.rejectRow(in, row, rank, n.Name, why) }
		next := new([]func(b *batch.Batch) error)
		node.Next = func(b *batch.Batch) error { return pass(*next, b) }
		for port, from := range n.From {
			*outlets[from] = append(*outlets[from], func(b *batch.Batch) error {
				if err := node.Process(port, b); err != nil {
					return fmt.Errorf("operator %s: %w", n.Name, err)
				}
				return nil
			})
		}
		outlets[n.Name] = next
		c.nodes = append(c.nodes, node)
	}
	for _, s := range p.Sinks {
		if o.Sinks != nil && !o.Sinks(s) {
			continue
		}
		k, err := newSink(c, s, o.SinkPartitions)
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", s.Name, err)
		}
		c.sinks = append(c.sinks, k)
		for port, from := range s.From {
			*outlets[from] = append(*outlets[from], func(b *batch.Batch) error { return k.take(port, b) })
		}
	}
	return c, nil
}

func pass(next []func(b *batch.Batch) error, b *batch.Batch) error {
	for _, f := range next {
		if err := f(b); err != nil {
			return err
		}
	}
	return nil
}

// bind loads the state of a checkpoint, or leaves it empty if there is none.
func (c *core) bind(part state.Partition) error {
	for _, b := range c.states() {
		if err := part.Bind(b.ID, b.State); err != nil {
			return err
		}
	}
	return nil
}

// states lists all handles of the task in a fixed order.
func (c *core) states() []operators.Binding {
	all := []operators.Binding{{ID: state.ID{Node: "@engine", Name: "task", Version: 1}, State: c.engine}}
	for _, n := range c.nodes {
		all = append(all, n.States()...)
	}
	return all
}

// digest is a hash of the whole state.
func (c *core) digest() uint64 {
	var d uint64
	for _, b := range c.states() {
		d ^= state.Digest(b.ID, b.State)
	}
	return d
}

// begin starts a step. The clock is in milliseconds since 1970 and is the only
// one that operators see; it never goes back.
func (c *core) begin(clock int64) {
	c.clock = max(clock, c.engine.V.Clock)
	c.engine.V.Clock = c.clock
	c.seq = 0
	for _, in := range c.inputs {
		in.batch.Origin.Clock = c.clock
		in.batch.Origin.Watermark = c.engine.V.Watermark
	}
}

// feed decodes and processes consecutive records of one partition of a source.
// The records must stay as they are until the step's end.
func (c *core) feed(source int, partition int32, records []connectors.Record) error {
	in := c.inputs[source]
	b := in.batch
	b.Origin.Partition = partition
	in.records = records
	for i := 0; i < len(records); {
		b.Reset()
		in.recOf = in.recOf[:0]
		for bytes := 0; i < len(records) && b.N < c.rows && bytes < maxBatchBytes; i++ {
			r := &records[i]
			bytes += len(r.Value)
			n, err := in.dec.Decode(r.Value, b)
			if err != nil {
				c.errs.add(in, partition, r, c.seq, 0, "", err)
				c.seq++
				continue
			}
			for range n {
				b.Origin.Append(r.Offset, r.Time, c.seq)
				in.recOf = append(in.recOf, int32(i))
				c.seq++
			}
			b.N += n
		}
		if err := c.push(in); err != nil {
			return err
		}
	}
	return nil
}

// feedRows processes rows that were read from a file into the input's batch.
func (c *core) feedRows(source int) error {
	in := c.inputs[source]
	for i := range in.batch.Origin.Seq {
		in.batch.Origin.Seq[i] = c.seq
		c.seq++
	}
	return c.push(in)
}

// push sends the rows of the input's batch through the graph.
func (c *core) push(in *input) error {
	b := in.batch
	if b.N == 0 {
		return nil
	}
	if in.timeCol >= 0 {
		col := b.Cols[in.timeCol]
		for i := range b.N {
			if !col.Null(i) {
				b.Origin.Time[i] = col.Ints[i]
			}
		}
	}
	for _, t := range b.Origin.Time {
		if t > c.engine.V.Watermark {
			c.engine.V.Watermark = t
		}
	}
	c.engine.V.Rows += int64(b.N)
	return pass(in.next, b)
}

// rejectRow handles a row that an operator rejected: the record it came from goes
// to its source's errors topic.
func (c *core) rejectRow(b *batch.Batch, row, rank int, node string, why error) {
	in := c.inputs[b.Origin.Source]
	seq := b.Origin.Seq[row]
	at, ok := slices.BinarySearch(in.batch.Origin.Seq, seq)
	if !ok {
		panic(fmt.Sprintf("run: operator %s rejected a row that is not of the current input", node))
	}
	if in.dec == nil {
		c.errs.add(in, b.Origin.Partition, &connectors.Record{Offset: b.Origin.Offset[row], Value: in.raw(in.batch, at)}, seq, rank, node, why)
		return
	}
	c.errs.add(in, b.Origin.Partition, &in.records[in.recOf[at]], seq, rank, node, why)
}

// end closes the step and gathers its outputs into out: sinks by name, within a
// sink by the input row that caused the output, then the rejected records.
func (c *core) end(step uint64, out *outputs) error {
	records, bytes, headers := len(c.errs.refs), 0, 0
	for _, s := range c.sinks {
		r, b, h := s.size()
		records, bytes, headers = records+r, bytes+b, headers+h
	}
	out.begin(c.task, step, records, bytes, headers)
	for _, s := range c.sinks {
		if err := s.flush(out); err != nil {
			return fmt.Errorf("sink %s: %w", s.def.Name, err)
		}
	}
	c.engine.V.Rejected += int64(len(c.errs.refs))
	c.errs.flush(out)
	c.engine.V.Outputs += int64(len(out.list))
	out.seal()
	return nil
}
