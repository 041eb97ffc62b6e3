package feature

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var embeddingDef = operators.Merge(&Family).Lookup("embedding")

// A table that gensim wrote gives the means that gensim computes, as it is and
// without its header, as GloVe has it.
func TestEmbeddingReference(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("testdata", "reference", "embedding.txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, headless, _ := strings.Cut(string(content), "\n")
	rows := reference(t, "embedding.csv")
	in := batch.New(batch.NewSchema(batch.Field{Name: "x", Type: batch.String}))
	for i, r := range rows {
		in.Cols[0].AppendString(r["text"])
		in.Origin.Append(int64(i), 0, int32(i))
		in.N++
	}
	for _, table := range []string{string(content), headless} {
		h, err := optest.OpenFile(embeddingDef, "{table: words.txt, text: [x], missing: mean}", table, in.Schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Feed(0, in); err != nil {
			t.Fatal(err)
		}
		for i, r := range rows {
			for k := 1; k <= 5; k++ {
				want := parse(t, r[fmt.Sprint("m", k)])
				// gensim adds up in float32.
				if got := h.Output().Col(fmt.Sprint("node.x_", k)).Floats[i]; math.Abs(got-want) > 1e-6*math.Max(1, math.Abs(want)) {
					t.Errorf("%q, component %d: %v, gensim has %v", r["text"], k, got, want)
				}
			}
		}
		report := h.Node.Report()
		found, _ := report.Get("found")
		missing, _ := report.Get("missing")
		if found != 14 || missing != 4 {
			t.Errorf("%v look-ups found their key and %v did not, want 14 and 4", found, missing)
		}
	}
}

// read reads a table.
func read(file, content string, limit int, most int64) (*vectorTable, error) {
	t, errs := readVectors(strings.NewReader(content), file, "auto", limit, most)
	return t, errs.Err()
}

func TestEmbeddingTable(t *testing.T) {
	for _, c := range []struct{ file, content, names, rows string }{
		{"t.txt", "a 1 2\nb 3 4\n", "1 2", "a=1,2 b=3,4"},
		{"t.txt", "\ufeffa\t1\t 2 \r\nb 3 4e-50", "1 2", "a=1,2 b=3,0"}, // a mark, tabs, blanks and CR at the end, no end of the last line
		{"t.txt", "2 1\na 1\n7 3\n", "1", "7=3 a=1"},
		{"t.txt", "7 3\n8 4\n", "", "t.txt:2:4: the row has 1 number; expected 3"}, // the first line is a header
		{"t.txt", "a 1 2\n. . 3 4\nb c d 5 6\n", "1 2", ". .=3,4 a=1,2 b c d=5,6"},
		{"t.vec", "\u00a0x\u3000 1\n", "1", "\u00a0x\u3000=1"}, // only blanks and tabs part
		{"t.csv", "key,lat,lon\n\"a, b\",1,2\nc, 3 ,-4\n", "lat lon", "a, b=1,2 c=3,-4"},
		{"t.csv", "\ufeffkey,x\r\n\"a\"\"\nb\",1\r\n", "x", "a\"\nb=1"},
	} {
		table, err := read(c.file, c.content, 0, 1<<20)
		if err != nil {
			if err.Error() != c.rows {
				t.Errorf("%q: %v\nwant %s", c.content, err, c.rows)
			}
			continue
		}
		var rows []string
		for key := range table.rows {
			var values []string
			for _, x := range table.find([]byte(key)) {
				values = append(values, strconv.FormatFloat(float64(x), 'g', -1, 32))
			}
			rows = append(rows, key+"="+strings.Join(values, ","))
		}
		slices.Sort(rows)
		if names := strings.Join(table.names, " "); names != c.names || strings.Join(rows, " ") != c.rows {
			t.Errorf("%q: components %s, rows %s; want %s, %s", c.content, names, strings.Join(rows, " "), c.names, c.rows)
		}
	}
}

func TestEmbeddingTableErrors(t *testing.T) {
	long := strings.Repeat("x", mostTableLine)
	for _, c := range []struct{ file, content, want string }{
		{"t.txt", "", "t.txt: the table has no rows; expected a key and its numbers on each line"},
		{"t.txt", "3 2\n", "t.txt:2:1: the file ends after 0 rows, of 3 that its header has; expected a whole file"},
		{"t.txt", "1 1\na 1\nb 2\nc 3\n", "t.txt:3:1: this is one row more than the 1 of the header; expected no more"},
		{"t.txt", "2 0\na\n", `t.txt:1:1: the header is "2 0"; expected the number of rows, and of numbers a row, from 1 to 4096`},
		{"t.txt", "a 1 2\nä 3\nb 1 2 3\n", "t.txt:2:4: the row has 1 number; expected 2\nt.txt:3:7: the row has 3 numbers; expected 2"},
		{"t.txt", "a 1 2\nä ö x 3\n", `t.txt:2:5: number 1 is "x"; expected a finite number of 32 bits, within ±3.4e38`},
		{"t.txt", "a 1 NaN\nb 1e39 2\nc -inf 1\nd 1 0x\n", "t.txt:1:5: number 2 is \"NaN\"; " + finiteWant + "\nt.txt:2:3: number 1 is \"1e39\"; " + finiteWant +
			"\nt.txt:3:3: number 1 is \"-inf\"; " + finiteWant + "\nt.txt:4:5: number 2 is \"0x\"; " + finiteWant},
		{"t.txt", "a 1\nb 2\na 3\n", `t.txt:3:1: the key "a" is on line 1 already; expected each key once`},
		{"t.txt", "a 1\n 2\n\nb\n", "t.txt:2:1: the key is empty; expected a key at the beginning of the line\n" +
			"t.txt:3:1: the line is empty; expected a key and its numbers\nt.txt:4:2: the row has 0 numbers; expected 1"},
		{"t.txt", "a\n", "t.txt:1:2: there is no number behind the key; expected a key and its numbers, with blanks between them"},
		{"t.txt", "a" + strings.Repeat(" 1", 4097), "t.txt:1:8195: the row has 4097 numbers; expected at most 4096"},
		{"t.txt", "a 1\n" + long + " 1\n", "t.txt:2:1: the line is longer than 1048576 bytes; expected a key and its numbers on each line"},
		{"t.txt", "1 3\nword \xff\xfe 1\n", `t.txt:2:1: the line is no UTF-8: "word \xff\xfe 1"; expected text; word2vec's binary format has to be converted`},
		{"t.csv", "key,x\n\xff,1\n", `t.csv:2:1: the key is no UTF-8: "\xff"; expected text`},
		{"t.csv", "key,x\n\"a,1\nb,2\n", "t.csv:3:5: extraneous or missing \" in quoted-field, in a row that begins on line 2; expected csv"},
		{"t.txt", strings.Repeat("a 1\n", 3000), "t.txt:2:1: the key \"a\" is on line 1 already; expected each key once\n" + // ten of them
			strings.TrimSuffix(strings.Repeat("*\n", 9), "\n")},
		{"t.txt", strings.Join(slices.Collect(func(yield func(string) bool) {
			for i := range 200 {
				yield(fmt.Sprint("k", i, " 1"))
			}
		}), "\n"), "t.txt:141:1: the table takes more than the 10000 bytes of max_bytes; expected less, fewer rows (rows: N), or a greater max_bytes"},
		{"t.csv", "", "t.csv: the table has no rows; expected a key and its numbers on each line"},
		{"t.csv", "key,x\n", "t.csv: the table has no rows; expected a key and its numbers on each line"},
		{"t.csv", "key\na\n", "t.csv:1:1: the header has one column; expected the name of the key, and of a number at least, with commas between them"},
		{"t.csv", "ä,x,,x\n", "t.csv:1:5: the name of column 3 is \"\"; expected a name in UTF-8\nt.csv:1:6: columns 2 and 4 are both named \"x\"; expected another name"},
		{"t.csv", "key,a" + strings.Repeat(",a", 20) + "\n", "t.csv:1:7: columns 2 and 3 are both named \"a\"; expected another name" + strings.Repeat("\n*", 9)},
		{"t.csv", "key,x,y\nä,1\nb,1,2,3\nc,,x\n,1,2\n", "t.csv:2:3: the row has 1 number; expected 2\nt.csv:3:7: the row has 3 numbers; expected 2\n" +
			"t.csv:4:3: \"x\" is \"\"; " + finiteWant + "\nt.csv:5:1: the key is empty; expected a key in the first column"},
		{"t.csv", "key,x\nä,1\n\"ä\n\",2\nä,3\n", `t.csv:5:1: the key "ä" is on line 2 already; expected each key once`},
		{"t.csv", "key,x\na\"b,1\n", "t.csv:2:2: bare \" in non-quoted-field; expected csv"},
		{"t.csv", "key,x\n\"" + long + strings.Repeat("\n", 1<<13), "t.csv:2:1: cannot be read on: a row is longer than 1048576 bytes; is a quote not closed?"},
	} {
		table, err := read(c.file, c.content, 0, 10_000)
		if table != nil || err == nil {
			t.Errorf("%.40q is read as a table", c.content)
			continue
		}
		got, want := strings.Split(err.Error(), "\n"), strings.Split(c.want, "\n")
		if len(got) != len(want) {
			t.Errorf("%.40q: %v\nwant %s", c.content, err, c.want)
			continue
		}
		for i := range want {
			if want[i] != "*" && got[i] != want[i] {
				t.Errorf("%.40q: %s\nwant %s", c.content, got[i], want[i])
			}
		}
	}
}

// The first rows are read, and what is wrong behind them is not looked at; the digest
// is that of the whole file, packed as it is.
func TestEmbeddingFile(t *testing.T) {
	content := "a 1\nb 2\nc x\n"
	table, err := read("t.txt", content, 2, 1<<20)
	if err != nil || len(table.rows) != 2 || table.mean[0] != 1.5 {
		t.Errorf("two rows of three: %+v, %v", table, err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte("a 1\nb 2\n"))
	_ = w.Close()
	take := func(f *spec.File, raw []byte) (*vectorTable, string) {
		c := &embeddingConfig{table: *f, most: 1 << 20}
		errs := c.table.Read(bytes.NewReader(raw), c.ReadFile)
		*f = c.table
		return c.vectors, fmt.Sprint(errs)
	}
	f := &spec.File{Path: "t.txt.gz"}
	if table, errs := take(f, packed.Bytes()); table == nil || len(table.rows) != 2 || len(f.Digest) != 64 {
		t.Errorf("a packed table: %+v, %s, digest %s", table, errs, f.Digest)
	}
	for raw, want := range map[string]string{
		content:                                 "t.txt.gz: cannot be unpacked: gzip: invalid header; expected a file in gzip, as its name says",
		string(packed.Bytes()[:packed.Len()-6]): "t.txt.gz:3:1: cannot be read on: unexpected EOF",
	} {
		f := &spec.File{Path: "t.txt.gz"}
		if table, errs := take(f, []byte(raw)); table != nil || errs != want || f.Digest != "" {
			t.Errorf("%q: %+v, %s; want %s", raw, table, errs, want)
		}
	}
}

func TestEmbeddingComplaints(t *testing.T) {
	in := batch.NewSchema(batch.Field{Name: "s", Type: batch.String}, batch.Field{Name: "x", Type: batch.Float64}, batch.Field{Name: "s_1", Type: batch.Bool})
	for config, want := range map[string]string{
		"{columns: [s]}":                                      "table is missing; expected a file",
		"{table: '', columns: [s]}":                           `table is ""; expected a file`,
		"{table: t.txt}":                                      "there is nothing to look up; expected columns or text",
		"{table: t.txt, columns: [s, x]}":                     `column "x" is float64; expected string, int64 or bool`,
		"{table: t.txt, text: [t]}":                           `no column "t"; expected s`,
		"{table: t.txt, columns: [s], text: [s]}":             `column "s" is one of columns, too; expected another operator for it`,
		"{table: t.txt, columns: [s], prefix: ''}":            `column "s_1" exists already; expected another prefix`,
		"{table: t.txt, columns: [s], missing: none}":         "missing is \"none\"; expected one of absent, zero, mean",
		"{table: t.txt, columns: [s], max_bytes: 10}":         "t.txt:1:1: the table takes more than the 10 bytes of max_bytes",
		"{table: t.txt, columns: [s], format: csv}":           "t.txt:1:1: the header has one column",
		"{table: t.txt, columns: [s], rows: 1, prefix: node}": "",
	} {
		_, err := optest.OpenFile(embeddingDef, config, "a 1\nb 2\n", in)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v\nwant %s", config, err, want)
		}
	}
}

// FuzzEmbeddingTable: whatever is read as a table is one, and is read again from what
// it says.
func FuzzEmbeddingTable(f *testing.F) {
	for _, content := range []string{embeddings, "2 1\na 1\nb 2\n", "key,x\na,1\n", "a 1 2\n. . 3 4\n", "\ufeff\"a\",1\n", "1 4096\nx"} {
		f.Add(content, false, 0)
		f.Add(content, true, 1)
	}
	for _, content := range []string{"key" + strings.Repeat(",", 20)} {
		f.Add(content, true, 0)
	}
	f.Fuzz(func(t *testing.T, content string, asCSV bool, limit int) {
		format := "text"
		if asCSV {
			format = "csv"
		}
		table, errs := readVectors(strings.NewReader(content), "t", format, max(limit, 0), 1<<20)
		if (table == nil) != (len(errs) > 0) || len(errs) > mostTableErrors {
			t.Fatal(table, errs)
		}
		for _, e := range errs {
			if e.Pos.Line > 0 && e.Pos.Col < 1 || e.Msg == "" {
				t.Fatalf("%+v", e)
			}
		}
		if table == nil {
			return
		}
		d := len(table.names)
		if d == 0 || len(table.rows) == 0 || len(table.data) != d*len(table.rows) || len(table.mean) != d || limit > 0 && len(table.rows) > limit {
			t.Fatalf("%d components, %d rows, %d numbers, %d means", d, len(table.rows), len(table.data), len(table.mean))
		}
		var again bytes.Buffer
		w := csv.NewWriter(&again)
		_ = w.Write(append([]string{"key"}, table.names...))
		for key := range table.rows {
			record := []string{key}
			for _, x := range table.find([]byte(key)) {
				record = append(record, strconv.FormatFloat(float64(x), 'g', -1, 32))
			}
			_ = w.Write(record)
		}
		w.Flush()
		if strings.Contains(again.String(), "\r") {
			return // which csv does not keep
		}
		other, errs := readVectors(&again, "t", "csv", 0, 1<<30)
		if len(errs) > 0 || len(other.rows) != len(table.rows) {
			t.Fatalf("written again: %v", errs)
		}
		for key := range table.rows {
			if !slices.Equal(other.find([]byte(key)), table.find([]byte(key))) {
				t.Fatalf("key %q: %v, and written again %v", key, table.find([]byte(key)), other.find([]byte(key)))
			}
		}
	})
}

// What makes a component is named by its column, in the order of the vector.
func TestEmbeddingFeatures(t *testing.T) {
	in := batch.New(batch.NewSchema(batch.Field{Name: "a", Type: batch.String}, batch.Field{Name: "b", Type: batch.Bool, Nullable: true}))
	in.Cols[0].AppendString("x")
	in.Cols[1].AppendBool(true)
	in.Origin.Append(0, 0, 0)
	in.N++
	h, err := optest.OpenFile(embeddingDef, "{table: t.csv, columns: [b], text: [a], layout: vector}", "key,lat,lon\nx,1,0\ntrue,0,2\n", in.Schema)
	if err != nil {
		t.Fatal(err)
	}
	before := h.Digest()
	all, ok := h.Node.Features(in, 0)
	want := []operators.Feature{{Index: 1, Columns: []string{"b"}, Values: []string{"component lon"}}, {Index: 2, Columns: []string{"a"}, Values: []string{"component lat"}}}
	if !ok || fmt.Sprint(all) != fmt.Sprint(want) || h.Digest() != before {
		t.Errorf("features are %v, want %v", all, want)
	}
}
