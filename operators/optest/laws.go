package optest

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state/weights"
)

// Case is a configuration under which an operator is tested, beside those of its
// examples.
type Case struct {
	Operator string
	Name     string // of the test; unique among the operator's cases
	Config   string // as [Open] takes it
	In       string // as [Parse] reads it: columns, and rows that others are modelled on
	File     string // what the file holds that the operator reads, if it does
	// Allocates says why Process may allocate in steady state; empty = it may not.
	Allocates string
}

// tester is what the laws need of a *testing.T, so that they can be tested on
// operators that break them.
type tester interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// subject is an operator under a configuration.
type subject struct {
	def    *operators.Definition
	c      Case
	sample []Table
	ports  []*batch.Schema
	labels []string // the columns named by the field `label` or `labels`, if it has one
}

// TestFamily holds every operator of a family to the laws, with the
// configurations of its examples and of the cases:
//
//  1. how rows are cut into batches changes neither output nor state;
//  2. nor does a checkpoint and a restart between any two batches;
//  3. the input is left as it was, and nothing borrowed is kept;
//  4. two runs are equal;
//  5. what is emitted has the declared columns, of one length, without NaN and Inf;
//  6. learners score rows without a label and learn nothing from them;
//  7. hostile rows cause no panic, and nothing infinite in the state;
//  8. recorded state loads, and means what it meant: see below;
//  9. examples come out as documented;
//  10. every field, option and operator is documented, and defaults are within bounds;
//  11. Process does not allocate once its memory has grown.
//
// For law 8 the package's folder has testdata/state/OPERATOR.txt with the state
// after some rows and a digest of the state after more. With the environment
// variable OPTEST_RECORD=1 the test writes what is missing there. A record is
// changed only together with the version of a state.
func TestFamily(t *testing.T, f *operators.Family, cases ...Case) {
	for _, d := range f.Definitions() {
		t.Run(d.Name, func(t *testing.T) {
			checkDocs(t, d)
			all := make([]Case, 0, len(cases)+len(d.Examples))
			for i, e := range d.Examples {
				c := Case{Operator: d.Name, Name: fmt.Sprintf("example %d", i+1), Config: e.Config, In: e.In, File: e.File}
				t.Run(c.Name, func(t *testing.T) { checkExample(t, d, e) })
				all = append(all, c)
			}
			for _, c := range cases {
				if c.Operator == d.Name {
					all = append(all, c)
				}
			}
			for _, c := range all {
				t.Run(c.Name, func(t *testing.T) { newSubject(t, d, c).laws(t) })
			}
			checkRecorded(t, d, all)
		})
	}
	for _, c := range cases {
		if operators.Merge(f).Lookup(c.Operator) == nil {
			t.Errorf("the case %q is of an operator %q, which the family has not", c.Name, c.Operator)
		}
	}
}

func newSubject(t tester, d *operators.Definition, c Case) *subject {
	t.Helper()
	s := &subject{def: d, c: c}
	var err error
	if s.sample, err = Parse(c.In); err != nil {
		t.Fatal(err)
	}
	s.ports = schemas(s.sample)
	n, err := parseConfig(d, c.Config)
	if err != nil {
		t.Fatal(err)
	}
	if v := n.Get("label"); v != nil && v.Kind == spec.Scalar {
		s.labels = []string{v.Value}
	}
	if v := n.Get("labels"); v != nil && v.Kind == spec.List {
		for _, item := range v.Items {
			s.labels = append(s.labels, item.Value)
		}
	}
	return s
}

func (s *subject) rng(salt string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(s.def.Name + "/" + s.c.Name + "/" + salt))
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

func (s *subject) feeds(n int, hostile bool) []feed {
	g := &generator{rng: s.rng(fmt.Sprint(n, hostile)), sample: s.sample, labels: s.labels, hostile: hostile}
	return g.feeds(n)
}

