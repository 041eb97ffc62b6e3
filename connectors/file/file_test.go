package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline/batch"
)

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

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gz(data string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(data))
	_ = w.Close()
	return b.Bytes()
}

func zst(data string) []byte {
	var b bytes.Buffer
	w, _ := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	_, _ = w.Write([]byte(data))
	_ = w.Close()
	return b.Bytes()
}

// read reads a file to its end and lists rows as "number@time: values" and what
// was rejected as "!number:line raw: why", then the error if there is one.
func read(t testing.TB, path string, o Options, limit int) (lines []string) {
	t.Helper()
	dir := filepath.Dir(path) + string(filepath.Separator)
	r, err := Open(path, o)
	if err != nil {
		return []string{"open: " + strings.ReplaceAll(err.Error(), dir, "")}
	}
	defer r.Close()
	into := batch.New(o.Schema)
	for {
		into.Reset()
		rejected, err := r.Read(context.Background(), into, limit)
		if err != nil && (into.N > 0 || len(rejected) > 0) {
			t.Error("rows together with an error")
		}
		if into.N+len(rejected) > limit {
			t.Errorf("%d rows, limit %d", into.N+len(rejected), limit)
		}
		if err == io.EOF {
			if done, size := r.Progress(); done != size {
				t.Errorf("at the end, %d bytes of %d are read", done, size)
			}
			return lines
		}
		if err != nil {
			if _, again := r.Read(context.Background(), into, limit); again == nil || again.Error() != err.Error() {
				t.Errorf("after %v: %v", err, again)
			}
			return append(lines, "error: "+strings.ReplaceAll(err.Error(), dir, ""))
		}
		row := 0
		for _, x := range rejected {
			for ; row < into.N && into.Origin.Offset[row] < x.Offset; row++ {
				lines = append(lines, show(into, row))
			}
			lines = append(lines, fmt.Sprintf("!%d:%d %q: %v", x.Offset, x.Line, x.Raw, x.Why))
		}
		for ; row < into.N; row++ {
			lines = append(lines, show(into, row))
		}
	}
}

func show(b *batch.Batch, row int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d@%d:", b.Origin.Offset[row], b.Origin.Time[row])
	for _, c := range b.Cols {
		s.WriteByte(' ')
		switch {
		case c.Len() != b.N:
			s.WriteString("uneven")
		case c.Null(row):
			s.WriteString("null")
		case c.Type == batch.String:
			if text := c.TextString(row); len(text) > 100 {
				fmt.Fprintf(&s, "%d bytes", len(text))
			} else {
				s.WriteString(text)
			}
		case c.Type == batch.Sparse:
			index, value := c.Row(row)
			fmt.Fprint(&s, index, value)
		default:
			v, _ := c.Number(row)
			s.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
		}
	}
	return s.String()
}

