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
	topics []string
	header string // under which every record has its id; "" = they have none
	prefix []byte // of the ids
}

// packed says where an output lies: key, value and headers, one behind the other.
type packed struct {
	start      int
	time       int64
	key, value int32 // lengths; -1 = none
	headers    int32 // length
	partition  int32
	topic      int32
	count      int32 // of the headers
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
	o.topics, o.header, o.prefix = o.topics[:0], "", o.prefix[:0]
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
	// Written in place: a copy of it would have to wait for what was just written.
	o.list = append(o.list, packed{})
	p := &o.list[len(o.list)-1]
	p.start, p.time, p.key, p.value = len(o.slab), time, -1, -1
	p.partition, p.topic, p.count = partition, o.topicNumber(topic), int32(len(headers))
	if key != nil {
		p.key = int32(len(key))
	}
	if value != nil {
		p.value = int32(len(value))
	}
	s := append(append(o.slab, key...), value...)
	if len(headers) > 0 {
		at := len(s)
		for i := range headers {
			h := &headers[i]
			s = append(binary.AppendVarint(s, int64(len(h.Key))), h.Key...)
			if h.Value == nil {
				s = binary.AppendVarint(s, -1)
				continue
			}
			s = append(binary.AppendVarint(s, int64(len(h.Value))), h.Value...)
		}
		p.headers = int32(len(s) - at)
	}
	o.slab = s
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
	Time       int64
	Key, Value []byte // nil = none
	// Headers hold, Count times, a key and a value, each behind its length as a
	// signed varint (-1 = no value), as in Kafka's records. The id is not among them.
	Headers []byte
	Count   int
}

// Packed returns record i.
func (o *Outputs) Packed(i int) (x Packed) {
	p := &o.list[i]
	x.Topic, x.Partition, x.Time, x.Count = int(p.topic), p.partition, p.time, int(p.count)
	at := p.start
	if p.key >= 0 {
		x.Key = o.slab[at : at+int(p.key) : at+int(p.key)]
		at += int(p.key)
	}
	if p.value >= 0 {
		x.Value = o.slab[at : at+int(p.value) : at+int(p.value)]
		at += int(p.value)
	}
	x.Headers = o.slab[at : at+int(p.headers) : at+int(p.headers)]
	return x
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
	x := o.Packed(i)
	out := Output{Topic: o.topics[x.Topic], Partition: x.Partition, Record: Record{Key: x.Key, Value: x.Value, Time: x.Time}}
	if o.header != "" {
		out.Headers = append(out.Headers, Header{Key: o.header, Value: strconv.AppendInt(slices.Clone(o.prefix), int64(i), 10)})
	}
	rest := x.Headers
	next := func() []byte {
		n, k := binary.Varint(rest)
		rest = rest[k:]
		if n < 0 {
			return nil
		}
		b := rest[:n:n]
		rest = rest[n:]
		return b
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
