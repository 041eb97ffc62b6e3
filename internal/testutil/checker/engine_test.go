package checker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/internal/testutil/faultproxy"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
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

const clicks = `
pipeline: clicks
kafka: {brokers: embedded}
tasks: TASKS
commit: {interval: 20ms, rows: 100}
checkpoint: {local: 10ms}
sources:
  clicks:
    topic: clicks
    partitions: 4
    schema: {id: int64, user: string, y: bool?}
operators:
  features:
    from: clicks
    vectorize: {bits: 10, categorical: [user]}
  ctr:
    from: features
    logistic_regression: {label: y}
sinks:
  predictions:
    from: ctr
    topic: clicks.predictions
    key: user
    partitions: 3
    columns: {id: id, p: ctr.probability}
`

var formats = run.Formats{
	NewDecoder: func(format string, s *batch.Schema) (connectors.Decoder, error) {
		return codec.NewDecoder(format, s, codec.Options{})
	},
	NewEncoder: func(format string, s *batch.Schema) (connectors.Encoder, error) {
		return codec.NewEncoder(format, s, codec.Options{})
	},
	PartitionForKey: kafka.PartitionForKey,
}

// crossing is the topic of the rows where there is a repartition.
const crossing = "clicks.by_user.repartition"

// engine runs real workers.
type engine struct {
	t     *testing.T
	ctx   context.Context
	addrs []string
	p     *pipeline.Pipeline
	topo  *run.Topology // as the last worker found it
	cut   bool          // the users' models are behind a repartition
	dir   string
	sent  int

	copies []string // of the state folder as crashes left it
	wrecks *wrecks  // stand between the engine and the world; nil = nothing
}

func newEngine(t *testing.T, tasks string, addrs []string) *engine {
	t.Helper()
	return newEngineOf(t, strings.Replace(clicks, "TASKS", tasks, 1), addrs)
}

func newEngineOf(t *testing.T, text string, addrs []string) *engine {
	t.Helper()
	registry := operators.Merge(&feature.Family, &learn.Family, &route.Family)
	p, errs := pipeline.Parse("pipeline.yaml", []byte(text), pipeline.Options{Registry: registry})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	e := &engine{t: t, ctx: ctx, addrs: addrs, p: p, cut: len(p.Stages()) > 1, dir: t.TempDir()}
	k := e.open(0)
	defer k.Close()
	if err := k.Create(ctx, []connectors.Topic{{Name: "clicks", Partitions: 4}}); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *engine) open(tasks int) *kafka.Cluster { return e.openAs(tasks, nil) }

func (e *engine) openAs(tasks int, special func(o *kafka.Options)) *kafka.Cluster {
	e.t.Helper()
	o := kafka.Options{Brokers: e.addrs, Pipeline: "clicks", Sources: []string{"clicks"}, Tasks: tasks, InstanceID: "w1", StepMeta: run.StepMeta, Log: slog.New(slog.DiscardHandler)}
	if e.cut && tasks > 0 {
		o.Sources, o.TaskOf = append(o.Sources, crossing), e.topo.TaskOf
	}
	if special != nil {
		special(&o)
	}
	k, err := kafka.Open(e.ctx, o)
	if err != nil {
		e.t.Fatal(err)
	}
	return k
}

// produce writes n events more; one in 40 does not decode.
func (e *engine) produce(n int) {
	e.t.Helper()
	out, err := kafka.NewProducer(kafka.ProducerOptions{Brokers: e.addrs})
	if err != nil {
		e.t.Fatal(err)
	}
	defer out.Close()
	for range n {
		i := e.sent
		v := fmt.Sprintf(`{"id":%d,"user":"u%d","y":%t}`, i, i*i%31, i%3 == 0)
		if i%40 == 7 {
			v = fmt.Sprintf(`{"id":%d,"user":17}`, i)
		}
		if w := e.wrecks; w != nil && w.value != nil && w.value(i) != "" {
			v = w.value(i)
		}
		if err := out.Send(e.ctx, "clicks", connectors.Record{Key: fmt.Append(nil, i%89), Value: []byte(v)}); err != nil {
			e.t.Fatal(err)
		}
		e.sent++
	}
	if err := out.Flush(e.ctx); err != nil {
		e.t.Fatal(err)
	}
}

