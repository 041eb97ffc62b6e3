package codec

import (
	"bytes"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gradstream/gradstream/pipeline/batch"
)

func TestArrowRoundTrip(t *testing.T) {
	s, in := everyType()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	e := newArrowEncoder(s, Options{Sparse: true})
	e.mem = mem
	if e.PerRow() {
		t.Error("an Arrow record has one row only")
	}
	d := newArrowDecoder(s, Options{}.bounded())
	d.mem = mem
	back := batch.New(s)
	for _, cut := range [][2]int{{0, 3}, {1, 2}, {2, 2}} {
		value, err := e.Encode([]byte("before"), in, cut[0], cut[1])
		if err != nil || string(value[:6]) != "before" {
			t.Fatal(err)
		}
		back.Reset()
		n, err := d.Decode(value[6:], back)
		if err != nil || n != cut[1]-cut[0] {
			t.Fatalf("%v: %d rows, %v", cut, n, err)
		}
		for row := range n {
			if got, want := show(back, row), show(in, cut[0]+row); got != want {
				t.Errorf("%v row %d: got %s, want %s", cut, row, got, want)
			}
		}
	}
	in.Cols[2].Floats[1] = math.NaN()
	if _, err := e.Encode(nil, in, 0, 3); err == nil || err.Error() != "column f: NaN is not a finite number" {
		t.Errorf("got %v", err)
	}
	if value, err := newArrowEncoder(s, Options{}).Encode(nil, in, 0, 1); err != nil || bytes.Contains(value, []byte("index")) {
		t.Errorf("sparse columns are written without being asked for: %v", err)
	}
}

