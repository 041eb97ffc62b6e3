package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// TestBatch lets the client library decode batches of random records.
func TestBatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(most int) []byte {
		if rng.IntN(5) == 0 {
			return nil
		}
		b := make([]byte, rng.IntN(most))
		for i := range b {
			b[i] = byte('a' + rng.IntN(4))
		}
		return b
	}
	const now = 1_700_000_000_000
	for _, codec := range []string{"none", "lz4", "snappy", "zstd"} {
		for _, limit := range []int{1, 300, 1 << 20} {
			t.Run(fmt.Sprint(codec, " ", limit), func(t *testing.T) {
				var o connectors.Outputs
				if limit != 300 {
					o.Identify("id", []byte("7/8/"))
				}
				for i := range 400 {
					var headers []connectors.Header
					for range rng.IntN(3) {
						headers = append(headers, connectors.Header{Key: string(random(9)), Value: random(200)})
					}
					at := int64(0)
					if i%3 > 0 {
						at = now + rng.Int64N(1<<40) - 1<<20
					}
					o.Add("t", 0, at, random(90), random(9000), headers)
				}
				c, err := compression(codec)
				if err != nil {
					t.Fatal(err)
				}
				s, err := newSqueezer(c)
				if err != nil {
					t.Fatal(err)
				}
				var b recordBatch
				id, read := identityOf(&o, nil), 0
				check := func() {
					t.Helper()
					b.seal(producer{5, 6}, 7, s)
					if len(b.buf) > limit && b.n > 1 {
						t.Fatalf("a batch of %d bytes", len(b.buf))
					}
					for i, r := range decodeBatch(t, b.wire) {
						want := o.At(read + i)
						if want.Time == 0 {
							want.Time = now
						}
						var headers []connectors.Header
						for _, h := range r.Headers {
							headers = append(headers, connectors.Header(h))
						}
						got := connectors.Record{Key: r.Key, Value: r.Value, Headers: headers, Time: r.Timestamp.UnixMilli()}
						if !same(&got, &want.Record) || r.Offset != int64(i) || r.ProducerID != 5 || r.ProducerEpoch != 6 || !r.Attrs.IsTransactional() {
							t.Fatalf("record %d comes out as\n%+v, want\n%+v", read+i, got, want.Record)
						}
					}
					read += int(b.n)
					b.reset()
				}
				b.reset()
				var x connectors.Packed
				for i := range o.Len() {
					o.Packed(i, &x)
					if !b.add(&x, i, &id, now, limit) {
						check()
						b.add(&x, i, &id, now, limit)
					}
				}
				if check(); read != o.Len() {
					t.Errorf("%d records of %d", read, o.Len())
				}
			})
		}
	}
}

// TestStored looks at what is stored in a frame of LZ4 and what goes plainly; that both
// can be read is for TestBatch to see, and for the broker tests.
func TestStored(t *testing.T) {
	for _, c := range []struct {
		records, size int
		stored        bool
	}{{1, 10, false}, {2, 10, true}, {1000, 100, true}, {2, 490_000, true}, {2, 510_000, false}, {1, 900_000, false}} {
		var o connectors.Outputs
		for range c.records {
			o.Add("t", 0, 0, nil, make([]byte, c.size), nil)
		}
		var b recordBatch
		var id identity
		for range 2 { // with memory that is used again, too
			b.reset()
			var x connectors.Packed
			for i := range c.records {
				o.Packed(i, &x)
				if !b.add(&x, i, &id, 1, 1<<20) {
					t.Fatal("the batch is full")
				}
			}
			b.seal(producer{5, 6}, 7, nil)
			if codec := b.wire[22] & 7; (codec == codecLZ4) != c.stored || codec != codecLZ4 && codec != 0 {
				t.Errorf("%d records of %d bytes: codec %d", c.records, c.size, codec)
			}
			if n := len(decodeBatch(t, b.wire)); n != c.records {
				t.Errorf("%d records of %d bytes: %d come out", c.records, c.size, n)
			}
		}
	}
}

