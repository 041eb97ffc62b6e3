package run_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/evaluate"
	"github.com/gradstream/gradstream/operators/feature"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/operators/route"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
)

const ads = `
pipeline: NAME
kafka: {brokers: embedded}
tasks: 2
commit: {interval: 20ms, rows: 50}
checkpoint: {local: 50ms}
sources:
  ads:
    topic: NAME.ads
    partitions: 4
    schema: {id: int64, user: string, site: string, price: float64?, text: string?, y: bool?}
operators:
  features:
    from: ads
    vectorize: {bits: 12, numeric: [price], categorical: [user, site], CROSS}
  ctr:
    from: features
    logistic_regression: {label: y, optimizer: adagrad}
  renamed:
    from: ctr
    select: {columns: {id: id, user: user, p: ctr.probability, s: ctr.score, version: ctr.version}}
  quality:
    from: ctr
    evaluate: {prediction: ctr, label: y, metrics: [accuracy], every: 100}
sinks:
  metrics: {from: quality, topic: NAME.metrics}
  packed: {from: renamed, topic: NAME.packed, format: arrow}
  plain: {from: features, topic: NAME.plain, columns: {id: id}}
  predictions:
    from: renamed
    topic: NAME.predictions
    key: user
    partitions: 3
    headers: full
`

func loadAds(t testing.TB, name, cross string, more ...string) *pipeline.Pipeline {
	t.Helper()
	text := strings.NewReplacer(append([]string{"NAME", name, "CROSS", cross}, more...)...).Replace(ads)
	p, errs := pipeline.Parse("ads.yaml", []byte(text), pipeline.Options{Registry: operators.Merge(&feature.Family, &learn.Family, &evaluate.Family, &route.Family, &trapFamily)})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

// trapFamily has an operator that panics on some events.
var trapFamily operators.Family

type trapConfig struct{ id spec.Column }

func (c *trapConfig) Fields(f *spec.Fields) { f.Column(&c.id, "id", "id", "Number of the event.") }

type trap struct{ id operators.Col }

func (o *trap) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	for _, id := range o.id.Of(in).Ints {
		if id%400 == 33 {
			panic("a trap")
		}
	}
	return out.Emit(in)
}

var _ = trapFamily.Add(operators.Define(operators.Spec[trapConfig]{
	Name: "trap",
	Build: func(c *trapConfig, env *operators.Env) operators.Operator {
		return &trap{env.In(c.id, batch.Int64)}
	},
}))

type ad struct {
	ID         int
	User, Site string
	Price      *float64
	Text       *string
	Y          *bool
}

func adEvents(n int) [][]byte {
	rng := rand.New(rand.NewPCG(5, 6))
	words := strings.Fields("Buy one get two free shoes and a hat, or a coat")
	all := make([][]byte, n)
	for i := range all {
		price, text := strconv.FormatFloat(100*rng.ExpFloat64(), 'f', 2, 64), `"`+words[rng.IntN(11)]+" "+words[rng.IntN(11)]+" "+words[rng.IntN(11)]+`"`
		if i%17 == 0 {
			price = "null"
		}
		if i%13 == 0 {
			text = "null"
		}
		u := rng.IntN(40)
		y := strconv.FormatBool(rng.IntN(40) < u)
		if i%10 == 0 {
			y = "null"
		}
		all[i] = fmt.Appendf(nil, `{"id":%d,"user":"u%d","site":"s%d","price":%s,"text":%s,"y":%s}`, i, u, rng.IntN(9), price, text, y)
		if i%50 == 7 {
			all[i] = fmt.Appendf(nil, `{"id":%d}`, i)
		}
	}
	return all
}

