package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// publisher sends the outputs of a transaction that has begun, past the client's own
// producing: a record costs a copy into its batch instead of an object, a lock and a
// promise. It is for clusters with transactions of version 2 only. There a partition
// joins a transaction by what is sent to it, and each transaction has an epoch of
// its own: what was sent under an earlier one, and is late, is refused, and sequences
// begin with 0. The client still begins and ends the transactions; that it has
// something to end is for the caller to see to.
type publisher struct {
	t      *txnClient
	limit  func(topic string) int // bytes of a batch
	flush  int                    // send when so many bytes are gathered
	expire time.Duration          // how long to try
	newest time.Duration          // how long a topic may be unknown: it may have been made a moment ago
	small  *squeezer

	batches []*recordBatch // one a partition; those in use come first
	used    int
	bytes   int
	number  map[partitionKey]int // of the batch of a partition
	latest  partitionKey         // that batch was asked for last
	last    *recordBatch         // its batch; nil if there is none

	who      producer                            // whose the transaction is
	sequence map[connectors.TopicPartition]int32 // of the next record
	topics   map[string]*topicLeaders
	acked    map[string][16]byte // topics that hold records of this transaction, by their ids
	unknown  time.Time           // since when brokers do not know a topic; 0 = they do
	id       []byte
}

// partitionKey is a partition of a topic of the step's.
type partitionKey struct {
	topic     int
	partition int32
}

// topicLeaders says where the partitions of a topic are.
type topicLeaders struct {
	id     [16]byte
	leader []int32
}

func (t *txnClient) newPublisher(codec kgo.CompressionCodec) (*publisher, error) {
	small, err := newSqueezer(codec)
	if err != nil {
		return nil, err
	}
	return &publisher{
		t: t, small: small, flush: t.c.opt.MaxInFlight, expire: t.c.opt.TransactionTimeout, newest: 5 * time.Second,
		limit:  func(topic string) int { return min(int(t.c.batchLimit(topic)), enoughBatch) },
		who:    nobody,
		number: map[partitionKey]int{}, topics: map[string]*topicLeaders{},
		acked: map[string][16]byte{}, sequence: map[connectors.TopicPartition]int32{},
	}, nil
}

// enoughBatch is the size at which a batch is sent: about what topics allow unless told
// otherwise, since a request costs brokers time however little it brings.
const enoughBatch = 1_000_000

// send sends all outputs of a step, as part of the transaction that a producer has
// begun, and waits until they are in their logs.
func (p *publisher) send(ctx context.Context, who producer, o *connectors.Outputs, now time.Time) error {
	if who == p.who {
		// Sequences would go on from what an earlier transaction left, and what was
		// sent late in that one could be taken for this one's.
		return fmt.Errorf("%v has another transaction in the same epoch: %w", who, kerr.InvalidTxnState)
	}
	p.who = who
	clear(p.sequence)
	clear(p.acked)
	p.clear()
	id, millis := identityOf(o, p.id), now.UnixMilli()
	defer func() { p.id = id.encoded }()
	limit, topic := 0, -1
	var x connectors.Packed
	for i := range o.Len() {
		o.Packed(i, &x)
		if x.Topic != topic {
			topic, limit = x.Topic, p.limit(o.Topic(x.Topic))
		}
		b := p.batch(o, partitionKey{x.Topic, x.Partition})
		before := len(b.buf)
		if p.bytes >= p.flush || !b.add(&x, i, &id, millis, limit) {
			if err := p.sendBatches(ctx); err != nil {
				return err
			}
			b = p.batch(o, partitionKey{x.Topic, x.Partition})
			before = len(b.buf)
			b.add(&x, i, &id, millis, limit)
		}
		p.bytes += len(b.buf) - before
	}
	return p.sendBatches(ctx)
}

func (p *publisher) clear() {
	clear(p.number)
	p.used, p.bytes, p.last = 0, 0, nil
}

// batch returns the batch of a partition.
func (p *publisher) batch(o *connectors.Outputs, at partitionKey) *recordBatch {
	if p.last != nil && p.latest == at {
		return p.last
	}
	if n, ok := p.number[at]; ok {
		p.latest, p.last = at, p.batches[n]
		return p.last
	}
	if p.used == len(p.batches) {
		p.batches = append(p.batches, &recordBatch{})
	}
	b := p.batches[p.used]
	b.reset()
	b.topic, b.partition = o.Topic(at.topic), at.partition
	p.number[at] = p.used
	p.used++
	return b
}

// sendBatches sends what was gathered, each batch until it is acknowledged: what
// arrives twice the brokers recognise by its sequence.
func (p *publisher) sendBatches(ctx context.Context) error {
	left := slices.Clone(p.batches[:p.used])
	for _, b := range left {
		b.seal(p.who, p.sequence[b.at()], p.small)
	}
	p.unknown = time.Time{}
	var why error
	for try, begun := 0, time.Now(); len(left) > 0; try++ {
		if try > 0 {
			if time.Since(begun) > p.expire {
				return why
			}
			if !sleep(ctx, retryBackoff(try-1)) {
				return ctx.Err()
			}
		}
		var err error
		if left, why, err = p.attempt(ctx, left); err != nil {
			return err
		}
	}
	p.clear()
	return nil
}

func (b *recordBatch) at() connectors.TopicPartition {
	return connectors.TopicPartition{Topic: b.topic, Partition: b.partition}
}

