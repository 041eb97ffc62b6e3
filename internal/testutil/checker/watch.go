package checker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/zeebo/xxh3"
)

// Watcher is a read_committed consumer that runs beside the workers. What it sees must be what a later reader finds.
type Watcher struct {
	cl     *kgo.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	seen map[place]uint64
	errs []error
}

// place is where a record is.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// Watch starts to read topics from their beginnings until Stop.
func Watch(brokers, topics []string, opts ...kgo.Opt) (*Watcher, error) {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100 * time.Millisecond), kgo.ClientID("gradstream-watcher"),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(time.Second), // topics may grow
	}, opts...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{cl: cl, cancel: cancel, done: make(chan struct{}), seen: map[place]uint64{}}
	go w.run(ctx)
	return w, nil
}

func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	last := map[place]int64{} // offset 0: of the partition
	for ctx.Err() == nil {
		fs := w.cl.PollFetches(ctx)
		w.mu.Lock()
		fs.EachRecord(func(r *kgo.Record) {
			at := place{r.Topic, r.Partition, 0}
			if before, ok := last[at]; ok && r.Offset <= before {
				w.errs = append(w.errs, fmt.Errorf("%s[%d]: offset %d seen behind %d", r.Topic, r.Partition, r.Offset, before))
			}
			last[at] = r.Offset
			w.seen[place{r.Topic, r.Partition, r.Offset}] = fingerprint(r)
		})
		w.mu.Unlock()
	}
}

// fingerprint tells records apart that differ in key, value or id.
func fingerprint(r *kgo.Record) uint64 {
	var h xxh3.Hasher
	id, _ := header(r, headerID)
	for _, b := range [][]byte{r.Key, r.Value, id} {
		_, _ = h.Write(le4(nil, len(b)))
		_, _ = h.Write(b)
	}
	return h.Sum64()
}

// Len returns how many records were seen so far.
func (w *Watcher) Len() int { w.mu.Lock(); defer w.mu.Unlock(); return len(w.seen) }

// Stop ends the reading. It may be called again.
func (w *Watcher) Stop() {
	w.cancel()
	<-w.done
	w.cl.Close()
}

// checkSeen compares what a reader beside the workers saw with what is there now.
func (c *check) checkSeen(context.Context) error {
	w := c.o.Seen
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.errs {
		c.report.add(Violation{K7, -1, 0, "", 0, -1, err.Error()})
	}
	now := map[place]uint64{}
	for _, r := range c.found {
		now[place{r.Topic, r.Partition, r.Offset}] = fingerprint(r)
	}
	for at, print := range w.seen {
		t := c.topics[at.topic]
		if t == nil || at.topic == c.o.Journal || int(at.partition) >= len(t.start) || at.offset < t.start[at.partition] {
			continue
		}
		if got, ok := now[at]; !ok || got != print {
			c.report.add(Violation{K7, -1, 0, at.topic, at.partition, at.offset, "a reader saw another record there, or one that is gone"})
		}
	}
	return nil
}
