package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// testBatch is a batch as brokers store it.
type testBatch struct {
	first   int64
	last    int32 // offset of the last record, relative to the first; 0 = that of the last one here
	time    int64
	max     int64
	attrs   int16
	owner   int64
	epoch   int32
	records []kmsg.Record
	codec   kgo.CompressionCodec
	packed  bool
}

func (b *testBatch) wire(t testing.TB) []byte {
	t.Helper()
	rb := kmsg.RecordBatch{
		FirstOffset: b.first, PartitionLeaderEpoch: b.epoch, Magic: 2, Attributes: b.attrs,
		LastOffsetDelta: b.last, FirstTimestamp: b.time, MaxTimestamp: b.max, ProducerID: b.owner,
		NumRecords: int32(len(b.records)),
	}
	for i := range b.records {
		r := b.records[i]
		if r.OffsetDelta == 0 {
			r.OffsetDelta = int32(i)
		}
		rb.Records = appendRecord(rb.Records, r)
		if b.last == 0 {
			rb.LastOffsetDelta = r.OffsetDelta
		}
	}
	if b.packed {
		pack, err := kgo.DefaultCompressor(b.codec)
		if err != nil {
			t.Fatal(err)
		}
		out, codec := pack.Compress(new(bytes.Buffer), rb.Records)
		rb.Records, rb.Attributes = slices.Clone(out), rb.Attributes|int16(codec)
	}
	return sealBatch(rb.AppendTo(nil))
}

// sealBatch makes length and checksum of a batch fit.
func sealBatch(wire []byte) []byte {
	finishBatch(wire)
	return wire
}

// all reads everything that was fetched.
func all(got fetched) ([]connectors.Record, error) {
	var out []connectors.Record
	seen := ""
	for i := range got.runs {
		var err error
		if out, err = got.runs[i].read(out, 1<<30, &seen); err != nil {
			return out, err
		}
	}
	return out, nil
}

// byClient reads the same with the client's own parser.
func byClient(rp *kmsg.FetchResponseTopicPartition, next int64) (kgo.FetchPartition, int64) {
	return kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: next, IsolationLevel: kgo.ReadCommitted()}, rp, kgo.DefaultDecompressor(), nil)
}

func sameRecords(t testing.TB, got []connectors.Record, want []*kgo.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, the client finds %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Offset != w.Offset || g.Time != w.Timestamp.UnixMilli() || !bytes.Equal(g.Key, w.Key) || !bytes.Equal(g.Value, w.Value) ||
			(g.Key == nil) != (w.Key == nil) || (g.Value == nil) != (w.Value == nil) || len(g.Headers) != len(w.Headers) {
			t.Fatalf("record %d is %+v, the client's %+v", i, g, w)
		}
		for j, h := range w.Headers {
			if g.Headers[j].Key != h.Key || !bytes.Equal(g.Headers[j].Value, h.Value) {
				t.Fatalf("record %d has the header %v, the client's %v", i, g.Headers[j], h)
			}
		}
	}
}

// marker is the batch that ends a transaction.
func markerBatch(first, owner int64, commit bool) testBatch {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	return testBatch{first: first, attrs: attrTxn | attrControl, owner: owner, records: []kmsg.Record{{Key: key, Value: make([]byte, 6)}}}
}

