package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
)

// Topology is what the brokers say of a pipeline's topics, and the tasks that
// follow from it.
type Topology struct {
	Cluster string
	Tasks   int              // of all stages
	Stages  []Stage          // as the pipeline's
	Sinks   map[string]int32 // partitions of sink and errors topics, and of those that rows cross repartitions by
}

// Stage is a stage of the pipeline with its tasks: partition p of any of its
// sources belongs to task First + p mod Tasks.
type Stage struct {
	Pipeline     *pipeline.Pipeline // of the stage alone
	First, Tasks int
	Topics       []connectors.TopicInfo // of its sources
}

// TaskOf returns the task that reads a partition of a source, -1 if the topic is no
// source.
func (t *Topology) TaskOf(topic string, partition int32) int {
	for i := range t.Stages {
		s := &t.Stages[i]
		for _, src := range s.Topics {
			if src.Name == topic {
				return s.First + int(partition)%s.Tasks
			}
		}
	}
	return -1
}

// stageOf returns the stage that a task is of.
func (t *Topology) stageOf(task int) int {
	i := 0
	for i+1 < len(t.Stages) && t.Stages[i+1].First <= task {
		i++
	}
	return i
}

// JournalTopic and StateTopic name a pipeline's internal topics.
func JournalTopic(p *pipeline.Pipeline) string { return p.Name + ".journal" }

// StateTopic names the topic of remote checkpoints.
func StateTopic(p *pipeline.Pipeline) string { return p.Name + ".state" }

// TopicState is one topic a pipeline needs.
type TopicState struct {
	connectors.TopicInfo
	Role string // source, sink, errors or internal
}

// Topics describes every topic of the pipeline: those that exist as they are, the
// others as Prepare would create them. The tasks are counted on the way.
func Topics(ctx context.Context, p *pipeline.Pipeline, cluster connectors.Admin) (id string, tasks int, topics []TopicState, err error) {
	topo, topics, err := survey(ctx, p, cluster)
	if err != nil {
		return "", 0, nil, err
	}
	return topo.Cluster, topo.Tasks, topics, nil
}

// neededTopics lists the topics as Prepare would create them, the journal and the
// state topic without partitions.
func neededTopics(p *pipeline.Pipeline) (topics []TopicState) {
	add := func(role, name string, partitions int, config map[string]string) {
		for _, t := range topics {
			if t.Name == name {
				return
			}
		}
		t := TopicState{Role: role}
		t.Topic = connectors.Topic{Name: name, Partitions: partitions, Replication: p.Kafka.Replication, Config: config}
		topics = append(topics, t)
	}
	for _, s := range p.Sources {
		add("source", s.Topic, s.Partitions, nil)
	}
	for _, s := range p.Sinks {
		add("sink", s.Topic, s.Partitions, nil)
	}
	for _, s := range p.Sources {
		// As large as any record that can be decoded, with room for the headers.
		add("errors", s.Errors, 1, map[string]string{"max.message.bytes": "17825792"})
	}
	for _, stage := range p.Stages() {
		for _, s := range stage.Sources {
			if s.Internal {
				add("errors", s.Errors, 1, map[string]string{"max.message.bytes": "17825792"})
				// A row may take more bytes than the record it was decoded from.
				add("internal", s.Topic, s.Partitions, map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "67108864"})
			}
		}
	}
	add("internal", JournalTopic(p), 0, map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"})
	add("internal", StateTopic(p), 0, map[string]string{"cleanup.policy": "compact", "segment.bytes": "67108864", "min.cleanable.dirty.ratio": "0.2"})
	return topics
}

// survey describes the topics, and counts the tasks of each stage.
func survey(ctx context.Context, p *pipeline.Pipeline, cluster connectors.Admin) (*Topology, []TopicState, error) {
	topics := neededTopics(p)
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	id, infos, err := cluster.Describe(ctx, names)
	if err != nil {
		return nil, nil, err
	}
	topo := &Topology{Cluster: id, Sinks: map[string]int32{}}
	byName := map[string]*TopicState{}
	for i, info := range infos {
		if info.Missing {
			topics[i].Missing = true
		} else {
			topics[i].TopicInfo = info
		}
		byName[topics[i].Name] = &topics[i]
	}
	for i, part := range p.Stages() {
		s := Stage{Pipeline: part, First: topo.Tasks, Tasks: part.Tasks}
		widest := 0
		for _, src := range part.Sources {
			s.Topics = append(s.Topics, byName[src.Topic].TopicInfo)
			widest = max(widest, byName[src.Topic].Partitions)
			topo.Sinks[src.Errors] = int32(byName[src.Errors].Partitions)
		}
		for _, k := range part.Sinks {
			topo.Sinks[k.Topic] = int32(byName[k.Topic].Partitions)
		}
		switch {
		case s.Tasks == 0, i > 0 && s.Tasks > widest:
			s.Tasks = widest
		case s.Tasks > widest:
			return nil, nil, fmt.Errorf("tasks: %d is more than the %d partitions of the sources", s.Tasks, widest)
		}
		topo.Stages = append(topo.Stages, s)
		topo.Tasks += s.Tasks
	}
	for _, name := range []string{JournalTopic(p), StateTopic(p)} {
		if t := byName[name]; t.Missing {
			t.Partitions = topo.Tasks
		}
	}
	return topo, topics, nil
}

