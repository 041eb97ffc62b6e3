package run

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/state"
)

// RebuildOptions are what Rebuild and Explain need beside the pipeline.
type RebuildOptions struct {
	Formats Formats
	Task    int
	To      uint64 // step to stop at; 0 = the last one committed. Explain ignores it.
	// Checkpoint holds the state to start from; nil = start from nothing, at step 1.
	Checkpoint state.Inspector
	// Progress is called behind every step, and may be nil.
	Progress  func(p RebuildProgress)
	Log       *slog.Logger     // nil = none
	Now       func() time.Time // nil = time.Now; for the messages about progress only
	BatchRows int              // rows processed at once; 0 = the default; never changes a result
}

// RebuildProgress is how far a rebuild has come.
type RebuildProgress struct {
	Step, From, To uint64 // From is the step it began behind
	Rows           int64  // replayed
}

// Rebuilt is the state of a task behind one of its steps, rebuilt from the log.
// It implements [state.Inspector] for its task, but Delete.
type Rebuilt struct {
	Task    int
	From    uint64 // step of the checkpoint that was begun with; 0 = from nothing
	Step    uint64
	Last    uint64     // last step of the journal, as it was when the rebuild began
	Hash    state.Hash // of the step's journal record
	Clock   int64      // of the step, milliseconds since 1970
	Rows    int64      // replayed
	Outputs int64      // of the replayed steps, each compared with the journal by their hash
	Digests int        // states of replayed steps that were compared with a digest of the journal
	Digest  uint64     // of the state behind Step
	// Journaled is the digest that the journal holds for Step; nil = none: it has one
	// only for steps at whose end a checkpoint was due. It equals Digest, or Rebuild
	// would have returned an error.
	Journaled *uint64

	states   []operators.Binding
	manifest state.Manifest
}

// WrongRequest is an error of Rebuild and Explain that says that what was asked
// for does not exist, as against one that says that the log is not what it should
// be.
type WrongRequest struct{ text string }

func (e *WrongRequest) Error() string { return e.text }

func wrongRequest(format string, args ...any) error {
	return &WrongRequest{fmt.Sprintf(format, args...)}
}

// Rebuild makes the state of a task behind one of its steps anew: it feeds the
// operators exactly the input that the journal names, in its order, and compares
// the outputs of every step and the digest of every state with it. It reads and
// writes nothing: no lock is taken, no group is joined. The first step that comes
// out differently is an error that names task and step.
func Rebuild(ctx context.Context, p *pipeline.Pipeline, past connectors.History, o RebuildOptions) (_ *Rebuilt, err error) {
	r, err := newRebuild(ctx, p, past, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.t.close()) }()
	to := o.To
	if to == 0 {
		to = r.last
	}
	if err := r.reaches(to); err != nil {
		return nil, err
	}
	if err := r.advance(ctx); err != nil {
		return nil, err
	}
	return r.result(), nil
}

// rebuild is a task without a lock, group or store, and the journal it replays.
type rebuild struct {
	t    *task
	rep  *replay
	past connectors.History
	o    RebuildOptions

	journal  connectors.TopicPartition
	from     int64 // offset in the journal to read on from
	begun    uint64
	last     uint64     // last step of the journal
	graph    state.Hash // of the pipeline that made the steps at from
	steps    []stretch
	accepted []journaledAccept
	goal     uint64                    // last step that will be replayed
	before   func(s *stepRecord) error // called before a step is replayed; may be nil
	digest   *uint64                   // of the step reached, as the journal has it
	digests  int
	outputs  int64
	startRow int64 // rows of the checkpoint
}

// stretch is a run of steps that one pipeline file made.
type stretch struct {
	first, last uint64
	graph       state.Hash
	files       []openFile
}

// onlooker is a cluster of which only the past can be read.
type onlooker struct {
	connectors.Cluster // nil: everything else would be a mistake
	past               connectors.History
}

func (c onlooker) Describe(ctx context.Context, topics []string) (string, []connectors.TopicInfo, error) {
	return c.past.Describe(ctx, topics)
}

func (c onlooker) Feed(ctx context.Context, from []connectors.Position) (connectors.Feed, error) {
	return c.past.Feed(ctx, from)
}

