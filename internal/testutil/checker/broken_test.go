package checker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/internal/testutil/wait"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
)

// K5 is what [Check] leaves to a replay: the steps are what the operators make of the input.
const K5 Rule = "K5"

// wreck breaks a rule in an engine that runs for real: it stands between the engine and the brokers or the disk. Every
// function may be nil.
type wreck struct {
	commit  func(l *wreckedLog, ctx context.Context, s *connectors.Step) (int64, error)
	record  func(l *wreckedLog, s *Step, c *connectors.Step) // changes a step; its hash and the chain are made good
	read    func(l *wreckedLog, yield func(int64, []byte) error) func(int64, []byte) error
	offsets func(all []connectors.Position) []connectors.Position
	staged  func(commit func(context.Context) error, m state.Manifest) func(context.Context) error
	live    func(w *wrecks) // called by the task when it is restored, in the second life
	decode  func(value []byte)

	clean  bool                              // nothing is violated
	crash  bool                              // the first worker is cut off in mid-stream, a second goes on
	forget bool                              // without its state folder
	second func(e *engine, o *kafka.Options) // says what is special about a second worker, beside the first
	value  func(i int) string                // of an event
	want   Rule                              // that must be violated, perhaps among others
}

// wrecks is a wreck at work.
type wrecks struct {
	wreck
	t     *testing.T
	addrs []string

	mu     sync.Mutex
	head   map[int][32]byte // of the chain as written
	sent   map[uint64][]connectors.Output
	writer map[uint64]*wreckedLog // of steps
	bound  []state.Stateful
	broken int // how often the rule was broken
	once   atomic.Bool
	torn   atomic.Bool  // two have written the same step
	again  atomic.Bool  // the second life has begun
	rows   atomic.Int64 // committed, and rejected ones
}

func (w *wrecks) broke() { w.mu.Lock(); w.broken++; w.mu.Unlock() }

type wreckedCluster struct {
	connectors.Cluster
	w *wrecks
}

func (c *wreckedCluster) Log(task int) (connectors.TaskLog, error) {
	l, err := c.Cluster.Log(task)
	return &wreckedLog{TaskLog: l, w: c.w, task: task}, err
}

func (c *wreckedCluster) Feed(ctx context.Context, from []connectors.Position) (connectors.Feed, error) {
	f, err := c.Cluster.Feed(ctx, from)
	return &wreckedFeed{f, c.w}, err
}

type wreckedFeed struct {
	connectors.Feed
	w *wrecks
}

func (f *wreckedFeed) Poll(ctx context.Context, limit int, only *connectors.TopicPartition) (connectors.Fetch, error) {
	if f.w.live != nil && only == nil && f.w.again.Load() && f.w.once.CompareAndSwap(false, true) {
		f.w.live(f.w)
	}
	return f.Feed.Poll(ctx, limit, only)
}

type wreckedLog struct {
	connectors.TaskLog
	w    *wrecks
	task int
	open []byte
}

func (l *wreckedLog) Fence(ctx context.Context, open []byte) (int64, error) {
	l.open = slices.Clone(open)
	return l.TaskLog.Fence(ctx, open)
}

func (l *wreckedLog) Commit(ctx context.Context, s *connectors.Step) (int64, error) {
	c := *s
	if l.w.record != nil {
		l.rewrite(&c)
	}
	commit := l.TaskLog.Commit
	if l.w.commit != nil {
		commit = func(ctx context.Context, c *connectors.Step) (int64, error) { return l.w.commit(l, ctx, c) }
	}
	at, err := commit(ctx, &c)
	if rec, e := Parse(s.Journal); err == nil && e == nil && rec.Step != nil {
		l.w.mu.Lock()
		if by := l.w.writer[rec.Step.N]; by != nil && by != l {
			l.w.torn.Store(true)
		}
		l.w.writer[rec.Step.N] = l
		l.w.mu.Unlock()
		l.w.rows.Add(rec.Step.Rows + rec.Step.Rejected)
	}
	return at, err
}

