package run_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
)

const history = `
pipeline: clicks
kafka: {brokers: embedded}
tasks: TASKS
commit: {interval: 20ms}
checkpoint: {local: LOCAL}
sources:
  clicks:
    topic: clicks
    partitions: PARTITIONS
    key: user
    time: ts
    schema: {id: int64, ts: timestamp, user: string, price: float64?, y: bool?}
operators:
  features: {from: clicks, vectorize: {bits: 12, numeric: [price], categorical: [user]}}
  ctr: {from: features, logistic_regression: {label: y}}
sinks:
  predictions: {from: ctr, topic: clicks.predictions, partitions: 1, columns: {id: id, p: ctr.probability, version: ctr.version}}
`

// timed gives events a time: second i.
func timed(values [][]byte) [][]byte {
	out := make([][]byte, len(values))
	for i, v := range values {
		out[i] = []byte(strings.Replace(string(v), `"user"`, fmt.Sprintf(`"ts":%d,"user"`, 1000*(i+1)), 1))
	}
	return out
}

// backfillOf writes events to a file.
func backfillOf(t *testing.T, schema *batch.Schema, values [][]byte, until int64) run.Backfill {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history.jsonl")
	var text []byte
	for _, v := range values {
		text = append(append(text, v...), '\n')
	}
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	return run.Backfill{Source: "clicks", Name: path, Digest: sha256.Sum256(text), Until: until,
		Open: func() (connectors.Reader, error) { return file.Open(path, file.Options{Schema: schema, Time: "ts"}) }}
}

// noCheckpoints is a store on which no checkpoint becomes durable.
type noCheckpoints struct{ state.Store }

func (s noCheckpoints) Open(task int) (state.Partition, error) {
	p, err := s.Store.Open(task)
	return noCheckpoint{p}, err
}

type noCheckpoint struct{ state.Partition }

func (noCheckpoint) Stage(state.Manifest) (func(context.Context) error, error) {
	return func(context.Context) error { return errors.New("disk full") }, nil
}

// predictions returns what was published, by id, and fails on an id that comes twice.
func predictions(t *testing.T, c *cluster) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, r := range c.read("clicks.predictions") {
		id, rest, _ := strings.Cut(string(r.Value), ",")
		if got[id] != "" {
			t.Fatalf("%s is published twice", id)
		}
		got[id] = rest
	}
	return got
}

