package state

import (
	"errors"
	"fmt"
	"sync"
)

// Delta is a copy of what changed between two checkpoints: store keys with
// values, nil for a deleted key. Its memory is used again after Reset.
type Delta struct {
	arena []byte
	ops   []change
}

type change struct {
	at, key, value int // offset in the arena, length of key and value; value -1: deleted
}

// Put adds a change. Key and value are copied.
func (d *Delta) Put(key, value []byte) {
	c := change{at: len(d.arena), key: len(key), value: len(value)}
	if value == nil {
		c.value = -1
	}
	d.arena = append(append(d.arena, key...), value...)
	d.ops = append(d.ops, c)
}

// Each yields the changes in the order of Put; value is nil for a deleted key.
func (d *Delta) Each(yield func(key, value []byte) bool) {
	for _, c := range d.ops {
		end := c.at + c.key
		var value []byte
		if c.value >= 0 {
			value = d.arena[end : end+c.value : end+c.value]
		}
		if !yield(d.arena[c.at:end:end], value) {
			return
		}
	}
}

// Len returns the number of changes.
func (d *Delta) Len() int { return len(d.ops) }

// Bytes returns the summed length of keys and values.
func (d *Delta) Bytes() int { return len(d.arena) }

// Reset empties the delta and keeps its memory.
func (d *Delta) Reset() { d.arena, d.ops = d.arena[:0], d.ops[:0] }

// Merge adds the changes of an older delta to keys that d does not change.
func (d *Delta) Merge(older *Delta) {
	newer := make(map[string]struct{}, len(d.ops))
	for key := range d.Each {
		newer[string(key)] = struct{}{}
	}
	for key, value := range older.Each {
		if _, ok := newer[string(key)]; !ok {
			d.Put(key, value)
		}
	}
}

// Handles is the part of a [Partition] that is the same in every store: the
// bound handles, and the changes of a stage until they are durable.
type Handles struct {
	bound []boundHandle
	names map[string]struct{}
	key   []byte

	mu     sync.Mutex // a stage may end on another goroutine
	out    *Delta     // staged, not yet ended
	failed *Delta     // to be part of the next stage
	free   *Delta     // memory to use again
	bytes  int        // of the last stage
	ops    int        // changes of it
}

// keepBytes is up to which size a delta is kept for the next stage. What is larger would take,
// between two checkpoints, as much memory as what it is a copy of.
const keepBytes = 256 << 10

type boundHandle struct {
	id     ID
	s      Stateful
	stored bool // the store holds the ID as it is
}

// Bind loads s from what a store holds and adds it to later stages. Record is
// the stored [AppendID] of the handle, nil if there is none; entries yields what
// is stored under its ID, and is not called without a record.
func (h *Handles) Bind(id ID, s Stateful, record []byte, entries func(yield func(key, value []byte) bool) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	if _, ok := h.names[id.String()]; ok {
		return fmt.Errorf("state %s is bound twice", id)
	}
	if record != nil {
		have, err := DecodeID(record)
		if err != nil {
			return fmt.Errorf("state %s: %w", id, err)
		}
		if have != id {
			return &MismatchError{Have: have, Want: id}
		}
		var failed error
		err = entries(func(key, value []byte) bool {
			failed = s.Load(key, value)
			return failed == nil
		})
		if err = errors.Join(failed, err); err != nil {
			return fmt.Errorf("load state %s: %w", id, err)
		}
	}
	if h.names == nil {
		h.names = make(map[string]struct{})
	}
	h.names[id.String()] = struct{}{}
	h.bound = append(h.bound, boundHandle{id: id, s: s, stored: record != nil})
	return nil
}

// ErrStageDone says that the commit function of a stage was called before. What
// a failed one held is written by the next stage, not by another try.
var ErrStageDone = errors.New("state: this stage was committed or failed before")

// Stage copies what changed in the bound handles, and what failed stages held.
// Each stage must end with Done before the next.
func (h *Handles) Stage() (*Delta, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.out != nil {
		return nil, errors.New("state: a stage is still outstanding")
	}
	d := h.free
	h.free = nil
	if d == nil {
		d = &Delta{arena: make([]byte, 0, h.bytes+h.bytes/16), ops: make([]change, 0, h.ops+h.ops/16)}
	}
	for i := range h.bound {
		b := &h.bound[i]
		if !b.stored {
			// A failed stage hands the record on with its changes.
			b.stored = true
			h.key = AppendHandleKey(h.key[:0], b.id)
			d.Put(h.key, AppendID(nil, b.id))
		}
		for key, value := range b.s.Changed {
			h.key = AppendEntryKey(h.key[:0], b.id, key)
			d.Put(h.key, value)
		}
	}
	if h.failed != nil {
		d.Merge(h.failed)
		h.failed = nil
	}
	h.out = d
	return d, nil
}

// Done ends the stage that returned d. If it is not durable, its changes become
// part of the next.
func (h *Handles) Done(d *Delta, durable bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out = nil
	if !durable {
		h.failed = d
		return
	}
	if h.bytes, h.ops = len(d.arena), len(d.ops); h.bytes > keepBytes {
		return
	}
	d.Reset()
	h.free = d
}
