package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/admin"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/state/pebblestore"
)

const defaultListen = "127.0.0.1:8080"

func (a *app) runCommand() *cobra.Command {
	var listen, instance string
	c := &cobra.Command{
		Use:   "run FILE...",
		Short: "Run pipelines until SIGTERM, then drain, checkpoint and leave the group",
		Args:  argFiles,
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := a.care.options(&run.Options{}); err != nil {
				return err
			}
			var all []*pipeline.Pipeline
			names := map[string]string{}
			for _, file := range files {
				p, err := a.load(file)
				if err != nil {
					return err
				}
				if other := names[p.Name]; other != "" {
					return wrongInput("%s and %s are both pipeline %q", other, file, p.Name)
				}
				if len(files) > 1 && len(a.history.files) > 0 {
					return wrongInput("--backfill: it is for one pipeline; %d files are given", len(files))
				}
				if _, _, err := security(p.Kafka); err != nil { // before anything runs
					return fmt.Errorf("pipeline %s: %w", p.Name, err)
				}
				if a.backfills, err = a.history.open(cmd.Context(), p); err != nil {
					return err
				}
				names[p.Name] = file
				all = append(all, p)
			}
			ln, err := a.listen(listen, cmd.Flags().Changed("listen"))
			if err != nil {
				return err
			}
			return a.run(cmd.Context(), all, ln, instance)
		},
	}
	c.Flags().StringVar(&listen, "listen", defaultListen, "address of the HTTP listener (metrics, health, API, page); empty turns it off")
	a.addListen(c)
	c.Flags().StringVar(&instance, "instance-id", "", "static id of the group member (default: the pipeline's name and an id kept in the state folder)")
	a.care.add(c)
	a.history.add(c)
	a.addSet(c)
	return c
}

// listen opens the HTTP listener. The default port, if busy, is replaced by the
// next free one; a port that was asked for is not.
func (a *app) listen(addr string, explicit bool) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	wrap, err := a.secure(addr)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		return wrap(ln), nil
	}
	if explicit {
		return nil, fmt.Errorf("--listen %s: %w", addr, err)
	}
	for port := 8081; port < 8181; port++ {
		if ln, e := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); e == nil {
			a.log.Warn("the default HTTP port is taken; using the next free one", "address", ln.Addr().String())
			return wrap(ln), nil
		}
	}
	return nil, err
}

// run runs pipelines until ctx ends or one of them fails.
func (a *app) run(ctx context.Context, all []*pipeline.Pipeline, ln net.Listener, instance string) error {
	a.limitMemory()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	server := admin.New(reg, version)
	a.protect(server)
	stopped := ctx
	g, ctx := errgroup.WithContext(ctx)
	serve, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if ln != nil {
		a.log.Info("http listener", "url", a.scheme()+ln.Addr().String())
		g.Go(func() error { return server.Serve(serve, ln) })
	}
	embedded := map[string]*kafka.Embedded{}
	defer func() {
		for _, e := range embedded {
			_ = e.Close()
		}
	}()
	work, ctx := errgroup.WithContext(ctx) // one that fails for good ends the others too: they drain
	for _, p := range all {
		one, err := a.begin(ctx, p, embedded, reg, instance)
		if err != nil && stopped.Err() != nil {
			a.log.Info("stopped before the pipeline was started", "pipeline", p.Name, "reason", err)
			break
		}
		if err != nil {
			work.Go(func() error { return err }) // those that run already drain
			break
		}
		defer one.close()
		server.Add(p, one.worker, one.broker.addrs)
		work.Go(func() error { return one.worker.Run(ctx) })
	}
	g.Go(func() error {
		defer stop()
		return work.Wait()
	})
	err := g.Wait()
	if errors.Is(err, run.ErrHung) {
		// What does not come back uses the store and the brokers: they cannot be closed.
		fmt.Fprintln(a.err, "gradstream:", err)
		os.Exit(exitFailed)
	}
	return oneEach(err)
}

