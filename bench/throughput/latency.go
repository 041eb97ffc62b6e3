package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/bench/clicks"
)

// latency is what an open loop found, in milliseconds from the moment an event
// was due to be sent to the moment a read_committed consumer had what came of it.
type latency struct {
	Variant string  `json:"variant"`
	Rate    int     `json:"events_per_second"`
	Events  int     `json:"events"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p999_ms"`
	Max     float64 `json:"max_ms"`
	CPU     float64 `json:"cpu_share_of_a_core"`
	Broker  float64 `json:"broker_cpu_share_of_a_core"`
	Memory  float64 `json:"peak_rss_mib"`
	counted
}

func (l *latency) String() string {
	return fmt.Sprintf("p50 %.0f ms, p99 %.0f ms, p99.9 %.0f ms, max %.0f ms, cpu %.0f %%, broker %.0f %%, %.0f MiB, lost %d, repeated %d",
		l.P50, l.P99, l.P999, l.Max, 100*l.CPU, 100*l.Broker, l.Memory, l.Lost, l.Repeated)
}

// openLoop sends at a constant rate, whatever comes back.
func (h *harness) openLoop(ctx context.Context, variant string) (*latency, error) {
	from := fmt.Sprintf("live-%d", h.serial)
	if err := h.create(ctx, from); err != nil {
		return nil, err
	}
	p, topic, err := h.spawn(ctx, variant, from, "")
	if err != nil {
		return nil, err
	}
	defer p.stop()

	warm := h.rate * h.seconds / 4
	total := warm + h.rate*h.seconds
	arrived := make([]time.Time, total)
	var have atomic.Int64
	reading, stop := context.WithCancel(ctx)
	defer stop()
	reader, err := h.client(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		for {
			fetches := reader.PollFetches(reading)
			now := time.Now()
			if reading.Err() != nil {
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if id, _, ok := parseOutput(r.Value); ok && id < total && arrived[id].IsZero() {
					arrived[id] = now
					have.Add(1)
				}
			})
		}
	})

	send, err := h.client(kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1<<18))
	if err != nil {
		return nil, err
	}
	defer send.Close()
	var failed atomic.Pointer[error]
	emit := func(e clicks.Event) {
		send.Produce(ctx, &kgo.Record{Topic: from, Key: []byte(e.User), Value: bytes.Clone(e.Value)}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	gap := time.Second / time.Duration(h.rate)
	s := clicks.New(2)
	due := func(begun time.Time, i int) time.Time { return begun.Add(time.Duration(i) * gap) }
	var begun, measured time.Time
	var cpu, broker float64
	// The pass-through has a first record only once something was sent; both start
	// with the stream.
	for range 200 {
		if variant == pass || !p.firstRecord().IsZero() {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-p.done:
			return nil, fmt.Errorf("the process ended: %v\n%s", p.err, p.output())
		}
	}
	begun = time.Now()
	for i := range total {
		if i == warm {
			measured, cpu, broker = time.Now(), p.cpu(), h.kafka.CPU()
		}
		if wait := time.Until(due(begun, i)); wait > 0 {
			time.Sleep(max(wait, time.Millisecond)) // several at a time, each late by a millisecond at most
		}
		emit(s.Next())
	}
	took := time.Since(measured).Seconds()
	l := &latency{Variant: variant, Rate: h.rate, CPU: (p.cpu() - cpu) / took, Broker: (h.kafka.CPU() - broker) / took}
	if err := send.Flush(ctx); err != nil {
		return nil, err
	}
	if e := failed.Load(); e != nil {
		return nil, *e
	}
	for end := time.Now().Add(15 * time.Second); have.Load() < int64(total) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	wg.Wait()
	l.Memory = p.peakMemory()
	if err := p.stop(); err != nil {
		return nil, fmt.Errorf("stopping: %w", err)
	}
	var all []float64
	for i := warm; i < total; i++ {
		if !arrived[i].IsZero() {
			all = append(all, arrived[i].Sub(due(begun, i)).Seconds()*1e3)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("nothing came back\n%s", p.output())
	}
	slices.Sort(all)
	q := func(share float64) float64 { return all[min(int(share*float64(len(all))), len(all)-1)] }
	l.Events, l.P50, l.P99, l.P999, l.Max = len(all), q(0.5), q(0.99), q(0.999), all[len(all)-1]
	if l.counted, err = h.count(ctx, topic, total, nil); err != nil {
		return nil, err
	}
	return l, h.drop(ctx, topic)
}
