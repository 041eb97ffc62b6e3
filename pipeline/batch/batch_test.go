package batch

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// text shows a column row by row.
func text(c *Column) string {
	var rows []string
	for row := range c.Len() {
		switch {
		case c.Null(row):
			rows = append(rows, "null")
		case c.Type == Sparse:
			i, v := c.Row(row)
			rows = append(rows, fmt.Sprint(i, v))
		default:
			rows = append(rows, string(c.AppendText(nil, row)))
		}
	}
	return strings.Join(rows, "|")
}

// fill appends rows 0 to n-1, every third of them null.
func fill(c *Column, n int) {
	for i := range n {
		switch {
		case i%3 == 2:
			c.AppendNull()
		case c.Type == Bool:
			c.AppendBool(i%2 == 0)
		case c.Type == Int64:
			c.AppendInt(math.MinInt64 + int64(i))
		case c.Type == Timestamp:
			c.AppendInt(1700000000000 + int64(i))
		case c.Type == Float64:
			c.AppendFloat(float64(i) / 4)
		case c.Type == String && i%2 == 0:
			c.AppendBytes([]byte(strings.Repeat("ü", i)))
		case c.Type == String:
			c.AppendString("x")
		case c.Type == Sparse:
			for k := range i {
				c.AddFeature(uint32(k), float32(i))
			}
			c.EndRow()
		}
	}
}

var all = []Type{Bool, Int64, Float64, String, Timestamp, Sparse}

func TestColumns(t *testing.T) {
	want := map[Type]string{
		Bool:      "true|false|null|false|true",
		Int64:     "-9223372036854775808|-9223372036854775807|null|-9223372036854775805|-9223372036854775804",
		Float64:   "0|0.25|null|0.75|1",
		String:    "|x|null|x|üüüü",
		Timestamp: "2023-11-14T22:13:20.000Z|2023-11-14T22:13:20.001Z|null|2023-11-14T22:13:20.003Z|2023-11-14T22:13:20.004Z",
		Sparse:    "[] []|[0] [1]|null|[0 1 2] [3 3 3]|[0 1 2 3] [4 4 4 4]",
	}
	for _, typ := range all {
		c := NewColumn(typ)
		for range 2 { // memory is used again, without what was there
			c.Reset()
			fill(c, 5)
			if got := text(c); got != want[typ] || c.Len() != 5 || !c.HasNulls() {
				t.Errorf("%v: %s, want %s", typ, got, want[typ])
			}
		}
	}
}

// A column cut anywhere, with or without an unfinished row, and filled again is
// as if the rest had never been.
func TestTruncate(t *testing.T) {
	for _, typ := range all {
		for n := range 200 {
			c, want := NewColumn(typ), NewColumn(typ)
			fill(c, 200)
			switch typ {
			case Sparse:
				c.AddFeature(7, 7)
			case String:
				c.Bytes = append(c.Bytes, "unfinished"...)
			}
			c.Truncate(n)
			fill(want, n)
			fill(c, 3)
			fill(want, 3)
			if got, want := text(c), text(want); got != want {
				t.Fatalf("%v cut to %d: %s, want %s", typ, n, got, want)
			}
		}
	}
}

func TestResizeIsZeroAndValid(t *testing.T) {
	for _, typ := range all {
		c := NewColumn(typ)
		fill(c, 100)
		c.Resize(130)
		if typ == String || typ == Sparse {
			if c.Len() != 0 || len(c.Off) != 1 {
				t.Errorf("%v: %d rows after Resize, want none", typ, c.Len())
			}
			continue
		}
		for row := range 130 {
			if v, ok := c.Number(row); c.Len() != 130 || v != 0 || !ok {
				t.Fatalf("%v: row %d of %d is %v, %v", typ, row, c.Len(), v, ok)
			}
		}
	}
}

