package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

func TestMain(m *testing.M) {
	// The shared real broker ends with the process.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/gradstream/gradstream/internal/testutil/realkafka.(*process).run"))
}

// env is a broker to test against.
type env struct {
	addr string
	fake *kfake.Cluster // nil on a real broker
	name string         // prefix of everything the test makes there
}

var names atomic.Int64

// each runs a test on the broker that is in this process, and on a real one where
// there is one.
func each(t *testing.T, test func(t *testing.T, e *env)) {
	t.Run("fake", func(t *testing.T) { test(t, fake(t)) })
	t.Run("kafka", func(t *testing.T) {
		addr := realkafka.Shared(t)
		test(t, &env{addr: strings.Split(addr, ",")[0], name: uniqueName(t)})
	})
}

func uniqueName(t testing.TB) string {
	base := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' || r == '=' {
			return '.'
		}
		return r
	}, t.Name())
	return fmt.Sprintf("%s.%d.%d", base, os.Getpid(), names.Add(1))
}

func fake(t testing.TB, opts ...kfake.Opt) *env {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &env{addr: c.ListenAddrs()[0], fake: c, name: uniqueName(t)}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// open opens a worker of the test's pipeline, with one task a partition of its
// topic "NAME.in", and makes the topics if they are missing.
func (e *env) open(t testing.TB, partitions int, change func(*Options)) *Cluster {
	t.Helper()
	o := Options{
		Brokers: []string{e.addr}, Pipeline: e.name, Tasks: partitions,
		Sources: []string{e.name + ".in"}, Log: testLog(t),
	}
	if change != nil {
		change(&o)
	}
	ctx := testContext(t)
	c, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	topics := []connectors.Topic{
		{Name: e.name + ".in", Partitions: partitions},
		{Name: e.name + ".out", Partitions: partitions},
		{Name: e.name + ".journal", Partitions: max(o.Tasks, 1), Config: map[string]string{"cleanup.policy": "delete"}},
		{Name: e.name + ".state", Partitions: max(o.Tasks, 1), Config: map[string]string{"cleanup.policy": "compact"}},
	}
	_, infos, err := c.Describe(ctx, []string{topics[0].Name})
	if err != nil {
		t.Fatal(err)
	}
	if infos[0].Missing {
		if err := c.Create(ctx, topics); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// testLog shows warnings when a test fails.
func testLog(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(func() { w.mu.Lock(); w.t = nil; w.mu.Unlock() })
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// textLog writes warnings to w.
func textLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct {
	mu sync.Mutex
	t  testing.TB
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// fenced opens a task's log and takes its lock.
func fenced(t testing.TB, c *Cluster, task int, open string) *taskLog {
	t.Helper()
	l, err := c.Log(task)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Fence(testContext(t), []byte(open)); err != nil {
		t.Fatal(err)
	}
	return l.(*taskLog)
}

// step is a step whose outputs say which step they are of.
func (e *env) step(n, outputs int, task int32) *connectors.Step {
	s := &connectors.Step{
		Journal: fmt.Appendf(nil, "step %d", n), StepNo: uint64(n), Meta: fmt.Sprint("meta ", n),
		Offsets: []connectors.Position{{TopicPartition: connectors.TopicPartition{Topic: e.name + ".in", Partition: task}, Next: int64(n)}},
	}
	s.Resolve = func(journal []byte) bool { return string(journal) == string(s.Journal) }
	s.Outputs = &connectors.Outputs{}
	s.Outputs.Identify("gs-id", fmt.Appendf(nil, "%d/%d/", task, n))
	for i := range outputs {
		s.Outputs.Add(e.name+".out", task, 0, nil, fmt.Appendf(nil, "%d/%d", n, i), nil)
	}
	return s
}

// change lets f change the outputs of a step.
func change(s *connectors.Step, f func([]connectors.Output)) {
	list := s.Outputs.List()
	f(list)
	s.Outputs = connectors.OutputsOf(list...)
}

// want returns the values of such outputs.
func want(steps []int, outputs int) []string {
	var out []string
	for _, n := range steps {
		for i := range outputs {
			out = append(out, fmt.Sprintf("%d/%d", n, i))
		}
	}
	return out
}

// settle waits until no transaction is open on a partition: brokers answer the end
// of one before readers see it.
func (e *env) settle(t testing.TB, topic string, partition int32) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm, ctx := kadm.NewClient(cl), testContext(t)
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stable, err := adm.ListCommittedOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		end, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := stable.Lookup(topic, partition)
		h, _ := end.Lookup(topic, partition)
		if s.Err == nil && h.Err == nil && s.Offset == h.Offset {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s[%d]: stable up to %d (%v), ends at %d (%v)", topic, partition, s.Offset, s.Err, h.Offset, h.Err)
		}
	}
}

// committed reads a partition with a read_committed client to its end, once no
// transaction is open there.
func (e *env) committed(t testing.TB, topic string, partition int32) []string {
	t.Helper()
	e.settle(t, topic, partition)
	return e.read(t, topic, partition, true)
}

func (e *env) read(t testing.TB, topic string, partition int32, stable bool) []string {
	t.Helper()
	ctx := testContext(t)
	c, err := Open(ctx, Options{Brokers: []string{e.addr}, Pipeline: e.name, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start, end, err := c.bounds(ctx, connectors.TopicPartition{Topic: topic, Partition: partition})
	if err != nil {
		t.Fatal(err)
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(e.addr), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(start)}}),
	}
	if stable {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var out []string
	for next := start; next < end; {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s[%d]: read to %d of %d: %v", topic, partition, next, end, ctx.Err())
		}
		fs.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				out = append(out, string(r.Value))
			}
		})
	}
	return out
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, clip(got), clip(want))
	}
}

