package codec

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unicode/utf8"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// plainLen returns how many bytes of b from the start are neither a quotation
// mark, a backslash, a control character nor beyond ASCII.
func plainLen(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if m := unplain(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c >= 0x80 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// unescape appends a JSON string without its quotation marks to dst, resolving
// escapes. bad is -1, or where an escape is wrong.
func unescape(dst, raw []byte) (out []byte, bad int) {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			first := i
			for i++; i < len(raw) && raw[i] != '\\'; i++ {
			}
			dst = append(dst, raw[first:i]...)
			continue
		}
		if i+1 >= len(raw) {
			return dst, i
		}
		switch raw[i+1] {
		case '"', '\\', '/':
			dst = append(dst, raw[i+1])
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(raw, i)
			if r < 0 || 0xDC00 <= r && r < 0xE000 {
				return dst, i
			}
			if 0xD800 <= r && r < 0xDC00 {
				low := hex4(raw, i+6)
				if low < 0xDC00 || low >= 0xE000 {
					return dst, i
				}
				r = (r-0xD800)<<10 | (low - 0xDC00) + 0x10000
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			i += 4
		default:
			return dst, i
		}
		i += 2
	}
	return dst, -1
}

// hex4 reads the escape \uXXXX at raw[i:], or returns -1.
func hex4(raw []byte, i int) rune {
	if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range raw[i+2 : i+6] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// quote appends text as a JSON string, escaping only what must be. Bytes that
// are not UTF-8 become U+FFFD.
func quote(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for {
		n := plainLen(text)
		dst = append(dst, text[:n]...)
		if text = text[n:]; len(text) == 0 {
			return append(dst, '"')
		}
		c := text[0]
		if c >= 0x80 {
			r, size := utf8.DecodeRune(text)
			dst = utf8.AppendRune(dst, r)
			text = text[size:]
			continue
		}
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		text = text[1:]
	}
}

// parseSparse appends the entries of "index:value index:value …" to the open
// row of a Sparse column. Entries are separated by blanks, indices are below
// dim unless that is 0. why is "", or says what is wrong at byte at of text.
func parseSparse(c *batch.Column, text []byte, dim int) (at int, why string) {
	for i := 0; ; {
		for i < len(text) && (text[i] == ' ' || text[i] == '\t') {
			i++
		}
		if i == len(text) {
			return 0, ""
		}
		entry := i
		for i < len(text) && text[i] != ' ' && text[i] != '\t' {
			i++
		}
		word := text[entry:i]
		index, n, why := parseIndex(word, dim)
		if why != "" {
			return entry, why
		}
		if n == len(word) || word[n] != ':' {
			return entry, "expected index:value, found " + clip(word)
		}
		value := word[n+1:]
		num, end := scanNumber(value, 0, false)
		if end != len(value) || end <= 0 {
			return entry + n + 1, "expected a number after the colon, found " + clip(value)
		}
		f, ok := num.float32(value)
		if !ok {
			return entry + n + 1, clip(value) + " is beyond the range of float32"
		}
		c.AddFeature(index, f)
	}
}

// parseIndex reads an index below dim (2^32 if that is 0) from the start of b
// and returns how long it is.
func parseIndex(b []byte, dim int) (index uint32, n int, why string) {
	var v uint64
	for n < len(b) && b[n]-'0' <= 9 {
		if v = v*10 + uint64(b[n]-'0'); v > math.MaxUint32 {
			return 0, n, "index " + clip(b) + " is not below 2^32"
		}
		n++
	}
	if n == 0 {
		return 0, 0, "expected an index, found " + clip(b)
	}
	if dim > 0 && v >= uint64(dim) {
		return 0, n, "index " + clip(b[:n]) + " is beyond the dimension of the column"
	}
	return uint32(v), n, ""
}
