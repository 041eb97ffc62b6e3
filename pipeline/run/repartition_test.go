package run_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
)

// byUser is the clicks with a model for each third of the users, whatever the keys
// of the topic; a null price is rejected behind the cut.
func byUser(t testing.TB, replace ...string) *pipeline.Pipeline {
	return load(t, strings.NewReplacer(`  features:
    from: clicks
`, `  by_user:
    from: clicks
    repartition: {key: user, partitions: 3}
  priced:
    from: by_user
    filter: {where: price > -10}
  features:
    from: priced
`).Replace(clicks), replace...)
}

func headers(r connectors.Record) map[string]string {
	h := map[string]string{}
	for _, x := range r.Headers {
		h[x.Key] = string(x.Value)
	}
	return h
}

// TestRepartition runs two stages on a broker, cuts the worker off again and again,
// and compares with a run that nothing disturbs: with one upstream task each stage's
// input is the same, so the states are equal bit for bit.
func TestRepartition(t *testing.T) {
	const n, rounds = 6000, 3
	all := events(n, true)
	p := byUser(t, "TASKS", "partitions", "PARTITIONS", "1", "LOCAL", "1h")
	c := newCluster(t, p, all[:n/rounds])
	dir := t.TempDir()
	replayed := uint64(0)
	for round := range rounds {
		l := c.start(dir, run.Options{PollRows: 50})
		if round > 0 {
			c.produce(all[n/rounds*round : n/rounds*(round+1)])
		}
		l.await(4, int64(n/rounds*2*round+n/rounds)) // every row is processed twice, but for those that do not decode
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
	}
	l := c.start(dir, run.Options{})
	l.await(4, 2*n-n/50)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if replayed == 0 {
		t.Error("no step was ever replayed: the crashes came too late to prove anything")
	}

	null, bad := 0, 0
	for _, e := range all {
		switch {
		case strings.Contains(string(e), `"user":17`):
			bad++
		case strings.Contains(string(e), `"price":null`):
			null++
		}
	}
	out := c.read("clicks.predictions")
	eachOnce(t, out, n-bad-null)
	taskOf := map[string]string{}
	for _, r := range out {
		task, _, _ := strings.Cut(headers(r)["gs-id"], "/")
		if before := taskOf[string(r.Key)]; before != "" && before != task {
			t.Fatalf("user %s was met by tasks %s and %s", r.Key, before, task)
		}
		taskOf[string(r.Key)] = task
	}
	if tasks := slices.Compact(slices.Sorted(maps.Values(taskOf))); !slices.Equal(tasks, []string{"1", "2", "3"}) {
		t.Errorf("predictions come from tasks %v", tasks)
	}
	rejected := map[string]int{}
	for _, r := range c.read("clicks.errors") {
		h := headers(r)
		rejected[h["__connect.errors.topic"]+" "+h["gradstream-operator"]]++
		if h["__connect.errors.partition"] == "" || h["__connect.errors.offset"] == "" {
			t.Fatalf("headers of a rejected record: %v", h)
		}
	}
	if want := map[string]int{"clicks ": bad, "clicks.by_user.repartition priced": null}; !maps.Equal(rejected, want) {
		t.Errorf("rejected %v, want %v", rejected, want)
	}

	calm := newCluster(t, p, all)
	quiet := t.TempDir()
	l = calm.start(quiet, run.Options{})
	l.await(4, 2*n-n/50)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if a, b := weights(t, dir), weights(t, quiet); !maps.Equal(a, b) {
		t.Errorf("state after the crashes %v, undisturbed %v", a, b)
	}

	// A task of either stage is rebuilt from its journal.
	k := c.open(0, "")
	defer k.Close()
	for task := range 4 {
		r, err := run.Rebuild(t.Context(), p, k, run.RebuildOptions{Formats: formats, Task: task})
		if err != nil {
			t.Fatal(err)
		}
		if r.Step == 0 || r.Step != r.Last {
			t.Errorf("task %d was rebuilt to step %d of %d", task, r.Step, r.Last)
		}
	}
	var id run.OutputID
	for _, r := range out {
		if id, _ = run.ParseOutputID(headers(r)["gs-id"]); id.Task == 2 {
			break
		}
	}
	x, err := run.Explain(t.Context(), p, k, id, run.RebuildOptions{Formats: formats})
	if err != nil {
		t.Fatal(err)
	}
	if !x.Equal || x.Source.Topic != "clicks.by_user.repartition" || len(x.Learners) != 1 {
		t.Errorf("output %v is explained as %+v", id, x)
	}
}

// TestRepartitionRefusals starts on the state of other stages.
func TestRepartitionRefusals(t *testing.T) {
	const n = 500
	p := byUser(t, "TASKS", "partitions", "PARTITIONS", "1")
	c := newCluster(t, p, events(n, false))
	dir := t.TempDir()
	l := c.start(dir, run.Options{})
	l.await(4, 2*n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	refused := func(q *pipeline.Pipeline, want string) {
		t.Helper()
		d := &cluster{t: t, addrs: c.addrs, p: q}
		k := d.open(0, "")
		defer k.Close()
		if _, err := run.Prepare(t.Context(), q, k, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("prepared with %v, want %q", err, want)
		}
	}
	text := func(old, new string) *pipeline.Pipeline {
		q := byUser(t, "TASKS", "partitions", "PARTITIONS", "1", old, new)
		return q
	}
	refused(text("partitions: 3}", "partitions: 2}"), `topic "clicks.by_user.repartition" has 3 partitions but repartition "by_user" now says 2`)
	refused(text("by_user", "by_name"), "clicks.by_name.repartition does not: part of the pipeline's memory is gone")
	refused(load(t, clicks, "TASKS", "partitions", "PARTITIONS", "1"), `topic "clicks.journal" has 4 partitions but the pipeline now has 1 tasks`)

	// The same numbers of tasks, but their meaning has changed.
	q := text("by_user", "by_name")
	d := &cluster{t: t, addrs: c.addrs, p: q}
	k := d.open(0, "")
	if err := k.Create(t.Context(), []connectors.Topic{{Name: "clicks.by_name.repartition", Partitions: 3}}); err != nil {
		t.Fatal(err)
	}
	_ = k.Close()
	for _, at := range []string{dir, t.TempDir()} { // by the checkpoint, and by the journal
		l = d.start(at, run.Options{})
		if err := l.end(); err == nil || !strings.Contains(err.Error(), "its state was made by reading clicks.by_user.repartition, in the pipeline file it now reads clicks.by_name.repartition") {
			t.Errorf("ended with %v", err)
		}
		_ = l.k.Close()
		_ = l.store.Close()
	}

	// The way it was goes on, also with fewer tasks than partitions in a new pipeline.
	l = c.start(dir, run.Options{})
	l.await(4, 2*n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	few := byUser(t, "TASKS", "1", "PARTITIONS", "4")
	e := newCluster(t, few, events(n, false))
	l = e.start(t.TempDir(), run.Options{})
	l.await(2, 2*n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(e.topo.Tasks, e.topo.Stages[1].First, e.topo.TaskOf("clicks.by_user.repartition", 2)); got != "2 1 1" {
		t.Errorf("tasks, first of the second stage, task of partition 2: %s", got)
	}
}
