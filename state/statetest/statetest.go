// Package statetest is the conformance suite for stores: a store that passes it
// can hold the state of tasks.
package statetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/weights"
)

// Store is what the suite tests.
type Store interface {
	state.Store
	state.Inspector
}

// Run runs the suite. Factory makes a new, empty store for each test and returns
// a function that opens it; the suite closes a store before it opens it again,
// and then expects all that was committed.
func Run(t *testing.T, factory func(t *testing.T) (open func() Store)) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"empty", testEmpty},
		{"reopen", testReopen},
		{"manifest", testManifest},
		{"stage is a copy", testStageCopies},
		{"uncommitted is lost", testUncommitted},
		{"failed commit joins the next", testFailed},
		{"misuse", testMisuse},
		{"mismatch", testMismatch},
		{"damaged entry", testLoadError},
		{"tasks are apart", testTasks},
		{"unbound state is kept", testUnbound},
		{"inspect", testInspect},
		{"copy", testCopy},
		{"import refused", testImportRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, factory(t))
			c.test(t, w)
			w.close()
		})
	}
	t.Run("random", func(t *testing.T) {
		for seed := range randomRuns {
			t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { random(t, seed, factory(t)) })
		}
	})
}

// Value is the content of the suite's cells and maps.
type Value struct {
	N int64
	X float64
	S string
	L []uint32
}

// Handles is one of each handle.
type Handles struct {
	Cell  state.Cell[Value]
	Words state.Map[string, Value]
	Nums  state.Map[int32, float64]
	Table *weights.Table
}

const (
	tableRows   = 5000
	tableStride = 3 // rows straddle pages
)

// IDs returns the identities the suite binds its handles with.
func IDs() []state.ID {
	return []state.ID{
		{Node: "n", Name: "cell", Version: 1},
		{Node: "n", Name: "words", Version: 2, Pinned: "bits: 18"},
		{Node: "n", Name: "words2", Version: 1}, // a name that begins like another
		{Node: "learner-1", Name: "w", Version: 3, Pinned: "rows"},
	}
}