func clip(s []string) []string {
	if len(s) > 40 {
		return append(slices.Clone(s[:40]), fmt.Sprintf("… %d in all", len(s)))
	}
	return s
}

// host is an engine that only notes what it is told.
type host struct {
	mu      sync.Mutex
	tasks   map[int]bool
	changed chan struct{}
	lost    []int
}

func newHost() *host { return &host{tasks: map[int]bool{}, changed: make(chan struct{}, 100)} }

func (h *host) Assigned(tasks []int) {
	h.mu.Lock()
	for _, t := range tasks {
		h.tasks[t] = true
	}
	h.mu.Unlock()
	h.changed <- struct{}{}
}

func (h *host) Revoked(tasks []int, lost bool) {
	h.mu.Lock()
	for _, t := range tasks {
		delete(h.tasks, t)
	}
	if lost {
		h.lost = append(h.lost, tasks...)
	}
	h.mu.Unlock()
	h.changed <- struct{}{}
}

func (h *host) held() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.tasks))
}

// until waits until the host holds tasks that ok accepts.
func (h *host) until(t testing.TB, ok func(held []int) bool) {
	t.Helper()
	ctx := testContext(t)
	for !ok(h.held()) {
		select {
		case <-h.changed:
		case <-ctx.Done():
			t.Fatalf("holds tasks %v for ever", h.held())
		}
	}
}

func holding(n int) func([]int) bool { return func(held []int) bool { return len(held) == n } }

// join makes the cluster a member; stop leaves and waits.
func join(t testing.TB, c *Cluster) (h *host, stop func()) {
	t.Helper()
	h = newHost()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Join(ctx, h) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Join: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return h, stop
}

func journal(t testing.TB, l *taskLog, from, to int64) []string {
	t.Helper()
	var out []string
	err := l.ReadJournal(testContext(t), from, to, func(_ int64, rec []byte) error {
		out = append(out, string(rec))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustCommit(t testing.TB, l *taskLog, s *connectors.Step) int64 {
	t.Helper()
	at, err := l.Commit(testContext(t), s)
	if err != nil {
		t.Fatalf("step %d: %v", s.StepNo, err)
	}
	return at
}

var errTest = errors.New("a test's own error")
