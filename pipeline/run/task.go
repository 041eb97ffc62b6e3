package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state"
)

// maxInflight is how many steps a task holds at a time: one is committed while the
// next is computed.
const maxInflight = 2

// task is the unit of state and fencing: it processes the partitions it owns, one
// step after another. One goroutine computes, a second commits what was computed.
type task struct {
	id    int
	w     *worker
	of    *stage
	log   *slog.Logger
	phase atomic.Int32
	m     machine

	core  *core
	part  state.Partition
	tlog  connectors.TaskLog
	feed  connectors.Feed
	parts []taskPartition

	step uint64     // last step computed
	hash state.Hash // of that step's record

	journal    atomic.Int64 // offset of the last committed journal record
	saved      time.Time    // when the last checkpoint was staged
	saving     atomic.Bool
	needSave   bool
	free       chan *stepBuffer
	saves      sync.WaitGroup
	lastReport time.Time
	status     atomic.Pointer[TaskStatus]
	replayed   uint64
	restored   uint64
	begun      time.Time // when it was given to this worker, or taken up again
	fenced     time.Time // when its lock was taken
	loaded     time.Time // when the state of a checkpoint was in memory
	whole      bool      // the state is that of a step's end
	remote     remote
	beside     context.Context // of what runs beside the steps
	told       uint64          // step of the last remote checkpoint that the journal was told of
	noRemote   error           // why the state topic did not help
	committed  atomic.Uint64   // last step committed
	poison     poison
	flow       flow
	care       *attempts    // nil = nothing is written down
	busy       atomic.Int64 // since when records are being processed, Unix nanoseconds; 0 = they are not
	blocked    atomic.Int32 // 1 while it waits for a commit
	problem    atomic.Pointer[string]
	hung       atomic.Bool // it does not come back

	backfilled []backfilled // files that step 1 was made of
	learning   *learning    // while files are being learnt

	adopted  []int // by source: how many partitions the state knows of; 0 = not known
	opened   int64 // offset of the open record in the journal
	accepted []journaledAccept
	plan     *acceptedRecord // loss to be accepted once the task is restored
	surveyed *journalEnd     // what the plan is made from

	failedAt    uint64 // last step when it failed on its input
	failedSkips int    // decisions that were not committed then
	pause       time.Duration
}

// taskPartition is one partition of one source that the task owns.
type taskPartition struct {
	connectors.TopicPartition
	source  int
	known   bool              // whether next is known
	next    int64             // offset up to which it was processed, as the journal has it
	seen    int64             // next, or further if only control records follow
	end     int64             // last stable offset as last seen
	pending *connectors.Fetch // fetched, partly processed
}

// stepBuffer is the memory of a step between computing and committing.
type stepBuffer struct {
	outputs outputs
	record  stepRecord
	journal []byte
	step    connectors.Step
	save    func(ctx context.Context) error // makes the checkpoint staged at its end durable; may be nil
	begun   time.Time
	oldest  int64 // record times, milliseconds
	newest  int64
	began   []inputRun       // first offsets, of the records that were processed
	records int              // that were processed
	taken   []int            // records of each of the task's partitions, skipped ones included
	rejects map[string]int64 // what was rejected, by reason
}

// errUncheckpointed says that the local checkpoint is not in the journal.
var errUncheckpointed = errors.New("the local checkpoint is not a state of this journal")

// errRecalled says that a newer checkpoint was fetched while one was restored.
var errRecalled = errors.New("there is a newer checkpoint now")

