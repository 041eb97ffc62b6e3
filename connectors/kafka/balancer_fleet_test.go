package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gradstream/gradstream/connectors"
)

// fleet is several workers of one pipeline that commit steps without end. It
// fails the test when two run a task at a time.
type fleet struct {
	t     testing.TB
	e     *env
	tasks int
	idle  bool // tasks only wait

	mu     sync.Mutex
	runs   map[int]string // task: the worker that has it
	starts []int          // times that each task was given to someone
	done   []int          // steps of each task known to be committed
	lost   int            // tasks lost
}

func newFleet(t testing.TB, e *env, tasks int) *fleet {
	return &fleet{t: t, e: e, tasks: tasks, runs: map[int]string{}, starts: make([]int, tasks), done: make([]int, tasks)}
}

// start starts a worker; stop drains it and waits for that.
func (f *fleet) start(id string, change func(*Options)) (stop func()) {
	f.t.Helper()
	c := f.e.open(f.t, f.tasks, change)
	h := &fleetHost{f: f, id: id, c: c}
	h.run = h.steps
	if f.idle {
		h.run = func(_ int, quit <-chan struct{}) { <-quit }
	}
	h.quit, h.ended = map[int]chan struct{}{}, map[int]chan struct{}{}
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- c.Join(ctx, h) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-end; err != nil {
			f.t.Errorf("worker %s: %v", id, err)
		}
		c.Close()
	})
}

type fleetHost struct {
	runningHost
	f  *fleet
	id string
	c  *Cluster
}

func (h *fleetHost) Assigned(tasks []int) {
	h.f.mu.Lock()
	for _, t := range tasks {
		if by := h.f.runs[t]; by != "" {
			h.f.t.Errorf("task %d goes to worker %s while %s runs it", t, h.id, by)
		}
		h.f.runs[t] = h.id
		h.f.starts[t]++
	}
	h.f.mu.Unlock()
	h.runningHost.Assigned(tasks)
}

func (h *fleetHost) Revoked(tasks []int, lost bool) {
	h.runningHost.Revoked(tasks, lost)
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	for _, t := range tasks {
		delete(h.f.runs, t)
	}
	if lost {
		h.f.lost += len(tasks)
	}
}

// steps takes a task's lock, reads in its journal how far it is, and goes on.
func (h *fleetHost) steps(task int, quit <-chan struct{}) {
	t := h.f.t
	log, err := h.c.Log(task)
	if err != nil {
		t.Error(err)
		return
	}
	defer log.Close()
	l := log.(*taskLog)
	to, err := l.Fence(testContext(t), []byte("open"))
	if err != nil {
		if !errors.Is(err, connectors.ErrLost) {
			t.Errorf("worker %s task %d: %v", h.id, task, err)
		}
		return
	}
	n := 0
	for _, rec := range journal(t, l, connectors.Earliest, to) {
		if rec != "open" {
			n++
		}
	}
	for pause := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-quit:
			pause.Stop()
			return
		case <-pause.C:
		}
		n++
		if _, err := l.Commit(testContext(t), h.f.e.step(n, 2, int32(task))); err != nil {
			if !errors.Is(err, connectors.ErrLost) {
				t.Errorf("worker %s task %d step %d: %v", h.id, task, n, err)
			}
			return
		}
		h.f.mu.Lock()
		h.f.done[task] = max(h.f.done[task], n)
		h.f.mu.Unlock()
	}
}

// shares returns the tasks of every worker that has any. f.mu is held.
func (f *fleet) shares() map[string][]int {
	out := map[string][]int{}
	for _, t := range slices.Sorted(maps.Keys(f.runs)) {
		out[f.runs[t]] = append(out[f.runs[t]], t)
	}
	return out
}

// until waits until ok, called with the lock held.
func (f *fleet) until(what string, ok func() bool) {
	f.t.Helper()
	began := time.Now()
	for ctx := testContext(f.t); ; {
		f.mu.Lock()
		good := ok()
		shares := f.shares()
		f.mu.Unlock()
		if good {
			f.t.Logf("%s after %v: %v", what, time.Since(began).Round(time.Millisecond), shares)
			return
		}
		if !sleep(ctx, 5*time.Millisecond) {
			f.t.Fatalf("never %s: tasks %v", what, shares)
		}
	}
}

// spread waits until all tasks run on so many workers, in equal shares.
func (f *fleet) spread(workers int) {
	f.t.Helper()
	f.until(fmt.Sprintf("spread over %d", workers), func() bool {
		s := f.shares()
		least, most := f.tasks, 0
		for _, ts := range s {
			least, most = min(least, len(ts)), max(most, len(ts))
		}
		return len(f.runs) == f.tasks && len(s) == min(workers, f.tasks) && most-least <= 1
	})
}

