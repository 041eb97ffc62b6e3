package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/plugin/kprom"

	"github.com/gradstream/gradstream/connectors"
)

// Larger answers take longer and more memory, and are no faster here; smaller ones would be
// slow where brokers are far away.
const (
	fetchBytes     = 2 << 20 // of an answer, but for one batch that is larger
	partitionBytes = 1 << 20 // of a partition in it
)

// fetcher fetches for all feeds. It asks brokers itself, as the client's own consuming
// makes an object of each record and throws away what is on its way for a partition
// that is paused: here a partition is asked for when it has room.
//
// Each broker that leads partitions has a puller, which asks it for all of them that
// have room, one question at a time. One goroutine finds leaders for those that have none.
type fetcher struct {
	c    *Cluster
	cl   *kgo.Client
	hook *kprom.Metrics // nil: none are wanted

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	lost    chan struct{} // holds a token when a partition may lack a leader

	mu      sync.Mutex
	parts   map[connectors.TopicPartition]*feedPart
	pullers map[int32]*puller
}

// whereabouts is where a partition is fetched. It is guarded by fetcher.mu.
type whereabouts struct {
	leader int32     // -1 = not known
	epoch  int32     // of the leader
	id     [16]byte  // of the topic; 0 = brokers do not say
	older  int       // how often in a row brokers named a leader of an earlier epoch
	served uint64    // when it last brought something, in the puller's count
	fails  int       // in a row
	again  time.Time // when to look for the leader after a failure
	gone   time.Time // since when brokers do not know the topic; 0 = they do
}

var nowhere = whereabouts{leader: -1, epoch: -1}

func (c *Cluster) newFetcher() (*fetcher, error) {
	metrics, hook := c.metrics("fetch")
	cl, err := c.client(metrics...)
	if err != nil {
		return nil, err
	}
	f := &fetcher{
		c: c, cl: cl, hook: hook, lost: make(chan struct{}, 1),
		parts: map[connectors.TopicPartition]*feedPart{}, pullers: map[int32]*puller{},
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.running.Go(f.locate)
	return f, nil
}

func (f *fetcher) close() {
	f.cancel()
	f.running.Wait()
	f.cl.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, p := range f.parts {
		p.feed.fail(tp, errClosed)
	}
}

func (f *fetcher) add(fd *feed) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return errClosed
	}
	for _, p := range fd.parts {
		if f.parts[p.tp] != nil {
			return fmt.Errorf("%v is being read by another feed", p.tp)
		}
	}
	for _, p := range fd.parts {
		f.parts[p.tp] = p
	}
	signal(f.lost)
	return nil
}

// remove ends the fetching for a feed. What is on its way for it comes to nothing: an
// answer goes to the feed for which was asked, which is closed.
func (f *fetcher) remove(fd *feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range fd.parts {
		if f.parts[p.tp] == p {
			delete(f.parts, p.tp)
		}
	}
}

// hungry says that a partition has room again.
func (f *fetcher) hungry(p *feedPart) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.pullers[p.at.leader]; s != nil {
		signal(s.wake)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wants reports whether there is room and use for more, and how many bytes are left to poll.
func (p *feedPart) wants() (left int, ok bool) {
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	return p.bytes, !p.full && !p.feed.closed && p.feed.err == nil
}

// locate finds the leaders of partitions that have none, until the fetcher is closed.
func (f *fetcher) locate() {
	silent := f.c.wait("looking for the leaders of partitions")
	for try := 0; ; {
		topics, next := f.leaderless()
		switch {
		case len(topics) > 0:
			err := f.ask(topics)
			if f.ctx.Err() != nil {
				return
			}
			if err != nil {
				silent.failed(err) // it may say so; who waits for a feed asks on his own
				sleep(f.ctx, retryBackoff(try))
				try++
				continue
			}
			silent, try = f.c.wait(silent.doing), 0
		default:
			silent = f.c.wait(silent.doing)
			var later <-chan time.Time
			if !next.IsZero() {
				later = time.After(time.Until(next))
			}
			select {
			case <-f.lost:
			case <-later:
			case <-f.ctx.Done():
				return
			}
		}
	}
}

// leaderless returns the topics of partitions whose leaders are to be looked for now, or
// when the next is.
func (f *fetcher) leaderless() (topics map[string]bool, next time.Time) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, p := range f.parts {
		switch {
		case p.at.leader >= 0 || !p.feed.alive():
		case p.at.again.After(now):
			if next.IsZero() || p.at.again.Before(next) {
				next = p.at.again
			}
		default:
			if topics == nil {
				topics = map[string]bool{}
			}
			topics[tp.Topic] = true
		}
	}
	return topics, next
}

