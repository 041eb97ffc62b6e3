package run

import (
	"context"
	"time"

	"github.com/gradstream/gradstream/connectors"
)

// marginEvery is how often the start of the sources' logs is looked at.
const marginEvery = time.Minute

// margin is how far retention is from input that a restore needs.
type margin struct {
	connectors.TopicPartition
	needed, start int64 // the first offset a restore would read; the first there is
	before        int64 // start at the look before; -1 at the first
}

func (m margin) left() int64 { return m.needed - m.start }

// short reports whether what is left will be gone before two more intervals have
// passed, if the log's start moves on as it did during the last.
func (m margin) short(interval, every time.Duration) bool {
	if m.before < 0 {
		return m.left() < 0
	}
	moved := m.start - m.before
	return m.left() < 0 || moved > 0 && float64(m.left()) < 2*float64(moved)*max(1, float64(interval)/float64(every))
}

// guard compares, every minute, where the sources' logs begin with where a restore
// from the remote checkpoint would read, and has a checkpoint made soon if
// retention comes near.
func (t *task) guard(ctx context.Context) {
	before := map[connectors.TopicPartition]int64{}
	for _, p := range t.of.partitionsOf(t.id) {
		before[p.TopicPartition] = -1
	}
	for tick := time.NewTicker(marginEvery); ; {
		if err := t.look(ctx, before); err != nil && ctx.Err() == nil {
			t.log.Warn("where the sources' logs begin is not known", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// look is one look; before holds where the logs of the task's partitions began at
// the last one.
func (t *task) look(ctx context.Context, before map[connectors.TopicPartition]int64) error {
	m, ok, _ := t.remote.confirmed()
	if !ok {
		if m, ok = t.part.Last(); !ok {
			return nil
		}
	}
	var needed []connectors.Position
	for _, p := range m.Positions {
		tp := connectors.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		if _, own := before[tp]; own { // not of a source that is no more
			needed = append(needed, connectors.Position{TopicPartition: tp, Next: p.Next})
		}
	}
	starts, err := t.logStarts(ctx, needed)
	if err != nil {
		return err
	}
	for i, s := range starts {
		g := margin{TopicPartition: s.TopicPartition, needed: needed[i].Next, start: s.Next, before: before[s.TopicPartition]}
		before[s.TopicPartition] = s.Next
		t.w.metrics.margin(g)
		if g.left() < 0 || !t.of.own(g.Topic) && g.short(t.w.p.Checkpoint.Remote, marginEvery) {
			t.remote.hurry.Store(true)
			t.log.Warn("retention comes near input that a restore from the remote checkpoint would read; a checkpoint is made now; if this lasts, raise retention.ms or make checkpoint.remote shorter",
				"partition", s.TopicPartition, "needed_from", g.needed, "log_starts_at", g.start, "margin", g.left())
		}
	}
	return nil
}
