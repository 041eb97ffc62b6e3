package checker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/state"
)

// TestMutations breaks a good history in one way at a time: the rule that is there for it must say so, and no other
// than those that the same fault violates too.
func TestMutations(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(h *history)
		want  []Rule // all that must be violated, and no other
		text  string // of the first rule
	}{
		{"nothing", func(*history) {}, nil, ""},
		{"missing output", func(h *history) {
			a := h.find(0, 2)
			freeze(a)
			a.outs = slices.Delete(a.outs, 1, 2)
		}, []Rule{K2, Once}, "outputs 1 are missing"},
		{"last output missing", func(h *history) {
			a := h.find(0, 1)
			freeze(a)
			a.outs = a.outs[:3]
		}, []Rule{K2, Once}, "outputs 3 are missing"},
		{"duplicate output", func(h *history) {
			a := h.find(1, 1)
			freeze(a)
			a.outs = append(a.outs, a.outs[0])
		}, []Rule{K2, Once}, "outputs 0 are there more than once"},
		{"gap in the ids", func(h *history) {
			setID(h.find(0, 1).outs[3], "0/1/4")
		}, []Rule{K2}, "outputs 3 are missing"},
		{"output without id", func(h *history) {
			h.find(0, 1).outs[3].Headers = nil
		}, []Rule{K2, Once}, "0 headers gs-id"},
		{"id of no task", func(h *history) {
			setID(h.find(0, 1).outs[3], "7/1/3")
		}, []Rule{K2, Once}, "want TASK/STEP/INDEX of 2 tasks"},
		{"id of another task", func(h *history) {
			setID(h.find(0, 1).outs[3], "1/1/3")
		}, []Rule{I2, K2}, "the step's record in the journal by"},
		{"outputs out of order", func(h *history) {
			a := h.find(0, 1)
			freeze(a)
			a.outs[0], a.outs[2] = a.outs[2], a.outs[0] // of one partition
		}, []Rule{K2}, "comes behind"},
		{"another output than the journal's", func(h *history) {
			a := h.find(0, 3)
			freeze(a)
			a.outs[0].Key = []byte("other")
		}, []Rule{K2}, "have hash"},
		{"output in another partition", func(h *history) {
			a := h.find(0, 3)
			freeze(a)
			a.outs[0].Partition = 1
		}, []Rule{K2}, "have hash"},
		{"more rejected than the journal says", func(h *history) {
			h.find(0, 2).step.Rejected = 0
		}, []Rule{K2}, "1 outputs are rejected records, the journal says 0"},
		{"a skip that nobody published", func(h *history) {
			h.find(0, 2).step.Skips = []Skip{{0, 0, 6, "operator x", "panic", "x.go:1"}}
		}, []Rule{K2}, "0 outputs are quarantined records, the journal says 1"},
		{"quarantined without a skip", func(h *history) {
			o := h.find(0, 2).outs
			bad := o[len(o)-1]
			bad.Headers = append(bad.Headers, kgo.RecordHeader{Key: "gradstream-quarantined", Value: []byte("true")})
		}, []Rule{K2}, "1 outputs are quarantined records, the journal says 0"},
		{"a partition that nobody adopted", func(h *history) {
			for _, a := range h.acts {
				if a.task == 1 && a.open != nil {
					a.open.Sources[0].Partitions, a.open.Positions = 1, nil
				}
			}
		}, []Rule{K1}, "source 0 partition 1, which was added and not adopted"},
		{"overlap in the runs", func(h *history) {
			h.find(0, 2).step.Runs[0].Next = 2
		}, []Rule{K1}, "runs overlap"},
		{"step read twice", func(h *history) { // a restart from an old offset: new step number, the same input
			a := h.stepping(0, 2)
			a.step.N = 4
			a.step.Runs = []Run{{0, 0, 8}, {0, 0, 12}}
			for i, o := range a.outs {
				setID(o, fmt.Sprintf("0/4/%d", i))
			}
			h.insert(h.at(0, 3)+1, a)
		}, []Rule{K1, Once}, "runs overlap"},
		{"gap in the runs", func(h *history) { // a record was skipped
			a := h.find(0, 2)
			a.outs = slices.Delete(a.outs, 2, 3)
			setID(a.outs[2], "0/2/2")
			a.step.Rows--
		}, []Rule{K1, Once}, "its runs cover 4 records, but it decoded 2 rows and rejected 1"},
		{"gap at the start", func(h *history) { // started at the end instead of the beginning
			h.acts[0].open.Positions[0].Next = 1
			a := h.find(0, 1)
			a.outs = slices.Delete(a.outs, 0, 1)
			for i, o := range a.outs {
				setID(o, fmt.Sprintf("0/1/%d", i))
			}
			a.step.Rows--
		}, []Rule{K1, Once}, "reading starts at 1"},
		{"end never read", func(h *history) {
			h.acts = slices.Delete(h.acts, h.at(1, 3), h.at(1, 3)+1)
			h.offsets[1] = 8
		}, []Rule{K1}, "4 records were never read"},
		{"read beyond the end", func(h *history) { // the broker lost the source's tail
			h.find(1, 3).step.Runs[1].Next = 13
			h.offsets[1] = 13
		}, []Rule{K1}, "records were lost"},
		{"another task's partition", func(h *history) {
			h.find(1, 3).step.Runs = append(h.find(1, 3).step.Runs, Run{0, 0, 12})
		}, []Rule{K1}, "not the task's"},
		{"opened on a source made anew", func(h *history) {
			h.acts[0].open.Sources[0].ID[0]++
		}, []Rule{K1}, "source 0 is s: topic in"},
		{"opened without a position", func(h *history) {
			h.acts[0].open.Positions = nil
		}, []Rule{K1}, "without a position"},
		{"broken chain", func(h *history) {
			h.find(0, 3).prev = &[32]byte{1}
		}, []Rule{I1}, "the chain is broken"},
		{"chain begins in the middle", func(h *history) {
			h.find(0, 1).prev = &[32]byte{1}
		}, []Rule{I1}, "the chain begins with step 1"},
		{"step twice", func(h *history) { // committed, thought lost, sent again
			a := *h.find(0, 2)
			h.insert(h.at(0, 2)+1, &a)
		}, []Rule{I1, I2, K1, K2, K11, Once}, "step 2 comes again"},
		{"step left out", func(h *history) {
			i := h.at(0, 2)
			h.acts = slices.Delete(h.acts, i, i+1)
		}, []Rule{I1, K1, K11, Once}, "step 3 follows step 1"},
		{"steps out of order", func(h *history) {
			i, j := h.at(1, 2), h.at(1, 3)
			h.acts[i], h.acts[j] = h.acts[j], h.acts[i]
			h.offsets[1] = 12
		}, []Rule{I1, I2, K1, K4, K11, Once}, "step 3 follows step 1"},
		{"damaged record", func(h *history) {
			h.find(1, 3).bytes = func(b []byte) []byte { b[40]++; return b }
		}, []Rule{I1, I2, K1, K4}, "the hash is not that of the bytes"},
		{"unknown version", func(h *history) {
			h.acts[0].bytes = func(b []byte) []byte { b[0] = 3; return b }
		}, []Rule{I1}, "version 3"},
		{"never opened", func(h *history) {
			h.acts = slices.DeleteFunc(h.acts, func(a *act) bool { return a.task == 1 && a.open != nil })
		}, []Rule{I1}, "never opened"},
		{"clock goes back", func(h *history) {
			h.find(0, 2).step.Clock = 999
		}, []Rule{I1}, "the clock goes back from 1000 to 999"},
		{"output without a step", func(h *history) {
			h.insert(len(h.acts), &act{task: 1, who: txnID(1), outs: []*kgo.Record{{Topic: "out", Value: []byte("ghost"),
				Headers: []kgo.RecordHeader{{Key: headerID, Value: []byte("1/4/0")}}}}})
		}, []Rule{I2}, "the journal does not have"},
		{"step without its outputs", func(h *history) {
			a := h.find(1, 1)
			freeze(a)
			a.outs = nil
		}, []Rule{K2, Once}, "outputs 0 to 3 are missing"},
		{"outputs in a transaction of their own", func(h *history) {
			h.find(0, 2).split = true
		}, []Rule{I2}, "the step's record in the journal by"},
		{"two steps in one transaction", func(h *history) {
			h.find(0, 2).noEnd = true
		}, []Rule{I2}, "in one transaction with"},
		{"no transaction", func(h *history) {
			for n := 1; n <= 3; n++ {
				h.find(0, n).who = ""
			}
		}, []Rule{I2, K8}, "not written in a transaction"},
		{"transaction left open", func(h *history) {
			h.insert(len(h.acts), &act{task: 1, who: txnID(1), hang: true, outs: []*kgo.Record{{Topic: "out", Value: []byte("open")}}})
		}, []Rule{K9}, "a transaction is open"},
		{"zombie with an id of its own", func(h *history) { // the first owner writes step 2 though the second opened
			for _, a := range h.acts {
				if a.task == 0 && (a.open == nil || a.open.Incarnation == "second") {
					a.who = "p/0/out/b"
				}
			}
			h.find(0, 1).who, h.find(0, 2).who = txnID(0), txnID(0)
		}, []Rule{K8}, "had replaced it"},
		{"stale open", func(h *history) { // the first owner comes back without taking the lock
			h.find(0, 2).who, h.find(0, 3).who = "p/0/out/b", "p/0/out/b"
			for i, a := range h.acts {
				if a.task == 0 && a.open != nil && a.open.Incarnation == "second" {
					a.who = "p/0/out/b"
					stale := h.opening(0, "first")
					stale.who = txnID(0)
					h.insert(i+1, stale)
					break
				}
			}
		}, []Rule{K8}, "had replaced it"},
		{"step of one who never opened", func(h *history) {
			h.find(0, 3).who = "p/0/out/c"
		}, []Rule{K8}, "without having opened the task"},
		{"group's offset behind", func(h *history) { h.offsets[0] = 8 }, []Rule{K4}, "is at 8, the journal ends at 12"},
		{"group's offset ahead", func(h *history) { h.offsets[1] = 13 }, []Rule{K4}, "is at 13, the journal ends at 12"},
		{"group's offset of another history", func(h *history) { h.meta[0] = "3 0123456789abcdef" }, []Rule{K4}, "was committed with"},
		{"poison dropped", func(h *history) {
			a := h.find(0, 2)
			a.outs = a.outs[:3]
			a.step.Rejected = 0
		}, []Rule{K11, K1}, "is 0 times in the errors topics, want 1"},
		{"poison twice", func(h *history) {
			a := h.find(0, 2)
			again := *a.outs[3]
			again.Headers = slices.Clone(again.Headers)
			a.outs = append(a.outs, &again)
			setID(&again, "0/2/4")
			a.step.Rejected++
		}, []Rule{K11, K1}, "is 2 times in the errors topics, want 1"},
		{"poison altered", func(h *history) {
			h.find(0, 2).outs[3].Value = []byte("washed")
		}, []Rule{K11}, "with another key, value or header"},
		{"poison without its headers", func(h *history) {
			o := h.find(0, 2).outs[3]
			o.Headers = slices.Delete(o.Headers, 1, 2)
		}, []Rule{K11}, "with another key, value or header"},
		{"poison from nowhere", func(h *history) {
			for i := range h.find(0, 2).outs[3].Headers {
				if x := &h.find(0, 2).outs[3].Headers[i]; strings.HasSuffix(x.Key, "offset") {
					x.Value = []byte("99")
				}
			}
		}, []Rule{K11}, "want 1"},
		{"one event for another", func(h *history) {
			h.find(0, 1).outs[2].Value = []byte("v0-0")
		}, []Rule{Once}, "2. time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := healthy(w.id)
			c.spoil(h)
			w.play(h)
			report, err := Check(w.ctx, w.options())
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(c.want)
			if got := slices.Sorted(maps.Keys(report.Counts)); !slices.Equal(got, c.want) {
				t.Fatalf("violated %v, want %v\n%v", got, c.want, &report)
			}
			if len(c.want) == 0 {
				mustBeWhole(t, &report)
				return
			}
			if !strings.Contains(report.Err().Error(), c.text) {
				t.Errorf("no %q in\n%v", c.text, report.Err())
			}
		})
	}
}

