package run_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
)

// TestChangedTable changes the table of an embedding where steps have to be
// replayed, where a checkpoint is opened, on the machine that made it and on
// another one, and where the past is rebuilt: all refuse it, and say which file
// holds what. Where the file lies does not matter.
func TestChangedTable(t *testing.T) {
	const n = 1000
	text := strings.NewReplacer("from: clicks\n    vectorize: {bits: 12, numeric: [price]", "from: vec\n    vectorize: {bits: 12, numeric: [price, vec.user_1]",
		"operators:\n", "operators:\n  vec: {from: clicks, embedding: {table: 'TABLE', columns: [user]}}\n").Replace(clicks)
	with := func(content string) (p *pipeline.Pipeline, path, digest string) {
		path = filepath.Join(t.TempDir(), "users.txt")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return load(t, text, "TABLE", filepath.ToSlash(path), "TASKS", "partitions", "PARTITIONS", "1", "LOCAL", "1h"), filepath.ToSlash(path), fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	}
	const users = "u1 0.5\nu2 -0.5\nu3 1\n"
	p, _, was := with(users)
	moved, _, _ := with(users)
	changed, path, is := with(users + "u4 2\n")
	if p.Hash() != moved.Hash() || p.Hash() == changed.Hash() {
		t.Fatal("the pipeline's hash is not of what the table holds")
	}

	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), was) || !strings.Contains(err.Error(), is) || !strings.Contains(err.Error(), `operator "vec"`) {
			t.Errorf("%s with another table ended with %v", what, err)
		}
	}
	c := newCluster(t, p, events(n, false))
	dir := t.TempDir()
	l := c.start(dir, run.Options{PollRows: 20})
	l.await(1, n/2)
	_ = l.k.Close() // a crash, with nothing saved
	l.end()
	_ = l.store.Close()

	other := &cluster{t: t, addrs: c.addrs, p: changed}
	start := func(what, dir string) {
		l := other.start(dir, run.Options{})
		refused(what, l.end())
		_ = l.k.Close()
		_ = l.store.Close()
	}
	start("a replay", dir)

	elsewhere := &cluster{t: t, addrs: c.addrs, p: moved}
	l = elsewhere.start(dir, run.Options{})
	l.await(1, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	start("a local checkpoint", dir)
	start("a remote checkpoint", t.TempDir())
	past := c.open(0, "")
	defer past.Close()
	_, err := other.rebuild(past, run.RebuildOptions{})
	refused("a rebuild", err)
	if _, err := elsewhere.rebuild(past, run.RebuildOptions{}); err != nil {
		t.Errorf("a rebuild with the table elsewhere: %v", err)
	}
}
