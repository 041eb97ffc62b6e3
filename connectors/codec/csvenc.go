package codec

import (
	"strconv"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// csvEncoder writes a row as one line without its line break; several rows are
// separated by line feeds.
type csvEncoder struct {
	schema *batch.Schema
	cols   []int
}

func newCSVEncoder(s *batch.Schema, o Options) *csvEncoder {
	return &csvEncoder{schema: s, cols: written(s, o)}
}

// PerRow is true.
func (e *csvEncoder) PerRow() bool { return true }

// Encode appends rows [lo, hi).
func (e *csvEncoder) Encode(dst []byte, b *batch.Batch, lo, hi int) ([]byte, error) {
	start := len(dst)
	for row := lo; row < hi; row++ {
		if row > lo {
			dst = append(dst, '\n')
		}
		line := len(dst)
		for i, col := range e.cols {
			if i > 0 {
				dst = append(dst, ',')
			}
			c := b.Cols[col]
			if c.Null(row) {
				continue
			}
			var why string
			if dst, why = appendCell(dst, c, row); why != "" {
				return dst[:start], rowError(e.schema.Fields[col].Name, row-lo, why)
			}
		}
		if len(dst) == line {
			dst = append(dst, '"', '"') // an empty line would be no row
		}
	}
	return dst, nil
}

func appendCell(dst []byte, c *batch.Column, row int) (out []byte, why string) {
	switch c.Type {
	case batch.String:
		return appendQuoted(dst, c.Text(row)), ""
	case batch.Timestamp:
		ms := c.Ints[row]
		if ms < MinTime || ms > MaxTime {
			return dst, strconv.FormatInt(ms, 10) + " ms is outside of the years 0000 to 9999"
		}
		return appendTime(dst, ms), ""
	case batch.Sparse:
		index, value := c.Row(row)
		for i, x := range index {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = append(strconv.AppendUint(dst, uint64(x), 10), ':')
			if dst, why = appendFloat(dst, float64(value[i]), 32); why != "" {
				return dst, why
			}
		}
		return dst, ""
	}
	return appendJSON(dst, c, row)
}

// appendQuoted appends a cell, in quotation marks if it needs them.
func appendQuoted(dst, text []byte) []byte {
	plain := true
	for _, c := range text {
		if c == ',' || c == '"' || c == '\n' || c == '\r' {
			plain = false
			break
		}
	}
	if plain {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	for _, c := range text {
		if c == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// AppendCSVHeader appends the header line that fits what a csv encoder of the
// same schema and options writes, without a line break.
func AppendCSVHeader(dst []byte, s *batch.Schema, o Options) []byte {
	for i, col := range written(s, o) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, []byte(s.Fields[col].Name))
	}
	return dst
}
