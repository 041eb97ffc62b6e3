package batch

import (
	"encoding/binary"
	"slices"
	"strconv"
	"time"
	"unsafe"
)

// Column holds the values of one column for the rows of a batch. Only the
// slices of its type are used; their layout is Arrow's, except that bools take
// a byte each:
//
//	Bool              Bools[row]
//	Int64, Timestamp  Ints[row]
//	Float64           Floats[row]
//	String            Bytes[Off[row]:Off[row+1]]
//	Sparse            Index and Value [Off[row]:Off[row+1]] (compressed sparse rows)
//
// Off always has one entry more than there are rows. A null row holds a zero
// value (empty for String and Sparse), so readers that do not care need not ask.
type Column struct {
	Type   Type
	Bools  []bool
	Ints   []int64
	Floats []float64
	Off    []int32
	Bytes  []byte
	Index  []uint32
	Value  []float32

	nulls   []uint64 // bit set = null; empty while nulled is 0
	nulled  int
	numRows int
}

// NewColumn returns an empty column.
func NewColumn(t Type) *Column {
	c := &Column{Type: t}
	c.Reset()
	return c
}

// Reset empties the column and keeps its memory.
func (c *Column) Reset() {
	c.Bools, c.Ints, c.Floats = c.Bools[:0], c.Ints[:0], c.Floats[:0]
	c.Bytes, c.Index, c.Value = c.Bytes[:0], c.Index[:0], c.Value[:0]
	if c.Type == String || c.Type == Sparse {
		c.Off = append(c.Off[:0], 0)
	}
	clear(c.nulls)
	c.nulls = c.nulls[:0]
	c.nulled, c.numRows = 0, 0
}

// Len returns the number of rows.
func (c *Column) Len() int { return c.numRows }

// Resize gives a fixed-width column n rows, all zero and not null, for writing
// by index. String and Sparse columns are appended to instead: they are emptied.
func (c *Column) Resize(n int) {
	c.Reset()
	switch c.Type {
	case Bool:
		c.Bools = zeroed(c.Bools, n)
	case Int64, Timestamp:
		c.Ints = zeroed(c.Ints, n)
	case Float64:
		c.Floats = zeroed(c.Floats, n)
	case String, Sparse:
		return
	}
	c.numRows = n
}

func zeroed[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, max(n, 2*cap(s)))
	}
	s = s[:n]
	clear(s)
	return s
}

// HasNulls reports whether any row is null.
func (c *Column) HasNulls() bool { return c.nulled > 0 }

// Null reports whether the row is null.
func (c *Column) Null(row int) bool {
	return c.nulled > 0 && row>>6 < len(c.nulls) && c.nulls[row>>6]&(1<<(row&63)) != 0
}

// SetNull marks an existing row as null. It does not change the row's value,
// which should be zero.
func (c *Column) SetNull(row int) {
	if c.Null(row) {
		return
	}
	for row>>6 >= len(c.nulls) {
		c.nulls = append(c.nulls, 0)
	}
	c.nulls[row>>6] |= 1 << (row & 63)
	c.nulled++
}

// SetValid marks a row as not null.
func (c *Column) SetValid(row int) {
	if c.Null(row) {
		c.nulls[row>>6] &^= 1 << (row & 63)
		c.nulled--
	}
}

// AppendBool appends a row to a Bool column.
func (c *Column) AppendBool(v bool) { c.Bools = append(c.Bools, v); c.numRows++ }

// AppendInt appends a row to an Int64 or Timestamp column.
func (c *Column) AppendInt(v int64) { c.Ints = append(c.Ints, v); c.numRows++ }

// AppendFloat appends a row to a Float64 column. v must be finite.
func (c *Column) AppendFloat(v float64) { c.Floats = append(c.Floats, v); c.numRows++ }

// AppendBytes appends a row to a String column, copying v, which must be UTF-8.
func (c *Column) AppendBytes(v []byte) {
	c.Bytes = append(c.Bytes, v...)
	c.Off = append(c.Off, int32(len(c.Bytes)))
	c.numRows++
}

// AppendWord appends a row to a String column: the n ≤ 8 lowest bytes of x, the
// lowest first.
func (c *Column) AppendWord(x uint64, n int) {
	at := len(c.Bytes)
	if cap(c.Bytes)-at < 8 {
		c.Bytes = slices.Grow(c.Bytes, 8)
	}
	binary.LittleEndian.PutUint64(c.Bytes[at:at+8], x)
	c.Bytes = c.Bytes[:at+n]
	c.Off = append(c.Off, int32(at+n))
	c.numRows++
}

// AppendString appends a row to a String column, copying v.
func (c *Column) AppendString(v string) {
	c.Bytes = append(c.Bytes, v...)
	c.Off = append(c.Off, int32(len(c.Bytes)))
	c.numRows++
}

