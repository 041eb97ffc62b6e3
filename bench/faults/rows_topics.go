//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// refuses starts a worker that has to say why it cannot work and to end, having published nothing.
func (l *lab) refuses(w *worker) error {
	l.refused = true
	outs := []string{l.name + ".predictions", l.name + ".metrics"}
	before, err := l.site.adm.ListEndOffsets(l.ctx, outs...)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := w.start(); err != nil {
		return err
	}
	code, err := w.wait(45 * time.Second)
	if err != nil || code == 0 {
		return errors.Join(fmt.Errorf("the worker ended with code %d where it has to refuse\n%s", code, w.tail()), err)
	}
	after, err := l.site.adm.ListEndOffsets(l.ctx, outs...)
	if err != nil {
		return err
	}
	after.Each(func(o kadm.ListedOffset) {
		if b, ok := before.Lookup(o.Topic, o.Partition); ok && b.Offset != o.Offset {
			err = errors.Join(err, fmt.Errorf("%s[%d] grew from %d to %d by a worker that refuses", o.Topic, o.Partition, b.Offset, o.Offset))
		}
	})
	l.did("refused", 1)
	l.note("after %.1f s: %s", time.Since(begun).Seconds(), w.lastError())
	return err
}

// settled starts a worker, lets it work, stops it and the load, and has the checker look, before the row takes away what
// the checker would compare with.
func (l *lab) settled() (*worker, error) {
	ws, err := l.start(1)
	if err != nil {
		return nil, err
	}
	if err := l.gen.finish(l.ctx); err != nil {
		return nil, err
	}
	if err := l.quiet(l.name, 30*time.Second); err != nil {
		return nil, err
	}
	if err := ws[0].stop(); err != nil {
		return nil, err
	}
	l.sleep(300*time.Millisecond, 0)
	l.seen.Stop()
	l.checked = true
	return ws[0], errors.Join(l.check(), l.calm())
}

// more produces n events more, after the generator has finished.
func (l *lab) more(n int) error {
	for range n {
		i := l.gen.sent.Add(1) - 1
		if err := l.gen.cl.ProduceSync(l.ctx, &kgo.Record{Topic: l.in(), Partition: l.gen.place(i), Value: l.gen.value(i)}).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

func retention(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	if err := l.more(40); err != nil {
		return err
	}
	ends, err := l.site.adm.ListEndOffsets(l.ctx, l.in())
	if err != nil {
		return err
	}
	del := ends.Offsets()
	resp, err := l.site.adm.DeleteRecords(l.ctx, del)
	if err != nil {
		return err
	}
	n := 0
	resp.Each(func(r kadm.DeleteRecordsResponse) {
		if r.Err == nil && r.LowWatermark == ends[l.in()][r.Partition].Offset {
			n++
		}
	})
	l.did("partitions emptied", n)
	return l.refuses(w)
}

func recreated(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	if _, err := l.site.adm.DeleteTopics(l.ctx, l.in()); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; l.sleep(100*time.Millisecond, 0) {
		_, err := l.site.adm.CreateTopic(l.ctx, partitions, 1, nil, l.in())
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return err
		}
	}
	l.did("topic made anew", 1)
	return l.refuses(w)
}

func grown(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	resp, err := l.site.adm.CreatePartitions(l.ctx, 2, l.in())
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return err
	}
	l.sleep(500*time.Millisecond, 0)
	l.did("partitions added", 2)
	return l.refuses(w)
}

func moved(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	at := kadm.Offsets{}
	at.AddOffset(l.in(), 1, 17, -1)
	resp, err := l.site.adm.CommitOffsets(l.ctx, l.name, at)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return err
	}
	l.did("offsets moved", 1)
	return l.refuses(w)
}

func expired(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	resp, err := l.site.adm.DeleteGroup(l.ctx, l.name)
	if err == nil {
		err = resp.Err
	}
	if err != nil {
		return err
	}
	l.did("group deleted", 1)
	// The journal has the positions too, so nothing need be refused: what comes now is processed, and checked anew.
	l.checked, l.wrong, l.compared, l.seen = false, 0, 0, nil
	if err := w.start(); err != nil {
		return err
	}
	if err := l.more(400); err != nil {
		return err
	}
	return l.arrive(0)
}

// compaction forces the state topic to be compacted, then has a worker restore from it.
func compaction(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w, topic := ws[0], l.name+".state"
	var set []kadm.AlterConfig
	for name, value := range map[string]string{"segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0",
		"min.compaction.lag.ms": "0", "max.compaction.lag.ms": "1000", "segment.bytes": "1048576"} {
		set = append(set, kadm.AlterConfig{Name: name, Value: &value})
	}
	if resp, err := l.site.adm.AlterTopicConfigs(l.ctx, set, topic); err != nil {
		return err
	} else if _, err := resp.On(topic, nil); err != nil {
		return err
	}
	l.arr.mark()
	for end := time.Now().Add(10 * time.Second); ; l.sleep(200*time.Millisecond, 0) {
		if n, _, err := l.held(topic); err == nil && n > 5*partitions { // more than what takes the lock
			break
		}
		if time.Now().After(end) {
			return cannotError("this build writes no remote checkpoints")
		}
	}
	gone := int64(0)
	for end := time.Now().Add(40 * time.Second); gone == 0 && time.Now().Before(end); l.sleep(time.Second, 0) {
		held, ends, err := l.held(topic)
		if err != nil {
			return err
		}
		gone = ends - held
	}
	l.did("records compacted away", int(gone))
	if err := w.kill(); err != nil {
		return err
	}
	if err := os.RemoveAll(w.dir); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
		return err
	}
	l.did("restored from the topic", len(w.said("restored from the remote checkpoint")))
	return l.arrive(600)
}

// held counts the records that a topic holds, control records included, and the offsets it has used.
func (l *lab) held(topic string) (records, offsets int64, err error) {
	ends, err := l.site.adm.ListEndOffsets(l.ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	from, left := map[int32]kgo.Offset{}, 0
	next := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		offsets += o.Offset
		if o.Offset > 0 {
			from[o.Partition], next[o.Partition] = kgo.NewOffset().AtStart(), o.Offset
			left++
		}
	})
	if left == 0 {
		return 0, 0, nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(l.site.past()...), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return 0, 0, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(l.ctx, 10*time.Second)
	defer cancel()
	for left > 0 && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if end := next[r.Partition]; r.Offset < end {
				if records++; r.Offset == end-1 {
					left--
				}
			}
		})
	}
	return records, offsets, ctx.Err()
}
