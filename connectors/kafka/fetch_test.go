package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/gradstream/gradstream/connectors"
)

// TestFetchFaults reads four partitions on three brokers while leaders move, answers are
// errors and feeds are closed and opened again: every committed record comes once, in order.
func TestFetchFaults(t *testing.T) {
	errs := []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.FencedLeaderEpoch,
		kerr.UnknownLeaderEpoch, kerr.KafkaStorageError, kerr.ReplicaNotAvailable, kerr.OffsetNotAvailable, kerr.RequestTimedOut,
	}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			e := fake(t, kfake.NumBrokers(3))
			const parts, rounds, n = 4, 12, 40
			c := e.open(t, parts, func(o *Options) { o.partitionBytes, o.FetchWait = 1<<10, 5*time.Millisecond })
			rng := rand.New(rand.NewPCG(seed, 7))
			var next [parts]int64
			var seen [parts]int // committed records
			begin := func() connectors.Feed {
				var from []connectors.Position
				for p := range next {
					from = append(from, e.at(int32(p), next[p]))
				}
				return openFeed(t, c, from...)
			}
			f := begin()
			for round := range rounds {
				for p := range int32(parts) {
					e.fill(t, p, n, fmt.Sprintf("%s-%d-%d-a", e.name, p, round), false)
					e.fill(t, p, n, fmt.Sprintf("%s-%d-%d-c", e.name, p, round), true)
				}
				for range 1 + rng.IntN(3) {
					switch rng.IntN(5) {
					case 0:
						e.fake.ShufflePartitionLeaders()
					case 1:
						e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: e.name + ".in", Err: kerr.LeaderNotAvailable, Count: 1 + rng.IntN(3)})
					default:
						e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: errs[rng.IntN(len(errs))], Count: 1 + rng.IntN(3), Partitions: []int32{int32(rng.IntN(parts))}})
					}
				}
				if rng.IntN(3) == 0 {
					if err := f.Close(); err != nil {
						t.Fatal(err)
					}
					f = begin()
				}
				for done := 0; done < parts; {
					got, err := f.Poll(testContext(t), 1+rng.IntN(30), nil)
					if err != nil {
						t.Fatalf("round %d: %v", round, err)
					}
					p := got.Partition
					for _, r := range got.Records {
						want := fmt.Sprintf("%s-%d-%d-c%d", e.name, p, seen[p]/n, seen[p]%n)
						if r.Offset < next[p] || string(r.Value) != want {
							t.Fatalf("round %d, partition %d: %q at offset %d, want %q from %d on", round, p, r.Value, r.Offset, want, next[p])
						}
						next[p] = r.Offset + 1
						if seen[p]++; seen[p] == (round+1)*n {
							done++
						}
					}
					if got.Next < next[p] {
						t.Fatalf("partition %d: the position goes back from %d to %d", p, next[p], got.Next)
					}
					next[p] = got.Next
				}
			}
		})
	}
}

// A partition with a backlog does not wait for others, of which nothing comes: what is on
// its way for them alone comes back soon.
func TestFetchBesideIdle(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		const n = 400
		c := e.open(t, 2, func(o *Options) { o.partitionBytes, o.FeedBytes, o.FetchWait = 1<<10, 1<<10, time.Minute })
		for i := range n / 20 {
			e.fill(t, 0, 20, fmt.Sprintf("%d-", i), true) // batches smaller than what is buffered
		}
		ctx, cancel := context.WithTimeout(testContext(t), 50*time.Second)
		defer cancel()
		f := openFeed(t, c, e.at(0, 0))
		defer f.Close()
		for seen := 0; seen < n; {
			got, err := f.Poll(ctx, 7, nil)
			if err != nil {
				t.Fatalf("after %d of %d records: %v", seen, n, err)
			}
			fd := f.(*feed) // however slow the machine is, it was polled lately
			fd.mu.Lock()
			fd.parts[0].polled = time.Now().Add(time.Hour)
			fd.mu.Unlock()
			if seen == 0 {
				idle := openFeed(t, c, e.at(1, 0))
				defer idle.Close()
				time.Sleep(100 * time.Millisecond) // until it is asked for, alone, as the other is full
			}
			seen += len(got.Records)
		}
	})
}

// A feed ends with what is wrong where trying again is of no use, and tries on where it is.
func TestFetchErrors(t *testing.T) {
	e := fake(t)
	c := e.open(t, 1, nil)
	e.fill(t, 0, 3, "", true)
	poll := func() error {
		t.Helper()
		f := openFeed(t, c, e.at(0, 0))
		defer f.Close()
		_, err := f.Poll(testContext(t), 10, nil)
		return err
	}
	for _, c := range []struct {
		key  kmsg.Key
		err  *kerr.Error
		want string
	}{
		{kmsg.Fetch, kerr.TopicAuthorizationFailed, "this user lacks"},
		{kmsg.Metadata, kerr.TopicAuthorizationFailed, "this user lacks"},
		{kmsg.Fetch, kerr.UnsupportedVersion, "UNSUPPORTED_VERSION"},
		{kmsg.Fetch, kerr.UnknownServerError, "UNKNOWN_SERVER_ERROR"},
	} {
		h := e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{c.key}, Topic: e.name + ".in", Err: c.err, Count: -1})
		err := poll()
		if err == nil || !strings.Contains(err.Error(), "reading "+e.in(0).String()) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v of %v: %v", c.err, c.key, err)
		}
		h.Remove()
	}
	h := e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: e.name + ".in", Err: kerr.CorruptMessage, Count: 3})
	if err := poll(); err != nil || h.Hits() != 3 {
		t.Errorf("after %d errors that may pass: %v", h.Hits(), err)
	}
}

