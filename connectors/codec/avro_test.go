package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/avro"

	"github.com/gradstream/gradstream/pipeline/batch"
)

const avroClick = `{"type": "record", "name": "Click", "namespace": "com.example", "fields": [
	{"name": "id", "type": "string"},
	{"name": "tags", "type": {"type": "array", "items": "string"}},
	{"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
	{"name": "price", "type": ["null", "double"], "default": null},
	{"name": "rank", "type": "int"},
	{"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["view", "buy"]}},
	{"name": "again", "type": "Kind"},
	{"name": "size", "type": "float"},
	{"name": "day", "type": {"type": "int", "logicalType": "date"}},
	{"name": "geo", "type": ["null", {"type": "record", "name": "Geo", "fields": [{"name": "city", "type": ["string", "null"]}, {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 3}}]}]},
	{"name": "props", "type": {"type": "map", "values": ["null", "long", "Geo"]}},
	{"name": "tree", "type": {"type": "record", "name": "Tree", "fields": [{"name": "at", "type": "long"}, {"name": "below", "type": {"type": "array", "items": "Tree"}}]}},
	{"name": "raw", "type": "bytes"},
	{"name": "y", "type": ["boolean", "null"]}
]}`

var avroColumns = []string{"geo.city: string?", "id: string", "ts: timestamp", "price: float64?", "rank: int64", "again: string", "size: float64", "day: timestamp", "tree.at: int64", "y: bool?", "other: int64?"}

