package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// The Arrow library trusts the lengths it reads: a few hostile bytes make it
// allocate without bound or recurse until the stack ends, which no recover
// catches. So messages are framed here, schemas are walked here first, and
// buffers come from an allocator with a limit. What else is wrong with a
// message ends in a panic of the library that is caught.

const maxSchemaDepth = 32 // of nested Arrow fields

// Types of message headers and of fields in the flatbuffers of Arrow.
const (
	headerSchema  = 1
	typeTimestamp = 10
	typeUnion     = 14
	typeBinView   = 23
	typeUtf8View  = 24
)

// arrowError is an error of our own, to be found inside of the library's.
type arrowError string

func (e arrowError) Error() string { return string(e) }

func arrowErrorf(format string, args ...any) error { return arrowError(fmt.Sprintf(format, args...)) }

const (
	errTruncated = arrowError("the Arrow data ends in the middle of a message")
	errSchema    = arrowError("an Arrow schema whose parts do not fit into its bytes")
	errNoHeader  = arrowError("an Arrow message without a header")
)

// frames reads the messages of an IPC stream. It is an ipc.MessageReader.
type frames struct {
	r     io.Reader
	bytes []byte // instead of r: what is left
	most  int    // bytes of one message
	file  bool   // a footer follows, with or without an end-of-stream marker before it
	ended bool   // by a marker or the footer, not only by the end of the data
}

func (f *frames) Retain()  {}
func (f *frames) Release() {}

