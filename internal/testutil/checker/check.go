package checker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/state"
)

// Options say what to check. Brokers, Pipeline and Sources are needed.
type Options struct {
	Brokers  []string
	Client   []kgo.Opt // further options of the clients: TLS, SASL
	Pipeline string
	Group    string // default Pipeline
	Journal  string // topic; default Pipeline.journal
	Sources  []Source
	Outputs  []string // topics of sinks, and of repartitions, which are sources as well
	// Stages holds the number of tasks of each stage; default one stage that has all. Tasks are numbered through.
	Stages []int
	Errors []string // errors topics; default Pipeline.errors
	// Drained says that workers were stopped after they had read all there was: then what is left is a violation, and of each task
	// some checkpoint, if there are States, has to be at the last step.
	Drained bool
	// Poison says how often a source's record has to be in the errors topics, 0 for a good one. nil: rule K11 only compares what is
	// there with the records it names. It sees the records that the journals say were consumed.
	Poison func(*kgo.Record) int
	IDs    []IDs
	// States are the state folders of all workers, closed or open for reading: any number, stale ones too.
	States []State
	// Seen is what a reader that ran beside the workers saw, if there was one.
	Seen *Watcher
	// Timeout bounds how long a broker may deliver nothing. Default 30 s.
	Timeout time.Duration
}

// Source is a source of the pipeline.
type Source struct {
	Name, Topic string
	Stage       int  // that reads it, from 0
	Latest      bool // reading starts wherever; otherwise it must start at the first record
	ManyRows    bool // a record may hold any number of rows, so rows are not compared with records
}

// IDs is a rule about ids: each that Of finds in a consumed record of the source must be found exactly once by In in the
// output topic, and no other. Both return false for a record without an id; of the source also for one that is filtered out.
type IDs struct {
	Source string // name
	Output string // topic
	Of, In func(*kgo.Record) (string, bool)
}

// State is a worker's state folder. A pebblestore.Store is one.
type State interface {
	state.Inspector
	Tasks() ([]int, error)
}

// check is one run of [Check].
type check struct {
	o      Options
	admin  *kadm.Client
	report Report
	topics map[string]*topic

	sources []*source     // by stage, ascending by name
	found   []*kgo.Record // all outputs, if a watcher has to be compared with them
	tasks   []*task
}

// source is what is known of a source's topic.
type source struct {
	Source
	*topic
	offsets [][]int64 // by partition: offsets of all records, ascending
}

// Check reads everything and compares. An error means that it could not; violations are in the report. Nothing may be
// written meanwhile.
func Check(ctx context.Context, o Options) (Report, error) {
	if o.Pipeline == "" || len(o.Sources) == 0 || len(o.Brokers) == 0 {
		return Report{}, errors.New("checker: Brokers, Pipeline and Sources are needed")
	}
	o.Group = cmp.Or(o.Group, o.Pipeline)
	o.Journal = cmp.Or(o.Journal, o.Pipeline+".journal")
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	if len(o.Errors) == 0 {
		o.Errors = []string{o.Pipeline + ".errors"}
	}
	c := &check{o: o}
	cl, err := kgo.NewClient(c.clientOpts()...)
	if err != nil {
		return Report{}, err
	}
	defer cl.Close()
	c.admin = kadm.NewClient(cl)
	for _, step := range []func(context.Context) error{
		c.open, c.readJournal, c.readOutputs, c.readSources, c.positions, c.checkGroup, c.checkStates, c.checkSeen,
	} {
		if err := step(ctx); err != nil {
			return c.report, fmt.Errorf("checker: %w", err)
		}
	}
	for _, t := range c.tasks {
		t.finish()
	}
	c.report.Tasks = c.report.Tasks[:0]
	for _, t := range c.tasks {
		c.report.Tasks = append(c.report.Tasks, t.report())
	}
	return c.report, nil
}

func (c *check) clientOpts() []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(c.o.Brokers...), kgo.ClientID("gradstream-checker")}, c.o.Client...)
}

// open finds out about the topics and checks that no transaction is open.
func (c *check) open(ctx context.Context) error {
	names := append([]string{c.o.Journal}, c.o.Outputs...)
	names = append(names, c.o.Errors...)
	for _, s := range c.o.Sources {
		names = append(names, s.Topic)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if err := c.rest(ctx, names); err != nil {
		return err
	}
	for _, name := range names {
		t := c.topics[name]
		for p := range t.lso {
			if t.lso[p] != t.end[p] {
				c.report.add(Violation{K9, -1, 0, name, int32(p), t.lso[p],
					fmt.Sprintf("the last stable offset stays behind the end, %d: a transaction is open", t.end[p])})
			}
		}
	}
	for _, s := range c.o.Sources {
		c.sources = append(c.sources, &source{Source: s, topic: c.topics[s.Topic], offsets: make([][]int64, len(c.topics[s.Topic].lso))})
	}
	slices.SortFunc(c.sources, func(a, b *source) int { return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Name, b.Name)) })
	n := len(c.topics[c.o.Journal].lso)
	if c.o.Stages == nil {
		c.o.Stages = []int{n}
	}
	for stage, count := range c.o.Stages {
		for range count {
			c.tasks = append(c.tasks, newTask(c, len(c.tasks), stage, count))
		}
	}
	if len(c.tasks) != n {
		return fmt.Errorf("there are %d tasks, the journal has %d partitions", len(c.tasks), n)
	}
	return nil
}