func avroDecoder(t testing.TB, text string, o AvroOptions, columns ...string) *AvroDecoder {
	t.Helper()
	o.Schema = text
	d, err := NewAvro(schema(columns...), o, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// click is a record that another implementation encodes.
func click(t testing.TB, i int) []byte {
	t.Helper()
	tree := map[string]any{"at": int64(i), "below": []any{map[string]any{"at": int64(1), "below": []any{}}}}
	v := map[string]any{
		"id": fmt.Sprintf("id%d", i), "tags": []any{"a", "", "ü"}[:i%4], "ts": time.UnixMicro(int64(1_700_000_000_123_456 - i*1000)), "price": nil, "rank": int32(-i),
		"kind": "view", "again": "buy", "size": float32(i) / 4, "day": time.Unix(int64(i)*86400, 0).UTC(), "geo": nil, "props": map[string]any{"k": int64(7), "n": nil}, "tree": tree, "raw": []byte{0, 255}, "y": i%2 == 0,
	}
	if i%3 == 0 {
		v["price"], v["y"] = float64(i)+0.25, nil
		v["geo"] = map[string]any{"city": "Zürich", "hash": []byte{1, 2, 3}}
	}
	b, err := avro.MustParse(avroClick).Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAvro(t *testing.T) {
	d := avroDecoder(t, avroClick, AvroOptions{}, avroColumns...)
	into := batch.New(schema(avroColumns...))
	for i := range 7 {
		if n, err := d.Decode(click(t, i), into); n != 1 || err != nil {
			t.Fatalf("record %d: %d rows, %v", i, n, err)
		}
	}
	for i := range 7 {
		var row []string
		for _, c := range into.Cols {
			row = append(row, string(c.AppendText(nil, i)))
		}
		city, price, y := "", "", fmt.Sprint(i%2 == 0)
		if i%3 == 0 {
			city, price, y = "Zürich", fmt.Sprint(float64(i)+0.25), ""
		}
		ts := time.UnixMilli(1_700_000_000_123 - int64(i)).UTC().Format("2006-01-02T15:04:05.000Z")
		day := time.Unix(int64(i)*86400, 0).UTC().Format("2006-01-02T15:04:05.000Z")
		want := []string{city, fmt.Sprintf("id%d", i), ts, price, fmt.Sprint(-i), "buy", fmt.Sprint(float64(i) / 4), day, fmt.Sprint(i), y, ""}
		if got := strings.Join(row, "|"); got != strings.Join(want, "|") {
			t.Errorf("record %d: %s, want %s", i, got, strings.Join(want, "|"))
		}
	}
}

// An int64 column that is the event time has milliseconds, whatever the unit of the
// schema; any other one has the number as it stands.
func TestAvroTimes(t *testing.T) {
	at := time.Date(1969, 12, 31, 23, 59, 58, 123_456_789, time.UTC)
	for _, c := range []struct {
		field         string
		value         any
		time, another int64
	}{
		{`{"type": "long", "logicalType": "timestamp-millis"}`, at, -1877, -1877},
		{`{"type": "long", "logicalType": "timestamp-micros"}`, at, -1877, -1_876_544},
		{`{"type": "long", "logicalType": "timestamp-nanos"}`, at, -1877, -1_876_543_211},
		{`{"type": "long", "logicalType": "local-timestamp-micros"}`, int64(-1_876_544), -1877, -1_876_544},
		{`["null", {"type": "long", "logicalType": "timestamp-micros"}]`, at, -1877, -1_876_544},
		{`{"type": "int", "logicalType": "date"}`, at.AddDate(0, 0, 3).Truncate(24 * time.Hour), 2 * 86_400_000, 2},
		{`"long"`, int64(-5), -5, -5},
	} {
		text := `{"type": "record", "name": "r", "fields": [{"name": "a", "type": ` + c.field + `}]}`
		record, err := avro.MustParse(text).Encode(map[string]any{"a": c.value})
		if err != nil {
			t.Fatal(err)
		}
		for column, want := range map[string]int64{"a": c.time, "": c.another} {
			into := batch.New(schema("a: int64"))
			if _, err := avroDecoder(t, text, AvroOptions{Time: column}, "a: int64").Decode(record, into); err != nil || into.Cols[0].Ints[0] != want {
				t.Errorf("%s, time column %q: %d, %v, want %d", c.field, column, into.Cols[0].Ints, err, want)
			}
		}
	}
	text := `{"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}`
	_, err := avroDecoder(t, text, AvroOptions{Time: "a"}, "a: int64").Decode(binary.AppendVarint(nil, 1<<60), batch.New(schema("a: int64")))
	if want := "column a: 1152921504606846976 is no time of the years 0000 to 9999 (at byte 0)"; fmt.Sprint(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// No column takes what stands inside an array or a map, however it is called.
func TestAvroInsideArrays(t *testing.T) {
	const text = `{"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": {"type": "record", "name": "s", "fields": [{"name": "x", "type": "long"}]}}}]}`
	s := schema("a[].x: int64?", "a.x: int64?")
	into := batch.New(s)
	if _, err := avroDecoder(t, text, AvroOptions{}, "a[].x: int64?", "a.x: int64?").Decode([]byte{4, 2, 4, 0}, into); err != nil {
		t.Fatal(err)
	}
	for i, c := range into.Cols {
		if c.Len() != 1 || !c.Null(0) {
			t.Errorf("column %s has %d rows", s.Fields[i].Name, c.Len())
		}
	}
}

// Fields behind what is skipped are where they are: behind arrays of records that hold
// each other, and of records that take no bytes.
func TestAvroSkips(t *testing.T) {
	for _, c := range []struct {
		fields string
		value  map[string]any
	}{
		{`{"name": "a", "type": {"type": "record", "name": "A", "fields": [{"name": "x", "type": ["null", {"type": "record", "name": "B", "fields": [{"name": "a", "type": "A"}]}]}, {"name": "y", "type": "long"}]}}, {"name": "b", "type": {"type": "array", "items": "B"}}`,
			map[string]any{"a": map[string]any{"x": nil, "y": int64(1)}, "b": []any{
				map[string]any{"a": map[string]any{"x": nil, "y": int64(2)}}, map[string]any{"a": map[string]any{"x": nil, "y": int64(3)}}}}},
		{`{"name": "a", "type": {"type": "array", "items": {"type": "record", "name": "none", "fields": []}}}, {"name": "b", "type": {"type": "map", "values": "none"}}`,
			map[string]any{"a": []any{map[string]any{}, map[string]any{}}, "b": map[string]any{"k": map[string]any{}}}},
	} {
		text := `{"type": "record", "name": "root", "fields": [` + c.fields + `, {"name": "last", "type": "long"}]}`
		parsed, err := avro.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		c.value["last"] = int64(7)
		record, err := parsed.Encode(c.value)
		if err != nil {
			t.Fatal(err)
		}
		into := batch.New(schema("last: int64"))
		if _, err := avroDecoder(t, text, AvroOptions{}, "last: int64").Decode(record, into); err != nil || into.Cols[0].Ints[0] != 7 {
			t.Errorf("%s: %v", c.fields, err)
		}
	}
}

// A record that is cut or goes on is rejected, and leaves nothing behind.
func TestAvroDamaged(t *testing.T) {
	d := avroDecoder(t, avroClick, AvroOptions{}, avroColumns...)
	into := batch.New(schema(avroColumns...))
	whole := click(t, 3)
	for n := range whole {
		if _, err := d.Decode(whole[:n], into); err == nil {
			t.Fatalf("the first %d of %d bytes are accepted", n, len(whole))
		}
	}
	if _, err := d.Decode(append(append([]byte{}, whole...), 0), into); err == nil || !strings.Contains(err.Error(), "1 bytes stand behind the record") {
		t.Errorf("a byte behind the record: %v", err)
	}
	for i, c := range into.Cols {
		if c.Len() != 0 {
			t.Fatalf("column %d has %d rows", i, c.Len())
		}
	}
	one := func(field, column string) *AvroDecoder {
		return avroDecoder(t, `{"type": "record", "name": "r", "fields": [{"name": "a", "type": `+field+`}]}`, AvroOptions{}, column)
	}
	float := binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.NaN()))
	for _, c := range []struct {
		field, column string
		record        []byte
		want          string
	}{
		{`["null", "long"]`, "a: int64", []byte{0}, "column a: it is null"},
		{`["null", "long"]`, "a: int64?", []byte{4, 2}, "column a: branch 2 of a union of 2 (at byte 0)"},
		{`"double"`, "a: float64", float, "column a: NaN is no finite number (at byte 0)"},
		{`"string"`, "a: string", []byte{4, 0xff, 'a'}, "column a: the string is not valid UTF-8 (at byte 0)"},
		{`"string"`, "a: string", []byte{1}, "column a: a length that the record does not have (at byte 0)"},
		{`"string"`, "a: string", binary.AppendVarint(nil, math.MaxInt64), "column a: a length that the record does not have (at byte 0)"},
		{`"long"`, "a: int64", []byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, "column a: a number of more than 64 bits (at byte 0)"},
		{`"int"`, "a: int64", binary.AppendVarint(nil, 1<<31), "column a: 2147483648 is no int, which has 32 bits (at byte 0)"},
		{`"int"`, "a: int64", []byte{0x82, 0x80, 0x80, 0x80, 0x80, 0}, "column a: an int of more than 5 bytes (at byte 0)"},
		{`["null", "long"]`, "a: int64?", []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0}, "column a: an int of more than 5 bytes (at byte 0)"},
		{`"long"`, "a: float64", binary.AppendVarint(nil, 1<<53+1), "column a: 9007199254740993 is not exact as a float64 (at byte 0)"},
		{`"boolean"`, "a: bool", []byte{2}, "column a: a boolean of the byte 2 (at byte 0)"},
		{`{"type": "enum", "name": "e", "symbols": ["x"]}`, "a: string", []byte{2}, "column a: symbol 1 of an enum of 1 (at byte 0)"},
		{`{"type": "long", "logicalType": "timestamp-millis"}`, "a: timestamp", binary.AppendVarint(nil, 1<<60), "column a: 1152921504606846976 is no time of the years 0000 to 9999 (at byte 0)"},
		{`{"type": "array", "items": "long"}`, "b: int64?", binary.AppendVarint(nil, 1<<40), "column a: a length that the record does not have (at byte 0)"},
		{`{"type": "array", "items": "null"}`, "b: int64?", binary.AppendVarint(nil, 1<<62), "column a: the record ends too soon (at byte 10)"},
		{`{"type": "map", "values": "null"}`, "b: int64?", binary.AppendVarint(nil, 1<<40), "column a: a length that the record does not have (at byte 0)"},
	} {
		s := schema(c.column)
		if _, err := one(c.field, c.column).Decode(c.record, batch.New(s)); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.field, err, c.want)
		}
	}
	// Records inside each other, deeper than anybody means.
	deep := avroDecoder(t, `{"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", "r"]}]}`, AvroOptions{}, "x: int64?")
	if _, err := deep.Decode([]byte(strings.Repeat("\x02", 5000)), batch.New(schema("x: int64?"))); err == nil || !strings.Contains(err.Error(), "nested deeper than") {
		t.Errorf("deep records: %v", err)
	}
}