// mustBeWhole checks that the good history was looked at in full.
func mustBeWhole(t *testing.T, r *Report) {
	t.Helper()
	if r.Inputs != 24 || r.Outputs != 24 || r.Rejected != 2 || r.IDs != 22 || len(r.Tasks) != 2 || r.Err() != nil {
		t.Errorf("%v", r)
	}
	for _, task := range r.Tasks {
		if task.Steps != 3 || task.Opens != 2 || task.Incarnations != 2 || task.Inputs != 12 || task.Outputs != 12 || task.First != 1 || task.Last != 3 {
			t.Errorf("%+v", task)
		}
	}
}

// freeze lets the journal say what the outputs are now, whatever becomes of them.
func freeze(a *act) {
	a.keepCount = true
	a.step.Outputs, a.step.OutHash = int64(len(a.outs)), hashOf(a.outs)
	for i, o := range a.outs {
		o := *o
		a.outs[i] = &o
	}
}

func setID(r *kgo.Record, id string) { r.Headers[0].Value = []byte(id) }

func (h *history) insert(at int, a *act) { h.acts = slices.Insert(h.acts, at, a) }

// memory is a state folder made up.
type memory struct {
	m       state.Manifest
	entries map[string]string
}

func (s *memory) Tasks() ([]int, error)                      { return []int{0}, nil }
func (s *memory) Manifest(int) (state.Manifest, bool, error) { return s.m, true, nil }
func (s *memory) Delete(int) error                           { return nil }
func (s *memory) Handles(int) ([]state.HandleInfo, error) {
	return []state.HandleInfo{{ID: state.ID{Node: "n", Name: "w"}}}, nil
}

