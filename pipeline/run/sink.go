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
	refs       []outputRef
	slab       []byte
	headers    []connectors.Header // for headers: full, fullHeaders a row
	heads      []byte              // their values
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

// outputRef is an output before the step's outputs are put in order.
type outputRef struct {
	seq       int32 // of the input row that caused it
	rank      int32 // among outputs caused by one row: port of the sink, or depth of the node
	partition int32
	start     int // where the key starts in the slab
	key, val  int // where key and value end; the value starts where the key ends
	headers   int // first of fullHeaders
	hasKey    bool
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

// take encodes the rows of a batch.
func (k *sink) take(port int, b *batch.Batch) error {
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
	for row := range b.N {
		start := len(k.slab)
		hasKey := key != nil && !key.Null(row)
		partition := b.Origin.Partition % k.partitions
		if hasKey {
			k.slab = key.AppendText(k.slab, row)
			partition = k.hash(k.slab[start:], int(k.partitions))
		}
		if p.rows != nil {
			k.slab = k.slab[:start]
			if p.rows[partition] == nil {
				p.rows[partition] = batch.New(p.in.Output)
			}
			p.rows[partition].AppendRow(&p.view, row)
			continue
		}
		keyEnd := len(k.slab)
		var err error
		if k.slab, err = p.enc.Encode(k.slab, &p.view, row, row+1); err != nil {
			return err
		}
		k.refs = append(k.refs, outputRef{})
		ref := &k.refs[len(k.refs)-1]
		ref.seq, ref.rank, ref.partition, ref.hasKey = b.Origin.Seq[row], int32(port), partition, hasKey
		ref.start, ref.key, ref.val, ref.headers = start, keyEnd, len(k.slab), len(k.headers)
		if k.def.Headers == "full" {
			k.addHeaders(b, row, p.in.Version)
		}
	}
	return nil
}

// addHeaders appends which model version saw the row and where the row came from.
func (k *sink) addHeaders(b *batch.Batch, row, version int) {
	model := []byte(nil)
	if version >= 0 && !b.Cols[version].Null(row) {
		lo := len(k.heads)
		k.heads = strconv.AppendInt(k.heads, b.Cols[version].Ints[row], 10)
		model = k.heads[lo:]
	}
	lo := len(k.heads)
	k.heads = append(k.heads, k.sources[b.Origin.Source].Topic...)
	k.heads = append(k.heads, '/')
	k.heads = strconv.AppendInt(k.heads, int64(b.Origin.Partition), 10)
	k.heads = append(k.heads, '/')
	k.heads = strconv.AppendInt(k.heads, b.Origin.Offset[row], 10)
	// These slices stay good when the slab grows: it moves and they stay behind.
	k.headers = append(k.headers,
		connectors.Header{Key: "gs-model-version", Value: model},
		connectors.Header{Key: "gs-source", Value: k.heads[lo:]})
}

const fullHeaders = 2

// size returns how many records and bytes flush will list, as far as is known.
func (k *sink) size() (records, bytes int) {
	const lengths = 48 // of the keys of a row's headers, and of all their lengths
	return len(k.refs), len(k.slab) + len(k.heads) + len(k.headers)/fullHeaders*lengths
}

// flush moves what was gathered to the step's outputs, ordered by the input row
// that caused it, and forgets it.
func (k *sink) flush(out *outputs) error {
	k.first = out.Len()
	if len(k.ports) > 1 {
		slices.SortStableFunc(k.refs, byCause)
	}
	for i := range k.refs {
		r := &k.refs[i]
		var key []byte
		if r.hasKey {
			key = k.slab[r.start:r.key]
		}
		var full []connectors.Header
		if k.def.Headers == "full" {
			full = k.headers[r.headers : r.headers+fullHeaders]
		}
		out.add(k.def.Topic, r.partition, k.time, key, k.slab[r.key:r.val], full)
	}
	k.refs, k.slab, k.headers, k.heads = k.refs[:0], k.slab[:0], k.headers[:0], k.heads[:0]
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
	value, err := p.enc.Encode(k.slab[:0], p.rows[partition], lo, hi)
	if err != nil {
		return err
	}
	k.slab = value[:0] // nobody's any more
	if len(value) > maxRecordBytes && hi-lo > 1 {
		mid := lo + (hi-lo)/2
		if err := k.encode(out, p, partition, lo, mid); err != nil {
			return err
		}
		return k.encode(out, p, partition, mid, hi)
	}
	out.add(k.def.Topic, partition, k.time, nil, value, nil)
	return nil
}

func byCause(a, b outputRef) int {
	if a.seq != b.seq {
		return int(a.seq) - int(b.seq)
	}
	return int(a.rank) - int(b.rank)
}
