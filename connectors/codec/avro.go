package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/twmb/avro"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// AvroOptions say how the Avro records of a topic were written.
type AvroOptions struct {
	Schema string // of the writer, as JSON; a record
	Framed bool   // five bytes stand before each record: 0 and a schema's id, as Confluent's serializers write them
	ID     uint32 // the id, 0 = any
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
	c := avroCompiler{schema: s, bound: make([]bool, len(s.Fields)), named: map[string]avro.SchemaNode{}, skips: map[string]*avroNode{}}
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

// avroNode is a type of the writer's schema, and what becomes of its values.
type avroNode struct {
	kind     avroKind
	col      int // column of a value; -1 = it is skipped
	typ      batch.Type
	scale    avroScale
	path     string
	size     int         // fixed: bytes
	least    int         // a bound from below of the bytes that a value takes
	symbols  []string    // enum
	children []*avroNode // fields of a record, branches of a union, items of an array, values of a map
}

type avroKind uint8

const (
	avroNull avroKind = iota
	avroBoolean
	avroInt
	avroLong
	avroFloat
	avroDouble
	avroBytes
	avroString
	avroFixed
	avroEnum
	avroArray
	avroMap
	avroUnion
	avroRecord
)

var avroKinds = map[string]avroKind{
	"null": avroNull, "boolean": avroBoolean, "int": avroInt, "long": avroLong, "float": avroFloat, "double": avroDouble, "bytes": avroBytes,
	"string": avroString, "fixed": avroFixed, "enum": avroEnum, "array": avroArray, "map": avroMap, "union": avroUnion, "record": avroRecord, "error": avroRecord,
}

// avroScale is the unit of a number that is a time, as milliseconds: it is multiplied
// by times, then divided by per.
type avroScale struct{ times, per int64 }

// avroCompiler makes nodes of a schema.
type avroCompiler struct {
	schema *batch.Schema
	bound  []bool // columns that have a field
	named  map[string]avro.SchemaNode
	skips  map[string]*avroNode // nodes of named types that are skipped: they may hold themselves
}

func fullName(n *avro.SchemaNode) string {
	if n.Namespace == "" || strings.Contains(n.Name, ".") {
		return n.Name
	}
	return n.Namespace + "." + n.Name
}

// collect finds the named types.
func (c *avroCompiler) collect(n *avro.SchemaNode) {
	if n.Name != "" {
		c.named[fullName(n)] = *n
	}
	for i := range n.Fields {
		c.collect(&n.Fields[i].Type)
	}
	for i := range n.Branches {
		c.collect(&n.Branches[i])
	}
	for _, child := range []*avro.SchemaNode{n.Items, n.Values} {
		if child != nil {
			c.collect(child)
		}
	}
}

// below reports whether a column lies inside a path.
func (c *avroCompiler) below(path string) bool {
	return slices.ContainsFunc(c.schema.Fields, func(f batch.Field) bool { return path == "" || strings.HasPrefix(f.Name, path+".") })
}

// node compiles a type, spelt within a namespace, whose values stand at a path, for a
// column or -1.
func (c *avroCompiler) node(n *avro.SchemaNode, space, path string, col int) (*avroNode, error) {
	kind, known := avroKinds[n.Type]
	if !known {
		named, ok := c.named[space+"."+n.Type]
		if !ok {
			named, ok = c.named[n.Type]
		}
		if !ok {
			return nil, fmt.Errorf("the Avro schema: no type %q", n.Type)
		}
		return c.node(&named, space, path, col)
	}
	if n.Name != "" {
		space = ""
		if full := fullName(n); strings.Contains(full, ".") {
			space = full[:strings.LastIndexByte(full, '.')]
		}
	}
	// What is inside an array or a map may be there several times: no column takes it.
	skipped := col < 0 && (strings.Contains(path, "[]") || !c.below(path))
	if skipped && n.Name != "" {
		if out := c.skips[fullName(n)]; out != nil {
			return out, nil
		}
	}
	out := &avroNode{kind: kind, col: col, path: path, size: n.Size, least: 1}
	if skipped && n.Name != "" {
		c.skips[fullName(n)] = out
	}
	if col >= 0 {
		f := c.schema.Fields[col]
		out.typ = f.Type
		if !out.fits(n) {
			what := n.Type
			if n.LogicalType != "" {
				what += " (" + n.LogicalType + ")"
			}
			return nil, fmt.Errorf("column %q is %s; the field of the Avro schema is %s", f.Name, f.TypeString(), what)
		}
	}
	child := func(n *avro.SchemaNode, path string, col int) error {
		made, err := c.node(n, space, path, col)
		out.children = append(out.children, made)
		return err
	}
	switch kind {
	case avroNull:
		out.least = 0
	case avroFixed:
		out.least = n.Size
	case avroFloat:
		out.least = 4
	case avroDouble:
		out.least = 8
	case avroEnum:
		out.symbols = n.Symbols
	case avroArray:
		return out, child(n.Items, path+"[]", -1)
	case avroMap:
		return out, child(n.Values, path+"[]", -1)
	case avroUnion:
		for i := range n.Branches {
			if err := child(&n.Branches[i], path, col); err != nil {
				return nil, err
			}
		}
	case avroRecord:
		out.least = 0
		for i := range n.Fields {
			f := &n.Fields[i]
			at := f.Name
			if path != "" {
				at = path + "." + f.Name
			}
			col := -1
			if !skipped {
				if col = c.schema.Lookup(at); col >= 0 {
					c.bound[col] = true
				}
			}
			if err := child(&f.Type, at, col); err != nil {
				return nil, err
			}
			out.least = min(1<<20, out.least+out.children[i].least)
		}
	}
	return out, nil
}

// fits reports whether the column of a node holds its values.
func (n *avroNode) fits(of *avro.SchemaNode) bool {
	switch n.kind {
	case avroNull, avroUnion:
		return true
	case avroBoolean:
		return n.typ == batch.Bool
	case avroInt, avroLong:
		n.scale = avroScale{1, 1}
		switch strings.TrimPrefix(of.LogicalType, "local-") {
		case "date":
			n.scale.times = 86_400_000
		case "timestamp-micros":
			n.scale.per = 1000
		case "timestamp-nanos":
			n.scale.per = 1_000_000
		case "time-millis", "time-micros":
			return n.typ == batch.Int64 || n.typ == batch.Float64
		}
		return n.typ == batch.Int64 || n.typ == batch.Float64 || n.typ == batch.Timestamp
	case avroFloat, avroDouble:
		return n.typ == batch.Float64
	case avroString, avroEnum:
		return n.typ == batch.String
	}
	return false
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