// AddFeature adds an entry to the sparse row being built; EndRow closes it.
func (c *Column) AddFeature(index uint32, value float32) {
	c.Index = append(c.Index, index)
	c.Value = append(c.Value, value)
}

// Room returns Index and Value with room for n more entries behind what they hold,
// to be written by index. [Column.Fill] says how many there are.
func (c *Column) Room(n int) ([]uint32, []float32) {
	c.Index, c.Value = slices.Grow(c.Index, n), slices.Grow(c.Value, n)
	end := len(c.Index) + n
	return c.Index[:end], c.Value[:end]
}

// Fill makes entries that were written to [Column.Room] part of the sparse row
// being built: all before n.
func (c *Column) Fill(n int) { c.Index, c.Value = c.Index[:n], c.Value[:n] }

// EndRow closes the row that was built by AddFeature, or by appending to Bytes.
func (c *Column) EndRow() {
	n := len(c.Bytes)
	if c.Type == Sparse {
		n = len(c.Index)
	}
	c.Off = append(c.Off, int32(n))
	c.numRows++
}

// AppendNull appends a null row.
func (c *Column) AppendNull() {
	switch c.Type {
	case Bool:
		c.AppendBool(false)
	case Int64, Timestamp:
		c.AppendInt(0)
	case Float64:
		c.AppendFloat(0)
	default:
		c.EndRow()
	}
	c.SetNull(c.numRows - 1)
}

// Truncate drops the rows from n on, and whatever was written of an unfinished
// row.
func (c *Column) Truncate(n int) {
	for r := n; r < c.numRows && c.nulled > 0; r++ {
		c.SetValid(r)
	}
	switch c.Type {
	case Bool:
		c.Bools = c.Bools[:n]
	case Int64, Timestamp:
		c.Ints = c.Ints[:n]
	case Float64:
		c.Floats = c.Floats[:n]
	case String:
		c.Off = c.Off[:n+1]
		c.Bytes = c.Bytes[:c.Off[n]]
	case Sparse:
		c.Off = c.Off[:n+1]
		c.Index, c.Value = c.Index[:c.Off[n]], c.Value[:c.Off[n]]
	}
	c.numRows = n
}

// AppendRow appends a copy of a row of another column of the same type.
func (c *Column) AppendRow(from *Column, row int) {
	if from.Null(row) {
		c.AppendNull()
		return
	}
	switch c.Type {
	case Bool:
		c.AppendBool(from.Bools[row])
	case Int64, Timestamp:
		c.AppendInt(from.Ints[row])
	case Float64:
		c.AppendFloat(from.Floats[row])
	case String:
		c.AppendBytes(from.Text(row))
	case Sparse:
		i, v := from.Row(row)
		c.Index = append(c.Index, i...)
		c.Value = append(c.Value, v...)
		c.EndRow()
	}
}

// Text returns the bytes of a row of a String column. They are borrowed.
func (c *Column) Text(row int) []byte { return c.Bytes[c.Off[row]:c.Off[row+1]] }

// TextString returns a row of a String column as a string that borrows the
// column's memory: it must not outlive the batch.
func (c *Column) TextString(row int) string {
	b := c.Text(row)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// Row returns the indices and values of a row of a Sparse column. They are
// borrowed and have equal length.
func (c *Column) Row(row int) ([]uint32, []float32) {
	a, b := c.Off[row], c.Off[row+1]
	return c.Index[a:b], c.Value[a:b]
}

// Number returns a row of a numeric column as a float64; ok is false for a null.
// Bools are 0 and 1, timestamps milliseconds.
func (c *Column) Number(row int) (v float64, ok bool) {
	if c.nulled > 0 && c.Null(row) {
		return 0, false
	}
	switch c.Type {
	case Float64:
		return c.Floats[row], true
	case Bool:
		if c.Bools[row] {
			return 1, true
		}
		return 0, true
	case Int64, Timestamp:
		return float64(c.Ints[row]), true
	}
	return 0, false
}

// AppendText appends the text of a row of any column but a sparse one: strings as
// they are, true and false, decimal integers, the shortest decimal that reads back,
// RFC 3339 UTC with milliseconds. A null has no text.
func (c *Column) AppendText(dst []byte, row int) []byte {
	if c.Null(row) {
		return dst
	}
	switch c.Type {
	case String:
		return append(dst, c.Text(row)...)
	case Bool:
		return strconv.AppendBool(dst, c.Bools[row])
	case Int64:
		return strconv.AppendInt(dst, c.Ints[row], 10)
	case Float64:
		return FormatFloat(dst, c.Floats[row], 64)
	case Timestamp:
		return time.UnixMilli(c.Ints[row]).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	}
	return dst
}