func (fd *feed) alive() bool {
	fd.mu.Lock()
	defer fd.mu.Unlock()
	return !fd.closed && fd.err == nil
}

// ask asks for the leaders of topics. It asks through the client that will talk to them, so
// that this learns their addresses.
func (f *fetcher) ask(topics map[string]bool) error {
	req := kmsg.NewPtrMetadataRequest()
	for name := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(f.ctx, f.cl)
	if err != nil {
		return err
	}
	found := map[string]*kmsg.MetadataResponseTopic{}
	for i := range resp.Topics {
		if rt := &resp.Topics[i]; rt.Topic != nil {
			found[*rt.Topic] = rt
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, p := range f.parts {
		if !topics[tp.Topic] || p.at.leader >= 0 {
			continue
		}
		if err := p.found(found[tp.Topic]); err != nil {
			f.stray(p, err)
			continue
		}
		s := f.pullers[p.at.leader]
		if s == nil {
			s = &puller{f: f, broker: p.at.leader, wake: make(chan struct{}, 1)}
			f.pullers[s.broker] = s
			f.running.Go(s.run)
		}
		signal(s.wake)
	}
	return nil
}

// found notes where brokers say that a partition is.
func (p *feedPart) found(t *kmsg.MetadataResponseTopic) error {
	if t == nil {
		return kerr.UnknownTopicOrPartition
	}
	if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
		return err
	}
	id := t.TopicID
	switch {
	case id == [16]byte{}:
		id = p.at.id // that broker is of an older version
	case p.at.id != [16]byte{} && p.at.id != id:
		return errMadeAnew
	}
	for i := range t.Partitions {
		rp := &t.Partitions[i]
		if rp.Partition != p.tp.Partition {
			continue
		}
		switch err := kerr.ErrorForCode(rp.ErrorCode); {
		case rp.Leader < 0 && err == nil:
			return kerr.LeaderNotAvailable
		case rp.Leader < 0:
			return err
		case rp.LeaderEpoch >= 0 && rp.LeaderEpoch < p.at.epoch && p.at.older < olderEpochs:
			p.at.older++
			return kerr.FencedLeaderEpoch // that broker has not heard of the last election yet
		}
		p.at.id, p.at.leader, p.at.epoch, p.at.older, p.at.served = id, rp.Leader, rp.LeaderEpoch, 0, 0
		return nil
	}
	return kerr.UnknownTopicOrPartition
}

// olderEpochs is how often in a row a leader of an earlier epoch is not believed. Then the
// later election is one that was lost with the broker that knew of it.
const olderEpochs = 10

var errMadeAnew = fmt.Errorf("the topic was deleted and made anew: %w", kerr.UnknownTopicID)

// forgotten is how long brokers may not know a topic that was there: they hear of it one
// after the other, and may have just come back.
const forgotten = 10 * time.Second

// stray notes that a partition is not where it was thought to be, or fails its feed if
// looking for it is of no use. f.mu is held.
func (f *fetcher) stray(p *feedPart, err error) {
	p.at.leader = -1
	p.at.again = time.Now().Add(retryBackoff(p.at.fails))
	p.at.fails++
	switch {
	case !errors.Is(err, kerr.UnknownTopicID) && !errors.Is(err, kerr.UnknownTopicOrPartition):
		p.at.gone = time.Time{}
	case p.at.gone.IsZero():
		p.at.gone = time.Now()
	}
	switch {
	case final(err) || !p.at.gone.IsZero() && time.Since(p.at.gone) > forgotten:
		p.feed.fail(p.tp, err)
	case p.at.fails >= manyFails && f.c.silence.tell(2*f.c.opt.Patience):
		f.c.log.Warn("a partition cannot be read; trying on", "topic", p.tp.Topic, "partition", p.tp.Partition, "tries", p.at.fails, "err", err)
	}
	signal(f.lost)
}

// manyFails is after how many failures in a row, some six seconds, the log hears of them.
const manyFails = 20

// final reports whether a fetch that failed so would fail so again. Not so for the client's
// own errors, which are of connections; how often a login may fail is for [belief] to say.
func final(err error) bool {
	if errors.Is(err, errMadeAnew) {
		return true
	}
	if unsafe(err) != "" {
		return false
	}
	var ke *kerr.Error
	return errors.As(err, &ke) && !ke.Retriable
}

// puller fetches from one broker.
type puller struct {
	f      *fetcher
	broker int32
	wake   chan struct{} // holds a token when there may be something to ask for
	wanted []wanted
	served uint64 // counts partitions of answers that held records
}

// wanted is a partition that has room.
type wanted struct {
	p    *feedPart
	left int // bytes to poll
}

// asked is what a partition is asked for.
type asked struct {
	p    *feedPart
	next int64
}

// partName is how an answer names a partition: by its topic's name or, in newer versions, id.
type partName struct {
	topic     string
	id        [16]byte
	partition int32
}

func (s *puller) run() {
	parse := parser{inflate: kgo.DefaultDecompressor()}
	for s.f.ctx.Err() == nil {
		req, parts := s.request()
		if len(parts) == 0 {
			select {
			case <-s.wake:
			case <-s.f.ctx.Done():
			}
			continue
		}
		resp, err := s.f.cl.Broker(int(s.broker)).Request(s.f.ctx, versioned(req, parts))
		if s.f.ctx.Err() != nil {
			return
		}
		if err == nil {
			if why := kerr.ErrorForCode(resp.(*kmsg.FetchResponse).ErrorCode); why != nil {
				err = fmt.Errorf("broker %d answers a fetch with %v", s.broker, why) // of all that it leads: it may pass
			}
		}
		if err == nil {
			s.answered(&parse, parts, resp.(*kmsg.FetchResponse))
			err = errLacks
		}
		s.f.mu.Lock()
		for _, q := range parts {
			s.f.stray(q.p, err)
		}
		s.f.mu.Unlock()
	}
}

var errLacks = errors.New("the broker's answer to a fetch lacks the partition")

// byName is a request whose version is at most the last that names topics by their names.
type byName struct{ *kmsg.FetchRequest }

// MaxVersion implements kmsg.Request.
func (byName) MaxVersion() int16 { return topicsByID - 1 }

// versioned returns the request in a form that needs no ids if some are not known.
func versioned(req *kmsg.FetchRequest, parts map[partName]asked) kmsg.Request {
	for at := range parts {
		if at.id == [16]byte{} {
			return byName{req}
		}
	}
	return req
}

// request asks for the partitions that the broker leads and that have room. An answer
// is filled in the order of the request: first come those that have the least left to
// poll, and of these those that were served longest ago.
func (s *puller) request() (*kmsg.FetchRequest, map[partName]asked) {
	o := &s.f.c.opt
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = int32(o.FetchWait.Milliseconds()), 1, fetchBytes, 1
	req.SessionEpoch = -1 // no session: what is asked for changes all the time
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.wanted = s.wanted[:0]
	for _, p := range s.f.parts {
		if p.at.leader != s.broker {
			continue
		}
		if left, ok := p.wants(); ok {
			s.wanted = append(s.wanted, wanted{p, left})
		}
	}
	slices.SortFunc(s.wanted, func(a, b wanted) int {
		return cmp.Or(cmp.Compare(a.left, b.left), cmp.Compare(a.p.at.served, b.p.at.served))
	})
	parts := make(map[partName]asked, len(s.wanted))
	topics := map[string]int{}
	for _, w := range s.wanted {
		p, topic := w.p, w.p.tp.Topic
		n, ok := topics[topic]
		if !ok {
			rt := kmsg.NewFetchRequestTopic()
			rt.Topic, rt.TopicID = topic, p.at.id
			n = len(req.Topics)
			topics[topic], req.Topics = n, append(req.Topics, rt)
		}
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = p.tp.Partition, int32(o.partitionBytes), p.at.epoch
		p.feed.mu.Lock()
		// By the epoch brokers notice that what was read is not in their log.
		rp.FetchOffset, rp.LastFetchedEpoch = p.next, p.epoch
		p.feed.mu.Unlock()
		req.Topics[n].Partitions = append(req.Topics[n].Partitions, rp)
		parts[partName{topic, p.at.id, p.tp.Partition}] = asked{p, rp.FetchOffset}
	}
	clear(s.wanted) // not to hold on to feeds that are closed
	return req, parts
}

// answered hands out what came, and leaves the parts of which nothing was said.
func (s *puller) answered(parse *parser, parts map[partName]asked, resp *kmsg.FetchResponse) {
	ids := map[[16]byte]string{}
	names := map[string][16]byte{}
	for at := range parts {
		ids[at.id], names[at.topic] = at.topic, at.id
	}
	for i := range resp.Topics {
		rt := &resp.Topics[i]
		at := partName{topic: rt.Topic, id: rt.TopicID}
		if resp.Version >= topicsByID {
			at.topic = ids[at.id]
		} else {
			at.id = names[at.topic]
		}
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			at.partition = rp.Partition
			if q, ok := parts[at]; ok {
				delete(parts, at)
				s.got(parse, q, rp)
			}
		}
	}
}

