package feature

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gradstream/gradstream/pipeline/spec"
)

const (
	// mostTableErrors is after how many complaints a table is read no further.
	mostTableErrors = 10
	// mostTableLine bounds a line, in bytes: the key and some thousand numbers.
	mostTableLine = 1 << 20
	// rowOverhead is about what a row takes in memory beside its key and numbers.
	rowOverhead = 64
)

// tableReader reads a table of vectors.
type tableReader struct {
	file  string
	most  int64 // bytes that the table may take
	limit int   // rows that are read; 0 = all

	t     *vectorTable
	dim   int   // numbers a row; 0 = not known yet
	size  int64 // bytes that the table takes
	lines []int // of each row
	row   []float32
	full  bool // there is no need to read on
	errs  spec.Errors
}

// readVectors reads a table. It returns everything that is wrong with it, up to
// mostTableErrors.
func readVectors(content io.Reader, file, format string, limit int, most int64) (*vectorTable, spec.Errors) {
	r := &tableReader{file: file, most: most, limit: limit, t: &vectorTable{rows: map[string]uint32{}}}
	in := bufio.NewReaderSize(content, 1<<16)
	if mark, _ := in.Peek(3); string(mark) == "\ufeff" {
		_, _ = in.Discard(3) // what was peeked can be discarded
	}
	if name := strings.TrimSuffix(file, ".gz"); format == "csv" || format == "auto" && strings.HasSuffix(name, ".csv") {
		r.csv(in)
	} else {
		r.text(in)
	}
	if len(r.t.rows) == 0 && len(r.errs) == 0 {
		r.fail(0, 0, "expected a key and its numbers on each line", "the table has no rows")
	}
	if len(r.errs) > 0 {
		return nil, r.errs
	}
	r.t.data = slices.Clip(r.t.data)
	r.t.mean = make([]float64, r.dim)
	for i, x := range r.t.data {
		r.t.mean[i%r.dim] += float64(x)
	}
	for k := range r.t.mean {
		r.t.mean[k] /= float64(len(r.lines))
	}
	return r.t, nil
}

// fail complains of a place in the file, whose column is counted in characters.
func (r *tableReader) fail(line, col int, want, format string, args ...any) {
	r.errs.Add(spec.Pos{File: r.file, Line: line, Col: col}, fmt.Sprintf(format, args...), want)
	r.full = r.full || len(r.errs) >= mostTableErrors
}

// text reads lines of a key and its numbers.
func (r *tableReader) text(in io.Reader) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 1<<16), mostTableLine)
	n, promised := 0, -1
	var fields []int // where each field of the line begins and ends
	for !r.full && lines.Scan() {
		n++
		line := strings.TrimRight(lines.Text(), " \t\r")
		fields = fieldsOf(fields[:0], line)
		if n == 1 {
			if rows, dim, ok := tableHeader(line, fields); ok {
				if rows == 0 || dim == 0 || dim > mostEmbedded {
					r.fail(1, 1, fmt.Sprintf("expected the number of rows, and of numbers a row, from 1 to %d", mostEmbedded), "the header is %q", line)
					return
				}
				promised, r.dim = rows, dim
				r.reserve(rows)
				continue
			}
		}
		if promised >= 0 && len(r.lines) == promised {
			r.fail(n, 1, "expected no more", "this is one row more than the %d of the header", promised)
			return
		}
		r.line(n, line, fields)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		r.fail(n+1, 1, "expected a key and its numbers on each line", "the line is longer than %d bytes", mostTableLine)
	case err != nil:
		r.fail(n+1, 1, "", "cannot be read on: %v", err)
	case !r.full && len(r.errs) == 0 && promised > len(r.lines):
		r.fail(n+1, 1, "expected a whole file", "the file ends after %d rows, of %d that its header has", len(r.lines), promised)
	}
}

// fieldsOf appends where the fields of a line begin and end, between blanks.
func fieldsOf(dst []int, line string) []int {
	inside := false
	for i := range len(line) {
		if blank := line[i] == ' ' || line[i] == '\t'; blank == inside {
			dst, inside = append(dst, i), !inside
		}
	}
	if inside {
		dst = append(dst, len(line))
	}
	return dst
}

