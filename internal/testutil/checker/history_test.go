package checker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/zeebo/xxh3"
	"go.uber.org/goleak"

	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(realkafka.WaitGoroutine))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendRuns(dst []byte, runs []Run) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	for _, r := range runs {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(r.Source)), uint64(r.Partition))
		dst = binary.AppendVarint(dst, r.Next)
	}
	return dst
}

// encodeStep writes a step as docs/format/journal.md says, and sets its hash.
func encodeStep(s *Step) []byte {
	version := byte(1)
	if len(s.Skips) > 0 || s.Remote > 0 {
		version = 2
	}
	b := binary.AppendUvarint([]byte{version, 's'}, s.N)
	b = append(b, s.Prev[:]...)
	b = binary.AppendVarint(binary.AppendVarint(b, s.Clock), s.Watermark)
	b = appendRuns(b, s.Runs)
	for _, n := range []int64{s.Rows, s.Rejected, s.Outputs} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint64(b, s.OutHash)
	if s.HasDigest {
		b = binary.LittleEndian.AppendUint64(append(b, 1), s.Digest)
	} else {
		b = append(b, 0)
	}
	var fields []byte
	n := byte(0)
	if len(s.Skips) > 0 {
		f := binary.AppendUvarint(nil, uint64(len(s.Skips)))
		for _, k := range s.Skips {
			f = binary.AppendVarint(binary.AppendUvarint(binary.AppendUvarint(f, uint64(k.Source)), uint64(k.Partition)), k.Offset)
			f = appendText(appendText(appendText(f, k.Operator), k.Reason), k.Stack)
		}
		fields = append(binary.AppendUvarint([]byte{1}, uint64(len(f))), f...)
		n++
	}
	if s.Remote > 0 {
		f := binary.AppendUvarint(nil, s.Remote)
		fields = append(append(fields, 2, byte(len(f))), f...)
		n++
	}
	if n > 0 {
		b = append(append(b, n), fields...)
	}
	s.Hash = sha256.Sum256(b)
	return append(b, s.Hash[:]...)
}

// encodeAccepted writes an accepted loss.
func encodeAccepted(a *Accepted) []byte {
	b := appendText(appendText([]byte{2, 'a'}, a.Policy), a.Reason)
	b = append(binary.AppendUvarint(b, a.Step), a.Hash[:]...)
	b = appendRuns(binary.AppendVarint(binary.AppendUvarint(b, a.Base), a.Clock), a.Positions)
	b = binary.AppendUvarint(b, uint64(len(a.Lost)))
	for _, l := range a.Lost {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(l.Source)), uint64(l.Partition))
		b = binary.AppendVarint(binary.AppendVarint(b, l.From), l.Next)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func encodeOpen(o *Open) []byte {
	b := []byte{1, 'o'}
	for _, s := range []string{o.Incarnation, o.Worker, o.Host, o.Build, o.Arch, o.Cluster} {
		b = appendText(b, s)
	}
	b = append(b, o.Graph[:]...)
	b = binary.AppendUvarint(b, uint64(len(o.Sources)))
	for _, s := range o.Sources {
		b = appendText(appendText(b, s.Name), s.Topic)
		b = append(b, s.ID[:]...)
		b = binary.AppendUvarint(b, uint64(s.Partitions))
	}
	b = appendRuns(b, o.Positions)
	if len(o.Sinks) == 0 && !o.Adopts {
		return b
	}
	b[0] = 2
	if len(o.Sinks) == 0 {
		return append(b, 1, 2, 0)
	}
	f := binary.AppendUvarint(nil, uint64(len(o.Sinks)))
	for _, s := range o.Sinks {
		f = binary.AppendUvarint(appendText(f, s.Topic), uint64(s.Partitions))
	}
	fields := byte(1)
	if o.Adopts {
		fields, f = 2, append(f, 2, 0)
	}
	size := len(f) - 2*int(fields-1)
	return append(binary.AppendUvarint(append(b, fields, 1), uint64(size)), f...)
}

// act is one transaction of a made-up engine: a task's opening, or a step of it.
type act struct {
	task int
	who  string // transactional id; "" writes without a transaction
	open *Open
	step *Step // nil with outs: outputs alone
	outs []*kgo.Record

	// How it is broken.
	keepCount bool                  // the journal counts and hashes the outputs as they were made
	prev      *[32]byte             // instead of the hash of the step before
	bytes     func(b []byte) []byte // changes the journal's bytes
	split     bool                  // outputs in one transaction, the record in another
	noEnd     bool                  // the next act goes on in the same transaction
	hang      bool                  // the transaction is never ended
}

