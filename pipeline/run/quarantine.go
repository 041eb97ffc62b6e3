package run

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gradstream/gradstream/connectors"
)

// inputError is an error of an operator, a sink or a decoder on the records it was
// given: the offsets first to last of a partition.
type inputError struct {
	at          string // "operator NAME", "sink NAME" or "decoder"
	source      int
	partition   int32
	first, last int64
	whole       bool // it is not known which records of the step: first and last say nothing
	err         error
	text        string
}

func (e *inputError) Error() string { return e.text + ": " + e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

// skip takes a quarantined record: nothing sees it but its source's errors topic.
func (c *core) skip(r *connectors.Record, s *skip) {
	c.errs.refs = append(c.errs.refs, rejected{in: c.inputs[s.Source], partition: s.Partition, record: *r, seq: c.seq, skip: s})
	c.errs.byReason["quarantine"]++
	c.seq++
}

// maxReason bounds the texts of a skip.
const maxReason = 1 << 10

// newSkip says why a record is quarantined.
func newSkip(source int, partition int32, offset int64, operator string, why error) skip {
	s := skip{Source: source, Partition: partition, Offset: offset, Operator: operator, Reason: cut(why.Error())}
	var p *panicError
	if errors.As(why, &p) {
		s.Stack = cut(p.line)
	}
	return s
}

func cut(s string) string {
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}

// panicLine returns the innermost frame of the program's own that panicked. It is
// called by a deferred function, through panicked.
func panicLine() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for behind := false; ; {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic" || strings.HasPrefix(f.Function, "runtime.panic") || strings.HasPrefix(f.Function, "runtime.sig"):
			behind = true
		case behind && f.Function != "" && !strings.HasPrefix(f.Function, "runtime."):
			return fmt.Sprintf("%s (%s:%d)", path.Base(f.Function), path.Base(f.File), f.Line)
		}
		if !more {
			return ""
		}
	}
}

func quarantineHeaders(pipeline string, r *rejected) []connectors.Header {
	s := r.skip
	stage := "TRANSFORMATION"
	if s.Operator == "decoder" {
		stage = "VALUE_CONVERTER"
	}
	h := []connectors.Header{
		{Key: "__connect.errors.topic", Value: []byte(r.in.src.Topic)},
		{Key: "__connect.errors.partition", Value: strconv.AppendInt(nil, int64(r.partition), 10)},
		{Key: "__connect.errors.offset", Value: strconv.AppendInt(nil, r.record.Offset, 10)},
		{Key: "__connect.errors.stage", Value: []byte(stage)},
		{Key: "__connect.errors.exception.class.name", Value: []byte("gradstream.Quarantined")},
		{Key: "__connect.errors.exception.message", Value: []byte(s.Reason)},
		{Key: "gradstream-pipeline", Value: []byte(pipeline)},
		{Key: "gradstream-quarantined", Value: []byte("true")},
	}
	if s.Operator != "" {
		h = append(h, connectors.Header{Key: "gradstream-operator", Value: []byte(strings.TrimPrefix(s.Operator, "operator "))})
	}
	if s.Stack != "" {
		h = append(h, connectors.Header{Key: "gradstream-stack", Value: []byte(s.Stack)})
	}
	return h
}

// suspect is a stretch of input, [from, to), on which something failed: its
// records are processed one by one.
type suspect struct {
	source    int
	partition int32
	from, to  int64
	steps     bool // each record in a step of its own
}

// poison is what a task knows of records that fail. It outlives the restarts of
// the task in this process; the journal has what was decided and committed.
type poison struct {
	suspects []suspect
	skips    []skip // decided; they are in the journal once the task is behind them
}

// errRetry says that a task failed on its input and shall be restored and go on
// with more care.
var errRetry = errors.New("the task will be restored and go on with care")

// errRenewed is an errRetry for which the input is not to blame.
var errRenewed = fmt.Errorf("%w: its local state is lost", errRetry)

// errTooMany ends a task that quarantines one record after another.
var errTooMany = errors.New("too many records fail: it is the operator, not the data")