// TestBatchAllocates nothing for a record on the way from a step's outputs to what
// the client library is given.
func TestBatchAllocates(t *testing.T) {
	o := clickOutputs(10_000)
	for _, codec := range []string{"none", "snappy"} {
		t.Run(codec, func(t *testing.T) {
			encode := encoder(t, codec)
			encode(o)
			if n := testing.AllocsPerRun(3, func() { encode(o) }); n > 100 { // what else runs may take some
				t.Errorf("%d records take %.0f allocations; expected none for a record", o.Len(), n)
			}
		})
	}
}

// BenchmarkBatch is what an output costs between the step and the client library.
func BenchmarkBatch(b *testing.B) {
	o := clickOutputs(16384)
	for _, codec := range []string{"none", "snappy", "lz4", "zstd"} {
		b.Run(codec, func(b *testing.B) {
			encode := encoder(b, codec)
			bytes := 0
			b.ReportAllocs()
			for b.Loop() {
				bytes = encode(o)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*o.Len()), "ns/output")
			b.ReportMetric(float64(bytes)/float64(o.Len()), "B/output")
		})
	}
}

// clickOutputs are outputs as the throughput benchmark's.
func clickOutputs(n int) *connectors.Outputs {
	o := &connectors.Outputs{}
	o.Identify("gs-id", []byte("0/123/"))
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range n {
		o.Add("clicks.predictions", 0, 1_700_000_000_000, fmt.Appendf(nil, "u%d", rng.IntN(20_000)),
			fmt.Appendf(nil, `{"id":"e%08d","p":%.8f}`, i, rng.Float64()), nil)
	}
	return o
}

// encoder returns what makes batches of outputs of one partition, and says how large
// they are together.
func encoder(tb testing.TB, codec string) func(o *connectors.Outputs) int {
	c, err := compression(codec)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := newSqueezer(c)
	if err != nil {
		tb.Fatal(err)
	}
	var b recordBatch
	var id identity
	return func(o *connectors.Outputs) (size int) {
		id = identityOf(o, id.encoded)
		b.reset()
		var x connectors.Packed
		for i := range o.Len() {
			o.Packed(i, &x)
			if !b.add(&x, i, &id, 0, enoughBatch) {
				b.seal(producer{1, 2}, 3, s)
				size += len(b.wire)
				b.reset()
				b.add(&x, i, &id, 0, enoughBatch)
			}
		}
		b.seal(producer{1, 2}, 3, s)
		return size + len(b.wire)
	}
}

// same compares records; a nil key or value is not an empty one.
func same(a, b *connectors.Record) bool {
	bytesToo := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	return bytesToo(a.Key, b.Key) && bytesToo(a.Value, b.Value) && a.Time == b.Time &&
		slices.EqualFunc(a.Headers, b.Headers, func(a, b connectors.Header) bool { return a.Key == b.Key && bytesToo(a.Value, b.Value) })
}

func decodeBatch(t *testing.T, wire []byte) []*kgo.Record {
	t.Helper()
	if got := int(binary.BigEndian.Uint32(wire[53:])); got != 7 {
		t.Fatalf("sequence %d", got)
	}
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.RecordBatches, rp.HighWatermark = wire, 1<<20
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "t"}, &rp, kgo.DefaultDecompressor(), nil)
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	return got.Records
}

