package checker

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// task follows one task's journal.
type task struct {
	c     *check
	id    int
	stage int
	count int       // tasks of the stage
	base  int       // the stage's first source
	own   []*source // those of the stage

	opens        int
	incarnations map[string]bool
	opened       *Open // the last one
	first        uint64
	steps        map[uint64]*step
	order        []*step // as they count: ascending, without repetitions
	last         *step

	next   map[input]int64 // positions reached
	starts map[input]int64 // where reading starts, from the first open record that speaks of it
	counts []int           // partitions of each source that are read, by the first open record and those that adopt more

	writer  producer           // of the record before
	writers map[int64]bool     // all producers so far
	openTxn map[producer]int64 // offset of a record whose transaction's marker did not come yet
}

type input struct {
	source    int // among all; a journal counts those of the task's stage
	partition int32
}

// step is a step of the journal and what was found of its outputs.
type step struct {
	*Step
	offset  int64
	writer  producer
	begins  map[input]int64 // positions before it; of inputs that it reads only
	outputs []output
	decode  int64 // outputs that say a record was not decoded

	quarantined int // outputs that say a record was quarantined
}

func newTask(c *check, id, stage, count int) *task {
	t := &task{c: c, id: id, stage: stage, count: count, incarnations: map[string]bool{}, steps: map[uint64]*step{}, next: map[input]int64{},
		starts: map[input]int64{}, writer: producer{id: -1}, writers: map[int64]bool{}, openTxn: map[producer]int64{}}
	t.base = slices.IndexFunc(c.sources, func(s *source) bool { return s.Stage == stage })
	for _, s := range c.sources {
		if s.Stage == stage {
			t.own = append(t.own, s)
		}
	}
	return t
}

func (t *task) violation(rule Rule, step uint64, offset int64, format string, args ...any) {
	t.c.report.add(Violation{rule, t.id, step, t.c.o.Journal, int32(t.id), offset, fmt.Sprintf(format, args...)})
}

// owns reports whether an input is the task's.
func (t *task) owns(in input) bool {
	return in.source >= t.base && in.source < t.base+len(t.own) && in.partition >= 0 &&
		int(in.partition) < len(t.c.sources[in.source].lso) && t.c.taskOf(in.source, int(in.partition)) == t
}

// inputs lists the task's inputs.
func (t *task) inputs() []input {
	var all []input
	for k, s := range t.c.sources {
		for p := range s.lso {
			if in := (input{k, int32(p)}); t.owns(in) {
				all = append(all, in)
			}
		}
	}
	return all
}

// reached returns up to which offset an input was read.
func (t *task) reached(source int, partition int32) int64 {
	in := input{source, partition}
	if next, ok := t.next[in]; ok {
		return next
	}
	return t.starts[in]
}

// journalRecord takes the next record of the journal, control records included.
func (t *task) journalRecord(r *kgo.Record) {
	who := producerOf(r)
	if r.Attrs.IsControl() {
		for p := range t.openTxn {
			if p.id == who.id {
				delete(t.openTxn, p)
			}
		}
		return
	}
	rec, err := Parse(r.Value)
	if err != nil {
		t.violation(I1, 0, r.Offset, "unreadable: %v", err)
		return
	}
	n := uint64(0)
	if rec.Step != nil {
		n = rec.Step.N
	}
	if !r.Attrs.IsTransactional() {
		t.violation(I2, n, r.Offset, "not written in a transaction")
	} else if before, ok := t.openTxn[who]; ok {
		t.violation(I2, n, r.Offset, "in one transaction with the record at offset %d", before)
	}
	t.openTxn[who] = r.Offset
	t.checkWriter(n, r.Offset, who, rec.Open)
	switch {
	case rec.Open != nil:
		t.open(rec.Open, r.Offset)
	case rec.Accepted != nil:
		t.accepted(rec.Accepted, r.Offset)
	default:
		t.step(rec.Step, r.Offset, who)
	}
}

// rollover is the epoch from which a producer's id may be replaced because epochs run out, at 32,767.
const rollover = math.MaxInt16 - 100

// checkWriter checks that nobody writes who was fenced.
func (t *task) checkWriter(n uint64, offset int64, who producer, open *Open) {
	last := t.writer
	switch {
	case last.id < 0 && open == nil:
		// The chain's rule says that nobody opened the task.
	case last.id < 0:
	case who.id == last.id && who.epoch < last.epoch:
		t.violation(K8, n, offset, "%v writes behind epoch %d", who, last.epoch)
		return // who is fenced stays so
	case who.id == last.id && open != nil && who.epoch == last.epoch && open.Incarnation != t.opened.Incarnation:
		t.violation(K8, n, offset, "incarnation %s opens in the epoch of %s, %v", open.Incarnation, t.opened.Incarnation, who)
	case who.id == last.id:
	case t.writers[who.id]:
		t.violation(K8, n, offset, "%v writes though producer %d had replaced it", who, last.id)
		return
	case open == nil && last.epoch < rollover:
		t.violation(K8, n, offset, "%v writes a step without having opened the task, which %v has", who, last)
		return
	}
	t.writer, t.writers[who.id] = who, true
}

