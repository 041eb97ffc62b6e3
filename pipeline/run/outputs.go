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

// outputs is the memory of one step's outputs, used again for later steps.
type outputs struct {
	connectors.Outputs
	hash  uint64 // of all outputs, set by seal
	bytes int    // of keys and values

	ids    []byte // how they begin: task/step/
	hasher xxh3.Hasher
	stream []byte // what the hasher will get next
}

// begin empties the list for the outputs of a step, of which there may be as many as
// in the step before, so that memory is taken once and not bit by bit.
func (o *outputs) begin(records, bytes int) {
	o.Reset(records, bytes)
	o.hash, o.bytes = 0, 0
}

// seal gives the outputs their ids and computes the hash.
func (o *outputs) seal(task int, step uint64) {
	o.ids = append(strconv.AppendUint(append(strconv.AppendInt(o.ids[:0], int64(task), 10), '/'), step, 10), '/')
	o.Identify(headerID, o.ids)
	o.hasher.Reset()
	o.stream = o.stream[:0]
	var x connectors.Packed
	for i := range o.Len() {
		o.Packed(i, &x)
		o.digest(o.Topic(x.Topic), x.Partition, max(x.Key, 0), max(x.Value, 0), x.Bytes)
	}
	o.feedHasher()
	o.hash = o.hasher.Sum64()
}

// digest counts an output and has it hashed: its key, its value, of these lengths, and
// nothing of what is behind them.
func (o *outputs) digest(topic string, partition int32, key, value int, bytes []byte) {
	o.bytes += key + value

	n := len(o.stream)
	if need := len(topic) + 12 + key + value; cap(o.stream)-n < need {
		o.stream = slices.Grow(o.stream, max(need, hashAtOnce+hashAtOnce/4))
	}
	s := append(o.stream, topic...)
	sizes := s[len(s) : len(s)+12]
	binary.LittleEndian.PutUint32(sizes, uint32(partition))
	binary.LittleEndian.PutUint32(sizes[4:], uint32(key))
	binary.LittleEndian.PutUint32(sizes[8:], uint32(value))
	s = append(s[:len(s)+12], bytes[:key+value]...)
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