func TestNulls(t *testing.T) {
	c := NewColumn(Float64)
	c.Resize(300)
	var set []int
	for row := 299; row >= 0; row -= 37 {
		c.SetNull(row)
		c.SetNull(row) // counted once
		set = append(set, row)
	}
	for row := range 400 { // rows beyond the end are not null
		if c.Null(row) != slices.Contains(set, row) {
			t.Errorf("row %d: null is %v", row, c.Null(row))
		}
	}
	for _, row := range set {
		if !c.HasNulls() {
			t.Fatalf("no nulls left before row %d", row)
		}
		c.SetValid(row)
		c.SetValid(row)
	}
	if c.HasNulls() {
		t.Error("nulls are left")
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		want string
	}{
		{Bool, "1 true, 0 true, 0 false"},
		{Int64, "-9.223372036854776e+18 true, -9.223372036854776e+18 true, 0 false"},
		{Float64, "0 true, 0.25 true, 0 false"},
		{Timestamp, "1.7e+12 true, 1.700000000001e+12 true, 0 false"},
		{String, "0 false, 0 false, 0 false"},
		{Sparse, "0 false, 0 false, 0 false"},
	} {
		col := NewColumn(c.typ)
		fill(col, 3)
		var got []string
		for row := range 3 {
			v, ok := col.Number(row)
			got = append(got, fmt.Sprint(v, ok))
		}
		if got := strings.Join(got, ", "); got != c.want || c.typ.Numeric() != strings.Contains(got, "true") {
			t.Errorf("%v: %s, want %s", c.typ, got, c.want)
		}
	}
}

func TestTypes(t *testing.T) {
	for _, typ := range all {
		for _, nullable := range []bool{false, true} {
			f := Field{Name: "a.b c", Type: typ, Nullable: nullable}
			got, null, ok := ParseType(f.TypeString())
			if got != typ || null != nullable || !ok {
				t.Errorf("%s reads back as %v, %v, %v", f, got, null, ok)
			}
		}
	}
	for _, bad := range []string{"", "?", "int", "Int64", "int64??", "bool ", "invalid"} {
		if _, _, ok := ParseType(bad); ok {
			t.Errorf("%q is taken for a type", bad)
		}
	}
	if len(Types()) != len(all) || Type(0).String() != "invalid" || Type(99).String() != "invalid" {
		t.Error("names of types")
	}
	s := NewSchema(Field{Name: "a", Type: Int64}, Field{Name: "b", Type: Sparse, Nullable: true})
	if s.String() != "a: int64, b: sparse?" || s.Lookup("b") != 1 || s.Lookup("c") != -1 || !slices.Equal(s.Names(), []string{"a", "b"}) {
		t.Errorf("schema %s", s)
	}
}

// Rows copied from batch to batch keep values, nulls and origin.
func TestAppendRow(t *testing.T) {
	var fields []Field
	for _, typ := range all {
		fields = append(fields, Field{Name: typ.String(), Type: typ, Nullable: true})
	}
	from, to := New(NewSchema(fields...)), New(NewSchema(fields...))
	for i := range from.Cols {
		fill(from.Cols[i], 100)
	}
	for i := range 100 {
		from.Origin.Append(int64(1000+i), int64(i), int32(2*i))
	}
	from.N, from.Origin.Source, from.Origin.Partition, from.Origin.Clock, from.Origin.Watermark = 100, 3, 4, 5, 6
	for range 2 {
		to.Reset()
		to.Like(from)
		for row := 99; row >= 0; row -= 7 {
			to.AppendRow(from, row)
		}
		o := to.Origin
		if to.N != 15 || o.Source != 3 || o.Partition != 4 || o.Clock != 5 || o.Watermark != 6 || o.Offset[1] != 1092 || o.Time[1] != 92 || o.Seq[1] != 184 {
			t.Fatalf("%d rows with origin %+v", to.N, o)
		}
		for i, f := range fields {
			source := strings.Split(text(from.Cols[i]), "|")
			var want []string
			for row := 99; row >= 0; row -= 7 {
				want = append(want, source[row])
			}
			if got := text(to.Col(f.Name)); got != strings.Join(want, "|") {
				t.Errorf("%s: %s, want %s", f.Name, got, strings.Join(want, "|"))
			}
		}
	}
	if to.Col("nosuch") != nil {
		t.Error("a column that is not there")
	}
	if n := testing.AllocsPerRun(100, func() {
		to.Reset()
		for row := range 100 {
			to.AppendRow(from, row)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a batch in steady state", n)
	}
}
