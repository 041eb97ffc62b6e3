//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/checker"
	"github.com/gradstream/gradstream/internal/testutil/faultproxy"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
)

const pipelineFile = `pipeline: NAME
kafka: {brokers: "BROKERS"}
tasks: partitions
commit: {interval: 50ms}
checkpoint: {local: 1s, remote: 3s}
sources:
  clicks:
    topic: INPUT
    partitions: 4
    schema: {id: int64, user: string, x: float64, y: bool?}
operators:
  features:
    from: clicks
    vectorize: {bits: 14, numeric: [x], categorical: [user]}
  ctr:
    from: features
    logistic_regression: {label: y}
  quality:
    from: ctr
    evaluate: {prediction: ctr, label: y, metrics: [accuracy, log_loss], every: 100}
sinks:
  predictions:
    from: ctr
    topic: NAME.predictions
    key: user
    partitions: 3
    columns: {id: id, p: ctr.probability}
  metrics:
    from: quality
    topic: NAME.metrics
    partitions: 1
`

// row is a fault and how it is injected.
type row struct {
	fault, name, text string
	why               string        // it is not injected here, if run is nil
	rate              int           // events a second; default 300
	brokers           int           // default 1
	own               bool          // a cluster of its own
	set               []string      // what the workers' pipeline has otherwise, as --set takes it
	time              time.Duration // how long it may take; default rowTime
	asked             bool          // it is run only if it is named; why says why
	run               func(*lab) error
}

// lab is where a row does its work.
type lab struct {
	ctx     context.Context
	suite   *suite
	row     row
	site    *site
	name    string // of the pipeline
	dir     string
	dice    *rand.Rand
	workers []*worker
	gen     *generator
	seen    *checker.Watcher
	arr     *arrivals
	counts  []counter

	// What a row has otherwise than others.
	refused   bool // the workers end by themselves, nothing is drained
	checked   bool // the checker has looked already, before the fault
	cleanup   []func() error
	compare   func(state.ID) bool        // which state is compared; default all but the engine's own
	noCalm    bool                       // there is nothing to compare with
	poison    func(*kgo.Record) int      // see checker.Options
	after     func(checker.Report) error // a last look
	notes     []string
	report    checker.Report
	wrong     int
	compared  int
	explained int
}

// counter counts one kind of injection.
type counter struct {
	name string
	n    func() int
}

func newLab(ctx context.Context, s *suite, r row) (*lab, error) {
	s.lastID++
	l := &lab{ctx: ctx, suite: s, row: r, name: fmt.Sprintf("%s-%s-%d", strings.ToLower(r.fault), r.name, s.lastID), gen: &generator{}}
	l.dice = rand.New(rand.NewPCG(s.seed, uint64(s.lastID)))
	l.dir = filepath.Join(s.dir, l.name)
	err := os.MkdirAll(l.dir, 0o755)
	if err != nil {
		return nil, err
	}
	n := max(r.brokers, 1)
	if r.own {
		l.site, err = newSite(ctx, filepath.Join(l.dir, "kafka"), n)
	} else {
		l.site, err = s.cluster(ctx, n)
	}
	if err != nil {
		return nil, err
	}
	if _, err := l.site.adm.CreateTopic(ctx, partitions, int16(n), nil, l.in()); err != nil {
		return nil, err
	}
	return l, l.write("pipeline.yaml", l.name, l.in())
}

func (l *lab) in() string { return l.name + ".in" }

// file names a file in the row's folder.
func (l *lab) file(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) txnID(task int, kind string) string { return fmt.Sprintf("%s/%d/%s", l.name, task, kind) }

// write writes a pipeline file.
func (l *lab) write(file, name, input string) error {
	text := strings.NewReplacer("NAME", name, "BROKERS", strings.Join(l.site.proxies.Addrs(), ","), "INPUT", input).Replace(pipelineFile)
	return os.WriteFile(filepath.Join(l.dir, file), []byte(text), 0o644)
}

// count declares an injection that has to be seen.
func (l *lab) count(name string, n func() int) { l.counts = append(l.counts, counter{name, n}) }

// did counts an injection that is done n times.
func (l *lab) did(name string, n int) { l.count(name, func() int { return n }) }

