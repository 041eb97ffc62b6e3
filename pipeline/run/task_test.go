package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// simWorker is one worker's life on a cluster in memory.
type simWorker struct {
	*simCluster
	t    *testing.T
	w    *Worker
	stop context.CancelFunc
	done chan error
}

func startSim(t *testing.T, p *pipeline.Pipeline, c *simCluster, store state.Store, o Options) *simWorker {
	t.Helper()
	c.dead = make(chan struct{})
	topo, err := Prepare(t.Context(), p, c, true)
	if err != nil {
		t.Fatal(err)
	}
	c.tasks, c.taskOf = topo.Tasks, topo.TaskOf
	ctx, stop := context.WithCancel(t.Context())
	if o.InstanceID = "w"; o.Formats.NewDecoder == nil {
		o.Formats = testFormats
	}
	s := &simWorker{simCluster: c, t: t, stop: stop, done: make(chan error, 1), w: NewWorker(p, topo, c, &simStore{store, c}, o)}
	go func() { s.done <- s.w.Run(ctx) }()
	return s
}

// end stops the worker as SIGTERM does and returns what it ends with.
func (s *simWorker) end() error {
	s.stop()
	return <-s.done
}

// settle waits until every task is live and all input is processed.
func (s *simWorker) settle() []TaskStatus {
	s.t.Helper()
	for range 6000 { // ten minutes: a lock that is lost again and again is asked for more and more seldom
		time.Sleep(100 * time.Millisecond)
		all := s.w.Status()
		live := 0
		for _, st := range all {
			if st.Phase == Live.String() {
				live++
			}
		}
		if live == s.tasks && s.simBroker.done() {
			return all
		}
		select {
		case err := <-s.done:
			s.t.Fatalf("the worker ended: %v", err)
		default:
		}
	}
	s.t.Fatalf("not done: %+v", s.w.Status())
	return nil
}

const oddYAML = `
pipeline: odd
kafka: {brokers: embedded}
commit: {interval: 20ms, rows: 10}
checkpoint: {local: 100ms}
sources:
  a: {topic: a, partitions: 3, schema: {id: string}}
operators:
  first: {from: a, filter: {where: id != "none"}}
  fragile: {from: first, odd: {id: id, bad: BAD, how: HOW}}
sinks:
  out: {from: fragile, topic: out}
`

func ids(b *simBroker, topic string, partitions, n int) {
	for i := range n {
		b.produce(connectors.TopicPartition{Topic: topic, Partition: int32(i % partitions)}, fmt.Sprintf(`{"id":"%s-%d","price":1}`, topic, b.made()))
	}
}

// made numbers events.
func (b *simBroker) made() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, log := range b.sources {
		n += len(log)
	}
	return n
}

// TestOperatorFails stops the worker with a message that says who failed on what;
// the other tasks come to a clean end, and nothing of the failed step is left.
func TestOperatorFails(t *testing.T) {
	for _, how := range []string{"panic", "error"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := parse(t, strings.NewReplacer("BAD", "the-end", "HOW", how).Replace(oddYAML))
				b, store := newSimBroker(3), memstore.New()
				ids(b, "a", 3, 90)
				s := startSim(t, p, &simCluster{simBroker: b}, store, Options{MaxQuarantines: -1})
				s.settle()
				b.produce(connectors.TopicPartition{Topic: "a", Partition: 1}, `{"id":"fine"}`, `{"id":"the-end"}`)
				err := <-s.done
				if err == nil || !strings.Contains(err.Error(), "task 1: operator fragile, with offsets ") || !strings.Contains(err.Error(), "of a[1]: ") || !strings.Contains(err.Error(), "too odd") ||
					strings.Contains(err.Error(), "first") {
					t.Fatalf("ended with %v", err)
				}
				if how == "error" && !errors.Is(err, errOdd) {
					t.Errorf("the error is not wrapped: %v", err)
				}
				for task := range 3 {
					part, err := store.Open(task)
					if err != nil {
						t.Fatal(err)
					}
					m, ok := part.Last()
					steps := b.outputs[task]
					if m.Step > steps[len(steps)-1].step || task != 1 && (!ok || m.Step != steps[len(steps)-1].step) {
						t.Errorf("task %d: checkpoint of step %d, the last is %d", task, m.Step, steps[len(steps)-1].step)
					}
					for _, step := range steps {
						for _, o := range step.outputs {
							if id(o.Value) == "the-end" {
								t.Error("the event that failed was published")
							}
						}
					}
				}
			})
		})
	}
}

