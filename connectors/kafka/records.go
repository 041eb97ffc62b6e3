package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// run is what is left of the records of one batch, or the place of records that are
// not for the reader: it then holds none, and only moves the position.
type run struct {
	in    []byte // records in the form of version 2, uncompressed
	left  int    // how many
	first int64  // offset that the records' are relative to
	time  int64  // timestamp that the records' are relative to
	fixed bool   // it is the time of all of them
	next  int64  // offset past the batch
}

// fetched is what an answer brought of a partition.
type fetched struct {
	runs  []run
	bytes int   // of the runs
	next  int64 // where to read on
	epoch int32 // of the last batch; of no meaning without runs
	end   int64 // last stable offset
}

// maxInflated bounds a decompressed batch, in bytes.
const maxInflated = 1 << 30

// parser finds the records of a partition that a reader of committed records sees.
type parser struct {
	inflate kgo.Decompressor
	aborted map[int64][]int64 // by producer, the first offsets of its aborted transactions, the least first
	note    func(kgo.FetchBatchMetrics)
}

// parse goes through what came of a partition from the offset next on. What comes
// before an error is good.
func (p *parser) parse(rp *kmsg.FetchResponseTopicPartition, next int64) (fetched, error) {
	out := fetched{next: next, epoch: -1, end: rp.LastStableOffset}
	if out.end < 0 {
		out.end = rp.HighWatermark
	}
	p.aborted = nil
	for _, a := range rp.AbortedTransactions {
		if p.aborted == nil {
			p.aborted = map[int64][]int64{}
		}
		p.aborted[a.ProducerID] = append(p.aborted[a.ProducerID], a.FirstOffset)
	}
	for _, offsets := range p.aborted {
		slices.Sort(offsets) // a broker need not
	}
	in := rp.RecordBatches
	for len(in) > batchMagicAt {
		// The last batch may be cut off; the first never is.
		length := int64(int32(binary.BigEndian.Uint32(in[batchLengthAt:]))) + batchEpochAt
		if length < batchEpochAt || length > int64(len(in)) {
			break
		}
		if in[batchMagicAt] < 2 {
			return p.old(out, rp, in)
		}
		batch := in[:length]
		in = in[length:]
		if err := p.batch(&out, batch); err != nil {
			return out, fmt.Errorf("offset %d: the record batch there cannot be read: %w", out.next, err)
		}
	}
	if len(rp.RecordBatches) > 0 && out.next == next {
		return out, errNoProgress
	}
	return out, nil
}

// errNoProgress is returned for an answer that holds bytes, but no batch that was asked for.
var errNoProgress = errors.New("the broker's answer holds nothing past the offset that was asked for")

func (p *parser) batch(out *fetched, b []byte) error {
	if len(b) < batchHeader {
		return fmt.Errorf("it has %d bytes, less than a batch has", len(b))
	}
	if b[batchMagicAt] > 2 {
		return fmt.Errorf("its format is %d; 2 and older ones are known", b[batchMagicAt])
	}
	if want, got := binary.BigEndian.Uint32(b[batchSumAt:]), crc32.Checksum(b[batchAttrsAt:], castagnoli); want != got {
		return fmt.Errorf("its checksum is %08x, that of its bytes %08x", want, got)
	}
	attrs := binary.BigEndian.Uint16(b[batchAttrsAt:])
	first := int64(binary.BigEndian.Uint64(b))
	r := run{
		in: b[batchHeader:], first: first, fixed: attrs&attrAppend != 0,
		left: int(int32(binary.BigEndian.Uint32(b[batchCountAt:]))),
		time: int64(binary.BigEndian.Uint64(b[batchTimeAt:])),
		next: first + int64(int32(binary.BigEndian.Uint32(b[batchLastAt:]))) + 1,
	}
	if r.fixed {
		r.time = int64(binary.BigEndian.Uint64(b[batchMaxAt:]))
	}
	if r.next <= out.next {
		return nil // all of it was read before
	}
	if r.left < 0 {
		return fmt.Errorf("it says that it has %d records", r.left)
	}
	note := kgo.FetchBatchMetrics{NumRecords: r.left, CompressedBytes: len(r.in), CompressionType: uint8(attrs & attrCodec)}
	if codec := attrs & attrCodec; codec != 0 {
		var err error
		if r.in, err = p.inflate.Decompress(r.in, kgo.CompressionCodecType(codec)); err != nil {
			return err
		}
		if len(r.in) > maxInflated {
			return fmt.Errorf("it has %d bytes when decompressed; %d are allowed", len(r.in), maxInflated)
		}
	}
	if r.left > len(r.in) {
		return fmt.Errorf("it says that it has %d records, in %d bytes", r.left, len(r.in))
	}
	if note.UncompressedBytes = len(r.in); p.note != nil {
		p.note(note)
	}
	owner := int64(binary.BigEndian.Uint64(b[batchOwnerAt:]))
	switch {
	case attrs&attrControl != 0:
		if err := p.marker(&r, owner); err != nil {
			return err
		}
		r.left = 0
	case attrs&attrTxn != 0 && len(p.aborted[owner]) > 0 && p.aborted[owner][0] <= first:
		r.left = 0
	case first < out.next:
		if err := r.skip(out.next); err != nil {
			return err
		}
	}
	out.epoch = int32(binary.BigEndian.Uint32(b[batchEpochAt:]))
	out.next = r.next
	if r.left == 0 {
		r.in = nil
	}
	out.bytes += len(r.in)
	if n := len(out.runs); r.left == 0 && n > 0 {
		out.runs[n-1].next = r.next
	} else {
		out.runs = append(out.runs, r)
	}
	return nil
}

