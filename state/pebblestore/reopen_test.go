package pebblestore_test

import (
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
	"github.com/gradstream/gradstream/state/statetest"
)

// While a failed database is opened anew, readers wait for it: they do not find it
// empty.
func TestReadWhileReopened(t *testing.T) {
	var full, slow atomic.Bool
	opening, goOn := make(chan struct{}, 1), make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite:
			return syscall.ENOSPC
		case op.Kind == errorfs.OpList && slow.Load(): // as Open begins
			select {
			case opening <- struct{}{}:
			default:
			}
			<-goOn
		}
		return nil
	}))
	s := mustOpen(t, "state", pebblestore.Options{Pipeline: "a", FS: fs})
	want := fill(t, s, 3)
	p, err := s.Open(7)
	if err != nil {
		t.Fatal(err)
	}
	save := func(step uint64) error {
		commit, err := p.Stage(state.Manifest{Step: step})
		if err != nil {
			t.Fatal(err)
		}
		return commit(t.Context())
	}
	full.Store(true)
	if save(1) == nil {
		t.Fatal("a checkpoint was written on a full disk")
	}
	full.Store(false)
	q, err := s.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	slow.Store(true)
	saved, read := make(chan error, 1), make(chan error, 1)
	go func() { saved <- save(2) }()
	<-opening
	var h statetest.Handles
	go func() { read <- h.Bind(q) }()
	select {
	case err := <-read:
		t.Errorf("state was read from a database that is not open: %v", err)
		read <- err
	case <-time.After(100 * time.Millisecond):
	}
	slow.Store(false)
	close(goOn)
	if err := <-saved; err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if got := h.Digests(); !slices.Equal(got, want[3]) {
		t.Errorf("read %x, want %x", got, want[3])
	}
	if m, ok, err := s.Manifest(7); !ok || m.Step != 2 || err != nil {
		t.Errorf("step %d, %v, %v; want 2", m.Step, ok, err)
	}
}
