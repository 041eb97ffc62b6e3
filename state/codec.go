package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
)

// ErrDamaged is wrapped by errors that say that stored bytes are not what was
// written: torn, flipped or cut. The remedy is another copy of the state.
var ErrDamaged = errors.New("stored state is damaged")

// ErrLayout is wrapped by the error of [Decode] when the bytes were written from
// a type of another shape. The remedy is to raise the version of the state.
var ErrLayout = errors.New("stored state has another layout")

// Codec is implemented by a pointer to a type that encodes itself instead of
// being walked field by field.
type Codec interface {
	// AppendState appends the encoding to dst. Equal values give equal bytes.
	AppendState(dst []byte) []byte
	// LoadState replaces the value by the one encoded in src, which it does not
	// keep. It must return an error, not panic, on any input.
	LoadState(src []byte) error
}

// codecVersion is the first byte of every encoded value.
const codecVersion = 1

// prefixLen is the length of version and layout fingerprint.
const prefixLen = 5

// Append appends the encoding of v to dst. v is a value, or better a pointer to
// one (which saves a copy). Its type is built of bool, integers, floats,
// strings, slices, arrays and structs with exported fields, or implements
// [Codec]; with anything else Append panics, as that is a mistake of the
// program and not of the data. A nil and an empty slice encode alike. The bytes
// are described in docs/format/state.md; equal values give equal bytes.
func Append(dst []byte, v any) []byte {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer {
		p := reflect.New(rv.Type())
		p.Elem().Set(rv)
		rv = p
	} else if rv.IsNil() {
		panic("state: Append of a nil pointer")
	}
	l := layoutOf(rv.Type().Elem())
	dst = append(dst, codecVersion)
	dst = binary.LittleEndian.AppendUint32(dst, l.sum)
	return l.root.append(dst, rv.Elem())
}

// Decode sets what v points to from the bytes of [Append]. It returns an error
// and leaves v in part overwritten if src was cut or flipped ([ErrDamaged]) or
// was written from a type of another shape ([ErrLayout]). It keeps no part of
// src and allocates at most in proportion to its length.
func Decode(src []byte, v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		panic(fmt.Sprintf("state: Decode into %T, which is not a pointer to a value", v))
	}
	l := layoutOf(rv.Type().Elem())
	if len(src) < prefixLen {
		return fmt.Errorf("%w: %d bytes are too few for %s", ErrDamaged, len(src), rv.Type().Elem())
	}
	if src[0] != codecVersion {
		return fmt.Errorf("%w: encoding version %d; this program reads version %d", ErrLayout, src[0], codecVersion)
	}
	if sum := binary.LittleEndian.Uint32(src[1:]); sum != l.sum {
		return fmt.Errorf("%w: it was written from a type with fingerprint %08x, %s has %08x", ErrLayout, sum, rv.Type().Elem(), l.sum)
	}
	d := decoder{src: src[prefixLen:]}
	l.root.decode(&d, rv.Elem())
	if d.err == nil && len(d.src) != 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.src))
	}
	if d.err == nil {
		return nil
	}
	if d.foreign {
		return d.err
	}
	return fmt.Errorf("%w: %s: %w", ErrDamaged, rv.Type().Elem(), d.err)
}

// append adds the encoding of v, which is addressable and of the node's type.
func (n *node) append(dst []byte, v reflect.Value) []byte {
	switch n.kind {
	case kindBool:
		if v.Bool() {
			return append(dst, 1)
		}
		return append(dst, 0)
	case kindInt8:
		return append(dst, byte(v.Int()))
	case kindUint8:
		return append(dst, byte(v.Uint()))
	case kindInt:
		return binary.AppendVarint(dst, v.Int())
	case kindUint:
		return binary.AppendUvarint(dst, v.Uint())
	case kindFloat32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v.Float())))
	case kindFloat64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Float()))
	case kindString:
		s := v.String()
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		return append(dst, s...)
	case kindBytes:
		b := v.Bytes()
		dst = binary.AppendUvarint(dst, uint64(len(b)))
		return append(dst, b...)
	case kindSlice:
		dst = binary.AppendUvarint(dst, uint64(v.Len()))
		if n.elem.kind == kindFloat64 {
			if s, ok := v.Addr().Interface().(*[]float64); ok {
				for _, x := range *s {
					dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(x))
				}
				return dst
			}
		}
		fallthrough
	case kindArray:
		for i := range v.Len() {
			dst = n.elem.append(dst, v.Index(i))
		}
		return dst
	case kindStruct:
		for i, f := range n.fields {
			dst = f.append(dst, v.Field(i))
		}
		return dst
	case kindCodec:
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		dst = v.Addr().Interface().(Codec).AppendState(dst)
		size := len(dst) - at - 4
		if size > math.MaxUint32 {
			panic(fmt.Sprintf("state: %s encodes itself in %d bytes, more than 4 GiB", v.Type(), size))
		}
		binary.LittleEndian.PutUint32(dst[at:], uint32(size))
		return dst
	}
	panic("state: unknown node kind")
}

