package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// jsonDecoder scans a record once, from left to right, and appends values to
// the columns as it meets them. It guesses that keys come in the order they came
// in last time, so that a record costs one comparison per key and nothing is
// looked up. Positions are ints; a scanner that fails sets err and returns -1.
type jsonDecoder struct {
	schema *batch.Schema
	keys   []jsonKey
	root   *jsonObject
	o      Options

	ignored int // keys that are remembered only to be skipped

	// The record being decoded.
	b      []byte
	cols   []*batch.Column
	row    int
	filled int      // columns that have a value
	record uint64   // ordinal, to tell keys seen in this record
	others [][]byte // the unknown keys of the objects that are open
	arena  []byte   // unescaped keys, and strings that are skipped
	idx    []uint32
	err    *connectors.RowError
}

// jsonKey is a key that leads to a column, or to an object that holds some, or
// that is skipped.
type jsonKey struct {
	pattern string // "key": as it usually stands in a record
	word    uint64 // its first bytes, up to eight
	mask    uint64 // which of eight bytes these are
	path    string // column name, or the path to the object
	col     int    // column, or -1
	typ     batch.Type
	object  *jsonObject
	seen    uint64 // not a column: the record it was last seen in
	next    int    // the key that followed it last time, or -1
}

// spell sets how the key usually stands in a record.
func (k *jsonKey) spell(name []byte) {
	k.pattern = string(quote(nil, name)) + ":"
	var b, m [8]byte
	for i := range copy(b[:], k.pattern) {
		m[i] = 0xff
	}
	k.word, k.mask = binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(m[:])
}

// at reports whether the key stands at b[i:] as it usually does.
func (k *jsonKey) at(b []byte, i int) bool {
	if len(b)-i < 8 {
		return bytesHasPrefix(b[i:], k.pattern)
	}
	return binary.LittleEndian.Uint64(b[i:])&k.mask == k.word && (len(k.pattern) <= 8 || bytesHasPrefix(b[i+8:], k.pattern[8:]))
}

type jsonObject struct {
	index map[string]int // by key
	first int            // the key that came first last time, or -1
}

func newJSONDecoder(s *batch.Schema, o Options) (*jsonDecoder, error) {
	d := &jsonDecoder{schema: s, o: o, root: &jsonObject{index: map[string]int{}, first: -1}}
	last := map[*jsonObject]int{} // the key added last
	add := func(o *jsonObject, key, path string, k jsonKey) int {
		k.path, k.next = path, -1
		k.spell([]byte(key))
		n := len(d.keys)
		d.keys = append(d.keys, k)
		o.index[key] = n
		if p, ok := last[o]; ok {
			d.keys[p].next = n
		} else {
			o.first = n
		}
		last[o] = n
		return n
	}
	for i, f := range s.Fields {
		o, path := d.root, ""
		parts := strings.Split(f.Name, ".")
		if len(parts) >= MaxDepth {
			return nil, fmt.Errorf("column %s: nested deeper than %d", f.Name, MaxDepth)
		}
		for j, part := range parts {
			path += part
			k, known := o.index[part]
			if j == len(parts)-1 {
				if known {
					return nil, fmt.Errorf("column %s: the schema also reads columns inside of it", f.Name)
				}
				add(o, part, path, jsonKey{col: i, typ: f.Type})
				break
			}
			if !known {
				k = add(o, part, path, jsonKey{col: -1, object: &jsonObject{index: map[string]int{}, first: -1}})
			}
			if d.keys[k].col >= 0 {
				return nil, fmt.Errorf("column %s: %s is a column itself", f.Name, path)
			}
			o, path = d.keys[k].object, path+"."
		}
	}
	// A flat key that is the whole path works too: it is how columns are written.
	for i, f := range s.Fields {
		if _, known := d.root.index[f.Name]; !known {
			n := len(d.keys)
			d.keys = append(d.keys, jsonKey{path: f.Name, col: i, typ: f.Type, next: -1})
			d.keys[n].spell([]byte(f.Name))
			d.root.index[f.Name] = n
		}
	}
	return d, nil
}