// rewrite lets the wreck change the step's record, and makes it one of a chain that is whole.
func (l *wreckedLog) rewrite(c *connectors.Step) {
	rec, err := Parse(c.Journal)
	if err != nil || rec.Step == nil {
		return
	}
	l.w.mu.Lock()
	rec.Step.Prev = l.w.head[l.task]
	l.w.mu.Unlock()
	before := encodeStep(rec.Step)
	l.w.record(l, rec.Step, c)
	c.Journal = encodeStep(rec.Step)
	if !bytes.Equal(c.Journal, before) {
		l.w.broke()
	}
	c.Meta = fmt.Sprintf("%d %x", rec.Step.N, rec.Step.Hash[:8])
	l.w.mu.Lock()
	l.w.head[l.task] = rec.Step.Hash
	l.w.mu.Unlock()
}

func (l *wreckedLog) ReadJournal(ctx context.Context, from, to int64, yield func(int64, []byte) error) error {
	if l.w.read == nil {
		return l.TaskLog.ReadJournal(ctx, from, to, yield)
	}
	return l.TaskLog.ReadJournal(ctx, from, to, l.w.read(l, yield))
}

func (l *wreckedLog) Offsets(ctx context.Context) ([]connectors.Position, error) {
	all, err := l.TaskLog.Offsets(ctx)
	if l.w.offsets != nil {
		all = l.w.offsets(all)
	}
	return all, err
}

type wreckedStore struct {
	state.Store
	w *wrecks
}

func (s *wreckedStore) Open(task int) (state.Partition, error) {
	p, err := s.Store.Open(task)
	return &wreckedPartition{p, s.w}, err
}

type wreckedPartition struct {
	state.Partition
	w *wrecks
}

func (p *wreckedPartition) Bind(id state.ID, s state.Stateful) error {
	if id.Node != "@engine" {
		p.w.bound = append(p.w.bound, s)
	}
	return p.Partition.Bind(id, s)
}

func (p *wreckedPartition) Stage(m state.Manifest) (func(context.Context) error, error) {
	commit, err := p.Partition.Stage(m)
	if err == nil && p.w.staged != nil {
		commit = p.w.staged(commit, m)
	}
	return commit, err
}

// resend publishes outputs outside of any transaction.
func (w *wrecks) resend(outs []connectors.Output) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		w.t.Error(err)
		return
	}
	defer cl.Close()
	if err := cl.ProduceSync(w.t.Context(), recordsOf(outs)...).FirstErr(); err != nil {
		w.t.Error(err)
	}
	w.broke()
}

// takeOver has another owner take the lock and make the step that this one is about to commit.
func (w *wrecks) takeOver(l *wreckedLog, s *connectors.Step) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.addrs...), kgo.TransactionalID("clicks/0/out"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		w.t.Error(err)
		return
	}
	defer cl.Close()
	rec, err := Parse(l.open)
	if err != nil {
		w.t.Error(err)
		return
	}
	rec.Open.Incarnation = "another"
	for _, txn := range [][]connectors.Output{
		{{Topic: "clicks.journal", Record: connectors.Record{Value: encodeOpen(rec.Open)}}},
		append(s.Outputs.List(), connectors.Output{Topic: "clicks.journal", Record: connectors.Record{Value: s.Journal}}),
	} {
		err := cl.BeginTransaction()
		if err == nil {
			err = cl.ProduceSync(w.t.Context(), recordsOf(txn)...).FirstErr()
		}
		if err == nil {
			err = cl.EndTransaction(w.t.Context(), kgo.TryCommit)
		}
		if err != nil {
			w.t.Error(err)
		}
	}
}

func recordsOf(outs []connectors.Output) (all []*kgo.Record) {
	for _, o := range outs {
		r := &kgo.Record{Topic: o.Topic, Partition: o.Partition, Key: o.Key, Value: o.Value}
		for _, h := range o.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader(h))
		}
		all = append(all, r)
	}
	return all
}

// cloned returns copies of outputs, whose memory the engine uses again.
func cloned(o *connectors.Outputs) []connectors.Output {
	outs := o.List()
	for i := range outs {
		o := &outs[i]
		o.Key, o.Value, o.Headers = bytes.Clone(o.Key), bytes.Clone(o.Value), slices.Clone(o.Headers)
		for j := range o.Headers {
			o.Headers[j].Value = bytes.Clone(o.Headers[j].Value)
		}
	}
	return outs
}

// outputsOf lets a record say what the outputs are now.
func outputsOf(s *Step, c *connectors.Step) {
	var outs []*kgo.Record
	list := c.Outputs.List()
	for i := range list {
		o := &list[i]
		o.Headers[0].Value = fmt.Appendf(nil, "0/%d/%d", s.N, i)
		outs = append(outs, &kgo.Record{Topic: o.Topic, Partition: o.Partition, Key: o.Key, Value: o.Value})
	}
	c.Outputs = connectors.OutputsOf(list...)
	s.Outputs, s.OutHash = int64(len(outs)), hashOf(outs)
}

