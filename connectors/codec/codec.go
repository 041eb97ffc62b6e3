// Package codec turns record values into rows and rows into record values, in
// the formats json, csv and arrow, and reads avro. docs/format/formats.md describes
// what each accepts and writes.
//
// A decoder appends to the columns of a batch and leaves the batch's Origin and
// N to its caller. Decoding and encoding json and csv allocates nothing per
// record once buffers have grown, except to describe a record that is wrong.
package codec

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// Default bounds.
const (
	DefaultMaxRecord = 16 << 20 // bytes of one record
	DefaultMaxString = 1 << 20  // bytes of one string cell
)

// MaxDepth is how deep the objects and arrays of a JSON record may be nested,
// the record itself counted.
const MaxDepth = 512

// Options are the bounds of a decoder and the choices of an encoder. The zero
// value is good.
type Options struct {
	MaxRecord int  // largest record in bytes; 0 = DefaultMaxRecord
	MaxString int  // largest string cell in bytes; 0 = DefaultMaxString
	Sparse    bool // encoders write sparse columns too, instead of leaving them out
}

func (o Options) bounded() Options {
	if o.MaxRecord <= 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	if o.MaxString <= 0 {
		o.MaxString = DefaultMaxString
	}
	return o
}

// Formats lists the names of the formats, in the order documents list them.
func Formats() []string { return []string{"json", "csv", "arrow"} }

// NewDecoder returns a decoder of records in the format into columns of s. It
// fails for an unknown format and for a schema the format cannot express.
func NewDecoder(format string, s *batch.Schema, o Options) (connectors.Decoder, error) {
	o = o.bounded()
	switch format {
	case "json":
		return newJSONDecoder(s, o)
	case "csv":
		return NewCSV(s, nil, o)
	case "arrow":
		return newArrowDecoder(s, o), nil
	case RowFormat:
		return newRowDecoder(s)
	}
	return nil, unknownFormat(format)
}

// NewEncoder returns an encoder of rows into records of the format. The columns
// of the batches it is given must match the fields of s one by one; their names
// come from s.
func NewEncoder(format string, s *batch.Schema, o Options) (connectors.Encoder, error) {
	o = o.bounded()
	switch format {
	case "json":
		return newJSONEncoder(s, o), nil
	case "csv":
		return newCSVEncoder(s, o), nil
	case "arrow":
		return newArrowEncoder(s, o), nil
	case RowFormat:
		return newRowEncoder(s)
	}
	return nil, unknownFormat(format)
}

func unknownFormat(format string) error {
	f := Formats()
	return fmt.Errorf("unknown format %q; expected %s or %s", format, strings.Join(f[:len(f)-1], ", "), f[len(f)-1])
}

// written returns the positions of the fields an encoder writes.
func written(s *batch.Schema, o Options) []int {
	var cols []int
	for i, f := range s.Fields {
		if f.Type != batch.Sparse || o.Sparse {
			cols = append(cols, i)
		}
	}
	return cols
}

// rows returns how many rows the columns of a batch hold. The batch's own N
// lags behind while a record is decoded.
func rows(b *batch.Batch) int {
	if len(b.Cols) == 0 {
		return b.N
	}
	return b.Cols[0].Len()
}

// truncate drops the rows from n on, and what was written of an unfinished one.
func truncate(b *batch.Batch, n int) {
	for _, c := range b.Cols {
		c.Truncate(min(n, c.Len()))
	}
}

// fail describes a record that is wrong.
func fail(column string, at int, format string, args ...any) *connectors.RowError {
	why := format
	if len(args) > 0 {
		why = fmt.Sprintf(format, args...)
	}
	return &connectors.RowError{Column: column, At: at, Why: why}
}

// fits reports whether n more bytes can be appended to a String column, whose
// offsets have 32 bits.
func fits(c *batch.Column, n int) bool { return n <= math.MaxInt32-len(c.Bytes) }

// RepeatedIndex returns an index that occurs twice in a sparse row. scratch is
// used if the indices do not ascend.
func RepeatedIndex(index []uint32, scratch []uint32) (uint32, bool, []uint32) {
	ascending := true
	for i := 1; i < len(index); i++ {
		if index[i-1] >= index[i] {
			ascending = false
			break
		}
	}
	if ascending {
		return 0, false, scratch
	}
	scratch = append(scratch[:0], index...)
	slices.Sort(scratch)
	for i := 1; i < len(scratch); i++ {
		if scratch[i-1] == scratch[i] {
			return scratch[i], true, scratch
		}
	}
	return 0, false, scratch
}

// clip shortens text for an error.
func clip(text []byte) string {
	const most = 40
	if len(text) <= most {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q…", text[:most])
}
