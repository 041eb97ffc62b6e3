package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
)

var parquetColumns = []string{"id: int64", "small: int64", "big: int64?", "x: float64", "f: float64?", "y: bool?", "s: string", "long: string?", "ts: timestamp", "day: timestamp?", "a.b: int64?", "v: sparse?"}

// readAll reads all rows of a file, as text, and what was rejected.
func readAll(t *testing.T, path string, limit int, columns ...string) (rows, rejected []string) {
	t.Helper()
	s := schema(columns...)
	r, err := Open(path, Options{Schema: s})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer r.Close()
	into := batch.New(s)
	for {
		into.Reset()
		bad, err := r.Read(context.Background(), into, limit)
		for row := range into.N {
			var cells []string
			for _, c := range into.Cols {
				switch {
				case c.Null(row):
					cells = append(cells, "null")
				case c.Type == batch.Sparse:
					i, v := c.Row(row)
					cells = append(cells, fmt.Sprint(i, v))
				default:
					cells = append(cells, string(c.AppendText(nil, row)))
				}
			}
			rows = append(rows, fmt.Sprint(into.Origin.Offset[row], " ", strings.Join(cells, "|")))
		}
		for _, b := range bad {
			rejected = append(rejected, fmt.Sprint(b.Offset, " ", b.Why))
		}
		if err == io.EOF {
			return rows, rejected
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
}

// Files of four other implementations hold what their JSON says.
func TestParquetOfOthers(t *testing.T) {
	paths, _ := filepath.Glob("testdata/parquet/*.parquet")
	if len(paths) < 10 {
		t.Fatalf("files: %v", paths)
	}
	for _, path := range paths {
		columns := parquetColumns
		switch name := filepath.Base(path); name {
		case "bad.parquet", "empty.parquet":
			continue
		case "int96.parquet":
			columns = []string{"ts: timestamp", "id: int64"}
		case "polars.parquet", "duckdb.parquet":
			columns = []string{"ts: timestamp", "id: int64", "small: int64", "x: float64", "f: float64?", "y: bool?", "s: string"}
		case "fastparquet.parquet":
			columns = []string{"ts: timestamp", "id: int64", "small: int64", "x: float64", "s: string"}
		}
		want, _ := readAll(t, "testdata/parquet/rows.jsonl", 1000, columns...)
		for _, limit := range []int{1, 7, 1000} {
			got, rejected := readAll(t, path, limit, columns...)
			if len(rejected) > 0 || len(got) != len(want) {
				t.Fatalf("%s: %d rows, want %d; rejected %v", path, len(got), len(want), rejected)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("%s: row %s, want %s", path, got[i], want[i])
				}
			}
		}
	}
	if rows, _ := readAll(t, "testdata/parquet/empty.parquet", 10, parquetColumns...); len(rows) > 0 {
		t.Errorf("rows of an empty file: %v", rows)
	}
}

func TestParquetRejects(t *testing.T) {
	rows, rejected := readAll(t, "testdata/parquet/bad.parquet", 2, "s: string", "x: float64", "y: bool", "id: int64")
	if got := strings.Join(rows, "\n"); got != "0 ok|0.5|false|1" {
		t.Errorf("rows %s", got)
	}
	if got, want := strings.Join(rejected, "\n"), "1 column x: NaN, expected a finite number\n2 column id: null, expected int64\n3 column x: +Inf, expected a finite number\n4 column s: a string that is not UTF-8"; got != want {
		t.Errorf("rejected:\n%s\nwant\n%s", got, want)
	}
}

func TestParquetComplaints(t *testing.T) {
	const path = "testdata/parquet/arrow-snappy.parquet"
	for columns, want := range map[string]string{
		"id: string":    "testdata/parquet/arrow-snappy.parquet: column id: Parquet type INT64, expected string, enum or byte_array",
		"s: int64":      "column s: Parquet type STRING, expected an integer type",
		"x: int64":      "column x: Parquet type DOUBLE, expected an integer type",
		"x: bool":       "column x: Parquet type DOUBLE, expected boolean or an integer type of 0 and 1",
		"y: float64":    "column y: Parquet type BOOLEAN, expected float, double or an integer type",
		"nosuch: int64": "column nosuch: not in the Parquet schema",
		"a: int64":      "column a: a Parquet group, expected an integer type",
		"a: sparse":     "column a: expected list<struct<index: uint32, value: float32>>",
		"f: timestamp":  "column f: Parquet type FLOAT, expected timestamp, date, int96 or int64 milliseconds",
	} {
		if _, err := Open(path, Options{Schema: schema(columns)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", columns, err, want)
		}
	}
	if rows, _ := readAll(t, path, 1000, "id: int64", "nosuch: int64?"); len(rows) != 300 || rows[1] != "1 999998|null" {
		t.Errorf("a column that may be null and is not there: %v", rows[1])
	}
	for name, content := range map[string]string{"text": "id,x\n1,2\n", "nothing": "", "magic": "PAR1"} {
		bad := filepath.Join(t.TempDir(), name+".parquet")
		if err := os.WriteFile(bad, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(bad, Options{Schema: schema("id: int64")}); err == nil || !strings.Contains(err.Error(), bad+": not a Parquet file, or truncated") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Cut and flipped files are an error or rows, never a panic.
func TestDamagedParquet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"arrow-snappy", "arrow-gzip", "arrow-brotli", "int96"} {
		whole, err := os.ReadFile("testdata/parquet/" + name + ".parquet")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			b := append([]byte(nil), whole...)
			if i%3 == 0 {
				b = b[:rng.IntN(len(b))]
			} else {
				for range 1 + rng.IntN(4) {
					b[rng.IntN(len(b)-8)] ^= byte(1 << rng.IntN(8))
				}
			}
			path := filepath.Join(t.TempDir(), "x.parquet")
			if err := os.WriteFile(path, b, 0o666); err != nil {
				t.Fatal(err)
			}
			s := schema("id: int64", "ts: timestamp?", "s: string?", "v: sparse?", "a.b: int64?")
			r, err := Open(path, Options{Schema: s})
			if err != nil {
				if !strings.Contains(err.Error(), path) {
					t.Errorf("an error without the file: %v", err)
				}
				continue
			}
			into := batch.New(s)
			for err == nil {
				into.Reset()
				_, err = r.Read(context.Background(), into, 100)
			}
			if err != io.EOF && !strings.Contains(err.Error(), path) {
				t.Errorf("an error without the file: %v", err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// What is written is what is read, also through compression of the whole file.
func TestParquetRoundTrip(t *testing.T) {
	columns := parquetColumns[:11]
	s := schema(columns...)
	for _, name := range []string{"x.parquet", "x.parquet.gz", "x.pq.zst"} {
		path := filepath.Join(t.TempDir(), name)
		w, err := Create(path, Options{Schema: s})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open("testdata/parquet/rows.jsonl", Options{Schema: s})
		if err != nil {
			t.Fatal(err)
		}
		into := batch.New(s)
		for {
			into.Reset()
			if _, err := r.Read(context.Background(), into, 70); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				break
			}
			if err := w.Write(into, 0, into.N); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		want, _ := readAll(t, "testdata/parquet/rows.jsonl", 1000, columns...)
		got, rejected := readAll(t, path, 1000, columns...)
		if strings.Join(got, "\n") != strings.Join(want, "\n") || len(rejected) > 0 {
			t.Errorf("%s: other rows came back; rejected %v", name, rejected)
		}
	}
}

// Memory does not grow with the file.
func TestParquetMemory(t *testing.T) {
	s := schema("id: int64", "text: string", "x: float64?")
	path := filepath.Join(t.TempDir(), "large.parquet")
	w, err := Create(path, Options{Schema: s})
	if err != nil {
		t.Fatal(err)
	}
	const n = 600_000
	rows := batch.New(s)
	for i := range n {
		rows.Cols[0].AppendInt(int64(i))
		rows.Cols[1].AppendString(fmt.Sprint("text number ", i*7919))
		rows.Cols[2].AppendFloat(float64(i))
		rows.N++
		if rows.N == 1000 {
			if err := w.Write(rows, 0, rows.N); err != nil {
				t.Fatal(err)
			}
			rows.Reset()
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path, Options{Schema: s})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var first, most uint64
	read := 0
	for {
		rows.Reset()
		if _, err := r.Read(context.Background(), rows, 1000); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if read += rows.N; read%50_000 == 0 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			if most = max(most, m.HeapAlloc); first == 0 {
				first = m.HeapAlloc
			}
		}
	}
	if done, size := r.Progress(); read != n || done < size/2 {
		t.Errorf("%d rows, progress %d of %d", read, done, size)
	}
	if most > first+8<<20 {
		t.Errorf("%d KiB in use after 50,000 rows, later %d KiB", first>>10, most>>10)
	}
}
