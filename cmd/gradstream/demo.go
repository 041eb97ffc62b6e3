package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/admin"
)

// demoOptions are the flags of the command.
type demoOptions struct {
	stream   string
	rate     float64
	seed     uint64
	stateDir string
	listen   string
	explicit bool // listen was given
	length   time.Duration
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "Learn from a real stream on the embedded broker, with a live view",
		Long: `demo starts a broker inside the process, plays a stream into a topic, and runs
the pipeline that learns from it: with the real engine, over Kafka's protocol,
through topics that any Kafka client on this machine can read at the printed
address. It ends when the stream does, after --for, or on Ctrl-C.

The streams:
  flights  the 327,346 flights that left New York in 2013: which arrive more than
           15 minutes late? (examples/flights)
  drift    generated events whose labels change their meaning halfway; a detector
           on the loss has to notice (examples/drift)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.explicit = cmd.Flags().Changed("listen")
			if o.rate < 0 {
				return wrongInput("--rate %v: expected 0 or more", o.rate)
			}
			if o.length < 0 {
				return wrongInput("--for %v: expected a length of time such as 20s", o.length)
			}
			if demoStreams[o.stream] == nil {
				return wrongInput("--stream %q: expected flights or drift", o.stream)
			}
			return a.demo(cmd.Context(), o, cmd.Flags().Changed("log-level"))
		},
	}
	f := c.Flags()
	f.StringVar(&o.stream, "stream", "flights", "what to play: flights or drift")
	f.Float64Var(&o.rate, "rate", 20_000, "events a second; 0 = as fast as it goes")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the generated stream")
	f.StringVar(&o.stateDir, "state-dir", "", "keep broker and state in this folder, and go on there the next time (default: a temporary folder)")
	f.StringVar(&o.listen, "listen", defaultListen, "address of the HTTP listener (metrics, health, API, page); empty turns it off")
	a.addListen(c)
	f.DurationVar(&o.length, "for", 0, "end after this long (default: when the stream ends)")
	return c
}

// drainPatience is how long the demo waits for the next prediction of what was sent.
const drainPatience = 30 * time.Second

// demo is one run of the command.
type demo struct {
	app   *app
	o     demoOptions
	p     *pipeline.Pipeline
	addr  string
	url   string
	work  *worker
	feed  *demoReader // what is played
	sink  *pipeline.Sink
	tail  *demoTail
	begun time.Time
	first int64 // predictions that were there at the start

	mu       sync.Mutex
	past     demoPast
	stopping string
	played   chan struct{} // closed when nothing more is sent
}

func (a *app) demo(ctx context.Context, o demoOptions, leveled bool) (err error) {
	file, terminal := a.out.(*os.File)
	terminal = terminal && term.IsTerminal(int(file.Fd()))
	messages := &messageRing{}
	if terminal {
		a.log = slog.New(slog.NewTextHandler(messages, &slog.HandlerOptions{Level: slog.LevelWarn}))
	} else if !leveled {
		a.logLevel = "warn"
		if err := a.openLog(); err != nil {
			return err
		}
	}
	d := &demo{app: a, o: o, played: make(chan struct{})}
	dir := o.stateDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "gradstream-demo-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	if d.p, err = loadDemo(o.stream, dir); err != nil {
		return err
	}
	ln, err := a.listen(o.listen, o.explicit)
	if err != nil {
		return err
	}
	if ln != nil {
		d.url = a.scheme() + ln.Addr().String()
	}
	e, err := kafka.StartEmbedded(ctx, kafka.EmbeddedOptions{Dir: dir, Log: a.log})
	if err != nil {
		if ln != nil {
			_ = ln.Close()
		}
		return err
	}
	defer func() { _ = e.Close() }()
	d.addr = e.Addr()
	fmt.Fprint(a.out, d.heading())

	view := newDemoView(a.out, terminal)
	defer view.close() // also when something panics: the cursor comes back
	err = d.run(ctx, ln, view)
	view.close()
	if err != nil && ctx.Err() != nil && d.begun.IsZero() {
		fmt.Fprintln(a.out, "stopped before the stream began")
		err = nil
	}
	messages.flush(a.err)
	return err
}

// loadDemo reads a pipeline carried in the binary, for the embedded broker in dir.
func loadDemo(stream, dir string) (*pipeline.Pipeline, error) {
	s := demoStreams[stream]
	lookup := func(string) (string, bool) { return "", false }
	p, errs := pipeline.Parse(s.file, s.pipeline, pipeline.Options{Registry: registry, Lookup: lookup,
		Set: []string{"kafka.brokers=embedded"}})
	if len(errs) > 0 {
		return nil, errs
	}
	p.StateDir = dir
	return p, nil
}

// heading is what is said before anything runs.
func (d *demo) heading() string {
	s := fmt.Sprintf("broker   %s (%s)\n", d.addr, embeddedNote)
	s += fmt.Sprintf("read on  %s\n", d.readAlong())
	if d.url != "" {
		s += fmt.Sprintf("page     %s\n", d.url)
	}
	return s
}

// readAlong is a command with which another client reads the predictions.
func (d *demo) readAlong() string {
	return fmt.Sprintf("kcat -b %s -t %s -C -X isolation.level=read_committed", d.addr, demoSink(d.p).Topic)
}

// demoSink is the sink that publishes predictions.
func demoSink(p *pipeline.Pipeline) *pipeline.Sink {
	for _, s := range p.Sinks {
		if s.Name == "predictions" {
			return s
		}
	}
	return p.Sinks[0]
}

// run plays, learns, watches and sums up.
func (d *demo) run(ctx context.Context, ln net.Listener, view *demoView) error {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	server := admin.New(reg, version)
	d.app.protect(server)
	// What serves and what learns outlives ctx, so that all that was sent is
	// still predicted when the playing is cut short.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	defer all.Wait()
	defer end()
	failed := make(chan error, 8)
	background := func(f func(context.Context) error) {
		all.Go(func() {
			if err := f(life); err != nil && life.Err() == nil {
				failed <- err
			}
		})
	}
	if ln != nil {
		background(func(ctx context.Context) error { return server.Serve(ctx, ln) })
	}
	addrs := []string{d.addr}
	var err error
	if d.work, err = d.app.start(ctx, d.p, addrs, reg, ""); err != nil {
		return err
	}
	defer d.work.close()
	server.Add(d.p, d.work.worker, addrs)

	adm, err := d.app.connect(ctx, d.p, connectOptions{addrs: addrs})
	if err != nil {
		return err
	}
	defer adm.close()
	d.sink = demoSink(d.p)
	if d.feed, err = d.openStream(ctx, adm.cluster); err != nil {
		return err
	}
	defer d.feed.Close()
	if d.tail, err = newDemoTail(ctx, adm.cluster, d); err != nil {
		return err
	}
	defer d.tail.close()

	stop, drained := make(chan struct{}), make(chan error, 1)
	work, drain := context.WithCancel(context.WithoutCancel(ctx))
	defer drain()
	all.Go(func() {
		err := d.work.worker.Run(work)
		if err != nil {
			failed <- err
		}
		drained <- err
	})
	background(d.tail.run)
	d.begun, d.first = time.Now(), d.feed.sent()
	playing, cut := context.WithCancel(ctx)
	defer cut()
	if d.o.length > 0 {
		playing, cut = context.WithTimeout(ctx, d.o.length)
		defer cut()
	}
	d.feed.until = playing.Done()
	background(func(ctx context.Context) error { return d.play(ctx, addrs) })
	all.Go(func() { d.watch(view, stop) })

	err = d.wait(ctx, failed, view)
	last := d.snapshot()
	close(stop)
	drain()
	end()
	if e := <-drained; err == nil {
		err = e
	}
	view.close()
	if err != nil && !errors.Is(err, errNotAll) {
		return err
	}
	fmt.Fprint(d.app.out, renderDemoSummary(last))
	if err == nil && last.Duplicates > 0 {
		err = fmt.Errorf("%d predictions are there twice", last.Duplicates)
	}
	return err
}

// errNotAll says that predictions are missing.
var errNotAll = errors.New("not every event sent has a prediction")

// play sends the stream until it ends, or is cut short by the reader.
func (d *demo) play(ctx context.Context, addrs []string) error {
	defer close(d.played)
	pl, err := newPlayer(kafka.ProducerOptions{Brokers: addrs}, d.p.Sources[0], d.o.rate)
	if err != nil {
		return err
	}
	err = pl.play(ctx, d.feed, func(r connectors.Rejected) { d.app.log.Warn("row not sent", "row", r.Offset, "why", r.Why) })
	return errors.Join(err, pl.close(ctx))
}

// wait returns when the stream is played and all of it is predicted and counted.
func (d *demo) wait(ctx context.Context, failed <-chan error, view *demoView) error {
	select {
	case <-d.played:
	case err := <-failed:
		return err
	}
	text := "the stream is played; the last events are processed"
	switch {
	case ctx.Err() == nil && d.feed.cutShort():
		text = "the time is up; what was sent is still processed"
	case ctx.Err() != nil:
		text = "stopping; what was sent is still processed"
	}
	if ctx.Err() != nil && view.terminal {
		// A second interrupt ends the process at once: the terminal is given back
		// before it may come.
		view.close()
		fmt.Fprintln(d.app.out, text)
	}
	d.mu.Lock()
	d.stopping = text
	d.mu.Unlock()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last int64
	moved := time.Now()
	for {
		s := d.snapshot()
		// The tasks publish their numbers now and then: the last ones have to be in.
		if s.Predictions >= s.Sent && s.Rows >= s.Sent {
			return nil
		}
		if s.Predictions > last {
			last, moved = s.Predictions, time.Now()
		}
		if time.Since(moved) > drainPatience {
			return fmt.Errorf("%w: %d of %d, and none came for %v", errNotAll, s.Predictions, s.Sent, drainPatience)
		}
		select {
		case <-tick.C:
		case err := <-failed:
			return err
		}
	}
}

// watch shows how things stand until stop is closed.
func (d *demo) watch(view *demoView, stop <-chan struct{}) {
	defer func() {
		if r := recover(); r != nil {
			view.close()
			panic(r)
		}
	}()
	tick := time.NewTicker(view.every())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			view.show(d.snapshot())
		case <-stop:
			return
		}
	}
}

// messageRing keeps the last messages of the log while the live view has the
// terminal.
type messageRing struct {
	mu    sync.Mutex
	lines [][]byte
}

// Write implements io.Writer; each call is one message.
func (m *messageRing) Write(b []byte) (int, error) {
	const most = 20
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, append([]byte(nil), b...))
	if len(m.lines) > most {
		m.lines = m.lines[1:]
	}
	return len(b), nil
}

// flush writes the messages kept.
func (m *messageRing) flush(w io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		_, _ = w.Write(l)
	}
	m.lines = nil
}
