//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func brokerKill(l *lab) error {
	if _, err := l.start(1); err != nil {
		return err
	}
	l.arr.mark()
	kills := 0
	for range 2 {
		if err := l.site.Broker(0).Kill(); err != nil {
			return err
		}
		kills++
		l.sleep(500*time.Millisecond, 2*time.Second)
		begun := time.Now()
		if err := l.site.start(l.ctx); err != nil {
			return err
		}
		up := time.Now()
		if err := l.arrive(1); err != nil {
			return err
		}
		l.note("the broker took %.1f s to start, outputs came %.1f s later", up.Sub(begun).Seconds(), time.Since(up).Seconds())
		if err := l.arrive(600); err != nil {
			return err
		}
	}
	l.did("broker killed", kills)
	return nil
}

func brokersKill(l *lab) error {
	if _, err := l.start(2); err != nil {
		return err
	}
	l.arr.mark()
	for _, role := range []struct {
		name string
		of   func() (int, error)
	}{
		{"leader killed", func() (int, error) { return l.site.leader(l.ctx, l.in(), 0) }},
		{"transaction coordinator killed", func() (int, error) { return l.site.txnCoordinator(l.ctx, l.txnID(1, "out")) }},
		{"group coordinator killed", func() (int, error) { return l.site.groupCoordinator(l.ctx, l.name) }},
		{"all killed", func() (int, error) { return -1, nil }},
	} {
		i, err := role.of()
		if err != nil {
			return fmt.Errorf("%s: %w", role.name, err)
		}
		n := 0
		for b := range l.site.Brokers() {
			if b == i || i < 0 {
				if err := l.site.Broker(b).Kill(); err != nil {
					return err
				}
				n++
			}
		}
		l.did(role.name, n)
		if i >= 0 {
			l.sleep(3*time.Second, 4*time.Second)
		}
		if err := l.site.start(l.ctx); err != nil {
			return err
		}
		if err := l.arrive(600); err != nil {
			return fmt.Errorf("%s: %w", role.name, err)
		}
	}
	return nil
}

func brokerPause(l *lab) error {
	if _, err := l.start(1); err != nil {
		return err
	}
	l.arr.mark()
	b := l.site.Broker(0)
	if err := b.Pause(); err != nil {
		return err
	}
	before := l.arr.count()
	l.sleep(20*time.Second, 0)
	quiet := 0
	if l.arr.count()-before < 300 {
		quiet = 1
	}
	l.did("paused, nothing came", quiet)
	return errors.Join(b.Resume(), l.arrive(3000))
}

// lead has broker i lead partitions of a topic, all of them if none are named: it is made the preferred replica and elected.
func (l *lab) lead(topic string, shift int) (moved int, err error) {
	d, err := l.site.adm.ListTopicsWithInternal(l.ctx, topic)
	if err != nil {
		return 0, err
	}
	var req kadm.AlterPartitionAssignmentsReq
	set := kadm.TopicsSet{}
	was := map[int32]int32{}
	for _, p := range d[topic].Partitions.Sorted() {
		order := slices.Clone(p.Replicas)
		slices.Sort(order)
		at := (slices.Index(order, p.Leader) + shift) % len(order)
		order = append(order[at:], order[:at]...)
		req.Assign(topic, p.Partition, order)
		set.Add(topic, p.Partition)
		was[p.Partition] = p.Leader
	}
	if _, err := l.site.adm.AlterPartitionAssignments(l.ctx, req); err != nil {
		return 0, err
	}
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		_, _ = l.site.adm.ElectLeaders(l.ctx, kadm.ElectPreferredReplica, set)
		d, err = l.site.adm.ListTopicsWithInternal(l.ctx, topic)
		if err != nil {
			continue
		}
		moved = 0
		for _, p := range d[topic].Partitions {
			if p.Leader > 0 && p.Leader != was[p.Partition] {
				moved++
			}
		}
		if moved == len(was) {
			break
		}
	}
	return moved, nil
}

func leaders(l *lab) error {
	if _, err := l.start(2); err != nil {
		return err
	}
	l.arr.mark()
	total := map[string]int{}
	for shift := range 2 {
		for _, topic := range []string{l.in(), l.name + ".journal", l.name + ".predictions", "__consumer_offsets", "__transaction_state"} {
			n, err := l.lead(topic, 1+shift)
			if err != nil {
				return fmt.Errorf("%s: %w", topic, err)
			}
			total[topic] += n
			if err := l.arrive(200); err != nil {
				return err
			}
		}
	}
	for topic, n := range total {
		if len(topic) > len(l.name) && topic[:len(l.name)] == l.name {
			topic = topic[len(l.name)+1:]
		}
		l.did("leaders moved of "+topic, n)
	}
	return l.arrive(600)
}