// tableHeader reads a line of two whole numbers: rows, and numbers a row.
func tableHeader(line string, fields []int) (rows, dim int, ok bool) {
	if len(fields) != 4 {
		return 0, 0, false
	}
	a, errA := strconv.ParseUint(line[fields[0]:fields[1]], 10, 31)
	b, errB := strconv.ParseUint(line[fields[2]:fields[3]], 10, 31)
	return int(a), int(b), errA == nil && errB == nil
}

// reserve makes room for rows at once.
func (r *tableReader) reserve(rows int) {
	if r.limit > 0 {
		rows = min(rows, r.limit)
	}
	// A header may promise anything: the rest grows as it comes.
	rows = min(rows, int(min(r.most, 1<<28)/int64(4*r.dim+rowOverhead)))
	r.t.data = make([]float32, 0, rows*r.dim)
}

// line takes up a line of the text format.
func (r *tableReader) line(n int, line string, fields []int) {
	at := func(i int) (col int) { return utf8.RuneCountInString(line[:i]) + 1 }
	values := len(fields)/2 - 1
	switch {
	case len(fields) == 0:
		r.fail(n, 1, "expected a key and its numbers", "the line is empty")
		return
	case !utf8.ValidString(line):
		r.fail(n, 1, "expected text; word2vec's binary format has to be converted", "the line is no UTF-8: %s", short(line))
		return
	case fields[0] > 0:
		r.fail(n, 1, "expected a key at the beginning of the line", "the key is empty")
		return
	case r.dim == 0 && values == 0:
		r.fail(n, at(len(line)), "expected a key and its numbers, with blanks between them", "there is no number behind the key")
		return
	case r.dim == 0 && values > mostEmbedded:
		r.fail(n, at(fields[2*mostEmbedded+2]), fmt.Sprintf("expected at most %d", mostEmbedded), "the row has %d numbers", values)
		return
	case r.dim == 0:
		r.dim = values
	}
	words := values - r.dim // words of the key beside the first
	for i := 1; i <= words; i++ {
		if _, ok := tableNumber(line[fields[2*i]:fields[2*i+1]]); ok {
			words = -1
		}
	}
	if words < 0 {
		r.counts(n, at(fields[min(2*r.dim+2, len(fields)-1)]), values)
		return
	}
	r.begin()
	for i := words + 1; i <= values; i++ {
		if text := line[fields[2*i]:fields[2*i+1]]; !r.number(text) {
			r.fail(n, at(fields[2*i]), finiteWant, "number %d is %s", i-words, short(text))
			return
		}
	}
	r.end(n, line[:fields[2*words+1]])
}

// finiteWant is what a number of a table has to be.
const finiteWant = "expected a finite number of 32 bits, within ±3.4e38"

// counts complains of the number of values of a row.
func (r *tableReader) counts(line, col, values int) {
	what := "numbers"
	if values == 1 {
		what = "number"
	}
	r.fail(line, col, fmt.Sprintf("expected %d", r.dim), "the row has %d %s", values, what)
}

// short quotes what may be long.
func short(text string) string {
	const most = 40
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strconv.Quote(text)
}

// tableNumber reads a number of a table; ok is false if it is none, or does not fit.
func tableNumber(text string) (x float32, ok bool) {
	v, err := strconv.ParseFloat(text, 32)
	return float32(v), err == nil && !math.IsInf(v, 0) && !math.IsNaN(v)
}

// csv reads a header, and rows of a key and its numbers.
func (r *tableReader) csv(in io.Reader) {
	bound := &boundedRecord{in: in, left: mostTableLine}
	records := csv.NewReader(bound)
	records.ReuseRecord, records.FieldsPerRecord = true, -1
	line := 1
	for header := true; !r.full; header = false {
		bound.left = mostTableLine
		record, err := records.Read()
		var bad *csv.ParseError
		switch {
		case err == io.EOF:
			return
		case errors.As(err, &bad):
			begins := ""
			if bad.StartLine != bad.Line {
				begins = fmt.Sprintf(", in a row that begins on line %d", bad.StartLine)
			}
			r.fail(bad.Line, bad.Column, "expected csv", "%v%s", bad.Err, begins)
			return
		case err != nil:
			r.fail(line, 1, "", "cannot be read on: %v", err)
			return
		case header:
			r.header(records, record)
			if r.dim == 0 {
				return
			}
		default:
			r.record(records, record)
		}
		line, _ = records.FieldPos(len(record) - 1)
		line++
	}
}

