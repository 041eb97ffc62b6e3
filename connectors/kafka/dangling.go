package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// A broker can lose the marker that ends a transaction in a partition: Kafka 4.3.0
// takes a partition whose leader is away for a deleted one when it sends markers
// (KAFKA-20734). What the transaction wrote there stays open, and the marker of the
// same producer's next transaction ends it, one way or the other. So before a
// producer commits anything behind a transaction that it has not seen ended, it asks
// what it has open. See docs/design/0012-lost-markers.md.

// dangling is what a transaction that has ended left open in a partition.
type dangling struct {
	connectors.TopicPartition
	epoch       int16 // of the producer when it wrote there last
	coordinator int32 // epoch of the coordinator, as markers carry it
	start       int64 // offset of the first record
}

func (d dangling) String() string { return fmt.Sprintf("%v from offset %d", d.TopicPartition, d.start) }

// named lists what dangles.
func named(ds []dangling) string {
	var s []string
	for _, d := range ds {
		s = append(s, d.String())
	}
	return strings.Join(s, ", ")
}

// defect is what all messages about it have in common.
const defect = "the brokers lost the marker that ends a transaction (KAFKA-20734)"

// blind remembers of which topics producers cannot be asked, to say it once.
type blind struct {
	mu   sync.Mutex
	told map[string]bool
}

func (b *blind) tell(log *slog.Logger, topic string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.told[topic] {
		return
	}
	if b.told == nil {
		b.told = map[string]bool{}
	}
	b.told[topic] = true
	log.Warn("a lost end of a transaction would not be seen: the topic's producers cannot be described; grant Read on it, as gradstream topics FILE --acls lists", "topic", topic, "err", err)
}

// described returns in which of the partitions a producer has records of a
// transaction without an end. It asks once each broker that leads some, and waits
// for leaders. Topics that are gone, or that may not be asked of, have none. A leader
// that does not know a partition which metadata have is asked again for a while: a
// broker that has just come back knows its partitions one after the other.
func (c *Cluster) described(ctx context.Context, producer int64, in []connectors.TopicPartition) (open []dangling, err error) {
	if !c.describes || len(in) == 0 {
		return nil, nil
	}
	req := kmsg.NewPtrDescribeProducersRequest()
	for _, tp := range in {
		n := slices.IndexFunc(req.Topics, func(t kmsg.DescribeProducersRequestTopic) bool { return t.Topic == tp.Topic })
		if n < 0 {
			rt := kmsg.NewDescribeProducersRequestTopic()
			rt.Topic = tp.Topic
			n, req.Topics = len(req.Topics), append(req.Topics, rt)
		}
		req.Topics[n].Partitions = append(req.Topics[n].Partitions, tp.Partition)
	}
	begun := time.Now()
	err = c.again(ctx, "asking what transactions are open", func(ctx context.Context) error {
		open = open[:0]
		var unknown []connectors.TopicPartition
		for _, shard := range c.admin.RequestSharded(ctx, req) {
			asked := shard.Req.(*kmsg.DescribeProducersRequest)
			if err := shard.Err; err != nil {
				for _, rt := range asked.Topics {
					if err := c.unseen(rt.Topic, err); err != nil {
						return err
					}
					for _, p := range rt.Partitions {
						if isUnknown(err) {
							unknown = append(unknown, connectors.TopicPartition{Topic: rt.Topic, Partition: p})
						}
					}
				}
				continue
			}
			for _, rt := range shard.Resp.(*kmsg.DescribeProducersResponse).Topics {
				for _, rp := range rt.Partitions {
					tp := connectors.TopicPartition{Topic: rt.Topic, Partition: rp.Partition}
					err := kerr.ErrorForCode(rp.ErrorCode)
					if isUnknown(err) {
						unknown = append(unknown, tp)
					}
					if err := c.unseen(rt.Topic, err); err != nil {
						return fmt.Errorf("%v: %w", tp, err)
					}
					for _, p := range rp.ActiveProducers {
						if p.ProducerID == producer && p.CurrentTxnStartOffset >= 0 {
							open = append(open, dangling{tp, int16(p.ProducerEpoch), p.CoordinatorEpoch, p.CurrentTxnStartOffset})
						}
					}
				}
			}
		}
		if len(unknown) == 0 || time.Since(begun) >= unknownPatience {
			return nil
		}
		return c.haveNone(ctx, unknown)
	})
	return open, err
}