var probability = regexp.MustCompile(`"p":[0-9.e-]+`)

var errCrashed = errors.New("the process ends here")

// wreckage lists engines that are broken, each in one way.
var wreckage = map[string]func() wreck{
	"nothing": func() wreck {
		return wreck{clean: true, crash: true, record: func(*wreckedLog, *Step, *connectors.Step) {}}
	},
	"no fence": func() wreck { // a second worker writes under ids of its own
		return wreck{want: K8, second: func(_ *engine, o *kafka.Options) {
			o.Pipeline, o.Group, o.JournalTopic, o.StateTopic, o.InstanceID = "zombie", "zombie", "clicks.journal", "clicks.state", "w2"
		}}
	},
	"the lock taken again after it was lost": func() wreck { // without asking the group, and with what was in memory
		return wreck{want: I1, commit: func(l *wreckedLog, ctx context.Context, s *connectors.Step) (int64, error) {
			if s.StepNo == 3 {
				l.w.takeOver(l, s)
			}
			at, err := l.TaskLog.Commit(ctx, s)
			if errors.Is(err, connectors.ErrLost) {
				l.w.broke()
				if _, err := l.TaskLog.Fence(ctx, l.open); err != nil {
					return 0, err
				}
				return l.TaskLog.Commit(ctx, s)
			}
			return at, err
		}}
	},
	"the end of the journal read before it was stable": func() wreck {
		var last []byte // is never yielded
		return wreck{want: I1, crash: true, forget: true,
			read: func(l *wreckedLog, yield func(int64, []byte) error) func(int64, []byte) error {
				held, at := last, int64(0)
				return func(offset int64, b []byte) error {
					rec, err := Parse(b)
					if err != nil || rec.Step == nil {
						return yield(offset, b)
					}
					if held != nil {
						l.w.broke()
						if err := yield(at, held); err != nil {
							return err
						}
					}
					held, at = bytes.Clone(b), offset
					return nil
				}
			},
			offsets: func([]connectors.Position) []connectors.Position { return nil }}
	},
	"output during a replay": func() wreck {
		return wreck{want: K2, crash: true, forget: true,
			commit: func(l *wreckedLog, ctx context.Context, s *connectors.Step) (int64, error) {
				l.w.mu.Lock()
				l.w.sent[s.StepNo] = cloned(s.Outputs)
				l.w.mu.Unlock()
				return l.TaskLog.Commit(ctx, s)
			},
			read: func(l *wreckedLog, yield func(int64, []byte) error) func(int64, []byte) error {
				return func(offset int64, b []byte) error {
					if rec, err := Parse(b); err == nil && rec.Step != nil && rec.Step.N == 2 && l.w.once.CompareAndSwap(false, true) {
						l.w.resend(l.w.sent[2])
					}
					return yield(offset, b)
				}
			}}
	},
	"a checkpoint before its step is committed": func() wreck {
		var durable atomic.Uint64
		return wreck{want: I4,
			staged: func(commit func(context.Context) error, m state.Manifest) func(context.Context) error {
				err := commit(context.Background())
				durable.Store(m.Step)
				return func(context.Context) error { return err }
			},
			commit: func(l *wreckedLog, ctx context.Context, s *connectors.Step) (int64, error) {
				if durable.Load() >= s.StepNo {
					l.w.broke()
					return 0, errCrashed
				}
				time.Sleep(15 * time.Millisecond) // a checkpoint is due with the next step but one
				return l.TaskLog.Commit(ctx, s)
			}}
	},
	"computed again after an abort": func() wreck { // from the state that the first time has left
		return wreck{want: K5, record: func(_ *wreckedLog, s *Step, c *connectors.Step) {
			if s.N != 3 {
				return
			}
			list := c.Outputs.List()
			for i := range list {
				list[i].Value = probability.ReplaceAll(list[i].Value, []byte(`"p":0.25`))
			}
			c.Outputs = connectors.OutputsOf(list...)
			outputsOf(s, c)
		}}
	},
	"an output dropped when a step is sent again": func() wreck {
		return wreck{want: K2, commit: func(l *wreckedLog, ctx context.Context, s *connectors.Step) (int64, error) {
			if s.StepNo == 3 {
				s.Outputs = connectors.OutputsOf(s.Outputs.List()[1:]...)
				l.w.broke()
			}
			return l.TaskLog.Commit(ctx, s)
		}}
	},
	"a step sent again that was committed": func() wreck {
		return wreck{want: I1, commit: func(l *wreckedLog, ctx context.Context, s *connectors.Step) (int64, error) {
			if s.StepNo == 3 {
				l.w.broke()
				if _, err := l.TaskLog.Commit(ctx, s); err != nil {
					return 0, err
				}
			}
			return l.TaskLog.Commit(ctx, s)
		}}
	},
	"a step taken for committed that was not": func() wreck {
		return wreck{want: I1, commit: func(l *wreckedLog, ctx context.Context, s *connectors.Step) (int64, error) {
			if s.StepNo == 3 {
				l.w.broke()
				return 0, nil
			}
			return l.TaskLog.Commit(ctx, s)
		}}
	},
	"outputs outside of the transaction": func() wreck {
		return wreck{want: I2, commit: func(l *wreckedLog, ctx context.Context, s *connectors.Step) (int64, error) {
			if s.StepNo == 3 {
				l.w.resend(s.Outputs.List())
				s.Outputs = nil
			}
			return l.TaskLog.Commit(ctx, s)
		}}
	},
	"a run off by one": func() wreck {
		return wreck{want: K1, record: func(_ *wreckedLog, s *Step, _ *connectors.Step) {
			if s.N == 3 {
				s.Runs[len(s.Runs)-1].Next--
			}
		}}
	},
	"a hash of another step in the chain": func() wreck {
		return wreck{want: I1, record: func(_ *wreckedLog, s *Step, _ *connectors.Step) {
			if s.N == 3 {
				s.Prev[7]++
			}
		}}
	},
	"a clock that goes back": func() wreck {
		return wreck{want: I1, record: func(_ *wreckedLog, s *Step, _ *connectors.Step) {
			if s.N == 3 {
				s.Clock -= 1e7
			}
		}}
	},
	"positions ahead of what was published": func() wreck {
		return wreck{want: K4, commit: func(l *wreckedLog, ctx context.Context, s *connectors.Step) (int64, error) {
			s.Offsets = slices.Clone(s.Offsets)
			for i := range s.Offsets {
				s.Offsets[i].Next++
			}
			l.w.broke()
			return l.TaskLog.Commit(ctx, s)
		}}
	},
	"a restored state that is not compared": func() wreck { // it is damaged on the way, behind all that compares
		return wreck{want: K5, crash: true, live: func(w *wrecks) {
			for _, s := range w.bound {
				var key, value []byte
				s.All(func(k, v []byte) bool { key, value = bytes.Clone(k), bytes.Clone(v); return len(v) == 0 })
				for i := range value {
					value[i] ^= 1
					if s.Load(key, value) == nil {
						w.broke()
					} else { // no such value can be
						value[i] ^= 1
					}
				}
			}
		}}
	},
	"a skip that the journal does not have": func() wreck {
		return wreck{want: K2, record: func(_ *wreckedLog, s *Step, _ *connectors.Step) { s.Skips = nil },
			decode: func(value []byte) {
				if bytes.Contains(value, []byte("panic")) {
					panic("told to")
				}
			},
			value: func(i int) string {
				if i == 150 {
					return `{"id":150,"user":"panic"}`
				}
				return ""
			}}
	},
	"rejected records thrown away": func() wreck {
		return wreck{want: K11, record: func(_ *wreckedLog, s *Step, c *connectors.Step) {
			n := c.Outputs.Len()
			c.Outputs = connectors.OutputsOf(slices.DeleteFunc(c.Outputs.List(), func(o connectors.Output) bool { return o.Topic == "clicks.errors" })...)
			if c.Outputs.Len() < n {
				s.Rejected = 0
				outputsOf(s, c)
			}
		}}
	},
}