// Decode appends the one row of a record.
func (d *jsonDecoder) Decode(value []byte, into *batch.Batch) (int, error) {
	d.b, d.cols, d.row, d.err = value, into.Cols, rows(into), nil
	d.filled = 0
	d.record++
	d.others, d.arena = d.others[:0], d.arena[:0]
	if !d.decode() {
		truncate(into, d.row)
		err := d.err
		d.b, d.cols, d.err = nil, nil, nil
		return 0, err
	}
	d.b, d.cols = nil, nil
	return 1, nil
}

func (d *jsonDecoder) decode() bool {
	if len(d.b) > d.o.MaxRecord {
		d.fail(-1, nil, "a record of %d bytes; at most %d are read", len(d.b), d.o.MaxRecord)
		return false
	}
	i := d.space(0)
	if i == len(d.b) {
		d.fail(-1, nil, "an empty record")
		return false
	}
	if d.b[i] != '{' {
		d.fail(i, nil, "%s, expected an object", d.found(i))
		return false
	}
	if i = d.object(i+1, d.root, 1); i < 0 {
		return false
	}
	if i = d.space(i); i < len(d.b) {
		d.fail(i, nil, "%s after the end of the object", d.found(i))
		return false
	}
	if d.filled == len(d.cols) {
		return true
	}
	for c, col := range d.cols {
		if col.Len() > d.row {
			continue
		}
		if !d.schema.Fields[c].Nullable {
			d.err = fail(d.schema.Fields[c].Name, -1, "missing")
			return false
		}
		col.AppendNull()
	}
	return true
}

// object scans the members of a known object and its closing brace.
func (d *jsonDecoder) object(i int, o *jsonObject, depth int) int {
	b := d.b
	base := len(d.others)
	link := &o.first
	if i = d.space(i); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		var key *jsonKey
		end := 0
		if k := *link; k >= 0 && d.keys[k].at(b, i) {
			key = &d.keys[k]
			if i += len(key.pattern); key.col >= 0 {
				end = d.quick(b, i, key)
			}
		} else {
			var name []byte
			if name, i = d.key(i); i < 0 {
				return -1
			}
			if k, known := o.index[string(name)]; known {
				key = &d.keys[k]
				*link = k
			} else if key = d.ignore(o, name, link); key == nil {
				d.others = append(d.others, name)
			}
		}
		if end == 0 {
			end = d.value(i, key, depth)
		}
		if key != nil {
			link = &key.next
			if key.col >= 0 {
				d.filled++
			}
		}
		i = end
		if i < 0 {
			return -1
		}
		if i < len(b) && b[i] <= ' ' {
			i = d.space(i)
		}
		if i >= len(b) {
			return d.fail(i, nil, "%s inside of an object", d.found(i))
		}
		if b[i] == '}' {
			if len(d.others)-base > 1 && !d.distinct(i, base) {
				return -1
			}
			d.others = d.others[:base]
			return i + 1
		}
		if b[i] != ',' {
			return d.fail(i, nil, "%s, expected a comma or a closing brace", d.found(i))
		}
		if i++; i < len(b) && b[i] <= ' ' {
			i = d.space(i)
		}
	}
}

// value scans the value of a key; nil is a key that nobody knows.
func (d *jsonDecoder) value(i int, key *jsonKey, depth int) int {
	if i < len(d.b) && d.b[i] <= ' ' {
		i = d.space(i)
	}
	switch {
	case key == nil:
		return d.skip(i, depth+1)
	case key.col >= 0:
		return d.cell(i, key.col)
	case key.seen == d.record:
		return d.fail(i, nil, "duplicate key %q", key.path)
	case key.object != nil:
		return d.inner(i, key, depth+1)
	}
	key.seen = d.record
	return d.skip(i, depth+1)
}