// TestParse compares what is found in logs made at random with what the client finds in
// them: transactions of several producers, committed and aborted, gaps, times of the
// broker, all codecs, a start within a batch, an end cut off.
func TestParse(t *testing.T) {
	codecs := []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	delivered, hidden := 0, 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var log []byte
		var ends []int // of batches in it
		rp := &kmsg.FetchResponseTopicPartition{LastStableOffset: 1 << 40}
		offset := rng.Int64N(5) * 1000
		from := offset
		open := map[int64]int64{} // by producer, where its transaction began
		for range 1 + rng.IntN(20) {
			b := testBatch{first: offset, epoch: int32(rng.IntN(3)), time: 1_700_000_000_000 + rng.Int64N(1e6), owner: rng.Int64N(3)}
			b.max = b.time + rng.Int64N(100)
			if rng.IntN(4) == 0 {
				b.attrs |= attrAppend
			}
			switch begun, in := open[b.owner]; {
			case in && rng.IntN(3) == 0:
				commit := rng.IntN(2) == 0
				b = markerBatch(offset, b.owner, commit)
				if !commit {
					a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
					a.ProducerID, a.FirstOffset = b.owner, begun
					rp.AbortedTransactions = append(rp.AbortedTransactions, a)
				}
				delete(open, b.owner)
			case !in && rng.IntN(5) == 0: // an end of what wrote nothing here
				b = markerBatch(offset, b.owner, rng.IntN(2) == 0)
			default:
				if b.attrs |= attrTxn; !in {
					if rng.IntN(2) == 0 {
						b.attrs &^= attrTxn
					} else {
						open[b.owner] = offset
					}
				}
				delta := int32(0)
				for range rng.IntN(6) { // none: compacted away
					r := kmsg.Record{OffsetDelta: delta, TimestampDelta64: rng.Int64N(50) - 10, Key: randomBytes(rng), Value: randomBytes(rng)}
					for range rng.IntN(3) {
						r.Headers = append(r.Headers, kmsg.Header{Key: []string{"id", "id", "origin", ""}[rng.IntN(4)], Value: randomBytes(rng)})
					}
					b.records = append(b.records, r)
					delta += 1 + int32(rng.IntN(2))*int32(rng.IntN(200))
				}
				b.last = max(delta, 1)
				if rng.IntN(3) == 0 {
					b.packed, b.codec = true, codecs[rng.IntN(len(codecs))]
				}
			}
			log = append(log, b.wire(t)...)
			ends = append(ends, len(log))
			offset += int64(max(b.last, int32(len(b.records)-1))) + 1
		}
		rng.Shuffle(len(rp.AbortedTransactions), func(i, j int) {
			a := rp.AbortedTransactions
			a[i], a[j] = a[j], a[i]
		})
		if cut := rng.IntN(60); len(log)-cut >= ends[0] {
			log = log[:len(log)-cut]
		}
		rp.RecordBatches = log
		next := from + rng.Int64N(offset-from+1)
		want, wantNext := byClient(rp, next)
		p := parser{inflate: kgo.DefaultDecompressor()}
		got, err := p.parse(rp, next)
		if want.Err != nil || err != nil && err != errNoProgress {
			t.Fatalf("seed %d: %v, the client says %v", seed, err, want.Err)
		}
		if (err == errNoProgress) != (wantNext == next) || got.next != wantNext {
			t.Fatalf("seed %d: from %d to %d (%v), the client comes to %d", seed, next, got.next, err, wantNext)
		}
		if n := len(got.runs); n > 0 && got.runs[n-1].next != got.next {
			t.Fatalf("seed %d: the last run ends at %d of %d", seed, got.runs[n-1].next, got.next)
		}
		records, err := all(got)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sameRecords(t, records, want.Records)
		delivered += len(records)
		hidden += len(rp.AbortedTransactions)
	}
	if delivered < 2000 || hidden < 100 {
		t.Errorf("only %d records were delivered, %d transactions aborted", delivered, hidden)
	}
}

