package run

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state"
)

// live processes new input, step after step, until draining ends or something
// fails. The steps are committed by a goroutine of their own, in order.
func (t *task) live(ctx, draining context.Context) error {
	t.poison.forget(t.parts)
	t.flow.rows.Store(0)
	t.flow.bytes.Store(0)
	if err := t.attempt(); err != nil {
		return err
	}
	if err := t.openFeed(ctx); err != nil {
		return err
	}
	hard, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	soft, stop := context.WithCancel(hard)
	defer stop()
	defer context.AfterFunc(draining, stop)()

	beside, stopBeside := context.WithCancel(hard)
	defer t.remote.running.Wait()
	defer stopBeside()
	t.beside, t.remote.lost = beside, cancel
	t.remote.running.Go(func() { t.guard(beside) })

	t.free = make(chan *stepBuffer, maxInflight)
	for range maxInflight {
		t.free <- &stepBuffer{rejects: map[string]int64{}}
	}
	ready := make(chan *stepBuffer, maxInflight)
	committed := make(chan struct{})
	go func() {
		defer close(committed)
		for s := range ready {
			if hard.Err() != nil {
				continue
			}
			if err := t.commit(hard, s); err != nil {
				cancel(err)
			}
		}
	}()

	err := t.compute(hard, soft, ready)
	if err == nil {
		t.m = t.m.next(stopped)
		t.setPhase(t.m.doing.phase())
		err = t.saveLast(hard)
	}
	close(ready)
	<-committed
	t.saves.Wait()
	stopBeside()
	t.remote.running.Wait()
	if err == nil && hard.Err() == nil && t.w.stopping.Load() {
		t.saveRemoteLast(hard)
	}
	if cause := context.Cause(hard); cause != nil && ctx.Err() == nil {
		return cause
	}
	return err
}

// compute makes steps of the input until soft ends.
func (t *task) compute(hard, soft context.Context, ready chan<- *stepBuffer) (err error) {
	defer func() {
		if r := recover(); r != nil { // so that the other goroutine is told to end
			err = fmt.Errorf("task %d: %w", t.id, panicked(r))
		}
	}()
	t.saved = t.w.now().Add(-t.headStart())
	for first := true; ; first = false {
		s, err := t.buffer(hard)
		if err != nil {
			return err
		}
		if first {
			made, err := t.backfill(soft, s)
			switch {
			case err != nil && soft.Err() != nil && hard.Err() == nil:
				t.free <- s
				return nil
			case err != nil:
				return err
			case made:
				if err := t.pass(s, ready); err != nil {
					return err
				}
				continue
			}
		}
		i, err := t.pollIdle(soft)
		if err != nil {
			t.free <- s
			if soft.Err() != nil && hard.Err() == nil {
				return nil
			}
			return err
		}
		if err := t.makeStep(soft, s, i); err != nil {
			return t.failed(s, err)
		}
		if err := t.pass(s, ready); err != nil {
			return err
		}
	}
}

// headStart is how much earlier than after a whole interval the first checkpoint
// comes. It differs from task to task: a checkpoint takes memory, and what begins
// together would go on together. Multiples of the golden ratio lie evenly, whichever
// tasks a worker has.
func (t *task) headStart() time.Duration {
	_, part := math.Modf(float64(t.id) * math.Phi)
	return time.Duration(part * float64(t.w.p.Checkpoint.Local))
}

// pass seals a step that was made and passes it on to be committed.
func (t *task) pass(s *stepBuffer, ready chan<- *stepBuffer) error {
	if err := t.seal(s); err != nil {
		return err
	}
	t.made(s)
	ready <- s // never blocks: there are no more buffers than places
	t.upkeep()
	t.publish(false)
	return nil
}

// pollIdle waits for input, publishing the status now and then.
func (t *task) pollIdle(ctx context.Context) (int, error) {
	for {
		wait, cancel := context.WithTimeout(ctx, time.Second)
		i, err := t.poll(wait, -1)
		cancel()
		if err == nil && len(t.parts[i].pending.Records) == 0 {
			// Only control records, or only news of the end: no step for it.
			t.parts[i].seen = t.parts[i].pending.Next
			t.parts[i].pending = nil
			t.upkeep()
			t.publish(false)
			continue
		}
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return i, err
		}
		if err := t.saveIdle(ctx); err != nil {
			return -1, err
		}
		t.upkeep()
		t.publish(false)
	}
}

