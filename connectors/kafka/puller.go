package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// Larger answers take longer and more memory, and are no faster here; smaller ones would be
// slow where brokers are far away.
const (
	fetchBytes     = 2 << 20 // of an answer, but for one batch that is larger
	partitionBytes = 1 << 20 // of a partition in it
)

// shortWait is how long a broker may hold a fetch while another partition is about to have
// room, as it was polled lately: that one is not asked for before the answer.
const (
	shortWait = 3 * time.Millisecond
	lately    = time.Second
)

// puller fetches from one broker.
type puller struct {
	f      *fetcher
	broker int32
	wake   chan struct{} // holds a token when there may be something to ask for
	wanted []wanted
	served uint64 // counts partitions of answers that held records
}

// wanted is a partition that has room, and what it is asked for.
type wanted struct {
	p     *feedPart
	left  int   // bytes to poll
	next  int64 // offset to fetch from
	epoch int32 // of what was fetched last
	id    [16]byte
}

// wants returns what to ask for of the partition, and whether there is use for it now, or
// soon will be as it is full and being polled. fetcher.mu is held.
func (p *feedPart) wants() (w wanted, now, soon bool) {
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	w = wanted{p: p, left: p.bytes, next: p.next, epoch: p.epoch, id: p.at.id}
	if p.feed.closed || p.feed.err != nil {
		return w, false, false
	}
	return w, !p.full, p.full && time.Since(p.polled) < lately
}

// asked is what partitions are asked for.
type asked map[connectors.TopicPartition]wanted

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
		for _, w := range parts {
			s.f.stray(w.p, err)
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
func versioned(req *kmsg.FetchRequest, parts asked) kmsg.Request {
	for _, w := range parts {
		if w.id == [16]byte{} {
			return byName{req}
		}
	}
	return req
}

// request asks for the partitions that the broker leads and that have room. An answer
// is filled in the order of the request: first come those that have the least left to
// poll, and of these those that were served longest ago.
func (s *puller) request() (*kmsg.FetchRequest, asked) {
	o := &s.f.c.opt
	req := kmsg.NewPtrFetchRequest()
	wait := o.FetchWait
	req.MinBytes, req.MaxBytes, req.IsolationLevel = 1, fetchBytes, 1
	req.SessionEpoch = -1 // no session: what is asked for changes all the time
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.wanted = s.wanted[:0]
	for _, p := range s.f.parts {
		if p.at.leader != s.broker {
			continue
		}
		w, now, soon := p.wants()
		if now {
			s.wanted = append(s.wanted, w)
		}
		if soon {
			wait = min(wait, shortWait)
		}
	}
	req.MaxWaitMillis = int32(wait.Milliseconds())
	slices.SortFunc(s.wanted, func(a, b wanted) int {
		return cmp.Or(cmp.Compare(a.left, b.left), cmp.Compare(a.p.at.served, b.p.at.served))
	})
	parts := make(asked, len(s.wanted))
	topics := map[string]int{}
	for _, w := range s.wanted {
		tp := w.p.tp
		n, ok := topics[tp.Topic]
		if !ok {
			rt := kmsg.NewFetchRequestTopic()
			rt.Topic, rt.TopicID = tp.Topic, w.id
			n = len(req.Topics)
			topics[tp.Topic], req.Topics = n, append(req.Topics, rt)
		}
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = tp.Partition, int32(o.partitionBytes), w.p.at.epoch
		// By the epoch brokers notice that what was read is not in their log.
		rp.FetchOffset, rp.LastFetchedEpoch = w.next, w.epoch
		req.Topics[n].Partitions = append(req.Topics[n].Partitions, rp)
		parts[tp] = w
	}
	clear(s.wanted) // not to hold on to feeds that are closed
	return req, parts
}

// answered hands out what came, and leaves the parts of which nothing was said.
func (s *puller) answered(parse *parser, parts asked, resp *kmsg.FetchResponse) {
	names := map[[16]byte]string{}
	for tp, w := range parts {
		names[w.id] = tp.Topic
	}
	for i := range resp.Topics {
		rt := &resp.Topics[i]
		tp := connectors.TopicPartition{Topic: rt.Topic}
		if resp.Version >= topicsByID {
			tp.Topic = names[rt.TopicID]
		}
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			tp.Partition = rp.Partition
			if w, ok := parts[tp]; ok {
				delete(parts, tp)
				s.got(parse, w, rp)
			}
		}
	}
}

const topicsByID = 13 // version of answers to fetches that name topics by their ids alone

// got hands out what came of a partition.
func (s *puller) got(parse *parser, w wanted, rp *kmsg.FetchResponseTopicPartition) {
	p := w.p
	err := kerr.ErrorForCode(rp.ErrorCode)
	switch {
	case err != nil:
	case rp.PreferredReadReplica >= 0 && len(rp.RecordBatches) == 0:
		err = fmt.Errorf("broker %d leads the partition but wants it read from broker %d, which this client does not do: take the replica selector out of the broker's settings", s.broker, rp.PreferredReadReplica)
	case rp.DivergingEpoch.Epoch >= 0:
		// An election gave up records that had been read.
		p.feed.fail(p.tp, &connectors.OutOfRangeError{TopicPartition: p.tp, Offset: w.next, Start: rp.LogStartOffset, End: rp.DivergingEpoch.EndOffset})
		return
	default:
		if s.f.hook != nil {
			parse.note = func(m kgo.FetchBatchMetrics) {
				s.f.hook.OnFetchBatchRead(kgo.BrokerMetadata{NodeID: s.broker}, p.tp.Topic, p.tp.Partition, m)
			}
		}
		got, bad := parse.parse(rp, w.next)
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
