package kafka

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// TestOneProducer has the client initialise its id anew in the middle of a step, as
// its own producing does where it is told that a log was trimmed behind what it wrote
// last: what it had sent is aborted, and the rest must not be committed without it.
func TestOneProducer(t *testing.T) {
	e := fake(t)
	l := fenced(t, e.open(t, 1, nil), 0, "open")
	l.out.pub = nil
	mustCommit(t, l, e.step(1, 3, 0))
	e.tear(t, e.name+".out", 0)
	mustCommit(t, l, e.step(2, 3, 0))
	last := mustCommit(t, l, e.step(3, 3, 0))
	equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1, 2, 3}, 3))
	equal(t, "journal", journal(t, l, connectors.Earliest, last), []string{"open", "step 1", "step 2", "step 3"})
}

// tear has a broker answer once, after some produce requests for a topic, that the
// log was trimmed and it has forgotten the producer.
func (e *env) tear(t *testing.T, topic string, skip int) {
	t.Helper()
	c, err := Open(testContext(t), Options{Brokers: []string{e.addr}, Pipeline: e.name})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id, err := c.topicID(testContext(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	e.fake.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		if req.Topics[0].TopicID != id {
			return nil, nil, false
		}
		if skip--; skip != -1 {
			return nil, nil, false
		}
		p := kmsg.NewProduceResponseTopicPartition()
		p.ErrorCode, p.LogStartOffset = kerr.OutOfOrderSequenceNumber.Code, 1000
		topic := kmsg.NewProduceResponseTopic()
		topic.TopicID, topic.Partitions = id, append(topic.Partitions, p)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
}

// Likewise between the outputs, which are sent past the client, and the end.
func TestAuthor(t *testing.T) {
	e := fake(t)
	l := fenced(t, e.open(t, 1, nil), 0, "open")
	if p, err := sendOnly(testContext(t), l, e.step(1, 3, 0)); err != nil {
		t.Fatal(p, err)
	}
	if who, err := l.out.author(testContext(t)); err != nil || who == nobody {
		t.Fatal(who, err)
	}
	l.out.who.epoch-- // as if it had been another
	if _, err := l.out.author(testContext(t)); decide(phaseSend, err) != actResend || !strings.Contains(err.Error(), "goes on with it") {
		t.Errorf("got %v, want the step to be sent again", err)
	}
}

// A transaction in the epoch of the one before has sequences that are used up.
func TestOneEpochATransaction(t *testing.T) {
	e := fake(t)
	l := fenced(t, e.open(t, 1, nil), 0, "open")
	mustCommit(t, l, e.step(1, 3, 0))
	err := l.out.pub.send(testContext(t), l.out.pub.who, e.step(2, 3, 0).Outputs, time.Now())
	if decide(phaseSend, err) != actLost || !strings.Contains(err.Error(), "in the same epoch") {
		t.Errorf("got %v, want it to be refused", err)
	}
}

// A topic that is not known for a moment, after other trouble, is not given up.
func TestUnknownForAMoment(t *testing.T) {
	e := fake(t)
	l := fenced(t, e.open(t, 1, nil), 0, "open")
	out := kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: e.name + ".out", Err: kerr.NotLeaderForPartition, Count: 7}
	again := out
	again.Err, again.Count = kerr.UnknownTopicOrPartition, 2
	h := e.fake.Fault(out, again)
	mustCommit(t, l, e.step(1, 3, 0))
	if h.Hits() != 9 {
		t.Errorf("the faults happened %d times", h.Hits())
	}
	equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1}, 3))
}

// TestSmallTopic publishes to a topic that takes small batches only.
func TestSmallTopic(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		small := e.name + ".small"
		c := e.open(t, 1, func(o *Options) { o.Outputs = []string{e.name + ".out", small} })
		if err := c.Create(testContext(t), []connectors.Topic{{Name: small, Partitions: 1, Config: map[string]string{"max.message.bytes": "3000"}}}); err != nil {
			t.Fatal(err)
		}
		l := fenced(t, c, 0, "open")
		s := e.step(1, 40, 0)
		var all []string
		change(s, func(outs []connectors.Output) {
			for i := range outs {
				outs[i].Topic, outs[i].Value = small, fmt.Appendf(nil, "%d/%01000d", i, i)
				all = append(all, string(outs[i].Value))
			}
		})
		mustCommit(t, l, s)
		equal(t, "outputs", e.committed(t, small, 0), all)
	})
}