// TestBrokenEngines lets engines that break one rule run for real: the checker, or a replay of what they left, says so. An
// engine between the same hooks that breaks none passes.
func TestBrokenEngines(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(wreckage)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Where a crash falls decides whether what is broken shows.
			for try := 1; ; try++ {
				w, found := wrecked(t, wreckage[name]())
				switch {
				case w.clean && len(found) > 0:
					t.Fatalf("nothing is broken, but %v", found)
				case w.clean || found[w.want] != "":
					t.Logf("violated: %v %s", slices.Sorted(maps.Keys(found)), found[w.want])
					return
				case try < 3:
					t.Logf("try %d: %v is not violated by %d breaks, but %v", try, w.want, w.broken, found)
				case w.second == nil && w.broken == 0:
					t.Fatal("nothing was broken")
				default:
					t.Fatalf("%v is not violated, but %v", w.want, found)
				}
			}
		})
	}
}

// wrecked runs an engine with one thing broken and returns what is violated.
func wrecked(t *testing.T, what wreck) (*wrecks, map[Rule]string) {
	b, err := kafka.StartEmbedded(t.Context(), kafka.EmbeddedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	e := newEngine(t, "1", []string{b.Addr()})
	w := &wrecks{wreck: what, t: t, addrs: e.addrs, head: map[int][32]byte{}, sent: map[uint64][]connectors.Output{}, writer: map[uint64]*wreckedLog{}}
	e.wrecks = w
	w.run(e)
	return w, w.judge(e)
}

// run lets the engine work for a while: some steps, a crash or a second worker if there shall be one, some steps more.
func (w *wrecks) run(e *engine) {
	const half = 400 // of 100 rows a step, at most
	l := e.start()
	e.produce(half)
	w.reach(l, half)
	var other *life
	switch {
	case w.crash:
		l.abandon()
		if w.forget {
			if err := os.RemoveAll(filepath.Join(e.dir, "state")); err != nil {
				w.t.Fatal(err)
			}
		}
		w.bound = nil
		w.again.Store(true)
		l = e.start()
	case w.second != nil:
		other = e.startAs(filepath.Join(e.dir, "second"), func(o *kafka.Options) { w.second(e, o) })
		for e.ctx.Err() == nil && !other.ended && !other.far(0) {
			_ = other.pause()
		}
	}
	e.produce(half)
	w.reach(l, 2*half)
	if other != nil {
		for k := 0; k < 100 && e.ctx.Err() == nil && !w.torn.Load() && !l.ended && !other.ended; k++ { // until both have written
			e.produce(20)
			_, _ = l.pause(), other.pause()
		}
		_ = other.stop()
	}
	if err := l.stop(); err != nil {
		w.t.Log("the worker ended with", err)
	}
}

// reach waits until n records were committed, or the worker has ended.
func (w *wrecks) reach(l *life, n int64) {
	for l.e.ctx.Err() == nil && !l.ended && w.rows.Load() < n {
		_ = l.pause()
	}
}

// judge returns what is violated: what the checker finds, and what comes out differently in a replay.
func (w *wrecks) judge(e *engine) map[Rule]string {
	store, err := pebblestore.Open(filepath.Join(e.dir, "state"), pebblestore.Options{ReadOnly: true})
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	report, err := Check(e.ctx, e.options(nil, []State{store}, w.clean))
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[Rule]string{}
	for _, v := range report.Violations {
		if found[v.Rule] == "" {
			found[v.Rule] = v.String()
		}
	}
	k := e.open(0)
	defer k.Close()
	if _, err := run.Rebuild(e.ctx, e.p, k, run.RebuildOptions{Formats: formats}); err != nil {
		found[K5] = err.Error()
	}
	return found
}

// abandon ends a life as a crash does; it may have ended before.
func (l *life) abandon() {
	_ = l.k.Close()
	if !l.ended {
		_ = wait.For(l.e.t, "the worker", l.done)
	}
	l.cancel()
	_ = l.store.Close()
}

// wreckedFormats has a decoder that breaks.
func wreckedFormats(w *wrecks) run.Formats {
	if w == nil || w.decode == nil {
		return formats
	}
	f := formats
	f.NewDecoder = func(format string, s *batch.Schema) (connectors.Decoder, error) {
		d, err := formats.NewDecoder(format, s)
		return &wreckedDecoder{d, w}, err
	}
	return f
}

type wreckedDecoder struct {
	connectors.Decoder
	w *wrecks
}

func (d *wreckedDecoder) Decode(value []byte, dst *batch.Batch) (int, error) {
	d.w.decode(value)
	return d.Decoder.Decode(value, dst)
}

func isPoison(r *kgo.Record) int {
	if bytes.Contains(r.Value, []byte(`"user":17`)) || strings.Contains(string(r.Value), "panic") {
		return 1
	}
	return 0
}
