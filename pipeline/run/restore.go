package run

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state"
)

// restore rebuilds the state of the last committed step: the newest checkpoint,
// then the journaled steps after it, emitting nothing. Between two steps it stops
// when soft ends.
func (t *task) restore(ctx, soft context.Context) error {
	var err error
	if t.part, err = t.w.store.Open(t.id); err != nil {
		return err
	}
	if t.core, err = newCore(t.of.p, t.id, t.w.formats, coreOptions{BatchRows: t.w.opts.BatchRows, SinkPartitions: t.of.partitionCount}); err != nil {
		return err
	}
	if err := t.core.bind(t.part); err != nil {
		return err
	}
	at, held := t.part.Last()
	if held {
		if err := t.of.sameOrigin(t.id, at); err != nil {
			return err
		}
	}
	t.step, t.hash, t.replayed, t.restored = at.Step, at.Hash, 0, at.Step
	from := connectors.Earliest
	t.adopted = t.of.adopted(at.Meta)
	t.noteBackfills(backfillsOfMeta(at.Meta))
	if held {
		from = at.Journal
		for _, p := range at.Positions {
			if i := t.partition(p.Topic, p.Partition); i >= 0 {
				t.parts[i].next, t.parts[i].known = p.Next, true
			}
		}
	}
	if held && t.plan == nil && len(t.accepted) == 0 {
		if err := t.inputsReach(soft, t.knownPositions()); err != nil {
			if took, e := t.takeRemote(soft, at.Step+1, err.Error()); e != nil {
				return e
			} else if took {
				return errRecalled
			}
			return fmt.Errorf("task %d: the checkpoint is of step %d: %w: %w; start a worker whose state folder has a newer checkpoint, if there is one, or bring the records back; raise retention.ms of the topic for the next time",
				t.id, at.Step, errGone, err)
		}
	}
	t.core.route(t.of.countsThen(sinksOfMeta(at.Meta)))
	rep := &replay{t: t, from: from, verified: !held}
	if graph, err := hex.DecodeString(at.Meta["graph"]); err == nil {
		copy(rep.graph[:], graph)
	}
	t.loaded = t.w.now()
	err = t.tlog.ReadJournal(soft, from, t.opened, func(offset int64, b []byte) error {
		if soft.Err() != nil {
			return soft.Err()
		}
		return rep.record(ctx, offset, b)
	})
	if err != nil {
		return err
	}
	if err := rep.done(); err != nil {
		return err
	}
	if err := t.grown(); err != nil {
		return err
	}
	if err := rep.settle(); err != nil {
		return err
	}
	if err := t.checkOffsets(soft); err != nil {
		return err
	}
	if t.journal.Load() == 0 {
		t.journal.Store(t.opened)
	}
	t.core.route(t.of.partitionCount)
	t.committed.Store(t.step)
	t.needSave = t.replayed > 0
	t.log.Info("task restored", "checkpoint", at.Step, "last_step", t.step, "replayed", t.replayed,
		"fence", t.fenced.Sub(t.begun), "load", t.loaded.Sub(t.fenced), "replay", t.w.now().Sub(t.loaded))
	t.w.metrics.replayed.Add(float64(t.replayed))
	return nil
}