// unknownPatience is how long a leader may not know its partition before it is
// believed.
const unknownPatience = 10 * time.Second

func isUnknown(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
}

// haveNone returns an error that asking again may heal if metadata have any of the
// partitions.
func (c *Cluster) haveNone(ctx context.Context, in []connectors.TopicPartition) error {
	var topics []string
	for _, tp := range in {
		if !slices.Contains(topics, tp.Topic) {
			topics = append(topics, tp.Topic)
		}
	}
	_, infos, err := c.Describe(ctx, topics)
	if err != nil {
		return err
	}
	for _, tp := range in {
		if int(tp.Partition) < infos[slices.Index(topics, tp.Topic)].Partitions {
			return fmt.Errorf("%v: its leader does not know it: %w", tp, kerr.LeaderNotAvailable)
		}
	}
	return nil
}

// unseen returns the error if asking again may help, other than of what is unknown.
func (c *Cluster) unseen(topic string, err error) error {
	switch {
	case isUnknown(err):
		return nil
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.UnsupportedVersion):
		c.blind.tell(c.log, topic, err)
		return nil
	}
	return err
}

// open returns in which of the partitions the client's producer has something open,
// once nothing is, or after patience: markers may be on their way.
func (t *txnClient) open(ctx context.Context, in []connectors.TopicPartition, patience time.Duration) (ds []dangling, err error) {
	if !t.c.tv2 {
		return nil, nil
	}
	id, _, err := t.cl.ProducerID(ctx)
	if err != nil {
		return nil, nil // whoever begins a transaction will be told
	}
	err = until(ctx, patience, func() (done bool, err error) {
		ds, err = t.c.described(ctx, id, in)
		return len(ds) == 0, err
	})
	return ds, err
}

// until calls f until it says that it is done, fails, or has been called for so long.
func until(ctx context.Context, patience time.Duration, f func() (done bool, err error)) error {
	for try, begun := 0, time.Now(); ; try++ {
		if done, err := f(); err != nil || done || time.Since(begun) >= patience {
			return err
		}
		if !sleep(ctx, retryBackoff(try)) {
			return ctx.Err()
		}
	}
}

// markerPatience is how long markers may be on their way before what they would end
// counts as dangling. Being wrong does no harm.
const markerPatience = 3 * time.Second

// drop ends what dangles as aborted: by a transaction that writes a record to each
// partition and is aborted, whose markers end all that the producer has open there.
// Offsets of the group it ends likewise.
func (t *txnClient) drop(ctx context.Context, ds []dangling, offsets []kadm.OffsetResponse) error {
	where, staged := named(ds), connectors.Step{}
	for _, o := range offsets {
		where += fmt.Sprintf(" offset of the group of %s[%d]", o.Topic, o.Partition)
		staged.Offsets = append(staged.Offsets, connectors.Position{TopicPartition: connectors.TopicPartition{Topic: o.Topic, Partition: o.Partition}})
	}
	at := make([]connectors.TopicPartition, len(ds))
	for i, d := range ds {
		at[i] = d.TopicPartition
	}
	retry := t.c.retry(ctx, t.id+": aborting what was left open")
	for {
		p, err := phaseBegin, t.begin()
		if err == nil {
			p = phaseSend
			for _, tp := range at {
				t.put(ctx, &kgo.Record{Topic: tp.Topic, Partition: tp.Partition, Key: []byte(dropKey)})
			}
			err = t.flush(ctx)
		}
		if err == nil && len(offsets) > 0 {
			var who producer
			if who, err = t.author(ctx); err == nil {
				p, err = phaseOffsets, t.offsets(ctx, who, &staged, "", -1, nil)
			}
		}
		switch act := decide(p, err); act {
		case actLost, actStop:
			return t.fatal(ctx, act, p, err)
		case actFail:
			t.abort(ctx)
			return explain(t.id+": aborting what was left open in "+where, err)
		}
		if aborted := t.abort(ctx); aborted != nil {
			return aborted
		}
		if err == nil {
			var left []dangling
			if left, err = t.open(ctx, at, markerPatience); err != nil {
				return err
			}
			if len(left) == 0 {
				t.c.log.Warn(defect+"; it was aborted, and what it had written is now", "id", t.id, "partitions", where)
				return nil
			}
			err = fmt.Errorf("%s is still open", named(left))
		}
		if err := retry(err); err != nil {
			return err
		}
	}
}

