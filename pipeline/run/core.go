package run

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
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
	// NewAvro is the same for sources whose records are Avro; nil = there are none.
	NewAvro    func(a *pipeline.Avro, s *batch.Schema) (connectors.Decoder, error)
	NewEncoder func(format string, s *batch.Schema) (connectors.Encoder, error)
	// PartitionForKey maps a record key to one of n partitions, as Kafka's own
	// clients do.
	PartitionForKey func(key []byte, n int) int32
}

// decoder makes the decoder of a source.
func (f *Formats) decoder(s *pipeline.Source) (connectors.Decoder, error) {
	if s.Avro == nil {
		return f.NewDecoder(s.Format, s.Schema)
	}
	if f.NewAvro == nil {
		return nil, errors.New("there is no decoder of Avro")
	}
	return f.NewAvro(s.Avro, s.Schema)
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

	partitions func(topic string) int32 // of a sink's or errors topic, at least 1

	inputs []*input // as p.Sources
	nodes  []*operators.Node
	sinks  []*sink // as p.Sinks
	errs   *errorSink
	engine *state.Cell[engineState]

	out                    *outputs // of the step
	lastRecords, lastBytes int      // of the outputs of the step before

	files bool  // rows come from files just now: nothing is published of them
	seq   int32 // of the next row or rejected record of the step
	clock int64
	at    string // what runs now, or failed: operator NAME or sink NAME
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
	timed   connectors.Timed // dec, if its records hold the event time
	batch   *batch.Batch
	timeCol int // position of the event time column; -1 = the record's timestamp
	next    []func(b *batch.Batch) error
	until   int64        // rows before this event time are left out, for a file held them; 0 = none
	kept    *batch.Batch // the others of batch
	one     *batch.Batch // set if rows must be pushed one by one, see rowByRow

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
	// Around wraps what node number i does with a batch, to look on; nil = nothing.
	Around func(i int, process func(b *batch.Batch) error) func(b *batch.Batch) error
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
			dec, err := f.decoder(s)
			if err != nil {
				return nil, fmt.Errorf("source %s: %w", s.Name, err)
			}
			in.dec = dec
			in.timed, _ = dec.(connectors.Timed)
		}
		c.inputs = append(c.inputs, in)
		outlets[s.Name] = &in.next
	}
	c.errs = newErrorSink(c)
	for i, n := range p.Nodes {
		node, err := n.Build(task)
		if err != nil {
			return nil, err
		}
		rank := i + 1 // decoding comes before all nodes
		node.OnReject = func(in *batch.Batch, row int, why error) { c.rejectRow(in, row, rank, n.Name, why) }
		next := new([]func(b *batch.Batch) error)
		node.Next = func(b *batch.Batch) error { return pass(*next, b) }
		name := "operator " + n.Name
		for port, from := range n.From {
			process := func(b *batch.Batch) error {
				upstream := c.at
				c.at = name
				if err := node.Process(port, b); err != nil {
					return err // c.at says whose
				}
				c.at = upstream
				return nil
			}
			if o.Around != nil {
				process = o.Around(i, process)
			}
			*outlets[from] = append(*outlets[from], process)
		}
		outlets[n.Name] = next
		c.nodes = append(c.nodes, node)
	}
	for _, s := range p.Sinks {
		if o.Sinks != nil && !o.Sinks(s) {
			continue
		}
		k, err := newSink(c, s)
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", s.Name, err)
		}
		c.sinks = append(c.sinks, k)
		name := "sink " + s.Name
		for port, from := range s.From {
			*outlets[from] = append(*outlets[from], func(b *batch.Batch) error {
				if c.files {
					return nil
				}
				upstream := c.at
				c.at = name
				if err := k.take(port, b); err != nil {
					return err
				}
				c.at = upstream
				return nil
			})
		}
	}
	c.route(o.SinkPartitions)
	for i, s := range p.Sources {
		if rowByRow(p, s) {
			c.inputs[i].one = batch.New(s.Schema)
		}
	}
	return c, nil
}