// take returns the next n bytes. At the end of the data it returns io.EOF.
func (f *frames) take(n int) ([]byte, error) {
	if n < 0 || n > f.most {
		return nil, arrowErrorf("an Arrow message of %d bytes; at most %d are read", n, f.most)
	}
	if f.r == nil {
		if len(f.bytes) == 0 && n > 0 {
			return nil, io.EOF
		}
		if n > len(f.bytes) {
			return nil, errTruncated
		}
		b := f.bytes[:n:n]
		f.bytes = f.bytes[n:]
		return b, nil
	}
	const step = 1 << 20 // do not believe a length before the bytes are there
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(n, 2*cap(b))), b...)
		}
		m, err := io.ReadFull(f.r, b[len(b):cap(b)])
		b = b[:len(b)+m]
		if err == io.EOF && len(b) == 0 {
			return nil, io.EOF
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, errTruncated
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// rest is take where the data must not end.
func (f *frames) rest(n int) ([]byte, error) {
	b, err := f.take(n)
	if err == io.EOF {
		err = errTruncated
	}
	return b, err
}

// Message returns the next message, or io.EOF.
func (f *frames) Message() (*ipc.Message, error) {
	b, err := f.take(4)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(b)
	if f.file && n != 0xFFFFFFFF {
		n = 0
	}
	if n == 0xFFFFFFFF {
		if b, err = f.rest(4); err != nil {
			return nil, err
		}
		n = binary.LittleEndian.Uint32(b)
	}
	if n == 0 {
		f.ended = true
		return nil, io.EOF
	}
	meta, err := f.rest(int(n))
	if err != nil {
		return nil, err
	}
	message := flatRoot(meta)
	if err := checkMessage(message); err != nil {
		return nil, err
	}
	var length int64
	if p := message.field(10); p > 0 {
		length = int64(binary.LittleEndian.Uint64(meta[p:]))
	}
	if length < 0 || length > int64(f.most) {
		return nil, arrowErrorf("an Arrow message of %d bytes; at most %d are read", length, f.most)
	}
	body, err := f.rest(int(length))
	if err != nil {
		return nil, err
	}
	return ipc.NewMessage(memory.NewBufferBytes(meta), memory.NewBufferBytes(body)), nil
}

// flat is a table of a flatbuffer. Its methods panic beyond the buffer.
type flat struct {
	b   []byte
	pos int
}

func flatRoot(b []byte) flat { return flat{b, int(binary.LittleEndian.Uint32(b))} }

// field returns the position of a field by its slot in the table's layout, or 0.
func (t flat) field(slot int) int {
	table := t.pos - int(int32(binary.LittleEndian.Uint32(t.b[t.pos:])))
	if slot >= int(binary.LittleEndian.Uint16(t.b[table:])) {
		return 0
	}
	if o := int(binary.LittleEndian.Uint16(t.b[table+slot:])); o > 0 {
		return t.pos + o
	}
	return 0
}

func (t flat) indirect(p int) int { return p + int(binary.LittleEndian.Uint32(t.b[p:])) }

// table returns the table in a slot.
func (t flat) table(slot int) (flat, bool) {
	p := t.field(slot)
	if p == 0 {
		return flat{}, false
	}
	return flat{t.b, t.indirect(p)}, true
}

// vector returns where the elements of a vector (or string) start, and how many.
func (t flat) vector(slot int) (at, n int) {
	p := t.field(slot)
	if p == 0 {
		return 0, 0
	}
	p = t.indirect(p)
	return p + 4, int(binary.LittleEndian.Uint32(t.b[p:]))
}

// checkMessage walks the schema of a schema message; other messages pass.
func checkMessage(m flat) error {
	p := m.field(6)
	if p == 0 || m.b[p] != headerSchema {
		return nil
	}
	schema, ok := m.table(8)
	if !ok {
		return errNoHeader
	}
	// Tables may share parts, but a schema that was written by a program is not
	// much larger than its bytes.
	w := &schemaWalk{nodes: len(m.b)/8 + 16, text: 16*len(m.b) + 1<<16}
	if err := w.fields(schema, 6, 0); err != nil {
		return err
	}
	return w.metadata(schema, 8)
}

type schemaWalk struct{ nodes, text int }

func (w *schemaWalk) fields(t flat, slot, depth int) error {
	at, n := t.vector(slot)
	if depth > maxSchemaDepth {
		return arrowErrorf("an Arrow schema nested deeper than %d", maxSchemaDepth)
	}
	if w.nodes -= n; w.nodes < 0 {
		return errSchema
	}
	for i := range n {
		f := flat{t.b, t.indirect(at + 4*i)}
		if err := w.string(f, 4); err != nil {
			return err
		}
		if err := w.metadata(f, 16); err != nil {
			return err
		}
		if p := f.field(8); p > 0 {
			switch f.b[p] {
			case typeUnion, typeBinView, typeUtf8View:
				name, n := f.vector(4)
				return arrowErrorf("column %s: Arrow unions and views are not supported", f.b[name:name+n])
			case typeTimestamp:
				if typ, ok := f.table(10); ok {
					if err := w.string(typ, 6); err != nil {
						return err
					}
				}
			}
		}
		if err := w.fields(f, 14, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *schemaWalk) metadata(t flat, slot int) error {
	at, n := t.vector(slot)
	if w.nodes -= n; w.nodes < 0 {
		return errSchema
	}
	for i := range n {
		pair := flat{t.b, t.indirect(at + 4*i)}
		if err := w.string(pair, 4); err != nil {
			return err
		}
		if err := w.string(pair, 6); err != nil {
			return err
		}
	}
	return nil
}

func (w *schemaWalk) string(t flat, slot int) error {
	_, n := t.vector(slot)
	if w.text -= n; w.text < 0 {
		return errSchema
	}
	return nil
}

// limited is an allocator that panics instead of handing out more than left.
type limited struct {
	memory.Allocator
	most, left int
	over       bool // more was asked for
}

func (l *limited) spend(n int) {
	if n < 0 || n > l.left {
		l.over = true
		panic("no memory left")
	}
	l.left -= n
}

func (l *limited) Allocate(size int) []byte {
	l.spend(size)
	return l.Allocator.Allocate(size)
}

func (l *limited) Reallocate(size int, b []byte) []byte {
	l.spend(size)
	return l.Allocator.Reallocate(size, b)
}

// guarded calls fn and turns a panic of the Arrow library into an error. Errors
// of our own lose what the library wraps around them.
func (l *limited) guarded(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged Arrow data: %v", p)
		}
		var own arrowError
		switch {
		case l.over:
			err = arrowErrorf("the Arrow data needs more than %d bytes in memory", l.most)
		case errors.As(err, &own):
			err = own
		}
	}()
	return fn()
}