// forget drops what lies behind the task.
func (p *poison) forget(parts []taskPartition) {
	next := func(source int, partition int32) int64 {
		for i := range parts {
			if parts[i].source == source && parts[i].Partition == partition {
				return parts[i].next
			}
		}
		return maxOffset // no longer the task's
	}
	p.suspects = slices.DeleteFunc(p.suspects, func(s suspect) bool { return s.to <= next(s.source, s.partition) })
	p.skips = slices.DeleteFunc(p.skips, func(s skip) bool { return s.Offset < next(s.Source, s.Partition) })
}

func (p *poison) skipOf(source int, partition int32, offset int64) *skip {
	for i := range p.skips {
		if s := &p.skips[i]; s.Source == source && s.Partition == partition && s.Offset == offset {
			return s
		}
	}
	return nil
}

// suspectOf returns the stretch that an offset lies in, the one that wants more
// care first.
func (p *poison) suspectOf(source int, partition int32, offset int64) (found *suspect) {
	for i := range p.suspects {
		s := &p.suspects[i]
		if s.source == source && s.partition == partition && s.from <= offset && offset < s.to && (found == nil || s.steps) {
			found = s
		}
	}
	return found
}

// before returns the first offset behind from that wants care.
func (p *poison) before(q *taskPartition, from int64) int64 {
	limit := maxOffset
	for i := range p.suspects {
		if s := &p.suspects[i]; s.source == q.source && s.partition == q.Partition && s.from > from {
			limit = min(limit, s.from)
		}
	}
	for i := range p.skips {
		if s := &p.skips[i]; s.Source == q.source && s.Partition == q.Partition && s.Offset > from {
			limit = min(limit, s.Offset)
		}
	}
	return limit
}

// take consumes what is pending of a partition into the step, with care where care
// is due. It sets cut if the step must end now; nothing was consumed then if the
// step must end before the next record.
func (t *task) take(s *stepBuffer, i int, most bounds) (recs []connectors.Record, bytes int64, cut bool, err error) {
	p := &t.parts[i]
	care := t.care.careful()
	if len(t.poison.suspects) == 0 && len(t.poison.skips) == 0 && !care || len(p.pending.Records) == 0 {
		recs, bytes, err = t.consume(i, maxOffset, most)
		return recs, bytes, false, err
	}
	offset := p.pending.Records[0].Offset
	if k := t.poison.skipOf(p.source, p.Partition, offset); k != nil {
		recs, bytes = t.skipRecord(i, maxOffset, k)
		t.care.took(s.record.Step, p, offset)
		s.record.Skips = append(s.record.Skips, *k)
		return recs, bytes, false, nil
	}
	alone := t.poison.suspectOf(p.source, p.Partition, offset)
	switch {
	case alone != nil && alone.steps:
		if len(s.record.Runs) > 0 {
			return nil, 0, true, nil
		}
		cut = true
		fallthrough
	case alone != nil || care:
		t.care.enter(p, offset)
		recs, bytes, err = t.consume(i, offset+1, unbounded)
		t.care.leave()
		if err == nil {
			t.care.took(s.record.Step, p, offset)
		}
		return recs, bytes, cut, err
	}
	recs, bytes, err = t.consume(i, t.poison.before(p, offset), most)
	return recs, bytes, false, err
}

// skipRecord takes the first pending record of a partition, which is before the
// limit, out of the input.
func (t *task) skipRecord(i int, limit int64, k *skip) ([]connectors.Record, int64) {
	p := &t.parts[i]
	f := p.pending
	recs := f.Records[:1]
	t.core.skip(&recs[0], k)
	f.Records = f.Records[1:]
	switch {
	case len(f.Records) > 0:
		p.next = min(f.Records[0].Offset, limit)
	default:
		p.next = min(f.Next, limit)
		if f.Next <= limit {
			p.pending = nil
		}
	}
	return recs, int64(len(recs[0].Key) + len(recs[0].Value))
}