func (s *subject) open(t tester, ports ...*batch.Schema) *Harness {
	t.Helper()
	if len(ports) == 0 {
		ports = s.ports
	}
	h, err := OpenFile(s.def, s.c.Config, s.c.File, ports...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (s *subject) laws(t tester) {
	ordinary, hostile := s.feeds(300, false), s.feeds(300, true)
	for name, feeds := range map[string][]feed{"ordinary rows": ordinary, "hostile rows": hostile} {
		want, digest := s.run(t, feeds, nil)
		same := func(law string, text string, d uint64) {
			t.Helper()
			if text != want {
				t.Errorf("%s, %s: the output differs: %s", name, law, difference(text, want))
			}
			if d != digest {
				t.Errorf("%s, %s: the state differs", name, law)
			}
		}
		again, d := s.run(t, feeds, nil)
		same("run twice", again, d)
		rng := s.rng("split")
		for _, size := range []int{1, 7, 4096, 0} {
			label, next := fmt.Sprintf("cut into batches of %d", size), func() int { return size }
			if size == 0 {
				label, next = "cut at random, some batches empty", func() int { return rng.IntN(40) }
			}
			text, d := s.run(t, split(feeds, next), nil)
			same(label, text, d)
		}
		text, d := s.run(t, split(feeds, func() int { return 1 + rng.IntN(9) }), func(h *Harness) {
			before := h.Digest()
			if err := h.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			if err := h.Restart(); err != nil {
				t.Fatal(err)
			}
			if h.Digest() != before {
				t.Fatalf("%s: a restart changed the state", name)
			}
		})
		same("restarted between batches", text, d)
	}
	s.checkUnlabelled(t, ordinary)
	s.checkAllocations(t, ordinary)
}

// run feeds the rows to a new operator and returns output and state. The operator
// is given copies, which are compared and then overwritten.
func (s *subject) run(t tester, feeds []feed, between func(h *Harness)) (string, uint64) {
	t.Helper()
	h := s.open(t)
	for _, f := range feeds {
		in := slice(f.rows, 0, f.rows.N)
		if err := h.Feed(f.port, in); err != nil {
			t.Fatal(err)
		}
		if Format(in) != Format(f.rows) || !reflect.DeepEqual(in.Origin.Seq, f.rows.Origin.Seq) {
			t.Fatal("Process changed its input")
		}
		poison(in)
		if between != nil {
			between(h)
		}
	}
	for _, b := range h.Node.States() {
		if err := finiteState(b.State); err != nil {
			t.Errorf("the state %s: %v", b.ID, err)
		}
	}
	for _, v := range h.Node.Report().Values {
		if !v.Null && (math.IsNaN(v.Number) || math.IsInf(v.Number, 0)) {
			t.Errorf("the report says %s = %v", v.Name, v.Number)
		}
	}
	return h.Text(), h.Digest()
}

// checkUnlabelled feeds rows whose label is null.
func (s *subject) checkUnlabelled(t tester, feeds []feed) {
	if s.def.Role != operators.Learner || s.labels == nil {
		return
	}
	ports := make([]*batch.Schema, len(s.ports))
	for i, p := range s.ports {
		ports[i] = withNullable(p, s.labels...)
	}
	h := s.open(t, ports...)
	before, rows := h.Digest(), 0
	for _, f := range withNulls(feeds, s.labels...) {
		rows += f.rows.N
		if err := h.Feed(f.port, f.rows); err != nil {
			t.Fatal(err)
		}
	}
	if h.Digest() != before {
		t.Error("rows without a label changed the state")
	}
	if got := h.Output().N + len(h.Rejected); got != rows {
		t.Errorf("of %d rows without a label %d came out", rows, got)
	}
	for i, f := range h.Output().Schema.Fields {
		if !strings.HasPrefix(f.Name, NodeName+".") || !strings.HasSuffix(f.Name, ".loss") {
			continue
		}
		for row := range h.Output().N {
			if !h.Output().Cols[i].Null(row) {
				t.Fatalf("row %d has a loss, though no label", row)
			}
		}
	}
	if v, ok := func() (float64, bool) { r := h.Node.Report(); return r.Get("version") }(); ok && v != 0 {
		t.Errorf("version is %v after rows without a label", v)
	}
}

// checkAllocations feeds the same rows until memory has grown, then counts.
func (s *subject) checkAllocations(t tester, feeds []feed) {
	if s.c.Allocates != "" || s.def.Allocates != "" {
		return
	}
	h := s.open(t)
	h.noRecord = true
	feed := func() {
		for _, f := range feeds {
			f.rows.Origin.Clock = Clock
			if err := h.Node.Process(f.port, f.rows); err != nil {
				t.Fatal(err)
			}
		}
	}
	rejects := 0
	h.Node.OnReject = func(*batch.Batch, int, error) { rejects++ }
	for range 10 {
		feed()
	}
	// Where a model is rejecting rows only after a while, that is when the room for
	// batches with gaps is made.
	for again := range 3 {
		rejects = 0
		n := testing.AllocsPerRun(10, feed)
		// A rejected row costs the making of its message; it is not the hot path.
		perRun := float64(rejects) / 11
		if n <= 8*perRun {
			return
		}
		if again == 2 {
			t.Errorf("Process allocates %v times in 300 rows, of which %v were rejected", n, perRun)
		}
	}
}

// finiteState reports a NaN or Inf in a handle.
func finiteState(s any) error {
	if w, ok := s.(*weights.Table); ok {
		for i, v := range w.Data {
			if v-v != 0 {
				return fmt.Errorf("entry %d of the weights is %v", i, v)
			}
		}
		return nil
	}
	v := reflect.ValueOf(s)
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		for _, name := range []string{"V", "m"} { // of a cell, of a map
			if f := v.Elem().FieldByName(name); f.IsValid() {
				return finiteValue("", f)
			}
		}
	}
	return nil
}

func finiteValue(path string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		if x := v.Float(); math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("%s is %v", strings.TrimPrefix(path, "."), x)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if err := finiteValue(path+"."+v.Type().Field(i).Name, v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := finiteValue(fmt.Sprintf("%s[%d]", path, i), v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			if err := finiteValue(fmt.Sprintf("%s[%v]", path, i.Key()), i.Value()); err != nil {
				return err
			}
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return finiteValue(path, v.Elem())
		}
	}
	return nil
}

// difference names the first line in which two texts differ.
func difference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		x, y := "", ""
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d is %q, was %q", i+1, x, y)
		}
	}
	return "nowhere"
}
