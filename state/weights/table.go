// Package weights is the state of learners: a table of float32 that knows which
// of its pages were written, so that a checkpoint copies only those.
package weights

import (
	"bytes"
	"fmt"
	"math"
)

// PageLen is the number of float32 in a page: 4 KiB of values. A page is a run
// of Data, so a row lies in more than one page where the stride does not divide
// PageLen; Touch marks all of them.
const PageLen = 1024

const pageShift = 10 // log2(PageLen)

// Table is rows of stride float32. It is a state handle: bound to a partition it
// is restored and checkpointed. One goroutine at a time.
type Table struct {
	// Data holds row i at Data[i*Stride() : (i+1)*Stride()]. Whoever writes to it
	// calls Touch for the row, or marks its pages (see Marks), before or after, but before the next checkpoint or Load.
	// A table made by NewGrowing has only the rows that it has grown to.
	Data []float32
	// Apart is how many rows at the end NonZero and L2 leave out: an intercept,
	// say, that is no weight of a feature.
	Apart int

	rows   int // of a growing table the most there may be
	grows  bool
	stride int
	shift  uint8   // page of row i is i>>shift ...
	even   bool    // ... if no row straddles pages
	dirty  []uint8 // by page: 1 if written since the last save
	saved  []uint8 // by page: 1 if the last save holds it
	headed bool    // the last save holds the header
	loaded bool    // a header was loaded
	buf    []byte
	key    [4]byte
}

// New returns a table of zeros. Stride is at least 1. A table of 0 rows is for
// planning: it has no data and takes none.
func New(rows, stride int) *Table {
	if rows < 0 || stride < 1 || stride > math.MaxInt32 || rows > math.MaxInt/4/stride {
		panic(fmt.Sprintf("weights: a table of %d rows of %d", rows, stride))
	}
	n := rows * stride
	pages := (n + PageLen - 1) / PageLen
	t := &Table{
		Data: make([]float32, n), rows: rows, stride: stride,
		dirty: make([]uint8, pages), saved: make([]uint8, pages),
	}
	if stride <= PageLen && PageLen%stride == 0 {
		t.even = true
		for stride<<t.shift < PageLen {
			t.shift++
		}
	}
	return t
}

// NewGrowing returns a table that is to have up to most rows, and has none yet:
// what depends on how much of it is needed calls Grow. A stored table brings the
// rows that it holds, whatever most was then, as long as none beyond most was written.
func NewGrowing(most, stride int) *Table {
	if most < 0 || stride < 1 || stride > math.MaxInt32 || most > math.MaxInt/4/stride {
		panic(fmt.Sprintf("weights: a table of %d rows of %d", most, stride))
	}
	t := New(0, stride)
	t.rows, t.grows = most, true
	pages := (most*stride + PageLen - 1) / PageLen
	t.dirty, t.saved = make([]uint8, pages), make([]uint8, pages)
	return t
}

// Grow gives Data room for the first rows rows. Their values are zero, and it is
// no change of the table. Where Data has to be moved it gets a quarter more room
// than it is asked for, so that rows that come one by one move it now and then.
func (t *Table) Grow(rows int) {
	if rows > t.rows {
		panic(fmt.Sprintf("weights: %d rows of a table of %d", rows, t.rows))
	}
	n := t.values(rows)
	t.extend(n, min(n+n/4, t.rows*t.stride))
}

// values is how long Data is with the first rows rows: no page is cut.
func (t *Table) values(rows int) int {
	n := (rows*t.stride + PageLen - 1) / PageLen * PageLen
	return min(n, t.rows*t.stride)
}

// extend makes Data n values long if it is shorter, and where it has to be moved
// gives it that much room. Nobody writes behind its end, so all that is new is zero.
func (t *Table) extend(n, room int) {
	switch {
	case n <= len(t.Data):
	case n <= cap(t.Data):
		t.Data = t.Data[:n]
	default:
		t.Data = append(make([]float32, 0, room), t.Data...)[:n]
	}
}

// Rows returns the number of rows, of a growing table the most there may be.
func (t *Table) Rows() int { return t.rows }

// Stride returns the number of float32 in a row.
func (t *Table) Stride() int { return t.stride }

// Row returns row i of Data.
func (t *Table) Row(i int) []float32 {
	return t.Data[i*t.stride : (i+1)*t.stride : (i+1)*t.stride]
}

// Touch marks rows as written. It panics on an index that lies beyond the last page.
func (t *Table) Touch(idx []uint32) {
	if !t.even {
		for _, i := range idx {
			t.touchWide(int(i))
		}
		return
	}
	dirty, shift := t.dirty, t.shift&15
	for _, i := range idx {
		dirty[i>>shift] = 1
	}
}

// Marks returns the marks of what was written, for a learner that sets them in the loop
// that writes: a 1 in marks[j/PageLen] says that Data[j] was.
func (t *Table) Marks() []uint8 { return t.dirty }

// TouchRow marks one row as written.
func (t *Table) TouchRow(i int) { t.touchWide(i) }

// TouchAll marks every row as written.
func (t *Table) TouchAll() {
	for i := range t.pages() {
		t.dirty[i] = 1
	}
}

func (t *Table) touchWide(row int) {
	first := row * t.stride
	last := first + t.stride - 1
	for p := first >> pageShift; p <= last>>pageShift; p++ {
		t.dirty[p] = 1
	}
}

// NonZero returns in how many rows slot 0, the weight, is not zero.
func (t *Table) NonZero() int {
	n := 0
	for lo, hi := range t.written {
		for ; lo < hi; lo += t.stride {
			if t.Data[lo] != 0 {
				n++
			}
		}
	}
	return n
}

