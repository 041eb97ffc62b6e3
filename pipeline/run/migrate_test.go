package run_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
)

// grow adds partitions to the source topic.
func (c *cluster) grow(to int) {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.addrs...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	r, err := kadm.NewClient(cl).UpdatePartitions(c.t.Context(), to, c.p.Sources[0].Topic)
	if err != nil || r.Error() != nil {
		c.t.Fatal(err, r.Error())
	}
}

func (c *cluster) plan() (*run.Migration, error) {
	c.t.Helper()
	k := c.open(0, "")
	defer k.Close()
	return run.PlanMigration(c.t.Context(), c.p, k)
}

// migrate does what gradstream migrate does.
func (c *cluster) migrate(m *run.Migration) error {
	c.t.Helper()
	c.topo = m.Topology
	k := c.open(m.Topology.Tasks, "")
	defer k.Close()
	return run.Migrate(c.t.Context(), c.p, m, k, run.Options{InstanceID: "migrate"})
}

// refused starts a worker that has to end and name the remedy.
func (c *cluster) refused(dir string) {
	c.t.Helper()
	l := (*life)(nil)
	k := c.open(0, "")
	_, err := run.Prepare(c.t.Context(), c.p, k, true)
	_ = k.Close()
	if err == nil {
		l = c.start(dir, run.Options{})
		err = l.end()
		_ = l.k.Close()
		_ = l.store.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "gradstream migrate pipeline.yaml") {
		c.t.Errorf("partitions were added, and run ended with %v", err)
	}
}

// live waits until all tasks are.
func (l *life) live(tasks int) {
	l.c.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if lag, _ := l.lag(tasks); lag >= 0 {
			return
		}
		if time.Now().After(deadline) {
			l.c.t.Fatalf("not live: %+v", l.w.Status())
		}
	}
}

// TestMigrate has a source grow. A worker goes on only once the partitions were
// adopted; then each event is processed once, wherever it lies.
func TestMigrate(t *testing.T) {
	for _, x := range []struct {
		name, tasks   string
		crash         bool // before, with steps to replay
		before, after int  // tasks
	}{
		{"a task a partition", "partitions", false, 4, 6},
		{"two tasks", "2", false, 2, 2},
		{"a task a partition, crashed", "partitions", true, 4, 6},
		{"two tasks, crashed", "2", true, 2, 2},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			const n = 3000
			local := "100ms"
			if x.crash {
				local = "1h"
			}
			// What is written before it is adopted must be read, whatever start says.
			p := load(t, strings.Replace(clicks, "topic: clicks\n", "topic: clicks\n    start: latest\n", 1), "TASKS", x.tasks, "PARTITIONS", "4", "LOCAL", local)
			all := events(2*n, true)
			c := newCluster(t, p, nil)
			dir := t.TempDir()
			l := c.start(dir, run.Options{})
			l.live(x.before)
			c.produce(all[:n])
			l.await(x.before, n)
			if m, err := c.plan(); err != nil || m.Needed() || m.Workers != 1 {
				t.Fatalf("nothing has grown, and the plan is %+v, %v", m, err)
			}
			if x.crash {
				_ = l.k.Close()
				l.end()
				_ = l.store.Close()
			} else if err := l.stop(); err != nil {
				t.Fatal(err)
			}
			c.grow(6)
			c.produce(all[n:])
			c.refused(dir)
			c.refused(t.TempDir())

			m, err := c.plan()
			if err != nil {
				t.Fatal(err)
			}
			if !m.Needed() || m.Before != x.before || m.Topology.Tasks != x.after || len(m.Grown) != 1 || m.Grown[0].Was != 4 || m.Grown[0].Now != 6 || m.Unread < n/2 {
				t.Fatalf("the plan is %+v, %+v", m, m.Grown)
			}
			for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
				if err = c.migrate(m); !errors.Is(err, run.ErrWorkersRun) || time.Now().After(deadline) {
					break // a worker that crashed counts until its session ends
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if m, err = c.plan(); err != nil || m.Needed() {
				t.Fatalf("what was adopted is to be adopted again: %+v, %v", m, err)
			}

			l = c.start(dir, run.Options{})
			replayed := uint64(0)
			l.await(x.after, 2*n)
			for _, s := range l.w.Status() {
				replayed += s.Replayed
			}
			if x.crash != (replayed > 0) {
				t.Errorf("%d steps replayed", replayed)
			}
			if err := c.migrate(m); !errors.Is(err, run.ErrWorkersRun) {
				t.Errorf("migrating beside a worker ended with %v", err)
			}
			if err := l.stop(); err != nil {
				t.Fatal(err)
			}
			eachOnce(t, c.read("clicks.predictions"), 2*n-2*n/50)
			if m, err = c.plan(); err != nil || m.Needed() {
				t.Errorf("what is read is to be adopted: %+v, %v", m, err)
			}

			// Restarted from the checkpoint, from the state topic, and from the journal.
			for _, at := range []string{dir, t.TempDir()} {
				l = c.start(at, run.Options{})
				l.await(x.after, 2*n)
				if err := l.stop(); err != nil {
					t.Fatal(err)
				}
			}
			k := c.open(0, "")
			defer k.Close()
			for task := range x.after {
				r, err := run.Rebuild(t.Context(), p, k, run.RebuildOptions{Formats: formats, Task: task})
				if err != nil {
					t.Fatal(err)
				}
				if r.Step != r.Last {
					t.Errorf("task %d was rebuilt to step %d of %d", task, r.Step, r.Last)
				}
			}
		})
	}
}

