package run_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/state/memstore"
)

// TestVanish lets the brokers vanish in the middle of a replay that has read a part
// of its input: it ends with one line.
func TestVanish(t *testing.T) {
	p := load(t, strings.Replace(clicks, "commit: {", "commit: {rows: 100, ", 1), "TASKS", "1", "PARTITIONS", "1", "LOCAL", "1h")
	pad := append([]byte(`{"pad":"`), bytes.Repeat([]byte("x"), 8<<10)...)
	all := events(1000, false)
	for i, v := range all { // more than is fetched at once
		all[i] = append(append(bytes.Clone(pad), `",`...), v[1:]...)
	}
	c := newCluster(t, p, all)
	l, err := c.startOn(memstore.New(), run.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.await(1, 1000)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	past, err := kafka.Open(t.Context(), kafka.Options{Brokers: c.addrs, Pipeline: p.Name, Log: logger(t), FeedBytes: 1, GiveUp: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close()
	step := uint64(0)
	_, err = c.rebuild(past, run.RebuildOptions{Progress: func(at run.RebuildProgress) {
		if step++; step == 1 {
			_ = c.e.Close()
		}
	}})
	if err == nil || !strings.Contains(err.Error(), "reading clicks: Kafka at ") || !strings.Contains(err.Error(), "given up after 3s") || strings.Contains(err.Error(), "\n") {
		t.Errorf("behind step %d: %v", step, err)
	}
}