func (t *task) open(o *Open, offset int64) {
	t.opens++
	t.incarnations[o.Incarnation] = true
	t.opened = o
	if len(o.Sources) != len(t.own) {
		t.violation(K1, 0, offset, "opened with %d sources, there are %d", len(o.Sources), len(t.own))
	}
	for k, s := range o.Sources[:min(len(o.Sources), len(t.own))] {
		want := t.own[k]
		if s.Name != want.Name || s.Topic != want.Topic || s.ID != want.id || s.Partitions > len(want.lso) {
			t.violation(K1, 0, offset, "source %d is %s: topic %s, id %x, %d partitions; now it is %s: %s, %x, %d",
				k, s.Name, s.Topic, s.ID, s.Partitions, want.Name, want.Topic, want.id, len(want.lso))
		}
	}
	if t.counts != nil && !o.Adopts || t.trimmed() {
		return
	}
	t.counts = make([]int, len(t.own))
	for k, s := range o.Sources[:min(len(o.Sources), len(t.own))] {
		t.counts[k] = s.Partitions
	}
	for _, p := range o.Positions {
		in := input{t.base + p.Source, p.Partition}
		if !t.owns(in) {
			t.violation(K1, 0, offset, "opened with a position of source %d partition %d, which is not the task's", p.Source, p.Partition)
			continue
		}
		if _, known := t.starts[in]; !known {
			t.starts[in] = p.Next
		}
	}
	for _, in := range t.inputs() {
		if _, ok := t.starts[in]; !ok && int(in.partition) < t.counts[in.source-t.base] {
			t.violation(K1, 0, offset, "opened without a position of source %s partition %d", t.c.sources[in.source].Name, in.partition)
		}
	}
}

// accepted takes the decision to go on elsewhere, which stands behind the last step.
func (t *task) accepted(a *Accepted, offset int64) {
	switch {
	case t.last != nil && (a.Step != t.last.N || a.Hash != t.last.Hash):
		t.violation(I1, a.Step, offset, "a loss is accepted behind step %d %x…, but the last is step %d %x…", a.Step, a.Hash[:4], t.last.N, t.last.Hash[:4])
	case t.last == nil && a.Step > 0 && !t.trimmed():
		t.violation(I1, a.Step, offset, "a loss is accepted behind step %d, which is not there", a.Step)
	}
	for _, p := range a.Positions {
		in := input{t.base + p.Source, p.Partition}
		if !t.owns(in) {
			t.violation(K1, a.Step, offset, "a position of source %d partition %d, which is not the task's", p.Source, p.Partition)
			continue
		}
		if at, known := t.next[in]; known && p.Next < at {
			t.violation(K1, a.Step, offset, "source %s partition %d was read up to %d and would be read again from %d", t.c.sources[in.source].Name, in.partition, at, p.Next)
		}
		t.next[in] = p.Next
	}
}

// trimmed reports whether the journal's beginning is gone.
func (t *task) trimmed() bool { return t.c.topics[t.c.o.Journal].start[t.id] > 0 }

