package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

// lostMarkers is a pipeline one of whose transactions loses markers: those in its
// output, and in more.
type lostMarkers struct {
	*env
	committed bool
	more      string // "", journal, or offsets: that and the group's
	l         *taskLog
}

// TestLostMarkers takes the lock behind transactions whose markers a broker has lost:
// their partitions had no leader when they ended.
func TestLostMarkers(t *testing.T) {
	k := realkafka.Start(t, realkafka.Options{Brokers: 3, HeapMB: 256, Properties: map[string]string{"offsets.topic.replication.factor": "1"}})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // three brokers on a slow machine
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Addrs()...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	const last = 3 // id of the broker that goes
	var all []*lostMarkers
	for _, more := range []string{"", "journal", "offsets"} {
		for _, committed := range []bool{false, true} {
			p := &lostMarkers{env: &env{addr: k.Addrs()[0]}, committed: committed, more: more}
			for p.name == "" { // of a group that is kept where it is to be
				name := uniqueName(t)
				at := adm.FindGroupCoordinators(ctx, name)[name]
				if at.Err != nil && !sleep(ctx, 100*time.Millisecond) {
					t.Fatal(at.Err)
				}
				if at.Err == nil && (at.NodeID == last) == (more == "offsets") {
					p.name = name
				}
			}
			all = append(all, p)
			p.create(t, ctx, cl, last)
			p.l = fenced(t, p.worker(t), 0, "owner 1")
			if _, err := p.l.Commit(testContext(t), p.step(1, 2, 0)); err != nil {
				t.Fatal(err)
			}
			mustSave(t, p.l, stateEntry{"\x02key", []byte("first")})
			p.begin(t)
		}
	}

	if err := k.Broker(last - 1).Kill(); err != nil {
		t.Fatal(err)
	}
	leads := func(want bool) {
		for !slices.ContainsFunc(all, func(p *lostMarkers) bool {
			d, err := adm.ListTopics(ctx, p.name+".out")
			return err == nil && (d[p.name+".out"].Partitions[0].Leader == last) == want
		}) {
			if !sleep(ctx, 50*time.Millisecond) {
				t.Fatal("the broker's leaders stay as they are")
			}
		}
	}
	leads(false)
	// The next owners are told how what was open ended, and wait for the broker.
	next := make([]*taskLog, len(all))
	var fencing sync.WaitGroup
	for i, p := range all {
		if p.committed {
			if err := p.l.out.end(ctx, kgo.TryCommit); err != nil {
				t.Fatal(err)
			}
		}
		c := p.worker(t)
		l, err := c.Log(0)
		if err != nil {
			t.Fatal(err)
		}
		next[i] = l.(*taskLog)
		fencing.Go(func() {
			if _, err := l.Fence(ctx, []byte("owner 2")); err != nil {
				t.Errorf("committed=%v, %q: %v", p.committed, p.more, err)
			}
		})
	}
	for _, p := range all {
		for _, id := range []string{p.name + "/0/out", p.name + "/0/ckpt"} {
			for {
				d, err := adm.DescribeTransactions(ctx, id)
				if err == nil && d[id].State == "Empty" {
					break
				}
				if !sleep(ctx, 50*time.Millisecond) {
					t.Fatalf("%s is %s: %v", id, d[id].State, err)
				}
			}
		}
	}
	if err := k.Broker(last - 1).Start(ctx); err != nil {
		t.Fatal(err)
	}
	fencing.Wait()
	if t.Failed() {
		return
	}

	for i, p := range all {
		l := next[i]
		t.Run(fmt.Sprintf("committed=%v,%s", p.committed, p.more), func(t *testing.T) {
			var got []string
			err := l.ReadJournal(testContext(t), connectors.Earliest, l.opened, func(_ int64, r []byte) error {
				got = append(got, string(r))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			steps, journal := []int{1}, []string{"owner 1", "step 1"}
			if p.committed {
				steps, journal = append(steps, 2), append(journal, "step 2")
			}
			equal(t, "the journal", got, append(journal, "owner 2"))
			equal(t, "the output", p.env.committed(t, p.name+".out", 0), want(steps, 2))
			wantState(t, "the state", loaded(t, l), map[string]string{"\x02key": "first"})
			at, err := l.Offsets(testContext(t))
			if err != nil || len(at) != 1 || at[0].Next != int64(len(steps)) {
				t.Errorf("the group's offsets: %v %v, want %d", at, err, len(steps))
			}
			if _, err := l.Commit(testContext(t), p.step(3, 2, 0)); err != nil {
				t.Fatal(err)
			}
			equal(t, "the output, later", p.env.committed(t, p.name+".out", 0), want(append(steps, 3), 2))
		})
	}
}

func (p *lostMarkers) worker(t *testing.T) *Cluster {
	return p.open(t, 1, func(o *Options) {
		o.Outputs, o.StepMeta = []string{p.name + ".out"}, metaOf
		// What is open must be ended by the test, not by its timeout, however slow the machine.
		o.TransactionTimeout, o.CheckpointTimeout = 5*time.Minute, 5*time.Minute
	})
}

// create makes the topics, those that are to lose markers on one broker alone.
func (p *lostMarkers) create(t *testing.T, ctx context.Context, cl *kgo.Client, last int32) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 30_000
	for _, topic := range []string{".in", ".out", ".journal", ".state"} {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = p.name+topic, -1, -1
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Replicas = []int32{1, 2}
		if topic == ".out" || topic == ".state" || topic == ".journal" && p.more != "" {
			a.Replicas = []int32{last}
		}
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, a)
		rc := kmsg.NewCreateTopicsRequestTopicConfig()
		rc.Name, rc.Value = "min.insync.replicas", kmsg.StringPtr("1")
		rt.Configs = append(rt.Configs, rc)
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range resp.Topics {
		if err := kerr.ErrorForCode(rt.ErrorCode); err != nil {
			t.Fatalf("%s: %v", rt.Topic, err)
		}
	}
	for broker := 1; broker <= 3; broker++ { // they learn of topics one after the other
		for known := false; !known; {
			m := kmsg.NewPtrMetadataRequest()
			for _, rt := range req.Topics {
				mt := kmsg.NewMetadataRequestTopic()
				mt.Topic = kmsg.StringPtr(rt.Topic)
				m.Topics = append(m.Topics, mt)
			}
			resp, err := cl.Broker(broker).Request(ctx, m)
			known = err == nil && !slices.ContainsFunc(resp.(*kmsg.MetadataResponse).Topics, func(rt kmsg.MetadataResponseTopic) bool {
				return rt.ErrorCode != 0 || len(rt.Partitions) == 0 || rt.Partitions[0].ErrorCode != 0
			})
			if !known && !sleep(ctx, 20*time.Millisecond) {
				t.Fatalf("broker %d does not learn of %v: %v", broker, p.name, err)
			}
		}
	}
}

// begin begins step 2, up to the end of its transaction, and a checkpoint.
func (p *lostMarkers) begin(t *testing.T) {
	ctx, s := testContext(t), p.step(2, 2, 0)
	fail := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	fail(p.l.out.begin())
	p.l.out.put(ctx, &kgo.Record{Topic: p.name + ".journal", Value: s.Journal})
	fail(p.l.out.flush(ctx))
	who, err := p.l.out.author(ctx)
	fail(err)
	fail(p.l.out.pub.send(ctx, who, s.Outputs, time.Now()))
	fail(p.l.out.offsets(ctx, who, s, "", -1, nil))
	fail(p.l.ckpt.begin())
	key := appendPieceKey(nil, []byte("\x02key"), 0)
	p.l.ckpt.put(ctx, &kgo.Record{Topic: p.name + ".state", Key: key, Value: appendPiece(key, 0, []byte("second"), 0)[len(key):]})
	fail(p.l.ckpt.flush(ctx))
}
