package run

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline"
)

// cutYAML is shopYAML with a second stage, of other tasks.
var cutYAML = strings.Replace(shopYAML, `operators:
  features:
    from: views
`, `operators:
  by_user:
    from: views
    repartition: {key: user, partitions: 4}
  features:
    from: by_user
`, 1)

// TestSchedulesAcross does the same to a pipeline whose rows cross a repartition.
func TestSchedulesAcross(t *testing.T) { schedules(t, parse(t, cutYAML), false) }

// TestSchedulesGrown has the sources grow, too: between two lives, whatever the one
// before has left to replay, their partitions are adopted.
func TestSchedulesGrown(t *testing.T) { schedules(t, parse(t, shopYAML), true) }

// growSource adds partitions to a source, which are adopted, perhaps not at once.
func (s *schedule) growSource() {
	s.b.mu.Lock()
	name := []string{"views", "buys"}[s.b.rng.IntN(2)]
	info := s.b.topics[name]
	info.Partitions += 1 + s.b.rng.IntN(3)
	s.b.topics[name] = info
	s.b.mu.Unlock()
	s.fill(s.b.draw(30))
	for {
		c := &simCluster{simBroker: s.b, dead: make(chan struct{}), hits: newSimHits()}
		m, err := PlanMigration(s.t.Context(), s.p, c)
		if err == nil && m.IsNew(0) && m.IsNew(1) {
			return // nothing was read before
		}
		if err != nil || !m.Needed() {
			s.t.Fatalf("topic %s has grown to %d partitions, the plan is %+v, %v", name, info.Partitions, m, err)
		}
		c.tasks, c.taskOf = m.Topology.Tasks, m.Topology.TaskOf
		if s.b.odds(3) { // broken off: some of the tasks are told
			m.tasks = m.tasks[s.b.draw(len(m.tasks)):]
		}
		if err := Migrate(s.t.Context(), s.p, m, c, Options{}); err != nil {
			s.t.Fatal(err)
		}
		s.count.migrated++
		if m, err = PlanMigration(s.t.Context(), s.p, c); err != nil {
			s.t.Fatal(err)
		}
		if !m.Needed() {
			return
		}
	}
}

// partitionsOf returns how many partitions a source has now.
func (b *simBroker) partitionsOf(src *pipeline.Source) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(src.Partitions, b.topics[src.Topic].Partitions)
}

// crossed checks the rows that came across a repartition in one of its partitions:
// those of a key are in its partition, and those of one task in their order.
func (s *schedule) crossed(tp connectors.TopicPartition, log []simEntry) {
	last := map[int]OutputID{}
	for i := range log {
		r := &log[i].Record
		if log[i].control {
			continue
		}
		if q := kafka.PartitionForKey(r.Key, 4); q != tp.Partition {
			s.t.Errorf("%v offset %d: key %s belongs in partition %d", tp, r.Offset, r.Key, q)
		}
		id, err := ParseOutputID(header(r, headerID))
		if before := last[id.Task]; err != nil || id.Step < before.Step || id.Step == before.Step && id.Index <= before.Index {
			s.t.Errorf("%v offset %d: %v behind %v, %v", tp, r.Offset, id, before, err)
		}
		last[id.Task] = id
		s.count.crossed++
	}
}

// ReadLog yields a journal, for a migration.
func (c *simCluster) ReadLog(_ context.Context, tp connectors.TopicPartition, from int64, yield func(r *connectors.Record) error) error {
	c.mu.Lock()
	log := slices.Clone(c.journal[int(tp.Partition)])
	from = max(from, c.trimmed[int(tp.Partition)])
	c.mu.Unlock()
	for i := range log {
		if log[i].Offset >= from {
			if err := yield(&log[i].Record); err != nil {
				return err
			}
		}
	}
	return nil
}

// OffsetAt knows no times but the end of time.
func (c *simCluster) OffsetAt(_ context.Context, tp connectors.TopicPartition, at int64) (int64, error) {
	if at != math.MaxInt64 {
		return 0, errors.New("not simulated")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end(tp), nil
}

func (c *simCluster) Members(context.Context) (int, error) { return 0, nil }

func (c *simCluster) Grow(context.Context, string, int) error { return errors.New("not simulated") }
