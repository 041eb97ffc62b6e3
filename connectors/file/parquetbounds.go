package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"unsafe"

	"github.com/parquet-go/parquet-go/format"
)

// Bounds of what a Parquet file may ask for. The library takes as much memory as
// the file's headers say before it has seen whether that much is there.
const (
	mostFooter = 64 << 20     // bytes
	mostHeader = 1 << 20      // of a page, bytes
	mostPage   = 256 << 20    // bytes, compressed or not
	mostValues = mostPage / 8 // of a page
	mostDepth  = 64           // of structures within each other
	mostMemory = 256 << 20    // of what a footer says, bytes
)

// smallerFooter is how a file gets one: it speaks of each column of each row group.
const smallerFooter = "write the file with larger row groups, or fewer columns, or as several files"

// checkFooter refuses a footer that is too large, that counts more entries than it
// could hold, or whose entries would take too much memory: one of a byte can stand
// for a structure of hundreds.
func checkFooter(in io.ReaderAt, size int64) error {
	var tail [8]byte
	if _, err := in.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	switch {
	case string(tail[4:]) != "PAR1":
		return nil // the library says what it is not
	case n > size-12:
		return fmt.Errorf("not a Parquet file, or truncated: a footer of %d bytes in a file of %d", n, size)
	case n > mostFooter:
		return fmt.Errorf("a footer of %d bytes; at most %d are read: %s", n, mostFooter, smallerFooter)
	}
	b := make([]byte, n)
	if _, err := in.ReadAt(b, size-8-n); err != nil {
		return err
	}
	t := walk{b: b}
	if t.fields(nil, 0, 0); t.err != nil {
		return fmt.Errorf("not a Parquet file, or truncated: footer: %w", t.err)
	}
	if t.memory > mostMemory {
		return fmt.Errorf("the footer asks for %d bytes of memory; at most %d are taken: %s", t.memory, mostMemory, smallerFooter)
	}
	return nil
}

// checkPages refuses pages of a column of a row group that are too large.
func checkPages(in io.ReaderAt, c *format.ColumnMetaData) error {
	at := c.DataPageOffset
	if c.DictionaryPageOffset != 0 {
		at = c.DictionaryPageOffset
	}
	end := at + c.TotalCompressedSize
	if at < 0 || end < at {
		return fmt.Errorf("damaged Parquet data: a column of %d bytes at byte %d", c.TotalCompressedSize, at)
	}
	var packed []byte
	for at < end {
		h, err := pageHeader(in, at, end-at)
		if err != nil {
			return err
		}
		n := uint64(0)
		if !h.plain && c.Codec != format.Uncompressed {
			size := h.compressed - h.levels
			if c.Codec == format.Snappy { // only how long it will be
				size = min(size, binary.MaxVarintLen64)
			}
			packed = slices.Grow(packed[:0], int(size))[:size]
			if _, err := in.ReadAt(packed, at+h.length+h.levels); err != nil {
				return fmt.Errorf("not a Parquet file, or truncated: the page at byte %d: %w", at, err)
			}
			var whole bool
			if n, whole = unpackedLength(c.Codec, packed, mostPage); !whole {
				return fmt.Errorf("damaged Parquet data: the page at byte %d is no LZ4", at)
			}
		}
		if n > mostPage {
			return fmt.Errorf("the page at byte %d asks for %d bytes; at most %d are read", at, n, mostPage)
		}
		at += h.length + h.compressed
	}
	return nil
}

