package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift"
	"github.com/gradstream/gradstream/operators/evaluate"
	"github.com/gradstream/gradstream/operators/feature"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/operators/route"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
	"github.com/gradstream/gradstream/state/pebblestore"
)

// shopYAML has sources of different partition counts, rows that do not decode, rows
// that an operator rejects, a filter, and a sink of several inputs.
const shopYAML = `
pipeline: shop
kafka: {brokers: embedded}
tasks: 2
commit: {interval: 20ms, rows: 40, bytes: 2kB}
checkpoint: {local: 100ms, remote: 300ms}
sources:
  views:
    topic: views
    partitions: 3
    time: ts
    schema: {id: string, ts: timestamp, user: string, price: float64?, y: bool?}
  buys:
    topic: buys
    partitions: 2
    schema: {id: string, price: float64}
operators:
  features:
    from: views
    vectorize: {bits: 8, numeric: [price], categorical: [user]}
  ctr:
    from: features
    logistic_regression: {label: y}
  priced: # a null price is rejected
    from: ctr
    filter: {where: price > -0.5}
  quality:
    from: priced
    evaluate: {prediction: ctr, label: y, metrics: [accuracy, log_loss], every: 7}
  dear:
    from: buys
    filter: {where: price < 1.5}
sinks:
  scores:
    from: ctr
    topic: scores
    key: user
    partitions: 3
    headers: full
    columns: {id: id, p: ctr.probability, version: ctr.version}
  all:
    from: [dear, priced]
    topic: all
    columns: {id: id, price: price}
  marks:
    from: quality
    topic: marks
`

var testRegistry = operators.Merge(&feature.Family, &learn.Family, &evaluate.Family, &drift.Family, &route.Family, &oddFamily)

var testFormats = Formats{
	NewDecoder: func(format string, s *batch.Schema) (connectors.Decoder, error) {
		return codec.NewDecoder(format, s, codec.Options{})
	},
	NewEncoder: func(format string, s *batch.Schema) (connectors.Encoder, error) {
		return codec.NewEncoder(format, s, codec.Options{})
	},
	PartitionForKey: kafka.PartitionForKey,
}

func parse(t testing.TB, text string) *pipeline.Pipeline {
	t.Helper()
	p, errs := pipeline.Parse("pipeline.yaml", []byte(text), pipeline.Options{Registry: testRegistry})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

// value makes event i of a source; one in nine does not decode.
func value(topic string, i, dice int) string {
	id := fmt.Sprintf("%s-%d", topic, i)
	switch {
	case i%9 == 4:
		return fmt.Sprintf(`{"id":"%s","price":"dear"}`, id)
	case topic == "buys":
		return fmt.Sprintf(`{"id":"%s","price":%d.25}`, id, dice%4)
	case i%7 == 3:
		return fmt.Sprintf(`{"id":"%s","ts":%d,"user":"u%d","price":null}`, id, 5000+10*i-dice, dice%10)
	}
	return fmt.Sprintf(`{"id":"%s","ts":%d,"user":"u%d","price":%d.5,"y":%t}`, id, 5000+10*i-dice, dice%10, dice%5-2, dice%3 == 0)
}

// TestSchedules runs workers that crash, lose their locks, are rebalanced, cannot
// save, and lose their state or find an old one, on a cluster in memory, in virtual
// time. Whatever happened, what was published is what one undisturbed fold over the
// journal gives, each input exactly once.
//
// Every schedule aims at some of the crash points of the phases; all together hit
// every one. GRADSTREAM_SCHEDULES=N runs N of them. A failing seed is run alone
// with -run TestSchedules/seed=N, and GRADSTREAM_TEST_LOG=1 tells its story.
func TestSchedules(t *testing.T) { schedules(t, parse(t, shopYAML), false) }

func schedules(t *testing.T, p *pipeline.Pipeline, grows bool) {
	seeds := 400
	if len(p.Stages()) > 1 || grows {
		seeds = 100
	}
	if testing.Short() {
		seeds = 40
	}
	if n := os.Getenv("GRADSTREAM_SCHEDULES"); n != "" {
		var err error
		if seeds, err = strconv.Atoi(n); err != nil {
			t.Fatalf("GRADSTREAM_SCHEDULES: %v", err)
		}
	}
	total, hits, ran := simCounts{}, newSimHits(), 0
	whole := seeds >= 300 // enough to hit every point, or twice as many are
	for seed := 0; seed < seeds || whole && seed < 2*seeds && len(hits.missed()) > 0; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			ran++
			synctest.Test(t, func(t *testing.T) {
				s := &schedule{t: t, p: p, grows: grows, b: newSimBroker(uint64(seed)), memory: memstore.New(), hits: hits, next: 5 * seed}
				if seed%8 == 0 { // a store on a disk that crashes with the process
					s.memory, s.disk = nil, vfs.NewCrashableMem()
				}
				s.run()
				total.add(s.count)
			})
		})
	}
	t.Logf("%d schedules: %+v%v", ran, total, hits)
	if missed := hits.missed(); whole && ran >= seeds && !t.Failed() && len(missed) > 0 {
		t.Errorf("no process ended at %v", missed)
	}
	if ran >= 40 && !t.Failed() && (total.replayed == 0 || total.crashes == 0 || total.stateLost == 0 || total.rejected == 0 || total.fetched == 0 || total.saved == 0 || total.trims == 0 || len(p.Stages()) > 1 && total.crossed == 0 || grows && total.migrated == 0 || total.grown == 0) {
		t.Errorf("too little happened to prove anything: %+v", total)
	}
}

