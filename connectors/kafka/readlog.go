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

var (
	_ connectors.History   = (*Cluster)(nil)
	_ connectors.PastState = (*Cluster)(nil)
)

// ReadLog implements [connectors.History].
func (c *Cluster) ReadLog(ctx context.Context, tp connectors.TopicPartition, from int64, yield func(r *connectors.Record) error) (err error) {
	ctx, done := c.believing(ctx)
	defer done(&err)
	start, end, err := c.bounds(ctx, tp)
	if err != nil {
		return err
	}
	if from == connectors.Latest {
		from = end
	}
	var stopped error // by yield; it may look like an error of the log
	for from = max(from, start); from < end; from = max(from, start) {
		// The last offset below the last stable one is a record's or a marker's, and
		// markers are delivered: it is always reached.
		from, err = c.scan(ctx, tp, from, end-1, kgo.ReadCommitted(), func(r *kgo.Record) error {
			rec := connectors.Record{Key: r.Key, Value: r.Value, Offset: r.Offset, Time: r.Timestamp.UnixMilli()}
			for _, h := range r.Headers {
				rec.Headers = append(rec.Headers, connectors.Header(h))
			}
			stopped = yield(&rec)
			return stopped
		})
		if err == nil || stopped != nil {
			return stopped
		}
		if !errors.Is(err, kerr.OffsetOutOfRange) {
			return err
		}
		if start, _, err = c.bounds(ctx, tp); err != nil { // retention has overtaken us
			return err
		}
	}
	return nil
}

// ReadState implements [connectors.PastState].
func (c *Cluster) ReadState(ctx context.Context, task int, yield func(key, value []byte) error) error {
	a := assembly{yield: yield, partial: map[string]struct{}{}}
	tp := connectors.TopicPartition{Topic: c.opt.StateTopic, Partition: int32(task)}
	err := c.ReadLog(ctx, tp, connectors.Earliest, func(r *connectors.Record) error {
		if err := a.record(r.Key, r.Value); err != nil {
			return fmt.Errorf("%v offset %d: %w", tp, r.Offset, err)
		}
		return nil
	})
	if err == nil && len(a.partial) > 0 {
		err = fmt.Errorf("%v: %d values are not whole", tp, len(a.partial))
	}
	return err
}

// OffsetAt implements [connectors.History].
func (c *Cluster) OffsetAt(ctx context.Context, tp connectors.TopicPartition, ms int64) (at int64, err error) {
	return c.position(ctx, tp, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return c.adm.ListOffsetsAfterMilli(ctx, ms, topics...)
	})
}

// position returns the offset that list finds in a partition.
func (c *Cluster) position(ctx context.Context, tp connectors.TopicPartition, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (at int64, err error) {
	err = c.again(ctx, "positions of "+tp.Topic, func(ctx context.Context) error {
		got, err := list(ctx, tp.Topic)
		if err != nil {
			return err
		}
		o, ok := got.Lookup(tp.Topic, tp.Partition)
		if !ok {
			return fmt.Errorf("%v: %w", tp, kerr.UnknownTopicOrPartition)
		}
		if o.Err != nil {
			return fmt.Errorf("%v: %w", tp, o.Err)
		}
		at = o.Offset
		return nil
	})
	return at, err
}

// scan reads the records of a partition from an offset up to and including the one at
// offset to, with a client of its own: the committed ones, or all, control records
// among them. It ends at the first offset that is not below to, be it a record's or a
// control record's, and yields none beyond to. It returns the offset to read on from.
func (c *Cluster) scan(ctx context.Context, tp connectors.TopicPartition, from, to int64, which kgo.IsolationLevel, yield func(r *kgo.Record) error) (next int64, err error) {
	cl, err := c.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{tp.Topic: {tp.Partition: kgo.NoResetOffset().At(from)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(which),
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(c.opt.FetchWait),
		kgo.FetchMaxPartitionBytes(4<<20),
	)
	if err != nil {
		return from, err
	}
	defer cl.Close()
	next = from
	waiting := c.wait("reading " + tp.String())
	for {
		wait, cancel := context.WithTimeout(ctx, c.opt.Patience)
		fetches := cl.PollFetches(wait)
		cancel()
		if ctx.Err() != nil {
			return next, ctx.Err()
		}
		for _, f := range fetches {
			for _, t := range f.Topics {
				for i := range t.Partitions {
					p := &t.Partitions[i]
					for _, r := range p.Records {
						if r.Offset > to {
							return next, nil
						}
						next, waiting.begun = r.Offset+1, time.Now()
						if !r.Attrs.IsControl() || which == kgo.ReadUncommitted() {
							if err := yield(r); err != nil {
								return next, err
							}
							waiting.begun = time.Now() // it may take its time
						}
						if r.Offset == to {
							return next, nil
						}
					}
					switch {
					case p.Err == nil, errors.Is(p.Err, context.DeadlineExceeded):
					case errors.Is(p.Err, kerr.OffsetOutOfRange):
						return next, p.Err
					default:
						return next, explain("reading "+tp.String(), p.Err)
					}
				}
			}
		}
		if fetches.NumRecords() == 0 && wait.Err() != nil {
			if err := c.reportStall(ctx, waiting, tp, next, to); err != nil {
				return next, err
			}
		}
	}
}