const topicsByID = 13 // version of answers to fetches that name topics by their ids alone

// got hands out what came of a partition.
func (s *puller) got(parse *parser, q asked, rp *kmsg.FetchResponseTopicPartition) {
	p := q.p
	err := kerr.ErrorForCode(rp.ErrorCode)
	switch {
	case err != nil:
	case rp.PreferredReadReplica >= 0 && len(rp.RecordBatches) == 0:
		err = fmt.Errorf("broker %d leads the partition but wants it read from broker %d, which this client does not do: take the replica selector out of the broker's settings", s.broker, rp.PreferredReadReplica)
	case rp.DivergingEpoch.Epoch >= 0:
		// An election gave up records that had been read.
		p.feed.fail(p.tp, &connectors.OutOfRangeError{TopicPartition: p.tp, Offset: q.next, Start: rp.LogStartOffset, End: rp.DivergingEpoch.EndOffset})
		return
	default:
		if s.f.hook != nil {
			parse.note = func(m kgo.FetchBatchMetrics) {
				s.f.hook.OnFetchBatchRead(kgo.BrokerMetadata{NodeID: s.broker}, p.tp.Topic, p.tp.Partition, m)
			}
		}
		got, bad := parse.parse(rp, q.next)
		p.put(&got)
		if bad != nil && !errors.Is(bad, errNoProgress) {
			p.feed.fail(p.tp, bad)
			return
		}
		err = bad
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if err != nil {
		s.f.stray(p, err)
		return
	}
	p.at.fails, p.at.gone = 0, time.Time{}
	if len(rp.RecordBatches) > 0 {
		s.served++
		p.at.served = s.served
	}
}
