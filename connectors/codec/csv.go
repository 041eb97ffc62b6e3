package codec

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// CSV decodes rows of comma-separated values, quoted as RFC 4180 says.
type CSV struct {
	schema *batch.Schema
	o      Options
	cells  []int // column of each cell, or -1
	absent []int // nullable columns without a cell

	arena []byte
	idx   []uint32
}

// NewCSV returns a decoder of one row per record. header names the cells of a
// row; columns are found in it by name, and cells without a column are ignored.
// Without header a row has a cell for every column of s, in order. It fails for
// a column that may not be null and is not in the header, and for a column that
// is there twice.
func NewCSV(s *batch.Schema, header []string, o Options) (*CSV, error) {
	d := &CSV{schema: s, o: o.bounded()}
	if header == nil {
		for i := range s.Fields {
			d.cells = append(d.cells, i)
		}
		return d, nil
	}
	found := make([]bool, len(s.Fields))
	for _, name := range header {
		col := s.Lookup(name)
		if col >= 0 {
			if found[col] {
				return nil, fmt.Errorf("column %s: twice in the header", name)
			}
			found[col] = true
		}
		d.cells = append(d.cells, col)
	}
	for i, f := range s.Fields {
		switch {
		case found[i]:
		case f.Nullable:
			d.absent = append(d.absent, i)
		default:
			return nil, fmt.Errorf("column %s: not in the header: %s", f.Name, shown(header))
		}
	}
	return d, nil
}