// begin makes a pipeline ready to run, and its embedded broker, if it has one that
// nobody runs.
func (a *app) begin(ctx context.Context, p *pipeline.Pipeline, embedded map[string]*kafka.Embedded, reg prometheus.Registerer, instance string) (*worker, error) {
	addrs, e, err := a.brokers(ctx, p, false)
	if err != nil {
		return nil, err
	}
	if e != nil {
		embedded[p.StateDir] = e
	}
	return a.start(ctx, p, addrs, reg, instance)
}

// worker is a pipeline made ready to run in this process.
type worker struct {
	worker *run.Worker
	broker *broker
	store  *pebblestore.Store
}

func (w *worker) close() {
	_ = w.store.Close()
	w.broker.close()
}

// start checks and creates topics, opens the state folder and prepares a worker.
func (a *app) start(ctx context.Context, p *pipeline.Pipeline, addrs []string, reg prometheus.Registerer, instance string) (*worker, error) {
	dir := filepath.Join(p.StateDir, p.Name)
	var store *pebblestore.Store
	var topo *run.Topology
	var opened, prepared time.Duration
	begun := time.Now()
	g, both := errgroup.WithContext(ctx) // what fails here ends the waiting there
	g.Go(func() (err error) {
		store, err = pebblestore.Open(filepath.Join(dir, "state"), pebblestore.Options{Pipeline: p.Name, Renew: true, Log: a.log})
		opened = time.Since(begun)
		return err
	})
	g.Go(func() error {
		adm, err := a.connect(both, p, connectOptions{addrs: addrs, wait: true})
		if err != nil {
			return err
		}
		defer adm.close()
		if topo, err = run.Prepare(both, p, adm.cluster, p.Kafka.Embedded()); err != nil {
			return err
		}
		doubts, _ := run.Doubts(both, p, adm.cluster) // not every user may ask
		for _, d := range doubts {
			a.log.Warn("a topic should be configured otherwise", "pipeline", p.Name, "doubt", d)
		}
		prepared = time.Since(begun)
		return nil
	})
	err := g.Wait()
	fail := func(err error) (*worker, error) {
		if store != nil {
			err = errors.Join(err, store.Close())
		}
		return nil, err
	}
	if err != nil {
		return fail(err)
	}
	if instance == "" {
		id, err := workerID(dir)
		if err != nil {
			return fail(err)
		}
		instance = p.Name + "-" + id
	}
	b, err := a.connect(ctx, p, connectOptions{addrs: addrs, wait: true, topo: topo, instance: instance, metrics: reg, feedBytes: feedBytes(a.memory, topo.Tasks), local: func() map[int]uint64 { return localSteps(store) }})
	if err != nil {
		return fail(err)
	}
	host, _ := os.Hostname()
	a.log.Info("pipeline starts", "pipeline", p.Name, "brokers", strings.Join(addrs, ","), "tasks", topo.Tasks, "state", dir, "instance", instance, "opening", opened, "topics", prepared)
	o := run.Options{
		Formats: formats, Log: a.log, Metrics: reg, Now: time.Now, InstanceID: instance, Host: host, Version: version,
		Attempts: filepath.Join(dir, "attempts"), Backfills: a.backfills,
	}
	if err := a.care.options(&o); err != nil {
		b.close()
		return fail(err)
	}
	w := run.NewWorker(p, topo, b.cluster, store, o)
	return &worker{worker: w, broker: b, store: store}, nil
}

// localSteps lists the tasks that a state folder holds a checkpoint of, with its
// step: the group prefers to run a task where its newest state lies.
func localSteps(store *pebblestore.Store) map[int]uint64 {
	steps := map[int]uint64{}
	tasks, err := store.Tasks()
	if err != nil {
		return nil // nothing is lost: the group decides without
	}
	for _, task := range tasks {
		if m, ok, err := store.Manifest(task); ok && err == nil {
			steps[task] = m.Step
		}
	}
	return steps
}

// workerID returns the random id of a state folder, made when it is first used.
func workerID(dir string) (string, error) {
	path := filepath.Join(dir, "worker.id")
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	id := strings.ToLower(rand.Text()[:12])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return id, os.WriteFile(path, []byte(id+"\n"), 0o644)
}
