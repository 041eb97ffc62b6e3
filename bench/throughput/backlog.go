package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/gradstream/gradstream/bench/peers"
)

//go:embed clicks.yaml
var pipelineYAML []byte

func (h *harness) pipelineFile() string { return filepath.Join(h.dir, "clicks.yaml") }

// liveMark is in what gradstream logs when a task begins to read.
const liveMark = "task restored"

// tasksVariant begins the variants that set a number of tasks.
const tasksVariant = "tasks="

// otherBuild is the variant that another binary runs.
const otherBuild = "other"

// spawner returns what starts a variant over a topic, as often as it is called. Every spawner has a group, state and output
// topic of its own, of which it returns the last.
func (h *harness) spawner(ctx context.Context, variant, from, listen string, commit time.Duration) (spawn func() (*process, error), output string, err error) {
	h.serial++
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(variant, "=", "-"), h.serial)
	output = name + ".predictions"
	if err := h.create(ctx, output); err != nil {
		return nil, "", err
	}
	brokers, state := h.kafka.Addr(), filepath.Join(h.dir, "state")
	if command := h.commands[variant]; command != nil {
		args := command(peers.Task{Brokers: brokers, From: from, To: output, Group: name, Commit: commit, Dir: filepath.Join(state, name)})
		return func() (*process, error) { return start(peers.FirstRecord, nil, args[0], args[1:]...) }, output, nil
	}
	if isPass(variant) {
		self, err := os.Executable()
		return func() (*process, error) {
			return start(firstRecord, nil, self, passCommand, fmt.Sprintf("-plain=%t", variant == plain), "-brokers", brokers, "-from", from, "-to", output, "-group", name, "-commit", commit.String())
		}, output, err
	}
	env, binary := h.environment(name, variant, from, commit), h.binary
	if variant == otherBuild {
		binary = h.other
	}
	return func() (*process, error) {
		return start(liveMark, env, binary, "run", "--listen", listen, h.pipelineFile())
	}, output, nil
}

// environment is what makes a pipeline of clicks.yaml.
func (h *harness) environment(name, variant, from string, commit time.Duration) []string {
	scale, tasks := variant, "partitions"
	if n, ok := strings.CutPrefix(variant, tasksVariant); ok {
		scale, tasks = "standard", n
	}
	if variant == otherBuild {
		scale = "none"
	}
	return []string{
		"PIPELINE=" + name, "KAFKA_BROKERS=" + h.kafka.Addr(), "COMMIT=" + commit.String(), "STATE_DIR=" + filepath.Join(h.dir, "state"),
		"SOURCE=" + from, "OUTPUT=" + name + ".predictions", "SCALE=" + scale, "TASKS=" + tasks,
	}
}

// run is one pass over the backlog.
type run struct {
	Variant string  `json:"variant"`
	Round   int     `json:"round"`
	PerSec  float64 `json:"events_per_second"`
	Middle  float64 `json:"events_per_second_middle"` // over the middle 80 %
	CPU     float64 `json:"cpu_seconds_per_million"`
	Broker  float64 `json:"broker_cpu_seconds_per_million"`
	Memory  float64 `json:"peak_rss_mib"`
	StartUp float64 `json:"start_up_seconds"`
	Others  float64 `json:"others_cpu_share"` // of the machine, while it ran
	Ratio   float64 `json:"ratio,omitempty"`  // to the pass-through of the round
	*journaled
	counted
}

func (r *run) String() string {
	s := fmt.Sprintf("%5.0fk/s, mid %5.0fk/s, cpu %.2f s/M, broker %.2f s/M, %4.0f MiB, start %.2f s, others %.0f %%, lost %d, repeated %d",
		r.PerSec/1e3, r.Middle/1e3, r.CPU, r.Broker, r.Memory, r.StartUp, 100*r.Others, r.Lost, r.Repeated)
	if r.LogLoss != nil {
		s += fmt.Sprintf(", log loss %.4f", *r.LogLoss)
	}
	if r.journaled != nil {
		s += ", " + r.journaled.String()
	}
	return s
}