// stream writes one batch of one row a value, of one column x (JSON of the
// column, as the Arrow library reads it).
func stream(t testing.TB, typ arrow.DataType, values string, o ...ipc.Option) []byte {
	t.Helper()
	arr, _, err := array.FromJSON(memory.DefaultAllocator, typ, strings.NewReader(values), array.WithUseNumber())
	if err != nil {
		t.Fatal(err)
	}
	sc := arrow.NewSchema([]arrow.Field{{Name: "other", Type: arrow.Null, Nullable: true}, {Name: "x", Type: typ, Nullable: true}}, nil)
	rec := array.NewRecord(sc, []arrow.Array{array.NewNull(arr.Len()), arr}, int64(arr.Len()))
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, append(o, ipc.WithSchema(sc))...)
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestArrowTypes(t *testing.T) {
	stamp := func(u arrow.TimeUnit) arrow.DataType { return &arrow.TimestampType{Unit: u} }
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	list := arrow.ListOf(sparseEntry)
	p, b, w := arrow.PrimitiveTypes, arrow.BinaryTypes, arrow.FixedWidthTypes
	for _, c := range []struct {
		typ    arrow.DataType
		values string
		column string
		want   string // rows separated by ;, or the error
	}{
		{w.Boolean, `[true,null,false]`, "x: bool?", "true; null; false"},
		{p.Int32, `[1,0]`, "x: bool", "true; false"},
		{p.Int32, `[1,2]`, "x: bool", "column x: 2, expected 0 or 1"},
		{p.Int8, `[-128,null]`, "x: int64?", "-128; null"},
		{p.Int16, `[-5]`, "x: int64", "-5"},
		{p.Int32, `[-5]`, "x: int64", "-5"},
		{p.Int64, `[9223372036854775807]`, "x: int64", "9223372036854775807"},
		{p.Uint8, `[255]`, "x: int64", "255"},
		{p.Uint16, `[65535]`, "x: int64", "65535"},
		{p.Uint32, `[4294967295]`, "x: int64", "4294967295"},
		{p.Uint64, `[9223372036854775807]`, "x: int64", "9223372036854775807"},
		{p.Uint64, `[1,9223372036854775808]`, "x: int64", "column x: 9223372036854775808 is beyond the range of int64"},
		{p.Float64, `[1]`, "x: int64", "column x: Arrow type float64, expected an integer type"},
		{p.Float64, `[1.5,null]`, "x: float64?", "1.5; null"},
		{p.Float64, `[1.5,null]`, "x: float64", "column x: null, expected float64"},
		{p.Float32, `[0.5]`, "x: float64", "0.5"},
		{p.Float64, `[1,"NaN"]`, "x: float64", "column x: NaN, expected a finite number"},
		{p.Float32, `["-Inf"]`, "x: float64", "column x: -Inf, expected a finite number"},
		{p.Int64, `[9007199254740992]`, "x: float64", "9.007199254740992e+15"},
		{p.Int64, `[9007199254740993]`, "x: float64", "column x: 9007199254740993 is not exact as float64"},
		{p.Int64, `[9223372036854775807]`, "x: float64", "column x: 9223372036854775807 is not exact as float64"},
		{b.String, `["a",null,""]`, "x: string?", `"a"; null; ""`},
		{b.LargeString, `["é"]`, "x: string", `"é"`},
		{b.String, `["123456"]`, "x: string", "column x: a string of 6 bytes; at most 5 are read"},
		{dict, `["a","b",null,"a"]`, "x: string?", `"a"; "b"; null; "a"`},
		{b.Binary, `["YQ=="]`, "x: string", "column x: Arrow type binary, expected utf8, large_utf8 or a dictionary of them"},
		{stamp(arrow.Second), `[1700000000]`, "x: timestamp", "1700000000000"},
		{stamp(arrow.Millisecond), `[1700000000123]`, "x: timestamp", "1700000000123"},
		{stamp(arrow.Microsecond), `[-1700000000123000]`, "x: timestamp", "-1700000000123"},
		{stamp(arrow.Nanosecond), `[1700000000123000000]`, "x: timestamp", "1700000000123"},
		{stamp(arrow.Microsecond), `[1700000000123456]`, "x: timestamp", "column x: 1700000000123456 us is not a whole number of milliseconds"},
		{stamp(arrow.Second), `[9223372036854775807]`, "x: timestamp", "column x: 9223372036854775807 s is outside of the years 0000 to 9999"},
		{p.Date32, `[19675]`, "x: timestamp", "1699920000000"},
		{p.Int64, `[1700000000000]`, "x: timestamp", "1700000000000"},
		{p.Int32, `[17]`, "x: timestamp", "column x: Arrow type int32, expected timestamp, date or int64 milliseconds"},
		{list, `[[{"index":3,"value":1.5},{"index":1,"value":2}],[],null]`, "x: sparse?", "[3 1] [1.5 2]; [] []; null"},
		{arrow.LargeListOf(sparseEntry), `[[{"index":3,"value":1.5}]]`, "x: sparse", "[3] [1.5]"},
		{list, `[[{"index":3,"value":1.5},{"index":3,"value":2}]]`, "x: sparse", "column x: index 3 occurs twice"},
		{list, `[[{"index":3,"value":"NaN"}]]`, "x: sparse", "column x: NaN at index 3, expected a finite number"},
		{list, `[[null]]`, "x: sparse", "column x: a null entry"},
		{arrow.ListOf(p.Float32), `[[1]]`, "x: sparse", "column x: Arrow type list<item: float32, nullable>, expected list<struct<index: uint32, value: float32>>"},
		{p.Int64, `[1]`, "y: int64", "column y: not in the Arrow schema"},
		{p.Int64, `[1,2]`, "y: int64?", "null; null"},
	} {
		s := schema(c.column)
		d, _ := NewDecoder("arrow", s, Options{MaxString: 5})
		into := batch.New(s)
		n, err := d.Decode(stream(t, c.typ, c.values), into)
		var got string
		if err != nil {
			if got = err.Error(); into.Cols[0].Len() != 0 || n != 0 {
				t.Errorf("%s: rows left behind", c.values)
			}
		} else {
			parts := make([]string, n)
			for row := range parts {
				parts[row] = show(into, row)
			}
			got = strings.Join(parts, "; ")
		}
		if got != c.want {
			t.Errorf("%s %s as %s:\n got %s\nwant %s", c.typ, c.values, c.column, got, c.want)
		}
	}
}

