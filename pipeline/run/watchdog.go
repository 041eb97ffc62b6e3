package run

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// ErrHung is what a worker ends with when an operator, a decoder or a sink does not
// come back. It cannot be stopped: the process must end, without closing what the
// worker uses.
var ErrHung = errors.New("an operator does not come back")

// watchdogTime is how long a task may work on one batch.
const watchdogTime = 60 * time.Second

// watched is what the watchdog remembers of a task.
type watched struct {
	step  uint64
	since time.Time
	said  bool
}

// watch looks after the tasks until ctx ends. A task that has been busy with one
// batch for too long is hung: the worker is told to end. One that makes no step
// though there is input is reported once and not ready: brokers may be away.
func (w *worker) watch(ctx context.Context) {
	limit := w.opts.Watchdog
	tick := time.NewTicker(max(limit/8, time.Millisecond))
	defer tick.Stop()
	seen := map[*task]*watched{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		all := make(map[*task]*running, len(w.tasks))
		for _, r := range w.tasks {
			all[r.t] = r
		}
		w.mu.Unlock()
		for t := range seen {
			if all[t] == nil {
				delete(seen, t)
			}
		}
		for t, r := range all {
			if seen[t] == nil {
				seen[t] = &watched{since: w.now()}
			}
			if w.look(t, r, seen[t]) {
				return
			}
		}
	}
}

// look judges one task. It returns true if the worker must end.
func (w *worker) look(t *task, r *running, was *watched) bool {
	now, limit := w.now(), w.opts.Watchdog
	if at := t.busy.Load(); at != 0 && now.Sub(time.Unix(0, at)) > limit {
		t.log.Error("a task hangs: what it called does not come back; the process must end", "time", limit, "stack", taskStacks())
		t.complain(Failed, fmt.Sprintf("has been processing the same records for more than %v", limit))
		select {
		case w.fatal <- fmt.Errorf("task %d: %w: it has been processing the same records for more than %v (see the log for its stack); the process has to be started again", t.id, ErrHung, limit):
		default:
		}
		t.hung.Store(true)
		close(r.hung)
		return true
	}
	s := t.status.Load()
	if s == nil {
		return false
	}
	lag := int64(0)
	for _, p := range s.Partitions {
		lag += p.Lag()
	}
	if s.Step != was.step || s.History != nil || s.Phase != Live.String() || lag == 0 && t.blocked.Load() == 0 {
		was.step, was.since, was.said = s.Step, now, false
		t.problem.Store(nil)
		return false
	}
	if now.Sub(was.since) <= limit {
		return false
	}
	if !was.said {
		was.said = true
		t.log.Error("a task makes no step though there is input: are the brokers away?", "time", limit, "step", s.Step, "lag", lag, "stack", taskStacks())
	}
	t.complain(Live, fmt.Sprintf("has made no step for more than %v though there is input", limit))
	return false
}

// complain adds to the task's status what the task itself cannot say.
func (t *task) complain(phase Phase, problem string) {
	t.problem.Store(&problem)
	s := TaskStatus{Task: t.id}
	if last := t.status.Load(); last != nil {
		s = *last
	}
	s.Phase, s.Problem = phase.String(), problem
	t.status.Store(&s)
	t.w.metrics.status(&s)
}

// taskStacks returns the stacks of the goroutines that are in this package.
func taskStacks() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var mine []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(g, "pipeline/run.(*task)") {
			mine = append(mine, g)
		}
	}
	return strings.Join(mine, "\n\n")
}
