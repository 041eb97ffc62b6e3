package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gradstream/gradstream/state"
)

// Open returns the partition of a task.
func (s *Store) Open(task int) (state.Partition, error) {
	if task < 0 || task > math.MaxInt32 {
		return nil, fmt.Errorf("task %d is out of range", task)
	}
	if s.o.ReadOnly {
		return nil, errors.New("the state store is open for reading only")
	}
	s.mu.Lock()
	if s.open[task] {
		s.mu.Unlock()
		return nil, fmt.Errorf("task %d is open already", task)
	}
	s.open[task] = true
	s.mu.Unlock()
	// A commit that its caller gave up may still be on its way to the disk: what is
	// read from here on must not change under the reader.
	err := s.await()
	epoch := s.current()
	var m state.Manifest
	var ok bool
	if err == nil {
		m, ok, err = s.Manifest(task)
	}
	if err != nil {
		s.release(task)
		return nil, err
	}
	return &partition{s: s, task: task, epoch: epoch, last: m, has: ok}, nil
}

func (s *Store) release(task int) {
	s.mu.Lock()
	delete(s.open, task)
	s.mu.Unlock()
}

type partition struct {
	s       *Store
	task    int
	epoch   int // of the database that holds it
	handles state.Handles

	mu     sync.Mutex
	last   state.Manifest
	has    bool
	closed bool
}

func (p *partition) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *partition) Last() (state.Manifest, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last.Clone(), p.has
}

func (p *partition) Bind(id state.ID, h state.Stateful) error {
	if p.isClosed() {
		return ErrClosed
	}
	return p.s.read(func(db *pebble.DB) error {
		if p.s.epoch != p.epoch {
			return p.renewed()
		}
		record, err := get(db, state.AppendHandleKey(taskKey(nil, p.task), id))
		if err != nil {
			return err
		}
		return p.handles.Bind(id, h, record, func(yield func(key, value []byte) bool) error {
			return entries(db, p.task, id, yield)
		})
	})
}

func (p *partition) Stage(m state.Manifest) (func(context.Context) error, error) {
	if p.isClosed() {
		return nil, ErrClosed
	}
	m = m.Clone()
	d, err := p.handles.Stage()
	if err != nil {
		return nil, err
	}
	var called atomic.Bool
	return func(ctx context.Context) error {
		if called.Swap(true) {
			return state.ErrStageDone
		}
		err := p.commit(ctx, m, d)
		p.handles.Done(d, err == nil)
		return err
	}, nil
}

func (p *partition) commit(ctx context.Context, m state.Manifest, d *state.Delta) error {
	if p.isClosed() {
		return ErrClosed
	}
	if size := d.Bytes() + 16*d.Len(); size > maxBatch {
		return fmt.Errorf("a checkpoint of task %d would write %d bytes at once; the limit is %d: use more tasks or smaller tables", p.task, size, maxBatch)
	}
	err := p.s.write(ctx, func(db *pebble.DB) (*pebble.Batch, error) {
		if p.s.current() != p.epoch {
			return nil, p.renewed()
		}
		b := db.NewBatchWithSize(d.Bytes() + 16*d.Len() + 1024)
		var key []byte
		for k, v := range d.Each {
			key = append(taskKey(key[:0], p.task), k...)
			var err error
			if v == nil {
				err = b.Delete(key, nil)
			} else {
				err = b.Set(key, v, nil)
			}
			if err != nil {
				return nil, errors.Join(err, b.Close())
			}
		}
		key = append(taskKey(key[:0], p.task), state.ManifestKey()...)
		if err := b.Set(key, state.AppendManifest(nil, m), nil); err != nil {
			return nil, errors.Join(err, b.Close())
		}
		return b, nil
	})
	if err != nil {
		return fmt.Errorf("checkpoint of task %d at step %d: %w", p.task, m.Step, err)
	}
	p.mu.Lock()
	p.last, p.has = m, true
	p.mu.Unlock()
	return nil
}

// renewed says that what lay in the database is there no more.
func (p *partition) renewed() error {
	return fmt.Errorf("%w: the store in %s was begun anew since task %d was opened", state.ErrDamaged, p.s.dir, p.task)
}

func (p *partition) Close() error {
	p.mu.Lock()
	was := p.closed
	p.closed = true
	p.mu.Unlock()
	if !was {
		p.s.release(p.task)
	}
	return nil
}

// appendIdentity encodes the identity record: version, name, CRC32C.
func appendIdentity(dst []byte, pipeline string) []byte {
	start := len(dst)
	dst = append(dst, storeVersion)
	dst = append(dst, pipeline...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func decodeIdentity(src []byte) (pipeline string, err error) {
	end := len(src) - 4
	if end < 1 || crc32.Checksum(src[:end], castagnoli) != binary.LittleEndian.Uint32(src[end:]) {
		return "", errors.New("the identity record is not whole")
	}
	return string(src[1:end]), nil
}
