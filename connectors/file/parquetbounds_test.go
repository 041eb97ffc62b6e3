package file

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/gradstream/gradstream/internal/testutil/splitmix"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// forged returns a file of one column whose only page has the header and the data given.
// The header ends with more, in Thrift's compact encoding.
func forged(t *testing.T, codec format.CompressionCodec, page *format.PageHeader, data []byte, more ...byte) []byte {
	t.Helper()
	var good bytes.Buffer
	w := parquet.NewWriter(&good, parquet.NewSchema("s", parquet.Group{"id": parquet.Leaf(parquet.Int64Type)}))
	if err := w.Write(struct {
		ID int64 `parquet:"id"`
	}{7}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(good.Bytes()), int64(good.Len()))
	if err != nil {
		t.Fatal(err)
	}
	meta := f.Metadata()
	out := []byte("PAR1")
	header, err := thrift.Marshal(new(thrift.CompactProtocol), page)
	if err != nil {
		t.Fatal(err)
	}
	header = append(header[:len(header)-1], more...)
	out = append(append(append(out, header...), 0), data...)
	c := &meta.RowGroups[0].Columns[0].MetaData
	c.DataPageOffset, c.DictionaryPageOffset, c.TotalCompressedSize, c.Codec = 4, 0, int64(len(out)-4), codec
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), meta)
	if err != nil {
		t.Fatal(err)
	}
	return closed(append(out, footer...), len(footer))
}

// closed ends a file with the length of its footer.
func closed(b []byte, footer int) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(footer)), "PAR1"...)
}

// A file whose headers ask for gigabytes is refused before any are taken.
func TestHostileParquet(t *testing.T) {
	page := func(compressed, uncompressed, values int32) *format.PageHeader {
		h := &format.PageHeader{Type: format.DataPage, CompressedPageSize: compressed, UncompressedPageSize: uncompressed}
		h.DataPageHeader.Valid = true
		h.DataPageHeader.V = format.DataPageHeader{NumValues: values, Encoding: format.Plain, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE}
		return h
	}
	list := append([]byte("PAR1"), 0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0) // the schema, field 2: 2^31-1 structures
	both := page(5, 8, 1)                                                       // of a page of version 1, and of one of version 2 that is not compressed
	both.DataPageHeaderV2.Valid = true
	both.DataPageHeaderV2.V = format.DataPageHeaderV2{NumValues: 1, NumRows: 1, IsCompressed: thrift.New(false)}
	half := binary.AppendUvarint(nil, 1<<29)
	snappy := binary.AppendUvarint(nil, 1<<32-1)
	zeros := func(codec compress.Codec, n int) []byte { // that many, packed
		b, err := codec.Encode(nil, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	zstded := zeros(&parquet.Zstd, 8)
	claim := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, binary.LittleEndian.AppendUint64(nil, 1<<40)...) // a frame of 2^40 bytes, it says
	blocks := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58}, bytes.Repeat([]byte{2 | 4<<5, 0, 16, 'x'}, 3000)...)
	entries := func(list ...byte) []byte { return closed(append(append([]byte("PAR1"), list...), 0), len(list)+1) }
	const n = 500_000
	chunks := append([]byte{0x49, 0x1c, 0x19, 0xfc}, binary.AppendUvarint(nil, n)...) // of the columns of the first row group
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"zstd":            {forged(t, format.Zstd, page(int32(len(zstded)), 8, 1), zstded), "zero"},
		"zstd, its frame": {forged(t, format.Zstd, page(int32(len(claim)), 8, 1), claim), "column id: the page at byte 4 asks for 1099511627776 bytes; at most 268435456 are read"},
		"zstd, blocks":    {forged(t, format.Zstd, page(int32(len(blocks)), 8, 1), blocks), "column id: the page at byte 4 asks for"},
		"tiny columns":    {entries(append(append(chunks, make([]byte, n)...), 0)...), "bytes of memory; at most 268435456 are taken: write the file with larger row groups"},
		"honest":          {forged(t, format.Uncompressed, page(8, 8, 1), binary.LittleEndian.AppendUint64(nil, 7)), ""},
		"compressed":      {forged(t, format.Uncompressed, page(math.MaxInt32, 8, 1), nil), "column id: the page at byte 4 asks for 2147483647 bytes; at most 268435456 are read"},
		"uncompressed":    {forged(t, format.Gzip, page(8, math.MaxInt32, 1), make([]byte, 8)), "column id: the page at byte 4 asks for 2147483647 bytes; at most 268435456 are read"},
		"values":          {forged(t, format.Uncompressed, page(8, 8, math.MaxInt32), make([]byte, 8)), "column id: the page at byte 4 asks for 2147483647 values; at most 33554432 are read"},
		"negative":        {forged(t, format.Uncompressed, page(-8, 8, 1), make([]byte, 8)), "column id: damaged Parquet data: the page at byte 4 has negative lengths"},
		"not there":       {forged(t, format.Uncompressed, page(1<<28, 8, 1), nil), "bytes, of which"},
		"snappy":          {forged(t, format.Snappy, page(int32(len(snappy)), 8, 1), snappy), "column id: the page at byte 4 asks for 4294967295 bytes; at most 268435456 are read"},
		"lz4":             {forged(t, format.Lz4Raw, page(9, 8, 1), []byte{0x80, 7, 0, 0, 0, 0, 0, 0, 0}), ""},
		"no lz4":          {forged(t, format.Lz4Raw, page(4, 8, 1), []byte{0x10, 1, 2, 0}), "column id: damaged Parquet data: the page at byte 4 is no LZ4"},
		"cut lz4":         {forged(t, format.Lz4Raw, page(2, 8, 1), []byte{0xf0, 255}), "column id: damaged Parquet data: the page at byte 4 is no LZ4"},
		"unknown part":    {forged(t, format.Gzip, page(8, 1<<29, 1), make([]byte, 8), 0x0c, 0, 0x25, 16, 0x15, 16, 0), "column id: the page at byte 4 asks for 536870912 bytes; at most 268435456 are read"},
		"part twice":      {forged(t, format.Uncompressed, page(8, 8, 1), make([]byte, 8), 0x0c, 10, 0x15, 2, 0), "column id: damaged Parquet data: the header of the page at byte 4 has a part twice"},
		"other part":      {forged(t, format.Snappy, both, half), "column id: the page at byte 4 asks for 536870912 bytes; at most 268435456 are read"},
		"footer":          {closed([]byte("PAR1"), math.MaxInt32), "not a Parquet file, or truncated: a footer of 2147483647 bytes in a file of 12"},
		"list":            {closed(list, len(list)-4), "not a Parquet file, or truncated: footer: it ends early"},
		"nested":          {closed(append([]byte("PAR1"), bytes.Repeat([]byte{0x1c}, 5000)...), 5000), "not a Parquet file, or truncated: footer: it is damaged"},
	} {
		path := filepath.Join(t.TempDir(), "hostile.parquet")
		if err := os.WriteFile(path, c.file, 0o666); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s := schema("id: int64")
		rows := batch.New(s)
		r, err := Open(path, Options{Schema: s})
		if err == nil {
			_, err = r.Read(context.Background(), rows, 1)
			r.Close()
		}
		runtime.ReadMemStats(&after)
		if c.want == "zero" { // honest, but for what it holds
			if err != nil || rows.N != 1 || rows.Cols[0].Ints[0] != 0 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got := fmt.Sprint(err); c.want == "" && (err != nil || rows.N != 1 || rows.Cols[0].Ints[0] != 7) || !strings.Contains(got, c.want) || err != nil && !strings.Contains(got, path) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
			t.Errorf("%s: %d MiB were taken", name, n>>20)
		}
	}
}