type life struct {
	e      *engine
	w      *run.Worker
	k      *kafka.Cluster
	store  *pebblestore.Store
	cancel context.CancelFunc
	done   chan error
	ended  bool // done was read
}

func (e *engine) start() *life { return e.startAs(filepath.Join(e.dir, "state"), nil) }

// startAs starts a worker on a state folder; special may change how it speaks to the brokers.
func (e *engine) startAs(dir string, special func(o *kafka.Options)) *life {
	e.t.Helper()
	admin := e.open(0)
	topo, err := run.Prepare(e.ctx, e.p, admin, true)
	_ = admin.Close()
	if err != nil {
		e.t.Fatal(err)
	}
	e.topo = topo
	store, err := pebblestore.Open(dir, pebblestore.Options{Pipeline: "clicks"})
	if err != nil {
		e.t.Fatal(err)
	}
	l := &life{e: e, k: e.openAs(topo.Tasks, special), store: store, done: make(chan error, 1)}
	var cluster connectors.Cluster = l.k
	var disk state.Store = store
	if e.wrecks != nil {
		cluster, disk = &wreckedCluster{l.k, e.wrecks}, &wreckedStore{store, e.wrecks}
	}
	l.w = run.NewWorker(e.p, topo, cluster, disk, run.Options{InstanceID: "w1", PollRows: 50, Formats: wreckedFormats(e.wrecks)})
	ctx, cancel := context.WithCancel(e.ctx)
	l.cancel = cancel
	go func() { l.done <- l.w.Run(ctx) }()
	return l
}

// await waits until n records were processed since the first start.
func (l *life) await(n int) {
	l.e.t.Helper()
	for l.e.ctx.Err() == nil {
		if l.far(n) {
			return
		}
		if err := l.pause(); l.ended {
			l.e.t.Fatalf("the worker ended: %v", err)
		}
	}
	l.e.t.Fatalf("not processed in time: %+v", l.w.Status())
}

// far reports whether n records were processed since the first start.
func (l *life) far(n int) bool {
	rows := int64(0)
	for _, s := range l.w.Status() {
		if s.Phase == "live" {
			rows += s.Rows + s.Rejected
		}
	}
	return rows >= int64(n)
}

// pause waits a moment, or for the worker's end.
func (l *life) pause() error {
	select {
	case err := <-l.done:
		l.ended = true
		return err
	case <-time.After(5 * time.Millisecond):
		return nil
	}
}

// stop drains; crash cuts the worker off from the brokers instead, and nothing is saved.
func (l *life) stop() error {
	l.cancel()
	var err error
	if !l.ended {
		err = wait.For(l.e.t, "the worker", l.done)
	}
	_ = l.k.Close()
	return errors.Join(err, l.store.Close())
}

func (l *life) crash() {
	l.e.t.Helper()
	_ = l.k.Close()
	if err := wait.For(l.e.t, "the worker", l.done); err == nil {
		l.e.t.Fatal("the worker ended without an error though its connections were cut")
	}
	l.cancel()
	if err := l.store.Close(); err != nil {
		l.e.t.Fatal(err)
	}
}

var idPattern = regexp.MustCompile(`"id":(\d+)`)

func idOf(r *kgo.Record) (string, bool) {
	m := idPattern.FindSubmatch(r.Value)
	if m == nil || isPoison(r) > 0 {
		return "", false
	}
	return string(m[1]), true
}

// check checks what the engine left, its state included.
func (e *engine) check(seen *Watcher) Report {
	e.t.Helper()
	var states []State
	for _, dir := range append(e.copies, filepath.Join(e.dir, "state")) {
		store, err := pebblestore.Open(dir, pebblestore.Options{ReadOnly: true})
		if err != nil {
			e.t.Fatal(err)
		}
		defer store.Close()
		states = append(states, store)
	}
	report, err := Check(e.ctx, e.options(seen, states, true))
	if err != nil {
		e.t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		e.t.Fatal(err)
	}
	return report
}

