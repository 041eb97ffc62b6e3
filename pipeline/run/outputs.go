package run

import (
	"encoding/binary"
	"strconv"

	"github.com/zeebo/xxh3"

	"github.com/gradstream/gradstream/connectors"
)

// headerID is the header that every output carries: task/step/index.
const headerID = "gs-id"

// outputs is the memory of one step's outputs: a list of records whose bytes lie
// in one slab. It is reused from step to step.
type outputs struct {
	list    []connectors.Output
	spans   []span
	slab    []byte
	headers []connectors.Header
	hash    uint64
	bytes   int
	hasher  xxh3.Hasher
}

// span says where the parts of an output lie in the slab, or outside of it.
type span struct {
	key, keyEnd     int // keyEnd < key: no key
	val, valEnd     int
	extra, extraEnd int // headers beside the id, in headers
	borrowed        bool
}

func (o *outputs) reset() {
	o.list, o.spans, o.slab, o.headers = o.list[:0], o.spans[:0], o.slab[:0], o.headers[:0]
	o.hash, o.bytes = 0, 0
}

// add lists an output whose key and value were appended to the slab.
func (o *outputs) add(topic string, partition int32, time int64, s span) {
	o.list = append(o.list, connectors.Output{Topic: topic, Partition: partition, Record: connectors.Record{Time: time}})
	o.spans = append(o.spans, s)
}

// addBorrowed lists an output that keeps the key and value of an input record.
func (o *outputs) addBorrowed(topic string, partition int32, r *connectors.Record, extra, extraEnd int) {
	o.list = append(o.list, connectors.Output{Topic: topic, Partition: partition,
		Record: connectors.Record{Key: r.Key, Value: r.Value, Time: r.Time}})
	o.spans = append(o.spans, span{borrowed: true, extra: extra, extraEnd: extraEnd})
}

// seal gives every output its id, points the records into the slab, which no
// longer moves, and hashes the whole.
func (o *outputs) seal(task int, step uint64) {
	ids := len(o.slab)
	// Ids are appended first, then sliced, because appending may move the slab.
	prefix := len(strconv.AppendUint(strconv.AppendInt(nil, int64(task), 10), step, 10)) + 2
	need := 0
	for i := range o.list {
		need += prefix + digits(i)
	}
	if cap(o.slab)-len(o.slab) < need {
		o.slab = append(o.slab, make([]byte, need)...)[:len(o.slab)]
	}
	for i := range o.list {
		o.slab = strconv.AppendInt(o.slab, int64(task), 10)
		o.slab = append(o.slab, '/')
		o.slab = strconv.AppendUint(o.slab, step, 10)
		o.slab = append(o.slab, '/')
		o.slab = strconv.AppendInt(o.slab, int64(i), 10)
	}
	extras := len(o.headers)
	for i := range o.list {
		s := &o.spans[i]
		end := ids + prefix + digits(i)
		o.headers = append(o.headers, connectors.Header{Key: headerID, Value: o.slab[ids:end:end]})
		o.headers = append(o.headers, o.headers[s.extra:s.extraEnd]...)
		ids = end
	}
	at := extras
	for i := range o.list {
		s, r := &o.spans[i], &o.list[i].Record
		n := 1 + s.extraEnd - s.extra
		r.Headers = o.headers[at : at+n : at+n]
		at += n
		if !s.borrowed {
			r.Key = nil
			if s.keyEnd >= s.key {
				r.Key = o.slab[s.key:s.keyEnd:s.keyEnd]
			}
			r.Value = o.slab[s.val:s.valEnd:s.valEnd]
		}
	}
	h := &o.hasher
	h.Reset()
	var frame [12]byte
	for i := range o.list {
		r := &o.list[i]
		binary.LittleEndian.PutUint32(frame[0:], uint32(r.Partition))
		binary.LittleEndian.PutUint32(frame[4:], uint32(len(r.Key)))
		binary.LittleEndian.PutUint32(frame[8:], uint32(len(r.Value)))
		_, _ = h.WriteString(r.Topic)
		_, _ = h.Write(frame[:])
		_, _ = h.Write(r.Key)
		_, _ = h.Write(r.Value)
		o.bytes += len(r.Key) + len(r.Value)
	}
	o.hash = h.Sum64()
}

func digits(i int) int {
	n := 1
	for ; i >= 10; i /= 10 {
		n++
	}
	return n
}
