package codec

import (
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
)

func TestCSVDecode(t *testing.T) {
	for _, c := range []struct{ schema, record, want string }{
		{"a: string, x: float64", `q,1.5`, `"q" | 1.5`},
		{"a: string, x: float64", "q,1.5\r\n", `"q" | 1.5`},
		{"a: string, x: float64", `"q, ""r""` + "\n" + `s",1.5`, `"q, \"r\"\ns" | 1.5`},
		{"a: string, x: float64", `"q"," 1.5 "`, `"q" | 1.5`},
		{"a: string, x: float64", ` q ,1.5`, `" q " | 1.5`},
		{"a: string, b: string?, v: sparse, w: sparse?", ",,,", `"" | null | [] [] | null`},
		{"a: string, b: string?", `"",""`, `"" | null`},
		{"x: float64?, y: bool?, i: int64?, t: timestamp?", ",,,", "null | null | null | null"},
		{"x: float64, y: bool", ",1", "column x: empty, expected float64 (at byte 0)"},
		{"x: float64, y: bool", "1,", "column y: empty, expected bool (at byte 2)"},
		{"x: float64, y: bool", "1", "1 cell, expected 2"},
		{"x: float64, y: bool", "1,1,2", "3 cells, expected 2"},
		{"x: float64, y: bool", "1,1\n2,1", "column y: a line break inside of an unquoted cell (at byte 3)"},
		{"x: float64, y: float64", "+.5,5.", "0.5 | 5"},
		{"x: float64, y: float64", "007,1E-2", "7 | 0.01"},
		{"x: float64", "nan", `column x: "nan", expected a number (at byte 0)`},
		{"x: float64", "Inf", `column x: "Inf", expected a number (at byte 0)`},
		{"x: float64", "1e309", `column x: "1e309" is beyond the range of float64 (at byte 0)`},
		{"x: float64", "0x1p4", `column x: "0x1p4", expected a number (at byte 0)`},
		{"x: float64", "1_000", `column x: "1_000", expected a number (at byte 0)`},
		{"x: float64", " ", `column x: "", expected a number (at byte 1)`},
		{"a: string, x: float64", "q,1.5.5", `column x: "1.5.5", expected a number (at byte 2)`},
		{"i: int64", "3.0", "3"},
		{"i: int64", "3.5", `column i: "3.5", expected an integer (at byte 0)`},
		{"i: int64", "-9223372036854775808", "-9223372036854775808"},
		{"i: int64", "9223372036854775808", `column i: "9223372036854775808" is beyond the range of int64 (at byte 0)`},
		{"a: bool, b: bool, c: bool, d: bool", "true,False,1,0", "true | false | true | false"},
		{"a: bool", "yes", `column a: "yes", expected true, false, 1 or 0 (at byte 0)`},
		{"a: bool", "2", `column a: "2", expected true, false, 1 or 0 (at byte 0)`},
		{"t: timestamp", "2023-11-14T22:13:20Z", "1700000000000"},
		{"t: timestamp", "1700000000000", "1700000000000"},
		{"t: timestamp", "2023-11-14", `column t: "2023-11-14" is not an RFC 3339 timestamp such as 2013-01-31T18:30:00Z (at byte 0)`},
		{"t: timestamp", "soon", `column t: "soon", expected an RFC 3339 timestamp or integer milliseconds (at byte 0)`},
		{"t: timestamp", "-62167219200001", `column t: "-62167219200001" ms is outside of the years 0000 to 9999 (at byte 0)`},
		{"v: sparse", "9:0.0626997 14:0.0337548", "[9 14] [0.0626997 0.0337548]"},
		{"v: sparse", "9:1 9:2", "column v: index 9 occurs twice (at byte 0)"},
		{"a: string, v: sparse", "q,9:x", `column v: expected a number after the colon, found "x" (at byte 4)`},
		{"a: string", "q\xff", "column a: a string that is not UTF-8 (at byte 0)"},
		{"a: string", `"q`, "column a: a quotation mark that is never closed (at byte 0)"},
		{"a: string", `"q"r`, "column a: a quotation mark inside of a quoted cell that is not doubled (at byte 2)"},
		{"a: string", `q"r`, "column a: a quotation mark inside of an unquoted cell (at byte 1)"},
	} {
		s := schema(strings.Split(c.schema, ", ")...)
		if got := decodeOne(t, "csv", s, c.record, Options{}); got != c.want {
			t.Errorf("%s of %q:\n got %s\nwant %s", c.schema, c.record, got, c.want)
		}
	}
	o := Options{MaxRecord: 10, MaxString: 4}
	for record, want := range map[string]string{
		"1234":        `"1234"`,
		"12345":       "column a: a string of 5 bytes; at most 4 are read (at byte 0)",
		"12345678901": "a record of 11 bytes; at most 10 are read",
	} {
		if got := decodeOne(t, "csv", schema("a: string"), record, o); got != want {
			t.Errorf("%s: got %s, want %s", record, got, want)
		}
	}
}

func TestCSVHeader(t *testing.T) {
	s := schema("a: string", "x: float64", "y: bool?")
	for _, c := range []struct{ header, row, want string }{
		{"a,x,y", "q,1,1", `"q" | 1 | true`},
		{"y,z,x,a", `0,"z,z",2,q`, `"q" | 2 | false`},
		{"x,a", `2,q`, `"q" | 2 | null`},
		{"x,a", `2,q,`, `3 cells, expected 2`},
		{"x,y", ``, `column a: not in the header: "x,y"`},
		{"x,y,a,x", ``, `column x: twice in the header`},
		{"X,y,a", ``, `column x: not in the header: "X,y,a"`},
		{"x;y;" + strings.Repeat("é", 150), ``, `column a: not in the header: "x;y;` + strings.Repeat("é", 98) + `…"`},
		{"z,x,z,a", `1,2,3,q`, `"q" | 2 | null`},
	} {
		got := ""
		if d, err := NewCSV(s, strings.Split(c.header, ","), Options{}); err != nil {
			got = err.Error()
		} else {
			into := batch.New(s)
			if _, err := d.Decode([]byte(c.row), into); err != nil {
				got = err.Error()
			} else {
				got = show(into, 0)
			}
		}
		if got != c.want {
			t.Errorf("%s / %s: got %s, want %s", c.header, c.row, got, c.want)
		}
	}
}
