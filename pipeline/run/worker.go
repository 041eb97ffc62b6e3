package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	graph   state.Hash

	incarnation string
	clusterID   string
	topology    *Topology
	sourceInfo  []connectors.TopicInfo // as p.Sources
	partitions  map[string]int32       // of sink and errors topics
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
		metrics: newMetrics(p, o.Metrics), graph: sha256.Sum256([]byte(p.Hash())),
		incarnation: fmt.Sprintf("%s-%d", o.InstanceID, o.Now().UnixNano()),
		clusterID:   topo.Cluster, topology: topo, sourceInfo: topo.Sources, partitions: topo.Sinks,
		tasks: map[int]*running{}, fatal: make(chan error, 1), bulk: make(chan struct{}, maxBulk),
	}}
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
		r.t = &task{id: id, w: w, log: w.opts.Log.With("pipeline", w.p.Name, "task", id)}
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
	for pause := time.Second; ; pause = min(max(2*pause, time.Second), 30*time.Second) {
		begun := w.now()
		err := t.run(ctx, soft)
		if err == nil || ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRetry) {
			if !t.retry(soft, err) {
				return
			}
			pause = 0 // the losses begin anew
			continue
		}
		if !errors.Is(err, connectors.ErrLost) {
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
		if w.now().Sub(begun) > time.Minute {
			pause = time.Second // not one loss after another
		}
		t.log.Warn("task lost to another worker; will ask for it again while the group gives it to this one", "in", pause, "reason", err)
		for again := true; again; again = w.cluster.Confirm(ctx, t.id) != nil {
			select {
			case <-soft.Done():
				return
			case <-time.After(pause):
			}
		}
	}
}

// partitionsOf lists the partitions that make up a task, source by source.
func (w *worker) partitionsOf(task int) []taskPartition {
	var parts []taskPartition
	for i, s := range w.p.Sources {
		for q := range w.sourceInfo[i].Partitions {
			if q%w.topology.Tasks == task {
				tp := connectors.TopicPartition{Topic: s.Topic, Partition: int32(q)}
				parts = append(parts, taskPartition{TopicPartition: tp, source: i})
			}
		}
	}
	return parts
}

// meta identifies what a checkpoint belongs to; see [task.meta].
func (w *worker) meta() map[string]string {
	m := map[string]string{"cluster": w.clusterID, "graph": hex.EncodeToString(w.graph[:])}
	for i, s := range w.p.Sources {
		m[sourceMeta+s.Name] = fmt.Sprintf("%x %d %s", w.sourceInfo[i].ID, w.sourceInfo[i].Partitions, s.Topic)
	}
	return m
}

// sourceMeta begins the keys that say which topic a source was.
const sourceMeta = "source "

// sameOrigin refuses a checkpoint that was taken from another cluster or of other
// topics.
func (w *worker) sameOrigin(m state.Manifest) error {
	if have := m.Meta["cluster"]; have != w.clusterID {
		return fmt.Errorf("the state folder belongs to Kafka cluster %q, the brokers are of cluster %q; use another state folder, or delete this one to start afresh", have, w.clusterID)
	}
	for i, s := range w.p.Sources {
		id, rest, _ := strings.Cut(m.Meta[sourceMeta+s.Name], " ")
		partitions, topic, found := strings.Cut(rest, " ")
		if !found {
			continue // a source that was added since
		}
		was := openSource{Name: s.Name, Topic: topic}
		was.Partitions, _ = strconv.Atoi(partitions)
		if b, err := hex.DecodeString(id); err == nil {
			copy(was.ID[:], b)
		}
		if err := sameSource(was, w.sourceInfo[i]); err != nil {
			return err
		}
	}
	return nil
}

// Topology is what the brokers say of a pipeline's topics.
type Topology struct {
	Cluster string
	Tasks   int
	Sources []connectors.TopicInfo // as the pipeline's sources
	Sinks   map[string]int32       // partitions of sink and errors topics
}

// JournalTopic and StateTopic name a pipeline's internal topics.
func JournalTopic(p *pipeline.Pipeline) string { return p.Name + ".journal" }

// StateTopic names the topic of remote checkpoints.
func StateTopic(p *pipeline.Pipeline) string { return p.Name + ".state" }

// TopicState is one topic a pipeline needs.
type TopicState struct {
	connectors.TopicInfo
	Role string // source, sink, errors or internal
}

