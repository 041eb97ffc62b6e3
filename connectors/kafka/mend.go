package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
)

// mend decides what dangles in the journal, in the outputs and in the group's offsets
// when the lock was just taken, before anything is written.
func (l *taskLog) mend(ctx context.Context) error {
	if !l.c.tv2 || !l.c.describes {
		return nil
	}
	journal := connectors.TopicPartition{Topic: l.c.opt.JournalTopic, Partition: int32(l.task)}
	ds, err := l.out.open(ctx, append(slices.Clone(l.outputs), journal), 0)
	if err != nil || len(ds) == 0 {
		return err
	}
	stable, unstable, err := l.groupNow(ctx)
	if err != nil {
		return err
	}
	id, _, err := l.out.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	f := newFates(id)
	f.meta, f.unstable = l.c.opt.StepMeta, len(unstable) > 0
	f.known, f.isKnown = l.c.ends.of(l.out.id)
	for _, o := range stable {
		f.group = append(f.group, o.Metadata)
	}
	if err := l.readFates(ctx, journal, f); err != nil {
		return undecided(ds, err)
	}
	if err := f.decide(); err != nil {
		return undecided(ds, err)
	}
	var abort, commit []dangling
	for _, d := range ds {
		committed, err := f.of(d, d.TopicPartition == journal)
		switch {
		case err != nil:
			return undecided([]dangling{d}, err)
		case committed:
			commit = append(commit, d)
		default:
			abort = append(abort, d)
		}
	}
	var drop []kadm.OffsetResponse
	if len(unstable) > 0 {
		at, err := l.offsetsAt(ctx)
		if err != nil {
			return err
		}
		switch committed, known := f.lastStep(); {
		case !known:
			return undecided([]dangling{{TopicPartition: at}}, errors.New("the journal does not hold the last step (any more)"))
		case !committed:
			if drop = unstable; len(abort) == 0 { // a transaction needs a record
				abort = append(abort, dangling{TopicPartition: journal})
			}
		default:
			ds, err := l.openOffsets(ctx, at)
			if err != nil {
				return undecided([]dangling{{TopicPartition: at}}, err)
			}
			commit = append(commit, ds...)
		}
	}
	left, why := l.out.keep(ctx, commit)
	// The journal's is ended by the open record's commit, which follows.
	left = slices.DeleteFunc(left, func(d dangling) bool { return d.TopicPartition == journal })
	if len(left) > 0 {
		return fmt.Errorf("%s: the transaction was committed, but what it wrote to %s has no end, and no marker could be written: %w; start once as a user with Alter on the cluster, which that takes",
			defect, named(left), why)
	}
	if len(abort) == 0 {
		return nil
	}
	return l.out.drop(ctx, abort, drop)
}

// groupNow returns what is committed to the group for the task's partitions, and for
// which of them a transaction stays open.
func (l *taskLog) groupNow(ctx context.Context) (stable, unstable []kadm.OffsetResponse, err error) {
	err = until(ctx, markerPatience, func() (done bool, err error) {
		stable, unstable, err = l.c.groupOffsets(ctx, l.owns(), true)
		return len(unstable) == 0, err
	})
	return stable, unstable, err
}

// openOffsets returns what dangles in the group's offsets, as soon as their broker
// tells; none if it has ended meanwhile.
func (l *taskLog) openOffsets(ctx context.Context, at connectors.TopicPartition) (ds []dangling, err error) {
	told := false
	err = until(ctx, 2*markerPatience, func() (bool, error) {
		if ds, err = l.out.open(ctx, []connectors.TopicPartition{at}, 0); err != nil || len(ds) > 0 {
			told = true
			return true, err
		}
		_, unstable, err := l.c.groupOffsets(ctx, l.owns(), true)
		told = len(unstable) == 0
		return told, err
	})
	if err == nil && !told {
		err = fmt.Errorf("the brokers do not tell who has open what in %v", at)
	}
	return ds, err
}

// undecided is the error of what must be neither committed nor aborted.
func undecided(ds []dangling, why error) error {
	return fmt.Errorf("%s: what it wrote to %s has no end, and whether it was committed cannot be told: %w; nothing was changed: look into the journal and the group's offsets, and end it with kafka-transactions.sh abort if it was not",
		defect, named(ds), why)
}

// offsetsAt returns where the brokers keep the group's offsets.
func (l *taskLog) offsetsAt(ctx context.Context) (connectors.TopicPartition, error) {
	const topic = "__consumer_offsets"
	_, infos, err := l.c.Describe(ctx, []string{topic})
	if err == nil && infos[0].Partitions == 0 {
		err = fmt.Errorf("topic %s cannot be seen", topic)
	}
	if err != nil {
		return connectors.TopicPartition{}, err
	}
	return connectors.TopicPartition{Topic: topic, Partition: offsetsPartition(l.c.opt.Group, int32(infos[0].Partitions))}, nil
}

// offsetsPartition returns in which of n partitions the brokers keep a group's
// offsets: by the absolute value of Java's hash of its name, 0 where that has none.
func offsetsPartition(group string, n int32) int32 {
	hash := int32(0)
	for _, u := range utf16.Encode([]rune(group)) {
		hash = 31*hash + int32(u)
	}
	if hash == math.MinInt32 {
		return 0
	}
	return max(hash, -hash) % n
}

// readFates reads what the journal says of the transactions that dangle, and of the
// steps before them. The records of those are in it, or were there: they go first.
func (l *taskLog) readFates(ctx context.Context, journal connectors.TopicPartition, f *fates) error {
	start, err := l.c.position(ctx, journal, l.c.adm.ListStartOffsets)
	if err != nil {
		return err
	}
	end, err := l.c.position(ctx, journal, l.c.adm.ListEndOffsets) // what is open lies behind the last stable offset
	if err != nil || start >= end {
		return err
	}
	_, err = l.c.scan(ctx, journal, start, end-1, kgo.ReadUncommitted(), f.record)
	return err
}
