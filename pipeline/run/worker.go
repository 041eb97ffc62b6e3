package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/state"
)

// Options are what a worker needs beside the pipeline.
type Options struct {
	Formats    Formats
	Log        *slog.Logger
	Metrics    prometheus.Registerer // nil = none
	Now        func() time.Time      // nil = time.Now
	InstanceID string                // of the group member
	Host       string
	Version    string        // of the program
	DrainTime  time.Duration // how long a task may take to finish and save its last step; 0 = 20 s
	BatchRows  int           // rows processed at once; 0 = the default; never changes a result
	PollRows   int           // records taken from the feed at once; 0 = the default
	// JournalKeep is how long journal records are kept although a remote checkpoint
	// has made them dispensable; 0 = 24 h, negative = for ever.
	JournalKeep time.Duration

	// MaxQuarantines is how many records that fail may be quarantined within an hour,
	// by all tasks; one more fails its task. 0 = 100; negative = none is, so that the
	// first one does.
	MaxQuarantines int
	// Policy is one of [PolicyFail] (empty is the same), [PolicyAcceptGap] and
	// [PolicyFromScratch].
	Policy string
	// Attempts is the folder where crashes are counted, so that a record that ends
	// the process is quarantined after some; empty = they are not.
	Attempts string
	// Backfills are files that tasks without a step learn before they read topics,
	// at most one a source; not for pipelines of several stages.
	Backfills []Backfill
	// Watchdog is how long a task may process the same records before the worker
	// ends with [ErrHung]; 0 = 60 s, negative = for ever.
	Watchdog time.Duration
}

const (
	maxQuarantines = 100
	journalKeep    = 24 * time.Hour
	maxBulk        = 2 // whole states held in memory at a time, on their way to or from the state topic
)

// drainTime is less than what the group allows for a rebalance, 30 s or more.
const drainTime = 20 * time.Second

func (o *Options) pollRecords() int {
	if o.PollRows > 0 {
		return o.PollRows
	}
	return 4 * maxBatchRows
}

// Worker runs the tasks of one pipeline that the group gives this process.
type Worker struct{ w worker }

type worker struct {
	p       *pipeline.Pipeline
	opts    Options
	formats Formats
	cluster connectors.Cluster
	store   state.Store
	metrics *metrics
	now     func() time.Time

	incarnation string
	topology    *Topology
	stages      []*stage
	quota       quota

	stopping atomic.Bool   // for good, unlike a rebalance
	bulk     chan struct{} // holds a token for each state on its way

	mu    sync.Mutex
	tasks map[int]*running
	late  []int // tasks that did not drain in time
	fatal chan error
	ctx   context.Context
}

// running is a task and the means to end it.
type running struct {
	t     *task
	drain context.CancelFunc // finish what was begun
	kill  context.CancelFunc // stop at once
	done  chan struct{}
	hung  chan struct{} // closed if done never will be
}

// NewWorker prepares a worker. The topics must exist: see [Prepare].
func NewWorker(p *pipeline.Pipeline, topo *Topology, cluster connectors.Cluster, store state.Store, o Options) *Worker {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.DrainTime <= 0 {
		o.DrainTime = drainTime
	}
	if o.MaxQuarantines == 0 {
		o.MaxQuarantines = maxQuarantines
	}
	if o.Watchdog == 0 {
		o.Watchdog = watchdogTime
	}
	if o.JournalKeep == 0 {
		o.JournalKeep = journalKeep
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Worker{worker{
		p: p, opts: o, formats: o.Formats, cluster: cluster, store: store, now: o.Now,
		metrics: newMetrics(p, o.Metrics), topology: topo,
		incarnation: fmt.Sprintf("%s-%d", o.InstanceID, o.Now().UnixNano()),
		tasks:       map[int]*running{}, fatal: make(chan error, 1), bulk: make(chan struct{}, maxBulk),
	}}
	for i := range topo.Stages {
		w.w.stages = append(w.w.stages, newStage(topo.Stages[i], topo))
	}
	if o.Attempts != "" {
		w.w.quota.path = filepath.Join(o.Attempts, "quarantined")
	}
	return w
}

// Run takes part in the group until ctx ends, then drains every task,
// checkpoints, and leaves the group. It returns early when a task fails for good;
// the others are drained then. It is called once.
func (w *Worker) Run(ctx context.Context) error { return w.w.run(ctx) }

func (w *worker) run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	w.ctx = work
	member, leave := context.WithCancel(work)
	if w.opts.Watchdog > 0 {
		go w.watch(work)
	}
	go w.followEnds(work)
	joined := make(chan error, 1)
	go func() { joined <- w.cluster.Join(member, w) }()

	var err error
	left := false
	select {
	case <-ctx.Done():
		w.opts.Log.Info("stopping: draining tasks")
	case err = <-w.fatal:
	case err = <-joined:
		left = true
	}
	w.stopping.Store(true)
	w.mu.Lock()
	w.late = nil // of rebalances
	w.mu.Unlock()
	leave() // which gives up every task
	if !left {
		if e := <-joined; e != nil && !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
	}
	w.Revoked(w.running(), false)
	select {
	case e := <-w.fatal:
		if err == nil || err.Error() != e.Error() { // what fails one task often fails all
			err = errors.Join(err, e)
		}
	default:
	}
	if len(w.late) > 0 {
		err = errors.Join(err, fmt.Errorf("tasks %v were stopped before they were done; the next start replays what is committed and goes on from there", w.late))
	}
	return err
}

