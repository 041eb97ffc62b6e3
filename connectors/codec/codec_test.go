package codec

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// schema reads "name: type?" columns.
func schema(columns ...string) *batch.Schema {
	s := &batch.Schema{}
	for _, c := range columns {
		name, text, _ := strings.Cut(c, ": ")
		t, nullable, ok := batch.ParseType(text)
		if !ok {
			panic("no type " + text)
		}
		s.Fields = append(s.Fields, batch.Field{Name: name, Type: t, Nullable: nullable})
	}
	return s
}

// show writes the values of a row, for comparing.
func show(b *batch.Batch, row int) string {
	parts := make([]string, len(b.Cols))
	for i, c := range b.Cols {
		parts[i] = showCell(c, row)
	}
	return strings.Join(parts, " | ")
}

func showCell(c *batch.Column, row int) string {
	if c.Null(row) {
		return "null"
	}
	switch c.Type {
	case batch.Bool:
		return strconv.FormatBool(c.Bools[row])
	case batch.Int64, batch.Timestamp:
		return strconv.FormatInt(c.Ints[row], 10)
	case batch.Float64:
		return strconv.FormatFloat(c.Floats[row], 'g', -1, 64)
	case batch.String:
		return strconv.Quote(c.TextString(row))
	}
	index, value := c.Row(row)
	return fmt.Sprint(index, value)
}

// decodeOne decodes a record behind a row that is already there, checks that
// all columns agree on the number of rows, and shows the new row or the error.
func decodeOne(t testing.TB, format string, s *batch.Schema, record string, o Options) string {
	t.Helper()
	d, err := NewDecoder(format, s, o)
	if err != nil {
		return "schema: " + err.Error()
	}
	into := batch.New(s)
	for _, c := range into.Cols {
		c.AppendNull()
	}
	n, err := d.Decode([]byte(record), into)
	for i, c := range into.Cols {
		if c.Len() != 1+n || (c.Type == batch.String || c.Type == batch.Sparse) && len(c.Off) != 2+n {
			t.Fatalf("column %s has %d rows after a record of %d", s.Fields[i].Name, c.Len(), n)
		}
	}
	if err != nil {
		return err.Error()
	}
	if n != 1 {
		t.Fatalf("%d rows, want 1", n)
	}
	return show(into, 1)
}

func TestFormats(t *testing.T) {
	for _, f := range Formats() {
		if _, err := NewDecoder(f, clickSchema(), Options{}); err != nil {
			t.Error(err)
		}
		if _, err := NewEncoder(f, clickSchema(), Options{}); err != nil {
			t.Error(err)
		}
	}
	_, err := NewDecoder("xml", clickSchema(), Options{})
	if want := `unknown format "xml"; expected json, csv or arrow`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