// backlog lets a variant work the backlog off.
func (h *harness) backlog(ctx context.Context, variant string, round int, profile bool) (*run, error) {
	listen := ""
	if profile {
		listen = profileListen
	}
	commit := h.commit
	if isPeer(variant) {
		commit = peerCommit
	}
	spawn, topic, err := h.spawner(ctx, variant, source, listen, commit)
	if err != nil {
		return nil, err
	}
	p, err := spawn()
	if err != nil {
		return nil, err
	}
	defer p.stop()
	before := sample{broker: h.kafka.CPU(), busy: machineBusy(), own: ownCPU(), at: time.Now()}
	var profiled chan error
	if profile {
		profiled = make(chan error, 1)
		go func() { profiled <- h.fetchProfile(ctx, p) }()
	}
	all, err := h.watch(ctx, p, topic, h.events, max(time.Second, 3*commit))
	if err != nil {
		return nil, err
	}
	memory := p.peakMemory()
	if profiled != nil {
		err := errors.Join(<-profiled, h.download(ctx, "metrics", filepath.Join(h.profile, "metrics.txt")))
		if err != nil {
			return nil, err
		}
	}
	if err := p.stop(); err != nil {
		return nil, fmt.Errorf("stopping: %w", err)
	}
	r := measure(all, before, p, h.events)
	if !isPass(variant) && !isPeer(variant) {
		if r.journaled, err = h.journaled(ctx, variant, source, strings.TrimSuffix(topic, ".predictions")); err != nil {
			return nil, err
		}
		r.PerTxn = float64(r.Transactions) / float64(h.events) * r.PerSec
	}
	labels := h.labels
	if isPass(variant) {
		labels = nil
	}
	c, err := h.count(ctx, topic, h.events, labels)
	if err != nil {
		return nil, err
	}
	r.Variant, r.Round, r.Memory, r.counted = variant, round, memory, c
	return r, h.drop(ctx, topic)
}

// measure turns samples into figures. Offsets count the markers of transactions
// too, so rates are the events' share of what the offsets did.
func measure(all []sample, before sample, p *process, events int) *run {
	last := all[len(all)-1].stable
	at := func(share float64) sample {
		for _, s := range all {
			if float64(s.stable) >= share*float64(last) {
				return s
			}
		}
		return all[len(all)-1]
	}
	end, lo, hi := at(1), at(0.1), at(0.9)
	// Making topics and joining groups is not the broker's work on events.
	for _, s := range all {
		if s.at.Before(p.firstRecord()) {
			before = s
		}
	}
	n, million := float64(events), float64(events)/1e6
	r := &run{
		PerSec:  n / end.at.Sub(p.firstRecord()).Seconds(),
		CPU:     end.cpu / million,
		Broker:  (end.broker - before.broker) / million,
		StartUp: p.firstRecord().Sub(p.begun).Seconds(),
	}
	if d := hi.at.Sub(lo.at).Seconds(); d > 0 {
		r.Middle = n * float64(hi.stable-lo.stable) / float64(last) / d
	}
	known := end.cpu + end.broker - before.broker + end.own - before.own
	if wall := end.at.Sub(before.at).Seconds() * cores(); wall > 0 {
		r.Others = max(0, (end.busy-before.busy-known)/wall)
	}
	return r
}

// drop deletes what a run wrote, to keep the disk and the caches free.
func (h *harness) drop(ctx context.Context, output string) error {
	name := strings.TrimSuffix(output, ".predictions")
	var errs []error
	topics, err := h.adm.ListTopics(ctx)
	if err != nil {
		return err
	}
	for _, t := range topics.Names() {
		if strings.HasPrefix(t, name+".") || strings.HasPrefix(t, name+"-") { // Kafka Streams names its changelogs with a dash
			if _, err := h.adm.DeleteTopic(ctx, t); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) { // the list may be old
				errs = append(errs, fmt.Errorf("deleting %s: %w", t, err))
			}
		}
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(h.dir, "state", name)))...)
}
