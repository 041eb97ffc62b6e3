package pebblestore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
	"github.com/gradstream/gradstream/state/statetest"
)

// smallMem makes Pebble flush, compact and rotate its log every few checkpoints.
const smallMem = 64 << 10

func openOn(fs vfs.FS) (*pebblestore.Store, error) {
	return pebblestore.Open("state", pebblestore.Options{Pipeline: "crash", FS: fs, MemTableBytes: smallMem})
}

// bigWrite changes handles by n, and the whole table every fourth time.
func bigWrite(h *statetest.Handles, n int) {
	h.Write(n)
	if n%4 == 0 {
		for i := range h.Table.Data {
			h.Table.Data[i] = float32(i%97 + n)
		}
		h.Table.TouchAll()
	}
}

// checkDisk opens the store on a disk and checks that a task is whole, of step
// least or later. It returns the step.
func checkDisk(t *testing.T, fs vfs.FS, task int, least uint64, digests map[uint64][]uint64) uint64 {
	t.Helper()
	s, err := openOn(fs)
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer s.Close()
	p, err := s.Open(task)
	if err != nil {
		t.Fatal(err)
	}
	var h statetest.Handles
	if err := h.Bind(p); err != nil {
		t.Fatal(err)
	}
	m, _ := p.Last()
	if m.Step < least {
		t.Fatalf("step %d after the crash; step %d was confirmed before", m.Step, least)
	}
	if !slices.Equal(h.Digests(), digests[m.Step]) {
		t.Fatalf("the state after the crash is not that of step %d", m.Step)
	}
	return m.Step
}

func emptyDigests() []uint64 {
	s, err := openOn(vfs.NewMem())
	if err != nil {
		panic(err)
	}
	defer s.Close()
	p, err := s.Open(0)
	if err != nil {
		panic(err)
	}
	var h statetest.Handles
	if err := h.Bind(p); err != nil {
		panic(err)
	}
	return h.Digests()
}

// A crash at any moment leaves the last confirmed checkpoint, or a later one, whole.
func TestCrash(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			mem := vfs.NewCrashableMem()
			s, err := openOn(mem)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { s.Close() }()
			p, err := s.Open(0)
			if err != nil {
				t.Fatal(err)
			}
			h := new(statetest.Handles)
			if err := h.Bind(p); err != nil {
				t.Fatal(err)
			}
			digests := map[uint64][]uint64{0: emptyDigests()}
			type clone struct {
				fs    *vfs.MemFS
				least uint64
			}
			var clones []clone
			confirmed := uint64(0)
			crash := func() {
				cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 1, 50, 99, 100}[rng.IntN(5)], RNG: rng}
				clones = append(clones, clone{mem.CrashClone(cfg), confirmed})
			}
			for step := uint64(1); step <= 24; step++ {
				bigWrite(h, int(step))
				digests[step] = h.Digests()
				commit, err := p.Stage(state.Manifest{Step: step})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() { done <- commit(t.Context()) }()
				for range rng.IntN(3) { // while it writes
					crash()
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				confirmed = step
				crash()
				if rng.IntN(8) == 0 { // a machine that restarts for real
					cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}
					disk := mem.CrashClone(cfg)
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					mem = disk
					if s, err = openOn(mem); err != nil {
						t.Fatal(err)
					}
					if p, err = s.Open(0); err != nil {
						t.Fatal(err)
					}
					h = new(statetest.Handles)
					if err := h.Bind(p); err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(h.Digests(), digests[step]) {
						t.Fatalf("restart after step %d lost state", step)
					}
				}
			}
			for _, c := range clones {
				checkDisk(t, c.fs, 0, c.least, digests)
			}
		})
	}
}

// Whichever operation of the disk fails, the process lives, the commit reports
// it, and what is on the disk afterwards is a whole checkpoint.
func TestDiskErrors(t *testing.T) {
	empty := emptyDigests()
	failures := 0
	for _, lasting := range []bool{false, true} {
		for at := int32(0); at < 120; at += 3 {
			var ops atomic.Int32
			armed := new(atomic.Bool)
			inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || !armed.Load() {
					return nil
				}
				if n := ops.Add(1) - 1; n == at || lasting && n > at {
					return syscall.ENOSPC
				}
				return nil
			})
			mem := vfs.NewCrashableMem()
			s, err := openOn(errorfs.Wrap(mem, inject))
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.Open(0)
			if err != nil {
				t.Fatal(err)
			}
			var h statetest.Handles
			if err := h.Bind(p); err != nil {
				t.Fatal(err)
			}
			digests := map[uint64][]uint64{0: empty}
			confirmed := uint64(0)
			armed.Store(true)
			for step := uint64(1); step <= 10; step++ {
				if step == 8 {
					armed.Store(false) // there is room again
				}
				bigWrite(&h, int(step))
				digests[step] = h.Digests()
				commit, err := p.Stage(state.Manifest{Step: step})
				if err != nil {
					t.Fatal(err)
				}
				switch err := commit(t.Context()); {
				case err == nil:
					confirmed = step
				case errors.Is(err, context.Canceled):
					t.Fatal(err)
				default:
					failures++
				}
			}
			m, _ := p.Last()
			if m.Step != confirmed || confirmed != 10 {
				t.Errorf("error at write %d, lasting %v: step %d is confirmed, Last says %d; want 10, as the disk works again", at, lasting, confirmed, m.Step)
			}
			crashed := mem.CrashClone(vfs.CrashCloneCfg{})
			if err := s.Close(); err != nil {
				t.Errorf("error at write %d, lasting %v: close: %v", at, lasting, err)
			}
			checkDisk(t, crashed, 0, confirmed, digests)
		}
	}
	if failures == 0 {
		t.Error("no error reached a commit")
	}
	t.Logf("%d commits failed", failures)
}
