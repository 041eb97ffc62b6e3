package file

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// unpackedLength returns how long a packed page is at most once it is unpacked, and
// whether it can be one at all. The library unpacks until the data ends, whatever the
// header of the page says. Of one that is longer than most it is known only that it is.
func unpackedLength(codec format.CompressionCodec, packed []byte, most uint64) (n uint64, whole bool) {
	switch codec {
	case format.Snappy: // its data says itself how long it will be
		n, _ = binary.Uvarint(packed)
		return n, true
	case format.Lz4Raw: // the library takes what is damaged for too little room, and tries with ever more
		return lz4Length(packed)
	case format.Gzip:
		if n = 1032 * uint64(len(packed)); n <= most { // deflate packs no tighter
			return n, true
		}
		z, err := gzip.NewReader(bytes.NewReader(packed))
		return counted(z, err, most), true
	case format.Zstd:
		return zstdBound(packed), true
	case format.Brotli:
		return counted(brotli.NewReader(bytes.NewReader(packed)), nil, most), true
	}
	return 0, true
}

// counted unpacks to nowhere, up to what is too much. What is damaged is left to the
// library to say.
func counted(r io.Reader, err error, most uint64) uint64 {
	if err != nil {
		return 0
	}
	n, _ := io.Copy(io.Discard, io.LimitReader(r, int64(most)+1))
	return uint64(n)
}

// zstdBlock is the most that a compressed block of Zstandard unpacks to.
const zstdBlock = 128 << 10

// zstdBound is a bound of what frames of Zstandard unpack to: the length that they
// give, beyond which the library stops, or that of all blocks, as far as they are there.
func zstdBound(b []byte) (n uint64) {
	for len(b) > 0 {
		var h zstd.Header
		if h.Decode(b) != nil || h.HeaderSize > len(b) {
			return n
		}
		b = b[h.HeaderSize:]
		if h.Skippable {
			b = b[min(uint64(len(b)), uint64(h.SkippableSize)):]
			continue
		}
		blocks := uint64(0)
		for last := false; !last && len(b) >= 3; {
			head := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
			size := int(head >> 3)
			last, b = head&1 != 0, b[3:]
			switch head >> 1 & 3 {
			case 0: // as it is
				blocks += uint64(size)
			case 1: // one byte, repeated
				blocks += uint64(size)
				size = 1
			default:
				blocks += zstdBlock
			}
			b = b[min(len(b), size):]
		}
		if h.HasCheckSum {
			b = b[min(len(b), 4):]
		}
		if h.HasFCS {
			blocks = h.FrameContentSize
		}
		if n += blocks; n < blocks {
			return math.MaxUint64
		}
	}
	return n
}
