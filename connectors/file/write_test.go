package file

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// rowsOf makes n rows of all types; every seventh has nulls.
func rowsOf(n int) (*batch.Schema, *batch.Batch) {
	s := schema("id: int64", "b: bool?", "f: float64?", "s: string", "t: timestamp?", "v: sparse")
	b := batch.New(s)
	for i := range n {
		b.Cols[0].AppendInt(int64(i))
		if i%7 == 3 {
			b.Cols[1].AppendNull()
			b.Cols[2].AppendNull()
			b.Cols[4].AppendNull()
		} else {
			b.Cols[1].AppendBool(i%2 == 0)
			b.Cols[2].AppendFloat(float64(i) / 3)
			b.Cols[4].AppendInt(1700000000000 + int64(i))
		}
		b.Cols[3].AppendString(strings.Repeat(",\"\n", i%3))
		for k := range i % 4 {
			b.Cols[5].AddFeature(uint32(k*k), float32(i)/7)
		}
		b.Cols[5].EndRow()
		b.Origin.Append(int64(i), 0, 0)
		b.N++
	}
	return s, b
}

// What is written reads back, in every format and compression.
func TestWriteRead(t *testing.T) {
	const n = 20000 // more than one Arrow batch
	s, b := rowsOf(n)
	o := Options{Schema: s, Codec: codec.Options{Sparse: true}}
	for _, name := range []string{"a.csv", "a.jsonl.gz", "a.csv.zst", "a.arrow", "a.arrow.gz", "a.feather.zst"} {
		path := write(t, name, nil)
		w, err := Create(path, o)
		if err != nil {
			t.Fatal(err)
		}
		for lo := 0; lo < n; lo += 999 {
			if err := w.Write(b, lo, min(lo+999, n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Write(b, n, n); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got := read(t, path, o, 1024)
		if len(got) != n {
			t.Fatalf("%s: %d rows, want %d: %s", name, len(got), n, got[len(got)-1])
		}
		for row, line := range got {
			if want := show(b, row); line != want {
				t.Fatalf("%s row %d: got %s, want %s", name, row, line, want)
			}
		}
		if name != "a.arrow" {
			continue
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, cut := range []int{6, 9, len(whole) / 2, len(whole) - 1} {
			got := read(t, write(t, name, whole[:cut]), o, 1024)
			if last := got[len(got)-1]; !strings.Contains(last, "a.arrow: ") || len(got) > n+1 {
				t.Errorf("cut at %d: %s", cut, last)
			}
		}
	}
}

func TestWriteBad(t *testing.T) {
	s, _ := rowsOf(0)
	if _, err := Create("x.avro", Options{Schema: s}); err == nil || err.Error() != `x.avro: unknown format ".avro"; expected `+Formats {
		t.Errorf("got %v", err)
	}
	if _, err := Create(t.TempDir()+"/no/such/x.csv", Options{Schema: s}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	// Without rows a file is complete all the same.
	for _, name := range []string{"a.csv", "a.jsonl", "a.arrow"} {
		path := write(t, name, nil)
		w, err := Create(path, Options{Schema: s})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		plain := schema("id: int64")
		if got := read(t, path, Options{Schema: plain}, 10); len(got) != 0 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Arrow rows are rejected one by one.
func TestArrowRejects(t *testing.T) {
	wide, b := rowsOf(10)
	path := write(t, "a.arrow", nil)
	w, err := Create(path, Options{Schema: wide})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(b, 0, 10), w.Close()); err != nil {
		t.Fatal(err)
	}
	got := read(t, path, Options{Schema: schema("id: int64", "t: timestamp"), Time: "t"}, 4)
	want := []string{"0@1700000000000: 0 1.7e+12", "1@1700000000001: 1 1.700000000001e+12", "2@1700000000002: 2 1.700000000002e+12",
		`!3:0 "": column t: null, expected timestamp`, "4@1700000000004: 4 1.700000000004e+12"}
	if len(got) != 10 || strings.Join(got[:5], "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", got)
	}
}

func TestErrorsFile(t *testing.T) {
	path := write(t, "bad.jsonl", nil)
	e, err := CreateErrors(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []connectors.Rejected{
		{Offset: 3, Line: 5, Raw: []byte(`<q "r">`), Why: errors.New("column x: missing")},
		{Offset: 9, Raw: []byte("a\xff"), Why: errors.New("a string that is not UTF-8")},
	} {
		if err := e.Write("clicks", r); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	want := `{"source":"clicks","row":3,"line":5,"why":"column x: missing","raw":"<q \"r\">"}
{"source":"clicks","row":9,"why":"a string that is not UTF-8","raw_base64":"Yf8="}
`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