type simCounts struct {
	lives, crashes, stateLost, replayed, steps, outputs, rejected, fetched, saved, trims, grown, crossed, migrated int
}

func (c *simCounts) add(o simCounts) {
	c.lives += o.lives
	c.crashes += o.crashes
	c.stateLost += o.stateLost
	c.replayed += o.replayed
	c.steps += o.steps
	c.outputs += o.outputs
	c.rejected += o.rejected
	c.fetched += o.fetched
	c.saved += o.saved
	c.trims += o.trims
	c.grown += o.grown
	c.crossed += o.crossed
	c.migrated += o.migrated
}

type schedule struct {
	t      *testing.T
	p      *pipeline.Pipeline
	topo   *Topology // as the last worker found it
	grows  bool      // the sources do, now and then
	b      *simBroker
	disk   *vfs.MemFS // nil = memory is used
	memory *memstore.Store
	hits   *simHits
	next   int               // of simAims
	older  []*memstore.Store // copies of it from earlier lives
	made   int
	saved  bool // the last worker could save
	count  simCounts
}

func (s *schedule) run() {
	s.fill(1 + s.b.draw(200))
	lives := 1 + s.b.draw(6)
	for i := range lives {
		s.live(i == lives-1)
		if s.disk == nil && i < lives-1 && s.b.odds(4) {
			s.count.stateLost++
			s.memory = memstore.New()
			if len(s.older) > 0 && s.b.odds(2) {
				s.memory = s.older[s.b.draw(len(s.older))].Clone()
			}
		}
		if s.disk == nil {
			s.older = append(s.older, s.memory.Clone())
		}
		if i < lives-1 && s.b.odds(4) {
			s.grow()
		}
		if s.grows && i < lives-1 && !s.b.odds(3) {
			s.growSource()
		}
	}
	if !s.t.Failed() {
		s.check()
	}
}

// grow adds partitions to a topic of outputs, perhaps while steps that were
// published to fewer are still to be replayed.
func (s *schedule) grow() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	name := []string{"scores", "all", "marks", "shop.errors"}[s.b.rng.IntN(4)]
	info := s.b.topics[name]
	info.Partitions += 1 + s.b.rng.IntN(3)
	s.b.topics[name] = info
	s.count.grown++
}

