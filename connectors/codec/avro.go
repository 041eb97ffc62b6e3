package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/twmb/avro"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// AvroOptions say how the Avro records of a topic were written.
type AvroOptions struct {
	Schema string // of the writer, as JSON; a record
	Framed bool   // five bytes stand before each record: 0 and a schema's id, as Confluent's serializers write them
	ID     uint32 // the id, 0 = any
	Time   string // column of the event time, "" = none: one of type int64 gets milliseconds, whatever unit the schema gives
}

// NewAvro returns a decoder of records in Avro's binary encoding. A column takes the
// field of its name, `a.b` field b of the record a, and must have a type that holds
// whatever the field does. It fails for a schema that is none, and for columns that
// it cannot fill.
func NewAvro(s *batch.Schema, a AvroOptions, o Options) (*AvroDecoder, error) {
	parsed, err := avro.Parse(a.Schema)
	if err != nil {
		return nil, fmt.Errorf("the Avro schema: %w", err)
	}
	root := parsed.Root()
	if root.Type != "record" && root.Type != "error" {
		return nil, fmt.Errorf("the Avro schema is of type %s; expected a record", root.Type)
	}
	d := &AvroDecoder{schema: s, o: o.bounded(), framed: a.Framed, id: a.ID, set: make([]bool, len(s.Fields))}
	c := avroCompiler{schema: s, time: a.Time, bound: make([]bool, len(s.Fields)), named: map[string]avro.SchemaNode{}, skips: map[string]*avroNode{}}
	c.collect(root)
	if d.root, err = c.node(root, "", "", -1); err != nil {
		return nil, err
	}
	for i, f := range s.Fields {
		if !c.bound[i] && !f.Nullable {
			return nil, fmt.Errorf("column %q: the Avro schema has no such field, and the column may not be null", f.Name)
		}
	}
	return d, nil
}

// AvroDecoder decodes records of one row. See [NewAvro].
type AvroDecoder struct {
	schema *batch.Schema
	root   *avroNode
	o      Options
	framed bool
	id     uint32

	// The record being decoded.
	b    []byte
	at   int
	cols []*batch.Column
	set  []bool // columns that have a value
}

var (
	errAvroEnd   = errors.New("the record ends too soon")
	errAvroLong  = errors.New("a number of more than 64 bits")
	errAvroInt   = errors.New("an int of more than 5 bytes")
	errAvroSize  = errors.New("a length that the record does not have")
	errAvroDepth = fmt.Errorf("records, arrays and maps are nested deeper than %d", MaxDepth)
)

// Decode implements connectors.Decoder.
func (d *AvroDecoder) Decode(value []byte, into *batch.Batch) (int, error) {
	d.b, d.at, d.cols = value, 0, into.Cols
	clear(d.set)
	if len(value) > d.o.MaxRecord {
		return 0, fail("", -1, "the record has %d bytes; at most %d are read", len(value), d.o.MaxRecord)
	}
	if d.framed {
		if len(value) < 5 || value[0] != 0 {
			return 0, fail("", 0, "no schema id stands before the record: a byte 0 and four of the id")
		}
		if id := binary.BigEndian.Uint32(value[1:]); d.id != 0 && id != d.id {
			return 0, fail("", 1, "the record was written with the schema of id %d; expected %d", id, d.id)
		}
		d.at = 5
	}
	before := rows(into)
	err := d.value(d.root, 0)
	if err == nil && d.at < len(value) {
		err = fail("", d.at, "%d bytes stand behind the record; was it written with another schema?", len(value)-d.at)
	}
	for i, f := range d.schema.Fields {
		switch {
		case err != nil:
		case d.set[i]:
		case f.Nullable:
			d.cols[i].AppendNull()
		default:
			err = fail(f.Name, -1, "it is null")
		}
	}
	if err != nil {
		truncate(into, before)
		return 0, err
	}
	return 1, nil
}

// wrong describes what is wrong with a value.
func (d *AvroDecoder) wrong(n *avroNode, at int, why error) error {
	return fail(n.path, at, "%v", why)
}

// short reads a number of 32 bits, an int, the number of a branch or a symbol.
func (d *AvroDecoder) short() (int64, error) {
	from := d.at
	v, err := d.long()
	switch {
	case err != nil:
	case v != int64(int32(v)):
		err = fmt.Errorf("%d is no int, which has 32 bits", v)
	case d.at-from > 5:
		err = errAvroInt
	}
	return v, err
}

// long reads a number in zigzag form.
func (d *AvroDecoder) long() (int64, error) {
	v, n := binary.Varint(d.b[d.at:])
	switch {
	case n == 0:
		return 0, errAvroEnd
	case n < 0:
		return 0, errAvroLong
	}
	d.at += n
	return v, nil
}

// take returns the next n bytes.
func (d *AvroDecoder) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(d.b)-d.at) {
		return nil, errAvroSize
	}
	b := d.b[d.at:][:n]
	d.at += int(n)
	return b, nil
}