// route says how many partitions the sinks' and errors topics have from the next
// step on; nil = one each.
func (c *core) route(partitions func(topic string) int32) {
	c.partitions = partitions
	if partitions == nil {
		c.partitions = func(string) int32 { return 1 }
	}
	for _, k := range c.sinks {
		k.route(c.partitions(k.def.Topic))
	}
}

// rowByRow reports whether rows of a source reach one operator on two ways. A
// whole batch would come on the first way before any of its rows on the second:
// what the operator sees would follow from how the events were cut into batches.
func rowByRow(p *pipeline.Pipeline, s *pipeline.Source) bool {
	reached := map[string]bool{s.Name: true}
	for _, n := range p.Nodes {
		ways := 0
		for _, from := range n.From {
			if reached[from] {
				ways++
			}
		}
		if ways > 1 {
			return true
		}
		reached[n.Name] = ways > 0
	}
	return false
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
			return c.named(err)
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

// begin starts a step, which gathers its outputs in out. The clock is in
// milliseconds since 1970 and is the only one that operators see; it never goes back.
func (c *core) begin(clock int64, out *outputs) {
	c.out = out
	out.begin(c.lastRecords, c.lastBytes)
	for i, k := range c.sinks {
		k.begin(&out.Outputs, i == 0)
	}
	c.clock = max(clock, c.engine.V.Clock)
	c.engine.V.Clock = c.clock
	c.seq = 0
	clear(c.errs.byReason)
	for _, in := range c.inputs {
		in.batch.Origin.Clock = c.clock
		in.batch.Origin.Watermark = c.engine.V.Watermark
	}
}

// bounds say when a step is full: at so many rows (rejected records count), or at
// so many bytes of input.
type bounds struct {
	rows  int
	bytes int64
}

// unbounded is for a replay, where the journal says how long the step is.
var unbounded = bounds{rows: math.MaxInt32, bytes: math.MaxInt64}

// full reports whether the step, with so many bytes fed, has reached a bound.
func (c *core) full(b bounds, bytes int64) bool { return int(c.seq) >= b.rows || bytes >= b.bytes }

// feed decodes and processes consecutive records of one partition of a source
// until they end or a bound is reached; the bound on bytes is for this call. It
// returns how many it took. The slice of records is not needed behind the call, but the
// bytes that they point to must stay as they are until the step's end.
func (c *core) feed(source int, partition int32, records []connectors.Record, most bounds) (n int, bytes int64, err error) {
	in := c.inputs[source]
	in.batch.Origin.Partition = partition
	in.records = records
	for n < len(records) && !c.full(most, bytes) {
		if n, bytes, err = c.decode(in, partition, n, bytes, most); err != nil {
			return n, bytes, err
		}
		if err := c.push(in); err != nil {
			return n, bytes, err
		}
	}
	return n, bytes, nil
}

// decode fills the input's batch with the records from n on. It returns the
// number of records taken so far, and their bytes.
func (c *core) decode(in *input, partition int32, n int, bytes int64, most bounds) (_ int, _ int64, err error) {
	defer func() {
		if r := recover(); r != nil {
			at := in.records[n].Offset
			err = &inputError{at: "decoder", source: in.index, partition: partition, first: at, last: at, err: panicked(r),
				text: fmt.Sprintf("decoding offset %d of %s[%d]", at, in.src.Topic, partition)}
		}
	}()
	b := in.batch
	b.Reset()
	in.recOf = in.recOf[:0]
	for size := 0; n < len(in.records) && b.N < c.rows && size < maxBatchBytes && !c.full(most, bytes); n++ {
		r := &in.records[n]
		size += len(r.Value)
		bytes += int64(len(r.Key) + len(r.Value))
		rows, err := in.dec.Decode(r.Value, b)
		if err != nil {
			c.errs.add(in, partition, r, c.seq, 0, "", err)
			c.seq++
			continue
		}
		if rows >= math.MaxInt32-int(c.seq) {
			return n, bytes, fmt.Errorf("offset %d of %s[%d] brings the step to more than %d rows", r.Offset, in.src.Topic, partition, math.MaxInt32)
		}
		at := r.Time
		if in.timed != nil {
			at = in.timed.EventTime()
		}
		for range rows {
			b.Origin.Append(r.Offset, at, c.seq)
			in.recOf = append(in.recOf, int32(n))
			c.seq++
		}
		b.N += rows
	}
	return n, bytes, nil
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

// push sends the rows of the input's batch through the graph. An error names the
// operator or sink that failed and the rows that it was given.
func (c *core) push(in *input) (err error) {
	b := in.batch
	if b.N == 0 {
		return nil
	}
	c.at = ""
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
		if err != nil {
			where := fmt.Sprintf("%s[%d]", in.src.Topic, b.Origin.Partition)
			if in.dec == nil {
				where = "source " + in.src.Name
			}
			first, last := b.Origin.Offset[0], b.Origin.Offset[len(b.Origin.Offset)-1]
			err = &inputError{at: c.at, source: in.index, partition: b.Origin.Partition, first: first, last: last, err: err,
				text: fmt.Sprintf("%s, with offsets %d to %d of %s", c.at, first, last, where)}
		}
	}()
	if in.timeCol >= 0 {
		col := b.Cols[in.timeCol]
		for i := range b.N {
			if !col.Null(i) {
				b.Origin.Time[i] = col.Ints[i]
			}
		}
	}
	if in.until > 0 && !c.files {
		if b = in.behind(b); b.N == 0 {
			return nil
		}
	}
	for _, t := range b.Origin.Time {
		if t > c.engine.V.Watermark {
			c.engine.V.Watermark = t
		}
	}
	c.engine.V.Rows += int64(b.N)
	if in.one == nil {
		return pass(in.next, b)
	}
	for row := range b.N {
		in.one.Reset()
		in.one.Like(b)
		in.one.AppendRow(b, row)
		if err := pass(in.next, in.one); err != nil {
			return err
		}
	}
	return nil
}

// panicError is a panic of an operator or a codec, made an error: one event that
// a program cannot take must stop its task and say where, not end the process.
type panicError struct {
	value any
	stack []byte
	line  string // where it panicked
}

func panicked(value any) error { return &panicError{value, debug.Stack(), panicLine()} }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// rejectRow handles a row that an operator rejected: the record it came from goes
// to its source's errors topic.
func (c *core) rejectRow(b *batch.Batch, row, rank int, node string, why error) {
	in := c.inputs[b.Origin.Source]
	seq := b.Origin.Seq[row]
	at, ok := slices.BinarySearch(in.batch.Origin.Seq, seq)
	if !ok {
		panic(fmt.Sprintf("run: operator %s rejected a row that is not of the current input", node))
	}
	if in.dec == nil || c.files {
		var raw []byte
		if in.raw != nil {
			raw = in.raw(in.batch, at)
		}
		c.errs.add(in, b.Origin.Partition, &connectors.Record{Offset: b.Origin.Offset[row], Value: raw}, seq, rank, node, why)
		return
	}
	c.errs.add(in, b.Origin.Partition, &in.records[in.recOf[at]], seq, rank, node, why)
}

// end closes the step and puts its outputs in order: sinks by name, within a sink by
// the input row that caused the output, then the rejected records.
func (c *core) end(step uint64) error {
	for _, s := range c.sinks {
		if err := s.flush(c.out); err != nil {
			return fmt.Errorf("sink %s: %w", s.def.Name, err)
		}
	}
	c.engine.V.Rejected += int64(len(c.errs.refs))
	c.errs.flush(c.out)
	c.engine.V.Outputs += int64(c.out.Len())
	c.out.seal(c.task, step)
	c.lastRecords, c.lastBytes = c.out.Len(), c.out.Size()
	c.out = nil // it may be let go
	for _, s := range c.sinks {
		s.to = nil
	}
	return nil
}