// TestCheckpointsAfterALoss loses locks while checkpoints are staged: the task that
// is taken up again goes on saving.
func TestCheckpointsAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, strings.NewReplacer("BAD", "", "HOW", "error").Replace(oddYAML))
		b, store := newSimBroker(4), memstore.New()
		c := &simCluster{simBroker: b, lose: 3}
		s := startSim(t, p, c, store, Options{})
		for range 100 {
			ids(b, "a", 3, 30)
			time.Sleep(200 * time.Millisecond)
		}
		c.mu.Lock()
		c.lose = 0
		c.mu.Unlock()
		s.settle()
		ids(b, "a", 3, 300)
		s.settle()
		ids(b, "a", 3, 300)
		s.settle()
		for task := range 3 {
			m, ok, err := store.Manifest(task)
			steps := b.outputs[task]
			if last := steps[len(steps)-1].step; !ok || err != nil || m.Step+30 < last {
				t.Errorf("task %d: the last checkpoint is of step %d, the last step is %d, %v", task, m.Step, last, err)
			}
		}
		if err := s.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestDrainEnds stops a worker whose brokers do not answer any more.
func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, strings.NewReplacer("BAD", "", "HOW", "error").Replace(oddYAML))
		b := newSimBroker(5)
		c := &simCluster{simBroker: b}
		ids(b, "a", 3, 90)
		s := startSim(t, p, c, memstore.New(), Options{DrainTime: 7 * time.Second})
		s.settle()
		c.hang.Store(true)
		ids(b, "a", 1, 90) // of one task
		time.Sleep(time.Minute)
		begun := time.Now()
		err := s.end()
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("it took %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), "tasks [0] were stopped before they were done") {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestDrainInBacklog stops a worker that has input for hours: it ends what it has
// begun and no more.
func TestDrainInBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, strings.NewReplacer("BAD", "", "HOW", "error", "partitions: 3", "partitions: 1").Replace(oddYAML))
		b, store := newSimBroker(7), memstore.New()
		ids(b, "a", 1, 40000)
		s := startSim(t, p, &simCluster{simBroker: b, eager: true}, store, Options{})
		time.Sleep(3 * time.Second)
		begun := time.Now()
		if err := s.end(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if b.done() {
			t.Error("there was no input left")
		}
		steps := b.outputs[0]
		if m, ok, err := store.Manifest(0); !ok || err != nil || m.Step != steps[len(steps)-1].step {
			t.Errorf("a checkpoint of step %d, the last is %d, %v", m.Step, steps[len(steps)-1].step, err)
		}
	})
}

