package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/bench/clicks"
)

// live is an open loop: events are sent at a constant rate, whatever comes back, and a read_committed consumer notes when it
// has what came of each.
type live struct {
	h        *harness
	variant  string
	from     string
	output   string
	p        *process
	restart  func() (*process, error)
	gap      time.Duration
	begun    time.Time // when event 0 was due
	sent     int
	labels   []bool
	arrivals []arrival

	events *clicks.Stream
	sender *kgo.Client
	failed atomic.Pointer[error]
	have   atomic.Int64
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

// arrival is the first output of an event.
type arrival struct {
	at        time.Time // zero: none
	offset    int64
	partition int32
	p         float32
}

// open starts a variant over a topic of its own, to which nothing is sent yet. It is for some seconds' events behind the
// warm-up.
func (h *harness) open(ctx context.Context, variant string, seconds int) (l *live, err error) {
	l = &live{h: h, variant: variant, from: fmt.Sprintf("live-%d", h.serial), gap: time.Second / time.Duration(h.rate), arrivals: make([]arrival, h.rate*(warmAtMost+seconds))}
	l.stop = func() {}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if err := h.create(ctx, l.from); err != nil {
		return nil, err
	}
	l.restart, l.output, err = h.spawner(ctx, variant, l.from, "", h.commit)
	if err != nil {
		return nil, err
	}
	if err := l.start(); err != nil {
		return nil, err
	}
	reader, err := h.client(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeTopics(l.output),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	reading, stop := context.WithCancel(ctx)
	l.stop = stop
	l.wg.Go(func() {
		defer reader.Close()
		l.read(reading, reader)
	})
	if l.sender, err = h.client(kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1<<18)); err != nil {
		return nil, err
	}
	l.events = clicks.New(2)
	// The pass-through and the peers have a first record only once something was sent.
	for range 200 {
		if isPass(variant) || isPeer(variant) || !l.p.firstRecord().IsZero() {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-l.p.done:
			return nil, fmt.Errorf("the process ended: %v\n%s", l.p.err, l.p.output())
		}
	}
	return l, nil
}

// start starts the process, again after a kill.
func (l *live) start() (err error) {
	l.p, err = l.restart()
	return err
}

func (l *live) read(ctx context.Context, cl *kgo.Client) {
	for {
		fetches := cl.PollFetches(ctx)
		now := time.Now()
		if ctx.Err() != nil {
			return
		}
		fetches.EachRecord(func(r *kgo.Record) {
			id, p, ok := parseOutput(r.Value)
			if ok && id < len(l.arrivals) && l.arrivals[id].at.IsZero() {
				l.arrivals[id] = arrival{now, r.Offset, r.Partition, float32(p)}
				l.have.Add(1)
			}
		})
	}
}

// due is when an event had to be sent.
func (l *live) due(i int) time.Time { return l.begun.Add(time.Duration(i) * l.gap) }

// send sends the next n events, each when it is due.
func (l *live) send(ctx context.Context, n int) error {
	if l.sent == 0 {
		l.begun = time.Now()
	}
	for range n {
		if wait := time.Until(l.due(l.sent)); wait > 0 {
			time.Sleep(max(wait, time.Millisecond)) // several at a time, each late by a millisecond at most
		}
		e := l.events.Next()
		l.labels = append(l.labels, e.Label)
		l.sender.Produce(ctx, &kgo.Record{Topic: l.from, Key: []byte(e.User), Value: bytes.Clone(e.Value)}, func(_ *kgo.Record, err error) {
			if err != nil {
				l.failed.Store(&err)
			}
		})
		l.sent++
	}
	if e := l.failed.Load(); e != nil {
		return fmt.Errorf("sending: %w", *e)
	}
	return ctx.Err()
}

// warmUp sends until outputs have been less than a second late for a while: a virtual machine takes its time until it runs, and
// then has a backlog.
func (l *live) warmUp(ctx context.Context) error {
	second := l.h.rate
	for good, i := 0, 0; good < warmFor; i++ {
		if i == warmAtMost {
			return fmt.Errorf("outputs are still more than a second late after %d s at %d/s\n%s", warmAtMost, second, l.p.output())
		}
		if err := l.send(ctx, second); err != nil {
			return err
		}
		if good++; l.have.Load() < int64(l.sent-second) {
			good = 0
		}
	}
	return nil
}

// Seconds that a warm-up lasts, at least once outputs are on time and at most.
const warmFor, warmAtMost = 5, 90

// finish waits until all that was sent has come back, a while at most, and ends the process in good order.
func (l *live) finish(ctx context.Context, patience time.Duration) error {
	if err := l.sender.Flush(ctx); err != nil {
		return err
	}
	if e := l.failed.Load(); e != nil {
		return fmt.Errorf("sending: %w", *e)
	}
	for end := time.Now().Add(patience); l.have.Load() < int64(l.sent) && time.Now().Before(end); {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-l.p.done:
			return fmt.Errorf("the process ended: %v\n%s", l.p.err, l.p.output())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.stop()
	l.wg.Wait()
	l.arrivals = l.arrivals[:l.sent]
	if l.have.Load() == 0 {
		return fmt.Errorf("nothing came back\n%s", l.p.output())
	}
	return nil
}

// close ends what is left.
func (l *live) close() {
	l.stop()
	l.wg.Wait()
	if l.sender != nil {
		l.sender.Close()
	}
	if l.p != nil {
		_ = l.p.stop() // what it did is counted by then
	}
}