func (t *task) step(s *Step, offset int64, who producer) {
	switch {
	case t.last == nil && t.trimmed():
		t.first = s.N
	case t.last == nil && (s.N != 1 || s.Prev != [32]byte{}):
		t.violation(I1, s.N, offset, "the chain begins with step %d behind %x…", s.N, s.Prev[:4])
	case t.last == nil:
	case s.N == t.last.N+1 && s.Prev == t.last.Hash:
	case s.N == t.last.N+1:
		t.violation(I1, s.N, offset, "the chain is broken: behind %x…, but step %d is %x…", s.Prev[:4], t.last.N, t.last.Hash[:4])
	case s.N <= t.last.N:
		t.violation(I1, s.N, offset, "step %d comes again, or late, behind step %d", s.N, t.last.N)
		return
	default:
		t.violation(I1, s.N, offset, "step %d follows step %d", s.N, t.last.N)
	}
	if t.last == nil && t.first == 0 {
		t.first = s.N
	}
	if t.opened == nil && !t.trimmed() {
		t.violation(I1, s.N, offset, "a step of a task that was never opened")
	}
	if t.last != nil && s.Clock < t.last.Clock {
		t.violation(I1, s.N, offset, "the clock goes back from %d to %d", t.last.Clock, s.Clock)
	}
	at := &step{Step: s, offset: offset, writer: who, begins: map[input]int64{}}
	for _, run := range s.Runs {
		in := input{t.base + run.Source, run.Partition}
		if !t.owns(in) {
			t.violation(K1, s.N, offset, "a run of source %d partition %d, which is not the task's", run.Source, run.Partition)
			continue
		}
		if t.counts != nil && int(run.Partition) >= t.counts[run.Source] {
			t.violation(K1, s.N, offset, "a run of source %d partition %d, which was added and not adopted", run.Source, run.Partition)
		}
		begin, known := t.next[in], true
		if _, ok := t.next[in]; !ok {
			begin, known = t.starts[in]
		}
		if _, ok := at.begins[in]; !ok {
			at.begins[in] = begin
			if !known { // of a trimmed journal
				at.begins[in] = -1
			}
		}
		if known && run.Next < begin {
			t.violation(K1, s.N, offset, "runs overlap: source %s partition %d was read up to %d and is read again up to %d",
				t.c.sources[in.source].Name, in.partition, begin, run.Next)
		}
		t.next[in] = run.Next
	}
	t.steps[s.N], t.last = at, at
	t.order = append(t.order, at)
}

// checkRuns compares what the steps say they read with what was there to read.
func (t *task) checkRuns() {
	for _, in := range t.inputs() {
		s := t.c.sources[in.source]
		offsets, name := s.offsets[in.partition], s.Topic
		start, ok := t.starts[in]
		if ok && !s.Latest && start > 0 && len(offsets) > 0 && offsets[0] < start && t.opens > 0 {
			t.c.report.add(Violation{K1, t.id, 0, name, in.partition, offsets[0], fmt.Sprintf("reading starts at %d, behind it", start)})
		}
		next := t.reached(in.source, in.partition)
		if next > s.end[in.partition] {
			t.c.report.add(Violation{K1, t.id, t.lastStep(), name, in.partition, next, fmt.Sprintf("read beyond the end, %d: records were lost", s.end[in.partition])})
		}
		t.c.report.Inputs += between(offsets, max(start, s.start[in.partition]), next)
		if left := between(offsets, next, math.MaxInt64); t.c.o.Drained && left > 0 {
			t.c.report.add(Violation{K1, t.id, t.lastStep(), name, in.partition, next, fmt.Sprintf("%d records were never read", left)})
		}
	}
	for _, s := range t.order {
		t.checkRows(s)
	}
}

// checkRows compares the rows of a step with the records it covers.
func (t *task) checkRows(s *step) {
	records, end := int64(0), map[input]int64{}
	for _, run := range s.Runs {
		if in := (input{t.base + run.Source, run.Partition}); t.owns(in) {
			end[in] = run.Next
		}
	}
	for in, next := range end {
		src := t.c.sources[in.source]
		begin := s.begins[in]
		if src.ManyRows || begin < src.start[in.partition] {
			return // not to be counted, or gone
		}
		records += between(src.offsets[in.partition], begin, next)
	}
	if made := s.Rows + s.decode; made != records {
		t.violation(K1, s.N, s.offset, "its runs cover %d records, but it decoded %d rows and rejected %d records", records, s.Rows, s.decode)
	}
}

func (t *task) lastStep() uint64 {
	if t.last == nil {
		return 0
	}
	return t.last.N
}

// between counts the offsets in [from, to).
func between(offsets []int64, from, to int64) int64 {
	a, _ := slices.BinarySearch(offsets, from)
	b, _ := slices.BinarySearch(offsets, to)
	return int64(max(b-a, 0))
}

func (t *task) report() TaskReport {
	r := TaskReport{Steps: len(t.order), Opens: t.opens, Incarnations: len(t.incarnations), First: t.first, Last: t.lastStep()}
	if t.last != nil {
		r.Hash = t.last.Hash
	}
	for _, s := range t.order {
		r.Outputs += int64(len(s.outputs))
		for in, begin := range s.begins {
			for _, run := range s.Runs {
				if in == (input{t.base + run.Source, run.Partition}) && begin >= 0 {
					r.Inputs += between(t.c.sources[in.source].offsets[in.partition], begin, run.Next)
					begin = run.Next
				}
			}
		}
		if s.HasDigest {
			r.Digest, r.DigestAt = s.Digest, s.N
		}
	}
	return r
}

// le4 appends the four bytes that an output's hash has for a number.
func le4(dst []byte, n int) []byte { return binary.LittleEndian.AppendUint32(dst, uint32(n)) }