// An election may give up what was read: the broker then says where its log parts from
// what the reader has, and nothing of it is read as if it followed.
func TestFetchDiverging(t *testing.T) {
	e := fake(t)
	c := e.open(t, 1, nil)
	e.fill(t, 0, 5, "", true)
	f := openFeed(t, c, e.at(0, 0))
	for next := int64(0); next < 5; {
		got, err := f.Poll(testContext(t), 10, nil)
		if err != nil {
			t.Fatal(err)
		}
		next = got.Next
	}
	asked := make(chan *kmsg.FetchRequest, 1)
	e.fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.FetchRequest)
		select {
		case asked <- req:
		default:
		}
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.LogStartOffset = 0
		rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset = 0, 2
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	_, err := f.Poll(testContext(t), 10, nil)
	var out *connectors.OutOfRangeError
	if !errors.As(err, &out) || *out != (connectors.OutOfRangeError{TopicPartition: e.in(0), Offset: 5, Start: 0, End: 2}) {
		t.Fatalf("got %v", err)
	}
	req := <-asked
	if rp := req.Topics[0].Partitions[0]; rp.FetchOffset != 5 || rp.LastFetchedEpoch < 0 || rp.CurrentLeaderEpoch < 0 {
		t.Errorf("asked for %+v", rp)
	}
}

// A topic that is deleted and made anew is another one, whatever its name.
func TestFetchTopicMadeAnew(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 1, nil)
		e.fill(t, 0, 3, "", true)
		f := openFeed(t, c, e.at(0, 0))
		if _, err := f.Poll(testContext(t), 10, nil); err != nil {
			t.Fatal(err)
		}
		topic := e.name + ".in"
		if _, err := c.adm.DeleteTopic(testContext(t), topic); err != nil {
			t.Fatal(err)
		}
		for { // brokers delete later than they say
			if _, err := c.adm.CreateTopic(testContext(t), 1, 1, nil, topic); err == nil {
				break
			} else if !errors.Is(err, kerr.TopicAlreadyExists) || !sleep(testContext(t), 20*time.Millisecond) {
				t.Fatal(err)
			}
		}
		e.fill(t, 0, 9, "", true)
		got, err := f.Poll(testContext(t), 10, nil)
		// Where making it anew takes very long it is given up before.
		if !errors.Is(err, kerr.UnknownTopicID) && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

// Brokers that tell no ids of topics, though they know newer fetches, are asked by name.
func TestFetchWithoutIDs(t *testing.T) {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.Metadata), 9)
	e := fake(t, kfake.MaxVersions(v))
	c := e.open(t, 1, nil)
	e.fill(t, 0, 3, "", true)
	f := openFeed(t, c, e.at(0, 1))
	got, err := f.Poll(testContext(t), 10, nil)
	if err != nil || len(got.Records) != 2 || got.Next != 3 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestFound: what brokers of different knowledge say of a partition.
func TestFound(t *testing.T) {
	answer := func(id byte, leader, epoch int32) *kmsg.MetadataResponseTopic {
		rt := kmsg.NewMetadataResponseTopic()
		rt.TopicID[0] = id
		rp := kmsg.NewMetadataResponseTopicPartition()
		rp.Leader, rp.LeaderEpoch = leader, epoch
		rt.Partitions = append(rt.Partitions, rp)
		return &rt
	}
	p := &feedPart{at: nowhere}
	p.at.served = 9
	if err := p.found(answer(1, 2, 5)); err != nil || p.at.leader != 2 || p.at.epoch != 5 || p.at.served != 0 {
		t.Fatalf("%+v: %v", p.at, err)
	}
	if err := p.found(answer(0, 3, 6)); err != nil || p.at.leader != 3 || p.at.id[0] != 1 {
		t.Errorf("a broker that tells no ids: %+v, %v", p.at, err)
	}
	if err := p.found(answer(2, 3, 6)); !errors.Is(err, errMadeAnew) {
		t.Errorf("another id: %v", err)
	}
	for range olderEpochs {
		if err := p.found(answer(1, 1, 4)); !errors.Is(err, kerr.FencedLeaderEpoch) {
			t.Fatalf("an earlier epoch: %v", err)
		}
	}
	if err := p.found(answer(1, 1, 4)); err != nil || p.at.leader != 1 || p.at.epoch != 4 {
		t.Errorf("an earlier epoch to which everybody holds: %+v, %v", p.at, err)
	}
	if err := p.found(answer(1, -1, 4)); !errors.Is(err, kerr.LeaderNotAvailable) {
		t.Errorf("no leader: %v", err)
	}
	p.tp.Partition = 1
	if err := p.found(answer(1, 1, 4)); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("no such partition: %v", err)
	}
}
