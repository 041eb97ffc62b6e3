package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
)

// brittle numbers its rows and breaks at those whose id holds "poison", after it
// has changed its state: nothing of that may be left.
type brittleConfig struct{ id spec.Column }

func (c *brittleConfig) Fields(f *spec.Fields) {
	f.Column(&c.id, "id", "id", "Column that names events.")
}

type brittle struct {
	id, n operators.Col
	seen  *state.Cell[pairsState]
}

// block is what an operator that hangs waits for.
var block chan struct{}

func (o *brittle) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	for row := range in.N {
		o.seen.V.Seen++
		o.n.Of(in).Ints[row] = o.seen.V.Seen
		switch id := o.id.Of(in).TextString(row); {
		case strings.HasPrefix(id, "poison-nil"):
			var none *brittle
			o.seen.V.Seen += none.seen.V.Seen
		case strings.HasPrefix(id, "poison-error"):
			return errOdd
		case strings.HasPrefix(id, "poison-hang"):
			<-block
			return errOdd
		case strings.HasPrefix(id, "poison"):
			panic(errOdd)
		}
	}
	return out.Emit(in)
}

var _ = oddFamily.Add(operators.Define(operators.Spec[brittleConfig]{
	Name: "brittle",
	Build: func(c *brittleConfig, env *operators.Env) operators.Operator {
		return &brittle{id: env.In(c.id, batch.String), n: env.AddOwn("n", batch.Int64, false), seen: operators.NewCell(env, "seen", 1, pairsState{})}
	},
}))

const brittleYAML = `
pipeline: brittle
kafka: {brokers: embedded}
tasks: TASKS
commit: {interval: 20ms, rows: 64}
checkpoint: {local: 100ms}
sources:
  a: {topic: a, partitions: 3, schema: {id: string}}
operators:
  first: {from: a, filter: {where: id != "none"}}
  fragile: {from: first, brittle: {id: id}}
sinks:
  out: {from: fragile, topic: out}
  many: {from: fragile, topic: many, format: arrow}
`

// brittleFormats decode nothing that says undecodable, and cannot encode many rows
// if one is unwritable.
var brittleFormats = Formats{
	NewDecoder: func(format string, s *batch.Schema) (connectors.Decoder, error) {
		d, err := testFormats.NewDecoder(format, s)
		return brittleDecoder{d}, err
	},
	NewEncoder: func(format string, s *batch.Schema) (connectors.Encoder, error) {
		e, err := testFormats.NewEncoder(format, s)
		return brittleEncoder{e}, err
	},
	PartitionForKey: testFormats.PartitionForKey,
}

type brittleDecoder struct{ connectors.Decoder }

func (d brittleDecoder) Decode(value []byte, into *batch.Batch) (int, error) {
	if strings.Contains(string(value), "poison-decode") {
		panic("undecodable")
	}
	return d.Decoder.Decode(value, into)
}

type brittleEncoder struct{ connectors.Encoder }

func (e brittleEncoder) Encode(dst []byte, b *batch.Batch, lo, hi int) ([]byte, error) {
	for row := lo; row < hi && !e.PerRow(); row++ {
		if strings.HasPrefix(b.Cols[b.Schema.Lookup("id")].TextString(row), "unwritable") {
			return nil, errors.New("unwritable")
		}
	}
	return e.Encoder.Encode(dst, b, lo, hi)
}

// poisoned fills three partitions with n events, of which some are poison of the
// given kinds. It returns how many are.
func poisoned(b *simBroker, n, each int, kinds ...string) (bad int) {
	for range n {
		i := b.made()
		value := fmt.Sprintf("fine-%d", i)
		if b.odds(each) {
			value = fmt.Sprintf("%s-%d", kinds[b.draw(len(kinds))], i)
			bad++
		}
		b.produce(connectors.TopicPartition{Topic: "a", Partition: int32(b.draw(3))}, fmt.Sprintf(`{"id":"%s"}`, value))
	}
	return bad
}

// checkQuarantine compares what was published with the input: each good event once
// in the sink, each bad one once in the errors topic and nowhere else.
func checkQuarantine(t *testing.T, b *simBroker) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := map[string]int{}
	for _, steps := range b.outputs {
		for _, step := range steps {
			for _, o := range step.outputs {
				switch {
				case o.Topic == "many":
					continue
				case o.Topic == "out":
					seen[id(o.Value)]++
				case header(&o.Record, "gradstream-quarantined") != "true":
					t.Errorf("%s is in %s but not quarantined", o.Value, o.Topic)
				default:
					seen["bad "+id(o.Value)]++
					name := id(o.Value)
					reason, at, where := header(&o.Record, "__connect.errors.exception.message"), header(&o.Record, "gradstream-operator"), header(&o.Record, "gradstream-stack")
					want := [3]string{"panic: too odd", "fragile", "run.(*brittle).Process (quarantine_test.go:"}
					switch {
					case strings.HasPrefix(name, "poison-nil"):
						want[0] = "panic: runtime error: invalid memory address or nil pointer dereference"
					case strings.HasPrefix(name, "poison-error"):
						want[0], want[2] = "too odd", ""
					case strings.HasPrefix(name, "poison-decode"):
						want = [3]string{"panic: undecodable", "decoder", "run.brittleDecoder.Decode (quarantine_test.go:"}
					case strings.HasPrefix(name, "unwritable"):
						want = [3]string{"sink many: unwritable", "a sink", ""}
					case strings.HasPrefix(name, "poison-hang"):
						want = [3]string{"the process ended 3 times while it was processed", "", ""}
					}
					if reason != want[0] || at != want[1] || !strings.HasPrefix(where, want[2]) || (where == "") != (want[2] == "") {
						t.Errorf("%s: reason %q, operator %q, stack %q", name, reason, at, where)
					}
				}
			}
		}
	}
	for tp, log := range b.sources {
		for _, e := range log {
			if e.control {
				continue
			}
			name := id(e.Value)
			if !strings.HasPrefix(name, "fine") {
				name = "bad " + name
			}
			if seen[name] != 1 {
				t.Errorf("%s of %v is there %d times", name, tp, seen[name])
			}
			delete(seen, name)
		}
	}
	if len(seen) > 0 {
		t.Errorf("nobody sent %v", seen)
	}
}

