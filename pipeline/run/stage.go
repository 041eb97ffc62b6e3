package run

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/state"
)

// stage is what the tasks of one stage have in common: the part of the pipeline
// that they run, and its topics.
type stage struct {
	Stage
	p       *pipeline.Pipeline // of this stage alone
	sinks   map[string]int32   // partitions of sink and errors topics
	cluster string             // id
	graph   state.Hash
}

func newStage(s Stage, topo *Topology) *stage {
	return &stage{Stage: s, p: s.Pipeline, sinks: topo.Sinks, cluster: topo.Cluster, graph: sha256.Sum256([]byte(s.Pipeline.Hash()))}
}

// stageOf returns the stage that a task is of.
func (w *worker) stageOf(task int) *stage {
	return w.stages[w.topology.stageOf(task)]
}

// partitionsOf lists the partitions that make up a task, source by source.
func (g *stage) partitionsOf(task int) []taskPartition {
	var parts []taskPartition
	for i, s := range g.p.Sources {
		for q := range g.Topics[i].Partitions {
			if g.First+q%g.Tasks == task {
				tp := connectors.TopicPartition{Topic: s.Topic, Partition: int32(q)}
				parts = append(parts, taskPartition{TopicPartition: tp, source: i})
			}
		}
	}
	return parts
}

// own reports whether a topic carries the stage's rows across a repartition: nobody
// but its tasks deletes anything of it.
func (g *stage) own(topic string) bool {
	return slices.ContainsFunc(g.p.Sources, func(s *pipeline.Source) bool { return s.Internal && s.Topic == topic })
}

// ownPositions returns the positions of a checkpoint in topics of that kind.
func (g *stage) ownPositions(m state.Manifest) (own []connectors.Position) {
	for _, p := range m.Positions {
		if g.own(p.Topic) {
			own = append(own, connectors.Position{TopicPartition: connectors.TopicPartition{Topic: p.Topic, Partition: p.Partition}, Next: p.Next})
		}
	}
	return own
}

// meta identifies what a checkpoint belongs to.
func (g *stage) meta() map[string]string {
	m := map[string]string{"cluster": g.cluster, "graph": hex.EncodeToString(g.graph[:])}
	for i, s := range g.p.Sources {
		m[sourceMeta+s.Name] = fmt.Sprintf("%x %d %s", g.Topics[i].ID, g.Topics[i].Partitions, s.Topic)
	}
	return m
}

// sourceMeta begins the keys that say which topic a source was.
const sourceMeta = "source "

// sourceOfMeta reads what meta wrote of a source.
func sourceOfMeta(meta map[string]string, name string) (was openSource, found bool) {
	id, rest, _ := strings.Cut(meta[sourceMeta+name], " ")
	partitions, topic, found := strings.Cut(rest, " ")
	was = openSource{Name: name, Topic: topic}
	was.Partitions, _ = strconv.Atoi(partitions)
	if b, err := hex.DecodeString(id); err == nil {
		copy(was.ID[:], b)
	}
	return was, found
}

// adopted returns how many partitions of each source a checkpoint knows of, 0 of
// those that it does not know.
func (g *stage) adopted(meta map[string]string) []int {
	counts := make([]int, len(g.p.Sources))
	for i, s := range g.p.Sources {
		if was, found := sourceOfMeta(meta, s.Name); found {
			counts[i] = was.Partitions
		}
	}
	return counts
}

// grown refuses partitions that the state does not know of: unless somebody has
// decided for it, they are not read.
func (t *task) grown() error {
	for _, p := range t.parts {
		if !p.known {
			return fmt.Errorf("task %d: topic %q has grown from %d to %d partitions since the state was made, so that keys may fall on tasks that have not learnt from them; gradstream migrate %s says what that means, and adopts them",
				t.id, p.Topic, t.adopted[p.source], t.of.Topics[p.source].Partitions, t.of.p.File)
		}
	}
	return nil
}

// knownPositions returns where the task is in the partitions whose position is
// known: all, once the task is restored.
func (t *task) knownPositions() (at []connectors.Position) {
	for _, p := range t.parts {
		if p.known {
			at = append(at, connectors.Position{TopicPartition: p.TopicPartition, Next: p.next})
		}
	}
	return at
}

// sameOrigin refuses a checkpoint of a task that was taken from another cluster or
// of other topics.
func (g *stage) sameOrigin(task int, m state.Manifest) error {
	if have := m.Meta["cluster"]; have != g.cluster {
		return fmt.Errorf("the state folder belongs to Kafka cluster %q, the brokers are of cluster %q; use another state folder, or delete this one to start afresh", have, g.cluster)
	}
	for i, s := range g.p.Sources {
		was, found := sourceOfMeta(m.Meta, s.Name)
		if !found {
			continue // a source that was added since
		}
		if err := sameSource(was, g.Topics[i]); err != nil {
			return err
		}
	}
	var read []string
	for _, p := range m.Positions {
		read = append(read, p.Topic)
	}
	return g.sameStage(task, read)
}

// sameStage refuses a task that has read none of the topics it reads now: with
// other repartitions its number may mean another stage.
func (g *stage) sameStage(task int, read []string) error {
	var now []string
	for _, s := range g.p.Sources {
		now = append(now, s.Topic)
	}
	if len(read) == 0 || slices.ContainsFunc(read, func(topic string) bool { return slices.Contains(now, topic) }) {
		return nil
	}
	slices.Sort(read)
	return fmt.Errorf("task %d: its state was made by reading %s, in the pipeline file it now reads %s: repartitions were added, taken away or renamed, which changes what the numbers of tasks mean; restore the file as it was, or give the pipeline another name to start afresh",
		task, strings.Join(slices.Compact(read), ", "), strings.Join(now, ", "))
}

// openRecord describes this worker and what it runs.
func (t *task) openRecord() openRecord {
	w, g := t.w, t.of
	r := openRecord{
		Incarnation: w.incarnation, Worker: w.opts.InstanceID, Host: w.opts.Host, Build: w.opts.Version,
		Arch: runtime.GOARCH, Graph: g.graph, Cluster: g.cluster, Sinks: g.openSinks(), Files: g.openFiles(),
	}
	for i, s := range g.p.Sources {
		r.Sources = append(r.Sources, openSource{Name: s.Name, Topic: s.Topic, ID: g.Topics[i].ID, Partitions: g.Topics[i].Partitions})
	}
	return r
}