// fill produces n events, spread over the partitions of both sources.
func (s *schedule) fill(n int) {
	for range n {
		src := s.p.Sources[s.b.draw(len(s.p.Sources))]
		tp := connectors.TopicPartition{Topic: src.Topic, Partition: int32(s.b.draw(s.b.partitionsOf(src)))}
		s.b.produce(tp, value(src.Topic, s.made, s.b.draw(100)))
		s.made++
	}
}

// live is the life of one worker. The last one comes to the end of all input.
func (s *schedule) live(last bool) {
	t := s.t
	c := &simCluster{simBroker: s.b, dead: make(chan struct{}), fail: s.b.draw(2) * 5}
	s.saved = c.fail == 0
	c.slow = s.b.draw(2) * (1 + s.b.draw(4))
	c.hits = s.hits
	if !last && !s.b.odds(3) {
		c.aim = aim{simCrash: simAims[s.next%len(simAims)], times: 1 + s.b.draw(2)*s.b.draw(5)}
		s.next++
		if c.aim.point == readingState && s.disk == nil {
			s.memory = memstore.New() // else it has no reason to
		}
	} else if !last && !s.b.odds(4) {
		c.crash, c.lose, c.shake = 2+s.b.draw(20), 5+s.b.draw(30), 2+s.b.draw(10)
	} else if s.b.odds(2) {
		c.lose = 5 + s.b.draw(30)
	}
	store := s.open()
	defer func() { _ = store.Close() }()
	var left func() // puts what the crash left in the place of the store
	c.onDead = func() {
		if s.disk == nil {
			memory := s.memory.Clone()
			left = func() { s.memory = memory }
			return
		}
		disk := s.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[s.b.rng.IntN(3)], RNG: s.b.rng})
		left = func() { s.disk = disk }
	}
	topo, err := Prepare(t.Context(), s.p, c, true)
	if err != nil {
		t.Fatal(err)
	}
	s.topo, c.tasks, c.taskOf = topo, topo.Tasks, topo.TaskOf
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if c.aim.phase == Replay && (c.aim.point == beforeLocal || c.aim.point == afterLocal) {
		c.aim.times, c.aim.stop = 1, stop // what was replayed is saved
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("GRADSTREAM_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w := NewWorker(s.p, topo, c, &simStore{store, c}, Options{Formats: testFormats, Log: log, InstanceID: "w",
		BatchRows: 1 + s.b.draw(30), PollRows: 1 + s.b.draw(60), JournalKeep: time.Nanosecond})
	c.w = &w.w
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	s.count.lives++

	ended := false
	for range 1 + s.b.draw(40) {
		s.fill(s.b.draw(20))
		time.Sleep(time.Duration(s.b.draw(int(30 * time.Millisecond))))
		select {
		case err = <-done:
			ended = true
		default:
		}
		if ended {
			break
		}
	}
	if last {
		s.await(w)
	}
	for _, st := range w.Status() {
		s.count.replayed += int(st.Replayed)
	}
	if !ended {
		stop() // as SIGTERM
		err = <-done
	}
	s.count.fetched += int(counted(w.w.metrics.remoteRestores))
	s.count.saved += int(counted(w.w.metrics.remoteDuration))
	s.count.trims, s.b.trims = s.count.trims+s.b.trims, 0
	if left != nil {
		defer left()
	}
	switch {
	case err == nil:
	case last || !errors.Is(err, errSimDead):
		t.Errorf("the worker ended with %v", err)
	default:
		s.count.crashes++
	}
}

// open opens the store as the last life left it.
func (s *schedule) open() state.Store {
	if s.disk == nil {
		return s.memory
	}
	disk, err := pebblestore.Open("state", pebblestore.Options{Pipeline: s.p.Name, FS: s.disk, MemTableBytes: 256 << 10})
	if err != nil {
		s.t.Fatal(err)
	}
	return disk
}

