package kafka

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// metaOf is the Meta of the steps of env.step.
func metaOf(record []byte) (string, error) {
	if n, ok := strings.CutPrefix(string(record), "step "); ok {
		return "meta " + n, nil
	}
	return "", nil
}

// TestFates decides by what the journal, the coordinator and the group hold.
func TestFates(t *testing.T) {
	t.Parallel()
	if err := newFates(0).record(&kgo.Record{Value: []byte("step 1")}); err == nil {
		t.Error("takes records that it cannot recognise")
	}
	f := newFates(0)
	if err := f.record(&kgo.Record{Key: []byte(dropKey), ProducerEpoch: 4}); err != nil || len(f.open) != 1 || !f.open[0].drop {
		t.Errorf("a record that was written to be aborted: %v, %v", f.open, err)
	}
	step := func(epoch int16, n int) journaled {
		return journaled{epoch: epoch, offset: 20, meta: fmt.Sprint("meta ", n)}
	}
	owner := func(epoch int16) journaled { return journaled{epoch: epoch, offset: 21} }
	drop := func(epoch int16) journaled { return journaled{epoch: epoch, offset: 22, drop: true} }
	said := func(epoch int16, committed bool) *outcome { return &outcome{producer{7, epoch}, committed} }
	type marked struct {
		of     []journaled
		commit bool
	}
	for _, c := range []struct {
		name     string
		ended    []marked
		older    string // what a producer before this one has committed last
		open     []journaled
		group    []string
		unstable bool
		known    *outcome
		epoch    int16
		journal  bool
		want     bool
		err      string
	}{
		{name: "journal, aborted", open: []journaled{step(4, 9)}, group: []string{"meta 8", "meta 8"}, epoch: 4, journal: true},
		{name: "journal, committed", open: []journaled{step(4, 9)}, group: []string{"meta 8", "meta 9"}, epoch: 4, journal: true, want: true},
		{name: "journal, first step", open: []journaled{step(4, 1)}, epoch: 4, journal: true},
		{name: "journal, aborted behind a committed step", ended: []marked{{[]journaled{step(3, 8)}, true}}, open: []journaled{step(4, 9)}, group: []string{"meta 8"}, epoch: 4, journal: true},
		{name: "journal, aborted behind an older producer", older: "meta 8", open: []journaled{step(4, 9)}, group: []string{"meta 8"}, epoch: 4, journal: true},
		{name: "journal, committed behind a committed step", ended: []marked{{[]journaled{step(3, 8)}, true}}, open: []journaled{step(4, 9)}, group: []string{"meta 9"}, epoch: 4, journal: true, want: true},
		{name: "journal, offsets expired", ended: []marked{{[]journaled{step(3, 8)}, true}}, open: []journaled{step(4, 9)}, epoch: 4, journal: true, err: "at offset 20 of the journal"},
		{name: "journal, offsets expired, older producer", older: "meta 8", open: []journaled{step(4, 9)}, epoch: 4, journal: true, err: "have expired"},
		{name: "journal, offsets set by hand", ended: []marked{{[]journaled{step(3, 8)}, true}}, open: []journaled{step(4, 9)}, group: []string{""}, epoch: 4, journal: true, err: "set by hand"},
		{name: "journal, offsets expired, known to be aborted", older: "meta 8", open: []journaled{step(4, 9)}, known: said(4, false), epoch: 4, journal: true},
		{name: "journal, first step that counts", ended: []marked{{[]journaled{step(3, 1)}, false}, {[]journaled{owner(4)}, true}}, open: []journaled{step(5, 1)}, epoch: 5, journal: true},
		{name: "journal, an open record", open: []journaled{owner(4)}, unstable: true, epoch: 4, journal: true, want: true},
		{name: "journal, aborted, and an open record", open: []journaled{step(4, 9), owner(6)}, group: []string{"meta 8"}, epoch: 6, journal: true},
		{name: "journal, twice aborted", open: []journaled{step(4, 9), step(5, 9)}, group: []string{"meta 8"}, epoch: 5, journal: true},
		{name: "journal, aborted and committed", open: []journaled{step(4, 9), step(5, 9)}, group: []string{"meta 9"}, epoch: 5, journal: true, err: "holds 2 steps"},
		{name: "journal, unstable", open: []journaled{step(4, 9)}, unstable: true, epoch: 4, journal: true, err: "forgotten how"},
		{name: "journal, unstable, known of another", open: []journaled{step(4, 9)}, unstable: true, known: said(3, true), epoch: 4, journal: true, err: "forgotten how"},
		{name: "journal, unstable, known to be committed", open: []journaled{step(4, 9)}, unstable: true, known: said(4, true), epoch: 4, journal: true, want: true},
		{name: "journal, unstable, known to be aborted", open: []journaled{step(4, 9)}, unstable: true, known: said(4, false), epoch: 4, journal: true},
		{name: "journal, what was to be dropped", open: []journaled{step(4, 9), drop(5)}, group: []string{"meta 8"}, epoch: 5, journal: true},
		{name: "journal, dropped for the sake of the offsets", open: []journaled{drop(5)}, unstable: true, epoch: 5, journal: true},
		{name: "output, dropped", ended: []marked{{[]journaled{step(4, 9), drop(5)}, false}}, epoch: 5},
		{name: "output with its journal, aborted", open: []journaled{step(4, 9)}, group: []string{"meta 8"}, epoch: 4},
		{name: "output with its journal, committed", open: []journaled{step(4, 9)}, group: []string{"meta 9"}, epoch: 4, want: true},
		{name: "output, aborted", ended: []marked{{[]journaled{step(3, 8)}, false}, {[]journaled{step(4, 8)}, true}}, epoch: 3},
		{name: "output, committed", ended: []marked{{[]journaled{step(3, 8)}, false}, {[]journaled{step(4, 8)}, true}}, epoch: 4, want: true},
		{name: "output, journal gone", ended: []marked{{[]journaled{step(3, 8)}, false}}, epoch: 2, err: "does not hold its step"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFates(7)
			f.group, f.unstable = c.group, c.unstable
			if c.known != nil {
				f.known, f.isKnown = *c.known, true
			}
			begin := func(all []journaled) {
				for _, j := range all {
					f.begin(7, j)
				}
			}
			for _, m := range c.ended {
				begin(m.of)
				f.end(7, m.commit)
			}
			if c.older != "" {
				f.begin(6, journaled{epoch: 32000, meta: c.older})
				f.end(6, true)
			}
			begin(c.open)
			err := f.decide()
			var committed bool
			if err == nil {
				committed, err = f.of(dangling{epoch: c.epoch}, c.journal)
			}
			switch {
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Fatalf("error %v, want one with %q", err, c.err)
			case c.err == "" && (err != nil || committed != c.want):
				t.Fatalf("committed %v, error %v; want %v", committed, err, c.want)
			}
		})
	}
}

