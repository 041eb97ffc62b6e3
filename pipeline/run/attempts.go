package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// crashes is how many times a process may end at the same place before the task
// goes on with more care: first record by record, then without the record.
const crashes = 3

// attempts is what is written down about a task so that it outlives a crash of the
// process: where it began to work, how often, and, if that was often, which record
// it was processing. It is removed when a checkpoint proves that the task goes on.
// The files are not synced: they need to outlive the process, not the machine.
type attempts struct {
	path string
	log  *slog.Logger

	all atomic.Bool // be careful with every record

	mu     sync.Mutex
	file   attemptFile
	begun  uint64          // step the task was restored to
	open   []attemptRecord // of the file, that the task has not come to yet
	passed uint64          // step that took the last of them
	mark   *os.File
	marked bool
	buf    []byte
}

type attemptFile struct {
	Positions map[string]int64 `json:"positions"` // topic/partition: first offset to process
	Lives     int              `json:"lives"`     // that began there, this one included
	Suspect   *attemptRecord   `json:"suspect,omitempty"`
	Skips     []attemptRecord  `json:"skips,omitempty"` // decided, perhaps not yet committed
}

// attemptRecord is a record that was being processed when a process ended.
type attemptRecord struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Deaths    int    `json:"deaths"`
}

func (r *attemptRecord) same(o *attemptRecord) bool {
	return r.Topic == o.Topic && r.Partition == o.Partition && r.Offset == o.Offset
}

// openAttempts reads what earlier lives wrote down. A task whose folder cannot be
// written goes on without.
func openAttempts(dir string, task int, log *slog.Logger) *attempts {
	if dir == "" {
		return nil
	}
	a := &attempts{path: filepath.Join(dir, fmt.Sprintf("task-%d", task)), log: log}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		var b []byte
		if b, err = os.ReadFile(a.path + ".json"); err == nil {
			err = json.Unmarshal(b, &a.file)
		} else if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		log.Warn("what is written down about earlier attempts cannot be used", "err", err)
		a.file = attemptFile{}
	}
	return a
}

// died returns the record that was being processed when the last process ended.
func (a *attempts) died() *attemptRecord {
	b, err := os.ReadFile(a.path + ".record")
	if err != nil {
		return nil
	}
	words := strings.Fields(string(b))
	if len(b) == 0 || b[0] == ' ' || len(words) != 3 {
		return nil
	}
	partition, err1 := strconv.ParseInt(words[1], 10, 32)
	offset, err2 := strconv.ParseInt(words[2], 10, 64)
	if err1 != nil || err2 != nil {
		return nil
	}
	return &attemptRecord{Topic: words[0], Partition: int32(partition), Offset: offset}
}