// await waits until all input is processed: an hour, in virtual time, for one loss
// of the lock after another makes the pauses between them half a minute long.
func (s *schedule) await(w *Worker) {
	start := time.Now()
	for time.Since(start) < time.Hour {
		time.Sleep(100 * time.Millisecond)
		all := w.Status()
		live := len(all) == s.topo.Tasks
		for _, st := range all {
			live = live && st.Phase == Live.String()
		}
		if live && s.b.done() {
			return
		}
	}
	for _, st := range w.Status() {
		s.t.Logf("task %d: %s, step %d, %d rows, %+v", st.Task, st.Phase, st.Step, st.Rows, st.Partitions)
	}
	s.t.Fatal("not done in an hour")
}

// done reports whether the group's offsets are behind every record.
func (b *simBroker) done() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for tp, log := range b.sources {
		for _, e := range log {
			if !e.control && e.Offset >= b.group[tp] {
				return false
			}
		}
	}
	return true
}

// check compares what was committed with a fold over the journal that nothing
// disturbs, and with the input.
func (s *schedule) check() {
	seen := map[string]int{} // topic and id of every output
	offsets := map[connectors.TopicPartition]int64{}
	for task := range s.topo.Tasks {
		s.fold(task, seen, offsets)
	}
	if !reflect.DeepEqual(offsets, s.b.group) {
		s.t.Errorf("the journal ends at %v, the group at %v", offsets, s.b.group)
	}
	for tp, log := range s.b.sources {
		if strings.HasSuffix(tp.Topic, ".repartition") {
			s.crossed(tp, log) // folded as an input; what comes of it is looked at here
			continue
		}
		for _, e := range log {
			if e.control {
				continue
			}
			v := string(e.Value)
			want := map[string]int{}
			n := 0
			fmt.Sscanf(id(e.Value)[len(tp.Topic)+1:], "%d", &n)
			switch {
			case n%9 == 4:
				want["errors"] = 1
			case tp.Topic == "buys":
				want["all"] = 1
				if bytes.Contains(e.Value, []byte(`"price":2.`)) || bytes.Contains(e.Value, []byte(`"price":3.`)) {
					want["all"] = 0
				}
			default:
				want["scores"] = 1
				if n%7 == 3 {
					want["errors"] = 1
				} else if !bytes.Contains(e.Value, []byte(`"price":-`)) {
					want["all"] = 1
				}
			}
			for _, topic := range []string{"errors", "all", "scores"} {
				if got := seen[topic+" "+id(e.Value)]; got != want[topic] {
					s.t.Errorf("%v offset %d, %s: %d times in %s, want %d", tp, e.Offset, v, got, topic, want[topic])
				}
			}
		}
	}
}

