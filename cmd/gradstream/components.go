package main

import (
	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift"
	evaluation "github.com/gradstream/gradstream/operators/evaluate"
	"github.com/gradstream/gradstream/operators/feature"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/operators/route"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/run"
)

// registry holds every operator of this binary.
var registry = operators.Merge(&feature.Family, &learn.Family, &evaluation.Family, &drift.Family, &route.Family)

// formats holds every codec of this binary.
var formats = run.Formats{
	NewDecoder: func(format string, s *batch.Schema) (connectors.Decoder, error) {
		return codec.NewDecoder(format, s, codec.Options{})
	},
	NewAvro: func(a *pipeline.Avro, s *batch.Schema) (connectors.Decoder, error) { return newAvro(a, s) },
	NewEncoder: func(format string, s *batch.Schema) (connectors.Encoder, error) {
		return codec.NewEncoder(format, s, codec.Options{Sparse: true}) // the schema holds a sparse column only if a sink names it
	},
	PartitionForKey: kafka.PartitionForKey,
}

func newAvro(a *pipeline.Avro, s *batch.Schema) (*codec.AvroDecoder, error) {
	return codec.NewAvro(s, codec.AvroOptions{Schema: a.Schema, Framed: a.Framed, ID: a.ID, Time: a.Time}, codec.Options{})
}

func checkAvro(a *pipeline.Avro, s *batch.Schema) error {
	_, err := newAvro(a, s)
	return err
}

// load reads one pipeline file with the overrides of the command line.
func (a *app) load(path string) (*pipeline.Pipeline, error) {
	p, errs := pipeline.Load(path, pipeline.Options{Registry: registry, CheckAvro: checkAvro, Set: a.set})
	if len(errs) > 0 {
		return nil, errs
	}
	return p, nil
}