// history is what a pipeline of two tasks leaves in its topics: source "in" with two partitions, sink "out" with two, errors
// "p.errors" with one.
type history struct {
	in      [2][]string // values of the source
	acts    []*act
	offsets [2]int64
	meta    [2]string // "": the right one
	id      [16]byte
}

const perPartition = 12

// poisonous says which values do not decode.
func poisonous(v string) bool { return strings.HasSuffix(v, "5") }

// healthy is a history without fault: each task reads 12 records in 3 steps of 4, with a takeover behind the first.
func healthy(id [16]byte) *history {
	h := &history{id: id}
	for task := range 2 {
		for k := range perPartition {
			h.in[task] = append(h.in[task], fmt.Sprintf("v%d-%d", task, k))
		}
		h.acts = append(h.acts, h.opening(task, "first"))
		for n := range 3 {
			if n == 1 {
				h.acts = append(h.acts, h.opening(task, "second"))
			}
			h.acts = append(h.acts, h.stepping(task, n))
		}
		h.offsets[task] = perPartition
	}
	return h
}

func txnID(task int) string { return fmt.Sprintf("p/%d/out", task) }

func (h *history) opening(task int, incarnation string) *act {
	return &act{task: task, who: txnID(task), open: &Open{Incarnation: incarnation, Worker: "w", Arch: "amd64",
		Sources:   []OpenSource{{Name: "s", Topic: "in", ID: h.id, Partitions: 2}},
		Positions: []Run{{0, int32(task), 0}}}}
}

func (h *history) stepping(task, n int) *act {
	a := &act{task: task, who: txnID(task), step: &Step{N: uint64(n + 1), Clock: int64(1000 + n), Runs: []Run{{0, int32(task), int64(4*n + 2)}, {0, int32(task), int64(4 * (n + 1))}}}}
	var bad []*kgo.Record
	index := 0
	id := func() kgo.RecordHeader {
		index++
		return kgo.RecordHeader{Key: headerID, Value: fmt.Appendf(nil, "%d/%d/%d", task, n+1, index-1)}
	}
	for k := 4 * n; k < 4*(n+1); k++ {
		v := h.in[task][k]
		if poisonous(v) {
			a.step.Rejected++
			bad = append(bad, &kgo.Record{Topic: "p.errors", Key: []byte("k"), Value: []byte(v), Headers: []kgo.RecordHeader{
				{}, {Key: "own", Value: []byte("x")},
				{Key: "__connect.errors.topic", Value: []byte("in")},
				{Key: "__connect.errors.partition", Value: fmt.Append(nil, task)},
				{Key: "__connect.errors.offset", Value: fmt.Append(nil, k)},
				{Key: "__connect.errors.stage", Value: []byte("VALUE_CONVERTER")},
			}})
			continue
		}
		a.step.Rows++
		a.outs = append(a.outs, &kgo.Record{Topic: "out", Partition: int32(k % 2), Key: []byte("k"), Value: []byte(v), Headers: []kgo.RecordHeader{id()}})
	}
	for _, r := range bad {
		r.Headers[0] = id()
		a.outs = append(a.outs, r)
	}
	return a
}

// find returns the act of a task's step.
func (h *history) find(task, n int) *act {
	return h.acts[h.at(task, n)]
}

func (h *history) at(task, n int) int {
	return slices.IndexFunc(h.acts, func(a *act) bool { return a.task == task && a.step != nil && a.step.N == uint64(n) })
}

func hashOf(outs []*kgo.Record) uint64 {
	var b []byte
	for _, o := range outs {
		b = append(b, o.Topic...)
		b = binary.LittleEndian.AppendUint32(b, uint32(o.Partition))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(o.Key)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(o.Value)))
		b = append(append(b, o.Key...), o.Value...)
	}
	return xxh3.Hash(b)
}

// world is a broker with the topics.
type world struct {
	t     *testing.T
	ctx   context.Context
	addrs []string
	cls   map[string]*kgo.Client
	id    [16]byte
}

func newWorld(t *testing.T) *world {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in", "out", "p.journal"), kfake.SeedTopics(1, "p.errors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, addrs: k.ListenAddrs(), cls: map[string]*kgo.Client{}}
	topics, err := kadm.NewClient(w.client("")).ListTopics(ctx, "in")
	if err != nil {
		t.Fatal(err)
	}
	w.id = topics["in"].ID
	return w
}

