package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
)

// openKey is the key of the record that Fence writes to the state topic.
const openKey = "@open"

// Log opens the log of a task, from 0, without taking its lock. A worker has at
// most one log of a task open at a time.
func (c *Cluster) Log(task int) (connectors.TaskLog, error) {
	if task < 0 || task >= c.opt.Tasks {
		return nil, fmt.Errorf("task %d: the pipeline has tasks 0 to %d", task, c.opt.Tasks-1)
	}
	l := &taskLog{c: c, task: task, prefix: fmt.Sprintf("%s/%d", c.opt.Pipeline, task)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	c.logs[l] = struct{}{}
	return l, nil
}

// taskLog implements connectors.TaskLog. The lock on the task is the pair of
// transactional ids PIPELINE/TASK/out and PIPELINE/TASK/ckpt.
type taskLog struct {
	c      *Cluster
	task   int
	prefix string

	out, ckpt *txnClient // nil before Fence
	outputs   []connectors.TopicPartition
	open      []byte // the open record, written again where an outcome is unknown
	last      int64  // offset of the latest record of ours in the journal
	opened    int64  // offset there of the open record of the last Fence
	dead      error  // set once the log may not be used any more

	// Of the goroutine that saves and loads state, but for Fence.
	marked    int64 // offset of our open record in the state topic; -1 if there is no such topic
	unsettled bool  // the last transaction of ckpt may still be open
	gone      error // set once ckpt was taken

	mu      sync.Mutex   // the cluster may be closed while the log is used
	clients []*txnClient // those that are open
	shut    bool         // no more are to be opened

	records []kgo.Record // those handed over since the last flush; reused
	journal kgo.Record
}

// Fence takes the lock. It may be called again after [connectors.ErrLost], once
// [Cluster.Confirm] has returned nil.
func (l *taskLog) Fence(ctx context.Context, open []byte) (_ int64, err error) {
	ctx, end := l.c.believing(ctx)
	defer end(&err)
	if l.isShut() {
		return 0, errClosed
	}
	l.closeClients()
	l.open, l.dead = append([]byte(nil), open...), nil
	l.marked, l.unsettled, l.gone = -1, false, nil
	topics := []string{l.c.opt.JournalTopic, l.c.opt.StateTopic}
	for _, topic := range l.c.opt.Outputs {
		if topic != "" && !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	_, infos, err := l.c.Describe(ctx, topics)
	if err != nil {
		return 0, err
	}
	l.outputs = l.outputs[:0]
	for i, info := range infos {
		switch {
		case info.Missing && i == 0:
			return 0, fmt.Errorf("the journal topic %s does not exist; create it with gradstream topics", info.Name)
		case info.Missing:
		case i > 1:
			for p := range info.Partitions {
				l.outputs = append(l.outputs, connectors.TopicPartition{Topic: info.Name, Partition: int32(p)})
			}
		case i == 1 && info.Partitions <= l.task: // a migration has not come so far yet
			infos[i].Missing = true
		case info.Partitions <= l.task:
			return 0, fmt.Errorf("topic %s has %d partitions, task %d needs one of its own: was the topic made for fewer tasks?", info.Name, info.Partitions, l.task)
		}
	}
	l.c.learnLimits(ctx)
	if l.out, err = l.client("/out", l.c.opt.TransactionTimeout, l.c.opt.Compression); err != nil {
		return 0, err
	}
	if l.ckpt, err = l.client("/ckpt", l.c.opt.CheckpointTimeout, "zstd"); err != nil {
		return 0, err
	}
	take := func(t *txnClient, mend func() error) func() error {
		return func() error {
			if err := t.take(ctx); err != nil {
				return err
			}
			return mend()
		}
	}
	if err := l.out.learnEnd(ctx); err != nil {
		return 0, l.die(err)
	}
	err = beside(take(l.out, func() error { return l.mend(ctx) }), take(l.ckpt, func() error {
		if infos[1].Missing {
			return nil
		}
		return l.mendState(ctx, 0)
	}))
	if err != nil {
		return 0, l.die(err)
	}
	err = beside(func() (err error) {
		l.last, err = l.commitOpen(ctx, l.out, l.c.opt.JournalTopic)
		return err
	}, func() (err error) {
		if !infos[1].Missing {
			l.marked, err = l.commitOpen(ctx, l.ckpt, l.c.opt.StateTopic)
		}
		return err
	})
	if err != nil {
		return 0, l.die(err)
	}
	l.opened = l.last
	return l.opened, nil
}

// beside does two things at once and returns the error of the first, or else of the
// second.
func beside(first, second func() error) error {
	done := make(chan error, 1)
	go func() { done <- second() }()
	return cmp.Or(first(), <-done)
}

// commitOpen commits the open record in a transaction of its own. Where the
// outcome is unknown it writes another: readers take any number of them.
func (l *taskLog) commitOpen(ctx context.Context, t *txnClient, topic string) (int64, error) {
	rec := kgo.Record{Topic: topic, Partition: int32(l.task), Value: l.open}
	if topic == l.c.opt.StateTopic {
		rec.Key = []byte(openKey)
	}
	retry := l.c.retry(ctx, t.id+": opening")
	for {
		p, err := t.send(ctx, &rec)
		switch act := decide(p, err); act {
		case actDone:
			return rec.Offset, nil
		case actLost, actStop:
			return 0, t.fatal(ctx, act, p, err)
		case actFail:
			t.abort(ctx)
			return 0, explain(fmt.Sprintf("%s[%d]", topic, l.task), err)
		default:
			if err := t.abort(ctx); err != nil {
				return 0, err
			}
			if err := retry(err); err != nil {
				return 0, err
			}
		}
		rec = kgo.Record{Topic: topic, Partition: int32(l.task), Key: rec.Key, Value: l.open}
	}
}

// Offsets returns the positions committed to the group for the task's partitions.
func (l *taskLog) Offsets(ctx context.Context) ([]connectors.Position, error) {
	return l.c.committed(ctx, l.owns())
}

// owns returns which partitions are the task's.
func (l *taskLog) owns() func(topic string, partition int32) bool {
	sources := map[string]bool{}
	for _, s := range l.c.opt.Sources {
		sources[s] = true
	}
	return func(topic string, p int32) bool {
		return (len(sources) == 0 || sources[topic]) && l.c.opt.TaskOf(topic, p) == l.task
	}
}

// Commit makes the step durable and visible, all or nothing.
func (l *taskLog) Commit(ctx context.Context, s *connectors.Step) (_ int64, err error) {
	ctx, end := l.c.believing(ctx)
	defer end(&err)
	if l.dead != nil {
		return 0, l.dead
	}
	if l.out == nil {
		return 0, errors.New("the log is not fenced")
	}
	at, err := l.commit(ctx, s)
	if err != nil {
		return 0, l.die(err)
	}
	l.last = at
	return at, nil
}

func (l *taskLog) commit(ctx context.Context, s *connectors.Step) (int64, error) {
	retry := l.c.retry(ctx, fmt.Sprintf("%s: step %d", l.prefix, s.StepNo))
	now := time.Now() // one time for all attempts: what is sent again is the same bytes
	for {
		if err := l.c.withMembership(l.task, func(string, int32, *string) error { return nil }); err != nil {
			if errors.Is(err, connectors.ErrLost) {
				return 0, err
			}
			if err := retry(err); err != nil { // back in the group soon, or the task is gone
				return 0, err
			}
			continue
		}
		p, err := l.sendStep(ctx, s, now)
		act := decide(p, err)
		switch act {
		case actDone:
			return l.journal.Offset, nil
		case actLost, actStop:
			return 0, l.out.fatal(ctx, act, p, err)
		case actFail:
			name := l.out.failedAt(s, l.c)
			l.out.abort(ctx)
			return 0, explain(fmt.Sprintf("step %d of task %d, %v, %s", s.StepNo, l.task, p, name), err)
		case actResolve:
			l.c.log.Warn("whether a step was committed is not known; looking into the journal", "id", l.out.id, "step", s.StepNo, "err", err)
			at, done, rerr := l.settle(ctx, s)
			if rerr != nil {
				return 0, rerr
			}
			if done {
				return at, nil
			}
		case actResend:
			if err := l.out.abort(ctx); err != nil {
				return 0, err
			}
			if err := l.ended(ctx, s); err != nil {
				return 0, err
			}
		}
		if err := retry(err); err != nil {
			return 0, err
		}
	}
}

// settle finds out whether the step was committed, after which it is decided: no
// transaction of ours is open any more. A new open record marks how far the
// journal has to be read.
func (l *taskLog) settle(ctx context.Context, s *connectors.Step) (at int64, committed bool, err error) {
	if l.c.tv2 && l.c.describes {
		l.out.askEnd(ctx) // an abort may make the coordinator forget it
	}
	if err := l.out.abort(ctx); err != nil {
		return 0, false, err
	}
	if err := l.ended(ctx, s); err != nil {
		return 0, false, err
	}
	mark, err := l.commitOpen(ctx, l.out, l.c.opt.JournalTopic)
	if err != nil {
		return 0, false, err
	}
	if s.Resolve == nil {
		return 0, false, fmt.Errorf("step %d: the outcome is unknown and the step cannot be recognised", s.StepNo)
	}
	err = l.ReadJournal(ctx, l.last+1, mark, func(offset int64, record []byte) error {
		if offset < mark && s.Resolve(record) {
			at, committed = offset, true
		}
		return nil
	})
	if err == nil && !committed {
		l.last = mark
	}
	return at, committed, err
}

// sendStep sends the step as one transaction. The journal record goes first: once
// it is acknowledged the client knows that there is a transaction to end, whatever
// becomes of the outputs. All that follows is written by who wrote the journal record,
// or the step is sent again.
func (l *taskLog) sendStep(ctx context.Context, s *connectors.Step, now time.Time) (phase, error) {
	begun := time.Now()
	if err := l.out.begin(); err != nil {
		return phaseBegin, err
	}
	l.journal = kgo.Record{Value: s.Journal, Topic: l.c.opt.JournalTopic, Partition: int32(l.task), Timestamp: now}
	l.out.put(ctx, &l.journal)
	if err := l.out.flush(ctx); err != nil {
		return phaseSend, err
	}
	who, err := l.out.author(ctx)
	if err == nil && (l.out.shaken.Swap(false) || time.Since(begun) > slowBegin) {
		err = l.keepOutputs(ctx, who)
	}
	switch {
	case err != nil || s.Outputs.Len() == 0:
	case l.out.pub != nil:
		err = l.out.pub.send(ctx, who, s.Outputs, now)
	default:
		err = l.sendRecords(ctx, s.Outputs, now)
	}
	if err != nil {
		return phaseSend, err
	}
	if len(s.Offsets) > 0 {
		err := l.c.withMembership(l.task, func(id string, gen int32, instance *string) error {
			return l.out.offsets(ctx, who, s, id, gen, instance)
		})
		if err != nil {
			return phaseOffsets, err
		}
	}
	if _, err := l.out.author(ctx); err != nil {
		return phaseSend, err
	}
	return phaseEnd, l.out.end(ctx, kgo.TryCommit)
}

// sendRecords sends the outputs record by record, as the client's own producing has
// it. The memory of records is used again after each flush, so it stays small
// however large a step is.
func (l *taskLog) sendRecords(ctx context.Context, o *connectors.Outputs, now time.Time) error {
	if need := min(o.Len(), maxBuffered); len(l.records) < need {
		l.records = make([]kgo.Record, min(need+need/4, maxBuffered))
	}
	for i := range o.Len() {
		if err := l.out.room(ctx); err != nil {
			return err
		}
		x, r := o.At(i), &l.records[l.out.count]
		*r = kgo.Record{Key: x.Key, Value: x.Value, Topic: x.Topic, Partition: x.Partition, Timestamp: now}
		if x.Time != 0 {
			r.Timestamp = time.UnixMilli(x.Time)
		}
		for _, h := range x.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader(h))
		}
		l.out.put(ctx, r)
	}
	return l.out.flush(ctx)
}

