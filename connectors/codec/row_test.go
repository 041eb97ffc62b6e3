package codec

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// rowsOf encodes all rows of a batch.
func rowsOf(t *testing.T, s *batch.Schema, in *batch.Batch) [][]byte {
	t.Helper()
	e, err := NewEncoder(RowFormat, s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for row := range in.N {
		v, err := e.Encode([]byte("before"), in, row, row+1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v[len("before"):])
	}
	return all
}

// A row comes back bit for bit, with its event time.
func TestRow(t *testing.T) {
	s, in := everyType()
	for row := range in.N {
		in.Origin.Append(int64(row), []int64{1700000000123, -5, math.MinInt64}[row], int32(row))
	}
	d, err := NewDecoder(RowFormat, s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	back := batch.New(s)
	for row, v := range rowsOf(t, s, in) {
		if n, err := d.Decode(v, back); n != 1 || err != nil {
			t.Fatalf("row %d: %d %v", row, n, err)
		}
		if at := d.(connectors.Timed).EventTime(); at != in.Origin.Time[row] {
			t.Errorf("row %d: event time %d, want %d", row, at, in.Origin.Time[row])
		}
	}
	for i, c := range back.Cols {
		want := in.Cols[i]
		if !cmp.Equal([]any{c.Bools, c.Ints, c.Floats, string(c.Bytes), c.Off, c.Index, c.Value}, []any{want.Bools, want.Ints, want.Floats, string(want.Bytes), want.Off, want.Index, want.Value}) {
			t.Errorf("column %s: got %+v, want %+v", s.Fields[i].Name, c, want)
		}
		for row := range in.N {
			if c.Null(row) != want.Null(row) {
				t.Errorf("column %s row %d: null %v", s.Fields[i].Name, row, c.Null(row))
			}
		}
	}
}

// Reader and writer may know other columns, in another order.
func TestRowOtherColumns(t *testing.T) {
	w := schema("a: int64", "b: string", "c: float64?")
	in := batch.New(w)
	in.Cols[0].AppendInt(7)
	in.Cols[1].AppendString("x")
	in.Cols[2].AppendNull()
	in.Origin.Append(0, 9, 0)
	in.N = 1
	v := rowsOf(t, w, in)[0]
	for _, c := range []struct {
		name   string
		reader []string
		want   string // "" = it decodes
	}{
		{"another order", []string{"c: float64?", "b: string", "a: int64"}, ""},
		{"fewer", []string{"b: string"}, ""},
		{"one more that may be null", []string{"d: bool?", "a: int64", "b: string"}, ""},
		{"one more", []string{"a: int64", "d: bool"}, "column d: it is missing"},
		{"another type", []string{"a: float64"}, "column a: it is missing"},
		{"no null", []string{"a: int64", "c: float64"}, "column c: it is missing"},
	} {
		s := schema(c.reader...)
		d, err := NewDecoder(RowFormat, s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		back := batch.New(s)
		n, err := d.Decode(v, back)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) || back.Cols[0].Len() != 0 {
				t.Errorf("%s: %v, %d rows left; want %q", c.name, err, back.Cols[0].Len(), c.want)
			}
			continue
		}
		if n != 1 || err != nil {
			t.Errorf("%s: %d %v", c.name, n, err)
			continue
		}
		if i := s.Lookup("b"); back.Cols[i].TextString(0) != "x" {
			t.Errorf("%s: b is %q", c.name, back.Cols[i].TextString(0))
		}
	}
	// Features of another width are another column.
	wide := &batch.Schema{Fields: []batch.Field{{Name: "v", Type: batch.Sparse, Dim: 8}}}
	in = batch.New(wide)
	in.Cols[0].AddFeature(7, 1)
	in.Cols[0].EndRow()
	in.Origin.Append(0, 0, 0)
	in.N = 1
	narrow := &batch.Schema{Fields: []batch.Field{{Name: "v", Type: batch.Sparse, Dim: 4}}}
	d, _ := NewDecoder(RowFormat, narrow, Options{})
	if _, err := d.Decode(rowsOf(t, wide, in)[0], batch.New(narrow)); err == nil {
		t.Error("features of 8 slots were read as features of 4")
	}
}

// Whatever is not a row is refused and leaves nothing behind.
func TestRowDamaged(t *testing.T) {
	s, in := everyType()
	for range in.N {
		in.Origin.Append(0, 0, 0)
	}
	d, _ := NewDecoder(RowFormat, s, Options{})
	rng := rand.New(rand.NewPCG(1, 1))
	refused := 0
	for _, good := range rowsOf(t, s, in) {
		for range 2000 {
			bad := bytes.Clone(good)
			switch rng.IntN(3) {
			case 0:
				bad = bad[:rng.IntN(len(bad))]
			case 1:
				bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
			default:
				bad = append(bad, byte(rng.IntN(256)))
			}
			back := batch.New(s)
			n, err := d.Decode(bad, back)
			if err != nil {
				refused++
			}
			for i, c := range back.Cols {
				if c.Len() != n {
					t.Fatalf("column %s has %d rows after %d %v", s.Fields[i].Name, c.Len(), n, err)
				}
			}
		}
	}
	if refused < 1000 {
		t.Errorf("only %d were refused", refused)
	}
	if _, err := d.Decode([]byte{9, 0}, batch.New(s)); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("version 9: %v", err)
	}
	if _, err := d.Decode(nil, batch.New(s)); err == nil {
		t.Error("an empty record is a row")
	}
}

// FuzzRow checks that bytes that are not quite a row end in an error, leaving
// nothing, and that what is accepted is written and read back.
func FuzzRow(f *testing.F) {
	s, in := everyType()
	for row := range in.N {
		in.Origin.Append(0, 1700000000123, int32(row))
	}
	e, err := NewEncoder(RowFormat, s, Options{})
	if err != nil {
		f.Fatal(err)
	}
	for row := range in.N {
		v, err := e.Encode(nil, in, row, row+1)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(v)
	}
	f.Add([]byte{rowVersion, 0, 1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, record []byte) {
		d, _ := NewDecoder(RowFormat, s, Options{})
		into := batch.New(s)
		n, err := d.Decode(record, into)
		for i, c := range into.Cols {
			if c.Len() != n {
				t.Fatalf("%q: column %s has %d rows after %d %v", record, s.Fields[i].Name, c.Len(), n, err)
			}
		}
		if err != nil {
			return
		}
		into.N = 1
		into.Origin.Append(0, d.(connectors.Timed).EventTime(), 0)
		first, err := e.Encode(nil, into, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		back := batch.New(s)
		if n, err := d.Decode(first, back); n != 1 || err != nil {
			t.Fatalf("%q is written as %q, which does not read back: %v", record, first, err)
		}
		back.N = 1
		back.Origin.Append(0, d.(connectors.Timed).EventTime(), 0)
		if second, err := e.Encode(nil, back, 0, 1); err != nil || !bytes.Equal(second, first) {
			t.Fatalf("%q is written as %q, and then as %q, %v", record, first, second, err)
		}
	})
}

func BenchmarkRow(b *testing.B) {
	s, in := everyType()
	for range in.N {
		in.Origin.Append(0, 0, 0)
	}
	e, _ := NewEncoder(RowFormat, s, Options{})
	d, _ := NewDecoder(RowFormat, s, Options{})
	back := batch.New(s)
	var v []byte
	b.ReportAllocs()
	for b.Loop() {
		v, _ = e.Encode(v[:0], in, 0, 1)
		back.Reset()
		if _, err := d.Decode(v, back); err != nil {
			b.Fatal(err)
		}
	}
}
