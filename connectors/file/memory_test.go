package file

import (
	"bufio"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// endless repeats a line.
type endless struct {
	line []byte
	left int
	at   int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) && e.left > 0 {
		m := copy(p[n:], e.line[e.at:])
		n += m
		if e.at += m; e.at == len(e.line) {
			e.at = 0
			e.left--
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Reading allocates nothing per row, whatever the size of the file: the buffer of
// the longest line, and the columns of a batch.
func TestConstantMemory(t *testing.T) {
	s := schema("id: int64", "text: string")
	for format, lines := range map[string][2]string{
		"csv":   {"id,text\n", "12,\"a quoted \"\"cell\"\" with\na line break\"\n"},
		"jsonl": {"", "{\"id\":12,\"text\":\"some text \\u00e9\"}\n"},
	} {
		const n = 300_000
		in := io.MultiReader(strings.NewReader(lines[0]), &endless{line: []byte(lines[1]), left: n})
		rows, err := openText(format, bufio.NewReader(in), Options{Schema: s})
		if err != nil {
			t.Fatal(err)
		}
		into := batch.New(s)
		read := 0
		var before, after runtime.MemStats
		for {
			if into.Cols[0].Len() == 1000 {
				into.Reset()
			}
			if read == 5000 {
				runtime.ReadMemStats(&before)
			}
			bad, _, err := rows.row(into)
			if err == io.EOF {
				break
			}
			if err != nil || bad != nil {
				t.Fatal(err, bad)
			}
			read++
		}
		runtime.ReadMemStats(&after)
		if read != n {
			t.Errorf("%s: %d rows, want %d", format, read, n)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes allocated for %d rows", format, n, read)
		}
	}
}

// A line of any length is cut at the bound the same way, however the bytes
// arrive.
func TestPieces(t *testing.T) {
	data := "x,s\n1,a\n2,\"" + strings.Repeat("b\n", 30) + "\"\n3,\"c\n4,\"\"\n\"\n5," + strings.Repeat("d", 90) + "\n6,\"e\"f\n7,g\n8,\"h\ni\"j\n9,\"k"
	list := func(r io.Reader) string {
		l := lines{r: bufio.NewReaderSize(r, 16), most: 40, line: 1}
		var out strings.Builder
		for {
			record, line, err := l.next(true)
			if err == io.EOF {
				return out.String()
			}
			out.WriteString(strings.Repeat("#", int(line)) + string(record))
			if err != nil {
				out.WriteString(" " + err.Error())
			}
			out.WriteByte('|')
		}
	}
	want := list(strings.NewReader(data))
	for n := 1; n < 50; n++ {
		if got := list(&pieces{data: []byte(data), n: n}); got != want {
			t.Errorf("in pieces of %d bytes:\n got %q\nwant %q", n, got, want)
		}
	}
	if !strings.Contains(want, "3,\"c\n4,\"\"\n\"\n|") {
		t.Errorf("the record of three lines is not whole in %q", want)
	}
}

type pieces struct {
	data []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.data)
	p.data = p.data[n:]
	return n, nil
}

func BenchmarkReadCSV(b *testing.B) {
	s := schema("y: bool", "month: int64", "carrier: string", "dest: string", "distance: float64")
	line := "0,1,1,515,819,UA,EWR,IAH,1400\n"
	in := io.MultiReader(strings.NewReader("y,month,day,sched_dep_time,sched_arr_time,carrier,origin,dest,distance\n"),
		&endless{line: []byte(line), left: b.N})
	rows, err := openText("csv", bufio.NewReaderSize(in, 1<<16), Options{Schema: s})
	if err != nil {
		b.Fatal(err)
	}
	into := batch.New(s)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if into.Cols[0].Len() == 1000 {
			into.Reset()
		}
		if bad, _, err := rows.row(into); bad != nil || err != nil {
			b.Fatal(bad, err)
		}
	}
}
