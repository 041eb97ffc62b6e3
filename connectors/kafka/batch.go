package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// A batch of record format 2, which all newer brokers write
// (kafka.apache.org/documentation/#recordbatch): where parts of it are.
const (
	batchLengthAt   = 8  // counts what is behind it
	batchEpochAt    = 12 // of the leader that appended it
	batchMagicAt    = 16
	batchSumAt      = 17 // CRC-32C of what is behind it
	batchAttrsAt    = 21
	batchLastAt     = 23 // offset of the last record, relative to the first
	batchTimeAt     = 27 // of the first record
	batchMaxAt      = 35 // the greatest timestamp
	batchOwnerAt    = 43 // the producer's id
	batchOwnEpochAt = 51 // and epoch
	batchSequenceAt = 53
	batchCountAt    = 57
	batchHeader     = 61 // what precedes the records

	attrCodec   = 0x07
	attrAppend  = 0x08 // the broker's time counts
	attrTxn     = 0x10
	attrControl = 0x20
)

// finishBatch notes length and checksum of a batch whose other parts are complete.
func finishBatch(b []byte) {
	binary.BigEndian.PutUint32(b[batchLengthAt:], uint32(len(b)-batchEpochAt))
	binary.BigEndian.PutUint32(b[batchSumAt:], crc32.Checksum(b[batchAttrsAt:], castagnoli))
}

// appendRecord appends a record of a batch, whose length it computes.
func appendRecord(dst []byte, r kmsg.Record) []byte {
	r.Length = 0
	r.Length = int32(len(r.AppendTo(nil)) - 1) // less itself, one byte
	return r.AppendTo(dst)
}

// frameHeader is the size of what precedes the records of a batch that is stored (see
// store), frameEnd of what follows them: the size of a block that there is not.
const (
	frameHeader = len(frameStart) + 4
	frameEnd    = 4
)

// recordBatch is a batch of records (message format 2) in the making: for one
// partition, of one transaction.
type recordBatch struct {
	topic     string
	id        [16]byte // of the topic
	partition int32
	buf       []byte // room for the headers of batch and frame, then the records
	n         int32
	first     int64  // timestamp of the first record
	most      int64  // greatest timestamp
	wire      []byte // what seal made of it
	small     []byte // memory of wire, if it is compressed
}

// reset empties the batch.
func (b *recordBatch) reset() {
	b.buf, b.n = append(b.buf[:0], make([]byte, batchHeader+frameHeader)...), 0
	b.first, b.most = 0, 0
}

// varintLen returns how many bytes a signed varint takes.
func varintLen(v int64) int {
	if uint64(v) < 1<<6 {
		return 1
	}
	return (bits.Len64(uint64(v<<1)^uint64(v>>63)) + 6) / 7
}

// putVarint writes a signed varint and returns how many bytes it takes: mostly one.
func putVarint(dst []byte, v int64) int {
	if uint64(v) < 1<<6 {
		dst[0] = byte(v << 1)
		return 1
	}
	return binary.PutVarint(dst, v)
}

// identity is the header that tells the records of a step apart.
type identity struct {
	header  string
	prefix  []byte
	encoded []byte // the header of a record with the lengths in it
	number  int    // where the record's place begins in it
	place   int    // of the record in the step; -1 = encoded is of none
}

func identityOf(o *connectors.Outputs, reuse []byte) identity {
	header, prefix := o.Identity()
	return identity{header: header, prefix: prefix, encoded: reuse[:0], place: -1}
}

// set encodes the header of record i. Mostly it comes behind record i-1, so that a
// digit changes.
func (id *identity) set(i int) {
	switch {
	case i == id.place || id.header == "":
		return
	case i == id.place+1:
		id.place = i
		for k := len(id.encoded) - 1; k >= id.number; k-- {
			if id.encoded[k] < '9' {
				id.encoded[k]++
				return
			}
			id.encoded[k] = '0'
		}
	}
	var digits [20]byte
	number := strconv.AppendInt(digits[:0], int64(i), 10)
	s := binary.AppendVarint(id.encoded[:0], int64(len(id.header)))
	s = binary.AppendVarint(append(s, id.header...), int64(len(id.prefix)+len(number)))
	s = append(s, id.prefix...)
	id.place, id.number, id.encoded = i, len(s), append(s, number...)
}