// shown is the beginning of a header, for messages.
func shown(header []string) string {
	const most = 200
	s := strings.Join(header, ",")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// Decode appends the one row of a record, which may end with a line break.
func (d *CSV) Decode(value []byte, into *batch.Batch) (int, error) {
	row := rows(into)
	if err := d.decode(value, into); err != nil {
		truncate(into, row)
		return 0, err
	}
	return 1, nil
}

func (d *CSV) decode(b []byte, into *batch.Batch) *connectors.RowError {
	if len(b) > d.o.MaxRecord {
		return fail("", -1, "a record of %d bytes; at most %d are read", len(b), d.o.MaxRecord)
	}
	b = trimBreak(b)
	d.arena = d.arena[:0]
	for i, n := 0, 0; ; n++ {
		start := i
		cell, end, err := d.next(b, i)
		if err != nil {
			return d.named(err, n)
		}
		i = end
		if n >= len(d.cells) {
			n += bytes.Count(b[i:], []byte{','}) + 1
			return fail("", -1, "%s, expected %d", count(n, "cell"), len(d.cells))
		}
		if col := d.cells[n]; col >= 0 {
			if err := d.cell(cell, start, into.Cols[col], &d.schema.Fields[col]); err != nil {
				return err
			}
		}
		if i == len(b) {
			if n+1 < len(d.cells) {
				return fail("", -1, "%s, expected %d", count(n+1, "cell"), len(d.cells))
			}
			break
		}
		i++ // the comma
	}
	for _, col := range d.absent {
		into.Cols[col].AppendNull()
	}
	return nil
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func stray(c byte, at int) *connectors.RowError {
	if c == '"' {
		return fail("", at, "a quotation mark inside of an unquoted cell")
	}
	return fail("", at, "a line break inside of an unquoted cell")
}

// named adds the column of cell n to an error.
func (d *CSV) named(err *connectors.RowError, n int) *connectors.RowError {
	if n < len(d.cells) && d.cells[n] >= 0 {
		err.Column = d.schema.Fields[d.cells[n]].Name
	}
	return err
}

// SplitCSV returns the cells of a record, which may end with a line break.
func SplitCSV(record []byte) ([]string, error) {
	var d CSV
	b := trimBreak(record)
	var cells []string
	for i := 0; ; i++ {
		cell, end, err := d.next(b, i)
		if err != nil {
			return nil, err
		}
		cells = append(cells, string(cell))
		if i = end; i == len(b) {
			return cells, nil
		}
	}
}

// trimBreak cuts a line break off the end.
func trimBreak(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	if n := len(b); n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	return b
}

// next reads the cell that starts at i, and returns where its comma is, or the
// end of the record.
func (d *CSV) next(b []byte, i int) (cell []byte, end int, err *connectors.RowError) {
	if i < len(b) && b[i] == '"' {
		return d.quoted(b, i)
	}
	start := i
	for i < len(b) && b[i] != ',' {
		if c := b[i]; c == '"' || c == '\n' || c == '\r' {
			return nil, 0, stray(c, i)
		}
		i++
	}
	return b[start:i], i, nil
}

// quoted reads a cell whose opening quotation mark is at i, up to the comma or
// the end. The cell is borrowed from the record or from the arena.
func (d *CSV) quoted(b []byte, i int) (cell []byte, end int, err *connectors.RowError) {
	open := i
	i++
	start, first := i, len(d.arena)
	for {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return nil, 0, fail("", open, "a quotation mark that is never closed")
		}
		i += n + 1
		if i == len(b) || b[i] == ',' {
			break
		}
		if b[i] != '"' {
			return nil, 0, fail("", i-1, "a quotation mark inside of a quoted cell that is not doubled")
		}
		d.arena = append(d.arena, b[start:i]...)
		i++
		start = i
	}
	if len(d.arena) == first {
		return b[start : i-1], i, nil
	}
	d.arena = append(d.arena, b[start:i-1]...)
	return d.arena[first:], i, nil
}

// cell appends the value of a cell to its column.
func (d *CSV) cell(cell []byte, at int, c *batch.Column, f *batch.Field) *connectors.RowError {
	if len(cell) == 0 {
		switch {
		case f.Nullable:
			c.AppendNull()
		case f.Type == batch.String || f.Type == batch.Sparse:
			c.EndRow()
		default:
			return fail(f.Name, at, "empty, expected %s", f.Type)
		}
		return nil
	}
	if f.Type == batch.String {
		switch {
		case len(cell) > d.o.MaxString:
			return fail(f.Name, at, "a string of %d bytes; at most %d are read", len(cell), d.o.MaxString)
		case !fits(c, len(cell)):
			return fail(f.Name, at, "the strings of a batch exceed 2 GiB")
		case plainLen(cell) < len(cell) && !utf8.Valid(cell):
			return fail(f.Name, at, "a string that is not UTF-8")
		}
		c.AppendBytes(cell)
		return nil
	}
	for len(cell) > 0 && (cell[0] == ' ' || cell[0] == '\t') {
		cell, at = cell[1:], at+1
	}
	for n := len(cell); n > 0 && (cell[n-1] == ' ' || cell[n-1] == '\t'); n = len(cell) {
		cell = cell[:n-1]
	}
	switch f.Type {
	case batch.Float64:
		n, end := scanNumber(cell, 0, false)
		if end != len(cell) {
			return fail(f.Name, at, "%s, expected a number", clip(cell))
		}
		v, ok := n.float(cell)
		if !ok {
			return fail(f.Name, at, "%s is beyond the range of float64", clip(cell))
		}
		c.AppendFloat(v)
	case batch.Int64:
		v, err := csvInt(cell, at, f, "an integer")
		if err != nil {
			return err
		}
		c.AppendInt(v)
	case batch.Bool:
		v, ok := parseBool(cell)
		if !ok {
			return fail(f.Name, at, "%s, expected true, false, 1 or 0", clip(cell))
		}
		c.AppendBool(v)
	case batch.Timestamp:
		if len(cell) > 5 && (cell[4] == '-' || cell[4] == '/') {
			ms, why := parseTime(cell)
			if why != "" {
				return fail(f.Name, at, "%s is %s", clip(cell), why)
			}
			c.AppendInt(ms)
			return nil
		}
		v, err := csvInt(cell, at, f, "an RFC 3339 timestamp or integer milliseconds")
		if err != nil {
			return err
		}
		if v < MinTime || v > MaxTime {
			return fail(f.Name, at, "%s ms is outside of the years 0000 to 9999", clip(cell))
		}
		c.AppendInt(v)
	case batch.Sparse:
		start := len(c.Index)
		if off, why := parseSparse(c, cell, f.Dim); why != "" {
			return fail(f.Name, at+off, "%s", why)
		}
		index, twice, scratch := RepeatedIndex(c.Index[start:], d.idx)
		if d.idx = scratch; twice {
			return fail(f.Name, at, "index %d occurs twice", index)
		}
		c.EndRow()
	default:
		return fail(f.Name, at, "has no type")
	}
	return nil
}

func csvInt(cell []byte, at int, f *batch.Field, expected string) (int64, *connectors.RowError) {
	n, end := scanNumber(cell, 0, false)
	if end != len(cell) {
		return 0, fail(f.Name, at, "%s, expected %s", clip(cell), expected)
	}
	v, why := n.int(cell)
	switch why {
	case intFraction:
		return 0, fail(f.Name, at, "%s, expected %s", clip(cell), expected)
	case intRange:
		return 0, fail(f.Name, at, "%s is beyond the range of int64", clip(cell))
	}
	return v, nil
}

// parseBool reads true and false in any case, 1 and 0.
func parseBool(cell []byte) (v, ok bool) {
	switch len(cell) {
	case 1:
		return cell[0] == '1', cell[0] == '0' || cell[0] == '1'
	case 4:
		return true, bytes.EqualFold(cell, []byte("true"))
	case 5:
		return false, bytes.EqualFold(cell, []byte("false"))
	}
	return false, false
}
