package run

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/pipeline"
)

// metrics are the Prometheus metrics of one pipeline. docs/metrics.md lists them.
type metrics struct {
	rows, outputs      *prometheus.CounterVec
	rejects            *prometheus.CounterVec
	steps, replayed    prometheus.Counter
	lag                *prometheus.GaugeVec
	phase              *prometheus.GaugeVec
	stepDuration       prometheus.Histogram
	commitDuration     prometheus.Histogram
	latency            prometheus.Histogram
	checkpointDuration prometheus.Histogram
	checkpointTime     *prometheus.GaugeVec
	checkpointFailures prometheus.Counter
	operator           *prometheus.GaugeVec
	quarantined        *prometheus.CounterVec
	*remoteMetrics
	flow     flowMetrics
	history  historyMetrics
	accepted *prometheus.CounterVec
}

func newMetrics(p *pipeline.Pipeline, reg prometheus.Registerer) *metrics {
	labels := prometheus.Labels{"pipeline": p.Name}
	fast := prometheus.ExponentialBuckets(0.001, 2, 14) // 1 ms to 8 s
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "gradstream_" + name, Help: help, ConstLabels: labels}
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Name: "gradstream_" + name, Help: help, ConstLabels: labels}
	}
	hist := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: "gradstream_" + name, Help: help, ConstLabels: labels, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100}
	}
	m := &metrics{
		rows:               prometheus.NewCounterVec(counter("rows_total", "Rows processed and committed."), []string{"task"}),
		outputs:            prometheus.NewCounterVec(counter("outputs_total", "Records published and committed, rejected ones included."), []string{"task"}),
		rejects:            prometheus.NewCounterVec(counter("rejected_rows_total", "Records and rows sent to an errors topic and committed, by what rejected them: decode, or the name of an operator."), []string{"task", "by"}),
		steps:              prometheus.NewCounter(counter("steps_total", "Steps committed.")),
		replayed:           prometheus.NewCounter(counter("replayed_steps_total", "Steps replayed to rebuild state.")),
		lag:                prometheus.NewGaugeVec(gauge("source_lag_records", "Offsets between what was processed and the last stable offset."), []string{"topic", "partition"}),
		phase:              prometheus.NewGaugeVec(gauge("task_live", "1 while the task processes new input, else 0."), []string{"task"}),
		stepDuration:       prometheus.NewHistogram(hist("step_duration_seconds", "From a step's first input to its commit.", fast)),
		commitDuration:     prometheus.NewHistogram(hist("commit_duration_seconds", "Length of a step's transaction.", fast)),
		latency:            prometheus.NewHistogram(hist("event_commit_latency_seconds", "From a record's timestamp to the commit of what came of it, for the oldest and the newest record of each step.", prometheus.ExponentialBuckets(0.005, 2, 16))),
		checkpointDuration: prometheus.NewHistogram(hist("checkpoint_duration_seconds", "Time to make a local checkpoint durable.", fast)),
		checkpointTime:     prometheus.NewGaugeVec(gauge("checkpoint_last_success_timestamp_seconds", "Unix time of the last local checkpoint."), []string{"task"}),
		checkpointFailures: prometheus.NewCounter(counter("checkpoint_failures_total", "Local checkpoints that failed.")),
		operator:           prometheus.NewGaugeVec(gauge("operator_value", "Numbers operators report of themselves: metrics of evaluate, loss, version and weights of learners, drifts of detectors."), []string{"node", "type", "task", "name"}),
	}
	m.flow = newFlowMetrics(gauge, counter)
	m.history = newHistoryMetrics(gauge)
	m.accepted = prometheus.NewCounterVec(counter("accepted_losses_total", "Times that a task went on although its state could not be rebuilt or input was gone, as its policy allows."), []string{"policy"})
	m.quarantined = prometheus.NewCounterVec(counter("quarantined_records_total", "Records that are never processed because something failed on them."), []string{"task"})
	m.remoteMetrics = newRemoteMetrics(counter, gauge, hist)
	if reg != nil {
		m.remoteMetrics.register(reg)
		reg.MustRegister(m.quarantined, m.accepted, m.flow.records, m.history.share, m.history.rows)
		for _, g := range m.flow.all() {
			reg.MustRegister(g)
		}
		reg.MustRegister(m.rows, m.outputs, m.rejects, m.steps, m.replayed, m.lag, m.phase, m.stepDuration, m.commitDuration,
			m.latency, m.checkpointDuration, m.checkpointTime, m.checkpointFailures, m.operator)
	}
	return m
}

func (m *metrics) step(t *task, s *stepBuffer, commit time.Duration, now time.Time) {
	task := strconv.Itoa(t.id)
	m.rows.WithLabelValues(task).Add(float64(s.record.Rows))
	m.outputs.WithLabelValues(task).Add(float64(s.record.Outputs))
	for reason, n := range s.rejects {
		m.rejects.WithLabelValues(task, reason).Add(float64(n))
	}
	m.steps.Inc()
	if n := len(s.record.Skips); n > 0 {
		m.quarantined.WithLabelValues(task).Add(float64(n))
	}
	m.commitDuration.Observe(commit.Seconds())
	m.stepDuration.Observe(now.Sub(s.begun).Seconds())
	if s.oldest > 0 {
		m.latency.Observe(max(0, now.Sub(time.UnixMilli(s.oldest)).Seconds()))
		m.latency.Observe(max(0, now.Sub(time.UnixMilli(s.newest)).Seconds()))
	}
}

func (m *metrics) checkpoint(task int, d time.Duration, now time.Time) {
	m.checkpointDuration.Observe(d.Seconds())
	m.checkpointTime.WithLabelValues(strconv.Itoa(task)).Set(float64(now.UnixMilli()) / 1000)
}

func (m *metrics) checkpointFailed() { m.checkpointFailures.Inc() }

func (m *metrics) status(s *TaskStatus) {
	task := strconv.Itoa(s.Task)
	live := 0.0
	if s.Phase == Live.String() {
		live = 1
	}
	m.phase.WithLabelValues(task).Set(live)
	for _, p := range s.Partitions {
		m.lag.WithLabelValues(p.Topic, strconv.Itoa(int(p.Partition))).Set(float64(p.Lag()))
	}
	for _, n := range s.Nodes {
		for _, v := range n.Values {
			if !v.Null {
				m.operator.WithLabelValues(n.Node, n.Type, task, v.Name).Set(v.Number)
			}
		}
	}
}

// forget drops the gauges of a task that this worker no longer has: another one
// speaks for it now.
func (m *metrics) forget(t *task) {
	task := prometheus.Labels{"task": strconv.Itoa(t.id)}
	m.phase.DeletePartialMatch(task)
	for _, g := range m.flow.all() {
		g.DeletePartialMatch(task)
	}
	m.operator.DeletePartialMatch(task)
	m.history.share.DeletePartialMatch(task)
	m.history.rows.DeletePartialMatch(task)
	m.checkpointTime.DeletePartialMatch(task)
	m.remoteMetrics.forget(t)
	for _, p := range t.parts {
		m.lag.DeleteLabelValues(p.Topic, strconv.Itoa(int(p.Partition)))
	}
}