// add appends record i of a step unless it would make the batch larger than limit;
// a batch takes at least one.
func (b *recordBatch) add(x *connectors.Packed, i int, id *identity, now int64, limit int) bool {
	at := x.Time
	if at == 0 {
		at = now
	}
	if b.n == 0 {
		b.first, b.most = at, at
	}
	later, heads := at-b.first, int64(x.Count)
	if id.header != "" {
		id.set(i)
		heads++
	}
	size := 1 + varintLen(later) + varintLen(int64(b.n)) + varintLen(int64(x.Key)) + varintLen(int64(x.Value)) +
		varintLen(heads) + len(id.encoded) + len(x.Bytes)
	start := len(b.buf)
	end := start + varintLen(int64(size)) + size
	if b.n > 0 && end+frameEnd > limit {
		return false
	}
	b.buf = slices.Grow(b.buf, end-start)[:end]
	s := b.buf[start:]
	n := putVarint(s, int64(size))
	s[n] = 0 // attributes: there are none
	n++
	n += putVarint(s[n:], later)
	n += putVarint(s[n:], int64(b.n))
	n += putVarint(s[n:], int64(x.Key))
	key := max(x.Key, 0)
	n += copy(s[n:], x.Bytes[:key])
	n += putVarint(s[n:], int64(x.Value))
	value := key + max(x.Value, 0)
	n += copy(s[n:], x.Bytes[key:value])
	n += putVarint(s[n:], heads)
	n += copy(s[n:], id.encoded)
	copy(s[n:], x.Bytes[value:])
	b.most = max(b.most, at)
	b.n++
	return true
}

// squeezer makes the records of one batch after another smaller. A nil one does not.
type squeezer struct {
	by  kgo.Compressor
	dst bytes.Buffer
}

func newSqueezer(codec kgo.CompressionCodec) (*squeezer, error) {
	by, err := kgo.DefaultCompressor(codec)
	if by == nil || err != nil {
		return nil, err
	}
	return &squeezer{by: by}, nil
}

// squeeze returns the records compressed, until the next call, and the number of the
// codec; nil if there is none.
func (s *squeezer) squeeze(records []byte) ([]byte, uint16) {
	if s == nil {
		return nil, 0
	}
	s.dst.Reset()
	small, codec := s.by.Compress(&s.dst, records)
	if codec < 0 {
		return nil, 0
	}
	return small, uint16(codec)
}

// seal completes the batch into b.wire, which is good until the next reset: compressed
// if that makes it smaller, or else stored.
func (b *recordBatch) seal(who producer, sequence int32, s *squeezer) {
	attributes := uint16(attrTxn)
	records := b.buf[batchHeader+frameHeader:]
	if c, codec := s.squeeze(records); c != nil && len(c) < len(records) {
		attributes |= codec
		b.small = append(append(b.small[:0], b.buf[:batchHeader]...), c...)
		b.wire = b.small
	} else if b.store() {
		attributes |= codecLZ4
	}
	h, be := b.wire, binary.BigEndian
	be.PutUint64(h, 0)                         // base offset
	be.PutUint32(h[batchEpochAt:], 0xffffffff) // the broker's business
	h[batchMagicAt] = 2
	be.PutUint16(h[batchAttrsAt:], attributes)
	be.PutUint32(h[batchLastAt:], uint32(b.n-1))
	be.PutUint64(h[batchTimeAt:], uint64(b.first))
	be.PutUint64(h[batchMaxAt:], uint64(b.most))
	be.PutUint64(h[batchOwnerAt:], uint64(who.id))
	be.PutUint16(h[batchOwnEpochAt:], uint16(who.epoch))
	be.PutUint32(h[batchSequenceAt:], uint32(sequence))
	be.PutUint32(h[batchCountAt:], uint32(b.n))
	finishBatch(h)
}

// codecLZ4 is LZ4's number in the attributes of a batch.
const codecLZ4 = 3

// frameStart begins an LZ4 frame (github.com/lz4/lz4, doc/lz4_Frame_format.md): magic,
// version 1 with independent blocks of up to 1 MiB, no checksums but that of these
// options.
const frameStart = "\x04\x22\x4d\x18\x60\x60\x51"

// store makes b.wire of the records as they are, in an LZ4 frame of one stored block,
// and tells whether it did. A broker makes objects of plain records, with key, value
// and headers, to check them, while it skips through those of a compressed batch; and a
// stored block is not even copied to be read. One record is not worth it.
func (b *recordBatch) store() bool {
	size := len(b.buf) - batchHeader - frameHeader
	if b.n == 1 || size > enoughBatch {
		b.wire = b.buf[frameHeader:]
		return false
	}
	const stored = 1 << 31
	h := b.buf[batchHeader:]
	binary.LittleEndian.PutUint32(h[copy(h, frameStart):], uint32(size)|stored)
	b.wire = append(b.buf, make([]byte, frameEnd)...)
	b.buf = b.wire[:len(b.buf)] // of the memory that has grown
	return true
}