// crashed runs a pipeline over n events, cut off from the brokers twice, and
// leaves it running.
func crashed(t *testing.T, c *cluster, dir string, all [][]byte) *life {
	t.Helper()
	n := len(all)
	for round := range 2 {
		l := c.start(dir, run.Options{PollRows: 50})
		c.produce(all[round*n/3 : (round+1)*n/3])
		l.await(2, int64(n/3*round+n/6))
		_ = l.k.Close()
		if err := l.end(); err == nil {
			t.Fatal("the worker ended without an error though its connections were cut")
		}
		if err := l.store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := c.start(dir, run.Options{PollRows: 50})
	c.produce(all[2*n/3:])
	return l
}

func (c *cluster) rebuild(past connectors.History, o run.RebuildOptions) (*run.Rebuilt, error) {
	o.Formats, o.Log = formats, logger(c.t)
	return run.Rebuild(c.t.Context(), c.p, past, o)
}

// digestOf is the digest of a checkpoint, from its entries alone.
func digestOf(t *testing.T, s state.Inspector, task int) (sum uint64) {
	t.Helper()
	handles, err := s.Handles(task)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range handles {
		sum ^= state.Digest(h.ID, entriesOf{s, task, h.ID})
	}
	return sum
}

type entriesOf struct {
	s    state.Inspector
	task int
	id   state.ID
}

func (e entriesOf) All(yield func(key, value []byte) bool) { _ = e.s.Entries(e.task, e.id, yield) }
func (e entriesOf) Changed(func(key, value []byte) bool)   {}
func (e entriesOf) Load([]byte, []byte) error              { return nil }

// TestRebuild rebuilds the state of a pipeline that crashed twice, while it runs
// and after, and finds what was tampered with.
func TestRebuild(t *testing.T) {
	const n = 6000
	p := loadAds(t, "ads", "cross: [[user, site]]", "{local: 50ms}", "{local: 10ms}") // so that every task has digests, however fast it is
	c := newCluster(t, p, nil)
	dir := t.TempDir()
	l := crashed(t, c, dir, adEvents(n))
	past := c.open(0, "")
	defer past.Close()

	l.await(2, n/2)
	live := 0
	for task := range 2 {
		r, err := c.rebuild(past, run.RebuildOptions{Task: task})
		if err != nil {
			t.Fatal(err)
		}
		if r.Step == 0 || r.Step != r.Last || r.Rows == 0 || r.Outputs < r.Rows || r.From != 0 {
			t.Errorf("rebuilt beside the running pipeline: %+v", r)
		}
		live += int(r.Rows)
	}
	l.await(2, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows rebuilt while the pipeline ran", live)

	store, err := pebblestore.Open(dir+"/state", pebblestore.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	rows := int64(0)
	var last *run.Rebuilt
	for task := range 2 {
		m, _, err := store.Manifest(task)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.rebuild(past, run.RebuildOptions{Task: task})
		if err != nil {
			t.Fatal(err)
		}
		if want := digestOf(t, store, task); r.Step != m.Step || r.Hash != m.Hash || r.Digest != want || digestOf(t, r, task) != want {
			t.Errorf("task %d: rebuilt step %d with digest %x, the checkpoint is of step %d with %x", task, r.Step, r.Digest, m.Step, want)
		}
		if r.Digests == 0 {
			t.Errorf("task %d: no digest was compared in %d steps", task, r.Step)
		}
		rows += r.Rows
		last = r
		// Every step on the way, the same whether it was begun from nothing or not.
		compared := 0
		for _, to := range []uint64{1, 2, r.Step / 3, r.Step / 2, r.Step - 1} {
			some, err := c.rebuild(past, run.RebuildOptions{Task: task, To: to, BatchRows: 1})
			if err != nil {
				t.Fatalf("task %d to step %d: %v", task, to, err)
			}
			if some.Step != to || some.Last != r.Step || some.Digest == r.Digest {
				t.Errorf("task %d to step %d: %+v", task, to, some)
			}
			if some.Journaled != nil {
				compared++
			}
			on, err := c.rebuild(past, run.RebuildOptions{Task: task, Checkpoint: withMeta{some, m}})
			if err != nil {
				t.Fatalf("task %d from step %d: %v", task, to, err)
			}
			if on.From != to || on.Digest != r.Digest || on.Rows != r.Rows-some.Rows {
				t.Errorf("task %d from step %d: %+v", task, to, on)
			}
		}
		t.Logf("task %d: %d steps, %d with a digest", task, r.Step, r.Digests)
	}
	if rows != n-n/50 {
		t.Errorf("%d rows were replayed of %d", rows, n-n/50)
	}

	t.Run("tampered", func(t *testing.T) { testTampered(t, c, past, last) })
	t.Run("accepted", func(t *testing.T) { testAccepted(t, c, past, last) })
	t.Run("requests", func(t *testing.T) {
		for _, o := range []struct {
			o    run.RebuildOptions
			want string
		}{
			{run.RebuildOptions{Task: 2}, "no task 2: pipeline ads has 2 tasks, 0 to 1"},
			{run.RebuildOptions{Task: -1}, "no task -1"},
			{run.RebuildOptions{Task: 1, To: last.Step + 1}, fmt.Sprintf("task 1 has no step %d: its journal ends at step %d", last.Step+1, last.Step)},
			{run.RebuildOptions{Task: 1, To: 3, Checkpoint: store}, fmt.Sprintf("holds step %d, and there is no way back to step 3", last.Step)},
		} {
			_, err := c.rebuild(past, o.o)
			var wrong *run.WrongRequest
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), o.want) {
				t.Errorf("%+v: %v; want %s", o.o, err, o.want)
			}
		}
	})
}

// withMeta is a rebuilt state as a checkpoint that may be read from any offset of
// the journal.
type withMeta struct {
	*run.Rebuilt
	m state.Manifest
}

func (c withMeta) Manifest(task int) (state.Manifest, bool, error) {
	m, ok, err := c.Rebuilt.Manifest(task)
	m.Meta = c.m.Meta
	return m, ok, err
}

// tampered changes what is read.
type tampered struct {
	connectors.History
	journal func(b []byte) []byte             // a record of the journal; nil drops it
	input   func(r *connectors.Record) []byte // value of an input record
}

func (h *tampered) ReadLog(ctx context.Context, tp connectors.TopicPartition, from int64, yield func(r *connectors.Record) error) error {
	return h.History.ReadLog(ctx, tp, from, func(r *connectors.Record) error {
		if h.journal == nil || !strings.HasSuffix(tp.Topic, ".journal") {
			return yield(r)
		}
		c := *r
		if c.Value = h.journal(slices.Clone(r.Value)); c.Value == nil {
			return nil
		}
		return yield(&c)
	})
}

func (h *tampered) Feed(ctx context.Context, from []connectors.Position) (connectors.Feed, error) {
	f, err := h.History.Feed(ctx, from)
	return &tamperedFeed{f, h}, err
}

type tamperedFeed struct {
	connectors.Feed
	h *tampered
}

func (f *tamperedFeed) Poll(ctx context.Context, limit int, only *connectors.TopicPartition) (connectors.Fetch, error) {
	got, err := f.Feed.Poll(ctx, limit, only)
	for i := range got.Records {
		if f.h.input != nil {
			got.Records[i].Value = f.h.input(&got.Records[i])
		}
	}
	return got, err
}

// rehashed gives a step record whose bytes were changed the hash that fits them.
func rehashed(b []byte) []byte {
	body := b[:len(b)-sha256.Size]
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

// outHash returns where in a step record the hash of the outputs lies, as
// docs/format/journal.md says. What follows it depends on the step: a digest, fields.
func outHash(b []byte) int {
	at := 2
	number := func() uint64 {
		v, n := binary.Uvarint(b[at:])
		at += n
		return v
	}
	number() // step
	at += sha256.Size
	number() // clock
	number() // watermark
	for range 3 * number() {
		number() // source, partition, next
	}
	for range 3 {
		number() // rows, rejected, outputs
	}
	return at
}

func testTampered(t *testing.T, c *cluster, past connectors.History, last *run.Rebuilt) {
	isStep := func(b []byte) bool { return b[1] == 's' }
	steps := 0
	fourth := func(b []byte) bool {
		n, _ := binary.Uvarint(b[2:])
		return isStep(b) && n == 4
	}
	for _, x := range []struct {
		name string
		h    tampered
		want string
	}{
		{"a bit of the journal", tampered{journal: func(b []byte) []byte {
			if fourth(b) {
				b[len(b)/2] ^= 4
			}
			return b
		}}, "does not match its hash|malformed journal record"},
		{"a step rewritten", tampered{journal: func(b []byte) []byte {
			if fourth(b) {
				b[outHash(b)] ^= 1
				b = rehashed(b)
			}
			return b
		}}, "replay of step \\d+ diverged"},
		{"the last step rewritten", tampered{journal: func(b []byte) []byte {
			if isStep(b) && bytes.HasSuffix(b, last.Hash[:]) {
				b[outHash(b)] ^= 1
				b = rehashed(b)
			}
			return b
		}}, fmt.Sprintf("replay of step %d diverged", last.Step)},
		{"a step left out", tampered{journal: func(b []byte) []byte {
			if fourth(b) {
				return nil
			}
			return b
		}}, "step \\d+ does not follow step \\d+"},
		{"the start trimmed", tampered{journal: func(b []byte) []byte {
			if isStep(b) {
				if steps++; steps <= 5 {
					return nil
				}
			}
			return b
		}}, "the journal begins at step 6: .* start from a checkpoint of step 5 or later"},
		{"an event changed", tampered{input: func(r *connectors.Record) []byte {
			return bytes.Replace(r.Value, []byte(`"id":1001,"user":"u`), []byte(`"id":1001,"user":"v`), 1)
		}}, "task \\d: replay of step \\d+ diverged: it makes \\d+ outputs"},
		{"a label changed", tampered{input: func(r *connectors.Record) []byte {
			if strings.HasPrefix(string(r.Value), `{"id":1001,`) {
				return []byte(strings.NewReplacer(`"y":true`, `"y":false`, `"y":false`, `"y":true`).Replace(string(r.Value)))
			}
			return r.Value
		}}, "task \\d: replay of step \\d+ diverged"},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.h.History = past
			var errs []error
			for task := range 2 { // an event is of one of them
				steps = 0
				_, err := c.rebuild(&x.h, run.RebuildOptions{Task: task})
				errs = append(errs, err)
			}
			err := errors.Join(errs...)
			if err == nil || !regexp.MustCompile(x.want).MatchString(err.Error()) {
				t.Errorf("%v; want %s", err, x.want)
			}
			var wrong *run.WrongRequest
			if errors.As(err, &wrong) {
				t.Errorf("%v is taken for a wrong request", err)
			}
			t.Log(err)
		})
	}
	t.Run("another file", func(t *testing.T) {
		other := &cluster{t: t, addrs: c.addrs, p: loadAds(t, "ads", "cross: [[user, site]]", "{label: y, optimizer", "{label: y, l2: 0.001, optimizer")}
		_, err := other.rebuild(past, run.RebuildOptions{})
		if err == nil || !regexp.MustCompile(`task 0: steps 1 to \d+ were made by another pipeline file`).MatchString(err.Error()) {
			t.Error(err)
		}
	})
}

