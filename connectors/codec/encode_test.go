package codec

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// everyType is a batch with a row of plain values, a row of extremes, and a row
// of nulls where they are allowed.
func everyType() (*batch.Schema, *batch.Batch) {
	s := schema("b: bool", "i: int64", "f: float64", "s: string", "t: timestamp", "v: sparse",
		"nb: bool?", "ni: int64?", "nf: float64?", "ns: string?", "nt: timestamp?", "nv: sparse?")
	in := batch.New(s)
	for range 2 { // columns without, then with ?
		k := in.Cols[:6]
		if k[0].Len() > 0 {
			k = in.Cols[6:]
		}
		for r, b := range []bool{true, false, true} {
			if r == 2 && &k[0] == &in.Cols[6] {
				for _, c := range k {
					c.AppendNull()
				}
				break
			}
			k[0].AppendBool(b)
			k[1].AppendInt([]int64{42, math.MinInt64, math.MaxInt64}[r])
			k[2].AppendFloat([]float64{-1.5, math.MaxFloat64, math.SmallestNonzeroFloat64}[r])
			k[3].AppendString([]string{"x", "a,\"b\"\r\n\\é😀\x00\x1f\u2028", "z"}[r])
			k[4].AppendInt([]int64{1700000000123, MinTime, MaxTime}[r])
			switch r {
			case 0:
				k[5].AddFeature(3, 0.1)
				k[5].AddFeature(1<<32-1, -2)
			case 1:
				k[5].AddFeature(0, math.MaxFloat32)
				k[5].AddFeature(7, math.SmallestNonzeroFloat32)
			}
			k[5].EndRow()
		}
	}
	in.N = 3
	return s, in
}

func TestEncode(t *testing.T) {
	s, in := everyType()
	for format, want := range map[string][]string{
		"json": {
			`{"b":true,"i":42,"f":-1.5,"s":"x","t":"2023-11-14T22:13:20.123Z","v":{"3":0.1,"4294967295":-2},` +
				`"nb":true,"ni":42,"nf":-1.5,"ns":"x","nt":"2023-11-14T22:13:20.123Z","nv":{"3":0.1,"4294967295":-2}}`,
			`{"b":false,"i":-9223372036854775808,"f":1.7976931348623157e+308,"s":"a,\"b\"\r\n\\é😀\u0000\u001f` + "\u2028" + `","t":"0000-01-01T00:00:00.000Z","v":{"0":3.4028235e+38,"7":1e-45},` +
				`"nb":false,"ni":-9223372036854775808,"nf":1.7976931348623157e+308,"ns":"a,\"b\"\r\n\\é😀\u0000\u001f` + "\u2028" + `","nt":"0000-01-01T00:00:00.000Z","nv":{"0":3.4028235e+38,"7":1e-45}}`,
			`{"b":true,"i":9223372036854775807,"f":5e-324,"s":"z","t":"9999-12-31T23:59:59.999Z","v":{},` +
				`"nb":null,"ni":null,"nf":null,"ns":null,"nt":null,"nv":null}`,
		},
		"csv": {
			`true,42,-1.5,x,2023-11-14T22:13:20.123Z,3:0.1 4294967295:-2,true,42,-1.5,x,2023-11-14T22:13:20.123Z,3:0.1 4294967295:-2`,
			"false,-9223372036854775808,1.7976931348623157e+308,\"a,\"\"b\"\"\r\n\\é😀\x00\x1f\u2028\",0000-01-01T00:00:00.000Z,0:3.4028235e+38 7:1e-45," +
				"false,-9223372036854775808,1.7976931348623157e+308,\"a,\"\"b\"\"\r\n\\é😀\x00\x1f\u2028\",0000-01-01T00:00:00.000Z,0:3.4028235e+38 7:1e-45",
			`true,9223372036854775807,5e-324,z,9999-12-31T23:59:59.999Z,,,,,,,`,
		},
	} {
		e, err := NewEncoder(format, s, Options{Sparse: true})
		if err != nil {
			t.Fatal(err)
		}
		d, _ := NewDecoder(format, s, Options{})
		back := batch.New(s)
		for row, want := range want {
			got, err := e.Encode([]byte("before"), in, row, row+1)
			if err != nil || string(got) != "before"+want {
				t.Errorf("%s row %d:\n got %s %v\nwant %s", format, row, got, err, want)
				continue
			}
			if n, err := d.Decode(got[len("before"):], back); n != 1 || err != nil {
				t.Errorf("%s row %d does not read back: %v", format, row, err)
			} else if show(back, row) != show(in, row) {
				t.Errorf("%s row %d reads back as\n%s, was\n%s", format, row, show(back, row), show(in, row))
			}
		}
		got, err := e.Encode(nil, in, 0, 3)
		if w := strings.Join(want, "\n"); err != nil || string(got) != w {
			t.Errorf("%s: several rows are %s, want %s", format, got, w)
		}
		if !e.PerRow() {
			t.Errorf("%s has several rows a record", format)
		}
	}
}

