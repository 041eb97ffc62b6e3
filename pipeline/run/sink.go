package run

import (
	"slices"
	"strconv"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// sink gathers in encoded form what a step publishes to one topic.
type sink struct {
	def        *pipeline.Sink
	partitions int32
	hash       func(key []byte, n int) int32
	sources    []*pipeline.Source
	ports      []*sinkPort
	to         *connectors.Outputs // gathers rows: own, or the step's, of the first sink
	own        connectors.Outputs
	causes     []cause // of the rows in to, if they are needed
	traced     bool    // they are needed to explain outputs
	order      []int32
	headers    [2]connectors.Header // for headers: full
	scratch    []byte
	time       int64
	first      int // output of the last step that was this sink's first
}

// sinkPort is what a sink reads of one node.
type sinkPort struct {
	in   pipeline.SinkInput
	enc  connectors.Encoder
	view batch.Batch
	// For formats that hold many rows in a record: the rows of the step so far.
	rows []*batch.Batch // by partition
}

// cause says what an output comes from.
type cause struct {
	seq  int32 // of the input row that caused it
	rank int32 // among outputs caused by one row: port of the sink
	at   int32 // among the sink's outputs as they came
}

// newSink makes a sink that routes nothing yet.
func newSink(c *core, def *pipeline.Sink) (*sink, error) {
	k := &sink{def: def, hash: c.formats.PartitionForKey, sources: c.p.Sources}
	for _, in := range def.Inputs {
		enc, err := c.formats.NewEncoder(def.Format, in.Output)
		if err != nil {
			return nil, err
		}
		k.ports = append(k.ports, &sinkPort{in: in, enc: enc, view: batch.Batch{Schema: in.Output}})
	}
	return k, nil
}

// route sets the number of the topic's partitions, between steps.
func (k *sink) route(partitions int32) {
	k.partitions = partitions
	for _, p := range k.ports {
		if !p.enc.PerRow() {
			p.rows = make([]*batch.Batch, partitions)
		}
	}
}

// begin starts a step, whose outputs begin with this sink's if it is the first.
func (k *sink) begin(out *connectors.Outputs, first bool) {
	k.causes = k.causes[:0]
	if k.to = &k.own; first {
		k.to = out
	} else {
		k.own.Reset(0, 0)
	}
}

// take encodes the rows of a batch.
func (k *sink) take(port int, b *batch.Batch) error {
	if b.N == 0 {
		return nil
	}
	p := k.ports[port]
	p.view.Cols = p.view.Cols[:0]
	for _, i := range p.in.Columns {
		p.view.Cols = append(p.view.Cols, b.Cols[i])
	}
	p.view.N, p.view.Origin = b.N, b.Origin
	k.time = b.Origin.Clock
	var key *batch.Column
	if p.in.Key >= 0 {
		key = b.Cols[p.in.Key]
	}
	if p.rows != nil {
		k.keep(p, b, key)
		return nil
	}
	kind, traced := k.to.Kind(k.def.Topic, k.time), k.traced || len(k.ports) > 1
	for row := range b.N {
		slab, keyLen, partition := k.keyed(k.to.Slab(), key, b, row)
		start := len(slab)
		slab, err := p.enc.Encode(slab, &p.view, row, row+1)
		if err != nil {
			return err
		}
		k.to.Put(slab, kind, partition, keyLen, len(slab)-start)
		if k.def.Headers == "full" {
			k.addHeaders(b, row, p.in.Version)
		}
		if traced {
			k.causes = append(k.causes, cause{b.Origin.Seq[row], int32(port), int32(len(k.causes))})
		}
	}
	return nil
}

// keyed appends the key of a row, and returns its length, -1 = none, and the partition
// that the row goes to.
func (k *sink) keyed(dst []byte, key *batch.Column, b *batch.Batch, row int) (_ []byte, length int, partition int32) {
	if key == nil || key.Null(row) {
		return dst, -1, b.Origin.Partition % k.partitions
	}
	start := len(dst)
	dst = key.AppendText(dst, row)
	return dst, len(dst) - start, k.hash(dst[start:], int(k.partitions))
}

// keep gathers rows that will share a record, by partition.
func (k *sink) keep(p *sinkPort, b *batch.Batch, key *batch.Column) {
	for row := range b.N {
		var partition int32
		k.scratch, _, partition = k.keyed(k.scratch[:0], key, b, row)
		if p.rows[partition] == nil {
			p.rows[partition] = batch.New(p.in.Output)
		}
		p.rows[partition].AppendRow(&p.view, row)
	}
}

// addHeaders says which model version saw the row added last and where it came from.
func (k *sink) addHeaders(b *batch.Batch, row, version int) {
	s, model := k.scratch[:0], -1
	if version >= 0 && !b.Cols[version].Null(row) {
		s = strconv.AppendInt(s, b.Cols[version].Ints[row], 10)
		model = len(s)
	}
	from := len(s)
	s = append(append(s, k.sources[b.Origin.Source].Topic...), '/')
	s = append(strconv.AppendInt(s, int64(b.Origin.Partition), 10), '/')
	s = strconv.AppendInt(s, b.Origin.Offset[row], 10)
	k.headers = [2]connectors.Header{{Key: "gs-model-version"}, {Key: "gs-source", Value: s[from:]}}
	if model >= 0 {
		k.headers[0].Value = s[:model]
	}
	k.scratch = s
	k.to.AddHeaders(k.headers[:])
}

// inOrder returns the causes of the sink's outputs in the order in which the step
// lists them: that of the input rows.
func (k *sink) inOrder() []cause {
	if len(k.ports) > 1 {
		slices.SortStableFunc(k.causes, byCause)
	}
	return k.causes
}

// flush brings what was gathered into the step's outputs, ordered by the input row
// that caused it.
func (k *sink) flush(out *outputs) error {
	k.first = 0
	if len(k.ports) > 1 {
		k.order = k.order[:0]
		for _, c := range k.inOrder() {
			k.order = append(k.order, c.at)
		}
		k.to.Reorder(k.order)
	}
	if k.to == &k.own {
		k.first = out.Len()
		out.AddAll(&k.own)
	}
	for _, p := range k.ports {
		for partition, rows := range p.rows {
			if rows == nil || rows.N == 0 {
				continue
			}
			if err := k.encode(out, p, int32(partition), 0, rows.N); err != nil {
				return err
			}
			rows.Reset()
		}
	}
	return nil
}

// maxRecordBytes is the size beyond which rows that share a record are split over
// several: brokers refuse records above 1 MiB unless told otherwise.
const maxRecordBytes = 768 << 10

// encode lists records with the rows [lo, hi) gathered for a partition.
func (k *sink) encode(out *outputs, p *sinkPort, partition int32, lo, hi int) error {
	value, err := p.enc.Encode(k.scratch[:0], p.rows[partition], lo, hi)
	if err != nil {
		return err
	}
	k.scratch = value[:0]
	if len(value) > maxRecordBytes && hi-lo > 1 {
		mid := lo + (hi-lo)/2
		if err := k.encode(out, p, partition, lo, mid); err != nil {
			return err
		}
		return k.encode(out, p, partition, mid, hi)
	}
	out.Add(k.def.Topic, partition, k.time, nil, value, nil)
	return nil
}

func byCause(a, b cause) int {
	if a.seq != b.seq {
		return int(a.seq) - int(b.seq)
	}
	return int(a.rank) - int(b.rank)
}
