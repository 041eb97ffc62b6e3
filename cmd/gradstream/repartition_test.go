package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/checker"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
	"github.com/gradstream/gradstream/state/pebblestore"
)

const shopFile = `
pipeline: shop
kafka: {brokers: "${KAFKA_BROKERS}"}
state: {dir: "${STATE_DIR}"}
tasks: 3
commit: {interval: 20ms, rows: 300}
checkpoint: {local: 300ms, remote: 1s}
sources:
  views:
    topic: views
    partitions: 4
    key: site
    schema: {id: int64, site: string, user: string, price: float64, y: bool}
operators:
  by_user:
    from: views
    repartition: {key: user, partitions: 6}
  features:
    from: by_user
    vectorize: {bits: 10, numeric: [price], categorical: [site, user]}
  ctr:
    from: features
    logistic_regression: {label: y}
sinks:
  scores:
    from: ctr
    topic: scores
    key: user
    columns: {id: id, user: user, p: ctr.probability, version: ctr.version}
`

var viewID = regexp.MustCompile(`"id":(\d+)`)

func idOfView(r *kgo.Record) (string, bool) {
	m := viewID.FindSubmatch(r.Value)
	if m == nil {
		return "", false
	}
	return string(m[1]), true
}

// shop is a pipeline that reads views.
type shop struct {
	t    *testing.T
	name string
	addr string
	file string
	dirs []string // state folders of its workers
	sent int
}

func newShop(t *testing.T, name, text, addr string) *shop {
	s := &shop{t: t, name: name, addr: addr, file: filepath.Join(t.TempDir(), name+".yaml")}
	if err := os.WriteFile(s.file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) env(dir string) []string {
	return []string{"KAFKA_BROKERS=" + s.addr, "STATE_DIR=" + dir}
}

// do runs a command on the pipeline file.
func (s *shop) do(command string, more ...string) string {
	s.t.Helper()
	return output(s.t, s.env(s.t.TempDir()), append(append(strings.Fields(command), s.file), more...)...)
}

// produce sends n views more.
func (s *shop) produce(n int) {
	s.t.Helper()
	rng := rand.New(rand.NewPCG(7, uint64(s.sent)))
	var b bytes.Buffer
	b.WriteString("id,site,user,price,y\n")
	for range n {
		fmt.Fprintf(&b, "%d,s%d,u%d,%.2f,%t\n", s.sent, rng.IntN(40), rng.IntN(60), rng.NormFloat64(), rng.IntN(3) == 0)
		s.sent++
	}
	path := filepath.Join(s.t.TempDir(), "views.csv")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.do("produce", "--source", "views", "--input", path)
}

// run starts a worker; the folder of its state is made if it is new.
func (s *shop) run(dir string) *process {
	s.t.Helper()
	if !strings.Contains(strings.Join(s.dirs, " "), dir) {
		s.dirs = append(s.dirs, dir)
	}
	return launch(s.t, s.env(dir), "run", s.file, "--listen", "")
}

// awaitScores waits until n scores were seen.
func (s *shop) awaitScores(w *checker.Watcher, n int, workers ...*process) {
	s.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); w.Len() < n; time.Sleep(10 * time.Millisecond) {
		for _, p := range workers {
			select {
			case <-p.done:
				s.t.Fatalf("gradstream ended (%v) after %d of %d scores", p.err, w.Len(), n)
			default:
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d of %d scores in two minutes", w.Len(), n)
		}
	}
}

// check looks at all that the workers left, once they have drained.
func (s *shop) check(o checker.Options) checker.Report {
	s.t.Helper()
	o.Brokers, o.Pipeline, o.Drained = []string{s.addr}, s.name, true
	o.IDs = []checker.IDs{{Source: "views", Output: o.Outputs[0], Of: idOfView, In: idOfView}}
	for _, dir := range s.dirs {
		store, err := pebblestore.Open(filepath.Join(dir, s.name, "state"), pebblestore.Options{ReadOnly: true})
		if err != nil {
			s.t.Fatal(err)
		}
		defer store.Close()
		o.States = append(o.States, store)
	}
	r, err := checker.Check(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Log(&r)
	return r
}

// testRepartition kills the workers of a pipeline of two stages: each event goes
// across once, and comes out once.
func testRepartition(t *testing.T, k *realkafka.Cluster) {
	s := newShop(t, "shop", shopFile, k.Addrs()[0])
	if out := s.do("topics"); !strings.Contains(out, "created  internal  shop.by_user.repartition: partitions 6") || !strings.Contains(out, "shop.journal: partitions 6") {
		t.Fatalf("topics:\n%s", out)
	}
	watch, err := checker.Watch(k.Addrs(), []string{"scores"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	const n = 24000
	s.produce(n / 2)
	a, b := t.TempDir(), t.TempDir()
	one := s.run(a)
	s.awaitScores(watch, n/8, one)
	two := s.run(b)
	two.waitLog(`task restored`)
	one.kill()
	s.produce(n / 2)
	one = s.run(a)
	s.awaitScores(watch, n*5/8, two)
	two.kill()
	s.awaitScores(watch, n, one)
	if code := one.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	watch.Stop()
	r := s.check(checker.Options{Stages: []int{3, 3}, Outputs: []string{"scores", "shop.by_user.repartition"}, Seen: watch,
		Sources: []checker.Source{{Name: "views", Topic: "views"}, {Name: "by_user", Topic: "shop.by_user.repartition", Stage: 1}}})
	if r.IDs != n || r.Inputs != 2*n || r.Outputs != 2*n {
		t.Errorf("%v; %d events sent", &r, n)
	}
}
