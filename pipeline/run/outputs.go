package run

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/zeebo/xxh3"

	"github.com/gradstream/gradstream/connectors"
)

// headerID is the header that every output carries: task/step/index.
const headerID = "gs-id"

// outputs is the memory of one step's outputs: a list of records whose bytes and
// headers lie in shared slabs. It is reused from step to step.
//
// Slices into a slab stay good when it grows: it moves, and what was written
// stays behind.
type outputs struct {
	list    []connectors.Output
	slab    []byte
	headers []connectors.Header
	hash    uint64 // of all outputs, set by seal
	bytes   int    // of keys and values

	prefix []byte // of the ids: task/step/
	hasher xxh3.Hasher
	stream []byte // what the hasher will get next
}

// begin empties the list for the outputs of a step. The sizes are what is known of
// it already, so that memory is taken once and not bit by bit.
func (o *outputs) begin(task int, step uint64, records, bytes, headers int) {
	o.prefix = append(strconv.AppendUint(append(strconv.AppendInt(o.prefix[:0], int64(task), 10), '/'), step, 10), '/')
	id := len(o.prefix) + len(strconv.Itoa(records))
	o.list = reserve(o.list, records)
	o.slab = reserve(o.slab, bytes+records*id)
	o.headers = reserve(o.headers, headers+records)
	o.hasher.Reset()
	o.stream = o.stream[:0]
	o.hash, o.bytes = 0, 0
}

// reserve returns s without elements and with room for n, and some more, since
// the next step may be larger.
func reserve[T any](s []T, n int) []T {
	if cap(s) < n {
		return slices.Grow([]T(nil), n+n/8)
	}
	return s[:0]
}

// add lists an output. Key and value are kept, the further headers are copied; a
// nil key is none.
func (o *outputs) add(topic string, partition int32, time int64, key, value []byte, headers []connectors.Header) {
	at := len(o.slab)
	o.slab = strconv.AppendInt(append(o.slab, o.prefix...), int64(len(o.list)), 10)
	first := len(o.headers)
	o.headers = append(o.headers, connectors.Header{Key: headerID, Value: o.slab[at:len(o.slab):len(o.slab)]})
	if len(headers) > 0 {
		o.headers = append(o.headers, headers...)
	}
	o.list = append(o.list, connectors.Output{Topic: topic, Partition: partition,
		Record: connectors.Record{Key: key, Value: value, Headers: o.headers[first:len(o.headers):len(o.headers)], Time: time}})
	o.bytes += len(key) + len(value)

	n := len(o.stream)
	if need := len(topic) + 12 + len(key) + len(value); cap(o.stream)-n < need {
		o.stream = slices.Grow(o.stream, max(need, hashAtOnce+hashAtOnce/4))
	}
	s := append(o.stream, topic...)
	sizes := s[len(s) : len(s)+12]
	binary.LittleEndian.PutUint32(sizes, uint32(partition))
	binary.LittleEndian.PutUint32(sizes[4:], uint32(len(key)))
	binary.LittleEndian.PutUint32(sizes[8:], uint32(len(value)))
	s = append(append(s[:len(s)+12], key...), value...)
	if o.stream = s; len(s) >= hashAtOnce {
		o.feedHasher()
	}
}

// hashAtOnce is how many bytes are gathered for the hasher, which is slow with
// few at a time.
const hashAtOnce = 8 << 10

func (o *outputs) feedHasher() {
	_, _ = o.hasher.Write(o.stream)
	o.stream = o.stream[:0]
}

// seal completes the hash.
func (o *outputs) seal() {
	o.feedHasher()
	o.hash = o.hasher.Sum64()
}
