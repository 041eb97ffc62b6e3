package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

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

	fd := &feed{c: c, f: f, ready: make(chan struct{}, 1)}
	for _, p := range at {
		fd.parts = append(fd.parts, &feedPart{feed: fd, tp: p.TopicPartition, next: p.Next, end: -1})
	}
	if err := f.do(func() error { return f.add(fd) }); err != nil {
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

// feedPart is a partition of a feed. Its fields are guarded by feed.mu, except
// paused, which is the fetcher's.
type feedPart struct {
	feed   *feed
	tp     connectors.TopicPartition
	queue  []chunk
	bytes  int // of the queue
	full   bool
	next   int64 // past what was fetched
	end    int64
	paused bool
	lent   []connectors.Record // the last of it was polled, and may be in use until the next poll
	free   []connectors.Record // to be used again
}

// chunk is what one fetch brought for a partition.
type chunk struct {
	records []connectors.Record // not yet polled
	all     []connectors.Record
	next    int64
}

// reclaim takes records back whose time is over. They must not hold on to what was fetched.
func (p *feedPart) reclaim() {
	if p.lent != nil {
		clear(p.lent)
		p.free, p.lent = p.lent[:0], nil
	}
}

// recordOverhead is what a buffered record costs beside its bytes.
const recordOverhead = 96

func size(r *connectors.Record) int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
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

func (fd *feed) take(limit int, only *connectors.TopicPartition) (out connectors.Fetch, ok bool, err error) {
	drained := false
	fd.mu.Lock()
	for i := range fd.parts {
		p := fd.parts[(fd.turn+i)%len(fd.parts)]
		if len(p.queue) == 0 || only != nil && p.tp != *only {
			continue
		}
		p.reclaim()
		head := &p.queue[0]
		out = connectors.Fetch{TopicPartition: p.tp, Records: head.records, Next: head.next, End: p.end}
		if len(head.records) > limit {
			out.Records = head.records[:limit:limit]
			out.Next = out.Records[limit-1].Offset + 1
			head.records = head.records[limit:]
		} else {
			p.lent = head.all
			p.queue[0] = chunk{}
			if p.queue = p.queue[1:]; len(p.queue) == 0 {
				p.queue = nil // or the array would grow for ever
			}
		}
		for j := range out.Records {
			p.bytes -= size(&out.Records[j])
		}
		fd.turn = (fd.turn + i + 1) % len(fd.parts)
		if p.full && p.bytes <= fd.share()/2 {
			p.full, drained = false, true
		}
		ok = true
		break
	}
	if !ok {
		err = fd.err
	}
	fd.mu.Unlock()
	if drained {
		fd.f.kick()
	}
	return out, ok, err
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
	fd.f.do(func() error { fd.f.remove(fd); return nil })
	fd.mu.Lock()
	for _, p := range fd.parts {
		p.queue = nil
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
			records += int64(len(p.queue[i].records))
		}
		bytes += int64(p.bytes)
	}
	return records, bytes
}

func (fd *feed) notify() {
	select {
	case fd.ready <- struct{}{}:
	default:
	}
}

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

// array returns an empty array for n records.
func (p *feedPart) array(n int) []connectors.Record {
	p.feed.mu.Lock()
	a := p.free
	p.free = nil
	p.feed.mu.Unlock()
	if cap(a) >= n && cap(a) <= 4*n {
		return a
	}
	return make([]connectors.Record, 0, n)
}

// put appends what was fetched of a partition. Key and value are the fetch's own
// bytes; records and headers each take one allocation.
func (p *feedPart) put(fp *kgo.FetchPartition) {
	if len(fp.Records) == 0 {
		return
	}
	n, heads := 0, 0
	for _, r := range fp.Records {
		if !r.Attrs.IsControl() {
			n++
			heads += len(r.Headers)
		}
	}
	c := chunk{next: fp.Records[len(fp.Records)-1].Offset + 1}
	bytes := 0
	if n > 0 {
		c.records = p.array(n)
		var headers []connectors.Header
		if heads > 0 {
			headers = make([]connectors.Header, 0, heads)
		}
		for _, r := range fp.Records {
			if r.Attrs.IsControl() {
				continue
			}
			rec := connectors.Record{Key: r.Key, Value: r.Value, Offset: r.Offset, Time: r.Timestamp.UnixMilli()}
			if len(r.Headers) > 0 {
				lo := len(headers)
				for _, h := range r.Headers {
					headers = append(headers, connectors.Header(h))
				}
				rec.Headers = headers[lo:len(headers):len(headers)]
			}
			bytes += size(&rec)
			c.records = append(c.records, rec)
		}
		c.all = c.records
	}
	for _, r := range fp.Records {
		r.Recycle()
	}
	end := fp.LastStableOffset
	if end < 0 {
		end = fp.HighWatermark
	}
	fd := p.feed
	fd.mu.Lock()
	p.next, p.end = c.next, max(p.end, end)
	if q := len(p.queue); n == 0 && q > 0 {
		p.queue[q-1].next = c.next
	} else {
		p.queue = append(p.queue, c)
	}
	p.bytes += bytes
	if p.bytes >= fd.share() {
		p.full = true
	}
	fd.mu.Unlock()
	fd.notify()
}

// recordPool keeps the client's own records, which are of no use once put has
// copied them.
type recordPool struct{ free sync.Pool }

