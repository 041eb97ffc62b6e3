package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
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
func varintLen(v int64) int { return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7 }

// lengthOf is varintLen of the length of bytes, and those; nil is -1.
func lengthOf(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

// identity is the header that tells the records of a step apart.
type identity struct {
	header string
	value  []byte // prefix, then the place of the record that is encoded
	prefix int
}

func identityOf(o *connectors.Outputs, reuse []byte) identity {
	header, prefix := o.Identity()
	return identity{header: header, value: append(reuse[:0], prefix...), prefix: len(prefix)}
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
	heads, size := x.Count, 1+varintLen(at-b.first)+varintLen(int64(b.n))+lengthOf(x.Key)+lengthOf(x.Value)+len(x.Headers)
	if id.header != "" {
		id.value = strconv.AppendInt(id.value[:id.prefix], int64(i), 10)
		heads++
		size += varintLen(int64(len(id.header))) + len(id.header) + lengthOf(id.value)
	}
	size += varintLen(int64(heads))
	if b.n > 0 && len(b.buf)+varintLen(int64(size))+size+frameEnd > limit {
		return false
	}
	s := binary.AppendVarint(b.buf, int64(size))
	s = append(s, 0) // attributes: there are none
	s = binary.AppendVarint(s, at-b.first)
	s = binary.AppendVarint(s, int64(b.n))
	s = appendBytes(s, x.Key)
	s = appendBytes(s, x.Value)
	s = binary.AppendVarint(s, int64(heads))
	if id.header != "" {
		s = append(binary.AppendVarint(s, int64(len(id.header))), id.header...)
		s = appendBytes(s, id.value)
	}
	b.buf = append(s, x.Headers...)
	b.most = max(b.most, at)
	b.n++
	return true
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
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
// version 1 with independent blocks of up to 256 KiB, no checksums but that of these
// options.
const frameStart = "\x04\x22\x4d\x18\x60\x50\xfb"

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