func TestRead(t *testing.T) {
	long := strings.Repeat("x", 10<<20)
	small := codec.Options{MaxRecord: 40, MaxString: 20}
	for _, c := range []struct {
		name, data string
		columns    string
		time       string
		codec      codec.Options
		want       []string
	}{
		{name: "a.csv", data: "y,x,s\n1,2.5,q\n0,-1,\"r, \"\"t\"\"\"\n", columns: "s: string, x: float64",
			want: []string{"0@0: q 2.5", `1@0: r, "t" -1`}},
		{name: "crlf.csv", data: "x,s\r\n1,q\r\n\r\n2,\"a\r\nb\"\r\nz,c\r\n3,d", columns: "s: string, x: int64",
			want: []string{"0@0: q 1", "1@0: a\r\nb 2", `!2:6 "z,c": column x: "z", expected an integer (at byte 0)`, "3@0: d 3"}},
		{name: "bom.csv", data: "\xef\xbb\xbfx\n1\n", columns: "x: int64", want: []string{"0@0: 1"}},
		{name: "quoted.csv", data: "\"x\",\"a b\"\n\"1\",\"l1\nl2\"", columns: "x: int64, a b: string", want: []string{"0@0: 1 l1\nl2"}},
		{name: "time.csv", data: "ts,x\n2023-11-14T22:13:20Z,1\n1700000000123,2\n,3\n", columns: "x: int64, ts: timestamp?", time: "ts",
			want: []string{"0@1700000000000: 1 1.7e+12", "1@1700000000123: 2 1.700000000123e+12", `!2:4 ",3": column ts: null, expected an event time`}},
		{name: "bad.csv", data: "x,s\n1\n1,a,b\n\"2,b\nnext,c\n3,d\"e\n4,\"f\"g\n5,h\n", columns: "x: int64, s: string",
			want: []string{
				`!0:2 "1": 1 cell, expected 2`, `!1:3 "1,a,b": 3 cells, expected 2`,
				`!2:4 "\"2,b": column x: a quotation mark that is never closed (at byte 0)`,
				`!3:5 "next,c": column x: "next", expected an integer (at byte 0)`,
				`!4:6 "3,d\"e": column s: a quotation mark inside of an unquoted cell (at byte 3)`,
				`!5:7 "4,\"f\"g": column s: a quotation mark inside of a quoted cell that is not doubled (at byte 4)`, "6@0: 5 h"}},
		{name: "missing.csv", data: "x,s\n1,a\n", columns: "x: int64, price: float64",
			want: []string{"open: missing.csv: column price: not in the header: \"x,s\""}},
		{name: "empty.csv", data: "", columns: "x: int64", want: []string{"open: empty.csv: empty file; expected a header"}},
		{name: "blank.csv", data: "\n\r\n", columns: "x: int64", want: []string{"open: blank.csv: empty file; expected a header"}},
		{name: "header.csv", data: "x\n", columns: "x: int64", want: nil},
		{name: "header.csv", data: "x,\"y\n1,2\n", columns: "x: int64",
			want: []string{"open: header.csv: line 1: a quotation mark that is never closed (at byte 2)"}},
		{name: "u16.csv", data: "\xff\xfex\x00", columns: "x: int64", want: []string{"open: u16.csv: UTF-16 text; expected UTF-8"}},
		{name: "big.csv", data: "x,s\n1,a\n2," + long + "\n3,\"" + long + "\"\n4,b\n", columns: "x: int64, s: string", codec: codec.Options{MaxString: 11 << 20},
			want: []string{"0@0: 1 a", "1@0: 2 10485760 bytes", "2@0: 3 10485760 bytes", "3@0: 4 b"}},
		{name: "bounds.csv", data: "x,s\n1," + strings.Repeat("a", 30) + "\n2," + strings.Repeat("b", 100) + "\n3,\"" + strings.Repeat("c\n", 4) + "\n4,d\n5," + strings.Repeat("e", 50), columns: "x: int64, s: string", codec: small,
			want: []string{
				`!0:2 "1,` + strings.Repeat("a", 30) + `": column s: a string of 30 bytes; at most 20 are read (at byte 2)`,
				`!1:3 "2,` + strings.Repeat("b", 38) + `": a line of more than 40 bytes`,
				`!2:4 "3,\"c": column s: a quotation mark that is never closed (at byte 2)`,
				`!3:5 "c": column x: "c", expected an integer (at byte 0)`, `!4:6 "c": column x: "c", expected an integer (at byte 0)`,
				`!5:7 "c": column x: "c", expected an integer (at byte 0)`,
				"6@0: 4 d", `!7:10 "5,` + strings.Repeat("e", 38) + `": a line of more than 40 bytes`}},
		{name: "utf8.csv", data: "s\na\xff\n\xc3\xa9\n", columns: "s: string",
			want: []string{`!0:2 "a\xff": column s: a string that is not UTF-8 (at byte 0)`, "1@0: é"}},
		{name: "a.jsonl", data: "{\"x\":1}\n\n  \r\n{\"x\":2}\r\n{\"x\":}\n{\"x\":3}", columns: "x: int64",
			want: []string{"0@0: 1", "1@0: 2", `!2:5 "{\"x\":}": column x: character '}', expected an integer (at byte 5)`, "3@0: 3"}},
		{name: "a.ndjson", data: "\xef\xbb\xbf{\"x\":1}\n", columns: "x: int64", want: []string{"0@0: 1"}},
		{name: "a.json", data: "[{\"x\":1}]\n", columns: "x: int64", want: []string{"open: a.json: a JSON array; expected one object a line"}},
		{name: "empty.jsonl", data: "", columns: "x: int64", want: nil},
		{name: "quote.jsonl", data: "{\"s\":\"\n{\"s\":\"b\"}\n", columns: "s: string",
			want: []string{`!0:1 "{\"s\":\"": column s: a string that does not end (at byte 5)`, "1@0: b"}},
		{name: "big.jsonl", data: "{\"s\":\"" + long + "\"}\n{\"s\":\"b\"}\n", columns: "s: string", codec: codec.Options{MaxString: 11 << 20},
			want: []string{"0@0: 10485760 bytes", "1@0: b"}},
		{name: "bounds.jsonl", data: "{\"s\":\"" + strings.Repeat("b", 100) + "\"}\n{\"s\":\"b\"}\n", columns: "s: string", codec: small,
			want: []string{`!0:1 "{\"s\":\"` + strings.Repeat("b", 34) + `": a line of more than 40 bytes`, "1@0: b"}},
		{name: "time.csv", data: "x\n1\n", columns: "x: float64", time: "x",
			want: []string{"open: time.csv: the time column x is float64, expected timestamp or int64"}},
		{name: "time.csv", data: "x\n1\n", columns: "x: float64", time: "ts", want: []string{"open: time.csv: the time column ts is not in the schema"}},
		{name: "empty.arrow", data: "", columns: "x: int64", want: []string{"open: empty.arrow: empty file; expected Arrow data"}},
		{name: "text.arrow", data: "x,y\n1,2\n", columns: "x: int64", want: []string{"open: text.arrow: not Arrow data"}},
		{name: "a.avro", data: "PAR1", columns: "x: int64",
			want: []string{`open: a.avro: unknown format ".avro"; expected csv, jsonl (also ndjson, json), arrow or parquet, each also with .gz or .zst`}},
		{name: "events", data: "", columns: "x: int64",
			want: []string{`open: events: no format known by its name; expected csv, jsonl (also ndjson, json), arrow or parquet, each also with .gz or .zst`}},
	} {
		o := Options{Schema: schema(strings.Split(c.columns, ", ")...), Time: c.time, Codec: c.codec}
		files := map[string][]byte{c.name: []byte(c.data), c.name + ".gz": gz(c.data), c.name + ".zst": zst(c.data)}
		for name, data := range files {
			for _, limit := range []int{1, 3, 4096} {
				var want []string
				for _, w := range c.want {
					want = append(want, strings.Replace(w, "open: "+c.name, "open: "+name, 1))
				}
				got := read(t, write(t, name, data), o, limit)
				if strings.Join(got, "\n") != strings.Join(want, "\n") {
					t.Errorf("%s, %d at a time:\n got %.2000q\nwant %.2000q", name, limit, got, want)
				}
			}
		}
	}
}

