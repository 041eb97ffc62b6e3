package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/plugin/kprom"

	"github.com/gradstream/gradstream/connectors"
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
	resp, err := metadataRequest(slices.Collect(maps.Keys(topics))...).RequestWith(f.ctx, f.cl)
	if err != nil {
		return err
	}
	found := topicsOf(resp)
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
	case !isUnknown(err):
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
