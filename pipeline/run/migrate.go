package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
)

// Grower is what a migration needs of the brokers. The tasks of its logs are those
// of the migration's topology.
type Grower interface {
	connectors.Admin
	connectors.History
	// Log is that of [connectors.Cluster].
	Log(task int) (connectors.TaskLog, error)
	// Members returns how many workers are members of the pipeline's group.
	Members(ctx context.Context) (int, error)
	// Grow adds partitions to a topic until it has so many.
	Grow(ctx context.Context, topic string, partitions int) error
}

// Migration is what has to be done so that partitions that were added to sources
// are read.
type Migration struct {
	Topology *Topology // as it will be
	Before   int       // tasks there are so far
	Grown    []GrownSource
	Workers  int   // that run; Migrate wants none
	Unread   int64 // offsets of the partitions read so far that are not processed yet

	tasks []int        // that have not adopted the partitions
	fresh map[int]bool // tasks that were never opened
	short bool         // the state topic has fewer partitions than there will be tasks
}

// GrownSource is a source whose topic has more partitions than it had.
type GrownSource struct {
	Source   *pipeline.Source
	Was, Now int
}

// IsNew reports whether a task has no state and no journal yet.
func (m *Migration) IsNew(task int) bool { return m.fresh[task] }

// Needed reports whether there is anything to do.
func (m *Migration) Needed() bool { return len(m.tasks) > 0 || m.short }

// PlanMigration compares the sources' topics with what the pipeline has read of
// them. A [WrongRequest] says that the pipeline cannot go on with them at all.
func PlanMigration(ctx context.Context, p *pipeline.Pipeline, cluster Grower) (*Migration, error) {
	topo, topics, err := survey(ctx, p, cluster)
	if err != nil {
		return nil, err
	}
	m := &Migration{Topology: topo, fresh: map[int]bool{}}
	for _, t := range topics { // first, for of a pipeline that has never run others may be missing too
		if t.Role == "internal" && t.Missing {
			return nil, wrongRequest("topic %s does not exist: pipeline %s has never run on these brokers; gradstream run starts it, with the partitions there are", t.Name, p.Name)
		}
	}
	for _, t := range topics {
		switch {
		case t.Role == "source" && t.Missing:
			return nil, wrongRequest("source topic %q does not exist on cluster %s any more, and the pipeline has read it: bring it back", t.Name, topo.Cluster)
		case t.Name == StateTopic(p):
			m.short = t.Partitions < topo.Tasks
		case t.Name == JournalTopic(p):
			m.Before = t.Partitions
			if p.Tasks == 0 && m.Before < topo.Tasks && len(topo.Stages) == 1 {
				break
			}
			fallthrough
		case t.Role == "internal":
			err := sameCount(p, topo, t)
			if err != nil && len(topo.Stages) > 1 && t.Name == JournalTopic(p) && m.Before < topo.Tasks {
				return nil, wrongRequest("the pipeline has %d tasks and would now have %d: those behind its repartitions would get other numbers, and lose their state; give it another name to start afresh", m.Before, topo.Tasks)
			}
			if err != nil {
				return nil, &WrongRequest{err.Error()}
			}
		}
	}
	for i := range topo.Stages {
		if err := coPartitioned(&topo.Stages[i]); err != nil {
			return nil, &WrongRequest{err.Error() + "; add partitions to the other topic as well"}
		}
	}
	if m.Workers, err = cluster.Members(ctx); err != nil {
		return nil, err
	}
	return m, m.look(ctx, p, cluster)
}

// look finds out which tasks have adopted the partitions there are, and what the
// sources had before.
func (m *Migration) look(ctx context.Context, p *pipeline.Pipeline, cluster Grower) error {
	group, err := cluster.Committed(ctx)
	if err != nil {
		return err
	}
	committed := map[connectors.TopicPartition]int64{}
	was := map[string]int{} // by topic
	var ends []connectors.Position
	for _, at := range group {
		if m.Topology.TaskOf(at.Topic, at.Partition) < 0 {
			continue
		}
		committed[at.TopicPartition] = at.Next
		was[at.Topic] = max(was[at.Topic], int(at.Partition)+1)
		ends = append(ends, connectors.Position{TopicPartition: at.TopicPartition, Next: connectors.Latest})
	}
	if ends, err = cluster.Resolve(ctx, ends); err != nil {
		return err
	}
	for _, end := range ends {
		m.Unread += max(0, end.Next-committed[end.TopicPartition])
	}
	for task := range m.Topology.Tasks {
		if task >= m.Before {
			m.tasks, m.fresh[task] = append(m.tasks, task), true
			continue
		}
		g := newStage(m.Topology.Stages[m.Topology.stageOf(task)], m.Topology)
		parts := g.partitionsOf(task)
		left := slices.DeleteFunc(slices.Clone(parts), func(p taskPartition) bool {
			_, has := committed[p.TopicPartition]
			return has
		})
		if len(left) == 0 {
			continue
		}
		counts, err := opened(ctx, cluster, g, task, len(left) < len(parts))
		if err != nil {
			return err
		}
		for i, src := range g.p.Sources {
			if counts[i] > 0 {
				was[src.Topic] = max(was[src.Topic], counts[i])
			}
		}
		m.fresh[task] = len(left) == len(parts) && slices.Max(counts) == 0
		if slices.ContainsFunc(left, func(p taskPartition) bool { return int(p.Partition) >= counts[p.source] }) {
			m.tasks = append(m.tasks, task)
		}
	}
	slices.SortStableFunc(m.tasks, func(a, b int) int { // new ones first, then from the last on
		switch {
		case m.fresh[a] && !m.fresh[b]:
			return -1
		case m.fresh[b] && !m.fresh[a]:
			return 1
		}
		return cmp.Compare(b, a)
	})
	if len(was) == 0 && m.Before == m.Topology.Tasks {
		m.tasks = nil // it has never run
	}
	for _, s := range m.Topology.Stages {
		for i, src := range s.Pipeline.Sources {
			before := was[src.Topic]
			if before == 0 {
				before = m.Before
			}
			if now := s.Topics[i].Partitions; m.Needed() && before < now {
				m.Grown = append(m.Grown, GrownSource{src, before, now})
			}
		}
	}
	return nil
}

