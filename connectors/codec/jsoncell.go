package codec

import (
	"github.com/gradstream/gradstream/pipeline/batch"
)

// cell scans the value at i into a column.
func (d *jsonDecoder) cell(i, col int) int {
	c, f, b := d.cols[col], &d.schema.Fields[col], d.b
	if c.Len() > d.row {
		return d.fail(i, f, "duplicate key")
	}
	if i >= len(b) {
		return d.fail(i, f, "%s, expected a value", d.found(i))
	}
	if b[i] == 'n' && bytesHasPrefix(b[i:], "null") {
		if !f.Nullable {
			return d.fail(i, f, "null, expected %s", f.Type)
		}
		c.AppendNull()
		return i + len("null")
	}
	switch f.Type {
	case batch.Float64:
		n, end := scanNumber(b, i, true)
		if end < 0 {
			return d.wrong(i, f, "a number")
		}
		v, ok := n.float(b[i:end])
		if !ok {
			return d.fail(i, f, "%s is beyond the range of float64", clip(b[i:end]))
		}
		c.AppendFloat(v)
		return end

	case batch.Int64:
		return d.integer(i, c, f, "an integer")

	case batch.String:
		if b[i] != '"' {
			return d.wrong(i, f, "a string")
		}
		raw, escaped, end := d.str(i, f)
		if end < 0 {
			return -1
		}
		if !fits(c, len(raw)) {
			return d.fail(i, f, "the strings of a batch exceed 2 GiB")
		}
		if !escaped {
			if len(raw) > d.o.MaxString {
				return d.fail(i, f, "a string of %d bytes; at most %d are read", len(raw), d.o.MaxString)
			}
			c.AppendBytes(raw)
			return end
		}
		start := len(c.Bytes)
		out, bad := unescape(c.Bytes, raw)
		if c.Bytes = out; bad >= 0 {
			return d.fail(i+1+bad, f, "bad escape")
		}
		if n := len(out) - start; n > d.o.MaxString {
			return d.fail(i, f, "a string of %d bytes; at most %d are read", n, d.o.MaxString)
		}
		c.EndRow()
		return end

	case batch.Bool:
		switch {
		case b[i] == '0' || b[i] == '1':
			if _, end := scanNumber(b, i, true); end != i+1 {
				return d.wrong(i, f, "true, false, 1 or 0")
			}
			c.AppendBool(b[i] == '1')
			return i + 1
		case bytesHasPrefix(b[i:], "true"):
			c.AppendBool(true)
			return i + len("true")
		case bytesHasPrefix(b[i:], "false"):
			c.AppendBool(false)
			return i + len("false")
		}
		return d.wrong(i, f, "true, false, 1 or 0")

	case batch.Timestamp:
		if b[i] != '"' {
			return d.integer(i, c, f, "an RFC 3339 string or integer milliseconds")
		}
		text, end := d.text(i, f)
		if end < 0 {
			return -1
		}
		ms, why := parseTime(text)
		if why != "" {
			return d.fail(i, f, "%s is %s", clip(text), why)
		}
		c.AppendInt(ms)
		return end

	case batch.Sparse:
		return d.sparse(i, c, f)
	}
	return d.fail(i, f, "has no type")
}

// wrong fails at a value of another kind than expected, or at no value at all.
func (d *jsonDecoder) wrong(i int, f *batch.Field, expected string) int {
	return d.fail(i, f, "%s, expected %s", d.found(i), expected)
}

// integer scans a number into an Int64 or Timestamp column.
func (d *jsonDecoder) integer(i int, c *batch.Column, f *batch.Field, expected string) int {
	n, end := scanNumber(d.b, i, true)
	if end < 0 {
		return d.wrong(i, f, expected)
	}
	text := d.b[i:end]
	v, why := n.int(text)
	switch {
	case why == intFraction:
		return d.fail(i, f, "%s, expected %s", d.found(i), expected)
	case why == intRange:
		return d.fail(i, f, "%s is beyond the range of int64", clip(text))
	case f.Type == batch.Timestamp && (v < MinTime || v > MaxTime):
		return d.fail(i, f, "%s ms is outside of the years 0000 to 9999", clip(text))
	}
	c.AppendInt(v)
	return end
}

// text scans a string and resolves its escapes; what it returns is borrowed from
// the record or from the arena.
func (d *jsonDecoder) text(i int, f *batch.Field) ([]byte, int) {
	raw, escaped, end := d.str(i, f)
	if end < 0 || !escaped {
		return raw, end
	}
	start := len(d.arena)
	var bad int
	if d.arena, bad = unescape(d.arena, raw); bad >= 0 {
		return nil, d.fail(i+1+bad, f, "bad escape")
	}
	return d.arena[start:], end
}

// sparse scans "index:value …" or {"index": value, …}.
func (d *jsonDecoder) sparse(i int, c *batch.Column, f *batch.Field) int {
	start := len(c.Index)
	end := -1
	switch d.b[i] {
	case '"':
		var text []byte
		if text, end = d.text(i, f); end < 0 {
			return -1
		}
		if at, why := parseSparse(c, text, f.Dim); why != "" {
			return d.fail(i+1+at, f, "%s", why)
		}
	case '{':
		if end = d.entries(i, c, f); end < 0 {
			return -1
		}
	default:
		return d.wrong(i, f, `an object or "index:value …"`)
	}
	index, twice, scratch := RepeatedIndex(c.Index[start:], d.idx)
	if d.idx = scratch; twice {
		return d.fail(i, f, "index %d occurs twice", index)
	}
	c.EndRow()
	return end
}

func (d *jsonDecoder) entries(i int, c *batch.Column, f *batch.Field) int {
	if i = d.space(i + 1); i < len(d.b) && d.b[i] == '}' {
		return i + 1
	}
	for {
		at := i
		name, j := d.key(i)
		if i = j; i < 0 {
			return -1
		}
		index, n, why := parseIndex(name, f.Dim)
		if why == "" && n < len(name) {
			why = "expected an index, found " + clip(name)
		}
		if why != "" {
			return d.fail(at, f, "%s", why)
		}
		i = d.space(i)
		num, end := scanNumber(d.b, i, true)
		if end < 0 {
			return d.fail(i, f, "%s at index %d, expected a number", d.found(i), index)
		}
		v, ok := num.float32(d.b[i:end])
		if !ok {
			return d.fail(i, f, "%s is beyond the range of float32", clip(d.b[i:end]))
		}
		c.AddFeature(index, v)
		i = d.space(end)
		switch {
		case i < len(d.b) && d.b[i] == ',':
			i = d.space(i + 1)
		case i < len(d.b) && d.b[i] == '}':
			return i + 1
		default:
			return d.fail(i, f, "%s, expected a comma or a closing brace", d.found(i))
		}
	}
}