func TestEncodeSome(t *testing.T) {
	s := schema("v: sparse", "a\"b: string?", "ctr.p: float64")
	in := batch.New(s)
	in.Cols[0].EndRow()
	in.Cols[1].AppendNull()
	in.Cols[2].AppendFloat(0)
	in.N = 1
	for format, want := range map[string]string{"json": `{"a\"b":null,"ctr.p":0}`, "csv": ",0"} {
		e, _ := NewEncoder(format, s, Options{})
		if got, err := e.Encode(nil, in, 0, 1); err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
		in.Cols[2].Floats[0] = math.Inf(-1)
		got, err := e.Encode([]byte("q"), in, 0, 1)
		if w := "column ctr.p: -Inf is not a finite number"; err == nil || err.Error() != w || string(got) != "q" {
			t.Errorf("got %s, %v, want %s", got, err, w)
		}
		in.Cols[2].Floats[0] = 0
	}
	if got, want := string(AppendCSVHeader(nil, s, Options{})), `"a""b",ctr.p`; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	// The only cell of a row is quoted when empty, or the row would be a blank line.
	e, _ := NewEncoder("csv", schema("s: string"), Options{})
	one := batch.New(schema("s: string"))
	one.Cols[0].AppendString("")
	if got, _ := e.Encode(nil, one, 0, 1); string(got) != `""` {
		t.Errorf("got %s", got)
	}
	// A schema without columns is an empty object.
	e, _ = NewEncoder("json", schema(), Options{})
	if got, _ := e.Encode(nil, one, 0, 1); string(got) != `{}` {
		t.Errorf("got %s", got)
	}
	// What is not UTF-8 cannot leave.
	e, _ = NewEncoder("json", schema("s: string"), Options{})
	one.Cols[0].AppendString("a\xffb\xed\xa0\x80")
	if got, _ := e.Encode(nil, one, 1, 2); string(got) != "{\"s\":\"a\ufffdb\ufffd\ufffd\ufffd\"}" {
		t.Errorf("got %s", got)
	}
}

// Numbers are written as ECMA-262 (Number::toString) writes them, the form of
// RFC 8785, from whose appendix B come the doubles by their bits.
func TestEncodeFloat(t *testing.T) {
	for _, c := range []struct {
		bits uint64
		want string
	}{
		{0x0000000000000000, "0"},
		{0x0000000000000001, "5e-324"},
		{0x8000000000000001, "-5e-324"},
		{0x7fefffffffffffff, "1.7976931348623157e+308"},
		{0xffefffffffffffff, "-1.7976931348623157e+308"},
		{0x4340000000000000, "9007199254740992"},
		{0xc340000000000000, "-9007199254740992"},
		{0x4430000000000000, "295147905179352830000"},
		{0x44b52d02c7e14af5, "9.999999999999997e+22"},
		{0x44b52d02c7e14af6, "1e+23"},
		{0x44b52d02c7e14af7, "1.0000000000000001e+23"},
		{0x444b1ae4d6e2ef4e, "999999999999999700000"},
		{0x444b1ae4d6e2ef4f, "999999999999999900000"},
		{0x444b1ae4d6e2ef50, "1e+21"},
		{0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
		{0x3eb0c6f7a0b5ed8d, "0.000001"},
		{0x41b3de4355555553, "333333333.3333332"},
		{0x41b3de4355555557, "333333333.33333343"},
		{0xbecbf647612f3696, "-0.0000033333333333333333"},
		{0x43143ff3c1cb0959, "1424953923781206.2"},
	} {
		if got, _ := appendFloat(nil, math.Float64frombits(c.bits), 64); string(got) != c.want {
			t.Errorf("%016x: got %s, want %s", c.bits, got, c.want)
		}
	}
	if got, _ := appendFloat(nil, math.Copysign(0, -1), 64); string(got) != "-0" {
		t.Errorf("negative zero is %s, which does not read back", got)
	}
}

// Every day of four centuries, and times around them, agree with package time.
func TestTime(t *testing.T) {
	for _, first := range []int{0, 1600, 1970, 9600} {
		at := time.Date(first, 1, 1, 0, 0, 0, 0, time.UTC)
		for i := 0; at.Year() < first+400; i++ {
			ms := at.UnixMilli()
			want := at.Format("2006-01-02T15:04:05.000Z")
			if got := string(appendTime(nil, ms)); got != want {
				t.Fatalf("%d is written %s, want %s", ms, got, want)
			}
			if got, why := parseTime([]byte(want)); got != ms || why != "" {
				t.Fatalf("%s is %d (%s), want %d", want, got, why, ms)
			}
			at = at.Add(24*time.Hour + time.Duration(i%3)*7919*time.Millisecond)
		}
	}
}

// Nothing is allocated per record once buffers have grown.
func TestAllocations(t *testing.T) {
	s := clickSchema()
	escaped := `{"n\u0061me":"caf\u00e9","id":"\"","ts":"2023-11-14T22:13:20Z","y":null,"list":[1,{"a":2,"b":3}]}`
	some := schema("id: string", "ts: timestamp", "y: bool?", "v: sparse?", "a.b: float64?")
	for _, c := range []struct {
		format, record string
		s              *batch.Schema
	}{
		{"json", clickJSON, s},
		{"json", escaped, some},
		{"json", `{"id":"","ts":1,"v":{"3":1.25,"1":0.12345678901234567},"a":{"b":0.1234567890123456789}}`, some},
		{"csv", clickCSV, s},
		{"csv", `"q""r",1700000000000,1,3:1 1:2,0.1234567890123456789`, some},
	} {
		d, err := NewDecoder(c.format, c.s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		into, value := batch.New(c.s), []byte(c.record)
		decode := func() {
			if into.Cols[0].Len() == 64 {
				into.Reset()
			}
			if _, err := d.Decode(value, into); err != nil {
				t.Fatal(err)
			}
		}
		for range 200 {
			decode()
		}
		if n := testing.AllocsPerRun(500, decode); n != 0 {
			t.Errorf("decoding %s: %v allocations", c.record, n)
		}
	}
	s, in := everyType()
	for _, format := range []string{"json", "csv"} {
		e, _ := NewEncoder(format, s, Options{Sparse: true})
		dst, _ := e.Encode(nil, in, 0, 3)
		if n := testing.AllocsPerRun(500, func() { dst, _ = e.Encode(dst[:0], in, 0, 3) }); n != 0 {
			t.Errorf("encoding %s: %v allocations", format, n)
		}
	}
}
