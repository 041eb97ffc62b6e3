package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
)

// ReadJournal yields the committed records from the offset up to and including
// the one at offset to, which must be a committed record: an open record of
// Fence. The end of the log is no use as a goal: the last offset is a control
// record nearly always. Where retention has removed the records at from, reading
// begins where the log does; the caller sees it by the offsets. From an offset behind
// to there is nothing to read.
func (l *taskLog) ReadJournal(ctx context.Context, from, to int64, yield func(offset int64, record []byte) error) (err error) {
	ctx, end := l.c.believing(ctx)
	defer end(&err)
	tp := connectors.TopicPartition{Topic: l.c.opt.JournalTopic, Partition: int32(l.task)}
	own := kgo.Record{Offset: l.opened, Value: l.open}
	return l.readLog(ctx, tp, from, to, &own, func(r *kgo.Record) error { return yield(r.Offset, r.Value) })
}

// readLog yields the committed records of a partition up to and including the one
// at offset to. A record that this log has written is not read if it is all there is
// to yield, as where a pipeline runs for the first time.
func (l *taskLog) readLog(ctx context.Context, tp connectors.TopicPartition, from, to int64, own *kgo.Record, yield func(*kgo.Record) error) error {
	for {
		start, _, err := l.c.bounds(ctx, tp)
		if err != nil {
			return err
		}
		from = max(from, start)
		switch {
		case start > to:
			return fmt.Errorf("%v: the record at offset %d is gone: the log starts at %d", tp, to, start)
		case from > to: // the log is not the one it was: whoever misses something says so
			return nil
		case from == to && to == own.Offset:
			return yield(own)
		}
		found := false
		next, err := l.c.scan(ctx, tp, from, to, kgo.ReadCommitted(), func(r *kgo.Record) error {
			found = r.Offset == to
			return yield(r)
		})
		if err == nil && !found {
			err = fmt.Errorf("%v: no committed record at offset %d", tp, to)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, kerr.OffsetOutOfRange) {
			return err
		}
		from = next // retention has overtaken us: on from the new start
	}
}

// Trim deletes the records of a partition before the position, except those
// younger than keep, and returns where the log starts then. The broker deletes
// whole segments as it gets to it; what lies before the start is not read any more.
func (l *taskLog) Trim(ctx context.Context, at connectors.Position, keep time.Duration) (start int64, err error) {
	tp, before := at.TopicPartition, at.Next
	if keep > 0 {
		young, err := l.c.OffsetAt(ctx, tp, time.Now().Add(-keep).UnixMilli()) // the end if nothing is so young
		if err != nil {
			return 0, err
		}
		before = min(before, young)
	}
	if start, _, err = l.c.bounds(ctx, tp); err != nil || before <= start {
		return start, err
	}
	var to kadm.Offsets
	to.Add(kadm.Offset{Topic: tp.Topic, Partition: tp.Partition, At: before})
	err = l.c.again(ctx, "trimming "+tp.String(), func(ctx context.Context) error {
		got, err := l.c.adm.DeleteRecords(ctx, to)
		if err != nil {
			return err
		}
		r, ok := got.Lookup(tp.Topic, tp.Partition)
		if !ok {
			return fmt.Errorf("%v: %w", tp, kerr.UnknownTopicOrPartition)
		}
		start = r.LowWatermark
		return r.Err
	})
	return start, err
}

// reportStall says why nothing comes: most likely a transaction that nobody ends. If
// it is because nothing is answered, there may be an end to waiting.
func (c *Cluster) reportStall(ctx context.Context, w *wait, tp connectors.TopicPartition, next, to int64) error {
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, end, err := c.bounds(short, tp)
	switch {
	case err != nil:
		return w.failed(err)
	case end <= to:
		c.log.Warn("reading does not get on: a transaction of another producer is open below the record; it ends by its timeout, or list it with kafka-transactions.sh find-hanging",
			"partition", tp, "at", next, "to", to, "last_stable_offset", end)
	default:
		c.log.Warn("reading does not get on; trying on", "partition", tp, "at", next, "to", to, "last_stable_offset", end)
	}
	return nil
}