func TestArrowBad(t *testing.T) {
	s := schema("x: int64")
	good := stream(t, arrow.PrimitiveTypes.Int64, `[1,2,3]`)
	union := stream(t, arrow.SparseUnionOf([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}}, []arrow.UnionTypeCode{0}), `[[0,1]]`)
	bomb := stream(t, arrow.PrimitiveTypes.Int64, "["+strings.Repeat("0,", 1<<16)+"0]", ipc.WithZstd())
	// A schema message that claims 2^28 bytes of metadata.
	huge := append([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0x10}, good[8:]...)
	for _, c := range []struct {
		name  string
		value []byte
		o     Options
		want  string
	}{
		{"empty", nil, Options{}, "an empty record"},
		{"cut", good[:len(good)-40], Options{}, "the Arrow data ends in the middle of a message"},
		{"cut schema", good[:20], Options{}, "the Arrow data ends in the middle of a message"},
		{"only a marker", good[len(good)-8:], Options{}, "no Arrow schema"},
		{"trailing", append(bytes.Clone(good), 1), Options{}, "1 bytes after the end of the Arrow stream (at byte " + strconv.Itoa(len(good)) + ")"},
		{"large", good, Options{MaxRecord: 100}, "a record of " + strconv.Itoa(len(good)) + " bytes; at most 100 are read"},
		{"claims", huge, Options{}, "an Arrow message of 268435456 bytes; at most 16777216 are read"},
		{"union", union, Options{}, "column x: Arrow unions and views are not supported"},
		{"bomb", bomb, Options{MaxRecord: len(bomb)}, "the Arrow data needs more than " + strconv.Itoa(8*len(bomb)) + " bytes in memory"},
	} {
		d, _ := NewDecoder("arrow", s, c.o)
		n, err := d.Decode(c.value, batch.New(s))
		if n != 0 || err == nil || err.Error() != c.want {
			t.Errorf("%s: got %d, %v, want %s", c.name, n, err, c.want)
		}
	}
	// Text is not Arrow.
	d, _ := NewDecoder("arrow", s, Options{})
	if _, err := d.Decode([]byte(`{"x":1}`), batch.New(s)); err == nil {
		t.Error("a JSON object passes for Arrow data")
	}
}

// Every single byte of a record may be wrong: it ends in an error or in rows
// that keep the promises of a batch, never in a panic, and in little memory.
func TestArrowDamage(t *testing.T) {
	s, in := everyType()
	whole, err := newArrowEncoder(s, Options{Sparse: true}).Encode(nil, in, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	var before, after runtime.MemStats
	for _, c := range []struct {
		value []byte
		s     *batch.Schema
		most  uint64 // bytes; zstd has a window, which that library bounds by 512 MiB
	}{
		{whole, s, 16 << 20},
		{stream(t, dict, `["a","b",null,"a"]`), schema("x: string?"), 16 << 20},
		{stream(t, arrow.PrimitiveTypes.Uint64, `[1,null]`, ipc.WithZstd()), schema("x: int64?"), 600 << 20},
		{stream(t, arrow.LargeListOf(sparseEntry), `[[{"index":3,"value":1.5}],null]`, ipc.WithLZ4()), schema("x: sparse?"), 64 << 20},
		{stream(t, &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}, `[1000000]`), schema("x: timestamp?"), 16 << 20},
	} {
		d, _ := NewDecoder("arrow", c.s, Options{MaxRecord: 1 << 16})
		into := batch.New(c.s)
		value := bytes.Clone(c.value)
		for at := range value {
			for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff, value[at] + 1, value[at] - 1, value[at] ^ 0x10} {
				value[at] = b
				into.Reset()
				runtime.ReadMemStats(&before)
				n, err := d.Decode(value, into)
				runtime.ReadMemStats(&after)
				value[at] = c.value[at]
				if used := after.TotalAlloc - before.TotalAlloc; used > c.most {
					t.Fatalf("byte %d = %#x: %d bytes allocated", at, b, used)
				}
				for i, col := range into.Cols {
					if col.Len() != n || err != nil && n != 0 {
						t.Fatalf("byte %d = %#x: column %d has %d rows of %d, %v", at, b, i, col.Len(), n, err)
					}
				}
			}
		}
		for cut := range value {
			into.Reset()
			if n, err := d.Decode(value[:cut], into); err == nil && n > 0 && cut < len(value)-8 {
				t.Fatalf("cut at %d of %d: %d rows", cut, len(value), n)
			}
		}
	}
}
