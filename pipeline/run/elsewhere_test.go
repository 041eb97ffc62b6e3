package run_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/state/memstore"
)

const often = "100ms, remote: 300ms"

// awaitRemote waits until every task has a checkpoint in the state topic.
func (l *life) awaitRemote(tasks int) {
	l.c.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		n := 0
		for _, s := range l.w.Status() {
			if s.Remote > 0 {
				n++
			}
		}
		if n == tasks {
			return
		}
	}
	l.c.t.Fatalf("no remote checkpoint: %+v", l.w.Status())
}

func (l *life) crash() {
	l.c.t.Helper()
	_ = l.k.Close()
	if err := l.end(); err == nil {
		l.c.t.Fatal("the worker ended without an error though its connections were cut")
	}
	if err := l.store.Close(); err != nil {
		l.c.t.Fatal(err)
	}
}

func (c *cluster) admin() *kadm.Client {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.addrs...))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// bounds returns where the partitions of a topic start, or end.
func (c *cluster) bounds(topic string, partitions int, which int64) (at []int64) {
	c.t.Helper()
	k := c.open(0, "")
	defer k.Close()
	for q := range partitions {
		tp := connectors.TopicPartition{Topic: topic, Partition: int32(q)}
		ps, err := k.Resolve(c.t.Context(), []connectors.Position{{TopicPartition: tp, Next: which}})
		if err != nil {
			c.t.Fatal(err)
		}
		at = append(at, ps[0].Next)
	}
	return at
}

// awaitTrimmed waits until the journal of every task begins at these offsets or behind
// them: a checkpoint that was made before is of no use then. As a checkpoint names only
// what was committed when it was taken, that needs more steps, which more lets come.
func (l *life) awaitTrimmed(least []int64, more func()) {
	l.c.t.Helper()
	var at []int64
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left := 0
		at = l.c.bounds("clicks.journal", len(least), connectors.Earliest)
		for task := range least {
			if at[task] < least[task] {
				left++
			}
		}
		if left == 0 {
			return
		}
		more()
	}
	l.c.t.Fatalf("the journal starts at %v and is not trimmed to %v: %+v", at, least, l.w.Status())
}