// die ends the use of the log: after any error the caller must fence again or
// stop.
func (l *taskLog) die(err error) error {
	l.dead = fmt.Errorf("the log of task %d has failed before: %w", l.task, err)
	return err
}

// Close closes the log's connections; a transaction that is still open is left to
// the next owner's Fence.
func (l *taskLog) Close() error {
	l.c.mu.Lock()
	delete(l.c.logs, l)
	l.c.mu.Unlock()
	l.disconnect()
	l.closeClients()
	l.dead = errClosed
	return nil
}

// client opens a producer under one of the task's transactional ids.
func (l *taskLog) client(id string, timeout time.Duration, compressed string) (*txnClient, error) {
	t, err := l.c.newTxnClient(l.prefix+id, timeout, compressed)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		t.cl.Close()
		return nil, errClosed
	}
	l.clients = append(l.clients, t)
	return t, nil
}

func (l *taskLog) isShut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shut
}

// closeClients leaves the log without producers, as before Fence.
func (l *taskLog) closeClients() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.clients {
		t.cl.Close()
	}
	l.clients, l.out, l.ckpt = nil, nil, nil
}

// disconnect makes whatever is being done with the log, by any goroutine, fail.
func (l *taskLog) disconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut = true
	for _, t := range l.clients {
		t.cl.Close()
	}
}

// retry returns a function to call before each new attempt, with the reason: it
// waits, longer each time, says so every few seconds, and returns an error when
// ctx ends or brokers are given up.
func (c *Cluster) retry(ctx context.Context, doing string) func(error) error {
	w := c.wait(doing)
	return func(why error) error {
		if gone := w.failed(why); gone != nil {
			return gone
		}
		if !sleep(ctx, retryBackoff(w.tries-1)) {
			return fmt.Errorf("%s: %w (%w)", doing, ctx.Err(), why)
		}
		return nil
	}
}