func (l *lab) note(format string, args ...any) {
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

// add puts a rule of the proxy to work, whose faults have to be observed.
func (l *lab) add(r faultproxy.Rule) *faultproxy.Injection {
	i := l.site.proxies.Add(r)
	l.count(i.Name(), i.Observed)
	return i
}

// worker makes a worker, not started.
func (l *lab) worker(more ...string) *worker {
	name := fmt.Sprint("w", len(l.workers))
	w := &worker{l: l, name: name, dir: filepath.Join(l.dir, name), file: l.file("pipeline.yaml"), more: more}
	l.workers = append(l.workers, w)
	return w
}

// start starts n workers and, once they have all tasks, the load; then it waits until the stream is in flow.
func (l *lab) start(n int) ([]*worker, error) {
	var ws []*worker
	for i := range n {
		w := l.worker()
		if err := w.start(); err != nil {
			return nil, err
		}
		most := partitions
		if i > 0 {
			most = 1
		}
		if err := w.await(l.ctx, "task restored", most, 30*time.Second); err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	return ws, l.flow()
}

// flow starts the load and those who watch it.
func (l *lab) flow() (err error) {
	out := l.name + ".predictions"
	if l.seen, err = checker.Watch(l.site.past(), []string{out, l.name + ".errors"}); err != nil {
		return err
	}
	if l.arr, err = watchArrivals(l.site.past(), out); err != nil {
		return err
	}
	rate := l.row.rate
	if rate == 0 {
		rate = 300
	}
	if err := l.generate(rate); err != nil {
		return err
	}
	return l.arrive(2 * rate)
}

// arrive waits until n more outputs have been seen.
func (l *lab) arrive(n int) error {
	want := l.arr.count() + n
	for end := time.Now().Add(40 * time.Second); l.arr.count() < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) || l.ctx.Err() != nil {
			return fmt.Errorf("no progress: %d of %d outputs arrived in 40 s\n%s", l.arr.count(), want, l.tails())
		}
	}
	return nil
}

func (l *lab) tails() string {
	var b strings.Builder
	for _, w := range l.workers {
		if w.starts > 0 {
			fmt.Fprintf(&b, "--- %s, running %v\n%s\n", w.name, w.running(), w.tail())
		}
	}
	return b.String()
}

// sleep lets time pass: at least a, less than b.
func (l *lab) sleep(a, b time.Duration) {
	d := a
	if b > a {
		d += time.Duration(l.dice.Int64N(int64(b - a)))
	}
	select {
	case <-time.After(d):
	case <-l.ctx.Done():
	}
}

// quiet waits until the group has committed all there is.
func (l *lab) quiet(group string, most time.Duration) error {
	ends, err := l.site.adm.ListEndOffsets(l.ctx, l.in())
	if err != nil {
		return err
	}
	left := ""
	for end := time.Now().Add(most); ; time.Sleep(20 * time.Millisecond) {
		at, err := l.site.adm.FetchOffsets(l.ctx, group)
		left = ""
		ends.Each(func(o kadm.ListedOffset) {
			c, _ := at.Lookup(o.Topic, o.Partition)
			if o.Offset > 0 && (err != nil || c.At < o.Offset) {
				left += fmt.Sprintf(" %d: %d of %d;", o.Partition, c.At, o.Offset)
			}
		})
		if left == "" {
			return nil
		}
		if time.Now().After(end) || l.ctx.Err() != nil {
			return fmt.Errorf("no progress in %v: group %s has committed%s\n%s", most, group, left, l.tails())
		}
	}
}

// finish ends the load, waits for quiet, stops all workers, checks and compares. A row that failed is only stopped.
func (l *lab) finish(good bool) error {
	l.site.proxies.Heal()
	if !good {
		return nil
	}
	if err := l.gen.finish(l.ctx); err != nil {
		return err
	}
	if !l.refused {
		if err := l.quiet(l.name, 45*time.Second); err != nil {
			return err
		}
		for _, w := range l.workers {
			if w.running() {
				if err := w.stop(); err != nil {
					return err
				}
			}
		}
	}
	if l.seen != nil {
		l.sleep(300*time.Millisecond, 0)
		l.seen.Stop()
	}
	if l.checked {
		return nil
	}
	return errors.Join(l.check(), l.calm())
}

var idPattern = regexp.MustCompile(`^\{"id":(\d+)`)

func idOf(r *kgo.Record) (string, bool) {
	m := idPattern.FindSubmatch(r.Value)
	if m == nil {
		return "", false
	}
	return string(m[1]), true
}

// states opens the state folders of all workers.
func (l *lab) states() (stores []*pebblestore.Store, err error) {
	for _, w := range l.workers {
		if w.starts == 0 {
			continue
		}
		s, err := pebblestore.Open(filepath.Join(w.dir, l.name, "state"), pebblestore.Options{Pipeline: l.name, ReadOnly: true})
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return stores, fmt.Errorf("state of %s: %w", w.name, err)
		}
		stores = append(stores, s)
	}
	return stores, nil
}

