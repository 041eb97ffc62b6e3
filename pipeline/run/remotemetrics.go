package run

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// remoteMetrics are about the state topic.
type remoteMetrics struct {
	remoteDuration prometheus.Histogram
	remoteTime     *prometheus.GaugeVec
	remoteBytes    prometheus.Counter
	remoteFailures prometheus.Counter
	remoteRestores prometheus.Counter
	replayMargin   *prometheus.GaugeVec
}

func newRemoteMetrics(counter func(name, help string) prometheus.CounterOpts, gauge func(name, help string) prometheus.GaugeOpts,
	hist func(name, help string, buckets []float64) prometheus.HistogramOpts) *remoteMetrics {
	return &remoteMetrics{
		remoteDuration: prometheus.NewHistogram(hist("remote_checkpoint_duration_seconds", "Time to copy a checkpoint to the state topic.", prometheus.ExponentialBuckets(0.001, 2, 16))), // to 32 s
		remoteTime:     prometheus.NewGaugeVec(gauge("remote_checkpoint_last_success_timestamp_seconds", "Unix time of the last checkpoint in the state topic."), []string{"task"}),
		remoteBytes:    prometheus.NewCounter(counter("remote_checkpoint_bytes_total", "Bytes of keys and values sent to the state topic, before compression.")),
		remoteFailures: prometheus.NewCounter(counter("remote_checkpoint_failures_total", "Checkpoints that could not be copied to the state topic.")),
		remoteRestores: prometheus.NewCounter(counter("remote_restores_total", "Tasks whose state was taken from the state topic.")),
		replayMargin:   prometheus.NewGaugeVec(gauge("replay_margin_records", "Offsets between the start of a source partition's log and where a restore from the state topic would read."), []string{"topic", "partition"}),
	}
}

func (m *remoteMetrics) register(reg prometheus.Registerer) {
	reg.MustRegister(m.remoteDuration, m.remoteTime, m.remoteBytes, m.remoteFailures, m.remoteRestores, m.replayMargin)
}

// sent notes a remote checkpoint.
func (m *remoteMetrics) sent(task, bytes int, d time.Duration, now time.Time) {
	m.remoteDuration.Observe(d.Seconds())
	m.remoteBytes.Add(float64(bytes))
	m.remoteTime.WithLabelValues(strconv.Itoa(task)).Set(float64(now.UnixMilli()) / 1000)
}

func (m *remoteMetrics) margin(g margin) {
	m.replayMargin.WithLabelValues(g.Topic, strconv.Itoa(int(g.Partition))).Set(float64(g.left()))
}

// forget drops the gauges of a task that this worker no longer has.
func (m *remoteMetrics) forget(t *task) {
	m.remoteTime.DeletePartialMatch(prometheus.Labels{"task": strconv.Itoa(t.id)})
	for _, p := range t.parts {
		m.replayMargin.DeleteLabelValues(p.Topic, strconv.Itoa(int(p.Partition)))
	}
}
