package checker

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/zeebo/xxh3"
)

// headerID is the header that names an output.
const headerID = "gs-id"

// output is one published record.
type output struct {
	index  uint64
	record *kgo.Record
}

// outputTopics lists the topics of sinks and errors.
func (c *check) outputTopics() []string {
	names := slices.Concat(c.o.Outputs, c.o.Errors)
	slices.Sort(names)
	return slices.Compact(names)
}

// readOutputs reads all outputs and gives them to their steps.
func (c *check) readOutputs(ctx context.Context) error {
	for _, name := range c.outputTopics() {
		isErrors := slices.Contains(c.o.Errors, name)
		lanes := map[lane]gsID{}
		open := map[lane]written{} // by producer: the last output of its open transaction
		err := c.drain(ctx, c.topics[name], func(r *kgo.Record) {
			if r.Attrs.IsControl() {
				delete(open, lane{r.Partition, r.ProducerID})
				return
			}
			if c.o.Seen != nil {
				c.found = append(c.found, r)
			}
			c.output(r, isErrors, lanes, open)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lane is where outputs of one task, or of one producer, are in order.
type lane struct {
	partition int32
	of        int64
}

// written is an output, where it is and who wrote it.
type written struct {
	id     gsID
	by     producer
	offset int64
}

type gsID struct {
	task        int
	step, index uint64
}

func parseID(h []byte) (gsID, bool) {
	parts := strings.Split(string(h), "/")
	if len(parts) != 3 {
		return gsID{}, false
	}
	task, err1 := strconv.ParseUint(parts[0], 10, 31)
	step, err2 := strconv.ParseUint(parts[1], 10, 64)
	index, err3 := strconv.ParseUint(parts[2], 10, 64)
	return gsID{int(task), step, index}, err1 == nil && err2 == nil && err3 == nil
}

// output takes a record of an output topic.
func (c *check) output(r *kgo.Record, isErrors bool, lanes map[lane]gsID, open map[lane]written) {
	c.report.Outputs++
	if isErrors {
		c.report.Rejected++
	}
	v := Violation{K2, -1, 0, r.Topic, r.Partition, r.Offset, ""}
	say := func(rule Rule, format string, args ...any) {
		v.Rule, v.Text = rule, fmt.Sprintf(format, args...)
		c.report.add(v)
	}
	var ids [][]byte
	for _, h := range r.Headers {
		if h.Key == headerID {
			ids = append(ids, h.Value)
		}
	}
	// A rejected record keeps its own headers, which may be another pipeline's; ours comes first.
	if len(ids) == 0 || len(ids) > 1 && !isErrors {
		say(K2, "%d headers %s, want one", len(ids), headerID)
		return
	}
	id, ok := parseID(ids[0])
	if !ok || id.task >= len(c.tasks) {
		say(K2, "header %s is %q, want TASK/STEP/INDEX of %d tasks", headerID, ids[0], len(c.tasks))
		return
	}
	v.Task, v.Step = id.task, id.step
	t := c.tasks[id.task]
	s := t.steps[id.step]
	if s == nil {
		if id.step >= t.first || !t.trimmed() {
			say(I2, "an output of a step that the journal does not have")
		}
		return
	}
	switch who := producerOf(r); {
	case !r.Attrs.IsTransactional():
		say(I2, "not written in a transaction")
	case who != s.writer:
		say(I2, "written by %v, the step's record in the journal by %v", who, s.writer)
	}
	txn := lane{r.Partition, r.ProducerID}
	if last, ok := open[txn]; ok && (last.id.task != id.task || last.id.step != id.step) {
		say(I2, "by %v, in one transaction with the output of task %d step %d at offset %d, by %v",
			producerOf(r), last.id.task, last.id.step, last.offset, last.by)
	}
	open[txn] = written{id, producerOf(r), r.Offset}
	way := lane{r.Partition, int64(id.task)}
	if before, ok := lanes[way]; ok && (id.step < before.step || id.step == before.step && id.index <= before.index) {
		say(K2, "%s %s comes behind %d/%d/%d", headerID, ids[0], before.task, before.step, before.index)
	}
	lanes[way] = id
	switch {
	case isErrors && quarantined(r):
		s.quarantined++
		s.decode++ // nor did this one: it was not even tried
	case isErrors && decodeError(r):
		s.decode++
	}
	s.outputs = append(s.outputs, output{id.index, r})
}

// quarantined reports whether a record of an errors topic was never processed.
func quarantined(r *kgo.Record) bool {
	v, _ := header(r, "gradstream-quarantined")
	return string(v) == "true"
}

// decodeError reports whether a record of an errors topic says that it did not decode; otherwise an operator rejected a
// row of it.
func decodeError(r *kgo.Record) bool {
	stage, _ := header(r, "__connect.errors.stage")
	return string(stage) == "VALUE_CONVERTER"
}

// header returns the value of the last header of a name: the pipeline's own come behind those of the record it rejected.
func header(r *kgo.Record, key string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// finish checks the outputs of all steps.
func (t *task) finish() {
	for _, s := range t.order {
		t.checkOutputs(s)
	}
}

func (t *task) checkOutputs(s *step) {
	slices.SortStableFunc(s.outputs, func(a, b output) int { return int(int64(a.index) - int64(b.index)) })
	want, sound, rejected := uint64(0), true, int64(0)
	var twice, missing []string
	var h xxh3.Hasher
	var head []byte
	for _, o := range s.outputs {
		if o.index < want {
			twice = append(twice, strconv.FormatUint(o.index, 10))
			continue
		}
		if o.index > want {
			missing = append(missing, gapText(want, o.index))
		}
		want = o.index + 1
		r := o.record
		if slices.Contains(t.c.o.Errors, r.Topic) {
			rejected++
		}
		head = append(head[:0], r.Topic...)
		head = le4(le4(le4(head, int(r.Partition)), len(r.Key)), len(r.Value))
		_, _ = h.Write(head)
		_, _ = h.Write(r.Key)
		_, _ = h.Write(r.Value)
	}
	if want < uint64(s.Outputs) {
		missing = append(missing, gapText(want, uint64(s.Outputs)))
	}
	if len(twice) > 0 {
		t.violation(K2, s.N, s.offset, "outputs %s are there more than once", strings.Join(twice, ", "))
		sound = false
	}
	if len(missing) > 0 {
		t.violation(K2, s.N, s.offset, "outputs %s are missing", strings.Join(missing, ", "))
		sound = false
	}
	if want > uint64(s.Outputs) {
		t.violation(K2, s.N, s.offset, "outputs go up to %d, the journal says there are %d", want-1, s.Outputs)
		sound = false
	}
	if !sound {
		return
	}
	if got := h.Sum64(); got != s.OutHash {
		t.violation(K2, s.N, s.offset, "the %d outputs have hash %016x, the journal says %016x", len(s.outputs), got, s.OutHash)
	}
	if s.quarantined != len(s.Skips) {
		t.violation(K2, s.N, s.offset, "%d outputs are quarantined records, the journal says %d", s.quarantined, len(s.Skips))
	}
	if rejected != s.Rejected {
		t.violation(K2, s.N, s.offset, "%d outputs are rejected records, the journal says %d", rejected, s.Rejected)
	}
}

func gapText(from, to uint64) string {
	if to == from+1 {
		return strconv.FormatUint(from, 10)
	}
	return fmt.Sprintf("%d to %d", from, to-1)
}

// poison compares the errors topics with the input.
type poison struct {
	c    *check
	left map[string][]*kgo.Record // rejected records by topic, partition, offset of their source
}

func (c *check) newPoison() *poison {
	p := &poison{c, map[string][]*kgo.Record{}}
	for _, t := range c.tasks {
		for _, s := range t.order {
			for _, o := range s.outputs {
				if slices.Contains(c.o.Errors, o.record.Topic) {
					at := p.origin(o.record)
					p.left[at] = append(p.left[at], o.record)
				}
			}
		}
	}
	return p
}

// origin names the record that was rejected.
func (p *poison) origin(r *kgo.Record) string {
	topic, _ := header(r, "__connect.errors.topic")
	partition, _ := header(r, "__connect.errors.partition")
	offset, _ := header(r, "__connect.errors.offset")
	return fmt.Sprintf("%s[%s]@%s", topic, partition, offset)
}

func (p *poison) source(r *kgo.Record) {
	at := fmt.Sprintf("%s[%d]@%d", r.Topic, r.Partition, r.Offset)
	got := p.left[at]
	delete(p.left, at)
	v := Violation{K11, -1, 0, r.Topic, r.Partition, r.Offset, ""}
	if p.c.o.Poison != nil {
		if want := p.c.o.Poison(r); want != len(got) {
			v.Text = fmt.Sprintf("is %d times in the errors topics, want %d", len(got), want)
			p.c.report.add(v)
		}
	}
	for _, e := range got {
		if !bytes.Equal(e.Key, r.Key) || (e.Key == nil) != (r.Key == nil) || !bytes.Equal(e.Value, r.Value) || !headersKept(r, e) {
			v.Text = fmt.Sprintf("is in %s[%d]@%d with another key, value or header", e.Topic, e.Partition, e.Offset)
			p.c.report.add(v)
		}
	}
}

// headersKept reports whether the rejected record's headers are those of the source behind the id, and then others.
func headersKept(r, rejected *kgo.Record) bool {
	if len(rejected.Headers) < 1+len(r.Headers) {
		return false
	}
	for i, h := range r.Headers {
		if e := rejected.Headers[1+i]; e.Key != h.Key || !bytes.Equal(e.Value, h.Value) {
			return false
		}
	}
	return true
}

// finish reports rejected records that nothing in the input explains.
func (p *poison) finish() {
	for _, at := range slices.Sorted(maps.Keys(p.left)) {
		for _, r := range p.left[at] {
			if p.gone(r) {
				continue
			}
			p.c.report.add(Violation{K11, -1, 0, r.Topic, r.Partition, r.Offset, "says it comes from " + at + ", where no record was consumed"})
		}
	}
}

// gone reports whether the source no longer holds what a rejected record came from.
func (p *poison) gone(r *kgo.Record) bool {
	topic, _ := header(r, "__connect.errors.topic")
	partition, _ := header(r, "__connect.errors.partition")
	offset, _ := header(r, "__connect.errors.offset")
	k, err1 := strconv.Atoi(string(partition))
	o, err2 := strconv.ParseInt(string(offset), 10, 64)
	t := p.c.topics[string(topic)]
	return err1 == nil && err2 == nil && t != nil && k >= 0 && k < len(t.start) && o < t.start[k]
}

// idCount counts the ids of one rule.
type idCount struct {
	rule IDs
	want map[string]int64 // id to the offset it has in the source
	got  map[string]int
}

func (i *idCount) source(r *kgo.Record) {
	if id, ok := i.rule.Of(r); ok {
		i.want[id] = r.Offset
	}
}

func (i *idCount) finish(c *check) {
	say := func(r *kgo.Record, format string, args ...any) {
		v := Violation{Once, -1, 0, i.rule.Output, -1, -1, fmt.Sprintf(format, args...)}
		if r != nil {
			v.Topic, v.Partition, v.Offset = r.Topic, r.Partition, r.Offset
		} else {
			v.Topic = ""
		}
		c.report.add(v)
	}
	for _, t := range c.tasks {
		for _, s := range t.order {
			for _, o := range s.outputs {
				if o.record.Topic != i.rule.Output {
					continue
				}
				id, ok := i.rule.In(o.record)
				if !ok {
					continue
				}
				if i.got[id]++; i.got[id] == 2 {
					c.report.Duplicated++
				}
				if i.got[id] > 1 {
					say(o.record, "id %q is there for the %d. time", id, i.got[id])
				} else if _, ok := i.want[id]; !ok {
					say(o.record, "id %q is not in source %s", id, i.rule.Source)
				}
			}
		}
	}
	c.report.IDs += int64(len(i.want))
	for _, id := range slices.Sorted(maps.Keys(i.want)) {
		if i.got[id] == 0 {
			c.report.Lost++
			say(nil, "id %q of source %s, offset %d, is not in %s", id, i.rule.Source, i.want[id], i.rule.Output)
		}
	}
}