// testAccepted puts a record into the journal that accepts the loss of nothing: all
// goes on as if it were not there. One that gives steps up leads elsewhere.
func testAccepted(t *testing.T, c *cluster, past connectors.History, last *run.Rebuilt) {
	at := last.Step / 2
	half, err := c.rebuild(past, run.RebuildOptions{Task: last.Task, To: at})
	if err != nil {
		t.Fatal(err)
	}
	m, _, _ := half.Manifest(last.Task)
	record := func(base uint64) []byte {
		b := []byte("\x02a\x0aaccept_gap\x04gone")
		b = append(binary.AppendUvarint(b, at), half.Hash[:]...)
		b = binary.AppendVarint(binary.AppendUvarint(b, base), half.Clock)
		b = binary.AppendUvarint(b, uint64(len(m.Positions)))
		for _, p := range m.Positions {
			b = binary.AppendVarint(binary.AppendUvarint(append(b, 0), uint64(p.Partition)), p.Next)
		}
		b = append(b, 0)
		sum := sha256.Sum256(b)
		return append(b, sum[:]...)
	}
	for _, x := range []struct {
		base     uint64
		to       uint64
		diverges bool
	}{{at, 0, false}, {at, at, false}, {at - 3, at, false}, {at - 3, 0, true}, {0, at + 1, true}} {
		h := &inserted{History: past, behind: half.Hash, record: record(x.base)}
		r, err := c.rebuild(h, run.RebuildOptions{Task: last.Task, To: x.to})
		want := last.Digest
		if x.to > 0 {
			want = half.Digest
		}
		switch {
		case h.n == 0:
			t.Fatal("the record was not inserted")
		case x.diverges:
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("replay of step %d diverged", at+1)) {
				t.Errorf("the state of step %d taken behind step %d: %v", x.base, at, err)
			}
		case err != nil:
			t.Errorf("the state of step %d taken behind step %d, to step %d: %v", x.base, at, x.to, err)
		case r.Digest != want:
			t.Errorf("the state of step %d taken behind step %d, to step %d: digest %x, want %x", x.base, at, x.to, r.Digest, want)
		}
	}
}

// inserted is a history with one more record in the journal.
type inserted struct {
	connectors.History
	behind state.Hash
	record []byte
	n      int
}

func (h *inserted) ReadLog(ctx context.Context, tp connectors.TopicPartition, from int64, yield func(r *connectors.Record) error) error {
	return h.History.ReadLog(ctx, tp, from, func(r *connectors.Record) error {
		if err := yield(r); err != nil || !bytes.HasSuffix(r.Value, h.behind[:]) {
			return err
		}
		h.n++
		return yield(&connectors.Record{Offset: r.Offset, Value: h.record})
	})
}
