package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gradstream/gradstream/connectors"
)

// With sessions of a minute, whatever waits for one to end does not pass.
func static(id string) func(*Options) {
	return func(o *Options) { o.InstanceID, o.SessionTimeout = id, time.Minute }
}

func TestJoinHoldsAllTasks(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 3, static("a"))
		h, stop := join(t, c)
		h.until(t, holding(3))
		if err := c.Confirm(testContext(t), 1); err != nil {
			t.Errorf("a task of ours: %v", err)
		}
		l := fenced(t, c, 1, "open")
		mustCommit(t, l, e.step(1, 2, 1))
		stop()
		h.until(t, holding(0))
		if len(h.lost) > 0 {
			t.Errorf("tasks %v were lost on a planned stop", h.lost)
		}
		if err := c.Confirm(testContext(t), 1); !errors.Is(err, connectors.ErrLost) {
			t.Errorf("a task given up: %v", err)
		}
		if _, err := l.Commit(testContext(t), e.step(2, 2, 1)); !errors.Is(err, connectors.ErrLost) {
			t.Errorf("a step of a task that was given up: %v, want ErrLost", err)
		}
		equal(t, "outputs", e.committed(t, e.name+".out", 1), want([]int{1}, 2))
	})
}

// A planned stop hands over at once, although the session would go on for long.
func TestPlannedStopHandsOver(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ha, stopA := join(t, e.open(t, 2, static("a")))
		ha.until(t, holding(2))
		hb, _ := join(t, e.open(t, 2, static("b")))
		hb.until(t, holding(1))
		ha.until(t, holding(1))
		stopA()
		hb.until(t, holding(2))
	})
}

// A worker that was killed comes back under its instance id at once.
func TestRestartResumes(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		a := e.open(t, 2, static("a"))
		ha, _ := join(t, a)
		ha.until(t, holding(2))
		hb, _ := join(t, e.open(t, 2, static("b")))
		hb.until(t, holding(1))
		ha.until(t, holding(1))
		had := ha.held()

		a.member.mu.Lock()
		cl := a.member.cl
		a.member.mu.Unlock()
		cl.CloseAllowingRebalance() // as a kill: nobody leaves the group

		again, _ := join(t, e.open(t, 2, static("a")))
		again.until(t, func(held []int) bool { return slices.Equal(held, had) })
		if got := hb.held(); len(got) != 1 {
			t.Errorf("the other worker holds %v", got)
		}
	})
}

// Two processes under one instance id: the first is told, and does not fight.
func TestInstanceIDTwice(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		short := func(o *Options) { o.InstanceID, o.SessionTimeout = "a", 6*time.Second }
		h := newHost()
		done := make(chan error, 1)
		go func() { done <- e.open(t, 2, short).Join(context.Background(), h) }()
		h.until(t, holding(2))
		hb, _ := join(t, e.open(t, 2, short))
		hb.until(t, holding(2))
		select {
		case err := <-done:
			if err == nil {
				t.Error("the first Join returned nil")
			}
		case <-testContext(t).Done():
			t.Fatal("the first worker never noticed")
		}
		if len(h.held()) != 0 || len(h.lost) != 2 {
			t.Errorf("it holds %v and lost %v; want it to have lost both tasks", h.held(), h.lost)
		}
	})
}

// Steps go on while members come and go; each is committed once.
func TestStepsAcrossRebalances(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		const tasks = 4
		var mu sync.Mutex
		done := make([]int, tasks) // steps of each task known to be committed
		run := func(c *Cluster, task int, quit <-chan struct{}) {
			log, err := c.Log(task)
			if err != nil {
				t.Error(err)
				return
			}
			defer log.Close()
			l := log.(*taskLog)
			to, err := l.Fence(testContext(t), []byte("open"))
			if err != nil {
				if !errors.Is(err, connectors.ErrLost) {
					t.Error(err)
				}
				return
			}
			n := 0
			for _, rec := range journal(t, l, connectors.Earliest, to) {
				if rec != "open" {
					n++
				}
			}
			for {
				select {
				case <-quit:
					return
				default:
				}
				n++
				if _, err := l.Commit(testContext(t), e.step(n, 2, int32(task))); err != nil {
					if !errors.Is(err, connectors.ErrLost) {
						t.Errorf("task %d step %d: %v", task, n, err)
					}
					return
				}
				mu.Lock()
				done[task] = max(done[task], n)
				mu.Unlock()
			}
		}
		worker := func(id string) (stop func()) {
			c := e.open(t, tasks, static(id))
			h := &runningHost{run: func(task int, quit <-chan struct{}) { run(c, task, quit) }, quit: map[int]chan struct{}{}, ended: map[int]chan struct{}{}}
			ctx, cancel := context.WithCancel(context.Background())
			end := make(chan error, 1)
			go func() { end <- c.Join(ctx, h) }()
			return func() {
				cancel()
				if err := <-end; err != nil {
					t.Error(err)
				}
			}
		}
		progress := func() {
			t.Helper()
			mu.Lock()
			from := slices.Clone(done)
			mu.Unlock()
			for ctx := testContext(t); ; {
				mu.Lock()
				all := true
				for i := range done {
					all = all && done[i] >= from[i]+3
				}
				mu.Unlock()
				if all {
					return
				}
				if !sleep(ctx, 5*time.Millisecond) {
					t.Fatalf("stuck: %v steps, were %v", done, from)
				}
			}
		}
		stopA := worker("a")
		progress()
		stopB := worker("b")
		progress()
		stopC := worker("c")
		progress()
		stopA()
		progress()
		stopC()
		progress()
		stopB()
		for task := range int32(tasks) {
			var steps []int
			for n := 1; n <= done[task]; n++ {
				steps = append(steps, n)
			}
			equal(t, "outputs", e.committed(t, e.name+".out", task), want(steps, 2))
		}
	})
}

// runningHost runs each task it is given in a goroutine.
type runningHost struct {
	run   func(task int, quit <-chan struct{})
	quit  map[int]chan struct{}
	ended map[int]chan struct{}
}

func (h *runningHost) Assigned(tasks []int) {
	for _, t := range tasks {
		quit, ended := make(chan struct{}), make(chan struct{})
		h.quit[t], h.ended[t] = quit, ended
		go func() {
			defer close(ended)
			h.run(t, quit)
		}()
	}
}

func (h *runningHost) Revoked(tasks []int, _ bool) {
	for _, t := range tasks {
		close(h.quit[t])
	}
	for _, t := range tasks {
		<-h.ended[t]
	}
}
