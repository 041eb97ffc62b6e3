package main

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/checker"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

// grow adds partitions to a topic.
func (s *shop) grow(topic string, to int) {
	s.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr))
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	r, err := kadm.NewClient(cl).UpdatePartitions(s.t.Context(), to, topic)
	if err != nil || r.Error() != nil {
		s.t.Fatal(err, r.Error())
	}
}

// testMigrate adds partitions to the source of a pipeline: run refuses and names
// the remedy, and after it each event comes out once.
func testMigrate(t *testing.T, k *realkafka.Cluster) {
	for _, c := range []struct{ name, tasks, last string }{
		{"grown-tasks", "partitions", "partition 5 is read from its beginning by task 5, which is new and starts with an empty state"},
		{"grown", "2", "partition 5 is read from its beginning by task 1, which goes on with its state"},
	} {
		t.Run(c.tasks, func(t *testing.T) {
			text := strings.NewReplacer("pipeline: shop", "pipeline: "+c.name, "tasks: 3", "tasks: "+c.tasks, "topic: views", "topic: "+c.name+".views",
				"topic: scores", "topic: "+c.name+".scores", "    from: by_user\n", "    from: views\n",
				"  by_user:\n    from: views\n    repartition: {key: user, partitions: 6}\n", "").Replace(shopFile)
			s := newShop(t, c.name, text, k.Addrs()[0])
			s.do("topics")
			watch, err := checker.Watch(k.Addrs(), []string{c.name + ".scores"})
			if err != nil {
				t.Fatal(err)
			}
			defer watch.Stop()
			dir := t.TempDir()
			const n = 3000
			s.produce(n)
			p := s.run(dir)
			s.awaitScores(watch, n, p)
			if out := s.do("migrate"); !strings.Contains(out, "nothing to do") {
				t.Errorf("migrate of a pipeline whose source has not grown:\n%s", out)
			}
			if code := p.stop(); code != 0 {
				t.Fatalf("exit code %d after SIGTERM", code)
			}
			s.grow(c.name+".views", 6)
			s.produce(n)
			p = s.run(dir)
			if code := p.wait(); code != exitFailed || !strings.Contains(p.log.String(), "gradstream migrate "+s.file) {
				t.Errorf("run on a source that has grown ended with %d:\n%s", code, p.log.String())
			}
			for _, flag := range []string{"--dry-run", "--dry-run", "--log-level=info"} {
				out := s.do("migrate", flag)
				if !strings.Contains(out, "topic "+c.name+".views has grown from 4 to 6 partitions") || !strings.Contains(out, c.last) ||
					strings.Contains(out, "nothing was changed") != (flag == "--dry-run") {
					t.Errorf("migrate %s:\n%s", flag, out)
				}
			}
			p = s.run(dir)
			s.awaitScores(watch, 2*n, p)
			if code := p.stop(); code != 0 {
				t.Fatalf("exit code %d after SIGTERM", code)
			}
			watch.Stop()
			r := s.check(checker.Options{Outputs: []string{c.name + ".scores"}, Seen: watch, Sources: []checker.Source{{Name: "views", Topic: c.name + ".views"}}})
			if r.IDs != 2*n || r.Inputs != 2*n {
				t.Errorf("%v; %d events sent", &r, 2*n)
			}
		})
	}
}
