package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state"
)

// simBroker is a cluster in memory that outlives the workers that connect to it.
// What it does, and when, is drawn from a seed.
type simBroker struct {
	mu      sync.Mutex
	rng     *rand.Rand
	topics  map[string]connectors.TopicInfo
	sources map[connectors.TopicPartition][]simEntry
	journal map[int][]simEntry
	outputs map[int][]simStep // by task, as committed
	group   map[connectors.TopicPartition]int64
	epoch   map[int]int        // of the task's lock
	open    map[int]*simTxn    // of the task, not decided
	remote  map[int][]simState // by task: the state topic
	trims   int
	more    chan struct{}
	starts  map[connectors.TopicPartition]int64 // of the sources' logs; what is before is gone
	trimmed map[int]int64                       // likewise of the journals
}

// simEntry is an offset of a log: a record, or a control record. Offsets that were
// compacted away or aborted have no entry.
type simEntry struct {
	connectors.Record
	control bool
}

// simStep is what one transaction published.
type simStep struct {
	step    uint64
	outputs []connectors.Output
}

func newSimBroker(seed uint64) *simBroker {
	return &simBroker{
		rng: rand.New(rand.NewPCG(seed, 99)), topics: map[string]connectors.TopicInfo{}, sources: map[connectors.TopicPartition][]simEntry{},
		journal: map[int][]simEntry{}, outputs: map[int][]simStep{}, group: map[connectors.TopicPartition]int64{}, epoch: map[int]int{},
		more: make(chan struct{}), starts: map[connectors.TopicPartition]int64{}, trimmed: map[int]int64{}, remote: map[int][]simState{}, open: map[int]*simTxn{},
	}
}

// odds reports true once in n.
func (b *simBroker) odds(n int) bool { return b.draw(n) == 0 }

func (b *simBroker) draw(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rng.IntN(n)
}

// produce appends records to a partition, with gaps and control records between.
func (b *simBroker) produce(tp connectors.TopicPartition, values ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.sources[tp]
	next := int64(0)
	if n := len(log); n > 0 {
		next = log[n-1].Offset + 1
	}
	for i, v := range values {
		next += int64(max(0, b.rng.IntN(12)-9)) // an aborted transaction
		log = append(log, simEntry{Record: connectors.Record{Value: []byte(v), Key: fmt.Appendf(nil, "k%d", next%5), Offset: next, Time: 1000 + next}})
		next++
		if i == len(values)-1 || b.rng.IntN(8) == 0 {
			log = append(log, simEntry{Record: connectors.Record{Offset: next}, control: true})
			next++
		}
	}
	b.sources[tp] = log
	close(b.more)
	b.more = make(chan struct{})
}

// simCluster is the broker as one worker sees it, until the worker is killed.
type simCluster struct {
	*simBroker
	tasks  int
	taskOf func(topic string, partition int32) int
	crash  int  // one step in so many, about, ends the worker's life somewhere; 0 = none
	aim    aim  // where its life ends, if it comes there
	lose   int  // one commit in so many loses the lock; 0 = none
	eager  bool // fetches take no time and do not look at their context
	fail   int  // one checkpoint in so many cannot be saved; 0 = none
	slow   int  // one remote checkpoint in so many cannot be saved, or is and nobody hears; 0 = none
	shake  int  // one look in so many, each 10 ms, moves a task away and back; 0 = none
	dead   chan struct{}
	onDead func()      // called once, when the worker is killed; may be nil
	hang   atomic.Bool // commits have no answer
	w      *worker     // on this cluster
	last   map[int]*task
	hits   *simHits
}

var (
	errSimDead = errors.New("the worker was killed")
	_          = connectors.Cluster((*simCluster)(nil))
)

// kill ends the worker's life, and reports whether it had not ended before.
func (c *simCluster) kill() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.dead:
		return false
	default:
	}
	if c.onDead != nil {
		c.onDead()
	}
	close(c.dead)
	return true
}

func (c *simCluster) alive() error {
	select {
	case <-c.dead:
		return errSimDead
	default:
		return nil
	}
}

