package run

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/connectors"
)

// flow is what a task has taken in and not yet got rid of, and how busy it is.
type flow struct {
	rows, bytes atomic.Int64 // of steps that are made and not committed; bytes of their outputs
	worked      time.Duration
	workedAt    time.Time                                           // when worked was last reported
	ends        atomic.Pointer[map[connectors.TopicPartition]int64] // last stable offsets, looked up now and then
}

// buffering is a feed that tells how much it holds.
type buffering interface {
	// Buffered returns how many records were fetched and not yet polled, and about
	// how much memory they take.
	Buffered() (records, bytes int64)
}

// flowMetrics are the gauges of back pressure and of skew.
type flowMetrics struct {
	bufferedRecords, bufferedBytes, inflightRows, inflightBytes, busy *prometheus.GaugeVec
	records                                                           *prometheus.CounterVec // by topic and partition
}

func newFlowMetrics(gauge func(name, help string) prometheus.GaugeOpts, counter func(name, help string) prometheus.CounterOpts) flowMetrics {
	vec := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(gauge(name, help), []string{"task"})
	}
	return flowMetrics{
		records:         prometheus.NewCounterVec(counter("source_records_total", "Records of a source's partition processed and committed: a hot partition has many."), []string{"topic", "partition"}),
		bufferedRecords: vec("task_buffered_records", "Records fetched and not yet processed."),
		bufferedBytes:   vec("task_buffered_bytes", "Memory of the records fetched and not yet processed; reading pauses where it is at its bound."),
		inflightRows:    vec("task_inflight_rows", "Rows of steps that are made and not yet committed."),
		inflightBytes:   vec("task_inflight_bytes", "Bytes of the outputs of steps that are made and not yet committed."),
		busy:            vec("task_busy_ratio", "Share of the last while that the task spent on processing records: near 1, it is the bottleneck."),
	}
}

func (m *flowMetrics) all() []*prometheus.GaugeVec {
	return []*prometheus.GaugeVec{m.bufferedRecords, m.bufferedBytes, m.inflightRows, m.inflightBytes, m.busy}
}

// made counts a step that waits to be committed.
func (t *task) made(s *stepBuffer) {
	t.flow.rows.Add(s.record.Rows)
	t.flow.bytes.Add(int64(s.outputs.bytes))
}

// sent is told that a step is committed.
func (t *task) sent(s *stepBuffer) {
	t.flow.rows.Add(-s.record.Rows)
	t.flow.bytes.Add(-int64(s.outputs.bytes))
	for i, n := range s.taken {
		if p := &t.parts[i]; n > 0 {
			t.w.metrics.flow.records.WithLabelValues(p.Topic, strconv.Itoa(int(p.Partition))).Add(float64(n))
		}
	}
}

// reportFlow publishes the gauges of a task, on its goroutine.
func (t *task) reportFlow(now time.Time) {
	m, id := &t.w.metrics.flow, strconv.Itoa(t.id)
	var records, bytes int64
	if b, ok := t.feed.(buffering); ok {
		records, bytes = b.Buffered()
	}
	for i := range t.parts {
		if f := t.parts[i].pending; f != nil {
			records += int64(len(f.Records))
			for j := range f.Records {
				bytes += int64(len(f.Records[j].Key) + len(f.Records[j].Value))
			}
		}
	}
	m.bufferedRecords.WithLabelValues(id).Set(float64(records))
	m.bufferedBytes.WithLabelValues(id).Set(float64(bytes))
	m.inflightRows.WithLabelValues(id).Set(float64(t.flow.rows.Load()))
	m.inflightBytes.WithLabelValues(id).Set(float64(t.flow.bytes.Load()))
	if d := now.Sub(t.flow.workedAt); !t.flow.workedAt.IsZero() && d > 0 {
		m.busy.WithLabelValues(id).Set(min(1, t.flow.worked.Seconds()/d.Seconds()))
	}
	t.flow.worked, t.flow.workedAt = 0, now
}

// buffer waits for a step's memory to be free: for the commit before the last.
func (t *task) buffer(hard context.Context) (*stepBuffer, error) {
	select {
	case s := <-t.free:
		return s, hard.Err()
	default:
	}
	t.blocked.Store(1)
	defer t.blocked.Store(0)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case s := <-t.free:
			return s, hard.Err()
		case <-hard.Done():
			return nil, hard.Err()
		case <-tick.C:
			t.publish(false)
		}
	}
}

// endOf returns the end of a partition as last seen: by a fetch, or looked up.
func (t *task) endOf(p *taskPartition) int64 {
	if ends := t.flow.ends.Load(); ends != nil {
		return max(p.end, (*ends)[p.TopicPartition])
	}
	return p.end
}

// endsEvery is how often the ends of the partitions are looked up. Fetches bring
// them too, but not for a partition whose reading is paused.
const endsEvery = 5 * time.Second

// followEnds looks up the ends of what the worker reads until ctx ends.
func (w *worker) followEnds(ctx context.Context) {
	tick := time.NewTicker(endsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		var all []*task
		for _, r := range w.tasks {
			all = append(all, r.t)
		}
		w.mu.Unlock()
		var at []connectors.Position
		for _, t := range all {
			for _, p := range t.of.partitionsOf(t.id) {
				at = append(at, connectors.Position{TopicPartition: p.TopicPartition, Next: connectors.Latest})
			}
		}
		if len(at) == 0 {
			continue
		}
		at, err := w.cluster.Resolve(ctx, at)
		if err != nil {
			continue // the lag stays as it was last seen
		}
		ends := make(map[connectors.TopicPartition]int64, len(at))
		for _, p := range at {
			ends[p.TopicPartition] = p.Next
		}
		for _, t := range all {
			t.flow.ends.Store(&ends)
		}
	}
}
