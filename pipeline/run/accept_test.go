package run

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
)

// numbers are what the brittle operator gave the events, in the order of the steps:
// how many rows its state has seen.
func (b *simBroker) numbers(t *testing.T) (all []int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, step := range b.outputs[0] {
		for _, o := range step.outputs {
			if o.Topic == "out" {
				_, rest, ok := strings.Cut(string(o.Value), `"fragile.n":`)
				n := 0
				if _, err := fmt.Sscan(strings.TrimSuffix(rest, "}"), &n); !ok || err != nil {
					t.Fatalf("no number in %s: %v", o.Value, err)
				}
				all = append(all, n)
			}
		}
	}
	return all
}

// decisions are the accepted losses of the journal.
func (b *simBroker) decisions() (all []*acceptedRecord) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.journal[0] {
		if r, err := parseRecord(e.Value); err == nil && r.accepted != nil {
			all = append(all, r.accepted)
		}
	}
	return all
}

// TestPolicies loses the journal's start, the input behind the checkpoint, or input
// that was not read yet, and goes on as the policy says: what was published stays,
// nothing is published twice, and later restores come to the same state without
// any policy.
func TestPolicies(t *testing.T) {
	text := strings.NewReplacer("TASKS", "1", "partitions: 3", "partitions: 1").Replace(brittleYAML)
	tp := connectors.TopicPartition{Topic: "a"}
	type lost struct {
		name    string
		journal bool // its start, and the state folder
		state   bool // the state folder is older than the input
		input   int  // records read or not that are gone, in all
	}
	for _, c := range []lost{{"journal", true, false, 0}, {"input", false, true, 250}, {"unread", false, false, 350}} {
		for _, policy := range []string{"", PolicyAcceptGap, PolicyFromScratch} {
			t.Run(c.name+"/"+policy, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, store := newSimBroker(21), memstore.New()
					p := parse(t, text)
					live := func(store *memstore.Store, o Options) *simWorker {
						o.Formats = brittleFormats
						return startSim(t, p, &simCluster{simBroker: b}, store, o)
					}
					fill := func(n int) {
						for range n {
							b.produce(tp, fmt.Sprintf(`{"id":"fine-%d"}`, b.made()))
						}
					}
					fill(100)
					s := live(store, Options{})
					s.settle()
					if err := s.end(); err != nil {
						t.Fatal(err)
					}
					older := store.Clone() // 100 rows
					fill(200)
					s = live(store, Options{})
					s.settle()
					if err := s.end(); err != nil {
						t.Fatal(err)
					}
					clear(b.remote)
					base := 300 // rows of the newest state there is
					switch {
					case c.journal:
						b.trimmed[0] = b.journal[0][len(b.journal[0])-3].Offset
						store, base = memstore.New(), 0
					case c.state:
						store, base = older.Clone(), 100
					}
					if policy == PolicyFromScratch {
						base = 0
					}
					fill(100)
					before, records := len(b.numbers(t)), []int64{}
					for _, e := range b.sources[tp] {
						if !e.control {
							records = append(records, e.Offset)
						}
					}
					next := 300 // record
					if c.input > 0 {
						b.starts[tp] = records[c.input]
						next = max(next, c.input)
					}
					reg := prometheus.NewRegistry()
					s = live(store, Options{Policy: policy, Metrics: reg})
					if policy == "" {
						err := <-s.done
						if err == nil || len(b.decisions()) > 0 || !strings.Contains(err.Error(), "--policy") && c.name != "unread" {
							t.Fatalf("ended with %v", err)
						}
						return
					}
					s.settle()
					fill(50)
					s.settle()
					if n := sum(t, reg, "gradstream_accepted_losses_total"); n != 1 {
						t.Errorf("%v losses counted", n)
					}
					if err := s.end(); err != nil {
						t.Fatal(err)
					}
					got := b.numbers(t)[before:]
					if len(got) != 450-next || got[0] != base+1 || got[len(got)-1] != base+450-next {
						t.Errorf("%d more events, numbered %d to %d, want %d from %d on", len(got), got[0], got[len(got)-1], 450-next, base+1)
					}
					all := b.decisions()
					if len(all) != 1 || all[0].Policy != policy || all[0].Reason == "" || (all[0].Base == 0) != (base == 0) {
						t.Fatalf("%+v", all)
					}
					if l := all[0].Lost; base < next && (len(l) != 1 || l[0].Next <= records[next-1] || l[0].Next > records[next] || base > 0 && l[0].From <= records[base-1] || base == 0 && l[0].From != 0) {
						t.Errorf("lost %+v, records %d to %d", l, base, next)
					}

					// Any later restore finds the same, from whatever is still good.
					m, _, _ := store.Manifest(0)
					for name, from := range map[string]*memstore.Store{"own": store.Clone(), "older": older.Clone(), "none": memstore.New()} {
						clear(b.remote) // there is no other copy
						s := live(from, Options{})
						// What is between the state that was kept and there cannot be replayed.
						if base > 0 && (name == "none" || name == "older" && base > 100) {
							if err := <-s.done; err == nil || !strings.Contains(err.Error(), "--policy") {
								t.Errorf("%s: ended with %v", name, err)
							}
							continue
						}
						s.settle()
						time.Sleep(time.Second)
						if err := s.end(); err != nil {
							t.Fatalf("%s: %v", name, err)
						}
						if digest(t, p, from) != digest(t, p, store) {
							t.Errorf("%s: another state than the one that went on", name)
						}
						if again, _, _ := from.Manifest(0); again.Step != m.Step || again.Hash != m.Hash {
							t.Errorf("%s: at step %d, not %d", name, again.Step, m.Step)
						}
					}
					if n := len(b.numbers(t)); n != before+len(got) {
						t.Errorf("%d events were published again", n-before-len(got))
					}
				})
			})
		}
	}
}

// digest is that of the state in a store.
func digest(t *testing.T, p *pipeline.Pipeline, s state.Store) uint64 {
	t.Helper()
	part, err := s.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	c, err := newCore(p, 0, brittleFormats, coreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.bind(part); err != nil {
		t.Fatal(err)
	}
	return c.digest()
}
