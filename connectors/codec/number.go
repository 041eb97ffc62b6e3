package codec

import (
	"math"
	"strconv"
	"unsafe"
)

// number is a decimal as scanned: ±mant × 10^exp when digits ≤ 19, else the
// text has to be looked at again.
type number struct {
	mant   uint64
	exp    int
	digits int  // written digits of the mantissa, leading zeros counted
	neg    bool // a minus sign
	plain  bool // an integer literal: no point, no exponent
}

// scanNumber scans a number at b[i:] and returns where it ends, or -1 if
// there is none. Strict is the grammar of RFC 8259
// section 6; else a plus sign, leading zeros, ".5" and "5." are allowed too.
func scanNumber(b []byte, i int, strict bool) (n number, end int) {
	if i < len(b) && (b[i] == '-' || !strict && b[i] == '+') {
		n.neg = b[i] == '-'
		i++
	}
	start := i
	var mant uint64
	for i < len(b) && b[i]-'0' <= 9 {
		mant = mant*10 + uint64(b[i]-'0')
		i++
	}
	n.digits = i - start
	if strict && (n.digits == 0 || n.digits > 1 && b[start] == '0') {
		return n, -1
	}
	n.plain = true
	if i < len(b) && b[i] == '.' {
		n.plain = false
		i++
		point := i
		for i < len(b) && b[i]-'0' <= 9 {
			mant = mant*10 + uint64(b[i]-'0')
			i++
		}
		if strict && i == point {
			return n, -1
		}
		n.exp = point - i
		n.digits += i - point
	}
	if n.digits == 0 {
		return n, -1
	}
	n.mant = mant
	if i < len(b) && b[i]|0x20 == 'e' {
		n.plain = false
		i++
		negative := false
		if i < len(b) && (b[i] == '-' || b[i] == '+') {
			negative = b[i] == '-'
			i++
		}
		first, e := i, 0
		for i < len(b) && b[i]-'0' <= 9 {
			if e < 1<<40 { // beyond, every number is zero or infinite
				e = e*10 + int(b[i]-'0')
			}
			i++
		}
		if i == first {
			return n, -1
		}
		if negative {
			e = -e
		}
		n.exp += e
	}
	return n, i
}

var pow10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// float returns the nearest float64 of a scanned number with this text; ok is
// false if it is beyond the range. Mantissa and power of ten are exact when
// small, and then one rounded operation is the right answer (Clinger, PLDI
// 1990); the rest goes to strconv.
func (n number) float(text []byte) (f float64, ok bool) {
	if n.digits <= 19 && n.mant <= 1<<53 && -22 <= n.exp && n.exp <= 22 {
		f = float64(n.mant)
		if n.exp < 0 {
			f /= pow10[-n.exp]
		} else {
			f *= pow10[n.exp]
		}
		if n.neg {
			f = -f
		}
		return f, true
	}
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(text), len(text)), 64)
	return f, err == nil
}

// float32 is [number.float] for float32, rounded once.
func (n number) float32(text []byte) (f float32, ok bool) {
	if n.digits <= 19 && n.mant <= 1<<24 && -10 <= n.exp && n.exp <= 10 {
		f = float32(n.mant)
		if n.exp < 0 {
			f /= float32(pow10[-n.exp])
		} else {
			f *= float32(pow10[n.exp])
		}
		if n.neg {
			f = -f
		}
		return f, true
	}
	d, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(text), len(text)), 32)
	return float32(d), err == nil
}

// Why a number is not an int64.
const (
	intOK = iota
	intRange
	intFraction
)

// int returns the integer a scanned number with this text is. 1.0 and 1e3 are
// integers; how they are written does not matter.
func (n number) int(text []byte) (v int64, why int) {
	if n.plain && n.digits <= 18 {
		if n.neg {
			return -int64(n.mant), intOK
		}
		return int64(n.mant), intOK
	}
	// Digits without leading and trailing zeros, times a power of ten.
	var u uint64
	digits, zeros := 0, 0
	for _, c := range text {
		if c|0x20 == 'e' {
			break
		}
		if c-'0' > 9 || c == '0' && digits == 0 {
			continue
		}
		if c == '0' {
			zeros++
			continue
		}
		for digits += zeros + 1; zeros > 0; zeros-- {
			u *= 10
		}
		u = u*10 + uint64(c-'0') // may overflow beyond 19 digits, and is not used then
	}
	if digits == 0 {
		return 0, intOK
	}
	exp := n.exp + zeros
	if exp < 0 {
		return 0, intFraction
	}
	if digits+exp > 19 {
		return 0, intRange
	}
	for ; exp > 0; exp-- {
		u *= 10 // below 10^19 < 2^64
	}
	switch {
	case n.neg && u <= 1<<63:
		return -int64(u), intOK
	case !n.neg && u <= math.MaxInt64:
		return int64(u), intOK
	}
	return 0, intRange
}
