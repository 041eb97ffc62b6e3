package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gradstream/gradstream/state"
)

// Tasks lists the tasks that have a checkpoint.
func (s *Store) Tasks() ([]int, error) {
	var out []int
	err := s.read(func(db *pebble.DB) error {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{taskSpace}, UpperBound: []byte{taskSpace + 1}})
		if err != nil {
			return err
		}
		for ok := it.First(); ok; {
			k := it.Key()
			if len(k) < 5 {
				return errors.Join(fmt.Errorf("%w: key %q", state.ErrDamaged, k), it.Close())
			}
			task := int(binary.BigEndian.Uint32(k[1:]))
			// The manifest is the first key of a task.
			if bytes.Equal(k[5:], state.ManifestKey()) {
				out = append(out, task)
			}
			ok = it.SeekGE(taskKey(nil, task+1))
		}
		return errors.Join(it.Error(), it.Close())
	})
	return out, err
}

// Manifest returns the manifest of a task.
func (s *Store) Manifest(task int) (m state.Manifest, ok bool, err error) {
	err = s.read(func(db *pebble.DB) error {
		raw, err := get(db, append(taskKey(nil, task), state.ManifestKey()...))
		if err != nil || raw == nil {
			return err
		}
		if m, err = state.DecodeManifest(raw); err != nil {
			return fmt.Errorf("task %d: %w", task, err)
		}
		ok = true
		return nil
	})
	return m, ok, err
}

// Handles lists the handles of a task. It reads all of the task's state.
func (s *Store) Handles(task int) ([]state.HandleInfo, error) {
	var out []state.HandleInfo
	err := s.read(func(db *pebble.DB) error {
		from, to := state.HandleRange()
		var failed error
		err := scan(db, task, from, to, func(_, value []byte) bool {
			var id state.ID
			if id, failed = state.DecodeID(value); failed != nil {
				return false
			}
			out = append(out, state.HandleInfo{ID: id})
			return true
		})
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		for i := range out {
			h := &out[i]
			err := entries(db, task, h.ID, func(key, value []byte) bool {
				h.Entries++
				h.Bytes += int64(len(key) + len(value))
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Entries yields the entries of a handle.
func (s *Store) Entries(task int, id state.ID, yield func(key, value []byte) bool) error {
	return s.read(func(db *pebble.DB) error { return entries(db, task, id, yield) })
}

// DiskBytes estimates what a task takes on disk; what was written last may not be
// counted yet.
func (s *Store) DiskBytes(task int) (n uint64, err error) {
	err = s.read(func(db *pebble.DB) error {
		n, err = db.EstimateDiskUsage(taskKey(nil, task), taskKey(nil, task+1))
		return err
	})
	return n, err
}

// Delete removes all state of a task, which must not be open.
func (s *Store) Delete(task int) error {
	if err := s.reserve(task); err != nil {
		return err
	}
	defer s.release(task)
	return s.write(context.Background(), func(db *pebble.DB) (*pebble.Batch, error) {
		b := db.NewBatch()
		return b, b.DeleteRange(taskKey(nil, task), taskKey(nil, task+1), nil)
	})
}

func entries(db *pebble.DB, task int, id state.ID, yield func(key, value []byte) bool) error {
	from, to := state.EntryRange(id)
	return scan(db, task, from, to, yield)
}

// scan yields the entries of a task in [from, to), keys without their first len(from) bytes.
func scan(db *pebble.DB, task int, from, to []byte, yield func(key, value []byte) bool) error {
	lower := append(taskKey(nil, task), from...)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: append(taskKey(nil, task), to...)})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !yield(it.Key()[len(lower):], v) {
			break
		}
	}
	return errors.Join(it.Error(), it.Close())
}
