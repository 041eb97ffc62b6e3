// Package batch holds the rows that flow between operators: typed columns whose
// memory is reused from batch to batch.
//
// A batch is a run of consecutive events of one partition of one source. How
// events are cut into batches never changes a result. Columns are borrowed: what
// an operator is given is valid until it returns, and it must not write to
// columns it did not add itself.
package batch

// Batch is a view of columns: operators downstream add columns of their own to a
// view of their own, and share the ones that came before. The zero Batch is empty.
type Batch struct {
	Schema *Schema
	Cols   []*Column // one per field of Schema
	Origin *Origin   // where each row came from, shared by all views of the rows
	N      int       // rows
}

// Origin tells for each row where it came from. An output row has the origin of
// the input row that caused it.
type Origin struct {
	Source    int     // index of the source in the plan, sources sorted by name
	Partition int32   // partition of the source topic; 0 for files
	Clock     int64   // the step's clock, milliseconds since 1970; the only clock operators may read
	Watermark int64   // event time up to which this source is believed complete, milliseconds
	Offset    []int64 // offset in the partition, or row number in a file
	Time      []int64 // event time, milliseconds since 1970
	Seq       []int32 // ordinal of the row in the step, over all sources of the task; ascending
}

// Reset empties the origin and keeps its memory.
func (o *Origin) Reset() {
	o.Offset, o.Time, o.Seq = o.Offset[:0], o.Time[:0], o.Seq[:0]
}

// Append adds a row.
func (o *Origin) Append(offset, time int64, seq int32) {
	o.Offset = append(o.Offset, offset)
	o.Time = append(o.Time, time)
	o.Seq = append(o.Seq, seq)
}

// New returns an empty batch with columns of its own for each field.
func New(s *Schema) *Batch {
	b := &Batch{Schema: s, Origin: &Origin{}, Cols: make([]*Column, len(s.Fields))}
	for i, f := range s.Fields {
		b.Cols[i] = NewColumn(f.Type)
	}
	return b
}

// Reset empties the batch and its columns, which must be its own.
func (b *Batch) Reset() {
	for _, c := range b.Cols {
		c.Reset()
	}
	b.Origin.Reset()
	b.N = 0
}

// Like copies what the rows of in have in common (source, partition, clock,
// watermark) to b, which must own its origin.
func (b *Batch) Like(in *Batch) {
	b.Origin.Source, b.Origin.Partition = in.Origin.Source, in.Origin.Partition
	b.Origin.Clock, b.Origin.Watermark = in.Origin.Clock, in.Origin.Watermark
}

// EndRow counts a row whose value was appended to every column, caused by the
// given row of in.
func (b *Batch) EndRow(in *Batch, row int) {
	o := in.Origin
	b.Origin.Append(o.Offset[row], o.Time[row], o.Seq[row])
	b.N++
}

// AppendRow appends a copy of a row of in, which has the same schema, to b, whose
// columns must be its own.
func (b *Batch) AppendRow(in *Batch, row int) {
	for i, c := range b.Cols {
		c.AppendRow(in.Cols[i], row)
	}
	b.EndRow(in, row)
}

// Col returns the named column, or nil.
func (b *Batch) Col(name string) *Column {
	if i := b.Schema.Lookup(name); i >= 0 {
		return b.Cols[i]
	}
	return nil
}
