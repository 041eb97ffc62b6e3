package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/gradstream/gradstream/state"
)

// formatVersion is the first byte of header and pages: docs/format/weights.md.
const formatVersion = 1

// headerKey is the key of the header. It is a prefix of the key of page 0, so it
// sorts before all pages, which have keys of 4 bytes.
var headerKey = []byte{0}

const (
	headerLen = 1 + 8 + 4 + 4 + 4
	pageHead  = 1 + 4 + 2
	crcLen    = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errNoHeader = fmt.Errorf("%w: a page of weights comes before the header", state.ErrDamaged)

func (t *Table) appendHeader(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.rows))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(t.stride))
	dst = binary.LittleEndian.AppendUint32(dst, PageLen)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// checkHeader compares a stored header; same tells that it is the one of the table.
func (t *Table) checkHeader(src []byte) (same bool, err error) {
	rows, stride, err := ReadHeader(src)
	if err != nil {
		return false, err
	}
	same = rows == uint64(t.rows)
	if !same && !t.grows || stride != uint32(t.stride) {
		return false, fmt.Errorf("stored weights have %d rows of %d; the pipeline file asks for %d rows of %d", rows, stride, t.rows, t.stride)
	}
	return same, nil
}

// IsHeader reports whether key is that of the header of a table.
func IsHeader(key []byte) bool { return len(key) == 1 && key[0] == headerKey[0] }

// ReadHeader returns the shape of a stored table, for programs that read state
// without the operator that wrote it.
func ReadHeader(src []byte) (rows uint64, stride uint32, err error) {
	if len(src) > 0 && src[0] != formatVersion {
		return 0, 0, fmt.Errorf("%w: weights of format version %d; this program reads version %d", state.ErrLayout, src[0], formatVersion)
	}
	if len(src) != headerLen {
		return 0, 0, fmt.Errorf("%w: a header of weights has %d bytes; expected %d", state.ErrDamaged, len(src), headerLen)
	}
	if end := headerLen - crcLen; crc32.Checksum(src[:end], castagnoli) != binary.LittleEndian.Uint32(src[end:]) {
		return 0, 0, fmt.Errorf("%w: the checksum of a header of weights is wrong", state.ErrDamaged)
	}
	if n := binary.LittleEndian.Uint32(src[13:]); n != PageLen {
		return 0, 0, fmt.Errorf("%w: weights in pages of %d; this program reads pages of %d", state.ErrLayout, n, PageLen)
	}
	return binary.LittleEndian.Uint64(src[1:]), binary.LittleEndian.Uint32(src[9:]), nil
}

// ReadPage decodes a stored page: values has room for PageLen, the result is the
// part that the page fills, and first is its index in Data.
func ReadPage(values []float32, key, src []byte) (page []float32, first int, err error) {
	if len(key) != 4 {
		return nil, 0, badKey(key)
	}
	n := (len(src) - pageHead - crcLen) / 4
	if n < 1 || n > len(values) {
		return nil, 0, fmt.Errorf("%w: a page of %d bytes", state.ErrDamaged, len(src))
	}
	p := int(binary.BigEndian.Uint32(key))
	if err := decodePage(values[:n], p, src); err != nil {
		return nil, 0, err
	}
	return values[:n], p * PageLen, nil
}

func (t *Table) pageOf(key []byte) (int, error) {
	if len(key) != 4 {
		return 0, badKey(key)
	}
	p := binary.BigEndian.Uint32(key)
	if beyond := uint64(p) >= uint64(len(t.dirty)); beyond && t.grows {
		return 0, t.beyond()
	} else if beyond {
		return 0, fmt.Errorf("%w: page %d of a table of %d pages", state.ErrDamaged, p, len(t.dirty))
	}
	return int(p), nil
}

func badKey(key []byte) error {
	return fmt.Errorf("%w: a table of weights has no entry %q", state.ErrDamaged, key)
}

func appendPageKey(dst []byte, p int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(p))
}

// appendPage encodes values as page p.
func appendPage(dst []byte, p int, values []float32) []byte {
	start := len(dst)
	dst = slices.Grow(dst, pageHead+4*len(values)+crcLen)
	dst = append(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(p))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(values)))
	body := dst[len(dst) : len(dst)+4*len(values)]
	for i, v := range values {
		binary.LittleEndian.PutUint32(body[4*i:4*i+4], math.Float32bits(v))
	}
	dst = dst[:len(dst)+len(body)]
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// decodePage sets values from page p, which must be of that length.
func decodePage(values []float32, p int, src []byte) error {
	if len(src) > 0 && src[0] != formatVersion {
		return fmt.Errorf("%w: page %d of weights has format version %d; this program reads version %d", state.ErrLayout, p, src[0], formatVersion)
	}
	if want := pageHead + 4*len(values) + crcLen; len(src) != want || int(binary.LittleEndian.Uint16(src[5:])) != len(values) {
		return fmt.Errorf("%w: page %d of weights has %d bytes; expected %d", state.ErrDamaged, p, len(src), want)
	}
	if end := len(src) - crcLen; crc32.Checksum(src[:end], castagnoli) != binary.LittleEndian.Uint32(src[end:]) {
		return fmt.Errorf("%w: the checksum of page %d of weights is wrong", state.ErrDamaged, p)
	}
	if n := binary.LittleEndian.Uint32(src[1:]); n != uint32(p) {
		return fmt.Errorf("%w: page %d of weights lies in the place of page %d", state.ErrDamaged, n, p)
	}
	body := src[pageHead : len(src)-crcLen]
	for i := range values {
		v := math.Float32frombits(binary.LittleEndian.Uint32(body[4*i:]))
		if v-v != 0 { // true of NaN and the infinities
			return fmt.Errorf("page %d of weights: %w", p, errNotFinite)
		}
		values[i] = v
	}
	return nil
}

var errNotFinite = errors.New("a stored weight is not a finite number")