func TestAvroFraming(t *testing.T) {
	const text = `{"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}]}`
	for _, c := range []struct {
		record string
		id     uint32
		want   string
	}{
		{"\x00\x00\x00\x00\x07\x04", 0, ""},
		{"\x00\x00\x00\x00\x07\x04", 7, ""},
		{"\x00\x00\x00\x00\x07\x04", 8, "the record was written with the schema of id 7; expected 8 (at byte 1)"},
		{"\x01\x00\x00\x00\x07\x04", 0, "no schema id stands before the record: a byte 0 and four of the id (at byte 0)"},
		{"\x00\x00", 0, "no schema id stands before the record: a byte 0 and four of the id (at byte 0)"},
	} {
		into := batch.New(schema("a: int64"))
		_, err := avroDecoder(t, text, AvroOptions{Framed: true, ID: c.id}, "a: int64").Decode([]byte(c.record), into)
		switch {
		case c.want == "" && (err != nil || into.Cols[0].Ints[0] != 2):
			t.Errorf("%q: %v", c.record, err)
		case c.want != "" && (err == nil || err.Error() != c.want):
			t.Errorf("%q: %v, want %s", c.record, err, c.want)
		}
	}
}

func TestAvroSchemas(t *testing.T) {
	for _, c := range []struct{ text, column, want string }{
		{`{`, "a: int64", "the Avro schema: "},
		{`"long"`, "a: int64", "the Avro schema is of type long; expected a record"},
		{`{"type": "record", "name": "r", "fields": []}`, "a: int64", `column "a": the Avro schema has no such field, and the column may not be null`},
		{`{"type": "record", "name": "r", "fields": [{"name": "a", "type": "string"}]}`, "a: int64", `column "a" is int64; the field of the Avro schema is string`},
		{`{"type": "record", "name": "r", "fields": [{"name": "a", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 4}]}]}`, "a: float64?", `column "a" is float64?; the field of the Avro schema is bytes (decimal)`},
		{`{"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "record", "name": "s", "fields": []}}]}`, "a: string", `column "a" is string; the field of the Avro schema is record`},
	} {
		if _, err := NewAvro(schema(c.column), AvroOptions{Schema: c.text}, Options{}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

func TestAvroAllocatesNothing(t *testing.T) {
	d := avroDecoder(t, avroClick, AvroOptions{}, avroColumns...)
	into, record := batch.New(schema(avroColumns...)), click(t, 3)
	run := func() {
		if _, err := d.Decode(record, into); err != nil {
			t.Fatal(err)
		}
		truncate(into, 0)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

// FuzzAvro compares with the library: what is accepted here is accepted there, with
// the same values, and nothing is left behind of what is not.
func FuzzAvro(f *testing.F) {
	for i := range 4 {
		f.Add(click(f, i))
	}
	parsed := avro.MustParse(avroClick)
	d := avroDecoder(f, avroClick, AvroOptions{}, avroColumns...)
	f.Fuzz(func(t *testing.T, record []byte) {
		into := batch.New(schema(avroColumns...))
		n, err := d.Decode(record, into)
		for i, c := range into.Cols {
			if c.Len() != n || (n == 1) != (err == nil) {
				t.Fatalf("%d rows, %v, and column %d has %d", n, err, i, c.Len())
			}
		}
		if err != nil {
			return
		}
		var v map[string]any
		if rest, err := parsed.Decode(record, &v); err != nil || len(rest) > 0 {
			t.Fatalf("accepted, and the library says %v, %d bytes left", err, len(rest))
		}
		if v["id"] != into.Cols[1].TextString(0) || fmt.Sprint(v["rank"]) != fmt.Sprint(into.Cols[4].Ints[0]) || v["again"] != into.Cols[5].TextString(0) {
			t.Fatalf("%v became %s, %d, %s", v, into.Cols[1].TextString(0), into.Cols[4].Ints[0], into.Cols[5].TextString(0))
		}
	})
}
