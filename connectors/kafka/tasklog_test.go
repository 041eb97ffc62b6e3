package kafka

import (
	"context"
	"errors"
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

func TestCommit(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 2, nil)
		ctx := testContext(t)
		l := fenced(t, c, 1, "open a")
		if ps, err := l.Offsets(ctx); err != nil || len(ps) != 0 {
			t.Fatalf("positions before the first step: %v %v", ps, err)
		}
		for n := 1; n <= 3; n++ {
			mustCommit(t, l, e.step(n, 5, 1))
		}
		mustCommit(t, l, e.step(4, 0, 1)) // a step without outputs
		equal(t, "outputs", e.committed(t, e.name+".out", 1), want([]int{1, 2, 3}, 5))
		ps, err := l.Offsets(ctx)
		if err != nil || len(ps) != 1 || ps[0].Next != 4 || ps[0].Partition != 1 {
			t.Fatalf("positions: %v %v, want offset 4 of partition 1", ps, err)
		}
		// The next owner, in this worker or elsewhere, finds it all.
		m, err := e.open(t, 2, nil).Log(1)
		if err != nil {
			t.Fatal(err)
		}
		to, err := m.Fence(ctx, []byte("open b"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "journal", journal(t, m.(*taskLog), connectors.Earliest, to), []string{"open a", "step 1", "step 2", "step 3", "step 4", "open b"})
		equal(t, "state", e.committed(t, e.name+".state", 1), []string{"open a", "open b"})
	})
}

func TestFencing(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := testContext(t)
		a, b := e.open(t, 1, nil), e.open(t, 1, nil)
		first := fenced(t, a, 0, "first")
		mustCommit(t, first, e.step(1, 3, 0))

		// The first has sent step 2, not ended it, when the second takes over.
		if p, err := sendOnly(ctx, first, e.step(2, 3, 0)); err != nil {
			t.Fatal(p, err)
		}
		second := fenced(t, b, 0, "second")
		if got := decide(phaseEnd, first.out.end(ctx, kgo.TryCommit)); got != actLost {
			t.Errorf("ending the transaction of a taken id: %v, want lost", got)
		}
		mustCommit(t, second, e.step(2, 4, 0))
		if _, err := first.Commit(ctx, e.step(2, 3, 0)); !errors.Is(err, connectors.ErrLost) {
			t.Errorf("the fenced owner's commit: %v, want ErrLost", err)
		}
		if _, err := first.Commit(ctx, e.step(2, 3, 0)); !errors.Is(err, connectors.ErrLost) {
			t.Errorf("and again: %v, want ErrLost", err)
		}
		mustCommit(t, second, e.step(3, 1, 0)) // undisturbed
		equal(t, "outputs", e.committed(t, e.name+".out", 0), slices.Concat(want([]int{1}, 3), want([]int{2}, 4), want([]int{3}, 1)))
	})
}

// A fenced owner that has nothing open notices at its next step.
func TestFencedWhileIdle(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		a, b := e.open(t, 1, nil), e.open(t, 1, nil)
		first := fenced(t, a, 0, "first")
		second := fenced(t, b, 0, "second")
		if _, err := first.Commit(testContext(t), e.step(1, 3, 0)); !errors.Is(err, connectors.ErrLost) {
			t.Errorf("the fenced owner's commit: %v, want ErrLost", err)
		}
		mustCommit(t, second, e.step(1, 1, 0))
		equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1}, 1))
		// It may come back once it has made sure that the task is still its own.
		if err := a.Confirm(testContext(t), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := first.Fence(testContext(t), []byte("third")); err != nil {
			t.Fatal(err)
		}
		mustCommit(t, first, e.step(2, 1, 0))
		equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1, 2}, 1))
	})
}

// sendOnly does all of a step but its end.
func sendOnly(ctx context.Context, l *taskLog, s *connectors.Step) (phase, error) {
	if err := l.out.begin(); err != nil {
		return phaseSend, err
	}
	for _, o := range s.Outputs.List() {
		l.out.put(ctx, &kgo.Record{Topic: o.Topic, Partition: o.Partition, Value: o.Value})
	}
	l.out.put(ctx, &kgo.Record{Topic: l.c.opt.JournalTopic, Partition: int32(l.task), Value: s.Journal})
	return phaseSend, l.out.flush(ctx)
}