// TestTopicMadeAnew deletes an output's topic in the middle of a step, between what
// goes into one partition and into another, and makes it anew: the new one gets all.
func TestTopicMadeAnew(t *testing.T) {
	e := fake(t)
	c := e.open(t, 2, nil)
	l := fenced(t, c, 0, "open")
	l.out.pub.limit = func(string) int { return 300 }
	ctx, out := testContext(t), e.name+".out"
	var once sync.Once
	begun, done := make(chan struct{}), make(chan error, 1)
	h := e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: out, Partitions: []int32{1}, Err: kerr.NotLeaderForPartition, Count: -1,
		When: func(kmsg.Request) bool { once.Do(func() { close(begun) }); return true }})
	go func() {
		<-begun
		_, err := c.adm.DeleteTopics(ctx, out)
		if err == nil {
			_, err = c.adm.CreateTopic(ctx, 2, 1, nil, out)
		}
		h.Remove()
		done <- err
	}()
	s := e.step(1, 40, 0)
	change(s, func(outs []connectors.Output) {
		for i := range outs {
			outs[i].Partition = int32(i / 20)
		}
	})
	mustCommit(t, l, s)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	all := want([]int{1}, 40)
	equal(t, "partition 0", e.committed(t, out, 0), all[:20])
	equal(t, "partition 1", e.committed(t, out, 1), all[20:])
}

// TestOneProducerOfState is TestOneProducer for a checkpoint, which is large.
func TestOneProducerOfState(t *testing.T) {
	e := fake(t)
	l := fenced(t, e.open(t, 1, func(o *Options) { o.MaxInFlight = 100 }), 0, "open")
	e.tear(t, e.name+".state", 2)
	entries := map[string]string{}
	for i := range 6 {
		entries[fmt.Sprint("k", i)] = fmt.Sprintf("%0100d", i)
	}
	if err := l.SaveState(testContext(t), func(yield func(key, value []byte) error) error {
		for _, k := range slices.Sorted(maps.Keys(entries)) {
			if err := yield([]byte(k), []byte(entries[k])); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := fenced(t, e.open(t, 1, nil), 0, "open").LoadState(testContext(t), func(key, value []byte) error {
		got[string(key)] = string(value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, entries) {
		t.Errorf("%d entries of %d: %v", len(got), len(entries), slices.Sorted(maps.Keys(got)))
	}
}

// TestCommitsUnderFaults makes steps of many batches for several partitions while
// brokers answer with errors, before they do what they were asked or after it,
// connections break, and leaders and coordinators move. Whatever happens, a step is
// one transaction: its record, all its outputs, in order, and its position, once.
func TestCommitsUnderFaults(t *testing.T) {
	const partitions, steps = 3, 25
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 17))
			e := fake(t, kfake.NumBrokers(3))
			cut := &cutter{}
			cut.left.Store(0)
			c := e.open(t, partitions, func(o *Options) {
				o.Dialer, o.TransactionTimeout, o.Log = cut.dial, 30*time.Second, nil
			})
			fence := func() *taskLog {
				l := fenced(t, c, 0, "open")
				l.out.pub.limit = func(string) int { return 400 }
				return l
			}
			l := fence()
			var counts []int
			for n := 1; n <= steps; n++ {
				s := e.step(n, 0, 0)
				count := rng.IntN(60)
				counts = append(counts, count)
				for i := range count {
					s.Outputs.Add(e.name+".out", int32(i%partitions), 0, nil, fmt.Appendf(nil, "%d/%d", n, i), nil)
				}
				faults := e.upset(rng, cut)
				at, err := l.Commit(testContext(t), s)
				if err != nil { // the engine fences again, and looks into the journal
					calm(cut, faults)
					if !errors.Is(err, connectors.ErrLost) {
						t.Fatalf("step %d: %v", n, err)
					}
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
					l = fence()
					all := journal(t, l, connectors.Earliest, l.last)
					if !slices.Contains(all, fmt.Sprint("step ", n)) {
						if at, err = l.Commit(testContext(t), s); err != nil {
							t.Fatalf("step %d, after the lock was taken again: %v", n, err)
						}
					}
				}
				calm(cut, faults)
				if err == nil {
					equal(t, "the step by its offset", journal(t, l, at, at), []string{fmt.Sprint("step ", n)})
				}
			}
			e.checkSteps(t, partitions, counts)
		})
	}
}

// calm ends the faults that did not happen.
func calm(cut *cutter, faults []*kfake.FaultHandle) {
	cut.left.Store(0)
	for _, h := range faults {
		h.Remove()
	}
}

