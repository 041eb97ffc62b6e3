package kafka

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
)

// The hashes are those of Apache Kafka's own test of its murmur2 (UtilsTest).
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartitionForKeyAsTheClient(t *testing.T) {
	p := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		key := make([]byte, 1+rng.IntN(40))
		for i := range key {
			key[i] = byte(rng.Uint32())
		}
		n := 1 + rng.IntN(100)
		if got, want := PartitionForKey(key, n), p.Partition(&kgo.Record{Key: key}, n); int(got) != want {
			t.Fatalf("key %x of %d partitions: %d, the client says %d", key, n, got, want)
		}
	}
}

func TestWholeTasks(t *testing.T) {
	mod := func(n int) func(string, int32) int { return func(_ string, p int32) int { return int(p) % n } }
	for _, c := range []struct {
		name        string
		held        string // topic/partition …
		counts      map[string]int
		tasks       int
		whole, part []int
	}{
		{"nothing", "", map[string]int{"a": 2}, 2, nil, nil},
		{"one of two", "a/1", map[string]int{"a": 2}, 2, []int{1}, nil},
		{"both", "a/0 a/1", map[string]int{"a": 2}, 2, []int{0, 1}, nil},
		{"a task of two partitions, one held", "a/0 a/1 a/2", map[string]int{"a": 4}, 2, []int{0}, []int{1}},
		{"two topics, one of them elsewhere", "a/0 b/0 a/1", map[string]int{"a": 2, "b": 2}, 2, []int{0}, []int{1}},
		{"one task over all", "a/0 a/1 a/2", map[string]int{"a": 3}, 1, []int{0}, nil},
		{"one task, one partition missing", "a/0 a/2", map[string]int{"a": 3}, 1, nil, []int{0}},
		{"foreign topic", "x/0", map[string]int{"a": 1}, 1, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			held := map[connectors.TopicPartition]bool{}
			for _, f := range split(c.held) {
				var tp connectors.TopicPartition
				fmt.Sscanf(f, "%1s/%d", &tp.Topic, &tp.Partition)
				held[tp] = true
			}
			whole, part := wholeTasks(held, c.counts, c.tasks, mod(c.tasks))
			if !slices.Equal(whole, c.whole) || !slices.Equal(part, c.part) {
				t.Errorf("whole %v part %v, want %v and %v", whole, part, c.whole, c.part)
			}
		})
	}
}

func split(s string) (out []string) {
	for len(s) > 0 {
		i := 0
		for i < len(s) && s[i] != ' ' {
			i++
		}
		out = append(out, s[:i])
		s = s[min(i+1, len(s)):]
	}
	return out
}

func TestDecide(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("somewhere: %w", err) }
	for _, c := range []struct {
		err                             error
		begin, send, offsets, end, abrt action
	}{
		{nil, actDone, actDone, actDone, actDone, actDone},
		{context.Canceled, actStop, actStop, actStop, actStop, actStop},
		{context.DeadlineExceeded, actStop, actStop, actStop, actStop, actStop},
		{kgo.ErrClientClosed, actStop, actStop, actStop, actStop, actStop},
		{connectors.ErrLost, actLost, actLost, actLost, actLost, actLost},
		// Taken over.
		{kerr.ProducerFenced, actLost, actLost, actLost, actLost, actLost},
		{kerr.InvalidTxnState, actLost, actLost, actLost, actLost, actLost},
		{kerr.InvalidProducerIDMapping, actLost, actLost, actLost, actLost, actLost},
		{kerr.FencedInstanceID, actLost, actLost, actLost, actLost, actLost},
		// A partition's word is not the coordinator's: the abort tells.
		{kerr.InvalidProducerEpoch, actLost, actResend, actResend, actLost, actLost},
		// Abortable.
		{kerr.TransactionAbortable, actLost, actResend, actResend, actResend, actRetry},
		{kerr.IllegalGeneration, actLost, actResend, actResend, actResolve, actRetry},
		{kerr.StaleMemberEpoch, actLost, actResend, actResend, actResolve, actRetry},
		{kerr.UnknownMemberID, actLost, actResend, actResend, actResolve, actRetry},
		{kerr.RebalanceInProgress, actLost, actResend, actResend, actResolve, actRetry},
		{kerr.ConcurrentTransactions, actResend, actResend, actResend, actResolve, actRetry},
		{kerr.NotCoordinator, actResend, actResend, actResend, actResolve, actRetry},
		{kerr.CoordinatorNotAvailable, actResend, actResend, actResend, actResolve, actRetry},
		{kerr.CoordinatorLoadInProgress, actResend, actResend, actResend, actResolve, actRetry},
		{kerr.OperationNotAttempted, actLost, actResend, actResend, actResend, actRetry},
		{kerr.OutOfOrderSequenceNumber, actLost, actResend, actResend, actResolve, actRetry},
		{kgo.ErrAborting, actResend, actResend, actResend, actResolve, actRetry},
		{errNotMember, actResend, actResend, actResend, actResolve, actRetry},
		// Unknown at the end, harmless before.
		{kerr.UnknownServerError, actResend, actResend, actResend, actResolve, actRetry},
		{kerr.RequestTimedOut, actResend, actResend, actResend, actResolve, actRetry},
		{io.ErrUnexpectedEOF, actResend, actResend, actResend, actResolve, actRetry},
		// Beyond repair.
		{kerr.MessageTooLarge, actFail, actFail, actFail, actFail, actFail},
		{kerr.TopicAuthorizationFailed, actFail, actFail, actFail, actFail, actFail},
		{kerr.GroupAuthorizationFailed, actFail, actFail, actFail, actFail, actFail},
		{kerr.TransactionalIDAuthorizationFailed, actFail, actFail, actFail, actFail, actFail},
		{kerr.UnknownTopicOrPartition, actFail, actFail, actFail, actFail, actFail},
		{kerr.OffsetMetadataTooLarge, actFail, actFail, actFail, actFail, actFail},
	} {
		for p, want := range map[phase]action{phaseBegin: c.begin, phaseSend: c.send, phaseOffsets: c.offsets, phaseEnd: c.end, phaseAbort: c.abrt} {
			err := c.err
			if err != nil {
				err = wrap(err)
			}
			if got := decide(p, err); got != want {
				t.Errorf("%v: %v: %v, want %v", p, c.err, got, want)
			}
		}
	}
}