// TestJournalOfTwoProducers reads what an older producer has committed, too.
func TestJournalOfTwoProducers(t *testing.T) {
	t.Parallel()
	f := newFates(7)
	f.meta = metaOf
	marker := func(producer int64, kind kmsg.ControlRecordKeyType) *kgo.Record {
		return &kgo.Record{ProducerID: producer, Key: (&kmsg.ControlRecordKey{Type: kind}).AppendTo(nil), Attrs: kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Control: true})}
	}
	for _, r := range []*kgo.Record{
		{ProducerID: 6, ProducerEpoch: 32000, Value: []byte("step 7")},
		marker(6, kmsg.ControlRecordKeyTypeCommit),
		{ProducerID: 6, ProducerEpoch: 32001, Value: []byte("step 8")},
		{ProducerID: 6, ProducerEpoch: 32001, Value: []byte("owner")},
		marker(6, kmsg.ControlRecordKeyTypeCommit),
		{ProducerID: 6, ProducerEpoch: 32002, Value: []byte("step 9")},
		marker(6, kmsg.ControlRecordKeyTypeAbort),
		{ProducerID: 7, ProducerEpoch: 1, Value: []byte("step 9")},
	} {
		if err := f.record(r); err != nil {
			t.Fatal(err)
		}
	}
	if f.before != "meta 8" || len(f.open) != 1 || f.open[0].meta != "meta 9" {
		t.Errorf("committed last: %q, want that of step 8; open: %v", f.before, f.open)
	}
}

// TestOffsetsPartition compares with what Kafka 4.3.0 says, half of whose hashes are
// negative.
func TestOffsetsPartition(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		group string
		n     int32
		want  int32
	}{
		{"", 50, 0},
		{"clicks", 50, 3},
		{"fraud", 50, 10},
		{"polygenelubricants", 50, 0}, // hash -2147483648
		{"TestLostMarkers.23962.15", 8, 7},
		{"TestLostMarkers.25773.7", 8, 6},
		{"größe", 50, 7},
		{"𝔘", 50, 19},
	} {
		if got := offsetsPartition(c.group, c.n); got != c.want {
			t.Errorf("%q of %d: partition %d, want %d", c.group, c.n, got, c.want)
		}
	}
}

