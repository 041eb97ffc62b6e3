package statetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gradstream/gradstream/state/memstore"
)

const (
	randomRuns  = 12
	randomSteps = 250
	randomTasks = 3
)

// random runs one sequence of operations on the store and on a memstore and
// compares what each holds. The seed names the run.
func random(t *testing.T, seed int, open func() Store) {
	oracle := memstore.New()
	worlds := []*world{newWorld(t, open), newWorld(t, func() Store { return oracle })}
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	staged := make(map[int][]func(context.Context) error) // by task: the commits, one a world
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	settle := func(task int, ctx context.Context) {
		var failed []bool
		for _, commit := range staged[task] {
			failed = append(failed, commit(ctx) != nil)
		}
		delete(staged, task)
		if len(failed) == 2 && failed[0] != failed[1] {
			t.Fatalf("commits differ: %v", failed)
		}
	}
	var history []string
	defer func() {
		if t.Failed() {
			t.Log(history)
		}
	}()
	for step := 1; step <= randomSteps; step++ {
		task := rng.IntN(randomTasks)
		op := rng.IntN(100)
		note := func(what string) { history = append(history, fmt.Sprintf("%d:%s(%d)", step, what, task)) }
		switch {
		case op < 50:
			note("write")
			n, keep := rng.IntN(3000), rng.IntN(8) > 0
			for _, w := range worlds {
				p := w.task(task)
				p.h.Write(n)
				if !keep { // pages go back to zero
					clear(p.h.Table.Data)
					p.h.Table.TouchAll()
				}
			}
		case op < 70:
			if staged[task] != nil {
				continue
			}
			note("stage")
			for _, w := range worlds {
				staged[task] = append(staged[task], w.task(task).stage(t, uint64(step)))
			}
		case op < 82:
			note("commit")
			settle(task, t.Context())
		case op < 90:
			note("fail")
			settle(task, cancelled)
		case op < 95:
			note("close")
			delete(staged, task)
			for _, w := range worlds {
				w.drop(task)
			}
		case op < 97:
			note("delete")
			delete(staged, task)
			for _, w := range worlds {
				w.drop(task)
				if err := w.store.Delete(task); err != nil {
					t.Fatal(err)
				}
			}
		case op < 98:
			note("copy")
			from := (task + 1) % randomTasks
			delete(staged, task)
			for _, w := range worlds {
				w.drop(task)
				all := dump(t, w.store, from)
				if err := w.store.Import(t.Context(), task, list(all)); (err == nil) != (len(all) > 0) {
					t.Fatal(len(all), err)
				}
			}
		default:
			note("reopen")
			clear(staged)
			for _, w := range worlds {
				w.reopen()
			}
		}
		got, want := dumpStore(t, worlds[0].store, task), dumpStore(t, worlds[1].store, task)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("step %d: the store holds something else (-want +got):\n%s", step, d)
		}
		gm, gok, gerr := worlds[0].store.Manifest(task)
		wm, wok, werr := worlds[1].store.Manifest(task)
		if d := cmp.Diff(wm, gm); d != "" || gok != wok || gerr != nil || werr != nil {
			t.Fatalf("step %d: manifests %v %v %v %v %s", step, gok, wok, gerr, werr, d)
		}
		if worlds[0].parts[task] != nil && worlds[1].parts[task] != nil {
			wantDigests(t, "handles", worlds[0].parts[task].h.Digests(), worlds[1].parts[task].h.Digests())
		}
	}
	for _, w := range worlds {
		w.close()
	}
}