// run takes the task from fencing to the end of its life, or to where it has to
// wait: until soft ends and all is committed, until ctx ends, which soft was
// derived from, or until something fails. What is to be done then, and from what
// run goes on if it is called again, says t.m.
func (t *task) run(ctx, soft context.Context) (err error) {
	t.saving.Store(false) // a checkpoint staged for a step that was never committed
	t.m.accept = t.accepting()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("task %d: %w", t.id, panicked(r))
			t.m = t.m.next(broken)
		}
		t.setPhase(t.m.doing.phase())
		if e := t.close(); e != nil {
			err = errors.Join(err, e)
			t.m = t.m.next(broken)
		}
		if !t.hung.Load() {
			t.care.end()
		}
	}()
	for {
		switch t.m.doing {
		case ended:
			return nil
		case failed, pausing, confirming:
			return err
		}
		t.setPhase(t.m.doing.phase())
		var e event
		if e, err = t.do(ctx, soft, err); err != nil && ctx.Err() != nil {
			e = killed
		}
		if e == stopped {
			t.log.Info("stopped before it was live", "last_step", t.step, "replayed", t.replayed, "reason", err)
		}
		t.m = t.m.next(e)
	}
}

// do does what the machine says and tells what came of it. An error says why it
// is not done; after it the machine may find another way, for which it is given
// as why.
func (t *task) do(ctx, soft context.Context, why error) (event, error) {
	switch t.m.doing {
	case fencing:
		err := t.fence(soft)
		return judge(soft, err), err
	case locating:
		took, err := t.locate(soft)
		if took {
			return recalled, nil
		}
		return judge(soft, err), err
	case restoring, replaying:
		err := t.restore(ctx, soft)
		if errors.Is(err, errRecalled) {
			return recalled, nil
		}
		if err == nil {
			err = t.reachable(soft)
		}
		return judge(soft, err), err
	case recalling:
		took, err := t.takeRemote(soft, 0, why.Error())
		switch {
		case err != nil:
			return judge(soft, err), err
		case took:
			return recalled, nil
		}
		return none, why
	case rebuilding:
		err := t.rebuild(soft, why)
		return judge(soft, err), err
	case surveying:
		return t.lookBack(soft, why)
	case planning:
		err := t.makePlan(soft, why)
		return judge(soft, err), err
	case accepting:
		err := t.acceptLoss(ctx)
		return judge(soft, err), err
	case living, draining:
		err := t.live(ctx, soft)
		e := judge(ctx, err)
		if e == gone && t.m.accept {
			err = fmt.Errorf("the loss will be accepted: %w", err)
		}
		return e, err
	case keeping:
		if t.replayed > 0 && t.whole && t.grown() == nil {
			err := t.checkpoint(ctx) // the next start goes on from here
			return judge(ctx, err), err
		}
		return done, nil
	}
	panic("run: nothing to do while " + t.m.doing.String())
}

// judge says of which class an error is, of something that is given up when ctx
// ends.
func judge(ctx context.Context, err error) event {
	switch {
	case err == nil:
		return done
	case ctx.Err() != nil:
		return stopped
	case errors.Is(err, connectors.ErrLost):
		return lost
	case errors.Is(err, errRetry):
		return spoiled
	case unreplayable(err):
		return gone
	case isUnusable(err):
		return unusable
	case errors.Is(err, errGivenUp):
		return givenUp
	}
	return broken
}

func (t *task) close() error {
	t.saves.Wait()
	t.remote.running.Wait()
	var errs []error
	if t.feed != nil {
		errs = append(errs, t.feed.Close())
	}
	if t.tlog != nil {
		errs = append(errs, t.tlog.Close())
	}
	if t.part != nil {
		errs = append(errs, t.part.Close())
	}
	t.feed, t.tlog, t.part = nil, nil, nil
	return errors.Join(errs...)
}

func (t *task) setPhase(p Phase) {
	if Phase(t.phase.Swap(int32(p))) != p {
		t.log.Debug("task phase", "phase", p.String())
		t.publish(true)
	}
}

