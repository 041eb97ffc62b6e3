package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// demoDrift is a change that a detector has published.
type demoDrift struct {
	Task int
	Row  int64     // of the task
	At   time.Time // event time of the row; zero = unknown
}

// demoTail reads back what the pipeline publishes, as any read_committed consumer
// sees it, from the start of the topics.
type demoTail struct {
	d       *demo
	feed    connectors.Feed
	dec     connectors.Decoder
	rows    *batch.Batch
	id      int
	metrics string // topic that drifts are published to

	mu         sync.Mutex
	seen       []uint8 // how often each id was read
	records    int64
	distinct   int64
	duplicates int64
	latency    []int64 // events by milliseconds from being sent to being read; the last bucket holds the rest
	timed      int64
	last       time.Time // when a prediction was read last
	drifts     []demoDrift
}

const latencyMost = 60_000 // milliseconds

func newDemoTail(ctx context.Context, c *kafka.Cluster, d *demo) (*demoTail, error) {
	out := d.sink.Inputs[0].Output
	t := &demoTail{d: d, rows: batch.New(out), id: out.Lookup("id"), latency: make([]int64, latencyMost+1)}
	var err error
	if t.dec, err = formats.NewDecoder(d.sink.Format, out); err != nil {
		return nil, err
	}
	topics := []string{d.sink.Topic}
	for _, s := range d.p.Sinks {
		if slices.Contains(s.From, "drift") {
			t.metrics = s.Topic
			topics = append(topics, s.Topic)
		}
	}
	_, infos, err := c.Describe(ctx, topics)
	if err != nil {
		return nil, err
	}
	var from []connectors.Position
	for _, info := range infos {
		if info.Missing {
			return nil, fmt.Errorf("topic %q does not exist", info.Name)
		}
		for p := range info.Partitions {
			from = append(from, connectors.Position{TopicPartition: connectors.TopicPartition{Topic: info.Name, Partition: int32(p)}, Next: connectors.Earliest})
		}
	}
	t.feed, err = c.Feed(ctx, from)
	return t, err
}

func (t *demoTail) close() { _ = t.feed.Close() }

// run reads until ctx ends.
func (t *demoTail) run(ctx context.Context) error {
	for {
		f, err := t.feed.Poll(ctx, 4096, nil)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the predictions back: %w", err)
		}
		if f.Topic == t.metrics {
			err = t.takeMetrics(f.Records)
		} else {
			err = t.take(f.Records)
		}
		if err != nil {
			return err
		}
	}
}

// take counts predictions.
func (t *demoTail) take(records []connectors.Record) error {
	now := time.Now().UnixMilli()
	t.rows.Reset()
	for i := range records {
		n, err := t.dec.Decode(records[i].Value, t.rows)
		if err != nil {
			return fmt.Errorf("a prediction read back: %w", err)
		}
		t.rows.N += n
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = time.UnixMilli(now)
	for _, id := range t.rows.Cols[t.id].Ints {
		t.records++
		for int64(len(t.seen)) <= id {
			t.seen = append(t.seen, 0)
		}
		if t.seen[id]++; t.seen[id] == 1 {
			t.distinct++
		} else {
			t.duplicates++
		}
		if at := t.d.feed.sentAt(id); at > 0 {
			t.latency[min(max(0, now-at), latencyMost)]++
			t.timed++
		}
	}
	return nil
}

// takeMetrics looks for drifts among what evaluators and detectors publish.
func (t *demoTail) takeMetrics(records []connectors.Record) error {
	for i := range records {
		var m struct {
			Task int
			Row  int64
			Kind string
		}
		if err := json.Unmarshal(records[i].Value, &m); err != nil {
			return fmt.Errorf("metrics read back: %w", err)
		}
		if m.Kind != "drift" {
			continue
		}
		t.mu.Lock()
		t.drifts = append(t.drifts, demoDrift{Task: m.Task, Row: m.Row})
		t.mu.Unlock()
	}
	return nil
}

// quantile returns the time within which the share q of events was predicted.
func (t *demoTail) quantile(q float64) time.Duration {
	want := int64(q * float64(t.timed))
	for ms, n := range t.latency {
		if want -= n; want < 0 {
			return time.Duration(ms) * time.Millisecond
		}
	}
	return 0
}

// fill adds what was read so far to a snapshot.
func (t *demoTail) fill(s *demoSnapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Predictions, s.Duplicates = t.records, t.duplicates
	s.Missing = max(0, s.Sent-t.distinct)
	s.P50, s.P99 = t.quantile(0.5), t.quantile(0.99)
	for i := range t.drifts {
		// Those of an earlier run may be read before the rows are.
		if f := &t.drifts[i]; f.At.IsZero() && t.d.p.Tasks == 0 { // a task is a partition
			f.At, _ = t.d.feed.timeOf(f.Task, f.Row)
		}
	}
	s.Drifts = slices.Clone(t.drifts)
	if seconds := t.last.Sub(t.d.begun).Seconds(); seconds > 0 {
		s.Mean = float64(t.records-t.d.first) / seconds
	}
}
