package pipeline

import (
	"math"
	"time"

	"github.com/gradstream/gradstream/pipeline/spec"
)

// DefaultPartitions is how many partitions a topic is created with where the
// file does not say.
const DefaultPartitions = 4

// The syntax of names. Topics are what Kafka allows, see topicProblem.
const (
	nodeName     = `[A-Za-z][A-Za-z0-9_-]*`
	nodeNameWant = "a letter, then letters, digits, _ or -"

	pipelineName     = `[A-Za-z0-9._-]{1,120}`
	pipelineNameWant = "1 to 120 letters, digits, dots, _ or -"

	topicName     = `[A-Za-z0-9._-]{1,249}`
	topicNameWant = "1 to 249 letters, digits, dots, _ or -"

	taskCount     = `partitions|[1-9][0-9]{0,5}`
	taskCountWant = "partitions, or a whole number from 1 to 999999"
)

// fileConfig is a pipeline file as it is written.
type fileConfig struct {
	name       string
	kafka      kafkaConfig
	tasks      string
	commit     commitConfig
	checkpoint checkpointConfig
	state      stateConfig
	sources    []spec.NamedNode
	operators  []spec.NamedNode
	sinks      []spec.NamedNode

	at struct{ name, tasks, sources spec.Pos }
}

func (c *fileConfig) Fields(f *spec.Fields) {
	f.String(&c.name, "pipeline", "", "Name of the pipeline. It names the consumer group, the internal topics, the state folder and the metrics.").
		Required().Matching(pipelineName, pipelineNameWant).Example("clicks").At(&c.at.name)
	f.Object(&c.kafka, "kafka", "How to reach the brokers.")
	f.String(&c.tasks, "tasks", "partitions", "How many tasks share the partitions: `partitions` for one task each, or a number T, when partition p belongs to task p mod T. A task has one model, and one goroutine at a time.").
		Matching(taskCount, taskCountWant).Example("8").At(&c.at.tasks)
	f.Object(&c.commit, "commit", "When a step, one transaction, closes: as soon as any of the bounds is reached.")
	f.Object(&c.checkpoint, "checkpoint", "How often state is saved.")
	f.Object(&c.state, "state", "Where state lies.")
	f.Nodes(&c.sources, "sources", &sourceConfig{}, "What is read, by name.").Required().Matching(nodeName, nodeNameWant).At(&c.at.sources)
	f.Nodes(&c.operators, "operators", &operatorConfig{}, "What is computed, by name. An operator has `from`, and one more key: its type, with its options.").Matching(nodeName, nodeNameWant)
	f.Nodes(&c.sinks, "sinks", &sinkConfig{}, "What is published, by name.").Matching(nodeName, nodeNameWant)
}

type kafkaConfig struct {
	brokers     []spec.Name
	replication int
	tlsOn       bool
	tls         tlsConfig
	sasl        spec.Choice

	brokersAt spec.Pos
}

func (c *kafkaConfig) Fields(f *spec.Fields) {
	f.Names(&c.brokers, "brokers", []string{"embedded"}, "Addresses of the brokers, host:port: a list, or one text with commas. `embedded` is a broker inside the process, for development.").
		Example("[kafka-1:9092, kafka-2:9092]").At(&c.brokersAt)
	f.Int(&c.replication, "replication", 0, "Replicas of the topics that are created. 0 leaves it to the broker.").Within(0, 32767)
	f.Switch(&c.tlsOn, &c.tls, "tls", false, "Encrypt connections to the brokers: `true`, or a mapping that says whom to believe. The embedded broker does not.")
	f.Choice(&c.sasl, "sasl", "", saslOptions(), "How to log in at the brokers. The embedded broker asks nobody.")
}

type commitConfig struct {
	interval time.Duration
	rows     int
	bytes    int64
}

func (c *commitConfig) Fields(f *spec.Fields) {
	f.Duration(&c.interval, "interval", 100*time.Millisecond, "Time until a step closes: how long a read_committed consumer waits for results at most. Short steps cost the brokers a transaction each.").
		Within(10*time.Millisecond, 10*time.Second)
	f.Int(&c.rows, "rows", 32_768, "Input rows of a step.").Within(1, 1<<24)
	f.Bytes(&c.bytes, "bytes", 16<<20, "Size of the input of a step.").Within(1<<10, 1<<30)
}

type checkpointConfig struct{ local, remote time.Duration }

func (c *checkpointConfig) Fields(f *spec.Fields) {
	f.Duration(&c.local, "local", 3*time.Second, "Time between checkpoints on the local disk. What a restart has to replay grows with it.").
		Within(10*time.Millisecond, time.Hour)
	f.Duration(&c.remote, "remote", 30*time.Second, "Time between checkpoints in the state topic, from which another machine starts.").
		Within(100*time.Millisecond, 24*time.Hour)
}

type stateConfig struct {
	dir string

	dirAt spec.Pos
}

func (c *stateConfig) Fields(f *spec.Fields) {
	f.String(&c.dir, "dir", "./data", "Folder of the state. The pipeline keeps to the folder of its name in it.").At(&c.dirAt)
}

