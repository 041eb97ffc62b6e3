package connectors

import (
	"encoding/binary"
	"slices"
	"strconv"
)

// Outputs are the records that a step publishes, in order. Keys, values and headers
// of all of them lie in one slab and the list has no pointers, so that a step of
// many records costs the garbage collector nothing. The zero value is empty; a nil
// one is, too.
type Outputs struct {
	list   []packed
	slab   []byte
	kinds  []kind
	topics []string
	header string // under which every record has its id; "" = they have none
	prefix []byte // of the ids
}

// packed says where an output lies: key, value and headers, one behind the other.
type packed struct {
	start      int
	key, value int32 // lengths; -1 = none
	partition  int32
	kind       int32
}

// kind is what an output mostly has in common with the one before.
type kind struct {
	time    int64
	topic   int32
	headers int32 // length
	count   int32 // of the headers
}

// OutputsOf packs a list.
func OutputsOf(list ...Output) *Outputs {
	o := &Outputs{}
	for i := range list {
		x := &list[i]
		o.Add(x.Topic, x.Partition, x.Time, x.Key, x.Value, x.Headers)
	}
	return o
}

// Reset empties the list for about so many records with so many bytes.
func (o *Outputs) Reset(records, bytes int) {
	o.list, o.slab = reserve(o.list, records), reserve(o.slab, bytes)
	o.kinds, o.topics, o.header, o.prefix = o.kinds[:0], o.topics[:0], "", o.prefix[:0]
}

// reserve returns s without elements and with room for n, and some more, since
// the next step may be larger.
func reserve[T any](s []T, n int) []T {
	if cap(s) < n {
		return slices.Grow([]T(nil), n+n/8)
	}
	return s[:0]
}

// Identify gives every record a header, before its others, whose value is the
// prefix and the record's place in the list, from 0.
func (o *Outputs) Identify(header string, prefix []byte) {
	o.header, o.prefix = header, append(o.prefix[:0], prefix...)
}

// Add appends a copy of a record. A nil key or value is none. The time is in
// milliseconds since 1970; 0 = that of sending.
func (o *Outputs) Add(topic string, partition int32, time int64, key, value []byte, headers []Header) {
	keyLen, valueLen := len(key), len(value)
	if key == nil {
		keyLen = -1
	}
	if value == nil {
		valueLen = -1
	}
	o.Put(append(append(o.slab, key...), value...), o.Kind(topic, time), partition, keyLen, valueLen)
	o.AddHeaders(headers)
}

// Slab returns the memory of keys and values, for [Outputs.Put].
func (o *Outputs) Slab() []byte { return o.slab }

// Size returns how many bytes the records take, headers included and ids not.
func (o *Outputs) Size() int { return len(o.slab) }

// Kind returns a number for topic and time of records, for [Outputs.Put], good until
// the next Reset.
func (o *Outputs) Kind(topic string, time int64) int32 {
	return o.kind(kind{time: time, topic: o.topicNumber(topic)})
}

func (o *Outputs) kind(k kind) int32 {
	const few = 4 // older ones come back seldom
	for i := len(o.kinds) - 1; i >= max(0, len(o.kinds)-few); i-- {
		if o.kinds[i] == k {
			return int32(i)
		}
	}
	o.kinds = append(o.kinds, k)
	return int32(len(o.kinds) - 1)
}

func (o *Outputs) topicNumber(topic string) int32 {
	for i := len(o.topics) - 1; i >= 0; i-- { // mostly that of the record before
		if o.topics[i] == topic {
			return int32(i)
		}
	}
	o.topics = append(o.topics, topic)
	return int32(len(o.topics) - 1)
}

// Put appends a record whose key and value were appended to what Slab returned, the
// key first: their lengths, -1 = none.
func (o *Outputs) Put(slab []byte, kind, partition int32, key, value int) {
	o.list = append(o.list, packed{len(o.slab), int32(key), int32(value), partition, kind})
	o.slab = slab
}

