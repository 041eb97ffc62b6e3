package run

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/state"
)

// Backfill is a file of history that a pipeline learns before it reads a source's
// topic: see docs/design/0006-backfill.md.
type Backfill struct {
	Source string
	Name   string     // of the file, for messages
	Digest state.Hash // SHA-256 of its bytes
	Until  int64      // event times before it, milliseconds, are the file's, the others the topic's; 0 = no cut
	Open   func() (connectors.Reader, error)
	// Sum is called when the file was read, and returns what is Digest unless it has
	// changed meanwhile; nil = it cannot.
	Sum func(ctx context.Context) (state.Hash, error)
}

// backfilled is a file that a task has learnt, as the journal has it.
type backfilled struct {
	Source string
	Digest state.Hash
	Until  int64
	Rows   int64 // that were the task's, and used
}

func (b backfilled) of(f Backfill) bool {
	return b.Source == f.Source && b.Digest == f.Digest && b.Until == f.Until
}

// fieldBackfills is a field of a step.
const fieldBackfills = 3

func appendBackfills(dst []byte, all []backfilled) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(all)))
	for _, b := range all {
		dst = append(appendText(dst, b.Source), b.Digest[:]...)
		dst = binary.AppendUvarint(binary.AppendVarint(dst, b.Until), uint64(b.Rows))
	}
	return dst
}

func (d *journalReader) backfills() (all []backfilled) {
	for range d.count(35) {
		b := backfilled{Source: d.text()}
		copy(b.Digest[:], d.take(len(b.Digest)))
		b.Until, b.Rows = d.int(), int64(d.uint())
		all = append(all, b)
	}
	return all
}

// backfillMeta begins the keys of a manifest that say what was learnt from files.
const backfillMeta = "backfill/"

func (b backfilled) meta() (key, value string) {
	return backfillMeta + b.Source, fmt.Sprintf("%x %d %d", b.Digest, b.Until, b.Rows)
}

func backfillsOfMeta(meta map[string]string) (all []backfilled) {
	for key, value := range meta {
		source, ok := strings.CutPrefix(key, backfillMeta)
		words := strings.Fields(value)
		if !ok || len(words) != 3 {
			continue
		}
		b := backfilled{Source: source}
		if digest, err := hex.DecodeString(words[0]); err == nil {
			copy(b.Digest[:], digest)
		}
		b.Until, _ = strconv.ParseInt(words[1], 10, 64) // as it was written
		b.Rows, _ = strconv.ParseInt(words[2], 10, 64)
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b backfilled) int { return strings.Compare(a.Source, b.Source) })
	return all
}

// noteBackfills makes what was learnt from files known to the task.
func (t *task) noteBackfills(all []backfilled) {
	t.backfilled = all
	t.core.leaveOut(all)
}

// leaveOut makes the core leave out the rows of topics that files were to hold.
func (c *core) leaveOut(all []backfilled) {
	for _, in := range c.inputs {
		in.until = 0
		for _, b := range all {
			if b.Source == in.src.Name {
				in.until = b.Until
			}
		}
	}
}

// behind returns the rows of a batch that are not before the cut.
func (in *input) behind(b *batch.Batch) *batch.Batch {
	if !slices.ContainsFunc(b.Origin.Time[:b.N], func(t int64) bool { return t < in.until }) {
		return b
	}
	if in.kept == nil {
		in.kept = batch.New(b.Schema)
	}
	in.kept.Reset()
	in.kept.Like(b)
	for row := range b.N {
		if b.Origin.Time[row] >= in.until {
			in.kept.AppendRow(b, row)
		}
	}
	return in.kept
}

// backfill makes the first step of the task of the files, if there are any and it
// has made none. It returns nil where there is nothing to do.
func (t *task) backfill(ctx context.Context, s *stepBuffer) (bool, error) {
	files := t.w.opts.Backfills
	if len(files) == 0 {
		return false, nil
	}
	if t.step > 0 {
		same := len(files) == len(t.backfilled)
		for _, f := range files {
			same = same && slices.ContainsFunc(t.backfilled, func(b backfilled) bool { return b.of(f) })
		}
		if !same {
			return false, fmt.Errorf("task %d: it has made %d steps already, and the first was not made of %s; --backfill is for a pipeline that has not run: leave it out, or delete the pipeline's topics, group and state folder to start afresh", t.id, t.step, fileNames(files))
		}
		return false, nil
	}
	t.log.Info("learning history", "files", fileNames(files))
	t.beginStep(s)
	before := t.core.engine.V
	all, err := t.learn(ctx, files)
	if err != nil {
		return false, err
	}
	if err := t.end(s); err != nil {
		return false, err
	}
	after := t.core.engine.V
	s.record.Backfills = all
	s.record.Clock, s.record.Watermark = after.Clock, after.Watermark
	s.record.Rows, s.record.Rejected = after.Rows-before.Rows, after.Rejected-before.Rejected
	t.noteBackfills(all)
	t.needSave = true
	t.remote.hurry.Store(true)
	t.log.Info("history learnt", "rows", s.record.Rows, "took", t.w.now().Sub(s.begun))
	return true, nil
}

