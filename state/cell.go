package state

import (
	"bytes"
	"fmt"
)

// Cell is a handle for one value. T is a struct (or a plain value) of exported
// fields that [Append] can encode; or *T implements [Codec].
type Cell[T any] struct {
	V     T
	saved []byte
	buf   []byte
}

// Changed yields the value if its encoding changed.
func (c *Cell[T]) Changed(yield func(key, value []byte) bool) {
	c.buf = Append(c.buf[:0], &c.V)
	if c.saved != nil && bytes.Equal(c.buf, c.saved) {
		return
	}
	c.saved = append(c.saved[:0], c.buf...)
	yield(nil, c.buf)
}

// All yields the value.
func (c *Cell[T]) All(yield func(key, value []byte) bool) { yield(nil, Append(nil, &c.V)) }

// Load restores the value.
func (c *Cell[T]) Load(key, value []byte) error {
	if len(key) != 0 {
		return fmt.Errorf("a cell has no entry %q", key)
	}
	if err := Decode(value, &c.V); err != nil {
		return err
	}
	c.saved = append(c.saved[:0], value...)
	return nil
}