// ignore remembers a key that no column is read from, so that it is predicted
// like the others; nil when enough of them are remembered.
func (d *jsonDecoder) ignore(o *jsonObject, name []byte, link *int) *jsonKey {
	const most, longest = 256, 64
	if d.ignored == most || len(name) > longest {
		return nil
	}
	d.ignored++
	n := len(d.keys)
	d.keys = append(d.keys, jsonKey{path: string(name), col: -1, next: -1})
	d.keys[n].spell(name)
	o.index[string(name)] = n
	*link = n // before the keys moved, which costs no more than a guess
	return &d.keys[n]
}

// inner scans the value of a key that leads to an object with columns in it.
func (d *jsonDecoder) inner(i int, key *jsonKey, depth int) int {
	key.seen = d.record
	if i < len(d.b) && d.b[i] == '{' {
		return d.object(i+1, key.object, depth)
	}
	if i < len(d.b) && d.b[i] == 'n' {
		return d.literal(i, "null")
	}
	if j := d.skip(i, depth); j < 0 {
		return j
	}
	return d.fail(i, nil, "%s is %s, expected an object", key.path, d.found(i))
}

// key scans a key and the colon behind it. The name is borrowed from the record
// or from the arena.
func (d *jsonDecoder) key(i int) ([]byte, int) {
	if i >= len(d.b) || d.b[i] != '"' {
		return nil, d.fail(i, nil, "%s, expected a key", d.found(i))
	}
	raw, escaped, end := d.str(i, nil)
	if end < 0 {
		return nil, -1
	}
	if escaped {
		start := len(d.arena)
		var bad int
		if d.arena, bad = unescape(d.arena, raw); bad >= 0 {
			return nil, d.fail(i+1+bad, nil, "bad escape in a key")
		}
		raw = d.arena[start:len(d.arena):len(d.arena)]
	}
	i = d.space(end)
	if i >= len(d.b) || d.b[i] != ':' {
		return nil, d.fail(i, nil, "%s, expected a colon after key %s", d.found(i), clip(raw))
	}
	return raw, i + 1
}

// distinct reports whether no two of the unknown keys of the object that ends
// at i are the same.
func (d *jsonDecoder) distinct(i, base int) bool {
	keys := d.others[base:]
	if len(keys) <= 8 {
		for a, k := range keys {
			for _, l := range keys[:a] {
				if bytes.Equal(k, l) {
					d.fail(i, nil, "duplicate key %s", clip(k))
					return false
				}
			}
		}
		return true
	}
	slices.SortFunc(keys, func(a, b []byte) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return bytes.Compare(a, b)
	})
	for a := 1; a < len(keys); a++ {
		if bytes.Equal(keys[a-1], keys[a]) {
			d.fail(i, nil, "duplicate key %s", clip(keys[a]))
			return false
		}
	}
	return true
}

// str scans the string whose quotation mark is at i. raw is what is between the
// marks, valid UTF-8, with its escapes in place if there are any.
func (d *jsonDecoder) str(i int, f *batch.Field) (raw []byte, escaped bool, end int) {
	b := d.b
	start := i + 1
	ascii := true
	for i = start; ; {
		i += plainLen(b[i:])
		if i >= len(b) {
			return nil, false, d.fail(start-1, f, "a string that does not end")
		}
		switch c := b[i]; {
		case c == '"':
			raw = b[start:i]
			if !ascii && !utf8.Valid(raw) {
				return nil, false, d.fail(start-1, f, "a string that is not UTF-8")
			}
			return raw, escaped, i + 1
		case c == '\\':
			escaped = true
			i += 2
			if i > len(b) {
				i = len(b)
			}
		case c < 0x20:
			return nil, false, d.fail(i, f, "control character %q in a string", rune(c))
		default:
			ascii = false
			for i < len(b) && b[i] >= 0x80 {
				i++
			}
		}
	}
}

