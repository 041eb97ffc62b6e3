package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// txnClient is a producer with a transactional id. It is used by one goroutine.
type txnClient struct {
	c       *Cluster
	cl      *kgo.Client
	id      string
	timeout time.Duration
	pub     *publisher // nil without transactions of version 2

	shaken disconnects

	promise func(*kgo.Record, error) // one for all records: no closure a record
	bytes   int                      // handed over since the last flush
	count   int

	mu     sync.Mutex
	who    producer // that wrote the records of this transaction so far
	err    error    // the first error of a record of this transaction
	failed string
}

// producer is who writes a transaction, as brokers know it: a transactional id has a
// number, and an epoch that rises whenever it is taken.
type producer struct {
	id    int64
	epoch int16
}

// nobody has written anything.
var nobody = producer{-1, -1}

func (p producer) String() string { return fmt.Sprintf("producer %d epoch %d", p.id, p.epoch) }

const (
	maxBuffered = 1 << 13          // records handed over between two flushes
	grace       = 10 * time.Second // for ending a transaction whose caller gave up
)

func (c *Cluster) newTxnClient(id string, timeout time.Duration, compressed string) (*txnClient, error) {
	codec, err := compression(compressed)
	if err != nil {
		return nil, err
	}
	t := &txnClient{c: c, id: id, timeout: timeout}
	t.cl, err = c.client(append([]kgo.Opt{
		kgo.WithHooks(&t.shaken),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(timeout),
		kgo.ConcurrentTransactionsBackoff(5 * time.Millisecond),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codec),
		c.batchBytes(),
		// A step is sent when it is complete: whole batches, one request a broker,
		// no lingering.
		kgo.ManualFlushing(),
		kgo.MaxBufferedRecords(2 * maxBuffered),
		kgo.ProducerLinger(0),
	}, c.producerVersions()...)...)
	if err != nil {
		return nil, err
	}
	if c.tv2 {
		if t.pub, err = t.newPublisher(codec); err != nil {
			t.cl.Close()
			return nil, err
		}
	}
	t.promise = func(r *kgo.Record, err error) {
		who := producer{r.ProducerID, r.ProducerEpoch}
		t.mu.Lock()
		defer t.mu.Unlock()
		switch {
		case err == nil && t.who == nobody:
			t.who = who
			return
		case err == nil && t.who == who:
			return
		case err == nil:
			err = torn(t.who, who)
		}
		// An abort fails whatever waits behind the record that caused it.
		if t.err == nil || errors.Is(t.err, kgo.ErrAborting) {
			t.err, t.failed = err, fmt.Sprintf("topic %s partition %d", r.Topic, r.Partition)
		}
	}
	return t, nil
}

// take initialises the id: from now on every earlier owner is refused, and what it
// had begun is decided. It waits out transactions that are being ended.
func (t *txnClient) take(ctx context.Context) error {
	retry := t.c.retry(ctx, "taking "+t.id)
	for {
		_, _, err := t.cl.ProducerID(ctx)
		if err == nil {
			return nil
		}
		if finalError(err) {
			return explain("taking the transactional id "+t.id, err)
		}
		if errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kgo.ErrClientClosed) {
			return fmt.Errorf("taking the transactional id %s: %w", t.id, err)
		}
		if err := retry(err); err != nil {
			return err
		}
	}
}

// send commits the records, as one transaction.
func (t *txnClient) send(ctx context.Context, recs ...*kgo.Record) (phase, error) {
	if err := t.begin(); err != nil {
		return phaseBegin, err
	}
	for _, r := range recs {
		t.put(ctx, r)
	}
	if err := t.flush(ctx); err != nil {
		return phaseSend, err
	}
	return phaseEnd, t.end(ctx, kgo.TryCommit)
}

func (t *txnClient) begin() error {
	t.mu.Lock()
	t.who, t.err, t.failed = nobody, nil, ""
	t.mu.Unlock()
	t.bytes, t.count = 0, 0
	return t.cl.BeginTransaction()
}

// room flushes if as much was handed over as may be.
func (t *txnClient) room(ctx context.Context) error {
	if t.count >= maxBuffered || t.bytes >= t.c.opt.MaxInFlight {
		return t.flush(ctx)
	}
	return nil
}

// put hands a record over. It must stay unchanged until the next flush is over.
func (t *txnClient) put(ctx context.Context, r *kgo.Record) {
	t.count++
	t.bytes += len(r.Key) + len(r.Value)
	t.cl.Produce(ctx, r, t.promise)
}

// flush sends what was handed over and waits for all answers.
func (t *txnClient) flush(ctx context.Context) error {
	err := t.cl.Flush(ctx)
	t.bytes, t.count = 0, 0
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	return err
}

// failure returns the first error of a record of this transaction so far.
func (t *txnClient) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// failedAt names what a failed record was for.
func (t *txnClient) failedAt(s *connectors.Step, c *Cluster) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.failed != "":
		return t.failed
	case len(s.Offsets) > 0:
		return "group " + c.opt.Group + ", topic " + s.Offsets[0].Topic
	}
	return "transactional id " + t.id
}

