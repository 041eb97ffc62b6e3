package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/bench/clicks"
	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/feature"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
)

// clickCore makes the core of one task of the throughput benchmark's pipeline.
func clickCore(tb testing.TB, change ...string) *core {
	tb.Helper()
	text, err := os.ReadFile(filepath.FromSlash("../../bench/throughput/clicks.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	p, errs := pipeline.Parse("clicks.yaml", []byte(strings.NewReplacer(change...).Replace(string(text))), pipeline.Options{
		Registry: operators.Merge(&feature.Family, &learn.Family),
	})
	if len(errs) > 0 {
		tb.Fatal(errs)
	}
	c, err := newCore(p, 0, Formats{
		NewDecoder: func(format string, s *batch.Schema) (connectors.Decoder, error) {
			return codec.NewDecoder(format, s, codec.Options{})
		},
		NewEncoder: func(format string, s *batch.Schema) (connectors.Encoder, error) {
			return codec.NewEncoder(format, s, codec.Options{})
		},
		PartitionForKey: kafka.PartitionForKey,
	}, coreOptions{SinkPartitions: func(string) int32 { return 4 }})
	if err != nil {
		tb.Fatal(err)
	}
	part, err := memstore.New().Open(0)
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.bind(part); err != nil {
		tb.Fatal(err)
	}
	return c
}

func clickRecords(n int) []connectors.Record {
	s := clicks.New(1)
	all := make([]connectors.Record, n)
	for i := range all {
		e := s.Next()
		all[i] = connectors.Record{Key: []byte(e.User), Value: append([]byte(nil), e.Value...), Offset: int64(i), Time: int64(i)}
	}
	return all
}

// stepRows is how many rows the steps of the benchmark have: what a task gets
// through in a commit interval.
const stepRows = 16384

var cores = []struct {
	name   string
	change []string
}{
	{"standard", nil},
	{"none", []string{"${SCALE:standard}", "none"}},
	{"headers", []string{"key: user\n    columns", "key: user\n    headers: full\n    columns"}},
}

// feedStep makes one step of the records.
func feedStep(tb testing.TB, c *core, out *outputs, step uint64, recs []connectors.Record) {
	c.begin(int64(step), out)
	for len(recs) > 0 {
		n := min(len(recs), 4*maxBatchRows)
		if _, _, err := c.feed(0, 0, recs[:n], unbounded); err != nil {
			tb.Fatal(err)
		}
		recs = recs[n:]
	}
	if err := c.end(step); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkCore is the work of a task without the broker: decode, vectorize,
// predict, learn, encode, and the outputs' ids and hash.
func BenchmarkCore(b *testing.B) {
	recs := clickRecords(4 * stepRows)
	for _, v := range cores {
		b.Run(v.name, func(b *testing.B) {
			c := clickCore(b, v.change...)
			var out outputs
			step := uint64(0)
			for range 4 { // grow the buffers
				feedStep(b, c, &out, step, recs[:stepRows])
				step++
			}
			b.ReportAllocs()
			b.ResetTimer()
			n := 0
			for i := 0; i < b.N; i += stepRows {
				at := n % (len(recs) / stepRows) * stepRows
				feedStep(b, c, &out, step, recs[at:at+stepRows])
				step++
				n++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*stepRows), "ns/event")
		})
	}
}

// BenchmarkLayers is BenchmarkCore cut off behind one layer after another: the
// differences are what each costs. docs/performance.md has figures.
func BenchmarkLayers(b *testing.B) {
	recs := clickRecords(4 * stepRows)
	drop := func(*batch.Batch) error { return nil }
	for _, v := range []struct {
		name string
		cut  func(c *core)
	}{
		{"decode", func(c *core) { c.inputs[0].next = nil }},
		{"features", func(c *core) { c.nodes[0].Next = drop }},
		{"learn", func(c *core) { c.nodes[1].Next = drop }},
		{"publish", func(*core) {}},
		{"journal", func(*core) {}},
		{"checkpoint", func(*core) {}},
		{"metrics", func(*core) {}},
	} {
		b.Run(v.name, func(b *testing.B) {
			c := clickCore(b)
			v.cut(c)
			part, err := memstore.New().Open(0)
			if err != nil {
				b.Fatal(err)
			}
			if err := c.bind(part); err != nil {
				b.Fatal(err)
			}
			m, now := newMetrics(c.p, prometheus.NewRegistry()), time.Now()
			s := &stepBuffer{begun: now, oldest: 1, newest: 2}
			n := 0
			for b.Loop() {
				at := n % 4 * stepRows
				feedStep(b, c, &s.outputs, uint64(n), recs[at:at+stepRows])
				n++
				switch v.name {
				case "metrics":
					m.step(&task{}, s, 0, now)
					fallthrough
				case "checkpoint":
					if n%checkpointSteps == 0 {
						c.digest()
						commit, err := part.Stage(state.Manifest{Step: uint64(n)})
						if err == nil {
							err = commit(b.Context())
						}
						if err != nil {
							b.Fatal(err)
						}
					}
					fallthrough
				case "journal":
					journalStep(s, uint64(n))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*stepRows), "ns/event")
		})
	}
}

// checkpointSteps is how many steps of stepRows a task makes in the three seconds
// between two local checkpoints, at 150,000 events a second.
const checkpointSteps = 27

// journalStep writes the journal record of a step, as seal does.
func journalStep(s *stepBuffer, step uint64) {
	r := &s.record
	*r = stepRecord{Step: step, Prev: r.Hash, Runs: append(r.Runs[:0], inputRun{Next: int64(step) * stepRows}), Clock: int64(step), Rows: stepRows}
	r.Outputs, r.OutHash = int64(s.outputs.Len()), s.outputs.hash
	s.journal = r.append(s.journal[:0])
}

// TestCoreAllocates nothing for an event once its buffers have grown, from its
// decoding to the journal record of its step. TestBatchAllocates in connectors/kafka goes
// on from there.
func TestCoreAllocates(t *testing.T) {
	recs := clickRecords(stepRows)
	for _, v := range cores {
		t.Run(v.name, func(t *testing.T) {
			c := clickCore(t, v.change...)
			var s stepBuffer
			step := uint64(100)
			run := func() {
				feedStep(t, c, &s.outputs, step, recs)
				journalStep(&s, step)
				step++
			}
			run()
			run()
			if n := testing.AllocsPerRun(3, run); n > 100 { // what else runs may take some
				t.Errorf("a step of %d events allocates %.0f times; expected none for an event", stepRows, n)
			}
			if s.outputs.Len() != stepRows {
				t.Errorf("%d outputs", s.outputs.Len())
			}
		})
	}
}