// marker takes note of the end of a transaction: behind that of an aborted one the
// producer's records count again.
func (p *parser) marker(r *run, owner int64) error {
	if r.left == 0 {
		return nil // compacted away
	}
	one := *r
	records, err := one.read(nil, 1, new(string))
	if err != nil {
		return err
	}
	var key kmsg.ControlRecordKey
	if key.ReadFrom(records[0].Key) != nil || key.Type != kmsg.ControlRecordKeyTypeAbort {
		return nil
	}
	// One may end a transaction that wrote nothing here, of which nothing is told.
	if left := p.aborted[owner]; len(left) > 0 && left[0] <= r.first {
		p.aborted[owner] = left[1:]
	}
	return nil
}

// old takes what is left of an answer in one of the formats before version 2, which
// the client knows, and brings it into that of version 2.
func (p *parser) old(out fetched, rp *kmsg.FetchResponseTopicPartition, in []byte) (fetched, error) {
	rest := *rp
	rest.RecordBatches = in
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: out.next, IsolationLevel: kgo.ReadCommitted(), Partition: rp.Partition,
	}, &rest, p.inflate, p.note)
	if fp.Err != nil {
		return out, fp.Err
	}
	var r run
	for _, x := range fp.Records {
		if r.left > 0 && x.Offset-r.first > 1<<30 {
			r.next = x.Offset
			out.runs, out.bytes, r = append(out.runs, r), out.bytes+len(r.in), run{}
		}
		if r.left == 0 {
			r.first, r.time = x.Offset, x.Timestamp.UnixMilli()
		}
		m := kmsg.Record{TimestampDelta64: x.Timestamp.UnixMilli() - r.time, OffsetDelta: int32(x.Offset - r.first), Key: x.Key, Value: x.Value}
		for _, h := range x.Headers {
			m.Headers = append(m.Headers, kmsg.Header(h))
		}
		r.in = appendRecord(r.in, m)
		r.left++
	}
	r.next, out.epoch = next, -1 // newer batches may have come behind
	if next == out.next {
		return out, errNoProgress
	}
	out.runs, out.next, out.bytes = append(out.runs, r), next, out.bytes+len(r.in)
	return out, nil
}

// skip drops the records before an offset.
func (r *run) skip(to int64) error {
	for r.left > 0 {
		rest := *r
		one, err := rest.read(nil, 1, new(string))
		if err != nil {
			return err
		}
		if one[0].Offset >= to {
			return nil
		}
		*r = rest
	}
	return nil
}

var errDamaged = errors.New("a record in it is malformed")

// read takes records off the run and appends them to those, until there are limit. A
// header's key that is the last one seen costs no allocation.
func (r *run) read(to []connectors.Record, limit int, seen *string) ([]connectors.Record, error) {
	var headers []connectors.Header
	for r.left > 0 && len(to) < limit {
		length, in := varint(r.in)
		if in == nil || length < 1 || length > int64(len(in)) {
			return to, r.damaged()
		}
		rest := in[length:]
		in = in[1:length:length] // the attributes of a record mean nothing yet
		time, in := varint(in)
		delta, in := varint(in)
		key, in := bytesOf(in)
		value, in := bytesOf(in)
		n, in := varint(in)
		if in == nil || n < 0 || n > int64(len(in)) {
			return to, r.damaged()
		}
		rec := connectors.Record{Key: key, Value: value, Offset: r.first + delta, Time: r.time}
		if !r.fixed {
			rec.Time += time
		}
		if n > 0 {
			from := len(headers)
			for range n {
				var k, v []byte
				if k, in = bytesOf(in); in != nil {
					v, in = bytesOf(in)
				}
				if in == nil {
					return to, r.damaged()
				}
				if string(k) != *seen {
					*seen = string(k)
				}
				headers = append(headers, connectors.Header{Key: *seen, Value: v})
			}
			rec.Headers = headers[from:len(headers):len(headers)]
		}
		to = append(to, rec)
		r.in = rest
		r.left--
	}
	return to, nil
}

func (r *run) damaged() error {
	return fmt.Errorf("the record batch at offsets %d to %d cannot be read: %w", r.first, r.next-1, errDamaged)
}

// varint returns a number and what is behind it, nil if there is none; of nil, nil.
func varint(in []byte) (int64, []byte) {
	if len(in) > 0 && in[0] < 0x80 {
		return int64(in[0]>>1) ^ -int64(in[0]&1), in[1:]
	}
	v, n := binary.Varint(in)
	if n <= 0 {
		return 0, nil
	}
	return v, in[n:]
}

// bytesOf returns bytes behind their length, nil for a length of -1, and what is
// behind them, nil if they are not all there; of nil, nil.
func bytesOf(in []byte) (b, rest []byte) {
	n, in := varint(in)
	switch {
	case in == nil || n > int64(len(in)) || n < -1:
		return nil, nil
	case n == -1:
		return nil, in
	}
	return in[:n:n], in[n:]
}