// tailOffsets is how far back in the journal of a task that has made steps an
// adoption is looked for. Finding none does no harm: it is written once more.
const tailOffsets = 100

// opened returns how many partitions of each source a task's journal says that it
// reads: of one that has made steps only if it was adopted lately; of one that has
// not, whose journal is short, in any case.
func opened(ctx context.Context, cluster Grower, g *stage, task int, stepped bool) ([]int, error) {
	tp := connectors.TopicPartition{Topic: JournalTopic(g.p), Partition: int32(task)}
	from := connectors.Earliest
	if stepped {
		end, err := cluster.Resolve(ctx, []connectors.Position{{TopicPartition: tp, Next: connectors.Latest}})
		if err != nil {
			return nil, err
		}
		from = max(0, end[0].Next-tailOffsets)
	}
	counts := make([]int, len(g.p.Sources))
	return counts, cluster.ReadLog(ctx, tp, from, func(r *connectors.Record) error {
		rec, err := parseRecord(r.Value)
		if err != nil || rec.open == nil {
			return err
		}
		for _, s := range rec.open.Sources {
			if i := g.p.Source(s.Name); i >= 0 && (rec.open.Adopts || !stepped && counts[i] == 0) {
				counts[i] = s.Partitions
			}
		}
		return nil
	})
}

// ErrWorkersRun says that a pipeline must be stopped for what was asked.
var ErrWorkersRun = errors.New("workers of the pipeline run: stop them (SIGTERM) first, and leave them stopped until it is done; one that was killed counts as running until its session ends, some seconds later")

// Migrate does what a plan says: it gives new tasks their partitions of the
// internal topics, takes the lock of every task, and records in its journal which
// partitions it reads from now on, new ones from their beginning. It may be
// repeated if it fails.
//
// Wherever it ends halfway, workers refuse to start. The state topic grows only when
// the new tasks have recorded that they read from the beginning, and each task
// that has run judges for itself: otherwise a worker would open a new task as it does
// where a pipeline begins, and leave out what start: latest leaves out.
func Migrate(ctx context.Context, p *pipeline.Pipeline, m *Migration, cluster Grower, o Options) error {
	if n, err := cluster.Members(ctx); err != nil || n > 0 {
		return errors.Join(err, ErrWorkersRun)
	}
	if m.Topology.Tasks > m.Before {
		if err := cluster.Grow(ctx, JournalTopic(p), m.Topology.Tasks); err != nil {
			return err
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := NewWorker(p, m.Topology, nil, nil, o)
	fresh := 0
	for fresh < len(m.tasks) && m.fresh[m.tasks[fresh]] {
		fresh++
	}
	if err := w.w.adoptAll(ctx, m.tasks[:fresh], cluster); err != nil {
		return err
	}
	if m.short {
		if err := cluster.Grow(ctx, StateTopic(p), m.Topology.Tasks); err != nil {
			return err
		}
	}
	return w.w.adoptAll(ctx, m.tasks[fresh:], cluster)
}

// adoptAll opens tasks to record that they read all partitions there are.
func (w *worker) adoptAll(ctx context.Context, tasks []int, cluster Grower) error {
	for _, id := range tasks {
		if err := w.adopt(ctx, id, cluster); err != nil {
			return fmt.Errorf("task %d: %w; run gradstream migrate once more", id, err)
		}
		w.opts.Log.Info("task has adopted its partitions", "pipeline", w.p.Name, "task", id)
	}
	return nil
}

// adopt opens a task to record that it reads all partitions there are.
func (w *worker) adopt(ctx context.Context, id int, cluster Grower) (err error) {
	t := &task{id: id, w: w, of: w.stageOf(id)}
	r := t.openRecord()
	r.Adopts = true
	var starts []connectors.Position
	parts := t.of.partitionsOf(id)
	for _, p := range parts {
		starts = append(starts, connectors.Position{TopicPartition: p.TopicPartition, Next: connectors.Earliest})
	}
	if starts, err = cluster.Resolve(ctx, starts); err != nil {
		return err
	}
	for i, p := range parts {
		r.Positions = append(r.Positions, inputRun{Source: p.source, Partition: p.Partition, Next: starts[i].Next})
	}
	log, err := cluster.Log(id)
	if err != nil {
		return err
	}
	_, err = log.Fence(ctx, r.append(nil))
	return errors.Join(err, log.Close())
}
