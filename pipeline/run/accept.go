package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state"
)

// Policies say what a task does when its state cannot be rebuilt, or input that it
// has not processed is gone.
const (
	// PolicyFail stops the task with an error that says what is missing.
	PolicyFail = "fail"
	// PolicyAcceptGap keeps the newest state that can be rebuilt and goes on behind
	// what was published last, or where the log now starts if that is later.
	PolicyAcceptGap = "accept_gap"
	// PolicyFromScratch goes on at the same place with an empty state.
	PolicyFromScratch = "from_scratch"
)

// errGone says that the state cannot be rebuilt from the journal and the input.
var errGone = errors.New("what the state was made of is gone")

// errGivenUp says that steps were replayed that the journal gives up further on.
var errGivenUp = errors.New("the journal gives up steps that were replayed")

// unreplayable reports whether a policy can get over an error.
func unreplayable(err error) bool {
	var out *connectors.OutOfRangeError
	return errors.Is(err, errGone) || errors.As(err, &out) && out.Start >= 0 && out.Offset < out.Start
}

// journaledAccept is a decision that was met in the journal.
type journaledAccept struct {
	offset int64
	rec    *acceptedRecord
}

// accepting reports whether the policy allows for losses.
func (t *task) accepting() bool { return t.w.opts.Policy != "" && t.w.opts.Policy != PolicyFail }

// reachable checks that the input goes on where the task is. With the policy to
// fail, reading finds out.
func (t *task) reachable(ctx context.Context) error {
	if !t.accepting() {
		return nil
	}
	at := t.logPositions()
	starts, err := t.starts(ctx)
	if err != nil {
		return err
	}
	for i, s := range starts {
		if s.Next > at[i].Next {
			return fmt.Errorf("task %d: %w: %v is needed from offset %d, its log starts at %d", t.id, errGone, s.TopicPartition, at[i].Next, s.Next)
		}
	}
	return nil
}

func (t *task) logPositions() []connectors.Position {
	at := make([]connectors.Position, len(t.parts))
	for i, p := range t.parts {
		at[i] = connectors.Position{TopicPartition: p.TopicPartition, Next: p.next}
	}
	return at
}

// starts returns where the logs of the task's partitions begin.
func (t *task) starts(ctx context.Context) ([]connectors.Position, error) {
	at := t.logPositions()
	for i := range at {
		at[i].Next = connectors.Earliest
	}
	return t.w.cluster.Resolve(ctx, at)
}

// lookBack looks through the journal for losses that were accepted before, where
// the way to its end has failed.
func (t *task) lookBack(ctx context.Context, why error) (event, error) {
	base := t.step
	if t.accepting() && (t.w.opts.Policy == PolicyFromScratch || errors.Is(why, errUncheckpointed)) {
		base = 0
	}
	end, err := t.survey(ctx, base)
	if err != nil {
		return judge(ctx, err), errors.Join(why, err)
	}
	if len(end.accepted) > len(t.accepted) {
		t.accepted = end.accepted
		err := t.close()
		return judge(ctx, err), err
	}
	if t.m.why == gone && !t.accepting() {
		why = fmt.Errorf("%w; to go on without what is lost, start once with --policy %s (keeps the newest state there is) or --policy %s (empty state)", why, PolicyAcceptGap, PolicyFromScratch)
	}
	t.surveyed = end
	return none, why
}

// makePlan decides what is given up: what the journal's end, as surveyed, cannot be
// reached without.
func (t *task) makePlan(ctx context.Context, why error) error {
	end, base := t.surveyed, t.surveyed.baseStep
	starts, err := t.starts(ctx)
	if err != nil {
		return errors.Join(why, err)
	}
	group, err := t.tlog.Offsets(ctx)
	if err != nil {
		return errors.Join(why, err)
	}
	plan := &acceptedRecord{Policy: t.w.opts.Policy, Reason: cut(why.Error()), Step: end.step, Hash: end.hash, Base: base, Clock: end.clock}
	for i, p := range t.parts {
		next, known := end.at[i]
		for _, g := range group {
			if g.TopicPartition == p.TopicPartition && !known {
				next, known = g.Next, true
			}
		}
		next = max(next, starts[i].Next)
		plan.Positions = append(plan.Positions, inputRun{p.source, p.Partition, next})
		from := end.base[i]
		if base == 0 && end.first != 1 {
			from = starts[i].Next // what was before is not known to have been read
		}
		if from < next {
			plan.Lost = append(plan.Lost, lostRun{p.source, p.Partition, from, next})
		}
	}
	t.plan = plan
	if err := t.close(); err != nil || base > 0 {
		return err
	}
	return t.w.store.Delete(t.id)
}

// journalEnd is where a journal comes to.
type journalEnd struct {
	first    uint64 // step
	baseStep uint64 // behind which base says
	step     uint64
	hash     state.Hash
	clock    int64
	at, base map[int]int64 // position by index of the partition: at the end, and behind the base step
	accepted []journaledAccept
}