// GetRecords implements kgo.PoolRecords.
func (p *recordPool) GetRecords(n int) []kgo.Record {
	if s, _ := p.free.Get().(*[]kgo.Record); s != nil && cap(*s) >= n {
		return (*s)[:0]
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements kgo.PoolRecords.
func (p *recordPool) PutRecords(s []kgo.Record) { p.free.Put(&s) }

// fetcher is the fetching client that all feeds share. One goroutine polls it,
// hands out what came, and makes every change to what is fetched between two
// polls: so nothing fetched for an earlier feed of a partition can reach a later.
type fetcher struct {
	c  *Cluster
	cl *kgo.Client

	parts map[connectors.TopicPartition]*feedPart // the poll goroutine's

	mu     sync.Mutex
	cmds   []func()
	cancel context.CancelFunc // of the poll in progress
	kicked bool
	stop   bool
	wake   chan struct{}
	done   chan struct{}
}

func (c *Cluster) newFetcher() (*fetcher, error) {
	cl, err := c.client(append([]kgo.Opt{
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // they move positions to the end of the log
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(c.opt.FetchWait),
		kgo.FetchMinBytes(1),
		kgo.FetchMaxBytes(16 << 20),
		kgo.FetchMaxPartitionBytes(512 << 10),
		kgo.WithPools(new(recordPool)),
	}, c.metrics("fetch")...)...)
	if err != nil {
		return nil, err
	}
	f := &fetcher{c: c, cl: cl, parts: map[connectors.TopicPartition]*feedPart{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go f.run()
	return f, nil
}

// kick makes the poll goroutine look around.
func (f *fetcher) kick() {
	f.mu.Lock()
	f.kicked = true
	if f.cancel != nil {
		f.cancel()
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// do runs fn on the poll goroutine.
func (f *fetcher) do(fn func() error) error {
	res := make(chan error, 1)
	f.mu.Lock()
	f.cmds = append(f.cmds, func() { res <- fn() })
	f.mu.Unlock()
	f.kick()
	select {
	case err := <-res:
		return err
	case <-f.done:
		return errClosed
	}
}

func (f *fetcher) close() {
	f.mu.Lock()
	f.stop = true
	f.mu.Unlock()
	f.kick()
	<-f.done
	f.cl.Close()
}

func (f *fetcher) add(fd *feed) error {
	for _, p := range fd.parts {
		if f.parts[p.tp] != nil {
			return fmt.Errorf("%v is being read by another feed", p.tp)
		}
	}
	at := map[string]map[int32]kgo.Offset{}
	for _, p := range fd.parts {
		f.parts[p.tp] = p
		if at[p.tp.Topic] == nil {
			at[p.tp.Topic] = map[int32]kgo.Offset{}
		}
		at[p.tp.Topic][p.tp.Partition] = kgo.NoResetOffset().At(p.next)
	}
	f.cl.AddConsumePartitions(at)
	return nil
}

func (f *fetcher) remove(fd *feed) {
	gone := map[string][]int32{}
	for _, p := range fd.parts {
		if f.parts[p.tp] == p {
			delete(f.parts, p.tp)
			gone[p.tp.Topic] = append(gone[p.tp.Topic], p.tp.Partition)
		}
	}
	f.cl.RemoveConsumePartitions(gone)
	f.cl.ResumeFetchPartitions(gone) // a pause would outlive the feed
}

func (f *fetcher) run() {
	defer close(f.done)
	defer func() {
		for tp, p := range f.parts {
			p.feed.fail(tp, errClosed)
		}
	}()
	var ctx context.Context
	defer func() {
		f.mu.Lock()
		if f.cancel != nil {
			f.cancel()
		}
		f.mu.Unlock()
	}()
	for {
		f.mu.Lock()
		cmds, stop := f.cmds, f.stop
		f.cmds, f.kicked = nil, false
		if f.cancel == nil {
			ctx, f.cancel = context.WithCancel(context.Background())
		}
		f.mu.Unlock()
		if stop {
			return
		}
		for _, cmd := range cmds {
			cmd()
		}
		if f.flow() {
			fetches := f.cl.PollFetches(ctx)
			if !f.dispatch(fetches) {
				return
			}
		} else {
			<-f.wake
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			f.cancel = nil // a new one next time
		}
		f.mu.Unlock()
	}
}

// flow pauses the partitions that are full and resumes those that are drained. It
// reports whether polling makes sense. If every one is full nothing is paused:
// not polling is enough, and a pause would throw away what is on its way.
func (f *fetcher) flow() bool {
	hungry := false
	for _, p := range f.parts {
		if !p.isFull() {
			hungry = true
			break
		}
	}
	if !hungry {
		return false
	}
	var pause, resume map[string][]int32
	note := func(m *map[string][]int32, tp connectors.TopicPartition) {
		if *m == nil {
			*m = map[string][]int32{}
		}
		(*m)[tp.Topic] = append((*m)[tp.Topic], tp.Partition)
	}
	for tp, p := range f.parts {
		if full := p.isFull(); full != p.paused {
			p.paused = full
			if full {
				note(&pause, tp)
			} else {
				note(&resume, tp)
			}
		}
	}
	if pause != nil {
		f.cl.PauseFetchPartitions(pause)
	}
	if resume != nil {
		f.cl.ResumeFetchPartitions(resume)
	}
	return true
}

func (p *feedPart) isFull() bool {
	p.feed.mu.Lock()
	defer p.feed.mu.Unlock()
	return p.full
}

// dispatch hands out what came; it returns false when the client is closed.
func (f *fetcher) dispatch(fetches kgo.Fetches) bool {
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			for k := range t.Partitions {
				fp := &t.Partitions[k]
				if errors.Is(fp.Err, kgo.ErrClientClosed) {
					return false
				}
				tp := connectors.TopicPartition{Topic: t.Topic, Partition: fp.Partition}
				p := f.parts[tp]
				if p == nil {
					continue // removed, or the poll's own end
				}
				p.put(fp)
				if fp.Err != nil {
					p.feed.fail(tp, fp.Err)
				}
			}
		}
	}
	return true
}