// claimed answers questions for open transactions with lies about a producer: at says
// of which epoch and from which offset a topic has one, -1 for none.
func claimed(e *env, producer int64, at func(topic string) (epoch int16, start int64, err error)) {
	e.fake.ControlKey(int16(kmsg.DescribeProducers), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		req := r.(*kmsg.DescribeProducersRequest)
		resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
		for _, rt := range req.Topics {
			t := kmsg.NewDescribeProducersResponseTopic()
			t.Topic = rt.Topic
			for _, p := range rt.Partitions {
				rp := kmsg.NewDescribeProducersResponseTopicPartition()
				rp.Partition = p
				epoch, start, err := at(rt.Topic)
				if ke := (*kerr.Error)(nil); errors.As(err, &ke) {
					rp.ErrorCode = ke.Code
				}
				if start >= 0 {
					a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
					a.ProducerID, a.ProducerEpoch, a.CurrentTxnStartOffset = producer, int32(epoch), start
					rp.ActiveProducers = append(rp.ActiveProducers, a)
				}
				t.Partitions = append(t.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	})
}

func producerOf(t *testing.T, c *txnClient) int64 {
	id, _, err := c.cl.ProducerID(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestAbortIsNotSeen has a step aborted whose marker does not come: it must not be
// sent again behind what is open, and the task is to be taken anew.
func TestAbortIsNotSeen(t *testing.T) {
	t.Parallel()
	e := fake(t)
	c := e.open(t, 1, nil)
	l := fenced(t, c, 0, "owner 1")
	id := producerOf(t, l.out)
	e.fake.ControlKey(int16(kmsg.TxnOffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.TxnOffsetCommitRequest)
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, rt := range req.Topics {
			at := kmsg.NewTxnOffsetCommitResponseTopic()
			at.Topic, at.TopicID = rt.Topic, rt.TopicID
			for _, p := range rt.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.InvalidProducerEpoch.Code
				at.Partitions = append(at.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, at)
		}
		return resp, nil, true
	})
	claimed(e, id, func(topic string) (int16, int64, error) {
		if topic == e.name+".out" {
			return 1, 0, nil
		}
		return 0, -1, nil
	})
	_, err := l.Commit(testContext(t), e.step(1, 1, 0))
	if !errors.Is(err, connectors.ErrLost) || !strings.Contains(err.Error(), e.name+".out[0] from offset 0") {
		t.Fatalf("a step behind an abort without an end: %v", err)
	}
	equal(t, "the journal", e.committed(t, e.name+".journal", 0), []string{"owner 1"})
	equal(t, "the output", e.committed(t, e.name+".out", 0), nil)
}

// TestCommittedIsKept has the marker of a committed step not come in an output: it is
// ended as committed before the next step, which may be aborted, writes there.
func TestCommittedIsKept(t *testing.T) {
	t.Parallel()
	e := fake(t)
	c := e.open(t, 1, func(o *Options) { o.Outputs = []string{e.name + ".out"} })
	l := fenced(t, c, 0, "owner 1")
	id, epoch, err := l.out.cl.ProducerID(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var kept []string
	e.fake.ControlKey(int16(kmsg.WriteTxnMarkers), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		for _, m := range r.(*kmsg.WriteTxnMarkersRequest).Markers {
			kept = append(kept, fmt.Sprint(m.ProducerID, m.ProducerEpoch, m.Committed, m.Topics[0].Topic, m.Topics[0].Partitions))
		}
		return nil, nil, false
	})
	asked := 0
	claimed(e, id, func(topic string) (int16, int64, error) {
		mu.Lock()
		defer mu.Unlock()
		if asked++; len(kept) == 0 {
			return epoch, 0, nil
		}
		return 0, -1, nil
	})
	commit := func(n int) {
		t.Helper()
		if _, err := l.Commit(testContext(t), e.step(n, 1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	l.out.shaken.Store(false)
	commit(1)
	l.out.shaken.OnBrokerDisconnect(kgo.BrokerMetadata{}, nil)
	commit(2)
	mu.Lock()
	was := asked
	mu.Unlock()
	commit(3)
	mu.Lock()
	defer mu.Unlock()
	equal(t, "markers", kept, []string{fmt.Sprint(id, epoch, true, e.name+".out", []int32{0})})
	equal(t, "the output", e.committed(t, e.name+".out", 0), want([]int{1, 2, 3}, 1))
	if asked != was && !l.out.shaken.Load() {
		t.Logf("asked %d times, then %d", was, asked) // a slow machine is trouble, too
	}
}

// TestFenceDoesNotGuess has something open in an output of which the journal does not
// know: nothing is written. Where producers may not be described, all goes on.
func TestFenceDoesNotGuess(t *testing.T) {
	t.Parallel()
	e := fake(t)
	var log strings.Builder
	var mu sync.Mutex
	c := e.open(t, 1, func(o *Options) {
		o.Outputs, o.StepMeta, o.Log = []string{e.name + ".out", e.name + ".out"}, metaOf, textLog(&locked{w: &log, mu: &mu})
	})
	l := fenced(t, c, 0, "owner 1")
	id := producerOf(t, l.out)
	denied := false
	claimed(e, id, func(topic string) (int16, int64, error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case denied:
			return 0, -1, kerr.TopicAuthorizationFailed
		case topic == e.name+".out":
			return 99, 3, nil
		}
		return 0, -1, nil
	})
	_, err := l.Fence(testContext(t), []byte("owner 2"))
	if err == nil || !strings.Contains(err.Error(), e.name+".out[0] from offset 3") || !strings.Contains(err.Error(), "kafka-transactions.sh") {
		t.Fatalf("the lock is taken in spite of what is open: %v", err)
	}
	equal(t, "the journal", e.committed(t, e.name+".journal", 0), []string{"owner 1"})

	mu.Lock()
	denied = true
	mu.Unlock()
	for range 2 {
		if _, err := l.Fence(testContext(t), []byte("owner 3")); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(log.String(), "topic="+e.name+".out "); n != 1 {
		t.Errorf("%d warnings that the output cannot be asked of, want 1:\n%s", n, log.String())
	}
}

// TestUnknownIsAskedAgain has a leader that does not know its partition at first: what
// is open there is found all the same.
func TestUnknownIsAskedAgain(t *testing.T) {
	t.Parallel()
	e := fake(t)
	c := e.open(t, 1, func(o *Options) { o.Outputs, o.StepMeta = []string{e.name + ".out"}, metaOf })
	l := fenced(t, c, 0, "owner 1")
	asked := 0
	claimed(e, producerOf(t, l.out), func(topic string) (int16, int64, error) {
		switch {
		case topic != e.name+".out":
			return 0, -1, nil
		case asked < 7:
			asked++
			return 0, -1, kerr.UnknownTopicOrPartition
		}
		return 99, 3, nil
	})
	_, err := l.Fence(testContext(t), []byte("owner 2"))
	if err == nil || !strings.Contains(err.Error(), e.name+".out[0] from offset 3") {
		t.Fatalf("the lock is taken in spite of what is open, asked %d times: %v", asked, err)
	}
	// What metadata do not have either is gone, and not waited for.
	for _, tp := range []connectors.TopicPartition{{Topic: e.name + ".gone"}, {Topic: e.name + ".out", Partition: 7}} {
		begun := time.Now()
		ds, err := c.described(testContext(t), 1, []connectors.TopicPartition{tp})
		if err != nil || len(ds) != 0 || time.Since(begun) >= unknownPatience {
			t.Errorf("%v: open %v, %v, after %v", tp, ds, err, time.Since(begun))
		}
	}
}

type locked struct {
	w  *strings.Builder
	mu *sync.Mutex
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// TestSavedIsWhole has the marker of a checkpoint not come: it is aborted and saved
// again before it is reported.
func TestSavedIsWhole(t *testing.T) {
	t.Parallel()
	e := fake(t)
	c := e.open(t, 1, nil)
	l := fenced(t, c, 0, "owner 1")
	id := producerOf(t, l.ckpt)
	var mu sync.Mutex
	ends := 0
	e.fake.ControlKey(int16(kmsg.EndTxn), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		ends++
		return nil, nil, false
	})
	claimed(e, id, func(string) (int16, int64, error) {
		mu.Lock()
		defer mu.Unlock()
		if ends == 1 { // neither the second, which aborts, nor the third
			return 1, 2, nil
		}
		return 0, -1, nil
	})
	mustSave(t, l, stateEntry{"\x02key", []byte("value")})
	mu.Lock()
	defer mu.Unlock()
	if ends != 3 {
		t.Errorf("%d transactions, want three: saved, aborted, saved", ends)
	}
}