// torn is the error of a transaction that two have written. The client may initialise
// its id anew by itself, and that aborts what it had begun: the rest would be
// committed without it.
func torn(first, second producer) error {
	return fmt.Errorf("%v began a transaction and %v goes on with it: %w", first, second, kerr.TransactionAbortable)
}

// author returns who has written the transaction so far, or an error if the client
// is somebody else by now.
func (t *txnClient) author(ctx context.Context) (producer, error) {
	id, epoch, err := t.cl.ProducerID(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := (producer{id, epoch}); err == nil && now != t.who {
		err = torn(t.who, now)
	}
	return t.who, err
}

// offsets adds the step's positions to the transaction that a producer has begun.
func (t *txnClient) offsets(ctx context.Context, who producer, s *connectors.Step, member string, generation int32, instance *string) error {
	group := t.c.opt.Group
	if !t.c.tv2 {
		add := kmsg.NewPtrAddOffsetsToTxnRequest()
		add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = t.id, who.id, who.epoch, group
		err := t.waitOut(ctx, func() error {
			resp, err := add.RequestWith(ctx, t.cl)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(resp.ErrorCode)
		})
		if err != nil {
			return err
		}
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = t.id, who.id, who.epoch, group
	req.MemberID, req.Generation, req.InstanceID = member, generation, instance
	for _, o := range s.Offsets {
		n := len(req.Topics)
		if n == 0 || req.Topics[n-1].Topic != o.Topic {
			id, err := t.c.topicID(ctx, o.Topic)
			if err != nil {
				return err
			}
			// Name and id: the newest version of the request carries the id alone.
			rt := kmsg.NewTxnOffsetCommitRequestTopic()
			rt.Topic, rt.TopicID = o.Topic, id
			req.Topics = append(req.Topics, rt)
			n++
		}
		rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset = o.Partition, o.Next
		if s.Meta != "" {
			rp.Metadata = &s.Meta
		}
		req.Topics[n-1].Partitions = append(req.Topics[n-1].Partitions, rp)
	}
	return t.waitOut(ctx, func() error {
		resp, err := req.RequestWith(ctx, t.cl)
		if err != nil {
			return err
		}
		for _, rt := range resp.Topics {
			for _, rp := range rt.Partitions {
				if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
					if errors.Is(err, kerr.UnknownTopicID) {
						for _, o := range s.Offsets {
							t.c.ids.forget(o.Topic) // made anew since?
						}
					}
					return err
				}
			}
		}
		return nil
	})
}

// waitOut repeats a request while the markers of the transaction before are being
// written.
func (t *txnClient) waitOut(ctx context.Context, request func() error) error {
	for try := 0; ; try++ {
		err := request()
		if !errors.Is(err, kerr.ConcurrentTransactions) || try == 20 {
			return err
		}
		if !sleep(ctx, retryBackoff(try)) {
			return ctx.Err()
		}
	}
}

// end ends the transaction. A caller that gives up in the middle would not know
// how it ended: it gets some seconds of grace.
func (t *txnClient) end(ctx context.Context, how kgo.TransactionEndTry) error {
	on, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	return t.cl.EndTransaction(on, how)
}

// abort leaves no transaction of ours open and the client fit for another, or
// returns why not: [connectors.ErrLost] if the id was taken. Nothing the broker
// says short of that stops it from trying until ctx ends.
func (t *txnClient) abort(ctx context.Context) error {
	retry := t.c.retry(ctx, t.id+": aborting a transaction")
	for {
		err := t.cl.AbortBufferedRecords(ctx)
		if err == nil {
			err = t.end(ctx, kgo.TryAbort)
		}
		switch act := decide(phaseAbort, err); act {
		case actDone:
			return nil
		case actRetry:
			if err := retry(err); err != nil {
				return err
			}
		case actFail:
			return explain("transactional id "+t.id, err)
		default:
			return t.fatal(ctx, act, phaseAbort, err)
		}
	}
}

// fatal turns an error after which the client is of no use into what the engine
// is told.
func (t *txnClient) fatal(ctx context.Context, act action, p phase, err error) error {
	switch {
	case act == actLost && errors.Is(err, connectors.ErrLost): // given up, not taken
		t.tidy(ctx)
		return err
	case act == actLost:
		return fmt.Errorf("%w (%v, transactional id %s: %w)", connectors.ErrLost, p, t.id, err)
	case ctx.Err() != nil:
		if p != phaseEnd && p != phaseAbort {
			t.tidy(ctx)
		}
		return ctx.Err()
	}
	return fmt.Errorf("transactional id %s: %w", t.id, err)
}

// tidy aborts on the way out, so that readers need not wait for the transaction's
// timeout. If it fails, they do.
func (t *txnClient) tidy(ctx context.Context) {
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace/5)
	defer cancel()
	if t.cl.AbortBufferedRecords(short) == nil {
		t.cl.EndTransaction(short, kgo.TryAbort)
	}
}
