package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state"
)

// replay feeds a task with the journaled steps behind its checkpoint. Nothing
// leaves the process: what the steps would publish is computed, compared with
// what the journal says was published, and forgotten.
type replay struct {
	t        *task
	from     int64      // offset in the journal from which it is read, if there is a checkpoint
	verified bool       // the checkpoint's step was met in the journal, or there is none
	graph    state.Hash // of the pipeline that computed the steps now being read
	files    []openFile // that their operators had taken up
	foreign  error      // why those steps cannot be of these sources
	out      outputs
	closing  error  // of a feed
	watch    *watch // nil = nobody looks on
}

// watch is for whoever wants to see what a step is made of.
type watch struct {
	took func(source int, partition int32, recs []connectors.Record) // the step's input, in order
	fed  func(s *stepRecord)                                         // all of it is processed; the outputs are not gathered yet
}

// record takes one journal record, in order.
func (r *replay) record(ctx context.Context, offset int64, b []byte) error {
	t := r.t
	rec, err := parseRecord(b)
	if err != nil {
		return fmt.Errorf("task %d: journal offset %d: %w", t.id, offset, err)
	}
	step, open := rec.step, rec.open
	if open != nil {
		r.open(open)
		return r.closing
	}
	if rec.accepted != nil {
		return r.accepted(offset, rec.accepted)
	}
	if r.foreign != nil {
		return r.foreign
	}
	if step.Step <= t.step && !r.verified {
		if step.Step == t.step {
			if step.Hash != t.hash {
				return fmt.Errorf("%w: step %d has another hash", errUncheckpointed, step.Step)
			}
			// With another file there may be other states.
			if step.HasDigest && r.graph == t.of.graph && step.Digest != t.core.digest() {
				return fmt.Errorf("%w: the state of step %d is damaged", errUncheckpointed, step.Step)
			}
			r.verified = true
			t.journal.Store(offset)
		}
		return nil
	}
	if !r.verified {
		return fmt.Errorf("%w: the journal goes on at step %d behind step %d", errUncheckpointed, step.Step, t.step)
	}
	given := t.givenUp(step.Step) != nil
	unopened := t.step == 0 && !given && len(t.knownPositions()) == 0 // trimmed between an open record and step 1
	if unopened || (step.Step != t.step+1 || step.Prev != t.hash) && (t.step > 0 || !given) {
		if t.step == 0 {
			return fmt.Errorf("task %d: %w: the journal begins at step %d: its start is gone and no checkpoint reaches it, so the state cannot be rebuilt; %s", t.id, errGone, step.Step, t.whyNoRemote())
		}
		return fmt.Errorf("task %d: journal offset %d: step %d does not follow step %d", t.id, offset, step.Step, t.step)
	}
	if given {
		r.pass(step)
	} else if err := r.step(ctx, step); err != nil {
		return err
	}
	t.journal.Store(offset)
	return nil
}

// open notes how many partitions the outputs' topics had for the steps that follow
// an open record, whether those steps read the topics of today, and where a
// partition begins: the first record that speaks of it says so, unless a
// checkpoint does. A record that no step follows says nothing about
// topics: it may be of a worker that was refused at once, for its file named
// another topic.
func (r *replay) open(o *openRecord) {
	t := r.t
	r.graph, r.files, r.foreign = o.Graph, o.Files, nil
	t.core.route(t.of.countsThen(o.Sinks))
	for _, s := range o.Sources {
		if i := t.of.p.Source(s.Name); i >= 0 && r.foreign == nil {
			r.foreign = sameSource(s, t.of.Topics[i])
		}
	}
	if r.foreign == nil {
		var read []string
		for _, s := range o.Sources {
			read = append(read, s.Topic)
		}
		r.foreign = t.of.sameStage(t.id, read)
	}
	if r.foreign != nil {
		return
	}
	for _, s := range o.Sources {
		if i := t.of.p.Source(s.Name); i >= 0 && (o.Adopts || t.adopted[i] == 0) {
			t.adopted[i] = s.Partitions
		}
	}
	fresh := false
	for _, p := range o.Positions {
		i := t.partitionOf(o, p)
		if i >= 0 && !t.parts[i].known && int(p.Partition) < t.adopted[t.parts[i].source] {
			t.parts[i].next, t.parts[i].known, fresh = p.Next, true, true
		}
	}
	if fresh && t.feed != nil { // which does not have them
		r.closing = t.closeFeed()
	}
}

// sameSource refuses a source topic that is not the one that was read before.
func sameSource(was openSource, now connectors.TopicInfo) error {
	switch {
	case was.Topic != now.Name:
		return fmt.Errorf("source %s: the state was made by reading topic %q, the pipeline file now says %q; restore the old name, or give the pipeline another name to start afresh", was.Name, was.Topic, now.Name)
	case was.ID != now.ID:
		return fmt.Errorf("source %s: topic %q was deleted and created again since the state was made; delete the pipeline's topics, group and state folder to start afresh", was.Name, was.Topic)
	case was.Partitions > now.Partitions: // more are another matter: see [task.grown]
		return fmt.Errorf("source %s: topic %q has %d partitions, the state was made with %d", was.Name, was.Topic, now.Partitions, was.Partitions)
	}
	return nil
}