// attempt begins a life of the task, which is restored and about to make its first
// step: it counts, and judges what ended the lives before.
func (t *task) attempt() error {
	t.care = openAttempts(t.w.opts.Attempts, t.id, t.log)
	a := t.care
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	ahead := func(r *attemptRecord) int { // index of its partition if it was not processed yet
		if i := t.partition(r.Topic, r.Partition); i >= 0 && t.parts[i].next <= r.Offset {
			return i
		}
		return -1
	}
	f := &a.file
	at := map[string]int64{}
	same := true
	for _, p := range t.parts {
		key := fmt.Sprintf("%s/%d", p.Topic, p.Partition)
		at[key] = p.next
		if next, ok := f.Positions[key]; !ok || next != p.next {
			same = false
		}
	}
	if f.Lives++; !same {
		f.Lives = 1
	}
	f.Positions = at
	if f.Suspect != nil && ahead(f.Suspect) < 0 {
		f.Suspect = nil
	}
	if r := a.died(); r != nil && ahead(r) >= 0 {
		if f.Suspect == nil || !f.Suspect.same(r) {
			f.Suspect = r
		}
		f.Suspect.Deaths++
		t.log.Warn("the process ended while it processed a record", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "times", f.Suspect.Deaths)
	}
	a.begun, a.passed = t.step, 0
	a.all.Store(f.Suspect == nil && f.Lives > crashes)
	var decided []skip
	keep := f.Skips[:0]
	for _, r := range f.Skips {
		if i := ahead(&r); i >= 0 {
			keep = append(keep, r)
			decided = append(decided, t.skipOf(i, &r))
		}
	}
	f.Skips = keep
	for _, k := range decided {
		if t.poison.skipOf(k.Source, k.Partition, k.Offset) == nil {
			t.poison.skips = append(t.poison.skips, k)
		}
	}
	if r := f.Suspect; r != nil {
		i := ahead(r)
		if r.Deaths >= crashes && t.w.opts.MaxQuarantines >= 0 {
			if err := t.quarantine(t.skipOf(i, r)); err != nil {
				return err
			}
			f.Skips, f.Suspect, f.Lives = append(f.Skips, *r), nil, 1
		} else {
			p := &t.parts[i]
			t.poison.suspects = append(t.poison.suspects, suspect{p.source, p.Partition, r.Offset, r.Offset + 1, true})
		}
	}
	if a.open = slices.Clone(f.Skips); f.Suspect != nil {
		a.open = append(a.open, *f.Suspect)
	}
	if a.all.Load() {
		t.log.Warn("the process ended again and again before the task came any further; going on record by record", "times", f.Lives-1)
	}
	b, err := json.Marshal(f)
	if err == nil {
		err = os.WriteFile(a.path+".new", append(b, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(a.path+".new", a.path+".json")
	}
	_ = os.Remove(a.path + ".record")
	if err != nil {
		t.log.Warn("attempts cannot be counted: a record that ends the process would do so for ever", "err", err)
	}
	return nil
}

func (t *task) skipOf(i int, r *attemptRecord) skip {
	p := &t.parts[i]
	return newSkip(p.source, p.Partition, r.Offset, "", fmt.Errorf("the process ended %d times while it was processed", r.Deaths))
}

// careful reports whether every record wants care.
func (a *attempts) careful() bool { return a != nil && a.all.Load() }

// enter writes down the record about to be processed.
func (a *attempts) enter(p *taskPartition, offset int64) {
	if a == nil {
		return
	}
	if a.mark == nil {
		if a.marked {
			return // it cannot be opened
		}
		a.marked = true
		var err error
		if a.mark, err = os.OpenFile(a.path+".record", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
			a.log.Warn("the record being processed cannot be written down", "err", err)
			a.mark = nil
			return
		}
	}
	const most = 300 // a topic's name and two numbers
	a.buf = fmt.Appendf(a.buf[:0], "%s %d %d", p.Topic, p.Partition, offset)
	for len(a.buf) < most {
		a.buf = append(a.buf, ' ')
	}
	_, _ = a.mark.WriteAt(a.buf, 0)
}

// leave says that no record is being processed.
func (a *attempts) leave() {
	if a != nil && a.mark != nil {
		_, _ = a.mark.WriteAt([]byte{' '}, 0)
	}
}

// took notes the step that takes a record of which something is written down.
func (a *attempts) took(step uint64, p *taskPartition, offset int64) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r := attemptRecord{Topic: p.Topic, Partition: p.Partition, Offset: offset}
	if i := slices.IndexFunc(a.open, func(o attemptRecord) bool { return o.same(&r) }); i >= 0 {
		if a.open = slices.Delete(a.open, i, i+1); len(a.open) == 0 {
			a.passed = step
		}
	}
}

// saved is told of a durable checkpoint: what lies behind it need not be known.
func (a *attempts) saved(step uint64) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if step <= a.begun || len(a.open) > 0 || step < a.passed {
		return
	}
	a.all.Store(false)
	a.file = attemptFile{}
	_ = os.Remove(a.path + ".json")
}

// end is told that the task ends and the process does not, or not by accident.
func (a *attempts) end() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mark != nil {
		_ = a.mark.Close()
		a.mark, a.marked = nil, false
		_ = os.Remove(a.path + ".record")
	}
	if a.file.Suspect == nil && len(a.file.Skips) == 0 {
		a.file = attemptFile{}
		_ = os.Remove(a.path + ".json")
	}
}