// restTime is how long markers of transactions may be under way. Brokers answer the end of a transaction before they
// have written them, one partition after another: who looks meanwhile sees half of it.
const restTime = 3 * time.Second

// rest describes the topics once no transaction is open, or stays open.
func (c *check) rest(ctx context.Context, names []string) (err error) {
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if c.topics, err = c.describe(ctx, names); err != nil {
			return err
		}
		open := false
		for _, t := range c.topics {
			open = open || !slices.Equal(t.lso, t.end)
		}
		if !open || time.Since(begun) > restTime || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// taskOf returns the task that reads a partition of a source.
func (c *check) taskOf(source, partition int) *task {
	first := 0
	for _, count := range c.o.Stages[:c.sources[source].Stage] {
		first += count
	}
	return c.tasks[first+partition%c.o.Stages[c.sources[source].Stage]]
}

func (c *check) readJournal(ctx context.Context) error {
	t := c.topics[c.o.Journal]
	return c.drain(ctx, t, func(r *kgo.Record) { c.tasks[r.Partition].journalRecord(r) })
}

// readSources reads the records that were consumed: how many there are, which are poison, what ids they have.
func (c *check) readSources(ctx context.Context) error {
	rejected := c.newPoison()
	ids := make([]*idCount, len(c.o.IDs))
	for i, rule := range c.o.IDs {
		ids[i] = &idCount{rule: rule, want: map[string]int64{}, got: map[string]int{}}
	}
	consumed := c.consumed()
	for k, s := range c.sources {
		err := c.drain(ctx, s.topic, func(r *kgo.Record) {
			if r.Attrs.IsControl() {
				return
			}
			s.offsets[r.Partition] = append(s.offsets[r.Partition], r.Offset)
			if !consumed(k, r.Partition, r.Offset) {
				return
			}
			rejected.source(r)
			for _, i := range ids {
				if i.rule.Source == s.Name {
					i.source(r)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	rejected.finish()
	for _, i := range ids {
		i.finish(c)
	}
	return nil
}

// consumed returns a function that says whether a record was read, as far as the journals say.
func (c *check) consumed() func(source int, partition int32, offset int64) bool {
	next := make([][]int64, len(c.sources))
	for k, s := range c.sources {
		next[k] = make([]int64, len(s.lso))
		for p := range next[k] {
			next[k][p] = c.taskOf(k, p).reached(k, int32(p))
		}
	}
	return func(source int, partition int32, offset int64) bool { return offset < next[source][partition] }
}

// positions checks the runs of all tasks against what there was to read.
func (c *check) positions(context.Context) error {
	for _, t := range c.tasks {
		t.checkRuns()
	}
	return nil
}

// checkGroup compares the group's offsets with the journals.
func (c *check) checkGroup(ctx context.Context) error {
	group, err := c.admin.FetchOffsets(ctx, c.o.Group)
	if err != nil {
		return fmt.Errorf("offsets of group %s: %w", c.o.Group, err)
	}
	for k, s := range c.sources {
		for p := range s.lso {
			t := c.taskOf(k, p)
			last := t.last
			if last == nil {
				continue // nothing was committed
			}
			want := t.reached(k, int32(p))
			v := Violation{K4, t.id, last.N, s.Topic, int32(p), want, ""}
			at, ok := group.Lookup(s.Topic, int32(p))
			switch {
			case !ok || at.At < 0:
				v.Text = fmt.Sprintf("group %s has no offset, the journal ends at %d", c.o.Group, want)
			case at.At != want:
				v.Text = fmt.Sprintf("group %s is at %d, the journal ends at %d", c.o.Group, at.At, want)
			case at.Metadata != "" && at.Metadata != fmt.Sprintf("%d %x", last.N, last.Hash[:8]):
				v.Text = fmt.Sprintf("group %s was committed with %q, the journal's last step is %d %x", c.o.Group, at.Metadata, last.N, last.Hash[:8])
			default:
				continue
			}
			c.report.add(v)
		}
	}
	return nil
}