// What is taken for an LZ4 block is one, which unpacks to the length that was found: whole ones that another implementation
// packs, and what is left of them with a byte changed.
func TestLZ4Length(t *testing.T) {
	changed := 0
	for i := range uint64(300) {
		data := make([]byte, int(2e4*splitmix.Uniform(1, i)*splitmix.Uniform(2, i)))
		for k := range data {
			data[k] = byte(splitmix.Uniform(9+i, uint64(k)/(1+i%40)) * float64(1+i))
		}
		packed, err := parquet.Lz4Raw.Encode(nil, data)
		if err != nil {
			t.Fatal(err)
		}
		if n, whole := lz4Length(packed); !whole || n != uint64(len(data)) {
			t.Errorf("%d bytes, packed to %d: %d, %v", len(data), len(packed), n, whole)
		}
		for k := range uint64(20) {
			if len(packed) == 0 {
				break
			}
			other := bytes.Clone(packed)
			other[int(splitmix.Uniform(3, 20*i+k)*float64(len(other)))] = byte(256 * splitmix.Uniform(4, 20*i+k))
			n, whole := lz4Length(other)
			if !whole || n > 1<<20 {
				continue
			}
			changed++
			if out, err := parquet.Lz4Raw.Decode(make([]byte, n), other); err != nil || uint64(len(out)) != n {
				t.Errorf("%d bytes with a byte changed: %d, and %d unpacked, %v", len(other), n, len(out), err)
			}
		}
	}
	if changed < 1000 {
		t.Errorf("%d blocks with a byte changed are whole", changed)
	}
}

