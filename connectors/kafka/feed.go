package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gradstream/gradstream/connectors"
)

// Feed reads the partitions from the positions on. Relative positions are resolved
// before it returns. A partition is in at most one feed at a time.
func (c *Cluster) Feed(ctx context.Context, from []connectors.Position) (connectors.Feed, error) {
	if len(from) == 0 {
		return nil, errors.New("a feed needs partitions to read")
	}
	at, err := c.Resolve(ctx, from)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errClosed
	}
	if c.fetch == nil {
		if c.fetch, err = c.newFetcher(); err != nil {
			c.mu.Unlock()
			return nil, err
		}
	}
	f := c.fetch
	c.mu.Unlock()

	fd := newFeed(c, f, at)
	if err := f.add(fd); err != nil {
		return nil, err
	}
	return fd, nil
}

// feed buffers what was fetched for one task.
type feed struct {
	c     *Cluster
	f     *fetcher
	parts []*feedPart
	ready chan struct{} // holds a token when something may have come

	mu     sync.Mutex
	turn   int // the partition to look at first
	err    error
	failed connectors.TopicPartition // where err came from
	closed bool
}

// feedPart is a partition of a feed. What is fetched stays as it came until it is
// polled: so records are made where they are used, and there are few of them at a time.
type feedPart struct {
	feed *feed
	tp   connectors.TopicPartition

	// Guarded by feed.mu.
	queue  []run
	bytes  int // of the queue
	full   bool
	polled time.Time // last
	next   int64     // past what was fetched
	epoch  int32     // of the leader that appended what was fetched last; -1 = nothing was
	end    int64
	lent   []connectors.Record // polled last, and in use until the next poll
	header string              // the key of a header seen last: most have the same

	at whereabouts // the fetcher's
}

func newFeed(c *Cluster, f *fetcher, from []connectors.Position) *feed {
	fd := &feed{c: c, f: f, ready: make(chan struct{}, 1)}
	for _, p := range from {
		fd.parts = append(fd.parts, &feedPart{feed: fd, tp: p.TopicPartition, polled: time.Now(), next: p.Next, epoch: -1, end: -1, at: nowhere})
	}
	return fd
}

// share returns how many bytes each partition may buffer. They do not share: who
// asks for one partition alone must get it although the others are full.
func (fd *feed) share() int { return max(fd.c.opt.FeedBytes/len(fd.parts), 1) }

// Poll returns the next run of records of one partition, or of any, taking
// partitions in turn. A run without records only moves the position, past control records. What
// was fetched before an error is delivered before the error.
func (fd *feed) Poll(ctx context.Context, limit int, only *connectors.TopicPartition) (connectors.Fetch, error) {
	if only != nil && !slices.ContainsFunc(fd.parts, func(p *feedPart) bool { return p.tp == *only }) {
		return connectors.Fetch{}, fmt.Errorf("%v is not a partition of this feed", *only)
	}
	var stalled <-chan time.Time
	if fd.c.opt.GiveUp > 0 {
		tick := time.NewTicker(min(fd.c.opt.Patience, fd.c.opt.GiveUp/3))
		defer tick.Stop()
		stalled = tick.C
	}
	waiting := fd.c.wait("reading " + fd.topics())
	for {
		got, ok, err := fd.take(max(limit, 1), only)
		if ok {
			return got, nil
		}
		if err != nil {
			return connectors.Fetch{}, fd.describe(ctx, err)
		}
		select {
		case <-fd.ready:
			// Who is woken runs before those who never had to wait, and would get ahead of them.
			runtime.Gosched()
		case <-stalled:
			if err := fd.ask(ctx, waiting); err != nil {
				return connectors.Fetch{}, err
			}
		case <-fd.c.belief.ctx.Done():
			return connectors.Fetch{}, fd.c.disbelief()
		case <-ctx.Done():
			return connectors.Fetch{}, ctx.Err()
		}
	}
}

