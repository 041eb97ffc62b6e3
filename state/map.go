package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
)

// Key is what a [Map] can be keyed by.
type Key interface {
	~string | ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// Map is a handle for one value per key. The zero Map is empty and ready. All
// entries are in memory; a checkpoint writes only those that were written since
// the last. V is what [Append] can encode. One goroutine at a time.
type Map[K Key, V any] struct {
	m     map[K]*entry[V]
	dirty []K            // entries with the dirty flag, and keys deleted since marked (maybe twice)
	gone  map[K]struct{} // deleted keys that are in the last save
	free  []*entry[V]
	kbuf  []byte
	vbuf  []byte
}

type entry[V any] struct {
	v     V
	dirty bool
	saved bool // the key is in the last save
}

// Len returns the number of keys.
func (m *Map[K, V]) Len() int { return len(m.m) }

// Get returns the value of a key for reading. To change it, use [Map.Ensure]:
// what is written through the pointer of Get may be missing in checkpoints. The
// pointer is good until the key is deleted.
func (m *Map[K, V]) Get(key K) (*V, bool) {
	e, ok := m.m[key]
	if !ok {
		return nil, false
	}
	return &e.v, true
}

// Ensure returns the value of a key for reading and writing, the zero value if
// it was absent. The pointer is for use now: after the next checkpoint, writes
// through it are not seen as changes.
func (m *Map[K, V]) Ensure(key K) *V {
	e, ok := m.m[key]
	if !ok {
		e = m.add(key)
	}
	if !e.dirty {
		e.dirty = true
		m.dirty = append(m.dirty, key)
	}
	return &e.v
}

// Put sets the value of a key.
func (m *Map[K, V]) Put(key K, v V) { *m.Ensure(key) = v }

// Delete removes a key; an absent key is no error. Its memory is used again.
func (m *Map[K, V]) Delete(key K) {
	e, ok := m.m[key]
	if !ok {
		return
	}
	if e.saved {
		if m.gone == nil {
			m.gone = make(map[K]struct{})
		}
		m.gone[key] = struct{}{}
	}
	delete(m.m, key)
	*e = entry[V]{}
	m.free = append(m.free, e)
}

// Entries yields keys and values in ascending order of the keys. The values are
// for reading. The loop may delete the key it is at.
func (m *Map[K, V]) Entries() iter.Seq2[K, *V] {
	return func(yield func(K, *V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m.m)) {
			if e, ok := m.m[k]; ok && !yield(k, &e.v) {
				return
			}
		}
	}
}

func (m *Map[K, V]) add(key K) *entry[V] {
	if m.m == nil {
		m.m = make(map[K]*entry[V])
	}
	var e *entry[V]
	if n := len(m.free); n > 0 {
		e, m.free = m.free[n-1], m.free[:n-1]
	} else {
		e = new(entry[V])
	}
	if _, ok := m.gone[key]; ok {
		delete(m.gone, key)
		e.saved = true
	}
	m.m[key] = e
	return e
}

// Changed yields the entries written and the keys deleted since the last call,
// in ascending order of the keys.
func (m *Map[K, V]) Changed(yield func(key, value []byte) bool) {
	for k := range m.gone {
		m.dirty = append(m.dirty, k)
	}
	slices.Sort(m.dirty)
	m.dirty = slices.Compact(m.dirty)
	more := true
	for _, k := range m.dirty {
		e, ok := m.m[k]
		if !ok {
			if _, was := m.gone[k]; !was {
				continue
			}
			m.kbuf = appendKey(m.kbuf[:0], &k)
			more = more && yield(m.kbuf, nil)
			continue
		}
		if !e.dirty {
			continue
		}
		e.dirty, e.saved = false, true
		m.kbuf = appendKey(m.kbuf[:0], &k)
		m.vbuf = Append(m.vbuf[:0], &e.v)
		more = more && yield(m.kbuf, m.vbuf)
	}
	clear(m.gone)
	clear(m.dirty)
	m.dirty = m.dirty[:0]
}

// All yields every entry in ascending order of the keys.
func (m *Map[K, V]) All(yield func(key, value []byte) bool) {
	var kbuf, vbuf []byte
	for k, v := range m.Entries() {
		kbuf = appendKey(kbuf[:0], &k)
		vbuf = Append(vbuf[:0], v)
		if !yield(kbuf, vbuf) {
			return
		}
	}
}

// Load restores one entry.
func (m *Map[K, V]) Load(key, value []byte) error {
	var k K
	if err := decodeKey(key, &k); err != nil {
		return err
	}
	e, ok := m.m[k]
	if !ok {
		e = m.add(k)
	}
	if err := Decode(value, &e.v); err != nil {
		return fmt.Errorf("key %v: %w", k, err)
	}
	e.dirty, e.saved = false, true
	return nil
}

// appendKey encodes a key so that bytes sort as keys do: text as it is, numbers
// as 8 bytes big-endian, signed ones with the sign bit flipped.
func appendKey[K Key](dst []byte, key *K) []byte {
	v := reflect.ValueOf(key).Elem()
	switch {
	case v.Kind() == reflect.String:
		return append(dst, v.String()...)
	case v.CanInt():
		return binary.BigEndian.AppendUint64(dst, uint64(v.Int())^1<<63)
	default:
		return binary.BigEndian.AppendUint64(dst, v.Uint())
	}
}

func decodeKey[K Key](src []byte, key *K) error {
	v := reflect.ValueOf(key).Elem()
	if v.Kind() == reflect.String {
		v.SetString(string(src))
		return nil
	}
	if len(src) != 8 {
		return fmt.Errorf("%w: a key of %s has %d bytes; expected 8", ErrDamaged, v.Type(), len(src))
	}
	u := binary.BigEndian.Uint64(src)
	overflow := false
	if v.CanInt() {
		i := int64(u ^ 1<<63)
		overflow = v.OverflowInt(i)
		v.SetInt(i)
	} else {
		overflow = v.OverflowUint(u)
		v.SetUint(u)
	}
	if overflow {
		return fmt.Errorf("%w: %w", ErrDamaged, errors.New("a key does not fit "+v.Type().String()))
	}
	return nil
}