func TestFormatOption(t *testing.T) {
	path := write(t, "data.txt.gz", gz("{\"x\":1}\n"))
	for format, want := range map[string]string{
		"json":  "0@0: 1",
		"jsonl": "0@0: 1",
		"csv":   "open: data.txt.gz: line 1: a quotation mark inside of an unquoted cell (at byte 1)",
		"avro":  `open: data.txt.gz: unknown format "avro"; expected csv, jsonl (also ndjson, json), arrow or parquet, each also with .gz or .zst`,
	} {
		if got := read(t, path, Options{Format: format, Schema: schema("x: int64")}, 10); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %s, want %s", format, got, want)
		}
	}
	missing := filepath.Join(t.TempDir(), "none.csv")
	if _, err := Open(missing, Options{Schema: schema("x: int64")}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v", err)
	}
	dir := filepath.Join(t.TempDir(), "dir.csv")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Schema: schema("x: int64")}); err == nil || err.Error() != dir+": a folder, not a file" {
		t.Errorf("got %v", err)
	}
}

// A compressed file that ends too early yields the rows before, then an error.
func TestTruncated(t *testing.T) {
	var data strings.Builder
	data.WriteString("x,s\n")
	for i := range 20000 {
		fmt.Fprintf(&data, "%d,%x\n", i, i*2654435761)
	}
	s := schema("x: int64", "s: string")
	for name, whole := range map[string][]byte{"a.csv.gz": gz(data.String()), "a.csv.zst": zst(data.String())} {
		got := read(t, write(t, name, whole), Options{Schema: s}, 1000)
		if len(got) != 20000 {
			t.Fatalf("%s: %d rows", name, len(got))
		}
		for _, cut := range []int{len(whole) / 2, len(whole) - 1} {
			part := read(t, write(t, name, whole[:cut]), Options{Schema: s}, 1000)
			last := len(part) - 1
			want := fmt.Sprintf("error: %s: truncated after row %d: the compressed data ends too early", name, last)
			if part[last] != want {
				t.Errorf("%s cut at %d: got %s, want %s", name, cut, part[last], want)
			}
			for i, row := range part[:last] {
				if row != got[i] {
					t.Fatalf("%s: row %d is %s, want %s", name, i, row, got[i])
				}
			}
			if cut == len(whole)-1 && name == "a.csv.gz" && last != 20000 {
				t.Errorf("%s: %d rows before the checksum", name, last)
			}
		}
		broken := bytes.Clone(whole)
		broken[len(broken)-2] ^= 1
		part := read(t, write(t, name, broken), Options{Schema: s}, 1000)
		if last := part[len(part)-1]; !strings.HasPrefix(last, "error: "+name+": ") {
			t.Errorf("%s: a flipped bit at the end goes unnoticed: %s", name, last)
		}
		if got := read(t, write(t, name, []byte("x,s\n1,plain text\n")), Options{Schema: s}, 10); len(got) != 1 || !strings.Contains(got[0], "not "+map[string]string{"a.csv.gz": "gzip", "a.csv.zst": "zstd"}[name]+" data") {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if got := read(t, write(t, "e.csv.gz", nil), Options{Schema: s}, 10); got[0] != "open: e.csv.gz: truncated after row 0: the compressed data ends too early" {
		t.Errorf("got %s", got)
	}
}

// The larger sets read the same as by encoding/csv.
func TestAgainstEncodingCSV(t *testing.T) {
	for name, columns := range map[string][]string{
		"nyc_flights": {"y: bool", "month: int64", "dest: string", "distance: float64"},
		"sms_spam":    {"y: bool", "text: string"},
	} {
		path := filepath.Join("..", "..", "..", "shared", "data", name+".csv.gz")
		f, err := os.Open(path)
		if err != nil {
			t.Skipf("the data set %s is not here", name)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		theirs := csv.NewReader(z)
		header, err := theirs.Read()
		if err != nil {
			t.Fatal(err)
		}
		s := schema(columns...)
		r, err := Open(path, Options{Schema: s})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		into := batch.New(s)
		rows := 0
		for {
			into.Reset()
			rejected, err := r.Read(context.Background(), into, 4096)
			if err == io.EOF {
				break
			}
			if err != nil || len(rejected) > 0 {
				t.Fatal(err, rejected)
			}
			for row := range into.N {
				want, err := theirs.Read()
				if err != nil {
					t.Fatal(err)
				}
				for i, h := range header {
					c := into.Col(h)
					if c == nil {
						continue
					}
					got := ""
					if c.Type == batch.String {
						got = c.TextString(row)
					} else {
						v, _ := c.Number(row)
						got = strconv.FormatFloat(v, 'f', -1, 64)
					}
					if got != want[i] {
						t.Fatalf("%s row %d, %s: got %q, want %q", name, rows, h, got, want[i])
					}
				}
				rows++
			}
		}
		if _, err := theirs.Read(); err != io.EOF {
			t.Errorf("%s: rows left behind after %d", name, rows)
		}
	}
}