// TestStopInReplay ends a replay between two steps and keeps how far it came.
func TestStopInReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, strings.NewReplacer("BAD", "", "HOW", "error", "partitions: 3", "partitions: 1").Replace(oddYAML))
		b := newSimBroker(6)
		ids(b, "a", 1, 3000)
		s := startSim(t, p, &simCluster{simBroker: b}, memstore.New(), Options{PollRows: 5})
		s.settle()
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
		steps := b.outputs[0]
		last := steps[len(steps)-1].step

		store := memstore.New() // the state is gone
		clear(b.remote)         // everywhere
		starts, reached := 0, uint64(0)
		for ; reached < last && starts < 100; starts++ {
			s := startSim(t, p, &simCluster{simBroker: b}, store, Options{PollRows: 5})
			time.Sleep(150 * time.Millisecond)
			if err := s.end(); err != nil {
				t.Fatal(err)
			}
			m, _, _ := store.Manifest(0)
			if m.Step < reached {
				t.Fatalf("back from step %d to %d", reached, m.Step)
			}
			reached = m.Step
		}
		if reached != last || starts < 3 {
			t.Errorf("reached step %d of %d in %d starts", reached, last, starts)
		}
		if n := len(b.outputs[0]); n != len(steps) {
			t.Errorf("%d steps more were published", n-len(steps))
		}
	})
}

// TestEndLost takes from the end of a source's log what steps were made of that have
// to be replayed: the task says so in place of waiting for it.
func TestEndLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, strings.NewReplacer("BAD", "", "HOW", "error", "partitions: 3", "partitions: 1").Replace(oddYAML))
		b, tp := newSimBroker(8), connectors.TopicPartition{Topic: "a"}
		ids(b, "a", 1, 300)
		s := startSim(t, p, &simCluster{simBroker: b}, memstore.New(), Options{})
		s.settle()
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
		clear(b.remote)
		b.sources[tp] = b.sources[tp][:len(b.sources[tp])-20]
		want := fmt.Sprintf(": its log ends at %d; the topic has lost records", b.end(tp))
		check := func(who string, err error) {
			if err == nil || !strings.Contains(err.Error(), "task 0: replaying step ") || !strings.Contains(err.Error(), ": a[0] has no offset ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s ends with %v, want %s", who, err, want)
			}
		}
		s = startSim(t, p, &simCluster{simBroker: b}, memstore.New(), Options{})
		select {
		case err := <-s.done:
			check("the worker", err)
		case <-time.After(time.Minute):
			t.Fatalf("it waits: %+v", s.w.Status())
		}
		s.stop()
		_, err := Rebuild(t.Context(), p, s.simCluster, RebuildOptions{Formats: testFormats})
		check("a rebuild", err)
	})
}

// TestGraphChanges takes operators away and adds a source, after clean stops: the
// checkpoint stays good though it holds other states than the file asks for.
func TestGraphChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		without := strings.NewReplacer("  quality:\n    from: priced\n    evaluate: {prediction: ctr, label: y, metrics: [accuracy, log_loss], every: 7}\n", "",
			"  marks:\n    from: quality\n    topic: marks\n", "").Replace(shopYAML)
		added := strings.Replace(without, "  views:\n", "  again:\n    topic: again\n    partitions: 3\n    start: latest\n    schema: {id: string}\n  views:\n", 1)
		added += "  copies: {from: again, topic: again.out}\n"
		b, store := newSimBroker(8), memstore.New()
		again := connectors.TopicPartition{Topic: "again", Partition: 1}
		b.produce(again, `{"id":"too old"}`)
		for i, text := range []string{shopYAML, without, added, added, shopYAML} {
			p := parse(t, text)
			sched := &schedule{t: t, p: parse(t, shopYAML), b: b, made: 1000 * i}
			sched.fill(200)
			c := &simCluster{simBroker: b}
			s := startSim(t, p, c, store, Options{})
			if text == added {
				time.Sleep(time.Second)
				b.produce(again, fmt.Sprintf(`{"id":"new %d"}`, i))
				time.Sleep(time.Second)
			} else {
				b.mu.Lock()
				hidden := b.sources[again]
				delete(b.sources, again)
				b.mu.Unlock()
				s.settle()
				// The last checkpoint is one with a digest: it was due at a step's end.
				time.Sleep(time.Second)
				sched.fill(1)
				s.settle()
				b.mu.Lock()
				b.sources[again] = hidden
				b.mu.Unlock()
			}
			for _, st := range s.w.Status() {
				if st.Replayed != 0 || i > 0 && st.Checkpoint == 0 || st.Phase != Live.String() {
					t.Errorf("file %d: %+v", i, st)
				}
			}
			if err := s.end(); err != nil {
				t.Fatalf("file %d: %v", i, err)
			}
		}
		var got []string
		for _, step := range b.outputs[1] {
			for _, o := range step.outputs {
				if o.Topic == "again.out" {
					got = append(got, id(o.Value))
				}
			}
		}
		if want := "[new 2 new 3]"; fmt.Sprint(got) != want {
			t.Errorf("of the added source %v, want %s", got, want)
		}
	})
}