// failed judges an error of making a step. If it is about the input, the task
// remembers which records to be careful with, or which to quarantine, and the
// error becomes an [errRetry].
func (t *task) failed(s *stepBuffer, err error) error {
	var in *inputError
	if t.w.opts.MaxQuarantines < 0 || !errors.As(err, &in) {
		return err
	}
	retry := func(next string) error {
		return fmt.Errorf("%w (%s): %w", errRetry, next, err)
	}
	source, partition, first, last := in.source, in.partition, in.first, in.last
	if in.whole {
		if len(s.began) == 0 {
			return err // there is nothing but quarantined records in the step
		}
		source, partition, first, last = s.began[0].Source, s.began[0].Partition, s.began[0].Next, s.began[0].Next
	}
	alone := t.poison.suspectOf(source, partition, first)
	switch {
	case in.whole && (alone == nil || !alone.steps || s.records != 1):
		for _, b := range s.began {
			if j := t.partitionOfRun(b); j >= 0 {
				t.poison.suspects = append(t.poison.suspects, suspect{b.Source, b.Partition, b.Next, t.parts[j].next, true})
			}
		}
		return retry("one record a step")
	case alone == nil || first != last:
		t.poison.suspects = append(t.poison.suspects, suspect{source, partition, first, last + 1, false})
		return retry("one record at a time")
	case t.poison.skipOf(source, partition, first) != nil:
		return err // it is not the record
	}
	if e := t.quarantine(newSkip(source, partition, first, in.at, in.err)); e != nil {
		return fmt.Errorf("%w: %w", e, err)
	}
	return retry("quarantine the record")
}

// quarantine decides that a record is never processed.
func (t *task) quarantine(k skip) error {
	if !t.w.quota.take(t.w.now(), t.w.opts.MaxQuarantines) {
		return fmt.Errorf("task %d: %w (%d were quarantined within an hour)", t.id, errTooMany, t.w.opts.MaxQuarantines)
	}
	t.poison.skips = append(t.poison.skips, k)
	topic := t.of.p.Sources[k.Source].Topic
	t.log.Error("quarantining a record: it goes to the errors topic and is not processed", "topic", topic, "partition", k.Partition,
		"offset", k.Offset, "at", k.Operator, "reason", k.Reason, "where", k.Stack)
	return nil
}

// end closes the step. A panic or an error is about the step as a whole.
func (t *task) end(s *stepBuffer) (err error) {
	begun := t.w.now()
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
		t.busy.Store(0)
		t.flow.worked += t.w.now().Sub(begun)
		if err != nil {
			err = &inputError{at: "a sink", whole: true, err: err, text: fmt.Sprintf("task %d: gathering the outputs of step %d", t.id, s.record.Step)}
		}
	}()
	t.busy.Store(begun.UnixNano())
	return t.core.end(s.record.Step)
}

// note keeps where the step began to read.
func (s *stepBuffer) note(p *taskPartition, recs []connectors.Record) {
	if len(recs) == 0 {
		return
	}
	s.records += len(recs)
	if !slices.ContainsFunc(s.began, func(b inputRun) bool { return b.Source == p.source && b.Partition == p.Partition }) {
		s.began = append(s.began, inputRun{p.source, p.Partition, recs[0].Offset})
	}
}

// skipping feeds a journaled stretch of a partition up to the limit without the
// step's skips.
func (r *replay) skipping(i int, limit int64, skips []skip) ([]connectors.Record, error) {
	p := &r.t.parts[i]
	if len(skips) > 0 && len(p.pending.Records) > 0 {
		offset := p.pending.Records[0].Offset
		for k := range skips {
			switch s := &skips[k]; {
			case s.Source != p.source || s.Partition != p.Partition || s.Offset < offset || s.Offset >= limit:
			case s.Offset == offset:
				r.t.skipRecord(i, limit, s)
				return nil, nil
			default:
				limit = s.Offset
			}
		}
	}
	recs, _, err := r.t.consume(i, limit, unbounded)
	return recs, err
}

// retry waits before the task is restored. It returns false if it shall not be.
func (t *task) retry(soft context.Context, err error) bool {
	t.pause = failurePause(t.pause, t.step > t.failedAt || len(t.poison.skips) > t.failedSkips) // a decision is progress
	t.failedAt, t.failedSkips = t.step, len(t.poison.skips)
	var p *panicError
	stack := ""
	if errors.As(err, &p) {
		stack = string(p.stack)
	}
	if errors.Is(err, errRenewed) {
		t.log.Warn("the local state is lost; the task is restored from the state topic or the journal", "in", t.pause, "err", err)
	} else {
		t.log.Error("task failed on its input; it is restored and goes on with care", "in", t.pause, "err", err, "stack", stack)
	}
	select {
	case <-soft.Done():
		return false
	case <-time.After(t.pause):
		return true
	}
}
