package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gradstream/gradstream/state"
)

// Dump yields what is stored of a task. It keeps the store from being opened anew
// or closed, so yield should not wait.
func (s *Store) Dump(task int, yield func(key, value []byte) error) error {
	if task < 0 || task > math.MaxInt32 {
		return fmt.Errorf("task %d is out of range", task)
	}
	return s.read(func(db *pebble.DB) error {
		var failed error
		err := scan(db, task, nil, []byte{0xff}, func(key, value []byte) bool {
			if value == nil {
				value = []byte{}
			}
			failed = yield(key, value)
			return failed == nil
		})
		return errors.Join(failed, err)
	})
}

// Import replaces what is stored of a task in one synced batch.
func (s *Store) Import(ctx context.Context, task int, entries func(yield func(key, value []byte) error) error) error {
	if task < 0 || task > math.MaxInt32 {
		return fmt.Errorf("task %d is out of range", task)
	}
	if err := s.reserve(task); err != nil {
		return err
	}
	defer s.release(task)
	err := s.write(ctx, func(db *pebble.DB) (*pebble.Batch, error) {
		b := db.NewBatch()
		err := fill(b, task, entries)
		if err != nil {
			return nil, errors.Join(err, b.Close())
		}
		return b, nil
	})
	if err != nil {
		return fmt.Errorf("import task %d: %w", task, err)
	}
	return nil
}

func fill(b *pebble.Batch, task int, entries func(yield func(key, value []byte) error) error) error {
	if err := b.DeleteRange(taskKey(nil, task), taskKey(nil, task+1), nil); err != nil {
		return err
	}
	var full []byte
	whole := false
	err := entries(func(key, value []byte) error {
		if err := state.CheckEntry(key, value); err != nil {
			return err
		}
		if size := b.Len() + len(key) + len(value); size > maxBatch {
			return fmt.Errorf("%d bytes are more than can be written at once, %d", size, maxBatch)
		}
		whole = whole || len(key) == 1
		full = append(taskKey(full[:0], task), key...)
		return b.Set(full, value, nil)
	})
	if err == nil && !whole {
		err = fmt.Errorf("%w: no manifest", state.ErrDamaged)
	}
	return err
}

// reserve keeps a task from being opened until release.
func (s *Store) reserve(task int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[task] {
		return fmt.Errorf("task %d is open", task)
	}
	s.open[task] = true
	return nil
}