func randomBytes(rng *rand.Rand) []byte {
	n := rng.IntN(200) - 20
	if n < 0 {
		return nil
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// Formats before version 2, which brokers still keep in old logs, are read by the client's
// parser and come out the same; batches of version 2 may follow.
func TestParseOldFormats(t *testing.T) {
	v1 := func(offset int64, key, value string) []byte {
		m := kmsg.MessageV1{Offset: offset, Magic: 1, Timestamp: 1_500_000_000_000 + offset, Key: []byte(key), Value: []byte(value)}
		m.MessageSize = int32(len(m.AppendTo(nil)) - 12)
		wire := m.AppendTo(nil)
		binary.BigEndian.PutUint32(wire[12:], crc32.ChecksumIEEE(wire[16:]))
		return wire
	}
	v0 := kmsg.MessageV0{Offset: 3, Key: []byte("old"), Value: []byte("very")}
	v0.MessageSize = int32(len(v0.AppendTo(nil)) - 12)
	oldest := v0.AppendTo(nil)
	binary.BigEndian.PutUint32(oldest[12:], crc32.ChecksumIEEE(oldest[16:]))

	log := slices.Concat(oldest, v1(5, "a", "b"), v1(1<<33, "far", "off"))
	b := testBatch{first: 1<<33 + 1, records: []kmsg.Record{{Value: []byte("new")}}}
	log = append(log, b.wire(t)...)
	rp := &kmsg.FetchResponseTopicPartition{RecordBatches: log}
	for _, next := range []int64{0, 4, 6, 1<<33 + 1} {
		want, wantNext := byClient(rp, next)
		p := parser{inflate: kgo.DefaultDecompressor()}
		got, err := p.parse(rp, next)
		if err != nil || got.next != wantNext {
			t.Fatalf("from %d to %d, the client comes to %d: %v", next, got.next, wantNext, err)
		}
		records, err := all(got)
		if err != nil {
			t.Fatal(err)
		}
		sameRecords(t, records, want.Records)
	}
}

func TestParseRefuses(t *testing.T) {
	good := testBatch{first: 7, records: []kmsg.Record{{Key: []byte("key"), Value: []byte("value")}, {Value: []byte("more")}}}
	for _, c := range []struct {
		name, want string
		spoil      func(wire []byte) []byte
	}{
		{"checksum", "its checksum is", func(w []byte) []byte { w[len(w)-1] ^= 1; return w }},
		{"format", "its format is 3", func(w []byte) []byte { w[batchMagicAt] = 3; return w }},
		{"short", "less than a batch has", func(w []byte) []byte { return sealBatch(w[:batchHeader-1]) }},
		{"negative count", "-1 records", func(w []byte) []byte { binary.BigEndian.PutUint32(w[batchCountAt:], 1<<32-1); return sealBatch(w) }},
		{"count", "1000 records, in", func(w []byte) []byte { binary.BigEndian.PutUint32(w[batchCountAt:], 1000); return sealBatch(w) }},
		{"one more", "malformed", func(w []byte) []byte { binary.BigEndian.PutUint32(w[batchCountAt:], 3); return sealBatch(w) }},
		{"codec", "unknown compression codec", func(w []byte) []byte { w[batchAttrsAt+1] |= 7; return sealBatch(w) }},
		{"packed", "", func(w []byte) []byte { w[batchAttrsAt+1] |= 4; return sealBatch(w) }},
		{"length of a record", "malformed", func(w []byte) []byte { w[batchHeader] = 0x7f; return sealBatch(w) }},
	} {
		// Behind a good batch: that one is delivered.
		first := testBatch{first: 5, records: []kmsg.Record{{Value: []byte("one")}, {Value: []byte("two")}}}
		p := parser{inflate: kgo.DefaultDecompressor()}
		got, err := p.parse(&kmsg.FetchResponseTopicPartition{RecordBatches: append(first.wire(t), c.spoil(good.wire(t))...)}, 5)
		records, damaged := all(got)
		if err == nil {
			err = damaged
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "7") {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(records) < 2 || string(records[1].Value) != "two" {
			t.Errorf("%s: of the batch before %d records came", c.name, len(records))
		}
	}
}

// FuzzParse: whatever brokers send, nothing panics, and what the client reads to the end
// is read the same.
func FuzzParse(f *testing.F) {
	b := testBatch{first: 3, records: []kmsg.Record{{Key: []byte("key"), Value: []byte("value"), Headers: []kmsg.Header{{Key: "h", Value: []byte("x")}}}, {Value: []byte("w")}}}
	f.Add(b.wire(f), int64(0), int64(0))
	m := markerBatch(5, 0, false)
	f.Add(append(b.wire(f), m.wire(f)...), int64(4), int64(3))
	f.Add(fmt.Append(nil, "no batch at all, but long enough"), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, wire []byte, next, aborted int64) {
		// Checksums made to fit, or nothing would ever get past them.
		for in := wire; len(in) >= batchHeader; {
			n := int64(int32(binary.BigEndian.Uint32(in[batchLengthAt:]))) + batchEpochAt
			if n < batchHeader || n > int64(len(in)) {
				break
			}
			binary.BigEndian.PutUint32(in[batchSumAt:], crc32.Checksum(in[batchAttrsAt:n], castagnoli))
			if in[batchAttrsAt+1]&attrCodec != 0 {
				in[batchAttrsAt+1] &^= attrCodec // the codecs are the client's
				binary.BigEndian.PutUint32(in[batchSumAt:], crc32.Checksum(in[batchAttrsAt:n], castagnoli))
			}
			in = in[n:]
		}
		rp := &kmsg.FetchResponseTopicPartition{RecordBatches: wire}
		if aborted > 0 {
			rp.AbortedTransactions = append(rp.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{FirstOffset: aborted})
		}
		next = max(next, 0)
		p := parser{inflate: kgo.DefaultDecompressor()}
		got, err := p.parse(rp, next)
		records, damaged := all(got)
		want, wantNext := byClient(rp, next)
		if err != nil || damaged != nil || want.Err != nil || wantNext != got.next {
			return // each has its own way to refuse; see TestParseRefuses
		}
		for i := 1; i < len(records); i++ {
			if records[i].Offset <= records[i-1].Offset {
				return // the client drops the later one; no broker stores such a batch
			}
		}
		sameRecords(t, records, want.Records)
	})
}