// pause lets virtual time pass.
func (c *simCluster) pause(ctx context.Context, most time.Duration) error {
	select {
	case <-time.After(time.Duration(c.draw(int(most)))):
		return c.alive()
	case <-c.dead:
		return errSimDead
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *simCluster) Describe(_ context.Context, topics []string) (string, []connectors.TopicInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	infos := make([]connectors.TopicInfo, len(topics))
	for i, name := range topics {
		info, ok := c.topics[name]
		if !ok {
			info = connectors.TopicInfo{Topic: connectors.Topic{Name: name}, Missing: true}
		}
		infos[i] = info
	}
	return "sim", infos, nil
}

func (c *simCluster) Create(_ context.Context, topics []connectors.Topic) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range topics {
		if _, ok := c.topics[t.Name]; ok {
			return fmt.Errorf("%s: %w", t.Name, connectors.ErrExists)
		}
		c.topics[t.Name] = connectors.TopicInfo{Topic: t, ID: [16]byte{byte(len(c.topics) + 1)}}
	}
	return nil
}

func (c *simCluster) Committed(context.Context) ([]connectors.Position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []connectors.Position
	for tp, next := range c.group {
		all = append(all, connectors.Position{TopicPartition: tp, Next: next})
	}
	return all, nil
}

func (c *simCluster) Resolve(_ context.Context, at []connectors.Position) ([]connectors.Position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at = slices.Clone(at)
	for i := range at {
		log := c.sources[at[i].TopicPartition]
		switch {
		case at[i].Next == connectors.Earliest:
			at[i].Next = c.starts[at[i].TopicPartition]
		case at[i].Next == connectors.Latest && len(log) > 0:
			at[i].Next = log[len(log)-1].Offset + 1
		case at[i].Next == connectors.Latest:
			at[i].Next = 0
		}
	}
	return at, c.alive()
}

// Join gives the worker all tasks, and now and then takes one away for a while.
func (c *simCluster) Join(ctx context.Context, h connectors.Host) error {
	all := make([]int, c.tasks)
	for i := range all {
		all[i] = i
	}
	h.Assigned(all)
	for {
		select {
		case <-ctx.Done():
			h.Revoked(all, false)
			return nil
		case <-c.dead:
			h.Revoked(all, true)
			return errSimDead
		case <-time.After(10 * time.Millisecond):
		}
		if c.shake > 0 && c.odds(c.shake) {
			one := []int{c.draw(c.tasks)}
			h.Revoked(one, c.odds(3))
			h.Assigned(one)
		}
	}
}

func (c *simCluster) Confirm(context.Context, int) error {
	if c.odds(3) {
		return errors.New("not now")
	}
	return c.alive()
}

func (c *simCluster) Close() error { return nil }

func (c *simCluster) Log(task int) (connectors.TaskLog, error) {
	return &simLog{c: c, task: task}, c.alive()
}

type simLog struct {
	c      *simCluster
	task   int
	epoch  int
	marked int // entries of the state topic when it was fenced
}

func (l *simLog) Fence(ctx context.Context, open []byte) (int64, error) {
	if err := l.c.pause(ctx, 5*time.Millisecond); err != nil {
		return 0, err
	}
	if err := l.c.pass(l.task, beforeLock); err != nil {
		return 0, err
	}
	l.c.mu.Lock()
	l.c.epoch[l.task]++
	l.epoch = l.c.epoch[l.task]
	l.marked = len(l.c.remote[l.task])
	l.c.open[l.task] = nil // aborted, whoever began it
	l.c.mu.Unlock()
	for _, p := range []simPoint{locked, begun, produced} {
		if err := l.stage(ctx, p, time.Millisecond); err != nil {
			return 0, err
		}
	}
	l.c.mu.Lock()
	if l.c.epoch[l.task] == l.epoch {
		l.c.open[l.task] = &simTxn{journal: slices.Clone(open)}
	}
	l.c.mu.Unlock()
	return l.finish(endSent, endAcked)
}

// journalize appends a journal record and the control record that ends its
// transaction. The lock is held.
func (b *simBroker) journalize(task int, record []byte) int64 {
	log := b.journal[task]
	at := int64(2 * len(log))
	b.journal[task] = append(log, simEntry{Record: connectors.Record{Offset: at, Value: slices.Clone(record)}})
	return at
}