// The file holds events 0 to 599, the topic 400 to 999, the cut is at 500: each is
// learnt once, over crashes too, and what is published is bit for bit what
// evaluating one file of all gives.
func TestBackfill(t *testing.T) {
	all := timed(events(1000, false))
	p := load(t, history, "TASKS", "1", "PARTITIONS", "1")
	schema := p.Sources[0].Schema
	f := backfillOf(t, schema, all[:600], 1000*501)

	whole, err := backfillOf(t, schema, all, 0).Open()
	if err != nil {
		t.Fatal(err)
	}
	w := &byID{want: map[string]string{}}
	if _, err := run.Evaluate(t.Context(), p, run.EvaluateOptions{Formats: formats, Inputs: map[string]connectors.Reader{"clicks": whole}, Outputs: map[string]run.RowWriter{"predictions": w}, Now: time.Now,
		Encode: func(s *batch.Schema) (connectors.Encoder, error) { return formats.NewEncoder("json", s) }}); err != nil {
		t.Fatal(err)
	}

	c := newCluster(t, p, all[400:800])
	start := func(store state.Store, files ...run.Backfill) *life {
		l, err := c.startOn(store, run.Options{Backfills: files})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	// No checkpoint is ever durable: the next start has the journal and the file only.
	l := start(noCheckpoints{memstore.New()}, f)
	l.await(1, 500+300)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	l = start(memstore.New())
	if err := <-l.done; err == nil || !strings.Contains(err.Error(), fmt.Sprintf("step 1 learnt a file of source clicks with SHA-256 %x", f.Digest)) {
		t.Errorf("without the file and without a checkpoint: %v", err)
	}
	l.cancel()
	_ = l.k.Close()
	other := backfillOf(t, schema, all[:599], f.Until)
	l = start(memstore.New(), other)
	if err := <-l.done; err == nil || !strings.Contains(err.Error(), "step 1 learnt a file") {
		t.Errorf("with another file: %v", err)
	}
	l.cancel()
	_ = l.k.Close()
	store := memstore.New()
	l = start(store, f)
	c.produce(all[800:900])
	l.await(1, 500+400)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	// From a checkpoint the file is not needed; the cut holds.
	before := store.Clone()
	c.produce(all[480:520]) // again: what lies behind the cut is an event of its own
	l = start(store)
	c.produce(all[900:])
	l.await(1, 500+400+20+100)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	explainBehindCut(t, c, before)
	l = start(store, other)
	if err := <-l.done; err == nil || !strings.Contains(err.Error(), "steps already, and the first was not made of clicks=") {
		t.Errorf("another file for a task with steps: %v", err)
	}
	l.cancel()
	_ = l.k.Close()

	var ids []string
	seen := map[string]string{}
	for _, r := range c.read("clicks.predictions") {
		id, rest, _ := strings.Cut(string(r.Value), ",")
		ids = append(ids, id)
		if seen[id] == "" {
			seen[id] = rest
		}
	}
	if len(ids) != 520 || len(seen) != 500 { // 500 to 999, and 500 to 519 once more
		t.Errorf("%d predictions of %d events", len(ids), len(seen))
	}
	for id, got := range seen {
		var n int
		if _, err := fmt.Sscanf(id, `{"id":%d`, &n); err != nil {
			t.Fatal(err)
		}
		if n < 900 && got != w.want[id] {
			t.Fatalf("%s: %s, evaluating gives %s", id, got, w.want[id])
		}
	}
}

// explainBehindCut takes a prediction apart of a step that begins with rows which the
// cut leaves out.
func explainBehindCut(t *testing.T, c *cluster, from state.Inspector) {
	t.Helper()
	records := c.read("clicks.predictions")
	i := slices.IndexFunc(records[400:], func(r connectors.Record) bool { return bytes.HasPrefix(r.Value, []byte(`{"id":500,`)) })
	r := &records[400+i]
	id, err := run.ParseOutputID(headerOf(r, "gs-id"))
	if err != nil {
		t.Fatal(err)
	}
	past := c.open(0, "")
	defer past.Close()
	x, err := run.Explain(t.Context(), c.p, past, id, run.RebuildOptions{Formats: formats, Checkpoint: from})
	if err != nil || !x.Equal || x.Published.Offset != r.Offset {
		t.Errorf("%v, published as %s: %+v, %v", id, r.Value, x, err)
	}
}

// byID keeps predictions as JSON.
type byID struct{ want map[string]string }

func (w *byID) Write(b *batch.Batch, lo, hi int) error {
	enc, err := formats.NewEncoder("json", b.Schema)
	if err != nil {
		return err
	}
	for row := lo; row < hi; row++ {
		text, err := enc.Encode(nil, b, row, row+1)
		if err != nil {
			return err
		}
		id, rest, _ := strings.Cut(string(text), ",")
		w.want[id] = rest
	}
	return nil
}

func (*byID) Close() error { return nil }

// Several tasks share a file by the key, as the topic is shared: each row is
// learnt by one of them. A worker that is stopped in the middle of it leaves
// nothing behind.
func TestBackfillOfSeveralTasks(t *testing.T) {
	all := timed(events(900, false))
	p := load(t, history, "TASKS", "partitions", "PARTITIONS", "3")
	schema := p.Sources[0].Schema
	f := backfillOf(t, schema, all[:600], 0)
	c := newCluster(t, p, nil)
	slow := f
	stopped := make(chan struct{})
	slow.Open = func() (connectors.Reader, error) {
		r, err := f.Open()
		return &stuck{Reader: r, until: stopped}, err
	}
	store := memstore.New()
	l, err := c.startOn(store, run.Options{Backfills: []run.Backfill{slow}})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); len(l.w.Status()) < 3 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	l.cancel()
	close(stopped)
	if err := <-l.done; err != nil {
		t.Fatal(err)
	}
	_ = l.k.Close()
	l, err = c.startOn(store, run.Options{Backfills: []run.Backfill{f}})
	if err != nil {
		t.Fatal(err)
	}
	l.await(3, 600)
	c.produce(all[600:])
	l.await(3, 900)
	var rows []int64
	sum := int64(0)
	for _, s := range l.w.Status() {
		rows = append(rows, s.Rows)
		sum += s.Rows
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if sum != 900 || slices.Min(rows) < 100 {
		t.Errorf("rows of the tasks: %v", rows)
	}
	if got := predictions(t, c); len(got) != 300 {
		t.Errorf("%d predictions, want those of the topic, 300", len(got))
	}

	keyless := load(t, strings.Replace(history, "    key: user\n", "", 1), "TASKS", "partitions", "PARTITIONS", "3")
	c = newCluster(t, keyless, nil)
	if l, err = c.startOn(memstore.New(), run.Options{Backfills: []run.Backfill{f}}); err != nil {
		t.Fatal(err)
	}
	if err := <-l.done; err == nil || !strings.Contains(err.Error(), "source clicks has no key, so it is not known which of 3 tasks a row of") {
		t.Errorf("a source without a key: %v", err)
	}
	l.cancel()
	_ = l.k.Close()
}

// stuck is a reader that gives some rows and waits then.
type stuck struct {
	connectors.Reader
	until chan struct{}
	reads int
}

func (r *stuck) Read(ctx context.Context, into *batch.Batch, limit int) ([]connectors.Rejected, error) {
	if r.reads++; r.reads > 2 {
		<-r.until
	}
	return r.Reader.Read(ctx, into, min(limit, 50))
}