// What brokers answer before a commit is tried makes the step be sent again, the
// same bytes, once.
func TestResend(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault kfake.Fault
	}{
		{"generation", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 2}},
		{"member", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.UnknownMemberID, Count: 2}},
		{"rebalance", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.RebalanceInProgress, Count: 2}},
		{"abortable", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.TransactionAbortable, Count: 2}},
		{"offsets not confirmed", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.RequestTimedOut, Count: 2}},
		{"concurrent", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.ConcurrentTransactions, Count: 2}},
		{"produce epoch", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidProducerEpoch}},
		{"produce abortable", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TransactionAbortable}},
		{"produce sequence", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.OutOfOrderSequenceNumber}},
		{"end abortable", kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.TransactionAbortable, TopLevel: true}},
		{"end concurrent", kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.ConcurrentTransactions, TopLevel: true, Count: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := fake(t)
			l := fenced(t, e.open(t, 1, nil), 0, "open")
			mustCommit(t, l, e.step(1, 3, 0))
			h := e.fake.Fault(c.fault)
			mustCommit(t, l, e.step(2, 3, 0))
			if h.Hits() == 0 {
				t.Fatal("the fault never happened")
			}
			mustCommit(t, l, e.step(3, 3, 0))
			equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1, 2, 3}, 3))
		})
	}
}

// Where what EndTxn did is unknown the journal tells, and the step is sent again.
// The other outcome, committed and not heard, is TestCutConnections'.
func TestUnknownOutcome(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.RequestTimedOut, kerr.UnknownServerError, kerr.NotCoordinator} {
		t.Run(err.Message, func(t *testing.T) {
			e := fake(t)
			l := fenced(t, e.open(t, 1, nil), 0, "open")
			mustCommit(t, l, e.step(1, 3, 0))
			h := e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: err, TopLevel: true})
			at := mustCommit(t, l, e.step(2, 3, 0))
			if h.Hits() == 0 {
				t.Fatal("the fault never happened")
			}
			last := mustCommit(t, l, e.step(3, 3, 0))
			equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1, 2, 3}, 3))
			equal(t, "step 2 by its offset", journal(t, l, at, at), []string{"step 2"})
			got := journal(t, l, connectors.Earliest, last)
			got = slices.DeleteFunc(got, func(s string) bool { return s == "open" })
			equal(t, "journal", got, []string{"step 1", "step 2", "step 3"})
		})
	}
}

// Nothing can heal these: the step fails at once and says what to do.
func TestFinalErrors(t *testing.T) {
	for _, c := range []struct {
		name, says string
		fault      kfake.Fault
	}{
		{"too large", "raise max.message.bytes", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: -1}},
		{"not allowed", "lacks Read, Write", kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1}},
		{"group", "lacks Read on the consumer group", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.GroupAuthorizationFailed, Count: -1}},
		{"metadata", "offset.metadata.max.bytes", kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.OffsetMetadataTooLarge, Count: -1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := fake(t)
			l := fenced(t, e.open(t, 1, nil), 0, "open")
			e.fake.Fault(c.fault)
			_, err := l.Commit(testContext(t), e.step(1, 1, 0))
			if err == nil || errors.Is(err, connectors.ErrLost) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), e.name+".") {
				t.Errorf("got %v; want it to name a topic and say %q", err, c.says)
			}
			equal(t, "outputs", e.committed(t, e.name+".out", 0), nil)
		})
	}
	t.Run("unknown topic", func(t *testing.T) {
		e := fake(t)
		l := fenced(t, e.open(t, 1, nil), 0, "open")
		l.out.pub.newest = 50 * time.Millisecond
		s := e.step(1, 1, 0)
		change(s, func(outs []connectors.Output) { outs[0].Topic = e.name + ".nowhere" })
		if _, err := l.Commit(testContext(t), s); err == nil || !strings.Contains(err.Error(), e.name+".nowhere") {
			t.Errorf("got %v; want it to name the topic", err)
		}
	})
	t.Run("record too large", func(t *testing.T) {
		each(t, func(t *testing.T, e *env) {
			l := fenced(t, e.open(t, 1, nil), 0, "open")
			s := e.step(1, 3, 0)
			change(s, func(outs []connectors.Output) { outs[1].Value = noise(3<<20, 1) })
			if _, err := l.Commit(testContext(t), s); err == nil || !strings.Contains(err.Error(), e.name+".out") {
				t.Errorf("got %v; want it to name the topic", err)
			}
			equal(t, "outputs", e.committed(t, e.name+".out", 0), nil)
		})
	})
	t.Run("no journal", func(t *testing.T) {
		e := fake(t)
		c := e.open(t, 1, func(o *Options) { o.JournalTopic = "nowhere.journal" })
		l, _ := c.Log(0)
		if _, err := l.Fence(testContext(t), nil); err == nil || !strings.Contains(err.Error(), "nowhere.journal") {
			t.Errorf("got %v; want it to name the journal", err)
		}
	})
}