func (l *simLog) ReadJournal(_ context.Context, from, to int64, yield func(int64, []byte) error) error {
	l.c.mu.Lock()
	log := slices.Clone(l.c.journal[l.task])
	from = max(from, l.c.trimmed[l.task])
	l.c.mu.Unlock()
	for _, e := range log {
		if e.Offset < from || e.Offset > to {
			continue
		}
		if err := l.c.pass(l.task, readingJournal); err != nil {
			return err
		}
		if err := yield(e.Offset, e.Value); err != nil {
			return err
		}
	}
	return nil
}

func (l *simLog) Offsets(context.Context) ([]connectors.Position, error) {
	all, err := l.c.Committed(context.Background())
	return slices.DeleteFunc(all, func(p connectors.Position) bool { return l.c.taskOf(p.Topic, p.Partition) != l.task }), err
}

// Commit lets time pass and then does it or not, and says so or dies.
func (l *simLog) Commit(ctx context.Context, s *connectors.Step) (int64, error) {
	if err := l.c.pause(ctx, 25*time.Millisecond); err != nil {
		return 0, err
	}
	if l.c.hang.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	lost := l.c.lose > 0 && l.c.odds(l.c.lose)
	if lost && l.c.odds(2) { // before it is done
		return 0, connectors.ErrLost
	}
	x := &simTxn{}
	for _, p := range []simPoint{beforeBegin, begun, produced, offsetsSent} {
		switch p {
		case produced:
			x.outputs, x.journal = simStepOf(s), slices.Clone(s.Journal)
		case offsetsSent:
			x.offsets = slices.Clone(s.Offsets)
		}
		if err := l.stage(ctx, p, time.Millisecond); err != nil {
			return 0, err
		}
		l.c.mu.Lock()
		if p != beforeBegin && l.c.epoch[l.task] == l.epoch {
			l.c.open[l.task] = x
		}
		l.c.mu.Unlock()
	}
	at, err := l.finish(endSent, endAcked)
	if err != nil {
		return 0, err
	}
	if lost {
		return 0, connectors.ErrLost
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if !s.Resolve(s.Journal) || s.Resolve(l.c.journal[l.task][0].Value) {
		panic("a step does not recognise its journal record")
	}
	return at, nil
}

// simStepOf copies a step's outputs: the engine uses the memory again.
func simStepOf(s *connectors.Step) *simStep {
	step := &simStep{step: s.StepNo}
	for _, o := range s.Outputs.List() {
		o.Key, o.Value = slices.Clone(o.Key), slices.Clone(o.Value)
		o.Headers = slices.Clone(o.Headers)
		for i := range o.Headers {
			o.Headers[i].Value = slices.Clone(o.Headers[i].Value)
		}
		step.outputs = append(step.outputs, o)
	}
	return step
}

// cross appends what was published to topics that are read, and a control record
// to each. The lock is held.
func (b *simBroker) cross(outputs []connectors.Output) {
	news := false
	written := map[connectors.TopicPartition]bool{}
	for _, o := range outputs {
		if !strings.HasSuffix(o.Topic, ".repartition") {
			continue
		}
		tp := connectors.TopicPartition{Topic: o.Topic, Partition: o.Partition}
		r := o.Record
		r.Offset = b.end(tp)
		b.sources[tp] = append(b.sources[tp], simEntry{Record: r})
		news, written[tp] = true, true
	}
	for tp := range written {
		b.sources[tp] = append(b.sources[tp], simEntry{Record: connectors.Record{Offset: b.end(tp)}, control: true})
	}
	if news {
		close(b.more)
		b.more = make(chan struct{})
	}
}

// end returns the offset behind a log. The lock is held.
func (b *simBroker) end(tp connectors.TopicPartition) int64 {
	if n := len(b.sources[tp]); n > 0 {
		return b.sources[tp][n-1].Offset + 1
	}
	return 0
}

func (l *simLog) Close() error { return nil }

func (c *simCluster) Feed(_ context.Context, from []connectors.Position) (connectors.Feed, error) {
	f := &simFeed{c: c, at: map[connectors.TopicPartition]int64{}}
	for _, p := range from {
		f.at[p.TopicPartition] = p.Next
		f.parts = append(f.parts, p.TopicPartition)
	}
	return f, c.alive()
}

// simFeed cuts its fetches anywhere.
type simFeed struct {
	c     *simCluster
	parts []connectors.TopicPartition
	at    map[connectors.TopicPartition]int64
}

func (f *simFeed) Poll(ctx context.Context, limit int, only *connectors.TopicPartition) (connectors.Fetch, error) {
	for {
		if f.c.eager { // as a feed does whose buffer is full
			ctx = context.WithoutCancel(ctx)
		} else if err := f.c.pause(ctx, 2*time.Millisecond); err != nil {
			return connectors.Fetch{}, err
		}
		if err := f.c.pass(f.c.taskOf(f.parts[0].Topic, f.parts[0].Partition), polling); err != nil {
			return connectors.Fetch{}, err
		}
		f.c.mu.Lock()
		more := f.c.more
		turn := f.c.rng.IntN(len(f.parts))
		for i := range f.parts {
			tp := f.parts[(turn+i)%len(f.parts)]
			if only != nil && *only != tp {
				continue
			}
			if start := f.c.starts[tp]; f.at[tp] < start {
				f.c.mu.Unlock()
				return connectors.Fetch{}, &connectors.OutOfRangeError{TopicPartition: tp, Offset: f.at[tp], Start: start, End: -1}
			}
			if got, ok := f.fetch(tp, limit); ok {
				f.c.mu.Unlock()
				return got, nil
			}
		}
		f.c.mu.Unlock()
		select {
		case <-more:
		case <-f.c.dead:
		case <-ctx.Done():
		}
	}
}

// fetch takes some of what a partition has behind the position. The lock is held.
func (f *simFeed) fetch(tp connectors.TopicPartition, limit int) (connectors.Fetch, bool) {
	log := f.c.sources[tp]
	i, _ := slices.BinarySearchFunc(log, f.at[tp], func(e simEntry, o int64) int { return int(e.Offset - o) })
	if i == len(log) {
		return connectors.Fetch{}, false
	}
	got := connectors.Fetch{TopicPartition: tp, End: log[len(log)-1].Offset + 1}
	for n := 1 + f.c.rng.IntN(20); i < len(log) && n > 0 && len(got.Records) < limit; i, n = i+1, n-1 {
		got.Next = log[i].Offset + 1
		if !log[i].control {
			got.Records = append(got.Records, log[i].Record)
		}
	}
	f.at[tp] = got.Next
	return got, true
}

func (f *simFeed) Close() error { return nil }

// simStore is a store whose checkpoints take time, fail now and then, and do not
// outlive the worker.
type simStore struct {
	state.Store
	c *simCluster
}

func (s *simStore) Open(task int) (state.Partition, error) {
	p, err := s.Store.Open(task)
	return &simPartition{p, s.c, task}, err
}

type simPartition struct {
	state.Partition
	c    *simCluster
	task int
}

func (p *simPartition) Stage(m state.Manifest) (func(context.Context) error, error) {
	// Invariant I4: the step must be in the journal when it is made durable.
	commit, err := p.Partition.Stage(m)
	return func(ctx context.Context) error {
		err := p.c.pause(ctx, 60*time.Millisecond)
		if err == nil {
			err = p.c.pass(p.task, beforeLocal)
		}
		if err != nil || p.c.fail > 0 && p.c.odds(p.c.fail) {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			return errors.Join(errors.New("no space left"), err, commit(ended))
		}
		if !p.c.journaled(m) {
			panic(fmt.Sprintf("a checkpoint of step %d, which is not committed", m.Step))
		}
		if err := commit(ctx); err != nil {
			return err
		}
		return p.c.pass(p.task, afterLocal)
	}, err
}

func (b *simBroker) journaled(m state.Manifest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, log := range b.journal {
		for _, e := range log {
			if s, _, err := parseJournal(e.Value); err == nil && s != nil && s.Step == m.Step && s.Hash == m.Hash {
				return e.Offset >= m.Journal
			}
		}
	}
	return false
}

// header returns a header's text.
func header(r *connectors.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// id cuts the id out of a value of the tests, or of a row that crossed a repartition.
func id(value []byte) string {
	if len(value) > 0 && value[0] != '{' {
		for _, topic := range []string{"views-", "buys-"} {
			if i := strings.Index(string(value), topic); i > 0 {
				return string(value[i:][:value[i-1]])
			}
		}
	}
	_, rest, _ := strings.Cut(string(value), `"id":"`)
	v, _, _ := strings.Cut(rest, `"`)
	return v
}