// Resolve finds ends of logs.
func (c onlooker) Resolve(ctx context.Context, at []connectors.Position) (_ []connectors.Position, err error) {
	at = slices.Clone(at)
	for i, p := range at {
		if p.Next != connectors.Latest {
			return nil, fmt.Errorf("%v: only the end of the log can be asked for", p.TopicPartition)
		}
		if at[i].Next, err = c.past.OffsetAt(ctx, p.TopicPartition, math.MaxInt64); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// newRebuild looks at the topics and through the journal, and loads the
// checkpoint, if there is one.
func newRebuild(ctx context.Context, p *pipeline.Pipeline, past connectors.History, o RebuildOptions) (*rebuild, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	cluster := onlooker{past: past}
	topo, err := topologyOf(ctx, p, cluster)
	if err != nil {
		return nil, err
	}
	if o.Task < 0 || o.Task >= topo.Tasks {
		return nil, wrongRequest("no task %d: pipeline %s has %s", o.Task, p.Name, tasksText(topo.Tasks))
	}
	w := NewWorker(p, topo, cluster, nil, Options{Formats: o.Formats, Log: o.Log, Now: o.Now, BatchRows: o.BatchRows})
	t := &task{id: o.Task, w: &w.w, of: w.w.stageOf(o.Task), log: o.Log.With("pipeline", p.Name, "task", o.Task), whole: true, m: machine{doing: restoring}}
	t.parts, t.adopted = t.of.partitionsOf(t.id), t.of.adopted(nil)
	r := &rebuild{t: t, past: past, o: o, from: connectors.Earliest,
		journal: connectors.TopicPartition{Topic: JournalTopic(p), Partition: int32(o.Task)}}
	r.rep = &replay{t: t, verified: true}
	if t.core, err = newCore(t.of.p, t.id, o.Formats, r.coreOptions()); err != nil {
		return nil, err
	}
	if o.Checkpoint != nil {
		if err := r.load(o.Checkpoint); err != nil {
			return nil, err
		}
	}
	return r, r.survey(ctx)
}

func (r *rebuild) coreOptions() coreOptions {
	return coreOptions{BatchRows: r.o.BatchRows, SinkPartitions: r.t.of.partitionCount}
}

// topologyOf describes the topics of a pipeline that has run.
func topologyOf(ctx context.Context, p *pipeline.Pipeline, cluster connectors.Admin) (*Topology, error) {
	topo, topics, err := survey(ctx, p, cluster)
	if err != nil {
		return nil, err
	}
	read := map[string]bool{}
	for _, s := range topo.Stages {
		for _, t := range s.Topics {
			read[t.Name] = true
		}
	}
	for _, t := range topics { // first, for of a pipeline that has never run others may be missing too
		if t.Name == JournalTopic(p) && t.Missing {
			return nil, wrongRequest("topic %s does not exist: pipeline %s has never run on these brokers, or its journal was deleted", t.Name, p.Name)
		}
	}
	for _, t := range topics {
		switch {
		case t.Name == JournalTopic(p) && t.Partitions != topo.Tasks:
			return nil, wrongRequest("topic %s has %d partitions but the pipeline file says %s; give the file that made it", t.Name, t.Partitions, tasksText(topo.Tasks))
		case t.Missing && read[t.Name]:
			return nil, fmt.Errorf("topic %s does not exist any more: what was read from it cannot be replayed", t.Name)
		}
	}
	return topo, nil
}

func tasksText(n int) string {
	if n == 1 {
		return "1 task, 0"
	}
	return fmt.Sprintf("%d tasks, 0 to %d", n, n-1)
}

// load begins with the state of a checkpoint.
func (r *rebuild) load(s state.Inspector) error {
	t := r.t
	at, ok, err := s.Manifest(t.id)
	if err != nil {
		return err
	}
	if !ok {
		return wrongRequest("the state folder holds no checkpoint of task %d", t.id)
	}
	if err := t.of.sameOrigin(t.id, at); err != nil {
		return err
	}
	handles, err := s.Handles(t.id)
	if err != nil {
		return err
	}
	var bound state.Handles
	for _, b := range t.core.states() {
		var record []byte
		i := slices.IndexFunc(handles, func(h state.HandleInfo) bool { return h.ID.Node == b.ID.Node && h.ID.Name == b.ID.Name })
		if i >= 0 {
			record = state.AppendID(nil, handles[i].ID)
		}
		err := bound.Bind(b.ID, b.State, record, func(yield func(key, value []byte) bool) error { return s.Entries(t.id, b.ID, yield) })
		if err != nil {
			return t.core.named(err)
		}
	}
	t.core.route(t.of.countsThen(sinksOfMeta(at.Meta)))
	t.step, t.hash, t.restored, r.begun = at.Step, at.Hash, at.Step, at.Step
	r.from, r.rep.from, r.rep.verified = at.Journal, at.Journal, false
	r.startRow = t.core.engine.V.Rows
	t.adopted = t.of.adopted(at.Meta)
	t.noteBackfills(backfillsOfMeta(at.Meta))
	for _, p := range at.Positions {
		if i := t.partition(p.Topic, p.Partition); i >= 0 {
			t.parts[i].next, t.parts[i].known = p.Next, true
		}
	}
	if graph, err := hex.DecodeString(at.Meta["graph"]); err == nil {
		copy(r.graph[:], graph)
		r.rep.graph = r.graph
	}
	return nil
}

// survey reads through the journal: how far it goes, which files made it, and
// which losses were accepted.
func (r *rebuild) survey(ctx context.Context) error {
	made := stretch{graph: r.graph}
	return r.read(ctx, r.from, func(offset int64, b []byte) error {
		rec, err := parseRecord(b)
		switch {
		case err != nil:
			return fmt.Errorf("task %d: journal offset %d, behind step %d: %w", r.t.id, offset, r.last, err)
		case rec.open != nil:
			made = stretch{graph: rec.open.Graph, files: rec.open.Files}
			return nil
		case rec.accepted != nil:
			r.accepted = append(r.accepted, journaledAccept{offset, rec.accepted})
			return nil
		}
		r.last = rec.step.Step
		if n := len(r.steps); n > 0 && r.steps[n-1].graph == made.graph {
			r.steps[n-1].last = r.last
			return nil
		}
		made.first, made.last = r.last, r.last
		r.steps = append(r.steps, made)
		return nil
	})
}

// read yields the records of the journal from an offset on.
func (r *rebuild) read(ctx context.Context, from int64, yield func(offset int64, b []byte) error) error {
	return r.past.ReadLog(ctx, r.journal, from, func(rec *connectors.Record) error { return yield(rec.Offset, rec.Value) })
}

// reaches makes a step the goal if it can be rebuilt from where the rebuild begins.
func (r *rebuild) reaches(to uint64) error {
	id, t := r.t.id, r.t
	r.goal = to
	t.accepted = nil
	for _, a := range r.accepted {
		// Later ones are not about it, and those that the checkpoint knows are part of it.
		if a.rec.Step < to && (r.begun == 0 || a.offset > r.from) {
			t.accepted = append(t.accepted, a)
		}
	}
	switch {
	case r.last == 0:
		return wrongRequest("task %d has made no step yet", id)
	case to > r.last:
		return wrongRequest("task %d has no step %d: its journal ends at step %d", id, to, r.last)
	case to < r.begun:
		return wrongRequest("the checkpoint of task %d holds step %d, and there is no way back to step %d; start from an older checkpoint, or from nothing", id, r.begun, to)
	case r.begun > 0 && t.givenUp(r.begun) != nil:
		return fmt.Errorf("task %d: the checkpoint's step %d was given up when a loss was accepted behind step %d; start from nothing, or from another checkpoint", id, r.begun, t.givenUp(r.begun).Step)
	case r.begun == 0 && (r.steps[0].first != 1 || r.steps[0].graph == state.Hash{}) && t.givenUp(1) == nil: // without the open record where reading starts is not known
		return fmt.Errorf("task %d: the journal begins at step %d: %w, so the state cannot be rebuilt from nothing; start from a checkpoint of step %d or later", id, r.steps[0].first, ErrTrimmed, max(r.steps[0].first-1, 1))
	}
	for _, s := range r.steps {
		first, last := max(s.first, r.begun+1), min(s.last, to)
		for g := t.givenUp(first); g != nil && first <= last; g = t.givenUp(first) {
			first = g.Step + 1
		}
		if s.graph == t.of.graph || first > last {
			continue
		}
		if other := t.of.otherFile(s.files); other != "" {
			return wrongRequest("task %d: steps %d to %d were made with another table: %s; give it as it was then", id, first, last, other)
		}
		return wrongRequest("task %d: steps %d to %d were made by another pipeline file; give the file as it was then (what counts is in it, --set included), or start from a checkpoint behind step %d", id, first, last, last)
	}
	return nil
}

// errReached ends the reading of the journal.
var errReached = errors.New("the step is reached")

// advance replays up to the goal, which the journal holds.
func (r *rebuild) advance(ctx context.Context) error {
	t := r.t
	err := r.read(ctx, r.from, func(offset int64, b []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		rec, err := parseRecord(b)
		if err != nil {
			return fmt.Errorf("task %d: journal offset %d: %w", t.id, offset, err)
		}
		s := rec.step
		live := s != nil && s.Step > t.step && t.givenUp(s.Step) == nil
		if rec.accepted != nil && rec.accepted.Step >= r.goal {
			return nil
		}
		if live && r.before != nil {
			if err := r.before(s); err != nil {
				return err
			}
		}
		if err := r.rep.record(ctx, offset, b); err != nil {
			return err
		}
		if s != nil && s.Step == t.step {
			r.digest = nil
			if s.HasDigest {
				r.digest = &s.Digest
			}
		}
		if live {
			r.replayed(s)
		}
		if t.step == r.goal && r.rep.verified {
			return errReached
		}
		return nil
	})
	switch {
	case err == nil:
		return fmt.Errorf("task %d: the journal ends behind step %d, before step %d that it had a moment ago", t.id, t.step, r.goal)
	case errors.Is(err, errReached):
		return nil
	}
	return err
}

// replayed counts a step that came out as the journal has it.
func (r *rebuild) replayed(s *stepRecord) {
	r.outputs += s.Outputs
	if s.HasDigest {
		r.digests++
	}
	if r.o.Progress != nil {
		r.o.Progress(RebuildProgress{Step: s.Step, From: r.begun, To: r.goal, Rows: r.t.core.engine.V.Rows - r.startRow})
	}
}

func (r *rebuild) result() *Rebuilt {
	t := r.t
	out := &Rebuilt{
		Task: t.id, From: r.begun, Step: t.step, Last: r.last, Hash: t.hash, Clock: t.core.engine.V.Clock,
		Rows: t.core.engine.V.Rows - r.startRow, Outputs: r.outputs, Digests: r.digests,
		Digest: t.core.digest(), Journaled: r.digest, states: t.core.states(),
		manifest: state.Manifest{Step: t.step, Hash: t.hash, Meta: t.meta()},
	}
	for _, p := range t.parts {
		out.manifest.Positions = append(out.manifest.Positions, state.Position{Topic: p.Topic, Partition: p.Partition, Next: p.next})
	}
	return out
}

var _ state.Inspector = (*Rebuilt)(nil)

// Manifest implements [state.Inspector].
func (r *Rebuilt) Manifest(task int) (state.Manifest, bool, error) {
	return r.manifest.Clone(), task == r.Task, nil
}

// Handles implements [state.Inspector].
func (r *Rebuilt) Handles(task int) ([]state.HandleInfo, error) {
	if task != r.Task {
		return nil, nil
	}
	var all []state.HandleInfo
	for _, b := range r.states {
		h := state.HandleInfo{ID: b.ID}
		b.State.All(func(key, value []byte) bool {
			h.Entries++
			h.Bytes += int64(len(key) + len(value))
			return true
		})
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b state.HandleInfo) int {
		return cmp.Or(cmp.Compare(a.ID.Node, b.ID.Node), cmp.Compare(a.ID.Name, b.ID.Name))
	})
	return all, nil
}

// Entries implements [state.Inspector].
func (r *Rebuilt) Entries(task int, id state.ID, yield func(key, value []byte) bool) error {
	for _, b := range r.states {
		if task == r.Task && b.ID == id {
			b.State.All(yield)
		}
	}
	return nil
}

// Delete implements [state.Inspector]; it refuses, as there is nothing stored.
func (r *Rebuilt) Delete(int) error { return errors.New("a rebuilt state is not stored") }
