package kafka

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// groupConfig is what all workers of a group have to agree on: which partitions
// make up which task.
type groupConfig struct {
	tasks   int
	sources []sourceCount // by topic
}

type sourceCount struct {
	topic      string
	partitions int
}

func newGroupConfig(tasks int, counts map[string]int) groupConfig {
	c := groupConfig{tasks: tasks}
	for _, t := range slices.Sorted(maps.Keys(counts)) {
		c.sources = append(c.sources, sourceCount{t, counts[t]})
	}
	return c
}

func (c groupConfig) equal(o groupConfig) bool {
	return c.tasks == o.tasks && slices.Equal(c.sources, o.sources)
}

func (c groupConfig) compare(o groupConfig) int {
	return cmp.Or(cmp.Compare(c.tasks, o.tasks), slices.CompareFunc(c.sources, o.sources, func(a, b sourceCount) int {
		return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.partitions, b.partitions))
	}))
}

func (c groupConfig) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d tasks over", c.tasks)
	for i, s := range c.sources {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s (%d partitions)", s.topic, s.partitions)
	}
	return b.String()
}

// joinData is the user data of a member's join request. What the member owns
// stands in Kafka's own fields beside it.
type joinData struct {
	config groupConfig
	local  map[int]uint64 // task: step of the local copy
}

// syncData is the user data of an assignment.
type syncData struct {
	config   groupConfig // of the group
	member   string      // id of the member it was made for
	withheld int         // tasks of the plan that wait to be given up
}

// Both begin with the version of their layout. All numbers are unsigned varints;
// a string is its length and its bytes.
const groupDataVersion = 1

func (c groupConfig) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(c.tasks))
	b = binary.AppendUvarint(b, uint64(len(c.sources)))
	for _, s := range c.sources {
		b = appendString(b, s.topic)
		b = binary.AppendUvarint(b, uint64(s.partitions))
	}
	return b
}

func (d joinData) encode() []byte {
	b := d.config.append([]byte{groupDataVersion})
	b = binary.AppendUvarint(b, uint64(len(d.local)))
	for _, t := range slices.Sorted(maps.Keys(d.local)) { // sorted: the broker compares bytes
		b = binary.AppendUvarint(b, uint64(t))
		b = binary.AppendUvarint(b, d.local[t])
	}
	return b
}

func (d syncData) encode() []byte {
	b := d.config.append([]byte{groupDataVersion})
	b = appendString(b, d.member)
	return binary.AppendUvarint(b, uint64(d.withheld))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// groupDataLimit bounds every number read, so that none overflows an int or makes
// the reader reserve memory that the data does not fill.
const groupDataLimit = 1 << 30

var errGroupData = errors.New("it is not the data of a gradstream worker of this version")

func decodeJoinData(b []byte) (d joinData, err error) {
	r := dataReader{b: b}
	d.config = r.config()
	n := r.int()
	d.local = map[int]uint64{}
	for range n {
		t := r.int()
		step := r.uint()
		if r.bad {
			break
		}
		d.local[t] = step
	}
	return d, r.end()
}

func decodeSyncData(b []byte) (d syncData, err error) {
	r := dataReader{b: b}
	d.config = r.config()
	d.member = r.string()
	d.withheld = r.int()
	return d, r.end()
}

type dataReader struct {
	b   []byte
	bad bool
}

func (r *dataReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *dataReader) int() int {
	v := r.uint()
	if v > groupDataLimit {
		r.bad = true
		return 0
	}
	return int(v)
}

func (r *dataReader) string() string {
	n := r.int()
	if r.bad || n > len(r.b) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *dataReader) config() (c groupConfig) {
	if len(r.b) == 0 || r.b[0] != groupDataVersion {
		r.bad = true
		return c
	}
	r.b = r.b[1:]
	c.tasks = r.int()
	for range r.int() {
		s := sourceCount{topic: r.string(), partitions: r.int()}
		if r.bad {
			break
		}
		c.sources = append(c.sources, s)
	}
	return c
}

func (r *dataReader) end() error {
	if r.bad || len(r.b) > 0 {
		return errGroupData
	}
	return nil
}