// Bind binds all handles to a partition.
func (h *Handles) Bind(p state.Partition) error {
	h.Table = weights.New(tableRows, tableStride)
	for i, s := range h.all() {
		if err := p.Bind(IDs()[i], s); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handles) all() []state.Stateful {
	return []state.Stateful{&h.Cell, &h.Words, &h.Nums, h.Table}
}

// Digests returns the digest of each handle.
func (h *Handles) Digests() []uint64 {
	out := make([]uint64, 0, 4)
	for i, s := range h.all() {
		out = append(out, state.Digest(IDs()[i], s))
	}
	return out
}

// Write changes all handles in a way that depends on n.
func (h *Handles) Write(n int) {
	h.Cell.V.N = int64(n)
	h.Cell.V.L = append(h.Cell.V.L, uint32(n))
	h.Words.Ensure(fmt.Sprint("k", n%7)).X += float64(n)
	h.Words.Ensure("all").N++
	h.Words.Delete(fmt.Sprint("k", (n+3)%7))
	*h.Nums.Ensure(int32(n - 4)) = float64(n) / 3
	row := uint32(n * 577 % tableRows)
	h.Table.Data[int(row)*tableStride+tableStride-1] = float32(n)
	h.Table.Touch([]uint32{row})
}

func testEmpty(t *testing.T, w *world) {
	if tasks, err := w.store.Tasks(); err != nil || len(tasks) != 0 {
		t.Errorf("tasks %v, %v in a new store", tasks, err)
	}
	p := w.task(3)
	p.wantStep(t, 0)
	if tasks, err := w.store.Tasks(); err != nil || len(tasks) != 0 {
		t.Errorf("tasks %v, %v before the first checkpoint", tasks, err)
	}
	p.commit(t, 1) // nothing but defaults
	w.drop(3)
	if tasks, err := w.store.Tasks(); err != nil || !cmp.Equal(tasks, []int{3}) {
		t.Errorf("tasks %v, %v, want [3]", tasks, err)
	}
	if _, ok, err := w.store.Manifest(4); ok || err != nil {
		t.Errorf("task 4 has a manifest: %v, %v", ok, err)
	}
}

func testReopen(t *testing.T, w *world) {
	for n := 1; n <= 20; n++ {
		p := w.task(0)
		p.h.Write(n)
		want := p.h.Digests()
		p.commit(t, uint64(n))
		p.wantStep(t, uint64(n))
		if n%5 == 0 {
			w.reopen()
		} else {
			w.drop(0)
		}
		p = w.task(0)
		p.wantStep(t, uint64(n))
		wantDigests(t, fmt.Sprintf("state after step %d", n), p.h.Digests(), want)
	}
}

func testManifest(t *testing.T, w *world) {
	m := state.Manifest{
		Step: 1 << 60, Hash: state.Hash{1, 31: 2}, Journal: -2,
		Positions: []state.Position{{Topic: "b", Partition: 7, Next: 1 << 50}, {Topic: "a", Partition: 0, Next: 0}},
		Meta:      map[string]string{"cluster": "xyz", "": "", "topic a": "ü"},
	}
	want := m.Clone()
	commit, err := w.task(0).Stage(m)
	if err != nil {
		t.Fatal(err)
	}
	m.Positions[0].Next, m.Meta["cluster"] = 0, "other" // the caller goes on with its own
	if err := commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, ok := w.task(0).Last()
	if d := cmp.Diff(want, got); !ok || d != "" {
		t.Error(ok, d)
	}
	w.reopen()
	got, ok = w.task(0).Last()
	if d := cmp.Diff(want, got); !ok || d != "" {
		t.Error(ok, d)
	}
	got.Positions[0].Next = 5
	if again, _ := w.task(0).Last(); again.Positions[0].Next != want.Positions[0].Next {
		t.Error("Last lends its memory")
	}
	got, ok, err = w.store.Manifest(0)
	if d := cmp.Diff(want, got); !ok || err != nil || d != "" {
		t.Error(ok, err, d)
	}
}

func testStageCopies(t *testing.T, w *world) {
	p := w.task(0)
	p.h.Write(1)
	first := p.h.Digests()
	commit := p.stage(t, 1)
	p.h.Write(2)
	p.h.Write(8) // the same keys again
	second := p.h.Digests()
	done := make(chan error)
	go func() { done <- commit(t.Context()) }() // on another goroutine, while handles change
	p.h.Cell.V.S = "later"
	p.h.Cell.V.S = ""
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.drop(0)
	q := w.task(0)
	q.wantStep(t, 1)
	wantDigests(t, "first stage", q.h.Digests(), first)
	q.h.Write(2)
	q.h.Write(8)
	q.commit(t, 2)
	w.reopen()
	wantDigests(t, "second stage", w.task(0).h.Digests(), second)
}

func testUncommitted(t *testing.T, w *world) {
	p := w.task(0)
	p.h.Write(1)
	want := p.h.Digests()
	p.commit(t, 1)
	p.h.Write(2)
	commit := p.stage(t, 2)
	w.drop(0)
	if err := commit(t.Context()); err == nil {
		t.Error("a commit succeeds after its partition was closed")
	}
	p = w.task(0)
	p.wantStep(t, 1)
	wantDigests(t, "state", p.h.Digests(), want)
}

func testFailed(t *testing.T, w *world) {
	p := w.task(0)
	p.h.Write(1)
	p.fail(t, 1) // holds the IDs of all handles
	p.wantStep(t, 0)
	p.h.Write(2)
	p.commit(t, 2)
	before := p.h.Digests()
	for n := 3; n < 10; n++ {
		p.h.Write(n)
		p.fail(t, uint64(n))
		p.wantStep(t, 2)
	}
	w.drop(0)
	q := w.task(0)
	wantDigests(t, "after failures only", q.h.Digests(), before)

	for n := 3; n < 10; n++ {
		q.h.Write(n)
		q.fail(t, uint64(n))
	}
	want := q.h.Digests()
	q.commit(t, 10) // changes nothing itself
	w.reopen()
	q = w.task(0)
	q.wantStep(t, 10)
	wantDigests(t, "after failures and a commit", q.h.Digests(), want)
}

func testMisuse(t *testing.T, w *world) {
	p := w.task(0)
	if err := p.Bind(IDs()[0], new(state.Cell[Value])); err == nil {
		t.Error("a handle is bound twice")
	}
	for _, id := range []state.ID{{}, {Node: "a"}, {Name: "b"}, {Node: "a\x00", Name: "b"}, {Node: "a", Name: "\x00"}} {
		if err := p.Bind(id, new(state.Cell[Value])); err == nil {
			t.Errorf("%q is bound", id)
		}
	}
	if _, err := w.store.Open(0); err == nil {
		t.Error("a task is open twice")
	}
	if _, err := w.store.Open(-1); err == nil {
		t.Error("task -1 is open")
	}
	if err := w.store.Delete(0); err == nil {
		t.Error("an open task is deleted")
	}
	p.h.Write(1)
	commit := p.stage(t, 1)
	if _, err := p.Stage(state.Manifest{Step: 2}); err == nil {
		t.Error("two stages are outstanding")
	}
	if err := commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := p.stage(t, 2)
	if err := commit(t.Context()); !errors.Is(err, state.ErrStageDone) {
		t.Errorf("second call of a commit: %v", err)
	}
	p.wantStep(t, 1)
	if err := next(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.wantStep(t, 2)
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := p.Stage(state.Manifest{}); err == nil {
		t.Error("a closed partition stages")
	}
	if err := p.Bind(state.ID{Node: "x", Name: "y"}, new(state.Cell[Value])); err == nil {
		t.Error("a closed partition binds")
	}
}

func testMismatch(t *testing.T, w *world) {
	p := w.task(0)
	p.h.Write(1)
	p.commit(t, 1)
	w.drop(0)
	have := IDs()[1]
	for _, change := range []func(*state.ID){
		func(id *state.ID) { id.Version++ },
		func(id *state.ID) { id.Version-- },
		func(id *state.ID) { id.Pinned = "bits: 19" },
	} {
		sp, err := w.store.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		want := have
		change(&want)
		var m *state.MismatchError
		if err := sp.Bind(want, new(state.Map[string, Value])); !errors.As(err, &m) || m.Have != have || m.Want != want {
			t.Errorf("bind as %+v: %v", want, err)
		}
		if err := sp.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantDigests(t, "after refusals", w.task(0).h.Digests(), p.h.Digests())
}

func testLoadError(t *testing.T, w *world) {
	p := w.task(0)
	p.h.Write(1)
	p.commit(t, 1)
	w.drop(0)
	sp, err := w.store.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	type other struct{ A, B int64 }
	if err := sp.Bind(IDs()[0], new(state.Cell[other])); !errors.Is(err, state.ErrLayout) {
		t.Errorf("another layout: %v", err)
	}
	if err := sp.Bind(IDs()[3], weights.New(tableRows, tableStride+1)); err == nil {
		t.Error("a table of another shape is loaded")
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
}

func testTasks(t *testing.T, w *world) {
	ids := []int{0, 1, 255, 256, 65536}
	want := make(map[int][]uint64)
	for round := 1; round < 3; round++ {
		for _, n := range ids {
			p := w.task(n)
			p.h.Write(n + round)
			p.commit(t, uint64(n+round))
			want[n] = p.h.Digests()
		}
	}
	w.reopen()
	if got, err := w.store.Tasks(); err != nil || !cmp.Equal(got, ids) {
		t.Errorf("tasks %v, %v, want %v", got, err, ids)
	}
	if err := w.store.Delete(255); err != nil {
		t.Fatal(err)
	}
	delete(want, 255)
	w.reopen()
	if got, err := w.store.Tasks(); err != nil || !cmp.Equal(got, []int{0, 1, 256, 65536}) {
		t.Errorf("tasks %v, %v after a deletion", got, err)
	}
	for n, d := range want {
		p := w.task(n)
		p.wantStep(t, uint64(n+2))
		wantDigests(t, fmt.Sprintf("task %d", n), p.h.Digests(), d)
	}
	var fresh Handles
	fresh.Table = weights.New(tableRows, tableStride)
	p := w.task(255)
	p.wantStep(t, 0)
	wantDigests(t, "deleted task", p.h.Digests(), fresh.Digests())
}

func testUnbound(t *testing.T, w *world) {
	p := w.task(0)
	p.h.Write(1)
	want := p.h.Digests()
	p.commit(t, 1)
	w.drop(0)
	sp, err := w.store.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	var c state.Cell[Value]
	if err := sp.Bind(IDs()[0], &c); err != nil {
		t.Fatal(err)
	}
	commit, err := sp.Stage(state.Manifest{Step: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(commit(t.Context()), sp.Close()); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	wantDigests(t, "state that was not bound for a step", w.task(0).h.Digests(), want)
}

func testInspect(t *testing.T, w *world) {
	p := w.task(2)
	for n := 1; n < 9; n++ {
		p.h.Write(n)
	}
	p.commit(t, 1)
	got, err := w.store.Handles(2)
	if err != nil {
		t.Fatal(err)
	}
	var want []state.HandleInfo
	for _, i := range []int{3, 0, 1, 2} { // by node, then name
		info := state.HandleInfo{ID: IDs()[i]}
		for k, v := range p.h.all()[i].All {
			info.Entries++
			info.Bytes += int64(len(k) + len(v))
		}
		want = append(want, info)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	wantDump := dumpHandles(&p.h)
	if d := cmp.Diff(wantDump, dumpStore(t, w.store, 2)); d != "" {
		t.Error(d)
	}
	n := 0
	if err := w.store.Entries(2, IDs()[1], func(_, _ []byte) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("yield that stops is called %d times, %v", n, err)
	}
	if hs, err := w.store.Handles(77); err != nil || len(hs) != 0 {
		t.Errorf("a task without state has %v, %v", hs, err)
	}
}
