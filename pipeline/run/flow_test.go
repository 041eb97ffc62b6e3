package run

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state/memstore"
)

// TestFlow holds commits up: what waits for them is measured, and the lag goes on
// growing though nothing is fetched. It is all gone when the task is.
func TestFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.NewReplacer("TASKS", "1", "partitions: 3", "partitions: 1").Replace(brittleYAML)
		b, reg := newSimBroker(30), prometheus.NewRegistry()
		c := &simCluster{simBroker: b}
		gauge := func(name string) (v float64) {
			for _, m := range series(t, reg, name) {
				v += m.GetGauge().GetValue()
			}
			return v
		}
		fill := func(n int) {
			for range n {
				b.produce(connectors.TopicPartition{Topic: "a"}, `{"id":"fine"}`)
			}
		}
		s := startSim(t, parse(t, text), c, memstore.New(), Options{Metrics: reg})
		fill(100)
		s.settle()
		time.Sleep(10 * time.Second)
		if lag, rows := gauge("gradstream_source_lag_records"), gauge("gradstream_task_inflight_rows"); lag != 0 || rows != 0 {
			t.Errorf("idle: lag %v, %v rows in flight", lag, rows)
		}
		var records float64
		for _, m := range series(t, reg, "gradstream_source_records_total") {
			records += m.GetCounter().GetValue()
			if m.GetLabel()[0].GetName() != "partition" || m.GetLabel()[0].GetValue() != "0" {
				t.Errorf("records of %v", m.GetLabel())
			}
		}
		if records != 100 {
			t.Errorf("%v records were processed, want 100", records)
		}
		c.hang.Store(true)
		fill(1000)
		time.Sleep(10 * time.Second)
		rows, bytes := gauge("gradstream_task_inflight_rows"), gauge("gradstream_task_inflight_bytes")
		if rows == 0 || rows > 2*64 || bytes < 20*rows {
			t.Errorf("%v rows of %v bytes in flight", rows, bytes)
		}
		before := gauge("gradstream_source_lag_records")
		fill(1000)
		time.Sleep(2 * endsEvery)
		if lag := gauge("gradstream_source_lag_records"); lag < before+1000 {
			t.Errorf("lag %v, then %v after 1000 records more", before, lag)
		}
		s.stop()
		<-s.done
		for _, name := range []string{"task_inflight_rows", "task_inflight_bytes", "task_buffered_records", "task_buffered_bytes", "task_busy_ratio"} {
			if series(t, reg, "gradstream_"+name) != nil {
				t.Errorf("%s is left of a task that has gone", name)
			}
		}
	})
}