// step feeds exactly the records of a journaled step.
func (r *replay) step(ctx context.Context, s *stepRecord) error {
	t := r.t
	if r.graph != (state.Hash{}) && r.graph != t.of.graph {
		if other := t.of.otherFile(r.files); other != "" {
			return fmt.Errorf("task %d: step %d has to be replayed, but %s; bring the file back as it was until the pipeline has stopped cleanly (SIGTERM); then give the operator, and the learners behind it, another name with the new file", t.id, s.Step, other)
		}
		return fmt.Errorf("task %d: step %d has to be replayed, but the pipeline file was changed since; run the file as it was until it has stopped cleanly (SIGTERM), then change it", t.id, s.Step)
	}
	t.m = t.m.next(more)
	t.setPhase(t.m.doing.phase())
	if err := t.openFeed(ctx); err != nil {
		return err
	}
	t.whole = false
	before := t.core.engine.V
	t.core.begin(s.Clock, &r.out)
	if len(s.Backfills) > 0 {
		if err := t.relearn(ctx, s.Backfills); err != nil {
			return err
		}
	}
	for _, run := range s.Runs {
		i := t.partitionOfRun(run)
		if i < 0 {
			return fmt.Errorf("task %d: step %d read partition %d of source %d, which is not this task's", t.id, s.Step, run.Partition, run.Source)
		}
		for t.parts[i].next < run.Next {
			if err := r.poll(ctx, i, run.Next); err != nil {
				return fmt.Errorf("task %d: replaying step %d: %w", t.id, s.Step, err)
			}
			recs, err := r.skipping(i, run.Next, s.Skips)
			if err != nil {
				return err
			}
			if r.watch != nil {
				r.watch.took(run.Source, run.Partition, recs)
			}
		}
	}
	if r.watch != nil {
		r.watch.fed(s)
	}
	if err := t.core.end(s.Step); err != nil {
		return err
	}
	if n := int64(r.out.Len()); n != s.Outputs || r.out.hash != s.OutHash {
		return fmt.Errorf("task %d: replay of step %d diverged: it makes %d outputs with hash %x, the journal says %d with %x; the program, the pipeline or the input is not what it was", t.id, s.Step, n, r.out.hash, s.Outputs, s.OutHash)
	}
	if e := t.core.engine.V; e.Rows-before.Rows != s.Rows || e.Rejected-before.Rejected != s.Rejected || e.Clock != s.Clock || e.Watermark != s.Watermark {
		return fmt.Errorf("task %d: replay of step %d diverged: it takes %d rows, rejects %d and comes to clock %d and watermark %d, the journal says %d, %d, %d and %d", t.id, s.Step,
			e.Rows-before.Rows, e.Rejected-before.Rejected, e.Clock, e.Watermark, s.Rows, s.Rejected, s.Clock, s.Watermark)
	}
	if s.HasDigest {
		if d := t.core.digest(); d != s.Digest {
			return fmt.Errorf("task %d: replay of step %d diverged: state digest %x, the journal says %x", t.id, s.Step, d, s.Digest)
		}
	}
	t.step, t.hash = s.Step, s.Hash
	t.replayed++
	t.whole = true
	t.publish(false)
	return nil
}

// lostAfter is how long input may stay away that was there before, until it is
// looked whether it is still there.
const lostAfter = 5 * time.Second

// poll waits for input of a partition, which a step has read up to an offset: a log
// that has lost its end since would be waited for without end.
func (r *replay) poll(ctx context.Context, i int, upTo int64) error {
	t := r.t
	wait, cancel := context.WithTimeout(ctx, lostAfter)
	_, err := t.poll(wait, i)
	cancel()
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	tp := t.parts[i].TopicPartition
	end, err := t.w.cluster.Resolve(ctx, []connectors.Position{{TopicPartition: tp, Next: connectors.Latest}})
	if err != nil {
		return err
	}
	if end := end[0].Next; end < upTo {
		return fmt.Errorf("%w; delete the pipeline's topics, group and state folder to start afresh", &connectors.OutOfRangeError{TopicPartition: tp, Offset: upTo - 1, End: end})
	}
	_, err = t.poll(ctx, i)
	return err
}

// done is called behind the last record.
func (r *replay) done() error {
	if !r.verified {
		if m, ok, _ := r.t.remote.confirmed(); ok && m.Step == r.t.step {
			return fmt.Errorf("task %d: the remote checkpoint holds step %d but the journal ends before it: the broker lost committed records; delete the pipeline's topics, group and state folder to start afresh", r.t.id, r.t.step)
		}
		return fmt.Errorf("task %d: the local checkpoint holds step %d but the journal ends before it: the broker lost committed records, or the state folder belongs to another cluster; delete the state folder to rebuild from what the journal holds", r.t.id, r.t.step)
	}
	return nil
}
