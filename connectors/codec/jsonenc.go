package codec

import (
	"math"
	"strconv"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// jsonEncoder writes a row as one object, several rows as one object a line.
type jsonEncoder struct {
	schema *batch.Schema
	cols   []int
	before [][]byte // what comes before the value of each of cols: {"key":
}

func newJSONEncoder(s *batch.Schema, o Options) *jsonEncoder {
	e := &jsonEncoder{schema: s, cols: written(s, o)}
	for i, c := range e.cols {
		open := byte(',')
		if i == 0 {
			open = '{'
		}
		e.before = append(e.before, append(quote([]byte{open}, []byte(s.Fields[c].Name)), ':'))
	}
	return e
}

// PerRow is true.
func (e *jsonEncoder) PerRow() bool { return true }

// Encode appends rows [lo, hi).
func (e *jsonEncoder) Encode(dst []byte, b *batch.Batch, lo, hi int) ([]byte, error) {
	start := len(dst)
	for row := lo; row < hi; row++ {
		if row > lo {
			dst = append(dst, '\n')
		}
		if len(e.cols) == 0 {
			dst = append(dst, '{')
		}
		for i, col := range e.cols {
			dst = append(dst, e.before[i]...)
			c := b.Cols[col]
			if c.Null(row) {
				dst = append(dst, "null"...)
				continue
			}
			var why string
			if dst, why = appendJSON(dst, c, row); why != "" {
				return dst[:start], rowError(e.schema.Fields[col].Name, row-lo, why)
			}
		}
		dst = append(dst, '}')
	}
	return dst, nil
}

func rowError(column string, row int, why string) error {
	return &connectors.RowError{Column: column, Row: row, At: -1, Why: why}
}

func appendJSON(dst []byte, c *batch.Column, row int) (out []byte, why string) {
	switch c.Type {
	case batch.Bool:
		return strconv.AppendBool(dst, c.Bools[row]), ""
	case batch.Int64:
		return strconv.AppendInt(dst, c.Ints[row], 10), ""
	case batch.Float64:
		return appendFloat(dst, c.Floats[row], 64)
	case batch.String:
		return quote(dst, c.Text(row)), ""
	case batch.Timestamp:
		ms := c.Ints[row]
		if ms < MinTime || ms > MaxTime {
			return dst, strconv.FormatInt(ms, 10) + " ms is outside of the years 0000 to 9999"
		}
		return append(appendTime(append(dst, '"'), ms), '"'), ""
	case batch.Sparse:
		index, value := c.Row(row)
		dst = append(dst, '{')
		for i, x := range index {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(strconv.AppendUint(append(dst, '"'), uint64(x), 10), '"', ':')
			if dst, why = appendFloat(dst, float64(value[i]), 32); why != "" {
				return dst, why
			}
		}
		return append(dst, '}'), ""
	}
	return dst, "has no type"
}

// appendFloat appends a number as [batch.FormatFloat] writes it.
func appendFloat(dst []byte, v float64, bits int) (out []byte, why string) {
	if !(math.Abs(v) <= math.MaxFloat64) {
		return dst, strconv.FormatFloat(v, 'g', -1, 64) + " is not a finite number"
	}
	return batch.FormatFloat(dst, v, bits), ""
}
