package statetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gradstream/gradstream/state"
)

// world is a store with its open partitions.
type world struct {
	t     *testing.T
	open  func() Store
	store Store
	parts map[int]*part
}

type part struct {
	state.Partition
	h Handles
}

func newWorld(t *testing.T, open func() Store) *world {
	return &world{t: t, open: open, store: open(), parts: make(map[int]*part)}
}

// task opens a task and binds the handles, once.
func (w *world) task(n int) *part {
	w.t.Helper()
	if p := w.parts[n]; p != nil {
		return p
	}
	sp, err := w.store.Open(n)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &part{Partition: sp}
	if err := p.h.Bind(sp); err != nil {
		w.t.Fatal(err)
	}
	w.parts[n] = p
	return p
}

// drop closes a task.
func (w *world) drop(n int) {
	w.t.Helper()
	if p := w.parts[n]; p != nil {
		if err := p.Close(); err != nil {
			w.t.Fatal(err)
		}
		delete(w.parts, n)
	}
}

func (w *world) close() {
	w.t.Helper()
	for n := range w.parts {
		w.drop(n)
	}
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reopen() {
	w.t.Helper()
	w.close()
	w.store = w.open()
}

func (p *part) stage(t *testing.T, step uint64) func(context.Context) error {
	t.Helper()
	commit, err := p.Stage(state.Manifest{Step: step, Hash: state.Hash{byte(step)}})
	if err != nil {
		t.Fatal(err)
	}
	return commit
}

func (p *part) commit(t *testing.T, step uint64) {
	t.Helper()
	if err := p.stage(t, step)(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (p *part) fail(t *testing.T, step uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.stage(t, step)(ctx); err == nil {
		t.Fatal("a commit whose context is done succeeds")
	}
}

// wantStep checks the last manifest.
func (p *part) wantStep(t *testing.T, want uint64) {
	t.Helper()
	m, ok := p.Last()
	if ok != (want > 0) || m.Step != want {
		t.Errorf("last checkpoint is of step %d (%v), want %d", m.Step, ok, want)
	}
}

func wantDigests(t *testing.T, what string, got, want []uint64) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// dumpHandles returns what a store must hold for the handles.
func dumpHandles(h *Handles) map[string]string {
	out := make(map[string]string)
	for i, s := range h.all() {
		for k, v := range s.All {
			out[fmt.Sprintf("%s %x", IDs()[i], k)] = string(v)
		}
	}
	return out
}

func dumpStore(t *testing.T, s Store, task int) map[string]string {
	t.Helper()
	out := make(map[string]string)
	handles, err := s.Handles(task)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range handles {
		last := ""
		err := s.Entries(task, h.ID, func(k, v []byte) bool {
			name := fmt.Sprintf("%s %x", h.ID, k)
			if name <= last && last != "" {
				t.Errorf("entry %s after %s", name, last)
			}
			last = name
			out[name] = string(v)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}