// relearn feeds a replay with the files that a step was made of.
func (t *task) relearn(ctx context.Context, was []backfilled) error {
	var files []Backfill
	for _, b := range was {
		i := slices.IndexFunc(t.w.opts.Backfills, b.of)
		if i < 0 && t.tlog == nil { // who only looks has no files
			return fmt.Errorf("task %d: step %d learnt a file of source %s with SHA-256 %x: %w, so the state cannot be rebuilt from nothing; start from a checkpoint",
				t.id, t.step+1, b.Source, b.Digest, ErrHistory)
		}
		if i < 0 {
			return fmt.Errorf("task %d: %w: step %d learnt a file of source %s with SHA-256 %x, and no checkpoint is behind it; run with --backfill %s=PATH and that file (and the same --backfill-until), or start a worker whose state folder has a checkpoint",
				t.id, errGone, t.step+1, b.Source, b.Digest, b.Source)
		}
		files = append(files, t.w.opts.Backfills[i])
	}
	all, err := t.learn(ctx, files)
	if err == nil && !slices.Equal(all, was) {
		err = fmt.Errorf("task %d: step %d learnt rows of files, %s; now there are %s: was the file of this pipeline changed?", t.id, t.step+1, rowsText(was), rowsText(all))
	}
	if err == nil {
		t.noteBackfills(all)
	}
	return err
}

// shownRows is how many rejected rows of files are logged.
const shownRows = 10

// learn feeds the core with the task's rows of files, merged by event time, and
// lets nothing of it out.
func (t *task) learn(ctx context.Context, files []Backfill) (all []backfilled, err error) {
	rejected := 0
	e := &evaluation{p: t.of.p, core: t.core, result: &Evaluation{}}
	progress := t.newLearning()
	defer progress.end()
	e.o.Progress = progress.progress
	e.o.Rejected = func(source, node string, r connectors.Rejected) {
		if rejected++; rejected <= shownRows {
			t.log.Warn("a row of the history was rejected", "source", source, "row", r.Offset, "line", r.Line, "operator", node, "reason", r.Why)
		}
	}
	t.core.files = true
	defer func() { t.core.files = false }()
	var shares []*share
	for i, s := range t.of.p.Sources { // ascending by name
		at := slices.IndexFunc(files, func(f Backfill) bool { return f.Source == s.Name })
		if at < 0 {
			continue
		}
		f := files[at]
		in, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("task %d: %w", t.id, err)
		}
		defer in.Close()
		k, err := t.newShare(i, f, in)
		if err != nil {
			return nil, err
		}
		shares = append(shares, k)
		e.inputs = append(e.inputs, &fileInput{name: s.Name, index: i, reader: k, ahead: batch.New(s.Schema)})
		all = append(all, backfilled{Source: s.Name, Digest: f.Digest, Until: f.Until})
	}
	if err := e.feed(ctx); err != nil {
		return nil, fmt.Errorf("task %d: learning history: %w", t.id, err)
	}
	t.busy.Store(0) // reading a large file once more takes its time
	if err := t.unchanged(ctx, files); err != nil {
		return nil, err
	}
	for i, k := range shares {
		all[i].Rows = k.rows
	}
	if rejected > 0 {
		t.log.Warn("rows of the history were rejected", "rows", rejected)
	}
	t.core.errs.refs = t.core.errs.refs[:0]
	clear(t.core.errs.byReason) // rejected rows of files go to no topic
	return all, nil
}

// share reads those rows of a file that are the task's.
type share struct {
	connectors.Reader
	t          *task
	source     int
	until      int64
	key        int // column; -1 = all rows are the task's
	partitions int
	timed      bool // rows have an event time
	all        *batch.Batch
	text       []byte
	rows       int64
}

func (t *task) newShare(source int, f Backfill, in connectors.Reader) (*share, error) {
	s := t.of.p.Sources[source]
	k := &share{Reader: in, t: t, source: source, until: f.Until, key: -1, timed: s.Time != "", partitions: t.of.Topics[source].Partitions, all: batch.New(s.Schema)}
	switch {
	case t.of.Tasks == 1:
	case s.Key == "":
		return nil, fmt.Errorf("task %d: source %s has no key, so it is not known which of %d tasks a row of %s belongs to; give the source key: COLUMN, or run the pipeline with tasks: 1", t.id, s.Name, t.of.Tasks, f.Name)
	default:
		k.key = s.Schema.Lookup(s.Key)
	}
	if f.Until != 0 && !k.timed {
		return nil, fmt.Errorf("task %d: source %s has no event time to cut %s by; give it time: COLUMN", t.id, s.Name, f.Name)
	}
	return k, nil
}

// Read implements [connectors.Reader].
func (k *share) Read(ctx context.Context, into *batch.Batch, limit int) ([]connectors.Rejected, error) {
	k.all.Reset()
	bad, err := k.Reader.Read(ctx, k.all, limit)
	for row := range k.all.N {
		if k.mine(row) {
			if !k.timed {
				k.all.Origin.Time[row] = k.t.core.clock
			}
			into.AppendRow(k.all, row)
			k.rows++
		}
	}
	// Rows that do not decode have no key: one task counts each.
	n := 0
	for _, r := range bad {
		if k.keyless(r.Offset) {
			bad[n] = r
			n++
		}
	}
	return bad[:n], err
}

// keyless reports whether a row without a key is the task's, by its number.
func (k *share) keyless(row int64) bool {
	return k.key < 0 || k.reads(int32(row%int64(k.partitions)))
}

// reads reports whether a partition is the task's.
func (k *share) reads(partition int32) bool {
	return k.t.partitionOfRun(inputRun{Source: k.source, Partition: partition}) >= 0
}

func (k *share) mine(row int) bool {
	if k.until != 0 && k.all.Origin.Time[row] >= k.until {
		return false
	}
	if k.key < 0 {
		return true
	}
	col := k.all.Cols[k.key]
	if col.Null(row) {
		return k.keyless(k.all.Origin.Offset[row])
	}
	k.text = col.AppendText(k.text[:0], row)
	return k.reads(k.t.w.formats.PartitionForKey(k.text, k.partitions))
}

func fileNames(files []Backfill) string {
	var names []string
	for _, f := range files {
		names = append(names, f.Source+"="+f.Name)
	}
	return strings.Join(names, ", ")
}