// saveIdle checkpoints the last step where no new one follows it, or retention
// might pass input that only a checkpoint makes dispensable.
func (t *task) saveIdle(ctx context.Context) error {
	if t.committed.Load() != t.step || t.w.now().Sub(t.saved) < t.w.p.Checkpoint.Local || t.saving.Load() {
		return nil
	}
	if m, ok := t.part.Last(); t.step == 0 || ok && m.Step == t.step {
		return nil
	}
	t.saving.Store(true)
	commit, err := t.stage()
	if err != nil {
		return err
	}
	t.save(ctx, t.step, commit)
	return nil
}

// beginStep begins the step behind the last.
func (t *task) beginStep(s *stepBuffer) {
	s.begun = t.w.now()
	s.record = stepRecord{Step: t.step + 1, Prev: t.hash, Runs: s.record.Runs[:0]}
	s.oldest, s.newest, s.save = 0, 0, nil
	s.began, s.records = s.began[:0], 0
	s.taken = append(s.taken[:0], make([]int, len(t.parts))...)
	t.core.begin(s.begun.UnixMilli(), &s.outputs)
}

// makeStep consumes input until a bound of the step is reached.
func (t *task) makeStep(soft context.Context, s *stepBuffer, first int) error {
	c := t.w.p.Commit
	t.beginStep(s)
	before := t.core.engine.V
	deadline, cancel := context.WithTimeout(soft, c.Interval) // not by the clock, which may be set
	defer cancel()
	most, bytes := bounds{c.Rows, c.Bytes}, int64(0)
	for i := first; ; {
		skips := len(s.record.Skips)
		recs, n, cut, err := t.take(s, i, bounds{c.Rows, c.Bytes - bytes})
		if err != nil {
			return err
		}
		if cut && recs == nil {
			break // what comes next wants a step of its own
		}
		if len(s.record.Skips) == skips {
			s.note(&t.parts[i], recs)
		}
		bytes += n
		s.noteTimes(recs)
		s.taken[i] += len(recs)
		s.addRun(&t.parts[i])
		if cut || t.core.full(most, bytes) {
			break
		}
		if i, err = t.poll(deadline, -1); err != nil {
			if deadline.Err() != nil {
				break
			}
			return err
		}
	}
	if err := t.end(s); err != nil {
		return err
	}
	after := t.core.engine.V
	s.record.Clock, s.record.Watermark = after.Clock, after.Watermark
	s.record.Rows, s.record.Rejected = after.Rows-before.Rows, after.Rejected-before.Rejected
	return nil
}

const maxOffset = int64(1)<<62 - 1

func (s *stepBuffer) addRun(p *taskPartition) {
	if k := len(s.record.Runs); k > 0 && s.record.Runs[k-1].Source == p.source && s.record.Runs[k-1].Partition == p.Partition {
		s.record.Runs[k-1].Next = p.next
		return
	}
	s.record.Runs = append(s.record.Runs, inputRun{Source: p.source, Partition: p.Partition, Next: p.next})
}

func (s *stepBuffer) noteTimes(recs []connectors.Record) {
	if len(recs) == 0 {
		return
	}
	if a := recs[0].Time; s.oldest == 0 || a < s.oldest {
		s.oldest = a
	}
	s.newest = max(s.newest, recs[len(recs)-1].Time)
}

// seal completes the step: its journal record, the positions reached, and, if
// one is due, a checkpoint at its end.
func (t *task) seal(s *stepBuffer) error {
	r := &s.record
	r.Outputs, r.OutHash = int64(s.outputs.Len()), s.outputs.hash
	due := t.needSave || t.w.now().Sub(t.saved) >= t.w.p.Checkpoint.Local
	due = due && t.saving.CompareAndSwap(false, true)
	if r.HasDigest = due; due {
		r.Digest = t.core.digest()
	}
	if remote := t.remote.step(); remote > t.told {
		r.Remote, t.told = remote, remote
	}
	s.journal = r.append(s.journal[:0])
	s.rejects, t.core.errs.byReason = t.core.errs.byReason, s.rejects
	t.step, t.hash = r.Step, r.Hash
	if due {
		var err error
		if s.save, err = t.stage(); err != nil {
			return err
		}
	}
	s.step = connectors.Step{
		Outputs: &s.outputs.Outputs, Journal: s.journal, StepNo: r.Step, Offsets: s.step.Offsets[:0],
		Resolve: func(journal []byte) bool { return sameStep(journal, r.Step, r.Hash) },
		Meta:    stepMeta(r.Step, r.Hash),
	}
	for i := range t.parts {
		s.step.Offsets = append(s.step.Offsets, connectors.Position{TopicPartition: t.parts[i].TopicPartition, Next: t.parts[i].next})
	}
	return nil
}