// A caller that gives up leaves nothing behind that a later owner would see.
func TestGiveUp(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		l := fenced(t, e.open(t, 1, nil), 0, "open")
		mustCommit(t, l, e.step(1, 2, 0))
		ctx, cancel := context.WithCancel(testContext(t))
		cancel()
		if _, err := l.Commit(ctx, e.step(2, 2, 0)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		if _, err := l.Commit(testContext(t), e.step(2, 2, 0)); err == nil {
			t.Error("a log that was given up commits")
		}
		m := fenced(t, e.open(t, 1, nil), 0, "again")
		mustCommit(t, m, e.step(2, 3, 0))
		equal(t, "outputs", e.committed(t, e.name+".out", 0), slices.Concat(want([]int{1}, 2), want([]int{2}, 3)))
	})
}

func TestJournalReads(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := testContext(t)
		c := e.open(t, 1, nil)
		l := fenced(t, c, 0, "open a")
		var at []int64
		for n := 1; n <= 5; n++ {
			at = append(at, mustCommit(t, l, e.step(n, 1, 0)))
			// Aborted records between the steps are not for the reader.
			if p, err := sendOnly(ctx, l, e.step(100+n, 1, 0)); err != nil {
				t.Fatal(p, err)
			}
			if err := l.out.abort(ctx); err != nil {
				t.Fatal(err)
			}
		}
		m := fenced(t, c, 0, "open b")
		all := []string{"open a", "step 1", "step 2", "step 3", "step 4", "step 5", "open b"}
		equal(t, "from the start", journal(t, m, connectors.Earliest, m.last), all)
		equal(t, "from step 3", journal(t, m, at[2], m.last), all[3:])
		equal(t, "from behind step 3", journal(t, m, at[2]+1, m.last), all[4:])
		equal(t, "one", journal(t, m, m.last, m.last), all[6:])
		equal(t, "from behind the end", journal(t, m, m.last+1, m.last), nil)

		if err := m.ReadJournal(ctx, 0, m.last, func(int64, []byte) error { return errTest }); !errors.Is(err, errTest) {
			t.Errorf("got %v, want the caller's error", err)
		}
		if err := m.ReadJournal(ctx, 0, m.last-1, func(int64, []byte) error { return nil }); err == nil {
			t.Error("reading to an offset without a record succeeds")
		}

		// Retention moves the start of the log.
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = 10_000
		rt := kmsg.NewDeleteRecordsRequestTopic()
		rt.Topic = e.name + ".journal"
		rp := kmsg.NewDeleteRecordsRequestTopicPartition()
		rp.Offset = at[3]
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		if _, err := req.RequestWith(ctx, c.admin); err != nil {
			t.Fatal(err)
		}
		equal(t, "after retention, from the start", journal(t, m, connectors.Earliest, m.last), all[4:])
		equal(t, "after retention, from what is gone", journal(t, m, at[1], m.last), all[4:])
		if err := m.ReadJournal(ctx, 0, at[1], func(int64, []byte) error { return nil }); err == nil || !strings.Contains(err.Error(), "is gone") {
			t.Errorf("reading to a record that is gone: %v", err)
		}
	})
}

// TestLargeRecords publishes a record beyond the client's default bound to a topic
// that takes it, as the errors topic of a source of large records does.
func TestLargeRecords(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.open(t, 1, nil)
		errorsTopic := e.name + ".errors"
		c := e.open(t, 1, func(o *Options) { o.Outputs = []string{e.name + ".out", errorsTopic} })
		if err := c.Create(testContext(t), []connectors.Topic{{Name: errorsTopic, Partitions: 1, Config: map[string]string{"max.message.bytes": "8388608"}}}); err != nil {
			t.Fatal(err)
		}
		l := fenced(t, c, 0, "open")
		s := e.step(1, 1, 0)
		change(s, func(outs []connectors.Output) { outs[0].Topic, outs[0].Value = errorsTopic, noise(3<<20, 1) })
		if _, err := l.Commit(testContext(t), s); err != nil {
			t.Fatal(err)
		}
		s = e.step(2, 1, 0)
		change(s, func(outs []connectors.Output) { outs[0].Value = noise(3<<20, 1) })
		if _, err := l.Commit(testContext(t), s); err == nil || !strings.Contains(err.Error(), e.name+".out") {
			t.Fatalf("a record too large for its topic: %v", err)
		}
	})
}