// Prepare checks the topics of a pipeline against the brokers and creates those
// that are missing and may be created: sources only if createSources says so.
//
// Workers that start together for the first time do this together: who finds that
// topics have come up meanwhile looks at them again.
func Prepare(ctx context.Context, p *pipeline.Pipeline, cluster connectors.Admin, createSources bool) (*Topology, error) {
	for {
		topo, topics, err := survey(ctx, p, cluster)
		if err != nil {
			return nil, err
		}
		missing, err := lacking(ctx, p, cluster, createSources, topo, topics)
		switch {
		case err != nil:
		case len(missing) == 0:
			return topo, nil
		default:
			if err = cluster.Create(ctx, missing); err == nil {
				topo, _, err = survey(ctx, p, cluster)
				return topo, err
			}
			if !errors.Is(err, connectors.ErrExists) {
				return nil, err // the others may have been created all the same, by us
			}
		}
		if !fewerMissing(ctx, p, cluster, topics, errors.Is(err, connectors.ErrExists)) {
			return nil, err
		}
	}
}

// fewerMissing reports whether topics that were missing are there now. If they must
// be, it waits until they can be seen.
func fewerMissing(ctx context.Context, p *pipeline.Pipeline, cluster connectors.Admin, before []TopicState, must bool) bool {
	count := func(topics []TopicState) (n int) {
		for _, t := range topics {
			if t.Missing {
				n++
			}
		}
		return n
	}
	for try := 0; count(before) > 0; try++ {
		_, now, err := survey(ctx, p, cluster)
		if err != nil || count(now) < count(before) {
			return err == nil
		}
		if !must || try == 50 {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(100 * time.Millisecond):
		}
	}
	return false
}

// lacking checks the topics that there are, and returns those to be created.
func lacking(ctx context.Context, p *pipeline.Pipeline, cluster connectors.Admin, createSources bool, topo *Topology, topics []TopicState) (missing []connectors.Topic, err error) {
	var absent, present []string
	for _, t := range topics {
		switch {
		case t.Role != "internal":
		case t.Missing:
			absent = append(absent, t.Name)
		default:
			present = append(present, t.Name)
			if err := sameCount(p, topo, t); err != nil {
				return nil, err
			}
		}
		if t.Missing {
			if t.Role == "source" && !createSources {
				return nil, fmt.Errorf("source topic %q does not exist on cluster %s; create it (gradstream topics %s creates what is missing)", t.Name, topo.Cluster, p.File)
			}
			missing = append(missing, t.Topic)
		}
	}
	for i := range topo.Stages {
		if err := coPartitioned(&topo.Stages[i]); err != nil {
			return nil, err
		}
	}
	if len(absent) > 0 {
		committed, err := cluster.Committed(ctx)
		if err != nil {
			return nil, err
		}
		if len(present) > 0 || len(committed) > 0 {
			have := strings.Join(present, ", ")
			if len(committed) > 0 {
				have = strings.TrimPrefix(have+", offsets of group "+p.Name, ", ")
			}
			return nil, fmt.Errorf("%s exists but %s does not: part of the pipeline's memory is gone, and going on would lose or repeat events; restore what is missing, or delete the rest to start afresh", have, strings.Join(absent, ", "))
		}
	}
	return missing, nil
}

// sameCount refuses an internal topic that has not as many partitions as the
// pipeline gives it.
func sameCount(p *pipeline.Pipeline, topo *Topology, t TopicState) error {
	if t.Name != JournalTopic(p) && t.Name != StateTopic(p) {
		for _, s := range topo.Stages {
			for _, src := range s.Pipeline.Sources {
				if src.Topic == t.Name && src.Partitions != t.Partitions {
					return fmt.Errorf("topic %q has %d partitions but repartition %q now says %d; the number cannot change: restore it, or give the pipeline another name", t.Name, t.Partitions, src.Name, src.Partitions)
				}
			}
		}
		return nil
	}
	if t.Partitions == topo.Tasks {
		return nil
	}
	tasks := fmt.Sprintf("%d tasks", topo.Tasks)
	if n := len(topo.Stages); n > 1 {
		tasks += fmt.Sprintf(" in %d stages", n)
	}
	if p.Tasks == 0 && t.Partitions < topo.Tasks {
		return fmt.Errorf("topic %q has %d partitions but the pipeline now has %s; if partitions were added to a source, gradstream migrate %s says what that means, and adopts them", t.Name, t.Partitions, tasks, p.File)
	}
	return fmt.Errorf("topic %q has %d partitions but the pipeline now has %s; the number of tasks cannot change under existing state: restore it, or give the pipeline another name", t.Name, t.Partitions, tasks)
}

// coPartitioned refuses sources that one operator reads together but whose
// partition counts differ: their keys would not meet in one task.
func coPartitioned(s *Stage) error {
	reach := map[string][]int{} // sources, by position
	for i, src := range s.Pipeline.Sources {
		reach[src.Name] = []int{i}
	}
	for _, n := range s.Pipeline.Nodes {
		var all []int
		for _, from := range n.From {
			all = append(all, reach[from]...)
		}
		for _, i := range all {
			a, b := s.Topics[all[0]], s.Topics[i]
			if a.Partitions != b.Partitions {
				return fmt.Errorf("operator %s joins sources %s and %s, but topic %q has %d partitions and topic %q has %d; they must be equal", n.Name,
					s.Pipeline.Sources[all[0]].Name, s.Pipeline.Sources[i].Name, a.Name, a.Partitions, b.Name, b.Partitions)
			}
		}
		reach[n.Name] = all
	}
	return nil
}