// space skips white space.
func (d *jsonDecoder) space(i int) int {
	for i < len(d.b) {
		switch d.b[i] {
		case ' ', '\t', '\n', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

func (d *jsonDecoder) literal(i int, word string) int {
	if bytesHasPrefix(d.b[i:], word) {
		return i + len(word)
	}
	return d.fail(i, nil, "%s", d.found(i))
}

// skip validates a value nobody asked for.
func (d *jsonDecoder) skip(i, depth int) int {
	if i >= len(d.b) {
		return d.fail(i, nil, "%s, expected a value", d.found(i))
	}
	switch d.b[i] {
	case '{':
		return d.skipObject(i, depth)
	case '[':
		return d.skipArray(i, depth)
	case '"':
		raw, escaped, end := d.str(i, nil)
		if end > 0 && escaped {
			start := len(d.arena)
			out, bad := unescape(d.arena, raw)
			if d.arena = out[:start]; bad >= 0 {
				return d.fail(i+1+bad, nil, "bad escape")
			}
		}
		return end
	case 't':
		return d.literal(i, "true")
	case 'f':
		return d.literal(i, "false")
	case 'n':
		return d.literal(i, "null")
	}
	if _, end := scanNumber(d.b, i, true); end > 0 {
		return end
	}
	return d.fail(i, nil, "%s, expected a value", d.found(i))
}

func (d *jsonDecoder) skipObject(i, depth int) int {
	if depth > MaxDepth {
		return d.fail(i, nil, "nested deeper than %d", MaxDepth)
	}
	base := len(d.others)
	if i = d.space(i + 1); i < len(d.b) && d.b[i] == '}' {
		return i + 1
	}
	for {
		var name []byte
		if name, i = d.key(i); i < 0 {
			return -1
		}
		d.others = append(d.others, name)
		if i = d.skip(d.space(i), depth+1); i < 0 {
			return -1
		}
		i = d.space(i)
		switch {
		case i < len(d.b) && d.b[i] == ',':
			i = d.space(i + 1)
		case i < len(d.b) && d.b[i] == '}':
			if !d.distinct(i, base) {
				return -1
			}
			d.others = d.others[:base]
			return i + 1
		default:
			return d.fail(i, nil, "%s, expected a comma or a closing brace", d.found(i))
		}
	}
}

func (d *jsonDecoder) skipArray(i, depth int) int {
	if depth > MaxDepth {
		return d.fail(i, nil, "nested deeper than %d", MaxDepth)
	}
	if i = d.space(i + 1); i < len(d.b) && d.b[i] == ']' {
		return i + 1
	}
	for {
		if i = d.skip(i, depth+1); i < 0 {
			return -1
		}
		i = d.space(i)
		switch {
		case i < len(d.b) && d.b[i] == ',':
			i = d.space(i + 1)
		case i < len(d.b) && d.b[i] == ']':
			return i + 1
		default:
			return d.fail(i, nil, "%s, expected a comma or a closing bracket", d.found(i))
		}
	}
}

// found names what stands at i.
func (d *jsonDecoder) found(i int) string {
	if i < 0 || i >= len(d.b) {
		return "the record ends"
	}
	switch c := d.b[i]; {
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case bytesHasPrefix(d.b[i:], "null"):
		return "null"
	case bytesHasPrefix(d.b[i:], "true"):
		return "true"
	case bytesHasPrefix(d.b[i:], "false"):
		return "false"
	case c == '-' || c-'0' <= 9:
		end := i
		for end < len(d.b) && (d.b[end]-'0' <= 9 || bytes.IndexByte([]byte("+-.eE"), d.b[end]) >= 0) {
			end++
		}
		if _, e := scanNumber(d.b, i, true); e == end {
			return "number " + clip(d.b[i:end])[1:min(end-i, 40)+1]
		}
		return "bad number " + clip(d.b[i:end])
	case c >= 0x80:
		r, _ := utf8.DecodeRune(d.b[i:])
		return fmt.Sprintf("character %q", r)
	default:
		return fmt.Sprintf("character %q", rune(c))
	}
}

// fail sets the error. It returns -1.
func (d *jsonDecoder) fail(at int, f *batch.Field, format string, args ...any) int {
	name := ""
	if f != nil {
		name = f.Name
	}
	d.err = fail(name, at, format, args...)
	return -1
}

// bytesHasPrefix reports whether b starts with p.
func bytesHasPrefix(b []byte, p string) bool {
	return len(b) >= len(p) && string(b[:len(p)]) == p
}