// fence takes the lock of the task and writes the open record.
func (t *task) fence(ctx context.Context) (err error) {
	if !t.m.planned {
		t.plan = nil
	}
	t.replayed, t.whole = 0, true
	t.remote.reset()
	t.told, t.noRemote = 0, nil
	t.begun = t.w.now()
	if t.tlog, err = t.w.cluster.Log(t.id); err != nil {
		return err
	}
	t.parts = t.of.partitionsOf(t.id)
	starts := make([]connectors.Position, len(t.parts))
	for i, p := range t.parts {
		starts[i] = connectors.Position{TopicPartition: p.TopicPartition, Next: connectors.Earliest}
		if t.of.p.Sources[p.source].Start == "latest" {
			starts[i].Next = connectors.Latest
		}
	}
	if starts, err = t.w.cluster.Resolve(ctx, starts); err != nil {
		return err
	}
	r := t.openRecord()
	for i, p := range t.parts {
		r.Positions = append(r.Positions, inputRun{Source: p.source, Partition: p.Partition, Next: starts[i].Next})
	}
	t.opened, err = t.tlog.Fence(ctx, r.append(nil))
	t.fenced = t.w.now()
	return err
}

func (t *task) partition(topic string, partition int32) int {
	return slices.IndexFunc(t.parts, func(p taskPartition) bool { return p.Topic == topic && p.Partition == partition })
}

func (t *task) partitionOfRun(r inputRun) int {
	return slices.IndexFunc(t.parts, func(p taskPartition) bool { return p.source == r.Source && p.Partition == r.Partition })
}

// partitionOf finds the partition that an open record speaks of. The sources may
// have others beside them now, so their names count.
func (t *task) partitionOf(o *openRecord, r inputRun) int {
	if r.Source >= len(o.Sources) {
		return -1
	}
	r.Source = t.of.p.Source(o.Sources[r.Source].Name)
	return t.partitionOfRun(r)
}

// openFeed starts reading at the positions reached.
func (t *task) openFeed(ctx context.Context) (err error) {
	if t.feed != nil {
		return nil
	}
	t.feed, err = t.w.cluster.Feed(ctx, t.knownPositions())
	return err
}

// poll returns the index of a partition whose pending fetch is fresh or has
// records left. If only is not negative it waits for that partition.
func (t *task) poll(ctx context.Context, only int) (int, error) {
	// First of all: where input never runs out, nothing else would end what ctx does.
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	for i := range t.parts {
		if t.parts[i].pending != nil && (only < 0 || only == i) {
			return i, nil
		}
	}
	var tp *connectors.TopicPartition
	if only >= 0 {
		tp = &t.parts[only].TopicPartition
	}
	f, err := t.feed.Poll(ctx, t.w.opts.pollRecords(), tp)
	if err != nil {
		return -1, err
	}
	i := t.partition(f.Topic, f.Partition)
	if i < 0 {
		return -1, fmt.Errorf("task %d: a fetch of %s, which it does not own", t.id, f.TopicPartition)
	}
	t.parts[i].end, t.parts[i].seen = f.End, max(t.parts[i].seen, t.parts[i].next)
	t.parts[i].pending = &f
	return i, nil
}

// consume feeds the core with what is pending of a partition, up to the offset
// limit (exclusive) and the bounds. It returns the records that it took and their
// bytes.
func (t *task) consume(i int, limit int64, most bounds) (recs []connectors.Record, bytes int64, err error) {
	p := &t.parts[i]
	f := p.pending
	recs = f.Records
	if n := len(recs); n > 0 && recs[n-1].Offset >= limit {
		n, _ = slices.BinarySearchFunc(recs, limit, func(r connectors.Record, o int64) int { return cmp.Compare(r.Offset, o) })
		recs = recs[:n]
	}
	begun := t.w.now()
	t.busy.Store(begun.UnixNano())
	n, bytes, err := t.core.feed(p.source, p.Partition, recs, most)
	t.busy.Store(0)
	t.flow.worked += t.w.now().Sub(begun)
	if err != nil {
		return nil, 0, fmt.Errorf("task %d: %w", t.id, err)
	}
	recs = recs[:n]
	f.Records = f.Records[n:]
	switch {
	case len(f.Records) > 0:
		p.next = min(f.Records[0].Offset, limit)
	default:
		p.next = min(f.Next, limit)
		if f.Next <= limit {
			p.pending = nil
		}
	}
	return recs, bytes, nil
}