// fold feeds a core with the journal of a task and compares.
func (s *schedule) fold(task int, seen map[string]int, offsets map[connectors.TopicPartition]int64) {
	t := s.t
	p := s.stage(task).Pipeline
	c, err := newCore(p, task, testFormats, coreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var head state.Hash
	var last uint64
	var out outputs
	clock := int64(0)
	published := s.b.outputs[task]
	for _, e := range s.b.journal[task] {
		step, open, err := parseJournal(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		if step == nil {
			counts := map[string]int32{}
			for _, k := range open.Sinks {
				counts[k.Topic] = int32(k.Partitions)
			}
			c.route(func(topic string) int32 { return counts[topic] })
			continue
		}
		if step.Step != last+1 || step.Prev != head {
			t.Fatalf("task %d: step %d, %x after step %d, %x", task, step.Step, step.Prev[:4], last, head[:4])
		}
		if step.Watermark > 1e6 { // event times are near 5000, clocks are of the year 2000
			t.Errorf("task %d: step %d comes to event time %d", task, step.Step, step.Watermark)
		}
		if step.Clock < clock {
			t.Errorf("task %d: step %d goes back in time", task, step.Step)
		}
		last, head, clock = step.Step, step.Hash, step.Clock
		c.begin(step.Clock, &out)
		rows := 0
		for _, r := range step.Runs {
			src := p.Sources[r.Source]
			tp := connectors.TopicPartition{Topic: src.Topic, Partition: r.Partition}
			var recs []connectors.Record
			for _, e := range s.b.sources[tp] {
				if !e.control && e.Offset >= offsets[tp] && e.Offset < r.Next {
					recs = append(recs, e.Record)
				}
			}
			if r.Next <= offsets[tp] {
				t.Errorf("task %d step %d: a run of %v from %d to %d", task, step.Step, tp, offsets[tp], r.Next)
			}
			offsets[tp] = r.Next
			rows += len(recs)
			if n, _, err := c.feed(r.Source, r.Partition, recs, unbounded); err != nil || n != len(recs) {
				t.Fatal(n, err)
			}
		}
		if rows == 0 || rows > s.p.Commit.Rows {
			t.Errorf("task %d: step %d of %d rows", task, step.Step, rows)
		}
		if err := c.end(step.Step); err != nil {
			t.Fatal(err)
		}
		if len(published) == 0 || published[0].step != step.Step {
			t.Fatalf("task %d: the outputs of step %d are missing", task, step.Step)
		}
		s.compare(task, step, out.List(), published[0].outputs, seen)
		published = published[1:]
		if step.HasDigest && step.Digest != c.digest() {
			t.Errorf("task %d: digest after step %d", task, step.Step)
		}
		s.count.steps++
	}
	if len(published) > 0 {
		t.Errorf("task %d: outputs of step %d, which is not in the journal", task, published[0].step)
	}
	for _, part := range s.partitions(task) { // what no step reached
		_, ok := offsets[part]
		if _, told := s.b.group[part]; !ok && last > 0 && (told || !s.grows) { // none may have followed an adoption
			offsets[part] = 0
		}
	}
	s.restored(task, last, head, c.digest())
}

func (s *schedule) partitions(task int) (all []connectors.TopicPartition) {
	for _, src := range s.stage(task).Pipeline.Sources {
		for q := range int32(s.b.partitionsOf(src)) {
			if s.topo.TaskOf(src.Topic, q) == task {
				all = append(all, connectors.TopicPartition{Topic: src.Topic, Partition: q})
			}
		}
	}
	return all
}

func (s *schedule) stage(task int) Stage { return s.topo.Stages[s.topo.stageOf(task)] }

func (s *schedule) compare(task int, step *stepRecord, want, got []connectors.Output, seen map[string]int) {
	if len(want) != len(got) || int64(len(got)) != step.Outputs {
		s.t.Fatalf("task %d step %d: %d outputs, want %d; the journal says %d", task, step.Step, len(got), len(want), step.Outputs)
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			s.t.Errorf("task %d step %d output %d:\n got %+v\nwant %+v", task, step.Step, i, got[i], want[i])
		}
		if id := header(&got[i].Record, headerID); id != fmt.Sprintf("%d/%d/%d", task, step.Step, i) {
			s.t.Errorf("task %d step %d output %d has id %s", task, step.Step, i, id)
		}
		topic := got[i].Topic
		if topic == "shop.errors" {
			topic = "errors"
			s.count.rejected++
		}
		seen[topic+" "+id(got[i].Value)]++
	}
	s.count.outputs += len(got)
}

// restored checks the checkpoint of the clean end.
func (s *schedule) restored(task int, last uint64, head state.Hash, digest uint64) {
	t := s.t
	if last == 0 {
		return
	}
	store := s.open()
	defer func() { _ = store.Close() }()
	part, err := store.Open(task)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := part.Last()
	c, err := newCore(s.stage(task).Pipeline, task, testFormats, coreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.bind(part); err != nil {
		t.Fatal(err)
	}
	switch {
	case m.Step != last && s.saved:
		t.Errorf("task %d: the last checkpoint is of step %d, the last step is %d", task, m.Step, last)
	case m.Step == last && (m.Hash != head || c.digest() != digest):
		t.Errorf("task %d: the last checkpoint, of step %d, holds another state than the fold", task, m.Step)
	}
}
