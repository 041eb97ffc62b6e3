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
		mant, point, size := shortNumber(binary.LittleEndian.Uint64(b[i+neg:]))
		if size == 0 || point > 1 && b[i+neg] == '0' {
			return 0
		}
		v := float64(int64(mant)) / pow10[(size-point)&7]
		c.AppendFloat(math.Float64frombits(math.Float64bits(v) | uint64(neg)<<63))
		if size > point {
			size++
		}
		return i + neg + size

	case batch.Int64, batch.Timestamp:
		high, at := uint64(0), i
		if x := binary.LittleEndian.Uint64(b[i:]) ^ ones*'0'; len(b)-i >= 18 && allDigits(x) {
			high = eightDigits(x)
			at += 8
		}
		mant, point, size := shortNumber(binary.LittleEndian.Uint64(b[at:]))
		if size == 0 || size != point || b[i] == '0' && at+size > i+1 {
			return 0
		}
		c.AppendInt(int64(high*pow10int[size&7] + mant)) // at most 14 digits
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

// allDigits reports whether the eight bytes, each less '0' by exclusive or, are
// digits.
func allDigits(x uint64) bool { return (x+ones*0x76|x)&highs == 0 }

// eightDigits is the number that eight digits, the first in the lowest byte, make.
func eightDigits(x uint64) uint64 {
	x = x*10 + x>>8 // pairs
	return ((x&0x000000ff000000ff)*0x000f424000000064 + (x>>16&0x000000ff000000ff)*0x0000271000000001) >> 32
}

// shortNumber reads a number without sign or exponent from text, the first byte
// lowest: mant is its digits, size how many of them there are, point how many
// stand before the decimal point. Size is 0 if that is not what the text begins
// with, but for leading zeros, or if it is not seen to end in eight bytes.
func shortNumber(text uint64) (mant uint64, point, size int) {
	x := text ^ ones*'0'
	other := (x + ones*0x76 | x) & highs // up to the second one that is no digit, exact
	point = bits.TrailingZeros64(other) >> 3
	if point == 0 || point >= 7 {
		return 0, 0, 0
	}
	end := text >> (8 * point) & 0xff
	size = point
	if end == '.' {
		other &= other - 1
		size = bits.TrailingZeros64(other)>>3 - 1
		if size == point || size == 7 {
			return 0, 0, 0
		}
		end = text >> (8 * (size + 1)) & 0xff
		before := uint64(1)<<(8*point) - 1
		x = x&before | x>>8&^before
	}
	if end|0x20 == 'e' {
		return 0, 0, 0
	}
	return eightDigits(x << (64 - 8*size)), point, size
}

var pow10int = [8]uint64{1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000}
