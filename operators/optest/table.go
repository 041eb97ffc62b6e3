package optest

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// Table is rows for one input of an operator.
type Table struct {
	Port int
	Rows *batch.Batch
}

var sparseDim = regexp.MustCompile(`^(sparse)\[([0-9]+)\](\??)$`)

// Parse reads tables. A table is csv with a header of `name:type`, a type being
// one of a pipeline file (`y:bool?`), float64 where it is left out, or
// `sparse[N]` for vectors of N dimensions. An empty cell is null, or where the
// column cannot be null an empty text or vector. Sparse cells are
// `index:value index:value …`, timestamps RFC 3339 or milliseconds.
//
// A line `port N` begins a table for another input; tables of one port have the
// header of the first and need not repeat it. Rows are numbered through, which
// gives each its offset, and its event time in seconds since 1970.
func Parse(text string) ([]Table, error) {
	var tables []Table
	schemas := map[int]*batch.Schema{}
	row, port := 0, 0
	var lines []string
	flush := func() error {
		if len(lines) == 0 {
			return nil
		}
		b, err := parseTable(strings.Join(lines, "\n"), schemas[port], &row)
		if err != nil {
			return err
		}
		schemas[port] = b.Schema
		tables = append(tables, Table{port, b})
		lines = nil
		return nil
	}
	for _, line := range strings.Split(text, "\n") {
		if n, ok := strings.CutPrefix(line, "port "); ok {
			if err := flush(); err != nil {
				return nil, err
			}
			p, err := strconv.Atoi(strings.TrimSpace(n))
			if err != nil || p < 0 {
				return nil, fmt.Errorf("%q names no port", line)
			}
			port = p
			continue
		}
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	return tables, nil
}

// parseTable reads one table. A known schema may have its header repeated or not.
func parseTable(text string, known *batch.Schema, row *int) (*batch.Batch, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	var b *batch.Batch
	if known != nil {
		b = batch.New(known)
	}
	for {
		record, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if b == nil {
			s, err := parseHeader(record)
			if err != nil {
				return nil, err
			}
			b = batch.New(s)
			continue
		}
		if b.N == 0 && known != nil && strings.Join(record, ",") == strings.Join(header(known), ",") {
			continue
		}
		if len(record) != len(b.Cols) {
			return nil, fmt.Errorf("row %d has %d cells, the header %d", *row, len(record), len(b.Cols))
		}
		for i, cell := range record {
			if err := appendCell(b.Cols[i], b.Schema.Fields[i], cell); err != nil {
				return nil, fmt.Errorf("row %d, column %s: %w", *row, b.Schema.Fields[i].Name, err)
			}
		}
		addOrigin(b, *row)
		*row++
	}
	if b == nil {
		return nil, fmt.Errorf("a table has no header")
	}
	return b, nil
}

func addOrigin(b *batch.Batch, n int) {
	b.Origin.Append(int64(n), int64(n)*1000, int32(n))
	b.N++
}

func header(s *batch.Schema) []string {
	out := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		t := f.TypeString()
		if f.Dim > 0 {
			t = strings.Replace(t, "sparse", fmt.Sprintf("sparse[%d]", f.Dim), 1)
		}
		out[i] = f.Name + ":" + t
	}
	return out
}

func parseHeader(cells []string) (*batch.Schema, error) {
	var fields []batch.Field
	for _, c := range cells {
		name, typ, typed := strings.Cut(c, ":")
		if !typed {
			typ = "float64"
		}
		f := batch.Field{Name: name}
		if m := sparseDim.FindStringSubmatch(typ); m != nil {
			f.Dim, _ = strconv.Atoi(m[2]) // digits; one too many is 0, which is no dimension
			typ = m[1] + m[3]
		}
		var ok bool
		if f.Type, f.Nullable, ok = batch.ParseType(typ); !ok {
			return nil, fmt.Errorf("column %q has the type %q", name, typ)
		}
		fields = append(fields, f)
	}
	return batch.NewSchema(fields...), nil
}

func appendCell(c *batch.Column, f batch.Field, cell string) error {
	if cell == "" && f.Nullable {
		c.AppendNull()
		return nil
	}
	switch f.Type {
	case batch.Bool:
		v, err := strconv.ParseBool(cell)
		if err != nil {
			return err
		}
		c.AppendBool(v)
	case batch.Int64:
		v, err := strconv.ParseInt(cell, 10, 64)
		if err != nil {
			return err
		}
		c.AppendInt(v)
	case batch.Timestamp:
		v, err := strconv.ParseInt(cell, 10, 64)
		if err != nil {
			at, err := time.Parse(time.RFC3339, cell)
			if err != nil {
				return err
			}
			v = at.UnixMilli()
		}
		c.AppendInt(v)
	case batch.Float64:
		v, err := strconv.ParseFloat(cell, 64)
		if err != nil {
			return err
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s never enters a batch", cell)
		}
		c.AppendFloat(v)
	case batch.String:
		c.AppendString(cell)
	case batch.Sparse:
		for _, entry := range strings.Fields(cell) {
			i, v, _ := strings.Cut(entry, ":")
			index, err := strconv.ParseUint(i, 10, 32)
			if err != nil {
				return err
			}
			value, err := strconv.ParseFloat(v, 32)
			if err != nil {
				return err
			}
			c.AddFeature(uint32(index), float32(value))
		}
		c.EndRow()
	}
	return nil
}

// Format writes a batch as csv with a header of names. Numbers are the shortest
// decimals that read back, timestamps RFC 3339 with milliseconds, nulls empty.
func Format(b *batch.Batch) string {
	var out strings.Builder
	w := csv.NewWriter(&out)
	_ = w.Write(b.Schema.Names()) // a strings.Builder does not fail
	record := make([]string, len(b.Cols))
	for row := range b.N {
		for i, c := range b.Cols {
			record[i] = formatCell(c, row)
		}
		if len(record) == 1 && record[0] == "" {
			w.Flush()
			out.WriteString("\n") // encoding/csv would write ""
			continue
		}
		_ = w.Write(record)
	}
	w.Flush()
	return out.String()
}

func formatCell(c *batch.Column, row int) string {
	if c.Null(row) {
		return ""
	}
	switch c.Type {
	case batch.Bool:
		return strconv.FormatBool(c.Bools[row])
	case batch.Int64:
		return strconv.FormatInt(c.Ints[row], 10)
	case batch.Timestamp:
		return time.UnixMilli(c.Ints[row]).UTC().Format("2006-01-02T15:04:05.000Z")
	case batch.Float64:
		return strconv.FormatFloat(c.Floats[row], 'g', -1, 64)
	case batch.String:
		return string(c.Text(row))
	}
	idx, val := c.Row(row)
	parts := make([]string, len(idx))
	for k, i := range idx {
		parts[k] = fmt.Sprintf("%d:%s", i, strconv.FormatFloat(float64(val[k]), 'g', -1, 32))
	}
	return strings.Join(parts, " ")
}
