package run

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HistoryState is how far a task has come with files of history.
type HistoryState struct {
	Done int64 `json:"bytes_done"` // of the files
	Size int64 `json:"bytes"`      // of all files
	Rows int64 `json:"rows"`       // that were the task's
}

// share returns how much of the files was read, from 0 to 1.
func (h *HistoryState) share() float64 {
	if h.Size <= 0 {
		return 0
	}
	return min(1, float64(h.Done)/float64(h.Size))
}

// learning tells others how far a task has come with files of history.
type learning struct {
	t     *task
	rows  int64     // of the task before
	at    time.Time // of the last sign of life
	said  time.Time
	last  int64 // rows then
	state HistoryState
}

// sayEvery is how often the log hears of files of history that are being learnt.
const sayEvery = 10 * time.Second

func (t *task) newLearning() *learning {
	now := t.w.now()
	l := &learning{t: t, rows: t.core.engine.V.Rows, at: now, said: now}
	t.busy.Store(now.UnixNano())
	t.learning = l
	return l
}

// progress is called between batches: what was read so far is a sign of life.
func (l *learning) progress(done, size, rows int64) {
	t, now := l.t, l.t.w.now()
	t.busy.Store(now.UnixNano())
	t.flow.worked += now.Sub(l.at)
	l.at = now
	l.state = HistoryState{Done: done, Size: size, Rows: rows - l.rows}
	if d := now.Sub(l.said); d >= sayEvery {
		t.log.Info("learning history", "rows", l.state.Rows, "rows_per_second", int64(float64(l.state.Rows-l.last)/d.Seconds()),
			"share", fmt.Sprintf("%.1f%%", 100*l.state.share()))
		l.said, l.last = now, l.state.Rows
	}
	t.publish(false)
}

// end is called when nothing is read any more.
func (l *learning) end() {
	l.t.busy.Store(0)
	l.t.w.metrics.history.report(l.t.id, &l.state)
	l.t.learning = nil
	l.t.publish(true)
}

// unchanged checks that the files are still those that were asked for: their names
// in the journal are digests of their bytes.
func (t *task) unchanged(ctx context.Context, files []Backfill) error {
	for _, f := range files {
		if f.Sum == nil {
			continue
		}
		sum, err := f.Sum(ctx)
		if err != nil {
			return fmt.Errorf("task %d: %w", t.id, err)
		}
		if sum != f.Digest {
			return fmt.Errorf("task %d: %s changed while it was learnt: its SHA-256 was %x and is %x; start again once nobody writes it", t.id, f.Name, f.Digest, sum)
		}
	}
	return nil
}

// rowsText says how many rows of each source files had.
func rowsText(all []backfilled) string {
	var text []string
	for _, b := range all {
		text = append(text, fmt.Sprintf("%d of source %s", b.Rows, b.Source))
	}
	return strings.Join(text, ", ")
}

// historyMetrics are the gauges of files of history.
type historyMetrics struct{ share, rows *prometheus.GaugeVec }

func newHistoryMetrics(gauge func(name, help string) prometheus.GaugeOpts) historyMetrics {
	return historyMetrics{
		share: prometheus.NewGaugeVec(gauge("backfill_ratio", "Share of the files of history that a task has read so far, from 0 to 1, by bytes."), []string{"task"}),
		rows:  prometheus.NewGaugeVec(gauge("backfill_rows", "Rows of the files of history that a task has learnt so far."), []string{"task"}),
	}
}

func (m *historyMetrics) report(task int, h *HistoryState) {
	id := strconv.Itoa(task)
	m.share.WithLabelValues(id).Set(h.share())
	m.rows.WithLabelValues(id).Set(float64(h.Rows))
}
