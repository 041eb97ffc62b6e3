package state

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"
)

// A layout is the walk over a type, prepared once.
type layout struct {
	root *node
	text string // canonical text of the shape
	sum  uint32 // low half of XXH3-64 of the text
}

type nodeKind uint8

const (
	kindBool nodeKind = iota
	kindInt8
	kindUint8
	kindInt
	kindUint
	kindFloat32
	kindFloat64
	kindString
	kindBytes
	kindSlice
	kindArray
	kindStruct
	kindCodec
)

type node struct {
	kind   nodeKind
	elem   *node   // of a slice or array
	fields []*node // of a struct, by field index
	min    int     // least bytes an encoded value takes
}

var (
	layouts   sync.Map // reflect.Type to *layout
	codecType = reflect.TypeFor[Codec]()
)

func layoutOf(t reflect.Type) *layout {
	if l, ok := layouts.Load(t); ok {
		return l.(*layout)
	}
	b := layoutBuilder{root: t}
	l := &layout{root: b.build(t, t.String())}
	l.text = b.text.String()
	l.sum = uint32(xxh3.HashString(l.text))
	layouts.Store(t, l)
	return l
}

type layoutBuilder struct {
	root reflect.Type
	open []reflect.Type // types being built, to find recursion
	text strings.Builder
}

// build makes the node of t and writes its shape. The names of types are left
// out, so that a type may be renamed or moved; the names of fields are not, as
// two fields of one type that trade places would be misread.
func (b *layoutBuilder) build(t reflect.Type, path string) *node {
	fail := func(what string) {
		panic(fmt.Sprintf("state: %s cannot be stored: %s is %s", b.root, path, what))
	}
	if reflect.PointerTo(t).Implements(codecType) {
		b.text.WriteString("codec")
		return &node{kind: kindCodec, min: 4}
	}
	leaf := func(k nodeKind, least int) *node {
		b.text.WriteString(t.Kind().String())
		return &node{kind: k, min: least}
	}
	switch t.Kind() {
	case reflect.Bool:
		return leaf(kindBool, 1)
	case reflect.Int8:
		return leaf(kindInt8, 1)
	case reflect.Uint8:
		return leaf(kindUint8, 1)
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64:
		return leaf(kindInt, 1)
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return leaf(kindUint, 1)
	case reflect.Float32:
		return leaf(kindFloat32, 4)
	case reflect.Float64:
		return leaf(kindFloat64, 8)
	case reflect.String:
		return leaf(kindString, 1)
	}

	for _, o := range b.open {
		if o == t {
			fail("of a type that contains itself")
		}
	}
	b.open = append(b.open, t)
	defer func() { b.open = b.open[:len(b.open)-1] }()

	switch t.Kind() {
	case reflect.Slice:
		b.text.WriteString("[]")
		n := &node{kind: kindSlice, min: 1, elem: b.build(t.Elem(), path+"[]")}
		if n.elem.min == 0 {
			fail("a slice of elements without content")
		}
		if n.elem.kind == kindUint8 && t.Elem() == reflect.TypeFor[byte]() {
			n.kind = kindBytes
		}
		return n
	case reflect.Array:
		b.text.WriteString("[" + strconv.Itoa(t.Len()) + "]")
		n := &node{kind: kindArray, elem: b.build(t.Elem(), path+"[]")}
		n.min = t.Len() * n.elem.min
		return n
	case reflect.Struct:
		n := &node{kind: kindStruct}
		b.text.WriteByte('{')
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() {
				path += "." + f.Name
				fail("an unexported field; export it, or implement state.Codec")
			}
			b.text.WriteString(f.Name + " ")
			fn := b.build(f.Type, path+"."+f.Name)
			b.text.WriteByte(';')
			n.fields = append(n.fields, fn)
			n.min += fn.min
		}
		b.text.WriteByte('}')
		return n
	default:
		fail("a " + t.Kind().String() + "; use bool, numbers, strings, slices, arrays and structs, or implement state.Codec")
		return nil
	}
}