// What a broker says of outputs, after the journal record was taken, is healed: by
// sending a batch again, or the step.
func TestResendOutputs(t *testing.T) {
	for _, c := range []struct {
		err   *kerr.Error
		count int
	}{
		{kerr.InvalidProducerEpoch, 1}, {kerr.TransactionAbortable, 1}, {kerr.OutOfOrderSequenceNumber, 2},
		{kerr.NotLeaderForPartition, 3}, {kerr.RequestTimedOut, 2}, {kerr.NotEnoughReplicasAfterAppend, 1},
		{kerr.ConcurrentTransactions, 3}, {kerr.UnknownTopicOrPartition, 2}, {kerr.UnknownTopicID, 2}, {kerr.UnknownServerError, 1},
	} {
		t.Run(c.err.Message, func(t *testing.T) {
			e := fake(t)
			l := fenced(t, e.open(t, 1, nil), 0, "open")
			mustCommit(t, l, e.step(1, 3, 0))
			h := e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: e.name + ".out", Err: c.err, Count: c.count})
			mustCommit(t, l, e.step(2, 3, 0))
			if h.Hits() != c.count {
				t.Fatalf("the fault happened %d times", h.Hits())
			}
			mustCommit(t, l, e.step(3, 3, 0))
			equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1, 2, 3}, 3))
		})
	}
	t.Run("not allowed", func(t *testing.T) {
		e := fake(t)
		l := fenced(t, e.open(t, 1, nil), 0, "open")
		e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: e.name + ".out", Err: kerr.TopicAuthorizationFailed})
		_, err := l.Commit(testContext(t), e.step(1, 1, 0))
		if err == nil || !strings.Contains(err.Error(), e.name+".out partition 0") || !strings.Contains(err.Error(), "lacks Read, Write") {
			t.Errorf("got %v; want it to name the partition", err)
		}
	})
	t.Run("a broker that never takes them", func(t *testing.T) {
		e := fake(t)
		l := fenced(t, e.open(t, 1, nil), 0, "open")
		l.out.pub.expire = time.Millisecond
		h := e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: e.name + ".out", Err: kerr.NotEnoughReplicas, Count: 20})
		mustCommit(t, l, e.step(1, 3, 0)) // the step is given up and sent again until it is taken
		if h.Hits() != 20 {
			t.Errorf("the fault happened %d times", h.Hits())
		}
		equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1}, 3))
	})
}

// TestSpreadOutputs publishes to partitions of several brokers that change places.
func TestSpreadOutputs(t *testing.T) {
	const partitions, outputs = 7, 400
	e := fake(t, kfake.NumBrokers(3))
	l := fenced(t, e.open(t, partitions, nil), 0, "open")
	for n := 1; n <= 6; n++ {
		s := e.step(n, 0, 0)
		for i := range outputs {
			s.Outputs.Add(e.name+".out", int32(i%partitions), 0, nil, fmt.Appendf(nil, "%d/%d", n, i), nil)
		}
		mustCommit(t, l, s)
		if n%2 == 0 {
			e.fake.ShufflePartitionLeaders()
		}
	}
	for p := range int32(partitions) {
		var all []string
		for n := 1; n <= 6; n++ {
			for i := int(p); i < outputs; i += partitions {
				all = append(all, fmt.Sprintf("%d/%d", n, i))
			}
		}
		equal(t, fmt.Sprint("partition ", p), e.committed(t, e.name+".out", p), all)
	}
}

// TestLongStep sends a step in several batches a partition, with and without
// compression, and again after it was cut off in the middle.
func TestLongStep(t *testing.T) {
	for _, codec := range []string{"none", "snappy"} {
		t.Run(codec, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				l := fenced(t, e.open(t, 1, func(o *Options) { o.Compression = codec }), 0, "open")
				step := func(n int) *connectors.Step {
					s := e.step(n, 0, 0)
					for i := range 3000 {
						s.Outputs.Add(e.name+".out", 0, 0, nil, fmt.Appendf(nil, "%d/%d/%01000d", n, i, i), nil)
					}
					return s
				}
				mustCommit(t, l, step(1))
				if e.fake != nil {
					n := 0
					h := e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: e.name + ".out", Err: kerr.TransactionAbortable,
						When: func(kmsg.Request) bool { n++; return n == 3 }})
					mustCommit(t, l, step(2))
					if h.Hits() != 1 {
						t.Errorf("the fault happened %d times", h.Hits())
					}
				} else {
					mustCommit(t, l, step(2))
				}
				var all []string
				for n := 1; n <= 2; n++ {
					for i := range 3000 {
						all = append(all, fmt.Sprintf("%d/%d/%01000d", n, i, i))
					}
				}
				if got := e.committed(t, e.name+".out", 0); !slices.Equal(got, all) {
					t.Errorf("%d outputs, want %d, each in its place", len(got), len(all))
				}
			})
		})
	}
}