// TestElsewhere crashes workers and starts each on an empty folder, or on one that
// another worker left long ago, while the journal is trimmed behind the remote
// checkpoints. In the end the state has the bits of an undisturbed run.
func TestElsewhere(t *testing.T) {
	const n, rounds, few = 12000, 4, 10
	p := load(t, clicks, "TASKS", "partitions", "PARTITIONS", "2", "LOCAL", often)
	all := events(n, true)
	c := newCluster(t, p, nil)
	var dirs []string
	sent := []int{0}
	send := func(to int) {
		c.produce(all[sent[len(sent)-1]:to])
		sent = append(sent, to)
	}
	reg := prometheus.NewRegistry()
	for round := range rounds {
		var before []int64 // where the journal ends that the workers so far have left
		if round > 0 {
			before = c.bounds("clicks.journal", 2, connectors.Latest)
		}
		dir := t.TempDir()
		if round == 2 {
			dir = dirs[0] // older than what is in the topic
		}
		dirs = append(dirs, dir)
		if round > 0 {
			reg = prometheus.NewRegistry()
		}
		l := c.start(dir, run.Options{PollRows: 50, JournalKeep: time.Nanosecond, Metrics: reg})
		half, end := n/rounds*round+n/rounds/2, n/rounds*(round+1)
		send(half)
		l.await(2, int64(half))
		l.awaitRemote(2)
		l.awaitTrimmed(before, func() { send(min(sent[len(sent)-1]+few, end)) })
		send(end)
		for _, s := range l.w.Status() {
			if round > 0 && s.Checkpoint == 0 {
				t.Errorf("round %d: task %d was not restored", round, s.Task)
			}
		}
		if got := total(t, reg, "gradstream_remote_restores_total"); got != min(float64(round), 1)*2 {
			t.Errorf("round %d: %v restores from the state topic", round, got)
		}
		l.crash()
	}
	for task, at := range c.bounds("clicks.journal", 2, connectors.Earliest) {
		if at == 0 {
			t.Errorf("the journal of task %d was never trimmed", task)
		}
	}
	rebuildTrimmed(t, c)
	dir := t.TempDir()
	l := c.start(dir, run.Options{})
	l.await(2, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, c.read("clicks.predictions"), n-n/50)

	// Stopped as planned, any other machine has nothing to replay.
	other := t.TempDir()
	l = c.start(other, run.Options{})
	l.await(2, n)
	for _, s := range l.w.Status() {
		if s.Replayed != 0 || s.Checkpoint == 0 || s.Checkpoint != s.Step {
			t.Errorf("after a planned stop: %+v", s)
		}
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}

	calm := newCluster(t, p, nil)
	for i, to := range sent[1:] { // the same calls: what goes to which partition depends on them
		calm.produce(all[sent[i]:to])
	}
	quiet := t.TempDir()
	l = calm.start(quiet, run.Options{})
	l.await(2, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	want := weights(t, quiet)
	for name, at := range map[string]string{"after the crashes": dir, "restored": other} {
		if got := weights(t, at); !maps.Equal(got, want) {
			t.Errorf("state %s %v, undisturbed %v", name, got, want)
		}
	}
}

// rebuildTrimmed rebuilds tasks whose journal does not begin at step 1 any more.
func rebuildTrimmed(t *testing.T, c *cluster) {
	past := c.open(0, "")
	defer past.Close()
	for task := range 2 {
		if _, err := c.rebuild(past, run.RebuildOptions{Task: task}); !errors.Is(err, run.ErrTrimmed) {
			t.Errorf("task %d: rebuilt from nothing: %v", task, err)
		}
		store := memstore.New()
		m, err := run.ReadRemote(t.Context(), c.p, past, task, store)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.rebuild(past, run.RebuildOptions{Task: task, Checkpoint: store})
		if err != nil {
			t.Fatal(err)
		}
		if r.From != m.Step || r.From == 0 || r.Step != r.Last || r.Step == r.From && r.Rows > 0 {
			t.Errorf("task %d: rebuilt from the checkpoint of step %d: %+v", task, m.Step, r)
		}
		var wrong *run.WrongRequest
		if _, err := c.rebuild(past, run.RebuildOptions{Task: task, Checkpoint: store, To: m.Step - 1}); !errors.As(err, &wrong) {
			t.Errorf("task %d: rebuilt what lies before the checkpoint: %v", task, err)
		}
	}
}

// total adds up the counters or gauges of a name.
func total(t testing.TB, reg *prometheus.Registry, name string) (v float64) {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			for _, m := range f.Metric {
				v += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return v
}

// TestStateTopicGone deletes the state topic. The pipeline says so; with an empty
// one made it goes on from its folder, or rebuilds from the whole journal, and
// without either it says what is missing.
func TestStateTopicGone(t *testing.T) {
	const n = 3000
	p := load(t, clicks, "TASKS", "partitions", "PARTITIONS", "1", "LOCAL", often)
	all := events(2*n, false)
	c := newCluster(t, p, all[:n])
	dir := t.TempDir()
	l := c.start(dir, run.Options{JournalKeep: -1})
	l.await(1, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	adm := c.admin()
	if r, err := adm.DeleteTopic(t.Context(), "clicks.state"); err != nil || r.Err != nil {
		t.Fatal(r, err)
	}
	k := c.open(1, "")
	if _, err := run.Prepare(t.Context(), p, k, true); err == nil || !strings.Contains(err.Error(), "clicks.journal") || !strings.Contains(err.Error(), "clicks.state does not") {
		t.Errorf("prepared with %v", err)
	}
	if err := k.Create(t.Context(), []connectors.Topic{{Name: "clicks.state", Partitions: 1, Config: map[string]string{"cleanup.policy": "compact"}}}); err != nil {
		t.Fatal(err)
	}
	_ = k.Close()

	l = c.start(t.TempDir(), run.Options{JournalKeep: -1})
	l.await(1, n)
	if s := l.w.Status()[0]; s.Checkpoint != 0 || s.Replayed == 0 {
		t.Errorf("not rebuilt from the journal: %+v", s)
	}
	l.crash()
	l = c.start(dir, run.Options{JournalKeep: time.Nanosecond})
	c.produce(all[n:])
	l.await(1, 2*n)
	if s := l.w.Status()[0]; s.Checkpoint == 0 {
		t.Errorf("not restored from the folder: %+v", s)
	}
	l.awaitRemote(1)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, c.read("clicks.predictions"), 2*n)

	// Emptied once more, with a journal whose start is gone by now.
	if at := c.bounds("clicks.journal", 1, connectors.Earliest); at[0] == 0 {
		t.Fatal("the journal was not trimmed")
	}
	if r, err := adm.DeleteTopic(t.Context(), "clicks.state"); err != nil || r.Err != nil {
		t.Fatal(r, err)
	}
	k = c.open(1, "")
	if err := k.Create(t.Context(), []connectors.Topic{{Name: "clicks.state", Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	_ = k.Close()
	l = c.start(t.TempDir(), run.Options{})
	if err := l.end(); err == nil || !strings.Contains(err.Error(), "no checkpoint reaches it") || !strings.Contains(err.Error(), "nor does the state topic help: it holds no checkpoint") {
		t.Errorf("ended with %v", err)
	}
	_ = l.k.Close()
	_ = l.store.Close()
	if _, err := os.Stat(filepath.Join(dir, "state")); err != nil {
		t.Error(err)
	}
}

// TestRetentionPassed deletes input that a restore needs, while the pipeline is down.
func TestRetentionPassed(t *testing.T) {
	const n = 2000
	p := load(t, clicks, "TASKS", "partitions", "PARTITIONS", "1", "LOCAL", often)
	c := newCluster(t, p, events(n, false))
	reg := prometheus.NewRegistry()
	l := c.start(t.TempDir(), run.Options{Metrics: reg})
	l.await(1, n)
	l.awaitRemote(1)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	c.produce(events(n, false))
	var to kadm.Offsets
	to.AddOffset("clicks", 0, n+500, -1)
	if _, err := c.admin().DeleteRecords(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	l = c.start(t.TempDir(), run.Options{})
	err := l.end()
	for _, want := range []string{"clicks[0] is needed from offset 2000 on, but its log starts at 2500", "retention has removed 500 offsets", "--policy"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ended with %v; want it to say %q", err, want)
		}
	}
	_ = l.k.Close()
	_ = l.store.Close()
}