func (l *lab) check() error {
	var stores []*pebblestore.Store
	var err error
	if !l.refused { // or a worker still has its folder
		stores, err = l.states()
		defer func() {
			for _, s := range stores {
				_ = s.Close()
			}
		}()
		if err != nil {
			return err
		}
	}
	o := checker.Options{Brokers: l.site.past(), Pipeline: l.name, Sources: []checker.Source{{Name: "clicks", Topic: l.in()}},
		Outputs: []string{l.name + ".predictions", l.name + ".metrics"}, Drained: !l.refused, Seen: l.seen, Poison: l.poison}
	of := func(r *kgo.Record) (string, bool) {
		if l.poison != nil && l.poison(r) > 0 {
			return "", false
		}
		return idOf(r)
	}
	o.IDs = []checker.IDs{{Source: "clicks", Output: l.name + ".predictions", Of: of, In: idOf}}
	for _, s := range stores {
		o.States = append(o.States, s)
	}
	if l.report, err = checker.Check(l.ctx, o); err != nil {
		return err
	}
	if err = l.report.Err(); err == nil && l.after != nil {
		err = l.after(l.report)
	}
	return err
}

// digests returns the digest of each task's newest checkpoint, and its step.
func digests(stores []*pebblestore.Store, use func(state.ID) bool) (map[int]uint64, error) {
	sums, steps := map[int]uint64{}, map[int]uint64{}
	for _, s := range stores {
		tasks, err := s.Tasks()
		if err != nil {
			return nil, err
		}
		for _, task := range tasks {
			m, ok, err := s.Manifest(task)
			if err != nil {
				return nil, err
			}
			if !ok || m.Step < steps[task] {
				continue
			}
			if sums[task], err = checker.Digest(s, task, use); err != nil {
				return nil, err
			}
			steps[task] = m.Step
		}
	}
	return sums, nil
}

// calm lets one worker run undisturbed over the same input and compares its state with the workers'.
func (l *lab) calm() error {
	if l.refused || l.noCalm {
		return nil
	}
	name := l.name + "-calm"
	if err := l.write("calm.yaml", name, l.in()); err != nil {
		return err
	}
	w := &worker{l: l, name: "calm", dir: l.file("calm"), file: l.file("calm.yaml")}
	if err := w.start(); err != nil {
		return err
	}
	defer func() {
		if w.running() {
			_ = w.kill()
		}
	}()
	if err := l.quiet(name, 90*time.Second); err != nil {
		return fmt.Errorf("the undisturbed run: %w\n%s", err, w.tail())
	}
	if err := w.stop(); err != nil {
		return err
	}
	use := func(id state.ID) bool { return id.Node != "@engine" && (l.compare == nil || l.compare(id)) }
	stores, err := l.states()
	if err != nil {
		return err
	}
	got, err := digests(stores, use)
	for _, s := range stores {
		_ = s.Close()
	}
	if err != nil {
		return err
	}
	s, err := pebblestore.Open(filepath.Join(w.dir, name, "state"), pebblestore.Options{Pipeline: name, ReadOnly: true})
	if err != nil {
		return err
	}
	defer s.Close()
	want, err := digests([]*pebblestore.Store{s}, use)
	if err != nil {
		return err
	}
	for task, sum := range want {
		l.compared++
		if got[task] != sum || sum == 0 {
			l.wrong++
		}
	}
	if l.compared == 0 {
		return errors.New("the undisturbed run left no state")
	}
	return nil
}

// close ends all that still runs.
func (l *lab) close() {
	l.site.proxies.Heal()
	for _, w := range l.workers {
		if w.running() {
			_ = w.kill()
		}
	}
	if l.gen.cl != nil {
		l.gen.stop()
		<-l.gen.done
		l.gen.cl.Close()
	}
	if l.seen != nil {
		l.seen.Stop()
	}
	if l.arr != nil {
		l.arr.close()
	}
	for _, f := range l.cleanup {
		if err := f(); err != nil {
			fmt.Fprintln(l.suite.out, err)
		}
	}
	if l.row.own {
		_ = l.site.close()
	}
}

func (l *lab) fill(r *result) {
	r.Injections = map[string]int{}
	for _, c := range l.counts {
		r.Injections[c.name] += c.n()
	}
	r.Events, r.Lost, r.Duplicated = l.gen.sent.Load(), l.report.Lost, l.report.Duplicated
	for _, n := range l.report.Counts {
		r.Violations += n
	}
	r.Compared, r.Wrong = l.compared, l.wrong
	if l.arr != nil {
		r.HoleMS = l.arr.hole.Milliseconds()
	}
	r.Note = strings.Join(append([]string{r.Note}, l.notes...), "; ")
	r.Note = strings.TrimPrefix(r.Note, "; ")
}