// dropKey is the key of records that are aborted at once. Compacted topics take no
// record without one.
const dropKey = "@drop"

// keep ends what dangles as committed, by the one means that cannot abort it: its
// marker is written without a transaction. That takes Alter on the cluster. What is
// left is what brokers have refused.
func (t *txnClient) keep(ctx context.Context, ds []dangling) (left []dangling, why error) {
	id, _, err := t.cl.ProducerID(ctx)
	if err != nil {
		return ds, err
	}
	for _, d := range ds {
		set := kadm.TopicsSet{}
		set.Add(d.Topic, d.Partition)
		resp, err := t.c.adm.WriteTxnMarkers(ctx, kadm.TxnMarkers{ProducerID: id, ProducerEpoch: d.epoch, Commit: true, CoordinatorEpoch: d.coordinator, Topics: set})
		if err == nil {
			err = kerr.UnknownServerError
			resp.EachPartition(func(r kadm.TxnMarkersPartitionResponse) { err = r.Err })
		}
		if err == nil {
			var still []dangling
			if still, err = t.open(ctx, []connectors.TopicPartition{d.TopicPartition}, markerPatience); err == nil && len(still) > 0 {
				err = errors.New("the marker ended nothing")
			}
		}
		if err != nil {
			left, why = append(left, d), err
			continue
		}
		t.c.log.Warn(defect+"; it was committed, and what it had written is now", "id", t.id, "partitions", d.String())
	}
	return left, why
}

// disconnects notes that a connection has ended.
type disconnects struct{ atomic.Bool }

// OnBrokerDisconnect implements [kgo.HookBrokerDisconnect].
func (d *disconnects) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { d.Store(true) }

// slowBegin is how long it may take to begin a transaction while brokers are well. The
// first record waits until the markers of the transaction before are made out.
const slowBegin = time.Second

// keepOutputs ends as committed what steps before this one left open in the outputs,
// where it is to write next: its abort would end it as aborted. Of the steps since the
// lock was taken only committed ones can have left something.
func (l *taskLog) keepOutputs(ctx context.Context, who producer) error {
	ds, err := l.out.open(ctx, l.outputs, 0)
	if err != nil {
		return err
	}
	ds = slices.DeleteFunc(ds, func(d dangling) bool { return d.epoch >= who.epoch })
	if left, why := l.out.keep(ctx, ds); len(left) > 0 {
		return fmt.Errorf("%w, or rather %s: %s (%w); its lock is taken anew to mend that", connectors.ErrLost, defect, named(left), why)
	}
	return nil
}

// ended returns nil once the step's transaction, which was aborted or may have been,
// is so in all partitions that it may have touched: the next one would commit what is
// open there. If it is not in time, the lock is to be taken anew: that tells how it
// ended, and mends it.
func (l *taskLog) ended(ctx context.Context, s *connectors.Step) error {
	at := []connectors.TopicPartition{{Topic: l.c.opt.JournalTopic, Partition: int32(l.task)}}
	if s.Outputs != nil {
		seen := map[partitionKey]bool{}
		var x connectors.Packed
		for i := range s.Outputs.Len() {
			s.Outputs.Packed(i, &x)
			if k := (partitionKey{x.Topic, x.Partition}); !seen[k] {
				seen[k] = true
				at = append(at, connectors.TopicPartition{Topic: s.Outputs.Topic(x.Topic), Partition: x.Partition})
			}
		}
	}
	ds, err := l.out.open(ctx, at, markerPatience)
	if err != nil || len(ds) == 0 {
		return err
	}
	return fmt.Errorf("%w, or rather %s: step %d in %s; its lock is taken anew to mend that", connectors.ErrLost, defect, s.StepNo, named(ds))
}
