//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 4

// generator produces events with ids 0, 1, 2, … Event i goes to partition i mod 4, or where place says, so that
// each partition's order does not depend on what happens.
type generator struct {
	l     *lab
	cl    *kgo.Client
	rate  atomic.Int64 // events a second
	place func(i int64) int32
	value func(i int64) []byte
	stop  context.CancelFunc
	done  chan struct{}

	sent atomic.Int64
	mu   sync.Mutex
	err  error
}

// event is the JSON of event i. The hash gives numbers without any order.
func event(i int64) []byte {
	h := uint64(i+1) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	return fmt.Appendf(nil, `{"id":%d,"user":"u%d","x":%g,"y":%t}`, i, h%97, float64(h>>40&1023)/256-2, (h>>20)%97 < 30+h%37)
}

func (l *lab) generate(rate int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(l.site.past()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), kgo.UnknownTopicRetries(-1), kgo.RecordRetries(1<<30), kgo.MaxBufferedRecords(1<<20))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	g := l.gen
	if g.value == nil {
		g.value = event
	}
	if g.place == nil {
		g.place = func(i int64) int32 { return int32(i % partitions) }
	}
	g.l, g.cl, g.stop, g.done = l, cl, stop, make(chan struct{})
	g.rate.Store(int64(rate))
	go g.run(ctx)
	return nil
}

func (g *generator) run(ctx context.Context) {
	defer close(g.done)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	due, last := 0.0, time.Now()
	for ctx.Err() == nil {
		now := <-tick.C
		due, last = due+now.Sub(last).Seconds()*float64(g.rate.Load()), now
		for ; due >= 1; due-- {
			i := g.sent.Load()
			g.cl.Produce(context.Background(), &kgo.Record{Topic: g.l.in(), Partition: g.place(i), Value: g.value(i)}, func(_ *kgo.Record, err error) {
				if err != nil {
					g.mu.Lock()
					g.err = err
					g.mu.Unlock()
				}
			})
			g.sent.Add(1)
		}
	}
}

// finish stops producing and waits until the brokers have all.
func (g *generator) finish(ctx context.Context) error {
	if g.cl == nil {
		return nil
	}
	g.stop()
	<-g.done
	if err := g.cl.Flush(ctx); err != nil {
		return fmt.Errorf("flushing what was produced: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// arrivals notes when committed outputs of each task arrive at a consumer.
type arrivals struct {
	cl   *kgo.Client
	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	began time.Time // of the fault; zero: none yet
	last  map[int]time.Time
	hole  time.Duration
	total int
}

func watchArrivals(addrs []string, topic string) (*arrivals, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &arrivals{cl: cl, stop: stop, done: make(chan struct{}), last: map[int]time.Time{}}
	go func() {
		defer close(a.done)
		for ctx.Err() == nil {
			fs := cl.PollFetches(ctx)
			now := time.Now()
			a.mu.Lock()
			fs.EachRecord(func(r *kgo.Record) { a.arrived(r, now) })
			a.mu.Unlock()
		}
	}()
	return a, nil
}

func (a *arrivals) arrived(r *kgo.Record, now time.Time) {
	a.total++
	for _, h := range r.Headers {
		if h.Key != "gs-id" {
			continue
		}
		text, _, _ := strings.Cut(string(h.Value), "/")
		task, err := strconv.Atoi(text)
		if err != nil {
			return
		}
		if from := a.last[task]; !a.began.IsZero() && !from.IsZero() {
			if from.Before(a.began) {
				from = a.began
			}
			a.hole = max(a.hole, now.Sub(from))
		}
		a.last[task] = now
	}
}

// mark says that the fault begins, if it has not yet.
func (a *arrivals) mark() {
	a.mu.Lock()
	if a.began.IsZero() {
		a.began = time.Now()
	}
	a.mu.Unlock()
}

func (a *arrivals) count() int { a.mu.Lock(); defer a.mu.Unlock(); return a.total }

func (a *arrivals) close() {
	a.stop()
	<-a.done
	a.cl.Close()
}