// upset prepares one to three faults.
func (e *env) upset(rng *rand.Rand, cut *cutter) (faults []*kfake.FaultHandle) {
	keys := []kmsg.Key{kmsg.Produce, kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.InitProducerID, kmsg.Metadata, kmsg.FindCoordinator}
	errs := map[kmsg.Key][]*kerr.Error{
		kmsg.Produce: {kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.OutOfOrderSequenceNumber,
			kerr.InvalidProducerEpoch, kerr.TransactionAbortable, kerr.ConcurrentTransactions, kerr.UnknownServerError, kerr.UnknownTopicOrPartition,
			kerr.KafkaStorageError, kerr.InvalidTxnState, kerr.CorruptMessage},
		kmsg.TxnOffsetCommit: {kerr.RequestTimedOut, kerr.IllegalGeneration, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.UnknownServerError, kerr.TransactionAbortable},
		kmsg.EndTxn:          {kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.UnknownServerError, kerr.TransactionAbortable, kerr.RequestTimedOut, kerr.InvalidTxnState},
		kmsg.InitProducerID:  {kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorNotAvailable},
		kmsg.Metadata:        {kerr.LeaderNotAvailable},
		kmsg.FindCoordinator: {kerr.CoordinatorNotAvailable},
	}
	for range 1 + rng.IntN(3) {
		key := keys[rng.IntN(len(keys))]
		switch what := rng.IntN(8); {
		case what < 4:
			f := kfake.Fault{Keys: []kmsg.Key{key}, Err: errs[key][rng.IntN(len(errs[key]))], Count: 1 + rng.IntN(2)}
			f.TopLevel = key == kmsg.EndTxn || key == kmsg.InitProducerID
			skip := rng.IntN(5)
			f.When = func(kmsg.Request) bool { skip--; return skip < 0 }
			faults = append(faults, e.fake.Fault(f))
		case what < 6:
			cut.aim(keys[rng.IntN(4)], rng.IntN(2) == 0, int64(rng.IntN(6)), 1+int64(rng.IntN(2)))
		case what < 7:
			e.fake.ShufflePartitionLeaders()
		default:
			e.fake.RehashCoordinators()
		}
	}
	return faults
}

// checkSteps reads everything, and compares who wrote it.
func (e *env) checkSteps(t *testing.T, partitions int, counts []int) {
	t.Helper()
	by, positions := map[string]producer{}, map[string]int64{}
	for _, r := range e.records(t, e.name+".journal", 1) {
		if v := string(r.Value); v != "open" {
			if _, twice := by[v]; twice {
				t.Errorf("%s is there twice", v)
			}
			by[v] = producer{r.ProducerID, r.ProducerEpoch}
			positions[v] = r.Offset
		}
	}
	seen := map[int][]int{} // by partition: step and index
	for _, r := range e.records(t, e.name+".out", partitions) {
		step, index, _ := strings.Cut(string(r.Value), "/")
		if who := (producer{r.ProducerID, r.ProducerEpoch}); by["step "+step] != who {
			t.Errorf("output %s by %v, its journal record by %v", r.Value, who, by["step "+step])
		}
		n, _ := strconv.Atoi(step)
		i, _ := strconv.Atoi(index)
		seen[int(r.Partition)] = append(seen[int(r.Partition)], n*1000+i)
	}
	for p := range partitions {
		var want []int
		for k, count := range counts {
			for i := p; i < count; i += partitions {
				want = append(want, (k+1)*1000+i)
			}
		}
		if !slices.Equal(seen[p], want) {
			t.Errorf("partition %d holds outputs %v\nwant %v", p, seen[p], want)
		}
	}
	for n := 2; n <= len(counts); n++ {
		if a, b := positions[fmt.Sprint("step ", n-1)], positions[fmt.Sprint("step ", n)]; a >= b {
			t.Errorf("step %d at offset %d, step %d at %d", n-1, a, n, b)
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	got, err := kadm.NewClient(cl).FetchOffsets(testContext(t), e.name)
	if at, _ := got.Lookup(e.name+".in", 0); err != nil || at.At != int64(len(counts)) {
		t.Errorf("the group is at %d, %v; want %d", at.At, err, len(counts))
	}
}

// records reads all partitions of a topic with a read_committed client, once no
// transaction is open there.
func (e *env) records(t *testing.T, topic string, partitions int) (all []*kgo.Record) {
	t.Helper()
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ctx := testContext(t)
	c, err := Open(ctx, Options{Brokers: []string{e.addr}, Pipeline: e.name})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for p := range int32(partitions) {
		e.settle(t, topic, p)
		_, end, err := c.bounds(ctx, connectors.TopicPartition{Topic: topic, Partition: p})
		if err != nil {
			t.Fatal(err)
		}
		if end > 0 {
			from[p], left[p] = kgo.NewOffset().At(0), end
		}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.addr), kgo.KeepControlRecords(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s: left %v: %v", topic, left, ctx.Err())
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
	return all
}