func (e *engine) options(seen *Watcher, states []State, drained bool) Options {
	o := Options{
		Brokers: e.addrs, Pipeline: "clicks", Sources: []Source{{Name: "clicks", Topic: "clicks"}}, Outputs: []string{"clicks.predictions"},
		Drained: drained, States: states, Seen: seen,
		IDs:    []IDs{{Source: "clicks", Output: "clicks.predictions", Of: idOf, In: idOf}},
		Poison: isPoison,
	}
	if e.cut {
		o.Stages = []int{4, 3}
		o.Sources = append(o.Sources, Source{Name: "by_user", Topic: crossing, Stage: 1})
		o.Outputs = append(o.Outputs, crossing)
	}
	return o
}

// TestEngine lets the real engine crash in mid-stream, restart and drain: nothing is violated, and all was looked at.
func TestEngine(t *testing.T) {
	for _, c := range []struct {
		name  string
		tasks string
		real  bool
		cut   bool
	}{
		{"four tasks", "partitions", false, false},
		{"two tasks of two partitions", "2", false, false},
		{"a repartition", "partitions", false, true},
		{"a real broker", "partitions", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.real {
				t.Parallel()
			}
			var addrs []string
			if c.real {
				addrs = realkafka.Start(t, realkafka.Options{HeapMB: 256}).Addrs()
			} else {
				b, err := kafka.StartEmbedded(t.Context(), kafka.EmbeddedOptions{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = b.Close() })
				addrs = []string{b.Addr()}
			}
			text := strings.Replace(clicks, "TASKS", c.tasks, 1)
			if c.cut {
				text = strings.Replace(text, "  features:\n    from: clicks\n", "  by_user: {from: clicks, repartition: {key: user, partitions: 3}}\n  features:\n    from: by_user\n", 1)
			}
			crashes(t, newEngineOf(t, text, addrs))
		})
	}
}

func crashes(t *testing.T, e *engine) {
	const round = 3000
	admin := e.open(0)
	if _, err := run.Prepare(e.ctx, e.p, admin, true); err != nil {
		t.Fatal(err)
	}
	_ = admin.Close()
	watch, err := Watch(e.addrs, []string{"clicks.predictions", "clicks.errors"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	for k := range 3 {
		l := e.start()
		e.produce(round)
		if e.cut {
			l.await(round*2*k + round)
		} else {
			l.await(round*k + round/2)
		}
		l.crash()
		old := filepath.Join(e.dir, fmt.Sprint("crash", k))
		if err := os.CopyFS(old, os.DirFS(filepath.Join(e.dir, "state"))); err != nil {
			t.Fatal(err)
		}
		e.copies = append(e.copies, old)
		if k == 1 { // what is replayed then was published to three partitions
			e.addPartitions("clicks.predictions", 5)
		}
	}
	l := e.start()
	bad, crossed := int64(e.sent/40), 0
	if e.cut {
		crossed = e.sent - int(bad) // each of them is processed once more
	}
	l.await(e.sent + crossed)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	for watch.Len() < e.sent && e.ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	watch.Stop()
	r := e.check(watch)
	t.Log(&r)
	if r.Inputs != int64(e.sent+crossed) || r.Outputs != r.Inputs || r.Rejected != bad || r.IDs != int64(e.sent)-bad || r.Lost+r.Duplicated != 0 || watch.Len() != e.sent {
		t.Errorf("%v; %d records sent, %d seen", &r, e.sent, watch.Len())
	}
	if want := e.p.Tasks; want == 0 && len(r.Tasks) != e.topo.Tasks || want > 0 && len(r.Tasks) != want || r.Checkpoints < 2*len(r.Tasks) || r.Digests == 0 {
		t.Errorf("%d tasks, %d checkpoints, %d digests", len(r.Tasks), r.Checkpoints, r.Digests)
	}
	for id, task := range r.Tasks {
		if task.Opens < 4 || task.Incarnations != 4 || task.Steps < 4 || uint64(task.Steps) != task.Last {
			t.Errorf("task %d: %+v", id, task)
		}
	}
	sameBytes(t, e)
	e.rebuild()
}

// addPartitions has a topic grow.
func (e *engine) addPartitions(topic string, to int) {
	e.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.addrs...))
	if err != nil {
		e.t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	if rs, err := admin.UpdatePartitions(e.ctx, to, topic); err != nil || rs.Error() != nil {
		e.t.Fatal(err, rs.Error())
	}
	for e.ctx.Err() == nil { // until all brokers know
		if d, err := admin.ListTopics(e.ctx, topic); err == nil && len(d[topic].Partitions) == to && d[topic].Partitions.Numbers()[to-1] == int32(to-1) && d.Error() == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	e.t.Fatalf("topic %s does not come to %d partitions", topic, to)
}

// rebuild replays every task from nothing: each step comes out as the journal has it.
func (e *engine) rebuild() {
	e.t.Helper()
	k := e.open(0)
	defer k.Close()
	for task := range e.topo.Tasks {
		r, err := run.Rebuild(e.ctx, e.p, k, run.RebuildOptions{Formats: formats, Task: task})
		if err != nil {
			e.t.Fatal(err)
		}
		if r.Step == 0 || r.Step != r.Last {
			e.t.Errorf("task %d was rebuilt to step %d of %d", task, r.Step, r.Last)
		}
	}
}

// sameBytes encodes every journal record anew: the format's page, this package and the engine agree to the byte.
func sameBytes(t *testing.T, e *engine) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.addrs...), kgo.ConsumeTopics("clicks.journal"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for seen := 0; seen < 8; {
		fs := cl.PollFetches(e.ctx)
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			seen++
			rec, err := Parse(r.Value)
			if err != nil {
				t.Fatalf("offset %d: %v", r.Offset, err)
			}
			var again []byte
			if rec.Step != nil {
				again = encodeStep(rec.Step)
			} else {
				again = encodeOpen(rec.Open)
			}
			if !bytes.Equal(again, r.Value) {
				t.Errorf("offset %d: the engine wrote\n%x\nthe format says\n%x", r.Offset, r.Value, again)
			}
		})
	}
}