// L2 returns the Euclidean norm of slot 0 over all rows, summed in float64 in
// ascending order of the rows.
func (t *Table) L2() float64 {
	sum := 0.0
	for lo, hi := range t.written {
		for ; lo < hi; lo += t.stride {
			w := float64(t.Data[lo])
			sum += float64(w * w)
		}
	}
	return math.Sqrt(sum)
}

// Weights yields the rows whose slot 0 is not zero, in ascending order, and that.
func (t *Table) Weights(yield func(row int, w float32) bool) {
	for lo, hi := range t.written {
		for ; lo < hi; lo += t.stride {
			if w := t.Data[lo]; w != 0 && !yield(lo/t.stride, w) {
				return
			}
		}
	}
}

// written yields where in Data the rows lie that may be other than zero: for each
// page that was ever written, its first slot 0 and its end. A large table is
// mostly pages that never were.
func (t *Table) written(yield func(lo, hi int) bool) {
	for p := range t.pages() {
		if t.dirty[p]|t.saved[p] == 0 {
			continue
		}
		first := (p*PageLen + t.stride - 1) / t.stride * t.stride
		if !yield(first, min((p+1)*PageLen, len(t.Data), (t.rows-t.Apart)*t.stride)) {
			return
		}
	}
}

// Changed yields the header if it was never saved, then the pages marked since
// the last call in ascending order. A page of zeros is not stored: it yields a
// nil value if the last save holds the page, and nothing otherwise.
func (t *Table) Changed(yield func(key, value []byte) bool) {
	more := true
	if !t.headed {
		t.headed = true
		t.buf = t.appendHeader(t.buf[:0])
		more = yield(headerKey, t.buf)
	}
	for p := nextMark(t.dirty, 0); p >= 0; p = nextMark(t.dirty, p+1) {
		t.dirty[p] = 0
		values := t.page(p)
		was := t.saved[p] != 0
		if allZero(values) {
			t.saved[p] = 0
			if was {
				more = more && yield(t.pageKey(p), nil)
			}
			continue
		}
		t.saved[p] = 1
		t.buf = appendPage(t.buf[:0], p, values)
		more = more && yield(t.pageKey(p), t.buf)
	}
}

// All yields the header and every page that is not all zeros.
func (t *Table) All(yield func(key, value []byte) bool) {
	buf := t.appendHeader(nil)
	if !yield(headerKey, buf) {
		return
	}
	var key [4]byte
	for p := range t.pages() {
		values := t.page(p)
		if allZero(values) {
			continue
		}
		buf = appendPage(buf[:0], p, values)
		if !yield(appendPageKey(key[:0], p), buf) {
			return
		}
	}
}

// Load restores the header or a page. The header comes first: it must be of the
// table's shape, but for the rows of one that grows, and sets all values to zero, as
// zero pages are not stored.
func (t *Table) Load(key, value []byte) error {
	if bytes.Equal(key, headerKey) {
		same, err := t.checkHeader(value)
		if err != nil {
			return err
		}
		for p := range t.pages() { // the others are zero, and the kernel need not find memory for them
			if t.dirty[p]|t.saved[p] != 0 {
				clear(t.page(p))
			}
		}
		clear(t.dirty)
		clear(t.saved)
		t.headed, t.loaded = same, true
		return nil
	}
	p, err := t.pageOf(key)
	if err != nil {
		return err
	}
	if !t.headed && !t.loaded {
		return errNoHeader
	}
	// Pages come one by one: room for each alone would move all that is before it.
	n := t.values(min(t.rows, ((p+1)*PageLen+t.stride-1)/t.stride))
	t.extend(n, min(n+n/4, t.rows*t.stride))
	page := t.page(p)
	t.dirty[p], t.saved[p] = 0, 1
	if t.grows && len(value) != pageHead+4*len(page)+crcLen {
		return t.reshape(page, p, value)
	}
	return decodePage(page, p, value)
}

// reshape restores the last page of a table of another bound, which may have more
// values, or fewer.
func (t *Table) reshape(page []float32, p int, src []byte) error {
	values, _, err := ReadPage(make([]float32, PageLen), t.pageKey(p), src)
	if err != nil {
		return err
	}
	if len(values) > len(page) && !allZero(values[len(page):]) {
		return t.beyond()
	}
	clear(page[copy(page, values):])
	t.dirty[p] = 1 // its next checkpoint has the other length
	return nil
}

func (t *Table) beyond() error {
	return fmt.Errorf("stored weights have more than the %d rows of %d that the pipeline file asks for at most", t.rows, t.stride)
}

// pages is how many pages Data has.
func (t *Table) pages() int { return (len(t.Data) + PageLen - 1) / PageLen }

func (t *Table) pageKey(p int) []byte { return appendPageKey(t.key[:0], p) }

func (t *Table) page(p int) []float32 {
	return t.Data[min(p*PageLen, len(t.Data)):min((p+1)*PageLen, len(t.Data))]
}

// nextMark returns the first marked page at or after p, or -1.
func nextMark(marks []uint8, p int) int {
	i := bytes.IndexByte(marks[p:], 1)
	if i < 0 {
		return -1
	}
	return p + i
}

// allZero reports whether all bits are zero: a page of -0 is stored, so that a
// restored table equals the saved one in every bit.
func allZero(values []float32) bool {
	for _, v := range values {
		if math.Float32bits(v) != 0 {
			return false
		}
	}
	return true
}
