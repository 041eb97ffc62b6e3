package run_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/state"
	tables "github.com/gradstream/gradstream/state/weights"
)

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
			picks, more := 25, []string(nil)
			switch name {
			case "cross":
				picks = 100
			case "text": // whose sink is the first, which writes into the step's outputs in place
				more = []string{"  predictions:\n", "  first:\n"}
			}
			c := newCluster(t, loadAds(t, name, cross, more...), nil)
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