func unclean(l *lab) error {
	// The input alone is on brokers 1 and 2, one of which may go on alone.
	yes, one := "true", "1"
	if _, err := l.site.adm.AlterTopicConfigs(l.ctx, []kadm.AlterConfig{
		{Name: "unclean.leader.election.enable", Value: &yes}, {Name: "min.insync.replicas", Value: &one}}, l.in()); err != nil {
		return err
	}
	var req kadm.AlterPartitionAssignmentsReq
	set := kadm.TopicsSet{}
	for p := range int32(partitions) {
		req.Assign(l.in(), p, []int32{2, 1})
		set.Add(l.in(), p)
	}
	if _, err := l.site.adm.AlterPartitionAssignments(l.ctx, req); err != nil {
		return err
	}
	l.sleep(2*time.Second, 0)
	_, _ = l.site.adm.ElectLeaders(l.ctx, kadm.ElectPreferredReplica, set)
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w := ws[0]
	if at, err := l.site.leader(l.ctx, l.in(), 0); err != nil || at != 1 {
		return errors.Join(fmt.Errorf("the input is led by broker %d", at), err)
	}
	if err := l.site.Broker(0).Kill(); err != nil {
		return err
	}
	if err := l.arrive(2000); err != nil {
		return err
	}
	if err := l.gen.finish(l.ctx); err != nil {
		return err
	}
	if err := l.quiet(l.name, 20*time.Second); err != nil {
		return err
	}
	l.seen.Stop()
	before, err := l.site.adm.ListEndOffsets(l.ctx, l.in())
	if err != nil {
		return err
	}
	// Now: later the checker would see input that was read and is no more, which is the fault itself.
	l.refused, l.checked = true, true
	if err := l.check(); err != nil {
		return err
	}
	if err := l.site.Broker(1).Kill(); err != nil {
		return err
	}
	if err := l.site.Broker(0).Start(l.ctx); err != nil {
		return err
	}
	lost := 0
	for end := time.Now().Add(20 * time.Second); lost == 0 && time.Now().Before(end); l.sleep(200*time.Millisecond, 0) {
		after, err := l.site.adm.ListEndOffsets(l.ctx, l.in())
		if err != nil {
			continue
		}
		after.Each(func(o kadm.ListedOffset) {
			if b, ok := before.Lookup(o.Topic, o.Partition); ok && o.Err == nil && o.Offset >= 0 {
				lost += int(max(0, b.Offset-o.Offset))
			}
		})
	}
	l.did("records lost by the brokers", lost)
	code, err := w.wait(25 * time.Second)
	if err == nil && code == 0 {
		err = errors.New("the worker ended as if all were well")
	}
	if err != nil {
		// It may only have noticed nothing because nothing new came: then its next start has to.
		if e := w.kill(); e != nil {
			return errors.Join(err, e)
		}
		l.note("noticed at the next start only")
		if err = w.start(); err == nil {
			code, err = w.wait(25 * time.Second)
		}
	}
	if e := l.site.start(l.ctx); e != nil {
		return errors.Join(err, e)
	}
	if err != nil || code == 0 {
		return errors.Join(fmt.Errorf("exit code %d where the input's end is lost\n%s", code, w.tail()), err)
	}
	l.note("it says: %s", w.lastError())
	return nil
}

func hanging(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w := ws[0]
	cl, err := kgo.NewClient(kgo.SeedBrokers(l.site.past()...), kgo.TransactionalID("stranger-"+l.name),
		kgo.TransactionTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ClientID("stranger"))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	if err := cl.ProduceSync(l.ctx, &kgo.Record{Topic: l.name + ".journal", Partition: 0, Value: []byte("of no use")}).FirstErr(); err != nil {
		return err
	}
	l.did("transaction left open", 1)
	l.arr.mark()
	if err := l.arrive(300); err != nil {
		return err
	}
	if err := w.kill(); err != nil {
		return err
	}
	begun := time.Now()
	if err := w.start(); err != nil {
		return err
	}
	err = w.await(l.ctx, "a transaction of another producer is open", 1, 30*time.Second)
	l.did("the worker says so", len(w.said("a transaction of another producer is open")))
	l.note("said after %.1f s", time.Since(begun).Seconds())
	if e := cl.EndTransaction(l.ctx, kgo.TryAbort); e != nil || err != nil {
		return errors.Join(err, e)
	}
	if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
		return err
	}
	return l.arrive(600)
}

func rollback(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w, b := ws[0], l.site.Broker(0)
	l.seen.Stop()
	l.seen = nil
	disk := filepath.Join(l.dir, "kafka", "1", "broker-1", "data")
	if err := w.stop(); err != nil {
		return err
	}
	if err := b.Kill(); err != nil {
		return err
	}
	if err := os.CopyFS(disk+".old", os.DirFS(disk)); err != nil {
		return err
	}
	if err := b.Start(l.ctx); err != nil {
		return err
	}
	if err := l.restart(w); err != nil {
		return err
	}
	if err := l.gen.finish(l.ctx); err != nil {
		return err
	}
	if err := l.quiet(l.name, 30*time.Second); err != nil {
		return err
	}
	if err := w.stop(); err != nil {
		return err
	}
	if err := b.Kill(); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(disk), os.Rename(disk+".old", disk)); err != nil {
		return err
	}
	if err := b.Start(l.ctx); err != nil {
		return err
	}
	l.did("disk rolled back", 1)
	return l.refuses(w)
}