// lz4Length returns how long an LZ4 block is once it is unpacked, and whether it is
// a whole one: literals and copies of what came before in turn, literals last.
func lz4Length(b []byte) (n uint64, whole bool) {
	const cut = 1 << 62
	more := func(n uint64) uint64 { // the rest of a length of 15 or more
		if n < 15 {
			return n
		}
		for len(b) > 0 {
			k := b[0]
			n, b = n+uint64(k), b[1:]
			if k < 255 {
				return n
			}
		}
		return cut
	}
	whole = len(b) == 0
	for len(b) > 0 {
		token := b[0]
		b = b[1:]
		literals := more(uint64(token >> 4))
		if literals > uint64(len(b)) {
			return 0, false
		}
		n, b = n+literals, b[literals:]
		if len(b) == 0 {
			return n, token&15 == 0
		}
		if len(b) < 2 {
			return 0, false
		}
		back := uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
		copied := more(uint64(token & 15))
		if back == 0 || back > n || copied == cut {
			return 0, false
		}
		n += copied + 4
	}
	return 0, whole
}

// header is what counts of the header of a page.
type header struct {
	length                   int64 // of the header itself
	compressed, uncompressed int64
	kind, values             int64
	levels                   int64 // of version 2: length of what is not compressed
	plain                    bool  // of version 2: nothing is
	parts                    uint  // by field, the structures that were met
	twice                    bool  // one of them again: it is open which counts
}

// pageHeader reads the header of a page of at most so many bytes.
func pageHeader(in io.ReaderAt, at, left int64) (h header, err error) {
	for n := int64(512); ; n *= 8 {
		b := make([]byte, min(n, left, mostHeader))
		k, err := in.ReadAt(b, at)
		if err != nil && err != io.EOF {
			return h, err
		}
		h = header{}
		t := walk{b: b[:k]}
		t.fields(h.take, 0, 0)
		if t.err == nil {
			h.length = int64(t.at)
			break
		}
		if !errors.Is(t.err, errThriftShort) {
			return h, fmt.Errorf("damaged Parquet data: the header of the page at byte %d: %w", at, t.err)
		}
		if int64(k) < int64(len(b)) || n >= left {
			return h, fmt.Errorf("not a Parquet file, or truncated: the page at byte %d has no whole header", at)
		}
		if n >= mostHeader {
			return h, fmt.Errorf("the page at byte %d has a header of more than %d bytes", at, mostHeader)
		}
	}
	if h.kind != int64(format.DataPageV2) {
		h.levels, h.plain = 0, false // a header of version 2 does not count there
	}
	switch {
	case h.twice:
		return h, fmt.Errorf("damaged Parquet data: the header of the page at byte %d has a part twice", at)
	case min(h.compressed-h.levels, h.uncompressed, h.values, h.levels) < 0:
		return h, fmt.Errorf("damaged Parquet data: the page at byte %d has negative lengths", at)
	case max(h.compressed, h.uncompressed) > mostPage:
		return h, fmt.Errorf("the page at byte %d asks for %d bytes; at most %d are read", at, max(h.compressed, h.uncompressed), mostPage)
	case h.values > mostValues:
		return h, fmt.Errorf("the page at byte %d asks for %d values; at most %d are read", at, h.values, mostValues)
	case h.length+h.compressed > left:
		return h, fmt.Errorf("not a Parquet file, or truncated: the page at byte %d has %d bytes, of which %d are there", at, h.length+h.compressed, left)
	}
	return h, nil
}

// take takes up a number of the header: PageHeader has the lengths, and the headers
// of each kind within it begin with the number of values.
func (h *header) take(outer, field int, v int64) {
	switch {
	case field == 0 && outer > 0 && outer < 16:
		h.twice = h.twice || h.parts&(1<<outer) != 0
		h.parts |= 1 << outer
	case outer == 0 && field == 1:
		h.kind = v
	case outer == 0 && field == 2:
		h.uncompressed = v
	case outer == 0 && field == 3:
		h.compressed = v
	case (outer == 5 || outer == 7 || outer == 8) && field == 1:
		h.values = max(h.values, v)
		if v < 0 {
			h.values = v
		}
	case outer == 8 && (field == 5 || field == 6):
		h.levels += v
	case outer == 8 && field == 7:
		h.plain = v == 0
	}
}