// decoder is the unread rest of an input and the first error.
type decoder struct {
	src     []byte
	err     error
	foreign bool // err is of a Codec, which says itself what is wrong
}

var errShort = errors.New("it ends early")

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
		d.src = nil
	}
}

// take returns the next n bytes of the input, or nil and sets the error.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.src)) {
		d.fail(errShort)
		return nil
	}
	b := d.src[:n:n]
	d.src = d.src[n:]
	return b
}

// uvarint reads a number in its shortest form only, so that a value has one encoding.
func (d *decoder) uvarint() uint64 {
	x, n := binary.Uvarint(d.src)
	if n <= 0 || n > 1 && d.src[n-1] == 0 {
		d.fail(errors.New("a number is cut or too long"))
		return 0
	}
	d.src = d.src[n:]
	return x
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// decode sets v, which is addressable and of the node's type.
func (n *node) decode(d *decoder, v reflect.Value) {
	if d.err != nil {
		return
	}
	switch n.kind {
	case kindBool:
		if b := d.take(1); b != nil {
			if b[0] > 1 {
				d.fail(fmt.Errorf("a bool is %d", b[0]))
				return
			}
			v.SetBool(b[0] == 1)
		}
	case kindInt8:
		if b := d.take(1); b != nil {
			v.SetInt(int64(int8(b[0])))
		}
	case kindUint8:
		if b := d.take(1); b != nil {
			v.SetUint(uint64(b[0]))
		}
	case kindInt:
		x := d.varint()
		if v.OverflowInt(x) {
			d.fail(fmt.Errorf("%d does not fit %s", x, v.Type()))
			return
		}
		v.SetInt(x)
	case kindUint:
		x := d.uvarint()
		if v.OverflowUint(x) {
			d.fail(fmt.Errorf("%d does not fit %s", x, v.Type()))
			return
		}
		v.SetUint(x)
	case kindFloat32:
		if b := d.take(4); b != nil {
			v.SetFloat(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		}
	case kindFloat64:
		if b := d.take(8); b != nil {
			v.SetFloat(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
	case kindString:
		v.SetString(string(d.take(d.uvarint())))
	case kindBytes:
		b := d.take(d.uvarint())
		if len(b) == 0 {
			v.SetZero()
			return
		}
		s := reflect.MakeSlice(v.Type(), len(b), len(b))
		reflect.Copy(s, reflect.ValueOf(b))
		v.Set(s)
	case kindSlice:
		n.decodeSlice(d, v)
	case kindArray:
		for i := 0; i < v.Len() && d.err == nil; i++ {
			n.elem.decode(d, v.Index(i))
		}
	case kindStruct:
		for i, f := range n.fields {
			f.decode(d, v.Field(i))
		}
	case kindCodec:
		b := d.take(4)
		if b == nil {
			return
		}
		if b = d.take(uint64(binary.LittleEndian.Uint32(b))); d.err != nil {
			return
		}
		if err := v.Addr().Interface().(Codec).LoadState(b); err != nil {
			d.fail(err)
			d.foreign = true
		}
	}
}

func (n *node) decodeSlice(d *decoder, v reflect.Value) {
	count := d.uvarint()
	if d.err != nil {
		return
	}
	// Every element takes at least elem.min bytes, so a false count is seen
	// before memory is taken for it.
	if count > uint64(len(d.src))/uint64(n.elem.min) {
		d.fail(errShort)
		return
	}
	if count == 0 {
		v.SetZero()
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), int(count), int(count)))
	if n.elem.kind == kindFloat64 {
		if s, ok := v.Addr().Interface().(*[]float64); ok {
			b := d.take(8 * count)
			for i := range *s {
				(*s)[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
			}
			return
		}
	}
	for i := 0; i < int(count) && d.err == nil; i++ {
		n.elem.decode(d, v.Index(i))
	}
}
