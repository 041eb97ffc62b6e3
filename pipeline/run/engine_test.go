package run_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/internal/testutil/wait"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/feature"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/operators/route"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
)

var registry = operators.Merge(&feature.Family, &learn.Family, &route.Family)

var formats = run.Formats{
	NewDecoder: func(format string, s *batch.Schema) (connectors.Decoder, error) {
		return codec.NewDecoder(format, s, codec.Options{})
	},
	NewEncoder: func(format string, s *batch.Schema) (connectors.Encoder, error) {
		return codec.NewEncoder(format, s, codec.Options{})
	},
	PartitionForKey: kafka.PartitionForKey,
}

const clicks = `
pipeline: clicks
kafka: {brokers: embedded}
tasks: TASKS
commit: {interval: 20ms}
checkpoint: {local: LOCAL}
sources:
  clicks:
    topic: clicks
    partitions: PARTITIONS
    schema: {id: int64, user: string, price: float64?, y: bool?}
operators:
  features:
    from: clicks
    vectorize: {bits: 12, numeric: [price], categorical: [user]}
  ctr:
    from: features
    logistic_regression: {label: y}
sinks:
  predictions:
    from: ctr
    topic: clicks.predictions
    key: user
    partitions: 3
    columns: {id: id, p: ctr.probability, version: ctr.version}
`