// rebuildable checks that the journal reaches back to the first step, that this
// pipeline file made all steps, and that the input of them is still there, before
// the local state is given up for a rebuild.
func (t *task) rebuildable(ctx context.Context) error {
	first := uint64(0)
	var graph state.Hash
	var foreign error
	var starts []connectors.Position // of the partitions as the journal begins
	err := t.tlog.ReadJournal(ctx, connectors.Earliest, t.opened, func(_ int64, b []byte) error {
		rec, err := parseRecord(b)
		s, o := rec.step, rec.open
		switch {
		case err != nil:
			return err
		case rec.accepted != nil:
			if rec.accepted.Base == 0 { // nothing before it is needed
				first, starts, foreign = 1, nil, nil
				for _, p := range rec.accepted.Positions {
					if i := t.partitionOfRun(p); i >= 0 {
						starts = append(starts, connectors.Position{TopicPartition: t.parts[i].TopicPartition, Next: p.Next})
					}
				}
			}
		case o != nil:
			graph = o.Graph
			for _, p := range o.Positions {
				i := t.partitionOf(o, p)
				if i >= 0 && !slices.ContainsFunc(starts, func(s connectors.Position) bool { return s.TopicPartition == t.parts[i].TopicPartition }) {
					starts = append(starts, connectors.Position{TopicPartition: t.parts[i].TopicPartition, Next: p.Next})
				}
			}
		default:
			if first == 0 {
				first = s.Step
			}
			if graph != (state.Hash{}) && graph != t.of.graph && foreign == nil {
				foreign = fmt.Errorf("step %d was made by another pipeline file", s.Step)
			}
		}
		return nil
	})
	if err == nil {
		err = foreign
	}
	if err == nil && (first != 1 || len(starts) == 0) {
		err = errors.New("the journal does not reach back to step 1")
	}
	if err == nil {
		err = t.inputsReach(ctx, starts)
	}
	if err != nil {
		return fmt.Errorf("task %d: the local checkpoint does not fit the journal, and the state cannot be rebuilt from it: %w: %w: %w; %s", t.id, errGone, errUncheckpointed, err, t.whyNoRemote())
	}
	return nil
}

// checkOffsets compares the positions of the journal, which are the truth, with
// the offsets of the group. They are committed together, so a difference means
// that somebody moved one of them, or that brokers tore a transaction apart.
func (t *task) checkOffsets(ctx context.Context) error {
	if t.plan != nil {
		return nil // they are about to be moved
	}
	group, err := t.tlog.Offsets(ctx)
	if err != nil {
		return err
	}
	for _, g := range group {
		i := t.partition(g.Topic, g.Partition)
		if i < 0 || t.parts[i].next == g.Next {
			continue
		}
		return fmt.Errorf("task %d: the journal ends at offset %d of %s but the consumer group says %d; they are committed together, so one was moved from outside, or the brokers tore a transaction apart, as Kafka 4.3.0 can (KAFKA-20734). If the group was moved, restore its offset to %d; if not, leave it: the journal may hold a step whose outputs are missing or come twice, and only to delete the pipeline's topics, group and state folder and to start afresh is safe",
			t.id, t.parts[i].next, g.TopicPartition, g.Next, t.parts[i].next)
	}
	return nil
}

// isUnusable reports whether an error speaks of the local checkpoint, so that
// another source of the state may do.
func isUnusable(err error) bool {
	return errors.Is(err, errUncheckpointed) || errors.Is(err, state.ErrDamaged)
}

// locate makes the newest checkpoint the local one: it brings the remote one here
// if there is none, none that can be used, or an older one.
func (t *task) locate(ctx context.Context) (took bool, err error) {
	if t.fromNothing() {
		return false, nil
	}
	at, held, err := t.localLast()
	if err != nil && !isUnusable(err) {
		return false, err
	}
	reason := "there is no local checkpoint"
	switch {
	case err != nil:
		reason, held = err.Error(), false
	case held:
		if err := t.of.sameOrigin(t.id, at); err != nil {
			return false, err
		}
		var newest uint64
		newest, held, err = t.remoteStep(ctx, at)
		switch {
		case err != nil:
			return false, err
		case held && newest <= at.Step:
			return false, nil
		case held:
			reason = fmt.Sprintf("the local checkpoint is of step %d, there is a remote one of step %d", at.Step, newest)
		default:
			reason = fmt.Sprintf("the local checkpoint, of step %d, is not a state of this journal", at.Step)
		}
	}
	least := uint64(0)
	if held {
		least = at.Step + 1
	}
	return t.takeRemote(ctx, least, reason)
}

// fromNothing reports whether the empty state was decided for.
func (t *task) fromNothing() bool { return t.plan != nil && t.plan.Base == 0 }

func (t *task) localLast() (m state.Manifest, ok bool, err error) {
	part, err := t.w.store.Open(t.id)
	if err != nil {
		return m, false, err
	}
	m, ok = part.Last()
	return m, ok, part.Close()
}