// value reads one value, into its column if it has one.
func (d *AvroDecoder) value(n *avroNode, depth int) error {
	if depth > MaxDepth {
		return d.wrong(n, d.at, errAvroDepth)
	}
	switch n.kind {
	case avroNull:
		return nil
	case avroRecord:
		for _, f := range n.children {
			if err := d.value(f, depth+1); err != nil {
				return err
			}
		}
		return nil
	case avroUnion:
		at := d.at
		i, err := d.short()
		if err == nil && (i < 0 || i >= int64(len(n.children))) {
			err = fmt.Errorf("branch %d of a union of %d", i, len(n.children))
		}
		if err != nil {
			return d.wrong(n, at, err)
		}
		return d.value(n.children[i], depth+1)
	case avroArray, avroMap:
		return d.skipBlocks(n, depth)
	}
	at := d.at
	if err := d.cell(n); err != nil {
		return d.wrong(n, at, err)
	}
	return nil
}

// skipBlocks skips an array or a map.
func (d *AvroDecoder) skipBlocks(n *avroNode, depth int) error {
	item := n.children[0]
	for {
		at := d.at
		count, err := d.long()
		if err != nil {
			return d.wrong(n, at, err)
		}
		if count == 0 {
			return nil
		}
		end := -1
		if count < 0 { // the block says its size
			size, err := d.long()
			switch {
			case err != nil:
			case size < 0 || size > int64(len(d.b)-d.at) || count == math.MinInt64:
				err = errAvroSize
			}
			if err != nil {
				return d.wrong(n, at, err)
			}
			count, end = -count, d.at+int(size)
		}
		least := int64(item.least)
		if n.kind == avroMap {
			least++ // the key's length
		}
		if least > 0 && count > int64(len(d.b)-d.at)/least {
			return d.wrong(n, at, errAvroSize)
		}
		for range count {
			from := d.at
			if n.kind == avroMap {
				size, err := d.long()
				if err == nil {
					_, err = d.take(size)
				}
				if err != nil {
					return d.wrong(n, at, err)
				}
			}
			if err := d.value(item, depth+1); err != nil {
				return err
			}
			if d.at == from {
				break // nothing stands there, however many there are
			}
		}
		if end >= 0 && d.at != end {
			return d.wrong(n, at, errAvroSize)
		}
	}
}

// cell reads a value that holds no others.
func (d *AvroDecoder) cell(n *avroNode) error {
	switch n.kind {
	case avroBoolean:
		b, err := d.take(1)
		if err != nil {
			return errAvroEnd
		}
		if b[0] > 1 {
			return fmt.Errorf("a boolean of the byte %d", b[0])
		}
		if n.col >= 0 {
			d.cols[n.col].AppendBool(b[0] == 1)
		}
	case avroInt, avroLong:
		v, err := int64(0), error(nil)
		if n.kind == avroInt {
			v, err = d.short()
		} else {
			v, err = d.long()
		}
		if err != nil {
			return err
		}
		if n.col >= 0 {
			return d.number(n, v)
		}
	case avroFloat, avroDouble:
		b, err := d.take(int64(n.least))
		if err != nil {
			return errAvroEnd
		}
		if n.col < 0 {
			return nil
		}
		v := 0.0
		if n.kind == avroFloat {
			v = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		} else {
			v = math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%v is no finite number", v)
		}
		d.cols[n.col].AppendFloat(v)
	case avroFixed:
		_, err := d.take(int64(n.size))
		return err
	case avroBytes, avroString:
		size, err := d.long()
		if err != nil {
			return err
		}
		b, err := d.take(size)
		if err != nil {
			return err
		}
		if n.col >= 0 {
			return d.text(n, b)
		}
	case avroEnum:
		i, err := d.short()
		if err != nil {
			return err
		}
		if i < 0 || i >= int64(len(n.symbols)) {
			return fmt.Errorf("symbol %d of an enum of %d", i, len(n.symbols))
		}
		if n.col >= 0 {
			d.cols[n.col].AppendString(n.symbols[i])
		}
	}
	if n.col >= 0 {
		d.set[n.col] = true
	}
	return nil
}

// number appends an int or a long.
func (d *AvroDecoder) number(n *avroNode, v int64) error {
	c := d.cols[n.col]
	switch n.typ {
	case batch.Float64:
		if f := float64(v); f >= math.MaxInt64 || int64(f) != v {
			return fmt.Errorf("%d is not exact as a float64", v)
		}
		c.AppendFloat(float64(v))
	case batch.Timestamp:
		if v > math.MaxInt64/n.scale.times || v < math.MinInt64/n.scale.times {
			return fmt.Errorf("%d is no time of the years 0000 to 9999", v)
		}
		ms := v * n.scale.times / n.scale.per
		if v*n.scale.times%n.scale.per < 0 { // down, not towards 1970
			ms--
		}
		if ms < MinTime || ms > MaxTime {
			return fmt.Errorf("%d is no time of the years 0000 to 9999", v)
		}
		c.AppendInt(ms)
	default:
		c.AppendInt(v)
	}
	d.set[n.col] = true
	return nil
}

// text appends a string.
func (d *AvroDecoder) text(n *avroNode, b []byte) error {
	c := d.cols[n.col]
	switch {
	case len(b) > d.o.MaxString:
		return fmt.Errorf("a string of %d bytes; at most %d are read", len(b), d.o.MaxString)
	case !utf8.Valid(b):
		return errors.New("the string is not valid UTF-8")
	case !fits(c, len(b)):
		return errors.New("the strings of a batch exceed 2 GiB")
	}
	c.AppendBytes(b)
	d.set[n.col] = true
	return nil
}