func (w *worker) running() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.tasks))
}

// Assigned implements connectors.Host: it starts tasks.
func (w *worker) Assigned(tasks []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range tasks {
		if w.tasks[id] != nil {
			continue
		}
		ctx, kill := context.WithCancel(w.ctx)
		soft, drain := context.WithCancel(ctx)
		r := &running{drain: drain, kill: kill, done: make(chan struct{}), hung: make(chan struct{})}
		r.t = &task{id: id, w: w, of: w.stageOf(id), log: w.opts.Log.With("pipeline", w.p.Name, "task", id)}
		w.tasks[id] = r
		go func() {
			defer close(r.done)
			w.supervise(ctx, soft, r.t)
		}()
	}
}

// Revoked implements connectors.Host: it stops tasks and waits for them. One that
// does not drain in time, because the brokers are away perhaps, is killed: nothing
// is lost by that, its next owner replays.
func (w *worker) Revoked(tasks []int, lost bool) {
	stop := map[int]*running{}
	w.mu.Lock()
	for _, id := range tasks {
		if r := w.tasks[id]; r != nil {
			stop[id] = r
			delete(w.tasks, id)
		}
	}
	w.mu.Unlock()
	for _, r := range stop {
		if r.drain(); lost {
			r.kill()
		}
	}
	late := time.NewTimer(w.opts.DrainTime)
	defer late.Stop()
	for id, r := range stop {
		select {
		case <-r.done:
		case <-r.hung:
		case <-late.C:
			late.Reset(0) // for the others
			w.stopLate(id, r)
		}
		r.kill()
		w.metrics.forget(r.t)
	}
}

// stopLate stops a task that has not drained in time, if it really has not.
func (w *worker) stopLate(id int, r *running) {
	select {
	case <-r.done:
		return
	case <-r.hung:
		return
	default:
	}
	w.mu.Lock()
	w.late = append(w.late, id)
	w.mu.Unlock()
	r.t.log.Warn("task is not done in time and stopped; it will be replayed", "time", w.opts.DrainTime)
	r.kill()
	select {
	case <-r.done:
	case <-r.hung:
	}
}

// supervise runs a task. One that was lost is taken up again, after a while, if
// the group confirms that it is still this worker's: taking the lock of a task
// that has moved away would stop its rightful owner.
func (w *worker) supervise(ctx, soft context.Context, t *task) {
	for pause := time.Duration(0); ; {
		begun := w.now()
		err := t.run(ctx, soft)
		if ctx.Err() != nil {
			return
		}
		switch t.m.doing {
		case ended:
			return
		case pausing:
			if !t.retry(soft, err) {
				return
			}
			pause = 0 // the losses begin anew
		case confirming:
			pause = lossPause(pause, w.now().Sub(begun))
			t.log.Warn("task lost to another worker; will ask for it again while the group gives it to this one", "in", pause, "reason", err)
			if !t.confirm(ctx, soft, pause) {
				return
			}
		default:
			var p *panicError
			if errors.As(err, &p) {
				t.log.Error("task failed", "err", err, "stack", string(p.stack))
			} else {
				t.log.Error("task failed", "err", err)
			}
			select {
			case w.fatal <- err:
			default:
			}
			return
		}
		t.m = t.m.next(done)
	}
}

// confirm waits until the group says that the task is this worker's. It returns
// false if the task is given up before.
func (t *task) confirm(ctx, soft context.Context, pause time.Duration) bool {
	for {
		select {
		case <-soft.Done():
			return false
		case <-time.After(pause):
		}
		if t.w.cluster.Confirm(ctx, t.id) == nil {
			return true
		}
		t.m = t.m.next(none)
	}
}