// TestMetricsOfATask counts what was committed once, replays not at all, and says
// nothing of a task that has gone.
func TestMetricsOfATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, strings.NewReplacer("BAD", "", "HOW", "error", "partitions: 3", "partitions: 1").Replace(oddYAML))
		b := newSimBroker(9)
		for range 50 {
			ids(b, "a", 1, 3)
			b.produce(connectors.TopicPartition{Topic: "a"}, "bad")
		}
		for life := range 2 { // the second one replays everything
			clear(b.remote)
			reg := prometheus.NewRegistry()
			s := startSim(t, p, &simCluster{simBroker: b}, memstore.New(), Options{Metrics: reg})
			s.settle()
			if life == 1 {
				b.produce(connectors.TopicPartition{Topic: "a"}, "bad", `{"id":"more"}`)
				s.settle()
			}
			synctest.Wait()
			rows, bad := sum(t, reg, "gradstream_rows_total"), sum(t, reg, "gradstream_rejected_rows_total")
			if want := []float64{150, 50, 1, 1}[2*life:]; rows != want[0] || bad != want[1] {
				t.Errorf("life %d: %v rows, %v rejected, want %v", life, rows, bad, want)
			}
			if replayed := sum(t, reg, "gradstream_replayed_steps_total"); (replayed > 0) != (life == 1) {
				t.Errorf("life %d: %v steps replayed", life, replayed)
			}
			if err := s.end(); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"gradstream_source_lag_records", "gradstream_task_live", "gradstream_operator_value"} {
				if series(t, reg, name) != nil {
					t.Errorf("life %d: %s is left of a task that has gone", life, name)
				}
			}
		}
	})
}

// TestRedoneStepCountsOnce does a step again whose rows were rejected before an operator
// failed on one behind them.
func TestRedoneStepCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, strings.NewReplacer("BAD", "the-end", "HOW", "error", "partitions: 3", "partitions: 1").Replace(oddYAML))
		b := newSimBroker(11)
		b.produce(connectors.TopicPartition{Topic: "a"}, `{"id":"fine"}`, "bad", `{"id":"the-end"}`, "bad")
		reg := prometheus.NewRegistry()
		s := startSim(t, p, &simCluster{simBroker: b}, memstore.New(), Options{Metrics: reg})
		s.settle()
		synctest.Wait()
		by := map[string]float64{}
		for _, m := range series(t, reg, "gradstream_rejected_rows_total") {
			for _, l := range m.Label {
				if l.GetName() == "by" {
					by[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
		if want := map[string]float64{"decode": 2, "quarantine": 1}; !maps.Equal(by, want) {
			t.Errorf("rejected %v, want %v", by, want)
		}
		if rows := sum(t, reg, "gradstream_rows_total"); rows != 1 {
			t.Errorf("%v rows, want 1", rows)
		}
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
	})
}

// series returns the metrics of a name.
func series(t *testing.T, reg *prometheus.Registry, name string) []*dto.Metric {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.Metric
		}
	}
	return nil
}

// sum adds up the counters of a name.
func sum(t *testing.T, reg *prometheus.Registry, name string) (v float64) {
	t.Helper()
	for _, m := range series(t, reg, name) {
		v += m.GetCounter().GetValue()
	}
	return v
}