// Topics describes every topic of the pipeline: those that exist as they are, the
// others as Prepare would create them. The tasks are counted on the way.
func Topics(ctx context.Context, p *pipeline.Pipeline, cluster connectors.Admin) (id string, tasks int, topics []TopicState, err error) {
	if n := len(p.Stages()); n > 1 {
		return "", 0, nil, fmt.Errorf("pipeline %s has repartitions, which only evaluate can do so far", p.Name)
	}
	add := func(role, name string, partitions int, config map[string]string) {
		for _, t := range topics {
			if t.Name == name {
				return
			}
		}
		t := TopicState{Role: role}
		t.Topic = connectors.Topic{Name: name, Partitions: partitions, Replication: p.Kafka.Replication, Config: config}
		topics = append(topics, t)
	}
	for _, s := range p.Sources {
		add("source", s.Topic, s.Partitions, nil)
	}
	for _, s := range p.Sinks {
		add("sink", s.Topic, s.Partitions, nil)
	}
	for _, s := range p.Sources {
		// As large as any record that can be decoded, with room for the headers.
		add("errors", s.Errors, 1, map[string]string{"max.message.bytes": "17825792"})
	}
	add("internal", JournalTopic(p), 0, map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"})
	add("internal", StateTopic(p), 0, map[string]string{"cleanup.policy": "compact", "segment.bytes": "67108864", "min.cleanable.dirty.ratio": "0.2"})
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	id, infos, err := cluster.Describe(ctx, names)
	if err != nil {
		return "", 0, nil, err
	}
	widest := 0
	for i, info := range infos {
		if info.Missing {
			topics[i].Missing = true
		} else {
			topics[i].TopicInfo = info
		}
		if topics[i].Role == "source" {
			widest = max(widest, topics[i].Partitions)
		}
	}
	tasks = p.Tasks
	if tasks == 0 {
		tasks = widest
	}
	if tasks > widest {
		return "", 0, nil, fmt.Errorf("tasks: %d is more than the %d partitions of the sources", tasks, widest)
	}
	for i := range topics {
		if topics[i].Role == "internal" && topics[i].Missing {
			topics[i].Partitions = tasks
		}
	}
	return id, tasks, topics, nil
}

// Prepare checks the topics of a pipeline against the brokers and creates those
// that are missing and may be created: sources only if createSources says so.
func Prepare(ctx context.Context, p *pipeline.Pipeline, cluster connectors.Admin, createSources bool) (*Topology, error) {
	id, tasks, topics, err := Topics(ctx, p, cluster)
	if err != nil {
		return nil, err
	}
	byName := map[string]connectors.TopicInfo{}
	var missing []connectors.Topic
	var absent, present []string
	for _, t := range topics {
		byName[t.Name] = t.TopicInfo
		if t.Role == "internal" {
			if t.Missing {
				absent = append(absent, t.Name)
			} else {
				present = append(present, t.Name)
				if t.Partitions != tasks {
					return nil, fmt.Errorf("topic %q has %d partitions but the pipeline now has %d tasks; the number of tasks cannot change under existing state: restore it, or give the pipeline another name", t.Name, t.Partitions, tasks)
				}
			}
		}
		if t.Missing {
			if t.Role == "source" && !createSources {
				return nil, fmt.Errorf("source topic %q does not exist on cluster %s; create it (gradstream topics %s creates what is missing)", t.Name, id, p.File)
			}
			missing = append(missing, t.Topic)
		}
	}
	if err := coPartitioned(p, byName); err != nil {
		return nil, err
	}
	if len(absent) > 0 {
		committed, err := cluster.Committed(ctx)
		if err != nil {
			return nil, err
		}
		if len(present) > 0 || len(committed) > 0 {
			have := strings.Join(present, ", ")
			if len(committed) > 0 {
				have = strings.TrimPrefix(have+", offsets of group "+p.Name, ", ")
			}
			return nil, fmt.Errorf("%s exists but %s does not: part of the pipeline's memory is gone, and going on would lose or repeat events; restore what is missing, or delete the rest to start afresh", have, strings.Join(absent, ", "))
		}
	}
	if len(missing) > 0 {
		if err := cluster.Create(ctx, missing); err != nil {
			return nil, err
		}
		if id, _, topics, err = Topics(ctx, p, cluster); err != nil {
			return nil, err
		}
		for _, t := range topics {
			byName[t.Name] = t.TopicInfo
		}
	}
	topo := &Topology{Cluster: id, Tasks: tasks, Sinks: map[string]int32{}}
	for _, s := range p.Sources {
		topo.Sources = append(topo.Sources, byName[s.Topic])
		topo.Sinks[s.Errors] = int32(byName[s.Errors].Partitions)
	}
	for _, s := range p.Sinks {
		topo.Sinks[s.Topic] = int32(byName[s.Topic].Partitions)
	}
	return topo, nil
}

// coPartitioned refuses sources that one operator reads together but whose
// partition counts differ: their keys would not meet in one task.
func coPartitioned(p *pipeline.Pipeline, topics map[string]connectors.TopicInfo) error {
	reach := map[string][]*pipeline.Source{}
	for _, s := range p.Sources {
		reach[s.Name] = []*pipeline.Source{s}
	}
	for _, n := range p.Nodes {
		var all []*pipeline.Source
		for _, from := range n.From {
			all = append(all, reach[from]...)
		}
		for _, s := range all {
			a, b := topics[all[0].Topic].Partitions, topics[s.Topic].Partitions
			if a != b {
				return fmt.Errorf("operator %s joins sources %s and %s, but topic %q has %d partitions and topic %q has %d; they must be equal", n.Name, all[0].Name, s.Name, all[0].Topic, a, s.Topic, b)
			}
		}
		reach[n.Name] = all
	}
	return nil
}