// Files of many packed pages are read, pages without a value and dictionaries among them.
func TestParquetPacked(t *testing.T) {
	type row struct {
		ID   int64   `parquet:"id"`
		Text *string `parquet:"text,optional,dict"`
		Note *string `parquet:"note,optional"`
	}
	const n = 6000
	for i, codec := range []compress.Codec{&parquet.Lz4Raw, &parquet.Lz4Raw, &parquet.Snappy, &parquet.Snappy, &parquet.Gzip, &parquet.Gzip, &parquet.Zstd, &parquet.Zstd, &parquet.Brotli, &parquet.Brotli} {
		version := 1 + i%2
		var file bytes.Buffer
		w := parquet.NewGenericWriter[row](&file, parquet.Compression(codec), parquet.PageBufferSize(2000), parquet.DataPageVersion(version))
		for i := range int64(n) {
			r := row{ID: i}
			if i%3 == 0 {
				r.Text = new(fmt.Sprint("text ", i%7))
			}
			if i > n-1000 {
				r.Note = new(fmt.Sprint("note ", i))
			}
			if _, err := w.Write([]row{r}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "packed.parquet")
		if err := os.WriteFile(path, file.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		s := schema("id: int64", "text: string?", "note: string?")
		r, err := Open(path, Options{Schema: s})
		if err != nil {
			t.Fatal(err)
		}
		rows := batch.New(s)
		for err == nil {
			_, err = r.Read(context.Background(), rows, 1000)
		}
		r.Close()
		if err != io.EOF || rows.N != n {
			t.Fatalf("%v, version %d: %d rows, %v", codec, version, rows.N, err)
		}
		for i := range n {
			if rows.Cols[0].Ints[i] != int64(i) || rows.Cols[1].Null(i) != (i%3 != 0) || rows.Cols[2].Null(i) != (i <= n-1000) {
				t.Fatalf("%v, version %d: row %d is another", codec, version, i)
			}
		}
		if got := rows.Cols[2].TextString(n - 1); got != fmt.Sprint("note ", n-1) {
			t.Errorf("version %d: the last note is %q", version, got)
		}
	}
}

// What a footer makes the library take goes by what the entries of its lists are.
func TestFooterMemory(t *testing.T) {
	const n = 1000
	list := func(kind byte) []byte { // of n entries of a byte each, in the second field
		return append(binary.AppendUvarint([]byte{0x29, 0xf0 | kind}, n), append(make([]byte, n), 0)...)
	}
	for what, c := range map[string]struct {
		footer []byte
		want   uint64
	}{
		"elements of the schema": {list(12), n * uint64(unsafe.Sizeof(format.SchemaElement{}))},
		"texts":                  {list(8), n * 24},
		"numbers":                {list(5), n * 8},
		"a list within a list":   {append([]byte{0x29, 0x1c}, append(list(8), 0)...), uint64(unsafe.Sizeof(format.SchemaElement{})) + n*24},
	} {
		w := walk{b: c.footer}
		if w.fields(nil, 0, 0); w.err != nil || w.memory != c.want {
			t.Errorf("%s: %d bytes, %v, want %d", what, w.memory, w.err, c.want)
		}
	}
}

// A page that is too long once it is unpacked is found out before it is, whatever it
// is packed by; one that is not has a bound that is not too much either.
func TestUnpackedLength(t *testing.T) {
	const most = 1 << 20
	for _, codec := range []compress.Codec{&parquet.Snappy, &parquet.Lz4Raw, &parquet.Gzip, &parquet.Zstd, &parquet.Brotli} {
		for _, n := range []int{0, 1, most / 2, most, most + 1, 3 * most} {
			packed, err := codec.Encode(nil, make([]byte, n))
			if err != nil {
				t.Fatal(err)
			}
			got, whole := unpackedLength(codec.CompressionCodec(), packed, most)
			if !whole || (got > most) != (n > most) || int(got) < min(n, most+1) {
				t.Errorf("%v: %d bytes packed to %d: %d, %v", codec, n, len(packed), got, whole)
			}
			// Cut anywhere it is never too much for being damaged.
			if n <= most && len(packed) > 1 && codec.CompressionCodec() != format.Lz4Raw {
				if got, _ := unpackedLength(codec.CompressionCodec(), packed[:len(packed)/2], most); got > most {
					t.Errorf("%v: half of %d bytes: %d", codec, n, got)
				}
			}
		}
	}
}

// What Zstandard frames unpack to is bounded by what their heads say, of frames in a row
// and such as do not know their length, too.
func TestZstdBound(t *testing.T) {
	data := make([]byte, 3_000_000)
	for k := range data {
		data[k] = byte(splitmix.Uniform(5, uint64(k)/9) * 7)
	}
	var streamed bytes.Buffer // its frame does not give a length
	w, err := zstd.NewWriter(&streamed)
	if err != nil {
		t.Fatal(err)
	}
	for rest := data; len(rest) > 0; rest = rest[min(len(rest), 70_000):] {
		if _, err := w.Write(rest[:min(len(rest), 70_000)]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := w.EncodeAll(data, nil)
	if n := zstdBound(whole); n != uint64(len(data)) {
		t.Errorf("of %d bytes: %d", len(data), n)
	}
	if n := zstdBound(append(append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}, whole...), whole...)); n != 2*uint64(len(data)) {
		t.Errorf("two frames behind one that is skipped, of %d bytes each: %d", len(data), n)
	}
	if n := zstdBound(streamed.Bytes()); n < uint64(len(data)) || n > 43*zstdBlock {
		t.Errorf("%d bytes in 43 blocks: %d", len(data), n)
	}
	for n := range 200 { // what is cut is no more
		if b := zstdBound(whole[:n]); b > uint64(len(data)) {
			t.Fatalf("the first %d bytes: %d", n, b)
		}
	}
}