// rebuildAlone makes the state of every task anew, compared step by step with the journal,
// from the journal alone, which publishes nothing.
func rebuildAlone(t *testing.T, b *simBroker, text string) {
	t.Helper()
	clear(b.remote)
	before := 0
	for _, steps := range b.outputs {
		before += len(steps)
	}
	reg := prometheus.NewRegistry()
	s := startSim(t, parse(t, text), &simCluster{simBroker: b}, memstore.New(), Options{Formats: brittleFormats, Metrics: reg})
	for _, st := range s.settle() {
		if st.Replayed != st.Step || st.Checkpoint != 0 {
			t.Errorf("%+v", st)
		}
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	after := 0
	for _, steps := range b.outputs {
		after += len(steps)
	}
	if after != before {
		t.Errorf("the rebuild published %d steps", after-before)
	}
	if n := sum(t, reg, "gradstream_quarantined_records_total"); n != 0 {
		t.Errorf("a rebuild quarantined %v records", n)
	}
}

// TestQuarantine plants records that break an operator, a decoder or a sink.
func TestQuarantine(t *testing.T) {
	for _, tasks := range []string{"1", "3"} {
		t.Run("tasks="+tasks, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text := strings.Replace(brittleYAML, "TASKS", tasks, 1)
				b, reg := newSimBroker(11), prometheus.NewRegistry()
				bad := poisoned(b, 600, 40, "poison", "poison-nil", "poison-error", "poison-decode", "unwritable")
				s := startSim(t, parse(t, text), &simCluster{simBroker: b}, memstore.New(), Options{Formats: brittleFormats, Metrics: reg})
				s.settle()
				bad += poisoned(b, 200, 100, "poison")
				s.settle()
				if err := s.end(); err != nil {
					t.Fatal(err)
				}
				checkQuarantine(t, b)
				if n := sum(t, reg, "gradstream_quarantined_records_total"); int(n) != bad || bad < 10 {
					t.Errorf("%v records quarantined, want %d", n, bad)
				}
				rebuildAlone(t, b, text)
			})
		})
	}
}

// TestQuarantineUnderFaults crashes workers, takes locks and tasks away and fails
// checkpoints while records are quarantined.
func TestQuarantineUnderFaults(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text := strings.Replace(brittleYAML, "TASKS", fmt.Sprint(1+seed%3), 1)
				b, store := newSimBroker(seed), memstore.New()
				p := parse(t, text)
				for life := range 6 {
					poisoned(b, b.draw(150), 20, "poison", "poison-nil", "poison-decode", "unwritable")
					c := &simCluster{simBroker: b}
					if life < 5 {
						c.crash, c.lose, c.shake, c.fail = 5+b.draw(40), 10+b.draw(30), 50+b.draw(100), b.draw(2)*5
					}
					s := startSim(t, p, c, store, Options{Formats: brittleFormats})
					if life == 5 {
						s.settle()
					} else {
						time.Sleep(time.Duration(b.draw(int(5 * time.Second))))
					}
					if err := s.end(); err != nil && (life == 5 || !errors.Is(err, errSimDead)) {
						t.Fatal(err)
					}
					if b.odds(3) {
						store = memstore.New()
					}
				}
				checkQuarantine(t, b)
				rebuildAlone(t, b, text)
			})
		})
	}
}

// TestQuarantineLimit fails a task whose records all fail.
func TestQuarantineLimit(t *testing.T) {
	for most, want := range map[int]string{7: "too many records fail: it is the operator, not the data (7 were quarantined within an hour)", -1: "too odd"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			text := strings.Replace(brittleYAML, "TASKS", "1", 1)
			b := newSimBroker(12)
			poisoned(b, 100, 1, "poison")
			s := startSim(t, parse(t, text), &simCluster{simBroker: b}, memstore.New(), Options{Formats: brittleFormats, MaxQuarantines: most, Attempts: dir})
			err := <-s.done
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("ended with %v", err)
			}
			if most < 0 {
				return
			}
			list := func() string {
				text, err := os.ReadFile(filepath.Join(dir, "quarantined"))
				if err != nil || strings.Count(string(text), "\n") != most {
					t.Errorf("%q is noted, %v", text, err)
				}
				return string(text)
			}
			before := list()
			s = startSim(t, parse(t, text), &simCluster{simBroker: b}, memstore.New(), Options{Formats: brittleFormats, MaxQuarantines: most, Attempts: dir})
			if err := <-s.done; err == nil || !strings.Contains(err.Error(), want) || list() != before {
				t.Errorf("started again at once, it ended with %v", err)
			}
			time.Sleep(time.Hour)
			s = startSim(t, parse(t, text), &simCluster{simBroker: b}, memstore.New(), Options{Formats: brittleFormats, MaxQuarantines: most, Attempts: dir})
			if err := <-s.done; err == nil || !strings.Contains(err.Error(), want) || list() == before {
				t.Errorf("after an hour it ended with %v", err)
			}
		})
	}
}
