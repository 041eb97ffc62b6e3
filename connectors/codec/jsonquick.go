package codec

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// quick scans a short value of the usual form into its column, eight bytes at a
// time and with few branches that depend on them. It returns the end of the value,
// before the last byte of b; or 0, having done nothing, where [jsonDecoder.cell]
// has to look.
func (d *jsonDecoder) quick(b []byte, i int, key *jsonKey) int {
	if len(b)-i < 10 && (key.typ != batch.Bool || len(b)-i < 2) {
		return 0
	}
	c := d.cols[key.col]
	if c.Len() > d.row {
		return 0 // a duplicate
	}
	switch key.typ {
	case batch.Float64:
		neg := 0
		if b[i] == '-' {
			neg = 1 // no branch, nor below: no processor foresees signs
		}
		text := binary.LittleEndian.Uint64(b[i+neg:])
		x := text ^ ones*'0'
		other := nonDigits(x)
		point := bits.TrailingZeros64(other) >> 3 // digits before the decimal point
		if point == 0 || point >= 7 || point > 1 && b[i+neg] == '0' {
			return 0
		}
		size, end := point, point // digits, and where the number ends
		if text>>(8*point&63)&0xff == '.' {
			end = bits.TrailingZeros64(other&(other-1)) >> 3
			if size = end - 1; size == point || end == 8 {
				return 0
			}
			before := uint64(1)<<(8*point&63) - 1
			x = x&before | x>>8&^before
		}
		if text>>(8*end&63)&0xdf == 'E' {
			return 0
		}
		v := float64(int64(eightDigits(x<<(-8*size&63)))) / pow10[(size-point)&7]
		c.AppendFloat(math.Float64frombits(math.Float64bits(v) | uint64(neg)<<63))
		return i + neg + end

	case batch.Int64, batch.Timestamp:
		high, at := uint64(0), i
		x := binary.LittleEndian.Uint64(b[i:]) ^ ones*'0'
		if len(b)-i >= 18 && nonDigits(x) == 0 {
			high = eightDigits(x)
			at += 8
			x = binary.LittleEndian.Uint64(b[at:]) ^ ones*'0'
		}
		size := bits.TrailingZeros64(nonDigits(x)) >> 3
		if size == 0 || size >= 7 || b[i] == '0' && at+size > i+1 {
			return 0
		}
		if end := b[at+size]; end == '.' || end|0x20 == 'e' {
			return 0
		}
		c.AppendInt(int64(high*pow10int[size] + eightDigits(x<<(-8*size&63)))) // at most 14 digits
		return at + size

	case batch.String:
		x := binary.LittleEndian.Uint64(b[i+1:])
		m := unplain(x)
		if b[i] != '"' || m == 0 {
			return d.quickString(b, i, c)
		}
		n := bits.TrailingZeros64(m) >> 3
		if b[i+1+n] != '"' || n > d.o.MaxString || !fits(c, 8) {
			return 0
		}
		c.AppendWord(x, n)
		return i + n + 2

	case batch.Bool:
		if x := b[i] - '0'; x <= 1 && (b[i+1] == ',' || b[i+1] == '}') {
			c.AppendBool(x == 1)
			return i + 1
		}
	}
	return 0
}

// quickString is quick for a string of eight bytes or more.
func (d *jsonDecoder) quickString(b []byte, i int, c *batch.Column) int {
	if b[i] != '"' {
		return 0
	}
	n := plainLen(b[i+1:])
	end := i + 1 + n
	if end+1 >= len(b) || b[end] != '"' || n > d.o.MaxString || !fits(c, n) {
		return 0
	}
	c.AppendBytes(b[i+1 : end])
	return end + 1
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// unplain marks, by their high bits, the bytes of x that are a quotation mark, a
// backslash, a control character or beyond ASCII. The lowest mark is exact, which
// is all that counts.
func unplain(x uint64) uint64 {
	quote := x ^ ones*'"'
	slash := x ^ ones*'\\'
	return (x | (x - ones*0x20) | (quote - ones) | (slash - ones)) & highs
}

// nonDigits marks, by their high bits, which of eight bytes, each less '0' by exclusive
// or, are no digits: up to the second one exactly.
func nonDigits(x uint64) uint64 { return (x + ones*0x76 | x) & highs }

// eightDigits is the number that eight digits, the first in the lowest byte, make.
func eightDigits(x uint64) uint64 {
	x = x*10 + x>>8 // pairs
	return ((x&0x000000ff000000ff)*0x000f424000000064 + (x>>16&0x000000ff000000ff)*0x0000271000000001) >> 32
}

var pow10int = [8]uint64{1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000}