// AddHeaders gives the record added last, which must have none, copies of headers. A
// nil value is none.
func (o *Outputs) AddHeaders(headers []Header) {
	if len(headers) == 0 {
		return
	}
	s := o.slab
	for i := range headers {
		h := &headers[i]
		s = append(binary.AppendVarint(s, int64(len(h.Key))), h.Key...)
		if h.Value == nil {
			s = binary.AppendVarint(s, -1)
			continue
		}
		s = append(binary.AppendVarint(s, int64(len(h.Value))), h.Value...)
	}
	p := &o.list[len(o.list)-1]
	k := o.kinds[p.kind]
	k.headers, k.count = int32(len(s)-len(o.slab)), int32(len(headers))
	p.kind, o.slab = o.kind(k), s
}

// AddAll appends copies of the records of another list, without its ids.
func (o *Outputs) AddAll(x *Outputs) {
	start, first, at := len(o.slab), int32(len(o.kinds)), len(o.list)
	o.slab, o.list = append(o.slab, x.slab...), append(o.list, x.list...)
	for _, k := range x.kinds {
		k.topic = o.topicNumber(x.topics[k.topic])
		o.kinds = append(o.kinds, k)
	}
	for i := range o.list[at:] {
		p := &o.list[at+i]
		p.start, p.kind = p.start+start, p.kind+first
	}
}

// Reorder puts record order[i] in place i. The order is used up.
func (o *Outputs) Reorder(order []int32) {
	for i := range order {
		moved := o.list[i]
		for at := i; ; { // around the circle of which place i is
			from := int(order[at])
			order[at] = int32(at)
			if from == i {
				o.list[at] = moved
				break
			}
			o.list[at] = o.list[from]
			at = from
		}
	}
}

// Len returns the number of records.
func (o *Outputs) Len() int {
	if o == nil {
		return 0
	}
	return len(o.list)
}

// Packed is an output as it lies in memory, borrowed until the next Reset.
type Packed struct {
	Topic      int // number of the topic, see [Outputs.Topic]
	Partition  int32
	Count      int32 // of the headers
	Time       int64
	Key, Value int // lengths; -1 = none
	// Bytes are the key, the value and the headers. Headers are, Count times, a key and
	// a value, each behind its length as a signed varint (-1 = no value), as in Kafka's
	// records. The id is not among them.
	Bytes []byte
}

// Packed makes x record i.
func (o *Outputs) Packed(i int, x *Packed) {
	p := &o.list[i]
	k := &o.kinds[p.kind]
	x.Topic, x.Partition, x.Count, x.Time = int(k.topic), p.partition, k.count, k.time
	x.Key, x.Value = int(p.key), int(p.value)
	end := p.start + max(x.Key, 0) + max(x.Value, 0) + int(k.headers)
	x.Bytes = o.slab[p.start:end:end]
}

// Topic returns the name of a topic by its number; the numbers go from 0 to
// Topics, exclusive.
func (o *Outputs) Topic(n int) string { return o.topics[n] }

// Topics returns how many topics there are.
func (o *Outputs) Topics() int { return len(o.topics) }

// Identity returns the key of the header with the ids, "" if there is none, and
// the prefix of its values.
func (o *Outputs) Identity() (header string, prefix []byte) { return o.header, o.prefix }

// At returns record i, its headers in memory of their own.
func (o *Outputs) At(i int) Output {
	var x Packed
	o.Packed(i, &x)
	out := Output{Topic: o.topics[x.Topic], Partition: x.Partition, Record: Record{Time: x.Time}}
	rest := x.Bytes
	take := func(n int) []byte {
		if n < 0 {
			return nil
		}
		b := rest[:n:n]
		rest = rest[n:]
		return b
	}
	out.Key = take(x.Key)
	out.Value = take(x.Value)
	if o.header != "" {
		out.Headers = append(out.Headers, Header{Key: o.header, Value: strconv.AppendInt(slices.Clone(o.prefix), int64(i), 10)})
	}
	next := func() []byte {
		n, k := binary.Varint(rest)
		rest = rest[k:]
		return take(int(n))
	}
	for range x.Count {
		key := string(next())
		out.Headers = append(out.Headers, Header{Key: key, Value: next()})
	}
	return out
}

// List returns all records as At does.
func (o *Outputs) List() []Output {
	var list []Output
	for i := range o.Len() {
		list = append(list, o.At(i))
	}
	return list
}
