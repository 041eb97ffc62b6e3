package run

import (
	"context"
	"errors"
	"fmt"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state"
)

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