// TestMigrateHalfway completes a migration that was broken off.
func TestMigrateHalfway(t *testing.T) {
	const n = 1000
	p := load(t, clicks, "TASKS", "2", "PARTITIONS", "4")
	c := newCluster(t, p, events(n, false))
	dir := t.TempDir()
	l := c.start(dir, run.Options{})
	l.await(2, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	c.grow(8)
	c.produce(events(n, false))
	for left := range 2 { // tasks that are told before it breaks off
		m, err := c.plan()
		if err != nil || !m.Needed() {
			t.Fatalf("%+v, %v", m, err)
		}
		c.topo = m.Topology
		k := &breaking{Cluster: c.open(2, ""), left: left}
		if err := run.Migrate(t.Context(), p, m, k, run.Options{}); err == nil || !strings.Contains(err.Error(), "once more") {
			t.Fatalf("broken off with %v", err)
		}
		_ = k.Close()
		c.refused(dir)
	}
	m, err := c.plan()
	if err == nil {
		err = c.migrate(m)
	}
	if err != nil {
		t.Fatal(err)
	}
	l = c.start(dir, run.Options{})
	l.await(2, 2*n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if got := len(c.read("clicks.predictions")); got != 2*n {
		t.Errorf("%d predictions, want %d", got, 2*n)
	}
}

// TestMigrateCrash breaks a migration off between any two tasks that are new and then
// starts a worker, which must not open a new task as if the pipeline began with it: it
// would leave out what start: latest leaves out.
func TestMigrateCrash(t *testing.T) {
	const n = 1200
	p := load(t, strings.Replace(clicks, "topic: clicks\n", "topic: clicks\n    start: latest\n", 1), "TASKS", "partitions", "PARTITIONS", "2")
	all := events(2*n, false)
	c := newCluster(t, p, nil)
	dir := t.TempDir()
	l := c.start(dir, run.Options{})
	l.live(2)
	c.produce(all[:n])
	l.await(2, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	c.grow(4)
	c.produce(all[n:])
	for i := range 4 { // before and behind the journal grows, one task is told, then both
		m, err := c.plan()
		if err != nil || !m.Needed() {
			t.Fatalf("%+v, %v", m, err)
		}
		c.topo = m.Topology
		k := &breaking{Cluster: c.open(4, ""), left: min(i-1, 1), grow: map[string]bool{"clicks.journal": i > 0}}
		if err := run.Migrate(t.Context(), p, m, k, run.Options{}); err == nil {
			t.Fatalf("%d: not broken off: %+v", i, m)
		}
		_ = k.Close()
		c.refused(dir)
		c.refused(t.TempDir())
	}
	m, err := c.plan()
	if err == nil {
		err = c.migrate(m)
	}
	if err != nil {
		t.Fatal(err)
	}
	if m, err = c.plan(); err != nil || m.Needed() {
		t.Fatalf("what was adopted is to be adopted again: %+v, %v", m, err)
	}
	l = c.start(dir, run.Options{})
	l.await(4, 2*n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, c.read("clicks.predictions"), 2*n)
}

// breaking is a cluster that opens only so many logs, and lets only some topics grow.
type breaking struct {
	*kafka.Cluster
	left int
	grow map[string]bool // nil = all
}

func (b *breaking) Grow(ctx context.Context, topic string, partitions int) error {
	if b.grow != nil && !b.grow[topic] {
		return errors.New("no broker answers")
	}
	return b.Cluster.Grow(ctx, topic, partitions)
}

func (b *breaking) Resolve(ctx context.Context, at []connectors.Position) ([]connectors.Position, error) {
	if b.left--; b.left < 0 {
		return nil, errors.New("no broker answers")
	}
	return b.Cluster.Resolve(ctx, at)
}

// TestMigrateRefuses asks for what cannot be.
func TestMigrateRefuses(t *testing.T) {
	const n = 500
	wrong := func(c *cluster, want string) {
		t.Helper()
		var request *run.WrongRequest
		if _, err := c.plan(); !errors.As(err, &request) || !strings.Contains(err.Error(), want) {
			t.Errorf("planned with %v, want %q", err, want)
		}
	}
	p := byUser(t, "TASKS", "partitions", "PARTITIONS", "2")
	c := newCluster(t, p, events(n, false))
	wrong(c, "has never run on these brokers")
	l := c.start(t.TempDir(), run.Options{})
	l.await(5, 2*n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	more := func(p *pipeline.Pipeline) *cluster { return &cluster{t: t, addrs: c.addrs, p: p} }
	wrong(more(byUser(t, "TASKS", "1", "PARTITIONS", "2")), "has 5 partitions but the pipeline now has 2 tasks")
	c.grow(3)
	wrong(c, "those behind its repartitions would get other numbers")
}