// survey reads the journal from its start without replaying it.
func (t *task) survey(ctx context.Context, base uint64) (*journalEnd, error) {
	end := &journalEnd{baseStep: base, at: map[int]int64{}, base: map[int]int64{}}
	move := func(runs []inputRun, index func(inputRun) int, first bool) {
		for _, r := range runs {
			i := index(r)
			if _, known := end.at[i]; i < 0 || known && first {
				continue
			}
			end.at[i] = r.Next
			if _, known := end.base[i]; !known || end.step <= base && !first {
				end.base[i] = r.Next
			}
		}
	}
	err := t.tlog.ReadJournal(ctx, connectors.Earliest, t.opened, func(offset int64, b []byte) error {
		rec, err := parseRecord(b)
		switch {
		case err != nil:
			return err
		case rec.open != nil:
			// Of a journal whose start is gone, an opening does not say where steps had come to.
			if end.step == 0 {
				move(rec.open.Positions, func(r inputRun) int { return t.partitionOf(rec.open, r) }, true)
			}
		case rec.accepted != nil:
			end.accepted = append(end.accepted, journaledAccept{offset, rec.accepted})
			move(rec.accepted.Positions, t.partitionOfRun, false)
		default:
			if end.first == 0 {
				end.first = rec.step.Step
			}
			end.step, end.hash, end.clock = rec.step.Step, rec.step.Hash, rec.step.Clock
			move(rec.step.Runs, t.partitionOfRun, false)
		}
		return nil
	})
	return end, err
}

// acceptLoss commits the decision to go on, now that the task is where it says.
func (t *task) acceptLoss(ctx context.Context) error {
	a := t.plan
	b := a.append(nil)
	s := connectors.Step{Journal: b, StepNo: a.Step, Meta: acceptMeta(a, b),
		Resolve: func(journal []byte) bool { return bytes.Equal(journal, b) }, Offsets: t.logPositions()}
	offset, err := t.tlog.Commit(ctx, &s)
	if err != nil {
		return fmt.Errorf("task %d: recording an accepted loss: %w", t.id, err)
	}
	t.journal.Store(offset)
	t.accepted = append(t.accepted, journaledAccept{offset, a})
	t.plan, t.needSave = nil, true
	t.w.metrics.accepted.WithLabelValues(a.Policy).Inc()
	lost := int64(0)
	for _, l := range a.Lost {
		lost += l.Next - l.From
		t.log.Error("input that the state will never see", "topic", t.of.p.Sources[l.Source].Topic, "partition", l.Partition, "from", l.From, "up_to", l.Next)
	}
	t.log.Error("A LOSS WAS ACCEPTED: the task goes on, its state is not that of all its input", "policy", a.Policy, "reason", a.Reason,
		"state_of_step", a.Base, "last_step", a.Step, "offsets_lost", lost)
	return nil
}

// givenUp returns the decision by which a step does not count, as far as it is
// known.
func (t *task) givenUp(step uint64) *acceptedRecord {
	for _, a := range t.accepted {
		if a.rec.Base < step && step <= a.rec.Step {
			return a.rec
		}
	}
	if a := t.plan; a != nil && a.Base < step && step <= a.Step {
		return a
	}
	return nil
}

// pass takes a step that was given up: the chain goes on and the state does not
// change.
func (r *replay) pass(s *stepRecord) {
	t := r.t
	for _, run := range s.Runs {
		if i := t.partitionOfRun(run); i >= 0 {
			t.parts[i].next, t.parts[i].known = run.Next, true
		}
	}
	t.step, t.hash = s.Step, s.Hash
}

// accepted takes a decision met in the journal.
func (r *replay) accepted(offset int64, a *acceptedRecord) error {
	t := r.t
	if offset <= r.from { // the checkpoint is younger
		r.verified = r.verified || a.Step == t.step && a.Hash == t.hash
		return nil
	}
	known := slices.ContainsFunc(t.accepted, func(k journaledAccept) bool { return k.offset == offset })
	switch {
	case !r.verified, a.Base < t.restored:
		return fmt.Errorf("%w: step %d was given up behind step %d", errUncheckpointed, t.restored, a.Step)
	case a.Step != t.step || a.Hash != t.hash:
		return fmt.Errorf("task %d: journal offset %d: a loss was accepted behind step %d, but the journal is at step %d", t.id, offset, a.Step, t.step)
	case !known && a.Base < a.Step:
		return fmt.Errorf("task %d: %w: %d to %d", t.id, errGivenUp, a.Base+1, a.Step)
	}
	t.journal.Store(offset)
	return t.goOn(a)
}

// closeFeed has the input read anew from the positions that were processed.
func (t *task) closeFeed() error {
	for i := range t.parts {
		t.parts[i].pending = nil
	}
	if t.feed == nil {
		return nil
	}
	err := t.feed.Close()
	t.feed = nil
	return err
}

// goOn moves the task to where a decision says.
func (t *task) goOn(a *acceptedRecord) error {
	if err := t.closeFeed(); err != nil {
		return err
	}
	for _, p := range a.Positions {
		if i := t.partitionOfRun(p); i >= 0 {
			t.parts[i].next, t.parts[i].known = p.Next, true
		}
	}
	t.core.engine.V.Clock = max(t.core.engine.V.Clock, a.Clock)
	return nil
}

// settle is called at the journal's end: it does what the plan says, if there is
// one.
func (r *replay) settle() error {
	a := r.t.plan
	switch {
	case a == nil:
		return nil
	case r.t.step != a.Step && a.Step > 0 || r.t.restored > a.Base:
		return fmt.Errorf("task %d: the state of step %d cannot be had: there is a checkpoint of step %d and the journal comes to step %d", r.t.id, a.Base, r.t.restored, r.t.step)
	}
	return r.t.goOn(a)
}