// client returns the producer of a transactional id. Asked for again behind "!", it is a new one, which fences the old.
func (w *world) client(who string) *kgo.Client {
	if cl := w.cls[who]; cl != nil {
		return cl
	}
	id, _, _ := strings.Cut(who, "!")
	opts := []kgo.Opt{kgo.SeedBrokers(w.addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ManualFlushing(), kgo.ConcurrentTransactionsBackoff(time.Millisecond),
		// However slow the machine is: nothing is sent again, and no transaction ends by itself.
		// Nor is anything sent before what precedes it is there: a broker that still writes the markers of the last
		// transaction refuses a first batch, to be sent again, and then the second for its sequence.
		kgo.MaxProduceRequestsInflightPerBroker(1),
		kgo.RequestTimeoutOverhead(5 * time.Minute), kgo.ProduceRequestTimeout(5 * time.Minute), kgo.TransactionTimeout(10 * time.Minute)}
	if id != "" {
		opts = append(opts, kgo.TransactionalID(id))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(cl.Close)
	w.cls[who] = cl
	return cl
}

// play writes the history to the broker.
func (w *world) play(h *history) {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	produce := func(cl *kgo.Client, recs ...*kgo.Record) {
		w.t.Helper()
		for _, r := range recs {
			cl.Produce(w.ctx, r, func(_ *kgo.Record, err error) {
				if err != nil {
					w.t.Error(err)
				}
			})
		}
		must(cl.Flush(w.ctx))
	}
	plain := w.client("")
	for p, values := range h.in {
		for _, v := range values {
			produce(plain, &kgo.Record{Topic: "in", Partition: int32(p), Key: []byte("k"), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "own", Value: []byte("x")}}})
		}
	}
	var last [2]Step
	begun := map[string]bool{}
	for _, a := range h.acts {
		if a.open != nil && w.cls[a.who] != nil {
			w.cls[a.who].Close() // taken over: a new client fences the old one
			delete(w.cls, a.who)
		}
		cl := w.client(a.who)
		var journal *kgo.Record
		switch {
		case a.open != nil:
			journal = &kgo.Record{Topic: "p.journal", Partition: int32(a.task), Value: encodeOpen(a.open)}
		case a.step != nil:
			s := *a.step
			s.Prev = last[a.task].Hash
			if a.prev != nil {
				s.Prev = *a.prev
			}
			if !a.keepCount {
				s.Outputs, s.OutHash = int64(len(a.outs)), hashOf(a.outs)
			}
			journal = &kgo.Record{Topic: "p.journal", Partition: int32(a.task), Value: encodeStep(&s)}
			last[a.task] = s
		}
		if journal != nil && a.bytes != nil {
			journal.Value = a.bytes(journal.Value)
		}
		end := func() {
			must(cl.EndTransaction(w.ctx, kgo.TryCommit))
			begun[a.who] = false
		}
		begin := func() {
			if a.who != "" && !begun[a.who] {
				must(cl.BeginTransaction())
				begun[a.who] = true
			}
		}
		begin()
		produce(cl, a.outs...)
		if a.split {
			end()
			begin()
		}
		if journal != nil {
			produce(cl, journal)
		}
		if a.who != "" && !a.noEnd && !a.hang {
			end()
		}
	}
	var group kadm.Offsets
	for p, at := range h.offsets {
		meta := h.meta[p]
		if meta == "" {
			meta = fmt.Sprintf("%d %x", last[p].N, last[p].Hash[:8])
		}
		group.Add(kadm.Offset{Topic: "in", Partition: int32(p), At: at, LeaderEpoch: -1, Metadata: meta})
	}
	must(kadm.NewClient(plain).CommitAllOffsets(w.ctx, "p", group))
}

func (w *world) options() Options {
	value := func(r *kgo.Record) (string, bool) { return string(r.Value), true }
	return Options{
		Brokers: w.addrs, Pipeline: "p", Sources: []Source{{Name: "s", Topic: "in"}}, Outputs: []string{"out"}, Drained: true,
		Poison: func(r *kgo.Record) int {
			if poisonous(string(r.Value)) {
				return 1
			}
			return 0
		},
		IDs: []IDs{{Source: "s", Output: "out", In: value, Of: func(r *kgo.Record) (string, bool) { return string(r.Value), !poisonous(string(r.Value)) }}},
	}
}
