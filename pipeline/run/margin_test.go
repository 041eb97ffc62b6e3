package run

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state/memstore"
)

// TestRetentionNears: a checkpoint is made before its time when the log's start
// comes near the position of the last remote one, and only then.
func TestRetentionNears(t *testing.T) {
	for _, moves := range []bool{false, true} {
		t.Run(fmt.Sprint(moves), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := parse(t, strings.NewReplacer("BAD", "", "HOW", "error", "partitions: 3", "partitions: 1", "local: 100ms", "local: 100ms, remote: 2h").Replace(oddYAML))
				b, tp, reg := newSimBroker(31), connectors.TopicPartition{Topic: "a"}, prometheus.NewRegistry()
				s := startSim(t, p, &simCluster{simBroker: b}, memstore.New(), Options{Metrics: reg})
				remote := func() uint64 { return s.w.Status()[0].Remote }
				margin := func() float64 {
					all := series(t, reg, "gradstream_replay_margin_records")
					if len(all) != 1 {
						t.Fatalf("margins %v", all)
					}
					return all[0].GetGauge().GetValue()
				}
				first, begun := uint64(0), 0.0
				for minute := range 5 {
					ids(b, "a", 1, 100)
					s.settle()
					if minute == 0 {
						time.Sleep(10 * time.Second)
						ids(b, "a", 1, 1)
						s.settle()
						if first = remote(); first == 0 {
							t.Fatal("the first remote checkpoint is not made at once")
						}
					}
					if minute == 2 {
						begun = margin()
					}
					if moves && minute == 2 {
						b.mu.Lock()
						b.starts[tp] = 60
						b.mu.Unlock()
					}
					time.Sleep(time.Minute)
				}
				ids(b, "a", 1, 1)
				s.settle()
				if last := remote(); (last > first) != moves {
					t.Errorf("the remote checkpoint is of step %d, the first was of %d", last, first)
				}
				if now := margin(); (now > begun) != moves || begun <= 0 {
					t.Errorf("the margin was %v and is %v", begun, now)
				}
				if err := s.end(); err != nil {
					t.Error(err)
				}
				if m, err := readSim(b.remote[0]).check(); err != nil || m.Step != b.outputs[0][len(b.outputs[0])-1].step {
					t.Errorf("stopped with a remote checkpoint of step %d, %v", m.Step, err)
				}
			})
		})
	}
}
