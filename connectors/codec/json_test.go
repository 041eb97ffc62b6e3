package codec

import (
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
)

func TestJSONDecode(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct{ schema, record, want string }{
		// Values.
		{"x: float64", `{"x":1.5}`, "1.5"},
		{"x: float64", " {\t\"x\" :\r\n-0.25e+1 } ", "-2.5"},
		{"x: float64", `{"x":-0}`, "-0"},
		{"x: float64", `{"x":0.1000000000000000055511151231257827}`, "0.1"},
		{"x: float64", `{"x":123456789012345678901234567890}`, "1.2345678901234568e+29"},
		{"x: float64", `{"x":1e-400}`, "0"},
		{"x: float64", `{"x":1e400}`, `column x: "1e400" is beyond the range of float64 (at byte 5)`},
		{"x: float64", `{"x":NaN}`, `column x: character 'N', expected a number (at byte 5)`},
		{"x: float64", `{"x":"1"}`, `column x: a string, expected a number (at byte 5)`},
		{"x: float64", `{"x":01}`, `column x: bad number "01", expected a number (at byte 5)`},
		{"x: float64", `{"x":1.}`, `column x: bad number "1.", expected a number (at byte 5)`},
		{"x: float64", `{"x":.5}`, `column x: character '.', expected a number (at byte 5)`},
		{"x: float64", `{"x":+5}`, `column x: character '+', expected a number (at byte 5)`},
		{"x: float64", `{"x":1e}`, `column x: bad number "1e", expected a number (at byte 5)`},
		{"x: float64", `{"x":-}`, `column x: bad number "-", expected a number (at byte 5)`},
		{"x: float64", `{"x":1x}`, `character 'x', expected a comma or a closing brace (at byte 6)`},
		{"x: float64", `{"x":true}`, `column x: true, expected a number (at byte 5)`},
		{"x: float64", `{"x":[1]}`, `column x: an array, expected a number (at byte 5)`},
		{"x: float64", `{"x":`, `column x: the record ends, expected a value (at byte 5)`},
		{"x: int64", `{"x":9223372036854775807}`, "9223372036854775807"},
		{"x: int64", `{"x":-9223372036854775808}`, "-9223372036854775808"},
		{"x: int64", `{"x":9223372036854775808}`, `column x: "9223372036854775808" is beyond the range of int64 (at byte 5)`},
		{"x: int64", `{"x":-9223372036854775809}`, `column x: "-9223372036854775809" is beyond the range of int64 (at byte 5)`},
		{"x: int64", `{"x":9007199254740993}`, "9007199254740993"},
		{"x: int64", `{"x":-0}`, "0"},
		{"x: int64", `{"x":1.0}`, "1"},
		{"x: int64", `{"x":1e3}`, "1000"},
		{"x: int64", `{"x":1200e-2}`, "12"},
		{"x: int64", `{"x":0.00012e5}`, "12"},
		{"x: int64", `{"x":0e99999999999999999999}`, "0"},
		{"x: int64", `{"x":9223372036854775807.000}`, "9223372036854775807"},
		{"x: int64", `{"x":1e19}`, `column x: "1e19" is beyond the range of int64 (at byte 5)`},
		{"x: int64", `{"x":1e99999999999999999999}`, `column x: "1e99999999999999999999" is beyond the range of int64 (at byte 5)`},
		{"x: int64", `{"x":1.5}`, `column x: number 1.5, expected an integer (at byte 5)`},
		{"x: int64", `{"x":"1"}`, `column x: a string, expected an integer (at byte 5)`},
		{"x: bool", `{"x":true}`, "true"},
		{"x: bool", `{"x":false}`, "false"},
		{"x: bool", `{"x":1}`, "true"},
		{"x: bool", `{"x":0}`, "false"},
		{"x: bool", `{"x":2}`, `column x: number 2, expected true, false, 1 or 0 (at byte 5)`},
		{"x: bool", `{"x":1.0}`, `column x: number 1.0, expected true, false, 1 or 0 (at byte 5)`},
		{"x: bool", `{"x":"true"}`, `column x: a string, expected true, false, 1 or 0 (at byte 5)`},
		{"x: bool", `{"x":truE}`, `column x: character 't', expected true, false, 1 or 0 (at byte 5)`},
		{"x: bool", `{"x":truely}`, `character 'l', expected a comma or a closing brace (at byte 9)`},
		{"x: string", `{"x":""}`, `""`},
		{"x: string", `{"x":"a\"\\\/\b\f\n\r\tz"}`, `"a\"\\/\b\f\n\r\tz"`},
		{"x: string", `{"x":"\u00e9 é 日本 \ud83d\ude00 😀"}`, `"é é 日本 😀 😀"`},
		{"x: string", `{"x":"\u0000"}`, `"\x00"`},
		{"x: string", `{"x":"\ud83d"}`, `column x: bad escape (at byte 6)`},
		{"x: string", `{"x":"ab\ude00"}`, `column x: bad escape (at byte 8)`},
		{"x: string", `{"x":"\ud83d\u0041"}`, `column x: bad escape (at byte 6)`},
		{"x: string", `{"x":"\x41"}`, `column x: bad escape (at byte 6)`},
		{"x: string", `{"x":"\u00g0"}`, `column x: bad escape (at byte 6)`},
		{"x: string", `{"x":"\u00"}`, `column x: bad escape (at byte 6)`},
		{"x: string", "{\"x\":\"a\nb\"}", `column x: control character '\n' in a string (at byte 7)`},
		{"x: string", "{\"x\":\"a\xffb\"}", `column x: a string that is not UTF-8 (at byte 5)`},
		{"x: string", "{\"x\":\"\xed\xa0\x80\"}", `column x: a string that is not UTF-8 (at byte 5)`},
		{"x: string", `{"x":"abc`, `column x: a string that does not end (at byte 5)`},
		{"x: string", `{"x":"abc\`, `column x: a string that does not end (at byte 5)`},
		{"x: string", `{"x":5}`, `column x: number 5, expected a string (at byte 5)`},
		{"t: timestamp", `{"t":1700000000000}`, "1700000000000"},
		{"t: timestamp", `{"t":"2023-11-14T22:13:20Z"}`, "1700000000000"},
		{"t: timestamp", `{"t":"2023-11-14T22:13:20.123456789+01:30"}`, "1699994600123"},
		{"t: timestamp", `{"t":"1969-12-31t23:59:59.5z"}`, "-500"},
		{"t: timestamp", `{"t":"\u0032023-11-14T22:13:20Z"}`, "1700000000000"},
		{"t: timestamp", `{"t":"0000-01-01T00:00:00Z"}`, "-62167219200000"},
		{"t: timestamp", `{"t":"9999-12-31T23:59:59.999Z"}`, "253402300799999"},
		{"t: timestamp", `{"t":"2023-02-29T00:00:00Z"}`, `column t: "2023-02-29T00:00:00Z" is no such date (at byte 5)`},
		{"t: timestamp", `{"t":"2024-02-29T24:00:00Z"}`, `column t: "2024-02-29T24:00:00Z" is no such time of day (at byte 5)`},
		{"t: timestamp", `{"t":"2023-11-14"}`, `column t: "2023-11-14" is not an RFC 3339 timestamp such as 2013-01-31T18:30:00Z (at byte 5)`},
		{"t: timestamp", `{"t":"2023-11-14T22:13:20"}`, `column t: "2023-11-14T22:13:20" is not an RFC 3339 timestamp such as 2013-01-31T18:30:00Z (at byte 5)`},
		{"t: timestamp", `{"t":9e15}`, `column t: "9e15" ms is outside of the years 0000 to 9999 (at byte 5)`},
		{"t: timestamp", `{"t":1.5}`, `column t: number 1.5, expected an RFC 3339 string or integer milliseconds (at byte 5)`},
		{"v: sparse", `{"v":"3:1.5  7:-2 "}`, "[3 7] [1.5 -2]"},
		{"v: sparse", `{"v":""}`, "[] []"},
		{"v: sparse", `{"v":{}}`, "[] []"},
		{"v: sparse", `{"v":{"7":1 , "4294967295" : 2e-1}}`, "[7 4294967295] [1 0.2]"},
		{"v: sparse", `{"v":"7:1 3:1 7:2"}`, `column v: index 7 occurs twice (at byte 5)`},
		{"v: sparse", `{"v":{"7":1,"7":2}}`, `column v: index 7 occurs twice (at byte 5)`},
		{"v: sparse", `{"v":"4294967296:1"}`, `column v: index "4294967296:1" is not below 2^32 (at byte 6)`},
		{"v: sparse", `{"v":"3:1 x:2"}`, `column v: expected an index, found "x:2" (at byte 10)`},
		{"v: sparse", `{"v":"3"}`, `column v: expected index:value, found "3" (at byte 6)`},
		{"v: sparse", `{"v":"3:nan"}`, `column v: expected a number after the colon, found "nan" (at byte 8)`},
		{"v: sparse", `{"v":"3:1e39"}`, `column v: "1e39" is beyond the range of float32 (at byte 8)`},
		{"v: sparse", `{"v":{"a":1}}`, `column v: expected an index, found "a" (at byte 6)`},
		{"v: sparse", `{"v":{"1":"a"}}`, `column v: a string at index 1, expected a number (at byte 10)`},
		{"v: sparse", `{"v":[1]}`, `column v: an array, expected an object or "index:value …" (at byte 5)`},
		// Missing and null.
		{"x: float64, y: bool?", `{"x":1}`, "1 | null"},
		{"x: float64, y: bool?", `{"y":null,"x":1}`, "1 | null"},
		{"x: float64?, s: string?, v: sparse?, t: timestamp?, i: int64?", `{}`, "null | null | null | null | null"},
		{"x: float64, y: bool", `{"y":true}`, "column x: missing"},
		{"x: float64", `{"x":null}`, "column x: null, expected float64 (at byte 5)"},
		{"x: float64", `{"X":1}`, "column x: missing"},
		// Nested columns.
		{"a.b: float64, c: int64, a.d.e: string?", `{"a":{"z":[],"b":2,"d":{"e":"q"}},"c":3}`, `2 | 3 | "q"`},
		{"a.b: float64, c: int64, a.d.e: string?", `{"c":3,"a":{"b":2,"d":null}}`, `2 | 3 | null`},
		{"a.b: float64", `{"a.b":2}`, `2`},
		{"a.b: float64", `{"a":{"b":1},"a.b":2}`, `column a.b: duplicate key (at byte 19)`},
		{"a.b: float64", `{"a":{"b":1},"a":{}}`, `duplicate key "a" (at byte 17)`},
		{"a.b: float64", `{"a":3}`, `a is number 3, expected an object (at byte 5)`},
		{"a.b: float64", `{"a":null}`, `column a.b: missing`},
		{"a.b: float64, a: sparse", `{}`, `schema: column a: the schema also reads columns inside of it`},
		{"a: sparse, a.b: float64", `{}`, `schema: column a.b: a is a column itself`},
		// Keys nobody asked for are validated all the same.
		{"x: float64", `{"u":{"a":[1,{"b":null}],"c":"\u00e9"},"x":1,"w":-1.5e3,"t":true,"f":false}`, "1"},
		{"x: float64", `{"\u0078":1}`, "1"},
		{"x: float64", `{"u":{"a":1,"\u0061":2},"x":1}`, `duplicate key "a" (at byte 22)`},
		{"x: float64", `{"x":1,"x":2}`, `column x: duplicate key (at byte 11)`},
		{"x: float64", `{"u":1,"x":1,"u":2}`, `duplicate key "u" (at byte 17)`},
		{"x: float64", `{"x":1,"u":[1,]}`, `character ']', expected a value (at byte 14)`},
		{"x: float64", `{"x":1,"u":[1 2]}`, `number 2, expected a comma or a closing bracket (at byte 14)`},
		{"x: float64", `{"x":1,"u":00}`, `bad number "00", expected a value (at byte 11)`},
		{"x: float64", `{"x":1,"u":nul}`, `character 'n' (at byte 11)`},
		{"x: float64", `{"x":1,"u":"\q"}`, `bad escape (at byte 12)`},
		{"x: float64", "{\"x\":1,\"u\":\"\xff\"}", `a string that is not UTF-8 (at byte 11)`},
		{"x: float64", "{\"x\":1,\"\xff\":2}", `a string that is not UTF-8 (at byte 7)`},
		{"x: float64", `{"x":1,"u":` + deep(511) + `}`, "1"},
		{"x: float64", `{"x":1,"u":` + deep(512) + `}`, `nested deeper than 512 (at byte 522)`},
		{"x: float64", `{"x":1,` + strings.Repeat(`"k":{`, 600), `nested deeper than 512 (at byte 2566)`},
		// The record as a whole.
		{"x: float64", ``, "an empty record"},
		{"x: float64", ` `, "an empty record"},
		{"x: float64", `[]`, `an array, expected an object (at byte 0)`},
		{"x: float64", `{"x":1}{}`, `an object after the end of the object (at byte 7)`},
		{"x: float64", `{"x":1,}`, `character '}', expected a key (at byte 7)`},
		{"x: float64", `{"x":1`, `the record ends inside of an object (at byte 6)`},
		{"x: float64", `{"x" 1}`, `number 1, expected a colon after key "x" (at byte 5)`},
		{"x: float64", `{x:1}`, `character 'x', expected a key (at byte 1)`},
		{"x: float64", "\ufeff{\"x\":1}", `character '\ufeff', expected an object (at byte 0)`},
		{"x: float64", "{\"x\":1\x00}", `character '\x00', expected a comma or a closing brace (at byte 6)`},
		{"", `{"u":1}`, ""},
	} {
		s := &batch.Schema{}
		if c.schema != "" {
			s = schema(strings.Split(c.schema, ", ")...)
		}
		if len(s.Fields) == 0 {
			d, _ := NewDecoder("json", s, Options{})
			if n, err := d.Decode([]byte(c.record), batch.New(s)); n != 1 || err != nil {
				t.Errorf("%s: got %d, %v", c.record, n, err)
			}
			continue
		}
		if got := decodeOne(t, "json", s, c.record, Options{}); got != c.want {
			t.Errorf("%s of %.80s:\n got %s\nwant %s", c.schema, c.record, got, c.want)
		}
	}
}

func TestJSONBounds(t *testing.T) {
	s := schema("x: string")
	o := Options{MaxRecord: 40, MaxString: 5}
	for record, want := range map[string]string{
		`{"x":"12345"}`:   `"12345"`,
		`{"x":"123456"}`:  `column x: a string of 6 bytes; at most 5 are read (at byte 5)`,
		`{"x":"1234\n"}`:  `"1234\n"`,
		`{"x":"12345\n"}`: `column x: a string of 6 bytes; at most 5 are read (at byte 5)`,
		`{"x":"1","y":"` + strings.Repeat("y", 50) + `"}`: `a record of 66 bytes; at most 40 are read`,
	} {
		if got := decodeOne(t, "json", s, record, o); got != want {
			t.Errorf("%s: got %s, want %s", record, got, want)
		}
	}
	s.Fields = []batch.Field{{Name: "v", Type: batch.Sparse, Dim: 4}}
	if got, want := decodeOne(t, "json", s, `{"v":"3:1 4:1"}`, Options{}), `column v: index "4" is beyond the dimension of the column (at byte 10)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := decodeOne(t, "json", schema("x: string"), `{"x":"`+strings.Repeat("y", 10<<20)+`"}`, Options{}),
		`column x: a string of 10485760 bytes; at most 1048576 are read (at byte 5)`; got != want {
		t.Errorf("got %.100s, want %s", got, want)
	}
}

// Records whose keys come in another order, or not at all, or that follow a
// record that was rejected, decode as if they came alone.
func TestJSONPrediction(t *testing.T) {
	s := schema("a: int64", "b: int64?", "c.d: int64?", "c.e: string?")
	d, err := NewDecoder("json", s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	into := batch.New(s)
	for i, c := range []struct{ record, want string }{
		{`{"a":1,"b":2,"c":{"d":3,"e":"x"}}`, `1 | 2 | 3 | "x"`},
		{`{"c":{"e":"x","d":3},"b":2,"a":1}`, `1 | 2 | 3 | "x"`},
		{`{"u":0,"c":{"e":"x","v":[],"d":3},"w":{},"b":2,"a":1}`, `1 | 2 | 3 | "x"`},
		{`{"u":0,"c":{"e":"x","v":[],"d":3},"w":{},"b":2,"a":1}`, `1 | 2 | 3 | "x"`},
		{`{"u":0,"c":{"e":"x","v":[],"d":3},"w":{},"u":2,"a":1}`, `duplicate key "u" (at byte 45)`},
		{`{"a":1}`, `1 | null | null | null`},
		{`{"b":1}`, `column a: missing`},
		{`{"a":7,"b":x}`, `column b: character 'x', expected an integer (at byte 11)`},
		{`{"a":7,"b" : 1}`, `7 | 1 | null | null`},
		{`{"a":7,"c":{"d":1,"d":2}}`, `column c.d: duplicate key (at byte 22)`},
		{`{"a":7,"c.d":8}`, `7 | null | 8 | null`},
		{`{"a":7,"c.d":9}`, `7 | null | 9 | null`},
		{`{"a":7,"c.d":8,"c":{"d":8}}`, `column c.d: duplicate key (at byte 24)`},
	} {
		before := into.Cols[0].Len()
		n, err := d.Decode([]byte(c.record), into)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = show(into, before)
		}
		if got != c.want || into.Cols[3].Len() != before+n {
			t.Errorf("record %d: got %s, want %s", i, got, c.want)
		}
	}
}

func TestJSONManyUnknownKeys(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"x":1`)
	for i := range 2000 {
		b.WriteString(`,"key` + strings.Repeat("k", i%90) + string(rune('a'+i%26)) + strings.Repeat("z", i/26) + `":0`)
	}
	s := schema("x: int64")
	if got := decodeOne(t, "json", s, b.String()+"}", Options{}); got != "1" {
		t.Errorf("got %s", got)
	}
	if got := decodeOne(t, "json", s, b.String()+`,"keya":1}`, Options{}); !strings.HasPrefix(got, `duplicate key "keya"`) {
		t.Errorf("got %s", got)
	}
	// Beyond what is remembered, keys are compared at the end of the object.
	if got := decodeOne(t, "json", s, b.String()+`,"last":1,"last":2}`, Options{}); !strings.HasPrefix(got, `duplicate key "last"`) {
		t.Errorf("got %s", got)
	}
}