func (s *memory) Entries(_ int, _ state.ID, yield func(key, value []byte) bool) error {
	for k, v := range s.entries {
		if !yield([]byte(k), []byte(v)) {
			break
		}
	}
	return nil
}

// TestStates compares checkpoints with a journal: a good one, and each thing that can be wrong.
func TestStates(t *testing.T) {
	w := newWorld(t)
	h := healthy(w.id)
	good := &memory{entries: map[string]string{"a": "1", "b": "2"}}
	digest, err := Digest(good, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.find(0, 3).step.HasDigest, h.find(0, 3).step.Digest = true, digest
	w.play(h)
	o := w.options()
	report, err := Check(w.ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	good.m = state.Manifest{Step: 3, Hash: report.Tasks[0].Hash, Positions: []state.Position{{Topic: "in", Partition: 0, Next: 12}}}
	if report.Tasks[0].Digest != digest || report.Tasks[0].DigestAt != 3 {
		t.Errorf("%+v", report.Tasks[0])
	}
	for _, c := range []struct {
		name   string
		change func(s *memory)
		want   string
	}{
		{"good", func(*memory) {}, ""},
		{"other hash", func(s *memory) { s.m.Hash[0]++ }, "which the journal does not have"},
		{"ahead of the journal", func(s *memory) { s.m.Step = 4 }, "which the journal does not have"},
		{"other position", func(s *memory) { s.m.Positions = []state.Position{{Topic: "in", Next: 11}} }, "the journal at 12"},
		{"other state", func(s *memory) { s.entries = map[string]string{"a": "1", "b": "3"} }, "has digest"},
		{"none", func(s *memory) { s.m = state.Manifest{} }, "the newest checkpoint is of step 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := *good
			c.change(&s)
			o := w.options()
			o.States = []State{&s}
			report, err := Check(w.ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			// Task 1 has no checkpoint at all in any case.
			other := 0
			for _, v := range report.Violations {
				if v.Rule != I4 {
					t.Errorf("%v", v)
				}
				if v.Task == 0 {
					other++
					if c.want == "" || !strings.Contains(v.Text, c.want) && !strings.Contains(v.Text, "the newest checkpoint") {
						t.Errorf("%v, want %q", v, c.want)
					}
				}
			}
			if (other == 0) != (c.want == "") || !strings.Contains(fmt.Sprint(report.Violations), c.want) {
				t.Errorf("%v", report.Violations)
			}
		})
	}
}

// TestWatcher has a reader that saw something that is not there.
func TestWatcher(t *testing.T) {
	w := newWorld(t)
	w.play(healthy(w.id))
	watch, err := Watch(w.addrs, []string{"out", "p.errors"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	for watch.Len() < 24 {
		if w.ctx.Err() != nil {
			t.Fatalf("saw %d records", watch.Len())
		}
	}
	watch.Stop()
	o := w.options()
	o.Seen = watch
	report, err := Check(w.ctx, o)
	if err != nil || report.Err() != nil {
		t.Fatal(err, report.Err())
	}
	for at := range watch.seen {
		watch.seen[at]++
		break
	}
	watch.seen[place{"out", 1, 1000}] = 1
	if report, err = Check(w.ctx, o); err != nil || report.Counts[K7] != 2 || len(report.Counts) != 1 {
		t.Errorf("%v, %v", err, &report)
	}
}

func FuzzParse(f *testing.F) {
	h := healthy([16]byte{1})
	f.Add(encodeOpen(h.acts[0].open))
	o := *h.acts[0].open
	o.Sinks = []OpenSink{{"out", 3}}
	f.Add(encodeOpen(&o))
	f.Add(encodeStep(h.find(0, 2).step))
	s := *h.find(0, 3).step
	s.Skips = []Skip{{0, 0, 6, "operator x", "panic", "x.go:1"}}
	f.Add(encodeStep(&s))
	s.Remote = 300
	f.Add(encodeStep(&s))
	f.Add(encodeAccepted(&Accepted{Policy: "accept_gap", Reason: "gone", Step: 3, Base: 1, Positions: []Run{{0, 1, 9}}, Lost: []Lost{{0, 1, 4, 9}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		n := 0
		for _, set := range []bool{r.Step != nil, r.Open != nil, r.Accepted != nil} {
			if set {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d are set", n)
		}
	})
}
