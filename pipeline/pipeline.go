// Package pipeline turns a pipeline file into a checked, typed graph: sources,
// operators and sinks with the columns of every edge known before anything runs.
package pipeline

import (
	"time"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// Pipeline is a pipeline file that was found correct.
type Pipeline struct {
	File       string // path it was read from
	Name       string
	Kafka      Kafka
	Tasks      int // number of tasks; 0 = one for each partition
	Commit     Commit
	Checkpoint Checkpoint
	StateDir   string // the pipeline's own folder is StateDir/Name

	Sources []*Source // ascending by name
	Nodes   []*Node   // every node behind those it reads from; else ascending by name
	Sinks   []*Sink   // ascending by name

	stages []*Pipeline // nil = only itself
}

// Kafka says how to reach the brokers.
type Kafka struct {
	Brokers     []string // host:port; empty = the embedded broker
	Replication int      // of topics we create; 0 = the broker's default
	TLS         *TLS     // nil: plain text; the embedded broker ignores it
	SASL        *SASL    // nil: nobody in particular; the embedded broker ignores it
}

// Embedded reports whether the pipeline runs on the broker inside the process.
func (k Kafka) Embedded() bool { return len(k.Brokers) == 0 }

// Commit bounds a step: it closes when any bound is reached.
type Commit struct {
	Interval time.Duration
	Rows     int
	Bytes    int64 // of input
}

// Checkpoint says how often state is saved, at most.
type Checkpoint struct {
	Local  time.Duration
	Remote time.Duration
}

// Source is a topic (or file) of events.
type Source struct {
	Name       string
	Pos        spec.Pos
	Topic      string
	Start      string // earliest or latest
	Format     string
	Avro       *Avro  // how records of the format avro were written
	Time       string // column that holds the event time; "" = the record's timestamp
	Key        string // column whose text `produce` uses as the record key; "" = none
	Schema     *batch.Schema
	Errors     string // topic for records that cannot be used
	Partitions int    // when the topic is created
	// Internal says that the topic is the pipeline's own: it is the far side of a
	// repartition, whose name it has.
	Internal bool
}

// Avro says how Avro records were written.
type Avro struct {
	Schema string // of the writer, as JSON
	Framed bool   // a byte 0 and the four of a schema's id stand before each record
	ID     uint32 // the id; 0 = any
	Time   string // the source's column of the event time; "" = none
}

// Node is an operator in the graph.
type Node struct {
	Name   string
	Pos    spec.Pos
	From   []string // names of sources or nodes, as many as the operator has inputs
	Def    *operators.Definition
	Config spec.Config
	Schema *batch.Schema // the columns it emits
	Inputs []*batch.Schema
}

// Sink is a topic (or file) of results.
type Sink struct {
	Name       string
	Pos        spec.Pos
	From       []string // names of sources or nodes, in written order
	Topic      string
	Format     string
	Key        string // column whose text is the record key; "" = none
	Headers    string // minimal or full
	Partitions int    // when the topic is created
	Internal   bool   // the near side of a repartition, whose name it has
	// Inputs holds for each of From what is published of it.
	Inputs []SinkInput
}

// SinkInput says what a sink publishes of one of the nodes it reads.
type SinkInput struct {
	Schema  *batch.Schema // what the node emits
	Output  *batch.Schema // the published columns under their published names
	Columns []int         // position in Schema of each column of Output
	Key     int           // position in Schema of the key column; -1 = none
	Version int           // position in Schema of a model version column for full headers; -1 = none
}

// Source returns the position of the named source in Sources, or -1.
func (p *Pipeline) Source(name string) int {
	for i, s := range p.Sources {
		if s.Name == name {
			return i
		}
	}
	return -1
}

// Stages returns the parts of the pipeline that tasks of their own run: the
// pipeline itself, unless it has repartitions. Then each is a pipeline in which the
// repartitions are sinks where rows go in, and sources where they come out; a stage
// comes behind those that it gets rows from. The first holds the sources that no
// repartition is joined with.
func (p *Pipeline) Stages() []*Pipeline {
	if p.stages == nil {
		return []*Pipeline{p}
	}
	return p.stages
}

// Build makes the node for running in a task, numbered from 0. Every task has
// nodes of its own.
func (n *Node) Build(task int) (*operators.Node, error) {
	built, errs := n.Def.Build(n.Config, operators.BuildOptions{Node: n.Name, Pos: n.Pos, Inputs: n.Inputs, Task: task})
	if len(errs) > 0 {
		return nil, errs
	}
	return built, nil
}
