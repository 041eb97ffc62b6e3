package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// RowFormat is the format of rows on their way from one stage of a pipeline to
// another: every column bit for bit, sparse ones too, and the event time. It is not
// for the sources and sinks of users, and so not among [Formats].
// docs/format/row.md describes the bytes.
const RowFormat = "row"

const rowVersion = 1

// rowTags returns the tags of the columns, by which a reader finds them: a reader
// may know other columns than the writer did.
func rowTags(s *batch.Schema) ([]uint32, error) {
	tags := make([]uint32, len(s.Fields))
	names := map[uint32]string{}
	for i, f := range s.Fields {
		name := fmt.Sprintf("%v %d %s", f.Type, f.Dim, f.Name)
		tags[i] = uint32(xxh3.HashString(name))
		if other, taken := names[tags[i]]; taken {
			return nil, fmt.Errorf("columns %q and %q have the same tag in rows; rename one of them", other, f.Name)
		}
		names[tags[i]] = f.Name
	}
	return tags, nil
}

// rowEncoder writes one row a record.
type rowEncoder struct {
	tags []uint32
	cell []byte
}

func newRowEncoder(s *batch.Schema) (*rowEncoder, error) {
	tags, err := rowTags(s)
	return &rowEncoder{tags: tags}, err
}

// PerRow implements connectors.Encoder.
func (*rowEncoder) PerRow() bool { return true }

// Encode implements connectors.Encoder. The event time is that of the row's origin.
func (e *rowEncoder) Encode(dst []byte, b *batch.Batch, lo, hi int) ([]byte, error) {
	if hi != lo+1 {
		return dst, fmt.Errorf("%d rows for a record that holds one", hi-lo)
	}
	dst = binary.AppendVarint(append(dst, rowVersion), b.Origin.Time[lo])
	for i, c := range b.Cols {
		if c.Null(lo) {
			continue
		}
		e.cell = appendRowCell(e.cell[:0], c, lo)
		dst = binary.LittleEndian.AppendUint32(dst, e.tags[i])
		dst = binary.AppendUvarint(dst, uint64(len(e.cell)))
		dst = append(dst, e.cell...)
	}
	return dst, nil
}

func appendRowCell(dst []byte, c *batch.Column, row int) []byte {
	switch c.Type {
	case batch.Bool:
		if c.Bools[row] {
			return append(dst, 1)
		}
		return append(dst, 0)
	case batch.Int64, batch.Timestamp:
		return binary.AppendVarint(dst, c.Ints[row])
	case batch.Float64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Floats[row]))
	case batch.String:
		return append(dst, c.Bytes[c.Off[row]:c.Off[row+1]]...)
	case batch.Sparse:
		for k := c.Off[row]; k < c.Off[row+1]; k++ {
			dst = binary.LittleEndian.AppendUint32(dst, c.Index[k])
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(c.Value[k]))
		}
	}
	return dst
}

// rowDecoder reads what rowEncoder writes.
type rowDecoder struct {
	schema *batch.Schema
	tags   []uint32
	at     []int // where the cell of each column lies in the record; 0 = nowhere
	time   int64
}

func newRowDecoder(s *batch.Schema) (*rowDecoder, error) {
	tags, err := rowTags(s)
	return &rowDecoder{schema: s, tags: tags, at: make([]int, len(tags))}, err
}

// EventTime implements [connectors.Timed].
func (d *rowDecoder) EventTime() int64 { return d.time }

var errRow = errors.New("it is no row of gradstream, or is damaged")

// Decode implements connectors.Decoder. Columns that the writer had and the reader
// has not are left out; those that it had not are null, or reject the row.
func (d *rowDecoder) Decode(value []byte, into *batch.Batch) (int, error) {
	if len(value) > 0 && value[0] != rowVersion {
		return 0, fmt.Errorf("a row of version %d; this program reads version %d", value[0], rowVersion)
	}
	if len(value) < 2 {
		return 0, errRow
	}
	ms, n := binary.Varint(value[1:])
	if n <= 0 {
		return 0, errRow
	}
	clear(d.at)
	next := 0 // the column that comes next if reader and writer agree
	for at := 1 + n; at < len(value); {
		if len(value)-at < 4 {
			return 0, errRow
		}
		tag := binary.LittleEndian.Uint32(value[at:])
		size, n := binary.Uvarint(value[at+4:])
		if n <= 0 || size > uint64(len(value)-at-4-n) {
			return 0, errRow
		}
		if col := d.column(tag, next); col >= 0 {
			if d.at[col] > 0 {
				return 0, errRow
			}
			d.at[col] = at + 4
			next = col + 1
		}
		at += 4 + n + int(size)
	}
	before := rows(into)
	for i, f := range d.schema.Fields {
		if err := d.cell(value, i, into.Cols[i]); err != nil {
			truncate(into, before)
			return 0, &connectors.RowError{Column: f.Name, At: -1, Why: err.Error()}
		}
	}
	d.time = ms
	return 1, nil
}

// column returns the column of a tag, -1 if there is none.
func (d *rowDecoder) column(tag uint32, next int) int {
	for i := range d.tags {
		if k := (next + i) % len(d.tags); d.tags[k] == tag {
			return k
		}
	}
	return -1
}

// cell appends the value of column i.
func (d *rowDecoder) cell(value []byte, i int, c *batch.Column) error {
	if d.at[i] == 0 {
		if !d.schema.Fields[i].Nullable {
			return errors.New("it is missing: whoever wrote the row had no such column")
		}
		c.AppendNull()
		return nil
	}
	size, n := binary.Uvarint(value[d.at[i]:])
	cell := value[d.at[i]+n:][:size]
	switch c.Type {
	case batch.Bool:
		if len(cell) != 1 || cell[0] > 1 {
			return errRow
		}
		c.AppendBool(cell[0] == 1)
	case batch.Int64, batch.Timestamp:
		v, n := binary.Varint(cell)
		if n <= 0 || n != len(cell) {
			return errRow
		}
		c.AppendInt(v)
	case batch.Float64:
		if len(cell) != 8 {
			return errRow
		}
		v := math.Float64frombits(binary.LittleEndian.Uint64(cell))
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return errRow
		}
		c.AppendFloat(v)
	case batch.String:
		switch {
		case !utf8.Valid(cell):
			return errRow
		case !fits(c, len(cell)):
			return errors.New("the strings of a batch exceed 2 GiB")
		}
		c.AppendBytes(cell)
	case batch.Sparse:
		if len(cell)%8 != 0 {
			return errRow
		}
		dim := uint64(d.schema.Fields[i].Dim)
		for ; len(cell) > 0; cell = cell[8:] {
			index, v := binary.LittleEndian.Uint32(cell), math.Float32frombits(binary.LittleEndian.Uint32(cell[4:]))
			if dim > 0 && uint64(index) >= dim || math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return errRow
			}
			c.AddFeature(index, v)
		}
		c.EndRow()
	}
	return nil
}