// walk goes over Thrift's compact encoding, and builds nothing.
type walk struct {
	b      []byte
	at     int
	err    error
	memory uint64 // that the library takes for the entries of the lists in a footer
}

var (
	errThriftShort = errors.New("it ends early")
	errThrift      = errors.New("it is damaged")
)

func (t *walk) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *walk) byte() byte {
	if t.err != nil || t.at >= len(t.b) {
		t.fail(errThriftShort)
		return 0
	}
	t.at++
	return t.b[t.at-1]
}

func (t *walk) uvarint() uint64 {
	v, n := binary.Uvarint(t.b[t.at:])
	switch {
	case t.err != nil:
	case n == 0:
		t.fail(errThriftShort)
	case n < 0:
		t.fail(errThrift)
	default:
		t.at += n
		return v
	}
	return 0
}

func (t *walk) varint() int64 {
	u := t.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (t *walk) skip(n uint64) {
	if t.err != nil || n > uint64(len(t.b)-t.at) {
		t.fail(errThriftShort)
		return
	}
	t.at += int(n)
}

// fields walks over a structure, and gives its numbers, and those of structures in
// it, with true as 1, to take, unless that is nil: with the field of the outer structure, 0 in that
// itself. A structure begins with a field 0, which none has.
func (t *walk) fields(take func(outer, field int, v int64), outer, depth int) {
	if depth > mostDepth {
		t.fail(errThrift)
	}
	for field := 0; t.err == nil; {
		b := t.byte()
		if b == 0 {
			return
		}
		if step := int(b >> 4); step > 0 {
			field += step
		} else {
			field = int(t.varint())
		}
		switch kind := b & 15; {
		case kind == 1 || kind == 2: // true, false
			if take != nil {
				take(outer, field, int64(2-kind))
			}
		case kind >= 4 && kind <= 6 && take != nil:
			if v := t.varint(); t.err == nil {
				take(outer, field, v)
			}
		case kind == 12 && outer == 0 && field != 0 && take != nil:
			take(field, 0, 0)
			t.fields(take, field, depth+1)
		default:
			t.value(kind, depth)
		}
	}
}

// value walks over a value that is no boolean field.
func (t *walk) value(kind byte, depth int) {
	switch kind {
	case 1, 2, 3: // in lists, booleans take a byte
		t.byte()
	case 4, 5, 6:
		t.varint()
	case 7:
		t.skip(8)
	case 8:
		t.skip(t.uvarint())
	case 9, 10:
		b := t.byte()
		n := uint64(b >> 4)
		if n == 15 {
			n = t.uvarint()
		}
		t.memory += n * entrySize(b&15, depth)
		t.entries(n, depth, b&15)
	case 11:
		if n := t.uvarint(); n > 0 {
			b := t.byte()
			t.entries(n, depth, b>>4, b&15)
		}
	case 12:
		t.fields(nil, -1, depth+1)
	default:
		t.fail(errThrift)
	}
}

// entrySize is the memory for an entry of a list that lies so deep in a footer.
func entrySize(kind byte, depth int) uint64 {
	switch {
	case kind == 8:
		return 24 // a text, or bytes
	case kind != 12:
		return 8
	case depth == 0: // of the schema, or a row group
		return uint64(max(unsafe.Sizeof(format.SchemaElement{}), unsafe.Sizeof(format.RowGroup{})))
	case depth == 2: // of the columns of a row group
		return uint64(unsafe.Sizeof(format.ColumnChunk{}))
	}
	return 32 // statistics of pages, and the like
}

// entries walks over those of a list or a map. Each takes a byte at least.
func (t *walk) entries(n uint64, depth int, kinds ...byte) {
	if t.err == nil && n > uint64(len(t.b)-t.at) {
		t.fail(errThriftShort)
	}
	if depth > mostDepth {
		t.fail(errThrift)
	}
	for ; n > 0 && t.err == nil; n-- {
		for _, kind := range kinds {
			t.value(kind, depth+1)
		}
	}
}
