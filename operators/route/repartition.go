package route

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[repartitionConfig]{
	Name:    "repartition",
	Summary: "Brings rows of equal keys together in one task, by way of an internal topic.",
	Doc: "A task sees the rows of its partitions only. Where the events of a topic are keyed by one thing and a model is to be kept by another, repartition cuts the graph: what is upstream publishes the rows, with all their columns and their event time, to the topic PIPELINE.NAME.repartition, in the transaction of its step; what is downstream reads that topic with tasks of its own. Each row goes across exactly once, and the rows of one key that came from one task stay in their order.\n\n" +
		"The partition is that of the key's text, murmur2 as Kafka's own clients do, so a source that is keyed by the same column and has as many partitions can be joined behind the cut. Rows whose key is null go to the partition they came from, modulo the partitions of the topic. The number of partitions is fixed when the topic is created: it is the most tasks that can share the work behind the cut. With tasks: T there are no more than T tasks for it.\n\n" +
		"Over files, in one task, the rows just flow on.\n\n" +
		"Cost: each row is written and read once more, some bytes a column; results behind the cut come one commit interval later. No state.",
	Columns: "Those of the input.",
	Examples: []spec.Example{{
		Title:  "By user",
		Config: "repartition: {key: user, partitions: 8}",
		In:     "id:int64,user:string\n1,ann\n2,bob\n3,ann\n",
		Out:    "id,user\n1,ann\n2,bob\n3,ann\n",
	}},
	Build: newRepartition,
}))

type repartitionConfig struct {
	key        spec.Column
	partitions int
}

func (c *repartitionConfig) Fields(f *spec.Fields) {
	f.Column(&c.key, "key", "", "Column whose text picks the partition.").Required().Example("user")
	f.Int(&c.partitions, "partitions", 4, "Partitions of the internal topic. It cannot be changed later.").Within(1, 100_000)
}

// Repartition implements [operators.Repartitioner].
func (c *repartitionConfig) Repartition() (key string, partitions int) {
	return c.key.Name, c.partitions
}

// repartition is the operator where the graph is not cut: in one task.
type repartition struct{}

func newRepartition(c *repartitionConfig, env *operators.Env) operators.Operator {
	env.In(c.key, batch.Bool, batch.Int64, batch.Float64, batch.String, batch.Timestamp)
	return repartition{}
}

func (repartition) Process(_ int, in *batch.Batch, out operators.Emitter) error { return out.Emit(in) }