// topics names what the feed reads.
func (fd *feed) topics() string {
	var names []string
	for _, p := range fd.parts {
		names = append(names, p.tp.Topic)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// ask finds out whether nothing comes because nothing is answered: the client tries
// for ever to fetch. There may be an end to waiting for that.
func (fd *feed) ask(ctx context.Context, w *wait) error {
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, _, err := fd.c.bounds(short, fd.parts[0].tp); err != nil {
		return w.failed(err)
	}
	*w = *fd.c.wait(w.doing)
	return nil
}

// pollMost is how many records a poll returns at the most: they should lie in a cache
// when they are used.
const pollMost = 1024

func (fd *feed) take(limit int, only *connectors.TopicPartition) (out connectors.Fetch, ok bool, err error) {
	var drained *feedPart
	fd.mu.Lock()
	for i := range fd.parts {
		p := fd.parts[(fd.turn+i)%len(fd.parts)]
		if len(p.queue) == 0 || only != nil && p.tp != *only {
			continue
		}
		if out, err = p.take(min(limit, pollMost)); err != nil {
			if fd.err == nil {
				fd.err, fd.failed = err, p.tp
			}
			p.queue, p.bytes = nil, 0
			continue // others may have what is good
		}
		fd.turn = (fd.turn + i + 1) % len(fd.parts)
		p.polled = time.Now()
		if p.full && p.bytes <= fd.share()/2 {
			p.full, drained = false, p
		}
		ok = true
		break
	}
	if !ok {
		err = fd.err
	}
	fd.mu.Unlock()
	if drained != nil {
		fd.f.hungry(drained)
	}
	return out, ok, err
}

// take returns the next records of the partition, at most limit. Their keys and values
// are the fetch's own bytes.
func (p *feedPart) take(limit int) (connectors.Fetch, error) {
	got := connectors.Fetch{TopicPartition: p.tp, End: p.end}
	records, done := p.lent[:0], 0
	for ; done < len(p.queue); done++ {
		r := &p.queue[done]
		before := len(r.in)
		var err error
		if records, err = r.read(records, limit, &p.header); err != nil {
			if len(records) > 0 {
				break // first what is good
			}
			return got, err
		}
		if r.left > 0 {
			p.bytes -= before - len(r.in)
			break
		}
		p.bytes -= before
		got.Next = r.next
		*r = run{}
	}
	if n := len(records); n > 0 {
		got.Next = max(got.Next, records[n-1].Offset+1)
	}
	clear(records[len(records):max(len(records), len(p.lent))]) // what they held on to may go
	p.lent, got.Records = records, slices.Clip(records)
	if p.queue = p.queue[done:]; len(p.queue) == 0 {
		p.queue = nil // or the array would grow for ever
	}
	return got, nil
}

// smallRun is how small what waits behind other runs must be to be copied: it would keep
// all of the answer that it came with.
const smallRun = 16 << 10

// put appends what was fetched.
func (p *feedPart) put(got *fetched) {
	fd := p.feed
	fd.mu.Lock()
	if fd.closed {
		fd.mu.Unlock()
		return
	}
	p.end = max(p.end, got.end)
	for _, r := range got.runs {
		if len(p.queue) > 0 && len(r.in) < smallRun {
			r.in = bytes.Clone(r.in)
		}
		p.queue = append(p.queue, r)
	}
	p.next, p.bytes = got.next, p.bytes+got.bytes
	if len(got.runs) > 0 {
		p.epoch = got.epoch
	}
	if p.bytes >= fd.share() {
		p.full = true
	}
	fd.mu.Unlock()
	if len(got.runs) > 0 {
		fd.notify()
	}
}

// Close stops the reading. A waiting Poll returns an error.
func (fd *feed) Close() error {
	fd.mu.Lock()
	closed := fd.closed
	fd.closed = true
	fd.mu.Unlock()
	if closed {
		return nil
	}
	fd.f.remove(fd)
	fd.mu.Lock()
	for _, p := range fd.parts {
		p.queue, p.lent = nil, nil
	}
	fd.err = errors.New("the feed is closed")
	fd.mu.Unlock()
	fd.notify()
	return nil
}

// Buffered returns how many records were fetched and not yet polled, and about how
// many bytes of memory they take.
func (fd *feed) Buffered() (records, bytes int64) {
	fd.mu.Lock()
	defer fd.mu.Unlock()
	for _, p := range fd.parts {
		for i := range p.queue {
			records += int64(p.queue[i].left)
		}
		bytes += int64(p.bytes)
	}
	return records, bytes
}

func (fd *feed) notify() { signal(fd.ready) }

// fail ends the feed with an error about a partition.
func (fd *feed) fail(tp connectors.TopicPartition, err error) {
	fd.mu.Lock()
	if fd.err == nil {
		fd.err, fd.failed = err, tp
	}
	fd.mu.Unlock()
	fd.notify()
}

// describe names the partition and what is wrong with it.
func (fd *feed) describe(ctx context.Context, err error) error {
	fd.mu.Lock()
	tp := fd.failed
	fd.mu.Unlock()
	if !errors.Is(err, kerr.OffsetOutOfRange) {
		if tp.Topic == "" {
			return err
		}
		return explain("reading "+tp.String(), err)
	}
	out := &connectors.OutOfRangeError{TopicPartition: tp, Start: -1, End: -1}
	for _, p := range fd.parts {
		if p.tp == tp {
			fd.mu.Lock()
			out.Offset = p.next
			fd.mu.Unlock()
		}
	}
	if start, end, err := fd.c.bounds(ctx, tp); err == nil {
		out.Start, out.End = start, end
	}
	return out
}
