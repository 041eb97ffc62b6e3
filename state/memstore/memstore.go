// Package memstore keeps state in memory: for tests, for runs over files, and as
// the oracle other stores are compared with.
package memstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gradstream/gradstream/state"
)

// Store is a store in memory. What was committed survives Close of a partition
// and of the store, for as long as the value lives. Safe for concurrent use.
type Store struct {
	mu    sync.Mutex
	tasks map[int]*task
}

type task struct {
	open bool
	data map[string][]byte // store key to value
}

var (
	_ state.Store     = (*Store)(nil)
	_ state.Inspector = (*Store)(nil)
)

// New returns an empty store.
func New() *Store { return &Store{tasks: make(map[int]*task)} }

// Open returns the partition of a task.
func (s *Store) Open(n int) (state.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 0 {
		return nil, fmt.Errorf("task %d is negative", n)
	}
	t := s.tasks[n]
	if t == nil {
		t = &task{data: make(map[string][]byte)}
		s.tasks[n] = t
	}
	if t.open {
		return nil, fmt.Errorf("task %d is open already", n)
	}
	p := &partition{store: s, task: t}
	if raw, ok := t.data[string(state.ManifestKey())]; ok {
		m, err := state.DecodeManifest(raw)
		if err != nil {
			return nil, fmt.Errorf("task %d: %w", n, err)
		}
		p.last, p.has = m, true
	}
	t.open = true
	return p, nil
}

// Tasks lists the tasks that have a checkpoint.
func (s *Store) Tasks() ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int
	for n, t := range s.tasks {
		if _, ok := t.data[string(state.ManifestKey())]; ok {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Close does nothing: the store stays usable and keeps what was committed.
func (s *Store) Close() error { return nil }

// Manifest returns the manifest of a task.
func (s *Store) Manifest(n int) (state.Manifest, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, ok := s.get(n)[string(state.ManifestKey())]
	if !ok {
		return state.Manifest{}, false, nil
	}
	m, err := state.DecodeManifest(raw)
	return m, err == nil, err
}

// Handles lists the handles of a task.
func (s *Store) Handles(n int) ([]state.HandleInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []state.HandleInfo
	data := s.get(n)
	from, to := state.HandleRange()
	for _, key := range between(data, from, to) {
		id, err := state.DecodeID(data[key])
		if err != nil {
			return nil, err
		}
		info := state.HandleInfo{ID: id}
		from, to := state.EntryRange(id)
		for _, k := range between(data, from, to) {
			info.Entries++
			info.Bytes += int64(len(k) - len(from) + len(data[k]))
		}
		out = append(out, info)
	}
	return out, nil
}

// Entries yields the entries of a handle.
func (s *Store) Entries(n int, id state.ID, yield func(key, value []byte) bool) error {
	s.mu.Lock()
	data := maps.Clone(s.get(n)) // values are never written to
	s.mu.Unlock()
	from, to := state.EntryRange(id)
	for _, k := range between(data, from, to) {
		if !yield([]byte(k[len(from):]), data[k]) {
			break
		}
	}
	return nil
}

// Delete removes all state of a task.
func (s *Store) Delete(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[n]; t != nil && t.open {
		return fmt.Errorf("task %d is open", n)
	}
	delete(s.tasks, n)
	return nil
}

// Dump yields what is stored of a task.
func (s *Store) Dump(n int, yield func(key, value []byte) error) error {
	s.mu.Lock()
	data := maps.Clone(s.get(n)) // values are never written to
	s.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if err := yield([]byte(k), data[k]); err != nil {
			return err
		}
	}
	return nil
}

// Import replaces what is stored of a task.
func (s *Store) Import(ctx context.Context, n int, entries func(yield func(key, value []byte) error) error) error {
	if n < 0 {
		return fmt.Errorf("task %d is negative", n)
	}
	data := make(map[string][]byte)
	err := entries(func(key, value []byte) error {
		data[string(key)] = append([]byte{}, value...)
		return state.CheckEntry(key, value)
	})
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && data[string(state.ManifestKey())] == nil {
		err = fmt.Errorf("%w: no manifest", state.ErrDamaged)
	}
	if err != nil {
		return fmt.Errorf("import task %d: %w", n, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[n]; t != nil && t.open {
		return fmt.Errorf("task %d is open", n)
	}
	s.tasks[n] = &task{data: data}
	return nil
}

// Clone returns a copy of what is committed now, with no task open.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := New()
	for n, t := range s.tasks {
		c.tasks[n] = &task{data: maps.Clone(t.data)} // values are never written to
	}
	return c
}

func (s *Store) get(n int) map[string][]byte {
	if t := s.tasks[n]; t != nil {
		return t.data
	}
	return nil
}

// between returns the keys in [from, to), sorted.
func between(data map[string][]byte, from, to []byte) []string {
	var keys []string
	for k := range data {
		if k >= string(from) && k < string(to) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

type partition struct {
	store   *Store
	task    *task
	handles state.Handles
	last    state.Manifest
	has     bool
	closed  bool
}

var errClosed = errors.New("the partition is closed")

func (p *partition) Last() (state.Manifest, bool) {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	return p.last.Clone(), p.has
}

func (p *partition) Bind(id state.ID, s state.Stateful) error {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if p.closed {
		return errClosed
	}
	data := p.task.data
	record := data[string(state.AppendHandleKey(nil, id))]
	return p.handles.Bind(id, s, record, func(yield func(key, value []byte) bool) error {
		from, to := state.EntryRange(id)
		for _, k := range between(data, from, to) {
			if !yield([]byte(k[len(from):]), data[k]) {
				break
			}
		}
		return nil
	})
}

func (p *partition) Stage(m state.Manifest) (func(context.Context) error, error) {
	p.store.mu.Lock()
	closed := p.closed
	p.store.mu.Unlock()
	if closed {
		return nil, errClosed
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
		return p.commit(ctx, m, d)
	}, nil
}

func (p *partition) commit(ctx context.Context, m state.Manifest, d *state.Delta) error {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	err := ctx.Err()
	if p.closed {
		err = errClosed
	}
	if err != nil {
		p.handles.Done(d, false)
		return err
	}
	for key, value := range d.Each {
		if value == nil {
			delete(p.task.data, string(key))
		} else {
			p.task.data[string(key)] = slices.Clone(value)
		}
	}
	p.task.data[string(state.ManifestKey())] = state.AppendManifest(nil, m)
	p.last, p.has = m, true
	p.handles.Done(d, true)
	return nil
}

func (p *partition) Close() error {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if !p.closed {
		p.closed, p.task.open = true, false
	}
	return nil
}