// TestEngineUnderFaults puts the proxy between engine and broker: commits whose answers are lost, requests lost, doubled,
// late and held. Nothing is violated, and every fault came to pass.
func TestEngineUnderFaults(t *testing.T) {
	g, err := faultproxy.New(1, faultproxy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	b, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		l, err := net.Listen(network, addr)
		if err != nil {
			return nil, err
		}
		g.Target(0, l.Addr().String())
		return faultproxy.Listener(l, g.Addr(0))
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	e := newEngine(t, "partitions", g.Addrs())
	const n = 4000
	e.produce(n)
	l := e.start()
	l.await(n / 4)
	rule := func(a faultproxy.Action, task int, keys ...kmsg.Key) faultproxy.Rule {
		return faultproxy.Rule{Action: a, Times: 4, Delay: 50 * time.Millisecond, Match: faultproxy.Match{Keys: keys, TxnID: fmt.Sprintf("clicks/%d/out", task)}}
	}
	var all []*faultproxy.Injection
	for i, a := range []faultproxy.Action{faultproxy.DropRequest, faultproxy.DropResponse, faultproxy.DelayResponse, faultproxy.Duplicate} {
		all = append(all, g.Add(rule(a, i, kmsg.EndTxn)), g.Add(rule(a, 3-i, kmsg.Produce)), g.Add(rule(a, (i+1)%4, kmsg.TxnOffsetCommit)))
	}
	for k := 0; ; k++ {
		e.produce(200)
		left := 0
		for _, i := range all {
			if i.Observed() < 2 { // a cut may take some of them away
				left++
			}
		}
		if left == 0 {
			break
		}
		if k > 200 {
			t.Fatalf("%d faults do not come to pass: %v", left, all)
		}
		if k%10 == 3 {
			g.Cut()
		}
		time.Sleep(20 * time.Millisecond)
	}
	l.await(e.sent)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	r := e.check(nil)
	t.Log(&r, g.Counts(), all)
	if r.Inputs != int64(e.sent) || r.Lost+r.Duplicated != 0 {
		t.Errorf("%v, %d records sent", &r, e.sent)
	}
}

var _ State = (*pebblestore.Store)(nil)
var _ state.Inspector = (*memory)(nil)
