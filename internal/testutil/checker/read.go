package checker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// topic is what the brokers say of a topic.
type topic struct {
	name  string
	id    [16]byte
	start []int64 // by partition: the first offset held,
	lso   []int64 // the last stable offset,
	end   []int64 // the high watermark
}

func (c *check) describe(ctx context.Context, names []string) (map[string]*topic, error) {
	details, err := c.admin.ListTopics(ctx, names...)
	if err != nil {
		return nil, err
	}
	all := map[string]*topic{}
	for _, name := range names {
		d, ok := details[name]
		if !ok || d.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", name, d.Err)
		}
		n := len(d.Partitions)
		all[name] = &topic{name: name, id: d.ID, start: make([]int64, n), lso: make([]int64, n), end: make([]int64, n)}
	}
	for _, q := range []struct {
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
		into func(*topic) []int64
	}{
		{c.admin.ListStartOffsets, func(t *topic) []int64 { return t.start }},
		{c.admin.ListCommittedOffsets, func(t *topic) []int64 { return t.lso }},
		{c.admin.ListEndOffsets, func(t *topic) []int64 { return t.end }},
	} {
		got, err := q.list(ctx, names...)
		if err != nil {
			return nil, err
		}
		if err := got.Error(); err != nil {
			return nil, err
		}
		for _, t := range all {
			for p := range t.start {
				o, ok := got.Lookup(t.name, int32(p))
				if !ok {
					return nil, fmt.Errorf("topic %s partition %d: the broker does not say where it ends", t.name, p)
				}
				q.into(t)[p] = o.Offset
			}
		}
	}
	return all, nil
}

// drain calls each for all committed records of a topic, partition by partition in order of offsets, and for the control
// records between them.
func (c *check) drain(ctx context.Context, t *topic, each func(r *kgo.Record)) error {
	next := slices.Clone(t.start)
	from, left := map[int32]kgo.Offset{}, 0
	for p := range next {
		if next[p] < t.lso[p] {
			from[int32(p)] = kgo.NewOffset().At(next[p])
			left++
		}
	}
	if left == 0 {
		return nil
	}
	cl, err := kgo.NewClient(append(c.clientOpts(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.name: from}), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for left > 0 {
		wait, cancel := context.WithTimeout(ctx, c.o.Timeout)
		fs := cl.PollFetches(wait)
		err := fs.Err()
		cancel()
		if err != nil {
			return fmt.Errorf("reading topic %s, %d of %d partitions to go, positions %v of %v: %w", t.name, left, len(from), next, t.lso, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			p := r.Partition
			if next[p] >= t.lso[p] {
				return // written since
			}
			if next[p] = r.Offset + 1; next[p] >= t.lso[p] {
				left--
			}
			if r.Offset < t.lso[p] {
				each(r)
			}
		})
	}
	return nil
}

// producer is who wrote a record. Under transactions of version 2 it names the transaction.
type producer struct {
	id    int64
	epoch int16
}

func producerOf(r *kgo.Record) producer { return producer{r.ProducerID, r.ProducerEpoch} }

func (p producer) String() string { return fmt.Sprintf("producer %d epoch %d", p.id, p.epoch) }
