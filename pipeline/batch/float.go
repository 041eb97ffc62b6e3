package batch

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"strconv"
)

// FormatFloat appends the shortest decimal that reads back as v, a finite number of
// so many bits, with an exponent below 1e-6 and from 1e21 on, as ECMAScript writes
// numbers.
func FormatFloat(dst []byte, v float64, bits int) []byte {
	abs := math.Abs(v)
	if abs < 1<<24 && v == math.Trunc(v) && (v != 0 || !math.Signbit(v)) {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	if bits == 64 && abs >= 1e-6 && abs < 1<<53 && !powerOfTwo(abs) {
		if v < 0 {
			dst = append(dst, '-')
		}
		return appendDecimal(dst, abs)
	}
	form := byte('f')
	if abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		form = 'e'
	}
	dst = strconv.AppendFloat(dst, v, form, -1, bits)
	if n := len(dst); form == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // 1e-07 → 1e-7
		dst = dst[:n-1]
	}
	return dst
}

// powerOfTwo reports whether the float64 below a positive normal v is nearer to it
// than the one above.
func powerOfTwo(v float64) bool { return math.Float64bits(v)<<12 == 0 }

// appendDecimal appends the digits of [shortest] with a point where it belongs,
// which takes half the time of strconv.
func appendDecimal(dst []byte, v float64) []byte {
	mant, down := shortest(v)
	// 24 places hold 17 digits and the zeros before them, the point among them.
	const zeros = 0x3030303030303030
	top, rest := mant/1e16, mant%1e16
	mid, low := eightDigits(rest/1e8), eightDigits(rest%1e8)
	point := 24 - down
	start, end := min(8, point-1), 24-bits.LeadingZeros64(low)>>3
	if top > 0 {
		start = min(7, point-1)
	}
	if low == 0 {
		end = 16 - bits.LeadingZeros64(mid)>>3
	}
	// All from start on goes a place to the right, then the digits before the point back.
	high := zeros + top<<56
	mid, low = zeros+mid, zeros+low
	off := 8 * uint(start)
	at := len(dst)
	dst = slices.Grow(dst, 32)
	text := dst[at : at+25]
	binary.LittleEndian.PutUint64(text[1:], high>>off|mid<<(64-off))
	binary.LittleEndian.PutUint64(text[9:], mid>>off|low<<(64-off))
	binary.LittleEndian.PutUint64(text[17:], low>>off)
	for i := range point - start {
		text[i] = text[i+1]
	}
	if end <= point {
		return dst[:at+point-start]
	}
	text[point-start] = '.'
	return dst[:at+1+end-start]
}

// shortest returns the decimal mant/10^down that reads back as v with the fewest
// digits, zeros at its end not counted, and of those the nearest to v: Schubfach
// (Giulietti, The Schubfach way to render doubles, 2020). v must be from 1e-6 to 2^53
// and no power of two: there the power of ten is a whole number, so that nothing is
// rounded and there is no table of powers. mant has 16 or 17 digits, down is from 0 to 22.
func shortest(v float64) (mant uint64, down int) {
	b := math.Float64bits(v)
	c, q := b&(1<<52-1)|1<<52, int(b>>52)-1075 // v = c·2^q
	down = -(q * 1262611 >> 22)                // the least with 10^-down ≤ 2^q
	// v·10^down = c·5^down·2^-shift; between low and high, both times 4 like x, all reads back as v.
	five, shift := pow5[down], uint(-q-down)
	hi, lo := bits.Mul64(4*c, five)
	x := shiftOdd(hi, lo, shift)
	l, borrow := bits.Sub64(lo, 2*five, 0)
	low := shiftOdd(hi-borrow, l, shift)
	h, carry := bits.Add64(lo, 2*five, 0)
	high := shiftOdd(hi+carry, h, shift)
	low, high = low+c&1, high-c&1 // ties read back as the even neighbour

	floor := x / 4
	tens := floor / 10 * 10
	mant = (x + 1 + floor&1) / 4 // the nearest, and if there are two the even one
	if low <= 4*tens {
		mant = tens
	}
	if 4*tens+40 <= high {
		mant = tens + 10
	}
	return mant, down
}

// shiftOdd shifts 128 bits to the right. What is cut off makes the result odd, so that
// it compares with even numbers as the exact one would.
func shiftOdd(hi, lo uint64, by uint) uint64 {
	x := hi<<(64-by) | lo>>by
	if lo<<(64-by) != 0 {
		x |= 1
	}
	return x
}

// pow5 are the powers of 5.
var pow5 = func() (p [23]uint64) {
	p[0] = 1
	for i := range p[1:] {
		p[i+1] = 5 * p[i]
	}
	return p
}()

// eightDigits spreads a number below 10^8 over eight bytes, its first digit in the
// lowest.
func eightDigits(x uint64) uint64 {
	x = x/10000 + x%10000<<32
	high := x * 10486 >> 20 & 0x0000007f0000007f // of each four digits the first two
	x = high + (x-100*high)<<16
	high = x * 103 >> 10 & 0x000f000f000f000f
	return high + (x-10*high)<<8
}