// progress waits for three more steps of every task.
func (f *fleet) progress() {
	f.t.Helper()
	f.mu.Lock()
	from := slices.Clone(f.done)
	f.mu.Unlock()
	f.until("three steps of each", func() bool {
		for i := range from {
			if f.done[i] < from[i]+3 {
				return false
			}
		}
		return true
	})
}

// once checks that each step of each task is there once and in order.
func (f *fleet) once() {
	f.t.Helper()
	for task := range f.tasks {
		equal(f.t, fmt.Sprint("outputs of task ", task), f.e.committed(f.t, f.e.name+".out", int32(task)), want(upTo(f.done[task] + 1)[1:], 2))
	}
}

func (f *fleet) snapshot() (runs map[int]string, starts []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.runs), slices.Clone(f.starts)
}

func TestOneToFourToTwoWorkers(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		f := newFleet(t, e, 8)
		stopA := f.start("a", static("a"))
		f.spread(1)
		f.progress()
		stopB := f.start("b", static("b"))
		stopC := f.start("c", static("c"))
		stopD := f.start("d", nil)
		f.spread(4)
		f.progress()
		four, starts := f.snapshot()
		for task, by := range four {
			if by == "a" && starts[task] != 1 {
				t.Errorf("task %d went away from a and came back", task)
			}
		}
		var leaving sync.WaitGroup
		for _, stop := range []func(){stopC, stopD} {
			leaving.Go(stop)
		}
		leaving.Wait()
		f.spread(2)
		f.progress()
		two, again := f.snapshot()
		for task, by := range four {
			if (by == "a" || by == "b") && (two[task] != by || again[task] != starts[task]) {
				t.Errorf("task %d moved from %s to %s although %s stayed", task, by, two[task], by)
			}
		}
		if f.lost > 0 {
			t.Errorf("%d tasks were lost", f.lost)
		}
		stopA()
		stopB()
		f.once()
	})
}

// Members come and go faster than rebalances end. When that stops, everything
// runs again.
func TestJoinLeaveStorm(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		changes := 33 // 300 ms each
		if testing.Short() {
			changes = 10
		}
		f := newFleet(t, e, 6)
		stop := map[string]func(){"w0": f.start("w0", static("w0"))}
		f.spread(1)
		r := rand.New(rand.NewPCG(1, 2))
		var stopping sync.WaitGroup
		restart := 0
		for range changes {
			time.Sleep(300 * time.Millisecond)
			id := fmt.Sprint("w", 1+r.IntN(5))
			if s := stop[id]; s != nil {
				delete(stop, id)
				stopping.Go(s)
				continue
			}
			restart++
			change := static(id)
			if r.IntN(3) == 0 {
				change = func(o *Options) { o.SessionTimeout = time.Minute } // a dynamic member
			} else if r.IntN(2) == 0 {
				change = static(fmt.Sprint(id, "-", restart))
			} else {
				stopping.Wait() // its last life has ended
			}
			stop[id] = f.start(id, change)
		}
		stopping.Wait()
		f.spread(len(stop))
		f.progress()
		if f.lost > 0 {
			t.Errorf("%d tasks were lost", f.lost)
		}
		for _, s := range stop {
			stopping.Go(s)
		}
		stopping.Wait()
		f.once()
	})
}

// BenchmarkFleet lets a worker join a large group, and leave it: ms/join and ms/leave are until the tasks are spread evenly
// again. All workers share this process's processors with the broker, and the tasks do nothing, so it is the balancing alone.
func BenchmarkFleet(b *testing.B) {
	const tasks, workers = 1000, 100
	f := newFleet(b, fake(b), tasks)
	f.idle = true
	var stops []func()
	for i := range workers - 1 {
		stops = append(stops, f.start(fmt.Sprint("w", i), static(fmt.Sprint("w", i))))
	}
	f.spread(workers - 1)
	var join, leave time.Duration
	for b.Loop() {
		began := time.Now()
		stop := f.start("last", static("last"))
		f.spread(workers)
		join += time.Since(began)
		began = time.Now()
		stop()
		f.spread(workers - 1)
		leave += time.Since(began)
	}
	b.ReportMetric(float64(join.Milliseconds())/float64(b.N), "ms/join")
	b.ReportMetric(float64(leave.Milliseconds())/float64(b.N), "ms/leave")
	var leaving sync.WaitGroup
	for _, s := range stops {
		leaving.Go(s)
	}
	leaving.Wait()
}