// remoteStep reads the journal behind a checkpoint: which remote checkpoint it
// names last, and whether it holds the checkpoint's step, or ends before it, which
// is for others to judge.
func (t *task) remoteStep(ctx context.Context, at state.Manifest) (newest uint64, held bool, err error) {
	last := uint64(0)
	err = t.tlog.ReadJournal(ctx, at.Journal, t.opened, func(_ int64, b []byte) error {
		r, err := parseRecord(b)
		if err != nil || r.step == nil {
			return nil // whoever replays it will say what is wrong
		}
		last, newest = r.step.Step, max(newest, r.step.Remote)
		held = held || last == at.Step && r.step.Hash == at.Hash
		return nil
	})
	return newest, held || last < at.Step, err
}

// takeRemote replaces the local state by the remote checkpoint, if there is one of
// the step least or a later one. Why there is none is told, and kept for whoever
// then fails for the lack of it.
func (t *task) takeRemote(ctx context.Context, least uint64, reason string) (took bool, err error) {
	select {
	case t.w.bulk <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-t.w.bulk }()
	begun := t.w.now()
	im, err := readImage(t.loadState(ctx), true)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	var m state.Manifest
	if err == nil {
		m, err = im.check()
	}
	if err == nil && m.Step < least {
		err = fmt.Errorf("its checkpoint is of step %d", m.Step)
	}
	t.noRemote = err
	if err != nil {
		if !errors.Is(err, errNoRemote) {
			t.log.Warn("the state topic is of no use", "wanted_for", reason, "reason", err)
		}
		return false, nil
	}
	if err := t.release(); err != nil {
		return false, err
	}
	if err := t.w.store.Import(ctx, t.id, im.each); err != nil {
		return false, fmt.Errorf("task %d: storing the remote checkpoint: %w", t.id, err)
	}
	t.remote.learn(im, true)
	t.remote.confirm(m, t.w.now())
	t.w.metrics.remoteRestores.Inc()
	t.log.Info("restored from the remote checkpoint", "reason", reason, "step", m.Step, "bytes", im.bytes, "took", t.w.now().Sub(begun))
	return true, nil
}

// rebuild gives up the local state, for the journal as a whole to make it anew.
func (t *task) rebuild(ctx context.Context, why error) error {
	t.log.Warn("there is no checkpoint that can be used; rebuilding from the journal", "reason", why)
	if err := t.rebuildable(ctx); err != nil {
		return err
	}
	return t.discard()
}

// release lets go of the local state, to be opened again.
func (t *task) release() (err error) {
	if t.feed != nil {
		if err := t.feed.Close(); err != nil {
			return err
		}
		t.feed = nil
	}
	if t.part != nil {
		err = t.part.Close()
		t.part = nil
	}
	for i := range t.parts {
		p := &t.parts[i]
		p.next, p.known, p.pending = 0, false, nil
	}
	return err
}

// discard deletes the local state so that the task can be rebuilt from the
// journal alone.
func (t *task) discard() error {
	return errors.Join(t.release(), t.w.store.Delete(t.id))
}

// whyNoRemote says why the state topic did not help.
func (t *task) whyNoRemote() string {
	if t.noRemote == nil {
		return "the state topic's checkpoint does not fit the journal either"
	}
	return "nor does the state topic help: " + t.noRemote.Error()
}

// inputsReach checks that the sources still hold what comes behind the positions.
func (t *task) inputsReach(ctx context.Context, from []connectors.Position) error {
	starts, err := t.logStarts(ctx, from)
	if err != nil {
		return err
	}
	for i, s := range starts {
		if s.Next > from[i].Next {
			return fmt.Errorf("%v is needed from offset %d on, but its log starts at %d: retention has removed %d offsets", s.TopicPartition, from[i].Next, s.Next, s.Next-from[i].Next)
		}
	}
	return nil
}

// logStarts returns where the logs of the partitions begin.
func (t *task) logStarts(ctx context.Context, of []connectors.Position) ([]connectors.Position, error) {
	starts := make([]connectors.Position, len(of))
	for i, p := range of {
		starts[i] = connectors.Position{TopicPartition: p.TopicPartition, Next: connectors.Earliest}
	}
	return t.w.cluster.Resolve(ctx, starts)
}