func load(t testing.TB, text string, replace ...string) *pipeline.Pipeline {
	t.Helper()
	replace = append(replace, "LOCAL", "100ms")
	p, errs := pipeline.Parse("pipeline.yaml", []byte(strings.NewReplacer(replace...).Replace(text)), pipeline.Options{Registry: registry})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

// events makes the values of n click events; about one in 50 is not usable.
func events(n int, bad bool) [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([][]byte, n)
	for i := range all {
		u := rng.IntN(50)
		price := rng.NormFloat64()
		y := rng.Float64() < 0.2+0.6*float64(u%7)/7
		v := fmt.Sprintf(`{"id":%d,"user":"u%d","price":%.3f,"y":%t}`, i, u, price, y)
		if i%11 == 0 {
			v = fmt.Sprintf(`{"id":%d,"user":"u%d","price":null,"y":null}`, i, u)
		}
		if bad && i%50 == 7 {
			v = fmt.Sprintf(`{"id":%d,"user":17}`, i)
		}
		all[i] = []byte(v)
	}
	return all
}

// cluster is one broker with the topics of a pipeline and a stream in them.
type cluster struct {
	t     testing.TB
	addrs []string
	e     *kafka.Embedded
	p     *pipeline.Pipeline
	topo  *run.Topology // as the last worker found it
}

func newCluster(t testing.TB, p *pipeline.Pipeline, values [][]byte) *cluster {
	t.Helper()
	e, err := kafka.StartEmbedded(t.Context(), kafka.EmbeddedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	c := &cluster{t: t, addrs: []string{e.Addr()}, e: e, p: p}
	c.prepare(values)
	return c
}

// prepare creates the source topic and fills it.
func (c *cluster) prepare(values [][]byte) {
	c.t.Helper()
	k := c.open(0, "")
	defer k.Close()
	s := c.p.Sources[0]
	if err := k.Create(c.t.Context(), []connectors.Topic{{Name: s.Topic, Partitions: s.Partitions}}); err != nil {
		c.t.Fatal(err)
	}
	c.produce(values)
}

func (c *cluster) produce(values [][]byte) {
	c.t.Helper()
	out, err := kafka.NewProducer(kafka.ProducerOptions{Brokers: c.addrs})
	if err != nil {
		c.t.Fatal(err)
	}
	defer out.Close()
	for i, v := range values {
		key := fmt.Appendf(nil, "k%d", i%97)
		if err := out.Send(c.t.Context(), c.p.Sources[0].Topic, connectors.Record{Key: key, Value: v}); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := out.Flush(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) open(tasks int, instance string) *kafka.Cluster {
	c.t.Helper()
	o := kafka.Options{Brokers: c.addrs, Pipeline: c.p.Name, Tasks: tasks, InstanceID: instance, StepMeta: run.StepMeta, Log: logger(c.t)}
	for _, stage := range c.p.Stages() {
		for _, s := range stage.Sources {
			o.Sources = append(o.Sources, s.Topic)
		}
	}
	if tasks > 0 {
		o.TaskOf = c.topo.TaskOf
	}
	k, err := kafka.Open(c.t.Context(), o)
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

func logger(t testing.TB) *slog.Logger {
	w := io.Discard
	if testing.Verbose() {
		w = os.Stderr
	}
	_ = t
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// life is one worker's life on a state folder.
type life struct {
	c      *cluster
	w      *run.Worker
	k      *kafka.Cluster
	store  state.Store
	cancel context.CancelFunc
	done   chan error
}

func (c *cluster) start(dir string, o run.Options) *life {
	c.t.Helper()
	store, err := pebblestore.Open(filepath.Join(dir, "state"), pebblestore.Options{Pipeline: c.p.Name})
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := c.startOn(store, o)
	if err != nil {
		c.t.Fatal(err)
	}
	return l
}

func (c *cluster) startOn(store state.Store, o run.Options) (*life, error) {
	c.t.Helper()
	adm := c.open(0, "")
	topo, err := run.Prepare(c.t.Context(), c.p, adm, true)
	_ = adm.Close()
	if err != nil {
		return nil, err
	}
	c.topo = topo
	o.Formats, o.InstanceID, o.Log = formats, "w1", logger(c.t)
	k := c.open(topo.Tasks, "w1")
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{c: c, k: k, store: store, cancel: cancel, done: make(chan error, 1)}
	l.w = run.NewWorker(c.p, topo, k, store, o)
	go func() { l.done <- l.w.Run(ctx) }()
	return l, nil
}

// stop drains the worker as SIGTERM would.
// end returns what the worker ends with.
func (l *life) end() error { return wait.For(l.c.t, "the worker", l.done) }

func (l *life) stop() error {
	l.cancel()
	err := l.end()
	_ = l.k.Close()
	return errors.Join(err, l.store.Close())
}

// lag returns what is left to process, or -1 before the tasks are live.
func (l *life) lag(tasks int) (lag, rows int64) {
	all := l.w.Status()
	if len(all) < tasks {
		return -1, 0
	}
	for _, s := range all {
		if s.Phase != "live" {
			return -1, 0
		}
		rows += s.Rows + s.Rejected
		for _, p := range s.Partitions {
			lag += p.Lag()
		}
	}
	return lag, rows
}

// await waits until n records were processed.
func (l *life) await(tasks int, n int64) {
	l.c.t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for time.Now().Before(deadline) {
		if _, rows := l.lag(tasks); rows >= n {
			return
		}
		select {
		case err := <-l.done:
			l.c.t.Fatalf("the worker ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	l.c.t.Fatalf("not processed in time: %+v", l.w.Status())
}

// read returns all committed records of a topic, partition by partition.
func (c *cluster) read(topic string) []connectors.Record {
	c.t.Helper()
	k := c.open(0, "")
	defer k.Close()
	_, infos, err := k.Describe(c.t.Context(), []string{topic})
	if err != nil {
		c.t.Fatal(err)
	}
	var all []connectors.Record
	for q := range infos[0].Partitions {
		tp := connectors.TopicPartition{Topic: topic, Partition: int32(q)}
		ends, err := k.Resolve(c.t.Context(), []connectors.Position{{TopicPartition: tp, Next: connectors.Latest}, {TopicPartition: tp, Next: connectors.Earliest}})
		if err != nil {
			c.t.Fatal(err)
		}
		next, end := ends[1].Next, ends[0].Next
		if next >= end {
			continue
		}
		f, err := k.Feed(c.t.Context(), []connectors.Position{{TopicPartition: tp, Next: next}})
		if err != nil {
			c.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
		for next < end {
			got, err := f.Poll(ctx, 10000, nil)
			if err != nil {
				c.t.Fatalf("reading %s: %v (at %d of %d)", tp, err, next, end)
			}
			all = append(all, got.Records...)
			next = got.Next
		}
		cancel()
		_ = f.Close()
	}
	return all
}

// eachOnce checks that records hold n distinct ids.
func eachOnce(t testing.TB, recs []connectors.Record, n int) {
	t.Helper()
	var ids []string
	for _, r := range recs {
		id, _, _ := strings.Cut(string(r.Value), ",")
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if k := len(slices.Compact(slices.Clone(ids))); k != n || len(ids) != n {
		t.Fatalf("%d records with %d distinct ids, want %d of each", len(ids), k, n)
	}
}

func TestExactlyOnceThroughTopics(t *testing.T) {
	const n = 5000
	p := load(t, clicks, "TASKS", "partitions", "PARTITIONS", "4")
	c := newCluster(t, p, events(n, true))
	l := c.start(t.TempDir(), run.Options{})
	l.await(4, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, c.read("clicks.predictions"), n-n/50)
	bad := c.read("clicks.errors")
	if len(bad) != n/50 {
		t.Fatalf("%d rejected records, want %d", len(bad), n/50)
	}
	h := map[string]string{}
	for _, x := range bad[0].Headers {
		h[x.Key] = string(x.Value)
	}
	if h["__connect.errors.topic"] != "clicks" || !strings.Contains(h["__connect.errors.exception.message"], "user") {
		t.Errorf("headers of a rejected record: %v", h)
	}
}

// weights hashes what operators hold in a state folder, the engine's own clock
// and counters left out.
func weights(t testing.TB, dir string) map[string]uint64 {
	t.Helper()
	store, err := pebblestore.Open(filepath.Join(dir, "state"), pebblestore.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	tasks, err := store.Tasks()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]uint64{}
	for _, task := range tasks {
		handles, err := store.Handles(task)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range handles {
			if h.ID.Node == "@engine" {
				continue
			}
			sum := xxh3.New()
			err := store.Entries(task, h.ID, func(key, value []byte) bool {
				_, _ = sum.Write(key)
				_, _ = sum.Write(value)
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
			sums[fmt.Sprintf("%d %s", task, h.ID)] = sum.Sum64()
		}
	}
	if len(sums) < 2 {
		t.Fatalf("only %d handles in %s", len(sums), dir)
	}
	return sums
}

// values lists the published values in order, whatever step they came in.
func values(recs []connectors.Record) []string {
	all := make([]string, len(recs))
	for i, r := range recs {
		all[i] = string(r.Key) + " " + string(r.Value)
	}
	return all
}

func TestBatchesNeverShow(t *testing.T) {
	const n = 3000
	p := load(t, clicks, "TASKS", "partitions", "PARTITIONS", "1")
	var state map[string]uint64
	var out []string
	for _, rows := range []int{4096, 7, 1} {
		c := newCluster(t, p, events(n, true))
		dir := t.TempDir()
		l := c.start(dir, run.Options{BatchRows: rows, PollRows: 3 * rows})
		l.await(1, n)
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
		s, o := weights(t, dir), values(c.read("clicks.predictions"))
		if state == nil {
			state, out = s, o
			continue
		}
		if !maps.Equal(s, state) {
			t.Errorf("batches of %d: state %v, of 4096: %v", rows, s, state)
		}
		if !slices.Equal(o, out) {
			t.Errorf("batches of %d publish something else than batches of 4096", rows)
		}
	}
}

// TestCrashes cuts the worker off from the brokers in mid-stream, again and again:
// nothing is drained or saved then. What it knew is rebuilt from the last
// checkpoint and the journal.
func TestCrashes(t *testing.T) {
	for _, c := range []struct {
		name       string
		tasks      string
		partitions string
		deleteAt   int // crash after which the state folder is deleted; -1 = never
	}{
		{"one partition", "partitions", "1", -1},
		{"four tasks", "partitions", "4", -1},
		{"two tasks of two partitions", "2", "4", -1},
		{"state deleted", "partitions", "2", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// Without a checkpoint after the one that follows a replay, every life
			// leaves steps to replay, however slow the machine.
			crashes(t, load(t, clicks, "TASKS", c.tasks, "PARTITIONS", c.partitions, "LOCAL", "1h"), c.deleteAt)
		})
	}
}

func crashes(t *testing.T, p *pipeline.Pipeline, deleteAt int) {
	const n, rounds = 30000, 5
	all := events(n, true)
	c := newCluster(t, p, all[:n/rounds])
	dir := t.TempDir()
	tasks := p.Tasks
	if tasks == 0 {
		tasks = p.Sources[0].Partitions
	}
	replayed := uint64(0)
	for round := range rounds {
		l := c.start(dir, run.Options{PollRows: 50})
		if round > 0 {
			c.produce(all[n/rounds*round : n/rounds*(round+1)])
		}
		l.await(tasks, int64(n/rounds*round+n/rounds/2))
		for _, s := range l.w.Status() {
			replayed += s.Replayed
		}
		_ = l.k.Close()
		if err := l.end(); err == nil {
			t.Fatal("the worker ended without an error though its connections were cut")
		}
		if err := l.store.Close(); err != nil {
			t.Fatal(err)
		}
		if round == deleteAt {
			if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
				t.Fatal(err)
			}
		}
	}
	l := c.start(dir, run.Options{})
	l.await(tasks, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if replayed == 0 {
		t.Error("no step was ever replayed: the crashes came too late to prove anything")
	}
	t.Logf("%d steps replayed", replayed)
	eachOnce(t, c.read("clicks.predictions"), n-n/50)
	if got := len(c.read("clicks.errors")); got != n/50 {
		t.Errorf("%d rejected records, want %d", got, n/50)
	}

	// With one partition a task, an undisturbed run ends in the same bits.
	if tasks != p.Sources[0].Partitions {
		return
	}
	calm := newCluster(t, p, nil)
	for round := range rounds {
		calm.produce(all[n/rounds*round : n/rounds*(round+1)])
	}
	quiet := t.TempDir()
	l = calm.start(quiet, run.Options{})
	l.await(tasks, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if a, b := weights(t, dir), weights(t, quiet); !maps.Equal(a, b) {
		t.Errorf("state after the crashes %v, undisturbed %v", a, b)
	}
}

// TestPlannedRestart drains: the next start replays nothing.
func TestPlannedRestart(t *testing.T) {
	const n = 4000
	p := load(t, clicks, "TASKS", "partitions", "PARTITIONS", "2")
	all := events(n, false)
	c := newCluster(t, p, all[:n/2])
	dir := t.TempDir()
	l := c.start(dir, run.Options{})
	l.await(2, n/2)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	l = c.start(dir, run.Options{})
	c.produce(all[n/2:])
	l.await(2, n)
	for _, s := range l.w.Status() {
		if s.Replayed != 0 {
			t.Errorf("task %d replayed %d steps after a planned stop", s.Task, s.Replayed)
		}
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, c.read("clicks.predictions"), n)
}

// TestRefusals starts on state that means something else.
func TestRefusals(t *testing.T) {
	const n = 500
	p := load(t, clicks, "TASKS", "partitions", "PARTITIONS", "1")
	c := newCluster(t, p, events(n, false))
	dir := t.TempDir()
	l := c.start(dir, run.Options{})
	l.await(1, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name    string
		replace []string
		want    string
	}{
		{"another hash width", []string{"bits: 12", "bits: 13"}, `with "vectorize bits=12 `},
		{"another topic", []string{"topic: clicks\n", "topic: other\n"}, `the state was made by reading topic "clicks", the pipeline file now says "other"`},
	} {
		t.Run(x.name, func(t *testing.T) {
			q := load(t, strings.NewReplacer(x.replace...).Replace(clicks), "TASKS", "partitions", "PARTITIONS", "1")
			d := &cluster{t: t, addrs: c.addrs, p: q}
			l := d.start(dir, run.Options{})
			if err := l.end(); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("ended with %v, want %q", err, x.want)
			}
			_ = l.k.Close()
			_ = l.store.Close()
		})
	}
	t.Run("another topic, no checkpoint", func(t *testing.T) {
		q := load(t, strings.Replace(clicks, "topic: clicks\n", "topic: other\n", 1), "TASKS", "partitions", "PARTITIONS", "1")
		d := &cluster{t: t, addrs: c.addrs, p: q}
		l := d.start(t.TempDir(), run.Options{})
		if err := l.end(); err == nil || !strings.Contains(err.Error(), `the state was made by reading topic "clicks"`) {
			t.Errorf("ended with %v", err)
		}
		_ = l.k.Close()
		_ = l.store.Close()
	})
	// A refusal leaves no trace: the pipeline as it was goes on, with its checkpoint
	// and without.
	for _, at := range []string{dir, t.TempDir()} {
		l := c.start(at, run.Options{})
		l.await(1, n)
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("another pipeline", func(t *testing.T) {
		if _, err := pebblestore.Open(filepath.Join(dir, "state"), pebblestore.Options{Pipeline: "other"}); err == nil || !strings.Contains(err.Error(), "clicks") {
			t.Errorf("opened with %v", err)
		}
	})
	t.Run("another cluster", func(t *testing.T) {
		d := newCluster(t, p, events(n, false))
		l := d.start(dir, run.Options{})
		if err := l.end(); err == nil || !strings.Contains(err.Error(), "belongs to Kafka cluster") {
			t.Errorf("ended with %v", err)
		}
		_ = l.k.Close()
		_ = l.store.Close()
	})
	t.Run("the journal made anew", func(t *testing.T) {
		if r, err := c.admin().DeleteTopic(t.Context(), "clicks.journal"); err != nil || r.Err != nil {
			t.Fatal(r, err)
		}
		k := c.open(1, "")
		if err := k.Create(t.Context(), []connectors.Topic{{Name: "clicks.journal", Partitions: 1}}); err != nil {
			t.Fatal(err)
		}
		_ = k.Close()
		for at, which := range map[string]string{dir: "local", t.TempDir(): "remote"} {
			l := c.start(at, run.Options{})
			if err := l.end(); err == nil || !strings.Contains(err.Error(), "the "+which+" checkpoint holds step ") || !strings.Contains(err.Error(), "but the journal ends before it: the broker lost committed records") {
				t.Errorf("with a %s checkpoint: ended with %v", which, err)
			}
			_ = l.k.Close()
			_ = l.store.Close()
		}
	})
}

// TestChangedFile changes the pipeline file between a crash and the replay it
// makes necessary, and between a clean stop and the next start.
func TestChangedFile(t *testing.T) {
	const n = 2000
	// A crash leaves steps to replay: nothing is saved before.
	p := load(t, clicks, "TASKS", "partitions", "PARTITIONS", "1", "LOCAL", "1h")
	changed := load(t, strings.Replace(clicks, "{label: y}", "{label: y, optimizer: {mixture: {rate: 0.5}}}", 1), "TASKS", "partitions", "PARTITIONS", "1")
	c := newCluster(t, p, events(n, false))
	dir := t.TempDir()
	l := c.start(dir, run.Options{PollRows: 20})
	l.await(1, n/2)
	_ = l.k.Close()
	l.end()
	_ = l.store.Close()

	other := &cluster{t: t, addrs: c.addrs, p: changed}
	l = other.start(dir, run.Options{})
	if err := l.end(); err == nil || !strings.Contains(err.Error(), "the pipeline file was changed since") {
		t.Errorf("replaying with a changed file ended with %v", err)
	}
	_ = l.k.Close()
	_ = l.store.Close()

	l = c.start(dir, run.Options{})
	l.await(1, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	c.produce(events(n, false))
	l = other.start(dir, run.Options{})
	l.await(1, 2*n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if got := len(c.read("clicks.predictions")); got != 2*n {
		t.Errorf("%d predictions, want %d", got, 2*n)
	}
}
