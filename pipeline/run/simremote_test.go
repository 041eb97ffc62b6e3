package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state"
)

// counted returns the value of a counter, or how much a histogram holds.
func counted(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		panic(err)
	}
	return d.GetCounter().GetValue() + float64(d.GetHistogram().GetSampleCount())
}

// simState is a record of the state topic.
type simState struct {
	key, value []byte
}

// SaveState lets time pass, and then does it, or not, or does it and says it did not.
func (l *simLog) SaveState(ctx context.Context, entries func(yield func(key, value []byte) error) error) error {
	if err := l.c.pause(ctx, 80*time.Millisecond); err != nil {
		return err
	}
	if err := l.c.pass(l.task, beforeRemote); err != nil {
		return err
	}
	var all []simState
	for range 1 + l.c.draw(2) { // an attempt that failed comes before
		all = nil
		err := entries(func(key, value []byte) error {
			all = append(all, simState{slices.Clone(key), slices.Clone(value)})
			if len(all) == 2 {
				return l.c.pass(l.task, midRemote)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	fails := l.c.slow > 0 && l.c.odds(l.c.slow)
	if fails && l.c.odds(2) {
		return errors.New("no broker answers")
	}
	dead := l.c.pass(l.task, remoteSent)
	if dead != nil && l.c.odds(2) {
		return dead
	}
	if err := cmp.Or(l.keep(all, fails), dead); err != nil {
		return err
	}
	return l.c.pass(l.task, remoteAcked)
}

// keep commits records of the state topic; it says that it failed if fails is set.
func (l *simLog) keep(all []simState, fails bool) error {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.c.epoch[l.task] != l.epoch {
		return connectors.ErrLost
	}
	l.c.remote[l.task] = append(l.c.remote[l.task], all...)
	if l.c.rng.IntN(3) == 0 {
		l.marked = l.c.compact(l.task, l.marked)
	}
	m, err := readSim(l.c.remote[l.task]).check()
	if err != nil && !fails && l.c.slow == 0 {
		panic(fmt.Sprintf("what is saved does not add up: %v", err))
	}
	if err == nil && !l.c.inJournal(l.task, m) {
		panic(fmt.Sprintf("a remote checkpoint of step %d, which is not committed", m.Step))
	}
	if fails {
		return errors.New("no broker answers")
	}
	return nil
}

// compact keeps the last record of each key, and no tombstone or one in two. It
// returns where the place mark is now.
func (b *simBroker) compact(task, mark int) int {
	log := b.remote[task]
	last := map[string]int{}
	for i, e := range log {
		last[string(e.key)] = i
	}
	var kept []simState
	at := 0
	for i, e := range log {
		if last[string(e.key)] == i && (e.value != nil || b.rng.IntN(2) == 0) {
			kept = append(kept, e)
		}
		if i < mark {
			at = len(kept)
		}
	}
	b.remote[task] = kept
	return at
}

func (b *simBroker) inJournal(task int, m state.Manifest) bool {
	for _, e := range b.journal[task] {
		if s, _, err := parseJournal(e.Value); err == nil && s != nil && s.Step == m.Step && s.Hash == m.Hash {
			return e.Offset >= m.Journal
		}
	}
	return false
}

func readSim(log []simState) *image {
	im, err := readImage(func(yield func(key, value []byte) error) error {
		return (&simImage{log: log}).LoadState(context.Background(), yield)
	}, true)
	if err != nil {
		panic(err)
	}
	return im
}

type simImage struct {
	connectors.StateLog
	log []simState
}

func (l *simImage) LoadState(_ context.Context, yield func(key, value []byte) error) error {
	for _, e := range l.log {
		if err := yield(e.key, e.value); err != nil {
			return err
		}
	}
	return nil
}

func (l *simLog) LoadState(ctx context.Context, yield func(key, value []byte) error) error {
	if err := l.c.pause(ctx, 50*time.Millisecond); err != nil {
		return err
	}
	l.c.mu.Lock()
	log := slices.Clone(l.c.remote[l.task][:l.marked])
	l.c.mu.Unlock()
	n := 0
	return (&simImage{log: log}).LoadState(ctx, func(key, value []byte) error {
		if n++; n == 2 {
			if err := l.c.pass(l.task, readingState); err != nil {
				return err
			}
		}
		return yield(key, value)
	})
}

// Trim hides what it deletes: the checks at the end want to see it.
func (l *simLog) Trim(_ context.Context, at connectors.Position, keep time.Duration) (int64, error) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if keep > time.Hour { // all is younger
		return 0, nil
	}
	before := at.Next
	if strings.HasSuffix(at.Topic, ".repartition") {
		if l.c.taskOf(at.Topic, at.Partition) != l.task || before > l.c.group[at.TopicPartition] {
			panic(fmt.Sprintf("task %d trims %v up to %d", l.task, at.TopicPartition, before))
		}
		l.c.starts[at.TopicPartition] = max(l.c.starts[at.TopicPartition], before)
		return l.c.starts[at.TopicPartition], l.c.alive()
	}
	if log := l.c.journal[l.task]; before > log[len(log)-1].Offset {
		panic("the end of the journal is trimmed")
	}
	if before > l.c.trimmed[l.task] {
		l.c.trimmed[l.task] = before
		l.c.trims++
	}
	return l.c.trimmed[l.task], l.c.alive()
}
