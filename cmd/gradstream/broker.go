package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
)

// broker is a connection to the brokers of a pipeline, and the broker itself if
// this process had to start it.
type broker struct {
	cluster  *kafka.Cluster
	tls      *tls.Config
	sasl     *kafka.SASL
	addrs    []string
	embedded *kafka.Embedded
}

func (b *broker) close() {
	if b.cluster != nil {
		_ = b.cluster.Close()
	}
	if b.embedded != nil {
		_ = b.embedded.Close()
	}
}

// connectOptions say what a connection is for.
type connectOptions struct {
	topo     *run.Topology // of a pipeline that runs; nil = administration only
	instance string        // static member id
	metrics  prometheus.Registerer

	look bool // only: an embedded broker that was never run leaves nothing behind
	wait bool // for brokers that do not answer, for as long as it takes

	feedBytes int                   // bytes a task's feed buffers; 0 = the default
	addrs     []string              // where the brokers are, if that is known already
	local     func() map[int]uint64 // tasks with a local checkpoint, and its step
}

// brokerPatience is how long a command that ends waits for brokers that do not
// answer.
const brokerPatience = 15 * time.Second

// embeddedNote says what the embedded broker is for, wherever it is started.
const embeddedNote = "embedded broker: a single-process development broker, one copy of the data; not for production"

// brokers returns the addresses of a pipeline's brokers, starting the embedded
// one unless another process runs it on the same folder. To look only, one that was
// never run there is made up in memory.
func (a *app) brokers(ctx context.Context, p *pipeline.Pipeline, look bool) ([]string, *kafka.Embedded, error) {
	if !p.Kafka.Embedded() {
		return p.Kafka.Brokers, nil, nil
	}
	addr, err := kafka.FindEmbedded(ctx, p.StateDir)
	if err == nil {
		return []string{addr}, nil, nil
	}
	if !errors.Is(err, kafka.ErrNoEmbedded) {
		return nil, nil, fmt.Errorf("the embedded broker in state.dir %s: %w", p.StateDir, err)
	}
	data := filepath.Join(p.StateDir, "broker")
	if _, err := os.Stat(data); look && errors.Is(err, fs.ErrNotExist) {
		e, err := kafka.StartEmbedded(ctx, kafka.EmbeddedOptions{Log: a.log})
		if err != nil {
			return nil, nil, err
		}
		return []string{e.Addr()}, e, nil
	}
	e, err := kafka.StartEmbedded(ctx, kafka.EmbeddedOptions{Dir: p.StateDir, Log: a.log})
	if err != nil {
		return nil, nil, err
	}
	a.log.Info(embeddedNote, "address", e.Addr(), "data", data)
	return []string{e.Addr()}, e, nil
}

// connect opens the brokers of a pipeline.
func (a *app) connect(ctx context.Context, p *pipeline.Pipeline, o connectOptions) (*broker, error) {
	b := &broker{addrs: o.addrs}
	if len(b.addrs) == 0 {
		var err error
		if b.addrs, b.embedded, err = a.brokers(ctx, p, o.look); err != nil {
			return nil, err
		}
	}
	var topics, outputs []string
	for _, stage := range p.Stages() {
		for _, s := range stage.Sources {
			topics, outputs = append(topics, s.Topic), append(outputs, s.Errors)
		}
		for _, s := range stage.Sinks {
			outputs = append(outputs, s.Topic)
		}
	}
	tasks, taskOf := 0, (func(string, int32) int)(nil)
	if o.topo != nil {
		tasks, taskOf = o.topo.Tasks, o.topo.TaskOf
	}
	giveUp := brokerPatience
	if o.wait {
		giveUp = 0
	}
	var err error
	if b.tls, b.sasl, err = security(p.Kafka); err != nil {
		b.close()
		return nil, fmt.Errorf("pipeline %s: %w", p.Name, err)
	}
	b.cluster, err = kafka.Open(ctx, kafka.Options{
		Brokers: b.addrs, Pipeline: p.Name, Version: version, Sources: topics, Outputs: outputs, Tasks: tasks, TaskOf: taskOf,
		TLS: b.tls, SASL: b.sasl, InstanceID: o.instance, FeedBytes: o.feedBytes, Metrics: o.metrics, LocalSteps: o.local, StepMeta: run.StepMeta, GiveUp: giveUp, Log: a.log,
	})
	if err != nil {
		b.close()
		return nil, fmt.Errorf("pipeline %s: %w", p.Name, err)
	}
	return b, nil
}
