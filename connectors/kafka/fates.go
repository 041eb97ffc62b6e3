package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// outcome is how a transaction ended, as its coordinator has it.
type outcome struct {
	producer  // that wrote it
	committed bool
}

// ends remembers how the last transaction of each id ended: coordinators forget it
// when the id is taken again.
type ends struct {
	mu   sync.Mutex
	last map[string]outcome
}

func (e *ends) put(id string, o outcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last == nil {
		e.last = map[string]outcome{}
	}
	e.last[id] = o
}

func (e *ends) of(id string) (outcome, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o, ok := e.last[id]
	return o, ok
}

// askEnd asks the coordinator how the last transaction of the id ended, and remembers
// it. What ends a transaction raises the epoch, so it was written in the one before.
// It says who the id's producer is now, nobody if it was not told.
func (t *txnClient) askEnd(ctx context.Context) (o outcome, now producer) {
	d, err := t.c.adm.DescribeTransactions(ctx, t.id)
	if err != nil || d[t.id].Err != nil {
		return o, nobody
	}
	now = producer{d[t.id].ProducerID, d[t.id].ProducerEpoch}
	o.producer = producer{now.id, now.epoch - 1}
	switch d[t.id].State {
	case "PrepareCommit", "CompleteCommit":
		o.committed = true
	case "PrepareAbort", "CompleteAbort":
	default:
		return o, nobody
	}
	t.c.ends.put(t.id, o)
	return o, now
}

// learnEnd takes the id to learn how its last transaction ended: the coordinator ends
// it before it gives the id away, and has forgotten it when it has. It waits for that
// as take does; whatever else is wrong take is told.
func (t *txnClient) learnEnd(ctx context.Context) error {
	if !t.c.tv2 || !t.c.describes {
		return nil
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &t.id, int32(t.timeout.Milliseconds()), -1, -1
	retry := t.c.retry(ctx, "taking "+t.id)
	for {
		t.askEnd(ctx)
		resp, err := req.RequestWith(ctx, t.cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return nil
		}
		if err := retry(err); err != nil {
			return err
		}
	}
}

// fates gathers how the transactions of a producer have ended: from the journal, where
// each has a record, from the coordinator, and from the group's offsets, which are
// committed with a step.
type fates struct {
	producer int64
	meta     func(record []byte) (string, error) // see [Options]
	group    []string                            // metadata of the group's offsets
	unstable bool                                // some of them are not known
	known    outcome
	isKnown  bool

	ended   map[int16]bool   // by epoch: whether committed
	open    []journaled      // of transactions without an end
	last    journaled        // the last step that has one
	begun   map[int64]string // by number of any producer: metadata of its last step that has no end
	before  string           // metadata of the last committed step, of any producer
	journal bool             // whether what is open was committed
}

func newFates(producer int64) *fates {
	return &fates{producer: producer, ended: map[int16]bool{}, begun: map[int64]string{}}
}

// journaled is a record of the journal.
type journaled struct {
	epoch  int16
	offset int64
	meta   string // "" for an open record
	drop   bool   // a record that was written to abort what was open before it
}

func (f *fates) record(r *kgo.Record) error {
	if r.Attrs.IsControl() {
		var key kmsg.ControlRecordKey
		if err := key.ReadFrom(r.Key); err != nil {
			return fmt.Errorf("offset %d of the journal: a marker that is not one: %w", r.Offset, err)
		}
		f.end(r.ProducerID, key.Type == kmsg.ControlRecordKeyTypeCommit)
		return nil
	}
	j := journaled{epoch: r.ProducerEpoch, offset: r.Offset, drop: string(r.Key) == dropKey}
	if !j.drop {
		if f.meta == nil {
			return errors.New("records of the journal cannot be recognised")
		}
		var err error
		if j.meta, err = f.meta(r.Value); err != nil {
			return fmt.Errorf("offset %d of the journal: %w", r.Offset, err)
		}
	}
	f.begin(r.ProducerID, j)
	return nil
}

// begin notes a record, which is open until its producer's next marker.
func (f *fates) begin(producer int64, j journaled) {
	if j.meta != "" {
		f.begun[producer] = j.meta
	}
	if producer == f.producer {
		f.open = append(f.open, j)
	}
}

// end ends what a producer has open.
func (f *fates) end(producer int64, committed bool) {
	if meta := f.begun[producer]; committed && meta != "" {
		f.before = meta
	}
	delete(f.begun, producer)
	if producer != f.producer {
		return
	}
	for _, o := range f.open {
		f.ended[o.epoch] = committed
		if o.meta != "" {
			f.last = o
		}
	}
	f.open = f.open[:0]
}

// decide finds out whether the records without an end were committed.
func (f *fates) decide() error {
	if slices.ContainsFunc(f.open, func(o journaled) bool { return o.drop }) {
		return nil // this has been decided before: aborted
	}
	var steps, committed int
	for _, o := range f.open {
		if o.meta == "" {
			continue
		}
		steps++
		switch {
		case f.isKnown && f.known.producer == producer{f.producer, o.epoch}:
			f.journal = f.known.committed
		case f.unstable:
			return fmt.Errorf("the group's offsets have no end either, and the coordinator of the transaction of %v has forgotten how it ended", producer{f.producer, o.epoch})
		case slices.Contains(f.group, o.meta):
			f.journal = true
		case f.before != "" && !slices.Contains(f.group, f.before):
			return fmt.Errorf("the group's offsets are of neither the step at offset %d of the journal nor the one committed before it: they have expired or were set by hand", o.offset)
		default:
			f.journal = false
		}
		if f.journal {
			committed++
		}
	}
	switch {
	case steps == 0:
		f.journal = true // opens of earlier owners: readers take any number of them
	case steps > 1 && committed > 0:
		return fmt.Errorf("the journal holds %d steps without an end up to offset %d, of which %d were committed", steps, f.open[len(f.open)-1].offset, committed)
	}
	return nil
}

// of returns whether a transaction that dangles was committed, in the journal or in
// an output.
func (f *fates) of(d dangling, journal bool) (committed bool, err error) {
	if journal || slices.ContainsFunc(f.open, func(o journaled) bool { return o.epoch == d.epoch }) {
		return f.journal, nil
	}
	committed, ok := f.ended[d.epoch]
	if !ok {
		return false, fmt.Errorf("the journal does not hold its step (any more), of %v", producer{f.producer, d.epoch})
	}
	return committed, nil
}

// lastStep returns whether the last step was committed, if there is one.
func (f *fates) lastStep() (committed, known bool) {
	if slices.ContainsFunc(f.open, func(o journaled) bool { return o.meta != "" }) {
		return f.journal, true
	}
	return f.ended[f.last.epoch], f.last.meta != ""
}
