package kafka

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

// BenchmarkCommit commits steps of outputs of 31 bytes with 8-byte keys and a
// header, over four partitions. Client and fake broker share the process, so
// that the latter's time and allocations are in the figures.
func BenchmarkCommit(b *testing.B) {
	for _, outputs := range []int{100, 10_000} {
		for _, where := range []string{"fake", "kafka"} {
			b.Run(fmt.Sprintf("%s/outputs=%d", where, outputs), func(b *testing.B) {
				var e *env
				if where == "fake" {
					e = fake(b, kfake.BrokerConfigs(map[string]string{"log.retention.bytes": "16777216"}))
				} else {
					e = &env{addr: realkafka.Shared(b), name: uniqueName(b)}
				}
				c := e.open(b, 4, nil)
				l := fenced(b, c, 0, "open")
				defer l.Close()
				s := benchStep(e, outputs)
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					if _, err := l.Commit(ctx, s); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*outputs), "ns/output")
			})
		}
	}
}

func benchStep(e *env, outputs int) *connectors.Step {
	s := e.step(1, 0, 0)
	s.Journal = make([]byte, 160)
	for i := range outputs {
		s.Outputs.Add(e.name+".out", int32(i%4), 0, fmt.Appendf(nil, "u%07d", i), fmt.Appendf(nil, `{"id":"e%08d","p":0.12345678}`, i), nil)
	}
	return s
}