func sameStep(journal []byte, step uint64, hash state.Hash) bool {
	s, _, err := parseJournal(journal)
	return err == nil && s != nil && s.Step == step && s.Hash == hash
}

// stepMeta is what is committed beside the offsets of a step.
func stepMeta(step uint64, hash state.Hash) string { return fmt.Sprintf("%d %x", step, hash[:8]) }

// acceptMeta is what is committed beside the offsets of an accepted loss, which has
// the number and the hash of a step before it.
func acceptMeta(a *acceptedRecord, record []byte) string {
	sum := sha256.Sum256(record)
	return fmt.Sprintf("%s accepted %x", stepMeta(a.Step, a.Hash), sum[:8])
}

// StepMeta returns the Meta of the step that a record of the journal is of, as in
// [connectors.Step]; "" for an open record, which goes with no offsets.
func StepMeta(record []byte) (string, error) {
	r, err := parseRecord(record)
	switch {
	case err != nil:
		return "", err
	case r.step != nil:
		return stepMeta(r.step.Step, r.step.Hash), nil
	case r.accepted != nil:
		return acceptMeta(r.accepted, record), nil
	}
	return "", nil
}

// stage copies what changed since the last checkpoint. What it returns makes it
// durable and is called once the step is committed.
func (t *task) stage() (func(context.Context) error, error) {
	m := state.Manifest{Step: t.step, Hash: t.hash, Journal: t.journal.Load(), Meta: t.meta()}
	for _, p := range t.parts {
		m.Positions = append(m.Positions, state.Position{Topic: p.Topic, Partition: p.Partition, Next: p.next})
	}
	commit, err := t.part.Stage(m)
	if err != nil {
		return nil, fmt.Errorf("task %d: checkpoint at step %d: %w", t.id, t.step, err)
	}
	t.saved, t.needSave = t.w.now(), false
	return commit, nil
}

// saveLast checkpoints the last step computed, so that a planned restart replays
// nothing.
func (t *task) saveLast(ctx context.Context) error {
	for range maxInflight { // all buffers back means all steps committed
		select {
		case <-t.free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	t.saves.Wait()
	if m, ok := t.part.Last(); t.step == 0 || ok && m.Step == t.step {
		return nil
	}
	return t.checkpoint(ctx)
}

// checkpoint makes the state of the last step durable, which must be committed.
func (t *task) checkpoint(ctx context.Context) error {
	commit, err := t.stage()
	if err != nil {
		return err
	}
	t.save(ctx, t.step, commit)
	t.saves.Wait()
	return nil
}

// commit sends a step and starts to save the checkpoint staged at its end.
func (t *task) commit(ctx context.Context, s *stepBuffer) error {
	sent := t.w.now()
	offset, err := t.tlog.Commit(ctx, &s.step)
	if err != nil {
		if errors.Is(err, connectors.ErrLost) {
			return err
		}
		return fmt.Errorf("task %d: committing step %d: %w", t.id, s.record.Step, err)
	}
	t.journal.Store(offset)
	t.committed.Store(s.record.Step)
	t.sent(s)
	now := t.w.now()
	t.w.metrics.step(t, s, now.Sub(sent), now)
	if s.save != nil {
		t.save(ctx, s.record.Step, s.save)
	}
	t.free <- s
	return nil
}

// save makes a staged checkpoint durable beside the work. A failure does not stop
// the task: the next checkpoint holds what this one would have. But if all that lay
// on the disk is lost, the task is restored from elsewhere.
func (t *task) save(ctx context.Context, step uint64, commit func(context.Context) error) {
	begun := t.w.now()
	t.saves.Go(func() {
		defer t.saving.Store(false)
		err := commit(ctx)
		if err != nil && ctx.Err() != nil {
			return // the task is stopped as it is
		}
		if err != nil {
			t.w.metrics.checkpointFailed()
			if errors.Is(err, state.ErrDamaged) && t.remote.lost != nil {
				t.remote.lost(fmt.Errorf("%w: %w", errRenewed, err))
				return
			}
			t.log.Error("local checkpoint failed; going on without", "step", step, "err", err)
			return
		}
		t.care.saved(step)
		t.w.metrics.checkpoint(t.id, t.w.now().Sub(begun), t.w.now())
	})
}
