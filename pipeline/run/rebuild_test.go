package run_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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
	tables "github.com/gradstream/gradstream/state/weights"
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
    logistic_regression: {label: y}
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
		if err := <-l.done; err == nil {
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
	p := loadAds(t, "ads", "cross: [[user, site]]")
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
	journal func(i int, b []byte) []byte      // record number i of the journal; nil drops it
	input   func(r *connectors.Record) []byte // value of an input record
}

func (h *tampered) ReadLog(ctx context.Context, tp connectors.TopicPartition, from int64, yield func(r *connectors.Record) error) error {
	i := -1
	return h.History.ReadLog(ctx, tp, from, func(r *connectors.Record) error {
		if i++; h.journal == nil || !strings.HasSuffix(tp.Topic, ".journal") {
			return yield(r)
		}
		c := *r
		if c.Value = h.journal(i, slices.Clone(r.Value)); c.Value == nil {
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

func testTampered(t *testing.T, c *cluster, past connectors.History, last *run.Rebuilt) {
	isStep := func(b []byte) bool { return b[1] == 's' }
	steps := 0
	for _, x := range []struct {
		name string
		h    tampered
		want string
	}{
		{"a bit of the journal", tampered{journal: func(i int, b []byte) []byte {
			if i == 20 {
				b[len(b)/2] ^= 4
			}
			return b
		}}, "does not match its hash|malformed journal record"},
		{"a step rewritten", tampered{journal: func(i int, b []byte) []byte {
			if i == 20 && isStep(b) {
				b[len(b)-sha256.Size-2] ^= 1 // of the hash of the outputs or the digest
				b = rehashed(b)
			}
			return b
		}}, "replay of step \\d+ diverged|malformed"},
		{"the last step rewritten", tampered{journal: func(i int, b []byte) []byte {
			if isStep(b) && bytes.HasSuffix(b, last.Hash[:]) {
				b[len(b)-sha256.Size-4] ^= 1
				b = rehashed(b)
			}
			return b
		}}, fmt.Sprintf("replay of step %d diverged", last.Step)},
		{"a step left out", tampered{journal: func(i int, b []byte) []byte {
			if i == 20 {
				return nil
			}
			return b
		}}, "step \\d+ does not follow step \\d+"},
		{"the start trimmed", tampered{journal: func(i int, b []byte) []byte {
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
		other := &cluster{t: t, addrs: c.addrs, p: loadAds(t, "ads", "cross: [[user, site]]", "{label: y}", "{label: y, l2: 0.001}")}
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

// TestExplain takes random predictions of a pipeline that crashed twice, and is
// running, apart: the score is the sum of the parts, and the probability is the
// one that was published, bit for bit.
func TestExplain(t *testing.T) {
	for name, cross := range map[string]string{
		"plain":  "scale: standard",
		"cross":  "scale: standard, cross: [[user, site]]",
		"text":   "scale: standard, cross: [[user, site], [site, user]], text: [text], ngrams: 2",
		"counts": "scale: minmax, text: [text], tokens: count",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, loadAds(t, name, cross), nil)
			picks := 25
			if name == "cross" {
				picks = 100
			}
			testExplain(t, c, picks)
		})
	}
}

// TestExplainBehindQuarantine takes the predictions of steps apart in which records
// were quarantined.
func TestExplainBehindQuarantine(t *testing.T) {
	const n = 1200
	p := loadAds(t, "traps", "cross: [[user, site]]", "from: features\n    logistic", "from: trap\n    logistic", "  ctr:\n", "  trap: {from: features, trap: {}}\n  ctr:\n")
	c := newCluster(t, p, adEvents(n))
	l := c.start(t.TempDir(), run.Options{})
	l.await(2, n)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	past := c.open(0, "")
	defer past.Close()
	quarantined := map[[2]uint64]bool{} // task and step
	for _, r := range c.read("traps.errors") {
		if headerOf(&r, "gradstream-quarantined") == "true" {
			id, err := run.ParseOutputID(headerOf(&r, "gs-id"))
			if err != nil {
				t.Fatal(err)
			}
			quarantined[[2]uint64{uint64(id.Task), id.Step}] = true
			_, err = run.Explain(t.Context(), p, past, id, run.RebuildOptions{Formats: formats})
			if err == nil || !strings.Contains(err.Error(), "is a rejected record") || !strings.Contains(err.Error(), "a trap") {
				t.Errorf("a quarantined record: %v", err)
			}
		}
	}
	explained := 0
	for _, r := range c.read("traps.predictions") {
		id, err := run.ParseOutputID(headerOf(&r, "gs-id"))
		if err != nil {
			t.Fatal(err)
		}
		if !quarantined[[2]uint64{uint64(id.Task), id.Step}] || id.Index%3 > 0 {
			continue
		}
		x, err := run.Explain(t.Context(), p, past, id, run.RebuildOptions{Formats: formats})
		if err != nil {
			t.Fatalf("%v: %v", id, err)
		}
		if !x.Equal || !bytes.Equal(x.Published.Value, r.Value) {
			t.Errorf("%v: %s is explained as %s", id, r.Value, x.Output.Value)
		}
		explained++
	}
	if len(quarantined) == 0 || explained < 10 {
		t.Errorf("%d predictions explained of %d steps with quarantined records", explained, len(quarantined))
	}
	t.Logf("%d predictions explained of %d steps with quarantined records", explained, len(quarantined))
}

func testExplain(t *testing.T, c *cluster, picks int) {
	const n = 1500
	all := adEvents(n)
	l := crashed(t, c, t.TempDir(), all)
	l.await(2, n)
	defer func() {
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	}()
	past := c.open(0, "")
	defer past.Close()
	records := c.read(c.p.Name + ".predictions")
	if len(records) != n-n/50 {
		t.Fatalf("%d predictions of %d events", len(records), n)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	nulls, firsts := 0, 0
	for i := range picks {
		r := records[rng.IntN(len(records))]
		for i < 3 && !isFirst(records, &r) {
			r = records[rng.IntN(len(records))]
		}
		id, err := run.ParseOutputID(headerOf(&r, "gs-id"))
		if err != nil {
			t.Fatal(err)
		}
		x, err := run.Explain(t.Context(), c.p, past, id, run.RebuildOptions{Formats: formats, Log: logger(t)})
		if err != nil {
			t.Fatalf("%v: %v", id, err)
		}
		if !x.Equal || x.Published == nil || !bytes.Equal(x.Published.Value, r.Value) || x.Published.Offset != r.Offset {
			t.Fatalf("%v: computed again as %s, published as %+v", id, x.Output.Value, x.Published)
		}
		var row struct {
			ID      int
			P, S    json.Number
			Version int64
		}
		if err := json.Unmarshal(r.Value, &row); err != nil {
			t.Fatal(err)
		}
		if len(x.Learners) != 1 || x.Learners[0].Node != "ctr" || headerOf(&r, "gs-source") != fmt.Sprintf("%s/%d/%d", x.Source.Topic, x.Partition, x.Offset) {
			t.Fatalf("%v: %+v", id, x)
		}
		ctr := x.Learners[0]
		p, _ := strconv.ParseFloat(row.P.String(), 64)
		s, _ := strconv.ParseFloat(row.S.String(), 64)
		if math.Float64bits(s) != math.Float64bits(ctr.Sum) || ctr.Columns[0].Name != "ctr.score" || ctr.Columns[0].Text != row.S.String() {
			t.Fatalf("%v: the parts add up to %v, published is %s", id, ctr.Sum, row.S)
		}
		if math.Float64bits(p) != math.Float64bits(ctr.Columns[1].Real) || ctr.Columns[1].Name != "ctr.probability" || ctr.Columns[1].Text != row.P.String() {
			t.Fatalf("%v: probability %+v, published is %s", id, ctr.Columns[1], row.P)
		}
		if 1/(1+math.Exp(-ctr.Sum))-p > 1e-15 || p-1/(1+math.Exp(-ctr.Sum)) > 1e-15 {
			t.Fatalf("%v: a score of %v has the probability %v", id, ctr.Sum, p)
		}
		if ctr.Columns[3].Text != strconv.FormatInt(row.Version, 10) {
			t.Fatalf("%v: %+v, published is version %d", id, ctr.Columns[3], row.Version)
		}
		if ctr.Columns[2].Null {
			nulls++
		}
		checkParts(t, c.p, all[row.ID], &ctr)
		if i < 3 && id.Step > 1 {
			firsts++
			checkWeights(t, c, past, id, &ctr)
		}
	}
	if picks >= 100 && nulls == 0 || firsts == 0 {
		t.Errorf("%d events without a label and %d first ones of a later step are among %d", nulls, firsts, picks)
	}
	testNoPrediction(t, c, past)
}

func headerOf(r *connectors.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// isFirst reports whether a prediction is the first of its step.
func isFirst(records []connectors.Record, r *connectors.Record) bool {
	id, _ := run.ParseOutputID(headerOf(r, "gs-id"))
	for i := range records {
		if o, _ := run.ParseOutputID(headerOf(&records[i], "gs-id")); o.Task == id.Task && o.Step == id.Step && o.Index < id.Index {
			return false
		}
	}
	return true
}

// checkWeights compares the weights of a step's first prediction with the state
// behind the step before.
func checkWeights(t *testing.T, c *cluster, past connectors.History, id run.OutputID, l *run.ExplainedLearner) {
	t.Helper()
	r, err := c.rebuild(past, run.RebuildOptions{Task: id.Task, To: id.Step - 1})
	if err != nil {
		t.Fatal(err)
	}
	want := tableOf(t, r, id.Task, "ctr")
	for _, part := range l.Parts {
		if have := want(part.Index); math.Float32bits(have) != math.Float32bits(part.Weight) {
			t.Errorf("%v: weight %d is %v, behind step %d it is %v", id, part.Index, part.Weight, id.Step-1, have)
		}
	}
}

// checkParts compares the names of the parts with the event.
func checkParts(t *testing.T, p *pipeline.Pipeline, event []byte, l *run.ExplainedLearner) {
	t.Helper()
	var e ad
	if err := json.Unmarshal(event, &e); err != nil {
		t.Fatal(err)
	}
	var want []string
	if e.Price != nil {
		want = append(want, "price="+strconv.FormatFloat(*e.Price, 'f', -1, 64))
	}
	want = append(want, "user="+e.User, "site="+e.Site)
	switch p.Name {
	case "plain", "counts":
	case "text":
		want = append(want, "user*site="+e.User+"*"+e.Site, "site*user="+e.Site+"*"+e.User)
	default:
		want = append(want, "user*site="+e.User+"*"+e.Site)
	}
	if e.Text != nil && (p.Name == "text" || p.Name == "counts") {
		words := strings.Fields(strings.ToLower(strings.ReplaceAll(*e.Text, ",", "")))
		var runs []string
		for i, w := range words {
			runs = append(runs, "text="+w)
			if i > 0 && p.Name == "text" {
				runs = append(runs, "text="+words[i-1]+" "+w)
			}
		}
		slices.Sort(runs)
		want = append(want, slices.Compact(runs)...)
	}
	var have []string
	for _, part := range l.Parts {
		have = append(have, strings.Join(part.Columns, "*")+"="+strings.Join(part.Values, "*"))
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("event %s: features %v, want %v", event, have, want)
	}
}

// testNoPrediction asks for outputs that are no predictions.
func testNoPrediction(t *testing.T, c *cluster, past connectors.History) {
	first := func(topic string) run.OutputID {
		records := c.read(c.p.Name + "." + topic)
		id, err := run.ParseOutputID(headerOf(&records[0], "gs-id"))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	beyond := first("predictions")
	beyond.Index = 1 << 20
	late := beyond
	late.Step = 1 << 40
	for _, x := range []struct {
		id   run.OutputID
		want string
	}{
		{first("metrics"), "is no prediction: sink metrics publishes what comes from quality, whose type evaluate is of the evaluators"},
		{first("packed"), "whose sink publishes many rows in a record"},
		{first("plain"), "is no prediction: sink plain publishes what comes from features, which reads no learner"},
		{first("errors"), "is a rejected record, offset "},
		{beyond, fmt.Sprintf("step %d of task %d has no output 1048576; it has ", beyond.Step, beyond.Task)},
		{late, "has no step 1099511627776: its journal ends at step "},
		{run.OutputID{Task: 2, Step: 1}, "no task 2: pipeline " + c.p.Name + " has 2 tasks, 0 to 1"},
	} {
		_, err := run.Explain(t.Context(), c.p, past, x.id, run.RebuildOptions{Formats: formats})
		var wrong *run.WrongRequest
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v: %v; want %s", x.id, err, x.want)
		}
	}
}

func TestOutputID(t *testing.T) {
	if id, err := run.ParseOutputID("3/17/0"); err != nil || id != (run.OutputID{Task: 3, Step: 17}) {
		t.Error(id, err)
	}
	for _, text := range []string{"", "1/2", "1/2/3/4", "-1/2/3", "1/0/3", "01/2/3", "1/2/x", "1/2/3 ", "1//3", "1/99999999999999999999/3"} {
		if _, err := run.ParseOutputID(text); err == nil || !strings.Contains(err.Error(), "expected TASK/STEP/INDEX") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// tableOf reads the first number of each row of a node's weights.
func tableOf(t *testing.T, s state.Inspector, task int, node string) func(index uint32) float32 {
	t.Helper()
	handles, err := s.Handles(task)
	if err != nil {
		t.Fatal(err)
	}
	var values []float32
	stride := 1
	page := make([]float32, tables.PageLen)
	for _, h := range handles {
		if h.ID.Node != node || h.ID.Name != "weights" {
			continue
		}
		err := s.Entries(task, h.ID, func(key, value []byte) bool {
			if tables.IsHeader(key) {
				rows, n, err := tables.ReadHeader(value)
				if err != nil {
					t.Error(err)
				}
				stride, values = int(n), make([]float32, int(rows)*int(n))
				return true
			}
			read, at, err := tables.ReadPage(page, key, value)
			if err != nil {
				t.Error(err)
			}
			copy(values[at:], read)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if values == nil {
		t.Fatal("no weights")
	}
	return func(index uint32) float32 { return values[int(index)*stride] }
}
