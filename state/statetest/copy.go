package statetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gradstream/gradstream/state"
)

type entry struct{ key, value []byte }

func dump(t *testing.T, s state.Store, task int) (all []entry) {
	t.Helper()
	err := s.Dump(task, func(key, value []byte) error {
		all = append(all, entry{bytes.Clone(key), append([]byte{}, value...)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(all); i++ {
		if bytes.Compare(all[i-1].key, all[i].key) >= 0 {
			t.Fatalf("key %x comes after %x", all[i].key, all[i-1].key)
		}
	}
	return all
}

func list(all []entry) func(func(key, value []byte) error) error {
	return func(yield func(key, value []byte) error) error {
		for _, e := range all {
			if err := yield(bytes.Clone(e.key), bytes.Clone(e.value)); err != nil {
				return err
			}
		}
		return nil
	}
}

var errTest = errors.New("an error of the test")

// testCopy dumps a task and imports it as another one: there it is the same, and
// goes on as the first does.
func testCopy(t *testing.T, w *world) {
	if got := dump(t, w.store, 1); len(got) != 0 {
		t.Errorf("a task without state has %d entries", len(got))
	}
	p := w.task(1)
	for n := range 50 {
		p.h.Write(n)
	}
	p.commit(t, 7)
	want := p.h.Digests()
	p.h.Write(99)
	commit := p.stage(t, 8) // neither it nor what is staged is seen
	all := dump(t, w.store, 1)
	if len(all) == 0 || !bytes.Equal(all[0].key, state.ManifestKey()) {
		t.Fatal("the manifest is not the first entry")
	}
	m, err := state.DecodeManifest(all[0].value)
	if err != nil || m.Step != 7 {
		t.Errorf("dumped the manifest of step %d, %v", m.Step, err)
	}
	for _, e := range all {
		if err := state.CheckEntry(e.key, e.value); err != nil {
			t.Error(err)
		}
	}
	if err := commit(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Task 2 has other state, all of which has to go.
	old := w.task(2)
	for n := range 30 {
		old.h.Write(n + 1000)
	}
	old.commit(t, 3)
	if err := w.store.Import(t.Context(), 2, list(all)); err == nil {
		t.Error("an open task is replaced")
	}
	w.drop(2)
	if err := w.store.Import(t.Context(), 2, list(all)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if d := cmp.Diff(all, dump(t, w.store, 2), cmp.AllowUnexported(entry{})); d != "" {
			t.Fatal(d)
		}
		p := w.task(2)
		p.wantStep(t, 7)
		wantDigests(t, "the imported state", p.h.Digests(), want)
		w.reopen()
	}
	w.task(1).wantStep(t, 8) // the other one is as it was
	q := w.task(2)
	q.h.Write(99)
	q.commit(t, 8)
	wantDigests(t, "both", q.h.Digests(), w.task(1).h.Digests())
	w.drop(1)
	w.drop(2)
	if d := cmp.Diff(dump(t, w.store, 1), dump(t, w.store, 2), cmp.AllowUnexported(entry{})); d != "" {
		t.Error(d)
	}

	if err := w.store.Dump(1, func(_, _ []byte) error { return errTest }); !errors.Is(err, errTest) {
		t.Errorf("a dump whose caller fails: %v", err)
	}
}

// testImportRefused fails in every way there is, after which all is as before.
func testImportRefused(t *testing.T, w *world) {
	p := w.task(0)
	p.h.Write(1)
	p.commit(t, 4)
	all := dump(t, w.store, 0)
	w.drop(0)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	manifest := all[0]
	broken := bytes.Clone(manifest.value)
	broken[5] ^= 1
	for name, c := range map[string]struct {
		ctx     context.Context
		entries func(func(key, value []byte) error) error
		is      error
	}{
		"no manifest":      {t.Context(), list(all[1:]), state.ErrDamaged},
		"nothing":          {t.Context(), list(nil), state.ErrDamaged},
		"broken manifest":  {t.Context(), list([]entry{{manifest.key, broken}}), state.ErrDamaged},
		"key of no kind":   {t.Context(), list([]entry{manifest, {[]byte{3, 1, 0, 1, 0}, []byte{1}}}), state.ErrDamaged},
		"key without name": {t.Context(), list([]entry{manifest, {[]byte{2, 1}, []byte{1}}}), state.ErrDamaged},
		"empty key":        {t.Context(), list([]entry{manifest, {nil, []byte{1}}}), state.ErrDamaged},
		"ended":            {ended, list(all), context.Canceled},
		"fails in between": {t.Context(), func(yield func(key, value []byte) error) error {
			return errors.Join(list(all[:2])(yield), errTest)
		}, errTest},
	} {
		if err := w.store.Import(c.ctx, 0, c.entries); !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(all, dump(t, w.store, 0), cmp.AllowUnexported(entry{})); d != "" {
			t.Fatalf("%s: the state has changed: %s", name, d)
		}
	}
	for _, task := range []int{-1} {
		if err := w.store.Import(t.Context(), task, list(all)); err == nil {
			t.Errorf("task %d is imported", task)
		}
	}
	if tasks, err := w.store.Tasks(); err != nil || fmt.Sprint(tasks) != "[0]" {
		t.Error(tasks, err)
	}
}
