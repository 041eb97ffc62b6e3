package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
)

// topicInMemory is the state topic of one task.
type topicInMemory struct {
	connectors.TaskLog
	log    []simState
	marked int
	fail   func(n int) (commit bool, err error) // of call n, from 1
	calls  int
	sent   []int // records of each call
}

func (l *topicInMemory) LoadState(ctx context.Context, yield func(key, value []byte) error) error {
	return (&simImage{log: l.log[:l.marked]}).LoadState(ctx, yield)
}

func (l *topicInMemory) SaveState(_ context.Context, entries func(yield func(key, value []byte) error) error) error {
	l.calls++
	commit, err := true, error(nil)
	if l.fail != nil {
		commit, err = l.fail(l.calls)
	}
	var all []simState
	if err := entries(func(k, v []byte) error {
		all = append(all, simState{slices.Clone(k), slices.Clone(v)})
		return nil
	}); err != nil {
		return err
	}
	l.sent = append(l.sent, len(all))
	if commit {
		l.log = append(l.log, all...)
	}
	return err
}

func (l *topicInMemory) Trim(context.Context, connectors.Position, time.Duration) (int64, error) {
	return 0, nil
}

// saver is a task that can do nothing but save.
func saver(store state.Store, log connectors.TaskLog) *task {
	p := &pipeline.Pipeline{Name: "p"}
	w := &worker{p: p, store: store, metrics: newMetrics(p, nil), now: time.Now, bulk: make(chan struct{}, 1), opts: Options{JournalKeep: -1}}
	return &task{w: w, tlog: log, log: slog.New(slog.DiscardHandler)}
}

// content is the state of a task as store keys.
type content map[string]string

