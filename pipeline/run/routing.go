package run

import (
	"slices"
	"strconv"
	"strings"
)

// Which partition an output goes to depends on how many its topic has. Somebody
// may add partitions while steps are still to be replayed, so what counts for
// replaying a step is what its worker found when it opened the task: the open
// record says it, and for the first steps behind a checkpoint the manifest.

// outputTopics lists the topics of sinks and of rejected records, ascending.
func (g *stage) outputTopics() []string {
	var all []string
	for _, s := range g.p.Sinks {
		all = append(all, s.Topic)
	}
	for _, s := range g.p.Sources {
		all = append(all, s.Errors)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// partitionCount returns how many partitions a topic of outputs has now.
func (g *stage) partitionCount(topic string) int32 { return max(g.sinks[topic], 1) }

// openSinks lists how many partitions the topics of outputs have now.
func (g *stage) openSinks() []openSink {
	var all []openSink
	for _, topic := range g.outputTopics() {
		all = append(all, openSink{Topic: topic, Partitions: int(g.partitionCount(topic))})
	}
	return all
}

// countsThen returns how many partitions the topics had according to a record;
// those that it does not name have as many as now.
func (g *stage) countsThen(sinks []openSink) func(topic string) int32 {
	return func(topic string) int32 {
		for _, s := range sinks {
			if s.Topic == topic {
				return int32(max(s.Partitions, 1))
			}
		}
		return g.partitionCount(topic)
	}
}

// sinkMeta begins the keys of a manifest that say how many partitions a topic of
// outputs had.
const sinkMeta = "sink "

// meta identifies what a checkpoint of the task belongs to, and says what the
// steps behind it go on with.
func (t *task) meta() map[string]string {
	m := t.of.meta()
	for _, topic := range t.of.outputTopics() {
		m[sinkMeta+topic] = strconv.Itoa(int(t.core.partitions(topic)))
	}
	for _, b := range t.backfilled {
		key, value := b.meta()
		m[key] = value
	}
	return m
}

// sinksOfMeta reads what meta wrote; it is empty for checkpoints that were made
// before it was written.
func sinksOfMeta(meta map[string]string) (all []openSink) {
	for key, value := range meta {
		if topic, ok := strings.CutPrefix(key, sinkMeta); ok {
			if n, err := strconv.ParseInt(value, 10, 32); err == nil {
				all = append(all, openSink{topic, int(n)})
			}
		}
	}
	return all
}