// boundedRecord ends in an error where a record has no end: a quote may be open.
type boundedRecord struct {
	in   io.Reader
	left int
}

func (b *boundedRecord) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("a row is longer than %d bytes; is a quote not closed?", mostTableLine)
	}
	n, err := b.in.Read(p)
	b.left -= n
	return n, err
}

// place is where a field of a record begins; column counts characters.
func place(records *csv.Reader, record []string, i int) (line, col int) {
	line, col = records.FieldPos(i)
	for k := i - 1; k >= 0; k-- {
		if at, _ := records.FieldPos(k); at != line {
			break
		}
		col -= len(record[k]) - utf8.RuneCountInString(record[k])
	}
	return line, col
}

// header takes up the names of the components.
func (r *tableReader) header(records *csv.Reader, record []string) {
	names := slices.Clone(record[1:])
	switch n := len(names); {
	case n == 0:
		line, col := place(records, record, 0)
		r.fail(line, col, "expected the name of the key, and of a number at least, with commas between them", "the header has one column")
		return
	case n > mostEmbedded:
		line, col := place(records, record, mostEmbedded+1)
		r.fail(line, col, fmt.Sprintf("expected at most %d", mostEmbedded), "the table has %d numbers a row", n)
		return
	}
	for i, name := range names {
		if r.full {
			return
		}
		line, col := place(records, record, i+1)
		switch first := slices.Index(names, name); {
		case name == "" || !utf8.ValidString(name):
			r.fail(line, col, "expected a name in UTF-8", "the name of column %d is %s", i+2, short(name))
		case first < i:
			r.fail(line, col, "expected another name", "columns %d and %d are both named %s", first+2, i+2, short(name))
		}
	}
	r.t.names, r.dim = names, len(names)
}

// record takes up a row of csv.
func (r *tableReader) record(records *csv.Reader, record []string) {
	line, col := place(records, record, 0)
	switch {
	case record[0] == "":
		r.fail(line, col, "expected a key in the first column", "the key is empty")
		return
	case !utf8.ValidString(record[0]):
		r.fail(line, col, "expected text", "the key is no UTF-8: %s", short(record[0]))
		return
	case len(record)-1 != r.dim:
		line, col = place(records, record, min(r.dim+1, len(record)-1))
		r.counts(line, col, len(record)-1)
		return
	}
	r.begin()
	for i, text := range record[1:] {
		if !r.number(strings.TrimSpace(text)) {
			line, col = place(records, record, i+1)
			r.fail(line, col, finiteWant, "%s is %s", short(r.t.names[i]), short(text))
			return
		}
	}
	r.end(line, record[0])
}

// begin begins a row.
func (r *tableReader) begin() { r.row = r.row[:0] }

// number adds a number to the row.
func (r *tableReader) number(text string) bool {
	x, ok := tableNumber(text)
	r.row = append(r.row, x)
	return ok
}

// end adds the row to the table.
func (r *tableReader) end(line int, key string) {
	if first, ok := r.t.rows[key]; ok {
		r.fail(line, 1, "expected each key once", "the key %s is on line %d already", short(key), r.lines[first])
		return
	}
	if r.size += int64(4*r.dim + len(key) + rowOverhead); r.size > r.most {
		r.fail(line, 1, "expected less, fewer rows (rows: N), or a greater max_bytes", "the table takes more than the %d bytes of max_bytes", r.most)
		r.full = true
		return
	}
	r.t.rows[strings.Clone(key)] = uint32(len(r.lines))
	r.t.data = append(r.t.data, r.row...)
	r.lines = append(r.lines, line)
	if r.t.names == nil {
		r.t.names = make([]string, r.dim)
		for k := range r.t.names {
			r.t.names[k] = strconv.Itoa(k + 1)
		}
	}
	r.full = len(r.lines) == r.limit // which is 0 for all
}