func (c content) put(t *testing.T, store *memstore.Store, step uint64) {
	t.Helper()
	err := store.Import(t.Context(), 0, func(yield func(key, value []byte) error) error {
		if err := yield(state.ManifestKey(), state.AppendManifest(nil, state.Manifest{Step: step, Hash: state.Hash{byte(step)}})); err != nil {
			return err
		}
		for k, v := range c {
			if err := yield([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func stored(t *testing.T, store *memstore.Store) content {
	t.Helper()
	c := content{}
	if err := store.Dump(0, func(k, v []byte) error { c[string(k)] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRemoteDifference saves a state that changes at random, over saves that fail,
// or succeed and say they failed, compactions, and new owners. Whatever was
// confirmed last is what is read, and little more than what changed is sent.
func TestRemoteDifference(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		store, log := memstore.New(), &topicInMemory{}
		log.fail = func(int) (bool, error) {
			switch rng.IntN(6) {
			case 0:
				return false, errors.New("not sent")
			case 1:
				return true, errors.New("sent, but not heard of")
			}
			return true, nil
		}
		tk := saver(store, log)
		now, changed, failed := content{}, 0, true
		for step := uint64(1); step <= 60; step++ {
			changed = 0
			for range rng.IntN(8) {
				key := fmt.Sprintf("\x02n\x00s\x00%03d", rng.IntN(60))
				if rng.IntN(3) == 0 {
					delete(now, key)
				} else {
					now[key] = fmt.Sprint(rng.IntN(100))
				}
				changed++
			}
			now.put(t, store, step)
			before := len(log.sent)
			err := tk.saveRemote(t.Context())
			if err == nil {
				im := readSim(log.log)
				m, err := im.check()
				if err != nil || m.Step != step {
					t.Fatalf("seed %d: at step %d step %d is read, %v", seed, step, m.Step, err)
				}
				want := stored(t, store)
				if len(want) != len(im.values) {
					t.Fatalf("seed %d: %d entries, want %d", seed, len(im.values), len(want))
				}
				for k, v := range want {
					if string(im.values[k]) != v {
						t.Fatalf("seed %d: %q is %q, want %q", seed, k, im.values[k], v)
					}
				}
				if n := log.sent[before]; !failed && n > changed+2 {
					t.Errorf("seed %d: %d records for %d changes", seed, n, changed)
				}
			}
			failed = err != nil
			if rng.IntN(10) == 0 { // a new owner
				log.marked = len(log.log)
				tk.remote.reset()
				failed = true
			}
		}
	}
}

// TestRemoteTwice sends nothing where the topic has the checkpoint, as a new owner too.
func TestRemoteTwice(t *testing.T) {
	store, log := memstore.New(), &topicInMemory{}
	content{"\x02n\x00s\x00a": "1"}.put(t, store, 4)
	for range 2 {
		tk := saver(store, log)
		for range 2 {
			if err := tk.saveRemote(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if m, ok, _ := tk.remote.confirmed(); !ok || m.Step != 4 {
			t.Errorf("confirmed step %d, %v", m.Step, ok)
		}
		log.marked = len(log.log)
	}
	if log.calls != 1 {
		t.Errorf("sent %d times", log.calls)
	}
}

// TestRemoteDamage changes each record of the topic in turn: it is never used, and
// the next owner's checkpoint mends it.
func TestRemoteDamage(t *testing.T) {
	store, log := memstore.New(), &topicInMemory{}
	content{"\x02n\x00s\x00a": "1", "\x02n\x00s\x00b": "2"}.put(t, store, 4)
	if err := saver(store, log).saveRemote(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole := slices.Clone(log.log)
	damage := map[string]func(log []simState, i int) []simState{
		"lost":    func(log []simState, i int) []simState { return slices.Delete(log, i, i+1) },
		"deleted": func(log []simState, i int) []simState { log[i].value = nil; return log },
		"flipped": func(log []simState, i int) []simState {
			log[i].value = bytes.Clone(log[i].value)
			log[i].value[len(log[i].value)-1] ^= 4
			return log
		},
		"another": func(log []simState, i int) []simState {
			return append(log, simState{[]byte("\x02n\x00s\x00c"), []byte("stale")})
		},
	}
	for name, f := range damage {
		for i := range whole {
			bad := &topicInMemory{log: f(slices.Clone(whole), i)}
			if _, err := readSim(bad.log).check(); err == nil || errors.Is(err, errNoRemote) {
				t.Errorf("record %d %s: %v", i, name, err)
			}
			bad.marked = len(bad.log)
			elsewhere := memstore.New()
			if took, err := saver(elsewhere, bad).takeRemote(t.Context(), 0, "a test"); took || err != nil {
				t.Errorf("record %d %s: taken: %v, %v", i, name, took, err)
			}
			if err := saver(store, bad).saveRemote(t.Context()); err != nil {
				t.Fatal(err)
			}
			bad.marked = len(bad.log)
			if took, err := saver(elsewhere, bad).takeRemote(t.Context(), 0, "a test"); !took || err != nil {
				t.Errorf("record %d %s, mended: %v, %v", i, name, took, err)
			}
			if a, b := stored(t, store), stored(t, elsewhere); fmt.Sprint(a) != fmt.Sprint(b) {
				t.Errorf("record %d %s, mended: %v, want %v", i, name, b, a)
			}
		}
	}
	var s seal
	for i := range s.append(nil) {
		if _, err := parseSeal(s.append(nil)[:i]); err == nil {
			t.Errorf("a seal cut at %d is read", i)
		}
	}
}

// TestMargin: a checkpoint is made in time.
func TestMargin(t *testing.T) {
	for _, c := range []struct {
		needed, start, before int64
		interval              time.Duration
		short                 bool
	}{
		{1000, 0, -1, time.Minute, false},
		{1000, 1001, -1, time.Minute, true}, // gone at the first look
		{1000, 1000, -1, time.Minute, false},
		{1000, 500, 500, time.Minute, false}, // nothing moves
		{1000, 1000, 1000, time.Minute, false},
		{1000, 300, 0, time.Minute, false}, // 700 left at 300 a minute
		{1000, 400, 0, time.Minute, true},
		{1000, 300, 0, 2 * time.Minute, true},
		{1000, 100, 0, 10 * time.Minute, true},
		{1000, 100, 0, time.Second, false},
		{1000, 1200, 1200, time.Minute, true},
	} {
		m := margin{needed: c.needed, start: c.start, before: c.before}
		if got := m.short(c.interval, time.Minute); got != c.short {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