type sourceConfig struct {
	topic, start string
	format       spec.Choice
	time, key    spec.Column
	schema       []spec.Entry
	errors       string
	partitions   int

	partitionsGiven bool
	at              struct{ topic, errors, partitions spec.Pos }
}

func (c *sourceConfig) Fields(f *spec.Fields) {
	f.String(&c.topic, "topic", "", "Topic to read, only what is committed.").
		Required().Matching(topicName, topicNameWant).Example("clicks").At(&c.at.topic)
	f.Enum(&c.start, "start", "earliest", []string{"earliest", "latest"}, "Where reading starts. It counts only where a task has no journal yet.")
	f.Choice(&c.format, "format", "json", []spec.Option{
		{Name: "json", Summary: "A JSON object."},
		{Name: "csv", Summary: "One CSV row without a header, in the order of the schema."},
		{Name: "arrow", Summary: "An Arrow IPC stream."},
		{Name: "avro", Summary: "A record in Avro's binary encoding.", New: func() spec.Config { return new(avroConfig) }},
	}, "What a record holds.")
	f.Column(&c.time, "time", "", "Column that holds the event time: a timestamp, or an int64 of milliseconds since 1970. Without it, the timestamp of the record.").Example("ts")
	f.Column(&c.key, "key", "", "Column whose text `gradstream produce` uses as the key of a record.").Example("user")
	f.Ordered(&c.schema, "schema", "The columns and their types: bool, int64, float64, string, timestamp or sparse, with a ? behind it if the column may be missing or null. `a.b` reads field b of object a.").
		Required().Example("{id: string, ts: timestamp, price: float64, y: bool?}")
	f.String(&c.errors, "errors", "", "Topic for records that cannot be used, unchanged, with headers that say why. Without it, PIPELINE.errors.").
		Matching(topicName, topicNameWant).Example("clicks.errors").At(&c.at.errors)
	f.Int(&c.partitions, "partitions", DefaultPartitions, "Partitions of the topic where we create it.").
		Within(1, 100_000).Given(&c.partitionsGiven).At(&c.at.partitions)
}

// avroConfig says how Avro records were written.
type avroConfig struct {
	schema  string
	at      spec.Pos
	framing string
	id      int
}

func (c *avroConfig) Fields(f *spec.Fields) {
	f.String(&c.schema, "schema", "", "File of the Avro schema that the records were written with (.avsc), from the working folder on. Columns take the fields of their names, `a.b` field b of the record a; other fields are skipped.").
		Required().Matching(`.+`, "a file").Example("clicks.avsc").At(&c.at)
	f.Enum(&c.framing, "framing", "none", []string{"none", "confluent"}, "What stands before a record: nothing, or a byte 0 and four of the schema's id, as Confluent's serializers write them.")
	f.Int(&c.id, "id", 0, "The id of the schema with framing: confluent; a record of another is rejected. 0 = the id is not looked at.").Within(0, math.MaxInt32)
}

// operatorConfig is what all operators have in common; the key that names the
// type is taken apart in operators.go.
type operatorConfig struct {
	from   []spec.Name
	fromAt spec.Pos
}

func (c *operatorConfig) Fields(f *spec.Fields) {
	f.Names(&c.from, "from", nil, "Names of the sources or operators to read: one, or a list for an operator with several inputs.").
		Required().Example("features").At(&c.fromAt)
}

type sinkConfig struct {
	from       []spec.Name
	topic      string
	format     string
	key        spec.Column
	columns    []spec.Entry
	headers    string
	partitions int

	partitionsGiven, columnsGiven bool
	at                            struct{ from, topic, columns, partitions spec.Pos }
}

func (c *sinkConfig) Fields(f *spec.Fields) {
	f.Names(&c.from, "from", nil, "Names of the sources or operators to publish: one or a list.").
		Required().Example("[quality, drift]").At(&c.at.from)
	f.String(&c.topic, "topic", "", "Topic to write to.").
		Required().Matching(topicName, topicNameWant).Example("clicks.predictions").At(&c.at.topic)
	f.Enum(&c.format, "format", "json", []string{"json", "csv", "arrow"}, "What a record holds: a JSON object, one CSV row without a header, or an Arrow IPC stream.")
	f.Column(&c.key, "key", "", "Column whose text is the key of a record, which picks its partition as Kafka's own clients do (murmur2). Without it a record goes to the partition of its source, modulo the partitions of the topic.").Example("user")
	f.Ordered(&c.columns, "columns", "What is published: published name and column. Without it, every column but sparse ones, under its own name.").
		Example("{id: id, p: ctr.probability}").Given(&c.columnsGiven).At(&c.at.columns)
	f.Enum(&c.headers, "headers", "minimal", []string{"minimal", "full"}, "Headers of a record. minimal: `gs-id`, which is task/step/index. full: the version of the model, and the source's topic, partition and offset as well.")
	f.Int(&c.partitions, "partitions", DefaultPartitions, "Partitions of the topic where we create it.").
		Within(1, 100_000).Given(&c.partitionsGiven).At(&c.at.partitions)
}