// attempt sends batches, one request a broker, and returns those to send again, and
// the reason. An error is final for the transaction.
func (p *publisher) attempt(ctx context.Context, batches []*recordBatch) (again []*recordBatch, why, err error) {
	byLeader := map[int32][]*recordBatch{}
	for _, b := range batches {
		leader, err := p.leader(ctx, b)
		if err != nil {
			why, err = p.judge(b, err)
			return batches, why, err
		}
		byLeader[leader] = append(byLeader[leader], b)
	}
	type answer struct {
		to   []*recordBatch
		resp *kmsg.ProduceResponse
		err  error
	}
	answers := make(chan answer, len(byLeader))
	for leader, to := range byLeader {
		request := p.request(to)
		ask := func() {
			resp, err := p.t.cl.Broker(int(leader)).Request(ctx, request)
			a := answer{to: to, err: err}
			if err == nil {
				a.resp = resp.(*kmsg.ProduceResponse)
			}
			answers <- a
		}
		if len(byLeader) == 1 {
			ask()
		} else {
			go ask()
		}
	}
	for range byLeader {
		a := <-answers
		for _, b := range a.to {
			failed := a.err
			if failed == nil {
				failed = answered(b, a.resp)
			}
			if failed == nil {
				p.sequence[b.at()] += b.n
				p.acked[b.topic] = b.id
				continue
			}
			again = append(again, b)
			var final error
			if why, final = p.judge(b, failed); err == nil {
				err = final
			}
		}
	}
	return again, why, err
}

// request asks for batches to be appended.
func (p *publisher) request(batches []*recordBatch) *kmsg.ProduceRequest {
	r := kmsg.NewPtrProduceRequest()
	r.TransactionID, r.Acks, r.TimeoutMillis = &p.t.id, -1, int32(produceTimeout.Milliseconds())
	for _, b := range batches {
		n := slices.IndexFunc(r.Topics, func(t kmsg.ProduceRequestTopic) bool { return t.Topic == b.topic })
		if n < 0 {
			rt := kmsg.NewProduceRequestTopic()
			rt.Topic, rt.TopicID = b.topic, b.id // newer versions name the topic by its id
			n, r.Topics = len(r.Topics), append(r.Topics, rt)
		}
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = b.partition, b.wire
		r.Topics[n].Partitions = append(r.Topics[n].Partitions, rp)
	}
	return r
}

// produceTimeout is how long a broker may wait for its followers.
const produceTimeout = 10 * time.Second

// answered returns what a broker said of a batch.
func answered(b *recordBatch, resp *kmsg.ProduceResponse) error {
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic != b.topic && (t.Topic != "" || t.TopicID != b.id) {
			continue
		}
		for j := range t.Partitions {
			if rp := &t.Partitions[j]; rp.Partition == b.partition {
				err := kerr.ErrorForCode(rp.ErrorCode)
				if errors.Is(err, kerr.DuplicateSequenceNumber) {
					return nil // it came before
				}
				return err
			}
		}
	}
	return fmt.Errorf("the broker's answer to a produce request lacks %v: %w", b.at(), kerr.UnknownServerError)
}

// judge returns an error of a batch as the reason to send it again, or as final.
func (p *publisher) judge(b *recordBatch, err error) (why, final error) {
	var ke *kerr.Error
	last := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrClientClosed) || unsafe(err) != ""
	if errors.As(err, &ke) {
		switch ke {
		case kerr.ConcurrentTransactions: // the markers of the last one are being written
			return err, nil
		case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
			if p.unknown.IsZero() {
				p.unknown = time.Now()
			}
			last = time.Since(p.unknown) > p.newest
		case kerr.CorruptMessage:
			last = true
		default:
			last = !ke.Retriable
		}
	}
	if !last {
		delete(p.topics, b.topic) // its partitions may have moved
		return err, nil
	}
	p.t.mu.Lock()
	p.t.failed = fmt.Sprintf("topic %s partition %d", b.topic, b.partition)
	p.t.mu.Unlock()
	return nil, err
}

// leader returns the broker that leads a batch's partition, and tells the batch the
// id of its topic. It asks through the client that will talk to the broker, so that
// this learns its address.
func (p *publisher) leader(ctx context.Context, b *recordBatch) (int32, error) {
	t := p.topics[b.topic]
	if t == nil {
		resp, err := metadataRequest(b.topic).RequestWith(ctx, p.t.cl)
		if err != nil {
			return 0, err
		}
		if len(resp.Topics) != 1 {
			return 0, kerr.UnknownTopicOrPartition
		}
		got := &resp.Topics[0]
		if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
			return 0, err
		}
		if was, ok := p.acked[b.topic]; ok && was != got.TopicID {
			// What went into the old topic is gone: all of the step goes into the new one.
			return 0, fmt.Errorf("topic %s was made anew within a transaction: %w", b.topic, kerr.TransactionAbortable)
		}
		t = &topicLeaders{id: got.TopicID}
		for _, rp := range got.Partitions {
			for int(rp.Partition) >= len(t.leader) {
				t.leader = append(t.leader, -1)
			}
			t.leader[rp.Partition] = rp.Leader
		}
		p.topics[b.topic] = t
	}
	b.id = t.id
	switch {
	case int(b.partition) >= len(t.leader):
		return 0, kerr.UnknownTopicOrPartition
	case t.leader[b.partition] < 0:
		return 0, kerr.LeaderNotAvailable
	}
	return t.leader[b.partition], nil
}
