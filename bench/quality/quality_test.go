package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift"
	"github.com/gradstream/gradstream/operators/evaluate"
	"github.com/gradstream/gradstream/operators/feature"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/pipeline"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }

// TestRate compares with what scikit-learn 1.9.1 gives for the same labels and predictions: accuracy_score, log_loss of the
// probabilities of all classes clipped to [1e-15, 1-1e-15], cohen_kappa_score, roc_auc_score, mean_absolute_error, and the root of
// mean_squared_error.
func TestRate(t *testing.T) {
	for _, c := range []struct {
		table table
		text  string
		want  map[string]float64
	}{
		{table{stream: stream{task: binary}, labels: []float64{0, 1, 1, 0, 1, 0, 1, 1, 0, 0}},
			"p\n0.1\n0.8\n0.5\n0.5\n1\n1.0\n0.35\n9e-1\n0\n0.2\n",
			map[string]float64{"accuracy": 0.7, "log_loss": 3.763190101447332, "roc_auc": 0.76}},
		{table{stream: stream{task: classes}, labels: []float64{0, 1, 2, 2, 1, 0, 0, 2}, classes: []string{"a", "b, c", "d"}},
			"a,\"b, c\",d\n.7,.2,.1\n.3,.4,.3\n.2,.5,.3\n0,0,1\n.5,.5,0\n.1,.8,.1\n0,.25,.75\n0.3333333333333333,0.3333333333333333,0.3333333333333333\n",
			map[string]float64{"accuracy": 0.375, "log_loss": 5.138757429658951, "kappa": 0.06976744186046513}},
		{table{stream: stream{task: number}, labels: []float64{1.5, -2, 0, 7, 3.25}}, "p\n1\n-1\n0.5\n9\n3\n",
			map[string]float64{"mae": 0.85, "rmse": 1.0547511554864493}},
	} {
		p, err := parsePredictions(strings.NewReader(c.text), &c.table)
		if err != nil {
			t.Fatal(err)
		}
		s := rate(&c.table, p)
		for name, want := range c.want {
			if got, ok := s.Metrics[name]; !ok || !near(got, want) {
				t.Errorf("%s: %s %v, want %v", c.table.task, name, got, want)
			}
		}
		if len(s.Metrics) != len(c.want) || s.Diverged || !near(mean(s.Curve), s.Metrics[lossName(c.table.task)]) {
			t.Errorf("%s: %+v", c.table.task, s)
		}
	}
}

func TestPredictionsThatCannotBe(t *testing.T) {
	two := &table{stream: stream{task: classes}, labels: []float64{0, 1}, classes: []string{"a", "b"}}
	for _, text := range []string{"a,b\n1,0\n", "a,b\n1,0\n0,1\n0,1\n", "b,a\n1,0\n0,1\n", "a,b\n1\n0,1\n", "a,b\n1,x\n0,1\n"} {
		if _, err := parsePredictions(strings.NewReader(text), two); err == nil || errors.Is(err, errNotMeant) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := parsePredictions(strings.NewReader(""), two); !errors.Is(err, errNotMeant) {
		t.Errorf("an empty file: %v", err)
	}
}

// TestDiverged: what is not finite is said, and neither hides as a metric nor keeps the results from being written.
func TestDiverged(t *testing.T) {
	for _, text := range []string{"nan", "inf", "1e999", "1e9"} {
		y := &table{stream: stream{task: number}, labels: []float64{1, 2, 3}}
		p, err := parsePredictions(strings.NewReader("p\n1\n"+text+"\n3\n"), y)
		if err != nil {
			t.Fatal(err)
		}
		s := rate(y, p)
		if _, err := json.Marshal(s); err != nil || !s.Diverged {
			t.Errorf("%s: %+v %v", text, s, err)
		}
	}
	y := &table{stream: stream{task: binary}, labels: []float64{1, 0}}
	if s := rate(y, &predictions{1, []float64{math.NaN(), 0.5}}); !s.Diverged {
		t.Errorf("%+v", s)
	} else if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
}

// TestNoChange compares with the share of labels that equal the one before.
func TestNoChange(t *testing.T) {
	y := &table{stream: stream{task: classes}, labels: []float64{2, 2, 0, 0, 1}, classes: []string{"a", "b", "c"}}
	if s := rate(y, noChange(y)); !near(s.Metrics["accuracy"], 2.0/5) || s.Diverged {
		t.Errorf("%+v", s)
	}
	y = &table{stream: stream{task: binary}, labels: []float64{0, 0, 1, 1}}
	if p := noChange(y).values; !slices.Equal(p, []float64{0.5, 0.05, 0.05, 0.9500000000000001}) {
		t.Errorf("%v", p)
	}
	y = &table{stream: stream{task: number}, labels: []float64{4, 6, 5}}
	if p := noChange(y).values; !slices.Equal(p, []float64{0, 4, 6}) {
		t.Errorf("%v", p)
	}
}

// TestPipelines checks the pipeline of every learner for every stream, with columns whose names need care.
func TestPipelines(t *testing.T) {
	registry := operators.Merge(&feature.Family, &learn.Family, &evaluate.Family, &drift.Family)
	for _, s := range streams {
		y := &table{stream: s, names: append([]string{"y"}, s.categorical...), missing: make([]bool, 20)}
		if s.text+s.sparse != "" {
			y.names = append(y.names, s.text+s.sparse)
		} else {
			y.names = append(y.names, "a-b", "99", `say "a: b"`)
			y.missing[len(y.names)-1] = true
		}
		if s.task == classes {
			y.classes = []string{"1", "grass land", "no"}
		}
		for i, way := range ours {
			if way.operator(y) == "" {
				if i == 0 {
					t.Errorf("%s: no default", s.name)
				}
				continue
			}
			text, err := pipelineFor(y, way)
			if err != nil {
				t.Fatal(err)
			}
			if _, errs := pipeline.Parse(s.name, []byte(text), pipeline.Options{Registry: registry}); len(errs) > 0 {
				t.Errorf("%s, %s: %v\n%s", s.name, way.name, errs, text)
			}
		}
	}
}

// write writes a stream in which y is 1 where a is above b, and returns its folder.
func write(t *testing.T, name string, rows int) string {
	t.Helper()
	var text bytes.Buffer
	packed := gzip.NewWriter(&text)
	fmt.Fprintln(packed, "y,a,b")
	for i := range rows {
		a, b := i*37%101, i*53%97
		fmt.Fprintf(packed, "%d,%d,%d\n", map[bool]int{true: 1}[a > b], a, b)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name+".csv.gz"), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOpen(t *testing.T) {
	dir := write(t, "bananas", 50)
	s := stream{name: "bananas", task: binary}
	path := filepath.Join(dir, "bananas.csv.gz")
	all, err := s.open(path, dir, 0)
	if err != nil || len(all.labels) != 50 || !slices.Equal(all.numeric(), []string{"a", "b"}) {
		t.Fatalf("%+v %v", all, err)
	}
	part, err := s.open(path, dir, 20)
	if err != nil || !slices.Equal(part.labels, all.labels[:20]) || part.file == path {
		t.Fatalf("%+v %v", part, err)
	}
	if again, err := s.open(part.file, dir, 0); err != nil || !slices.Equal(again.labels, part.labels) {
		t.Errorf("%+v %v", again, err)
	}
	s.task = classes
	if y, err := s.open(path, dir, 0); err != nil || !slices.Equal(y.classes, []string{"0", "1"}) {
		t.Errorf("%+v %v", y, err)
	}
	s.text = "c"
	if _, err := s.open(path, dir, 0); err == nil || !strings.Contains(err.Error(), `no column "c"`) {
		t.Errorf("%v", err)
	}
}

// TestJudge goes through tolerances, and counts what is better.
func TestJudge(t *testing.T) {
	at := func(name string, accuracy, loss float64) system {
		return system{name, score{Metrics: map[string]float64{"accuracy": accuracy, "log_loss": loss}, Curve: []float64{1}}}
	}
	f := found{Name: "s", Task: binary, Systems: []system{at(none, 0.9, 2), at("gradstream", 0.799, 0.505), at("river", 0.8, 0.6), at("vw", 0.7, 0.5), at("river-tree", 0.95, 0.1)}}
	f.judge()
	if len(f.Verdicts) != 2 || !f.Verdicts[0].Within || f.Verdicts[0].By != "river" || !f.Verdicts[1].Within || f.Verdicts[1].By != "vw" {
		t.Errorf("%+v", f.Verdicts)
	}
	if f.system("river").Curve != nil || f.system("vw").Curve == nil {
		t.Error("curves of the wrong systems are kept")
	}
	for _, c := range []struct {
		metric     string
		ours, best float64
		within     bool
	}{{"accuracy", 0.7979, 0.8, false}, {"accuracy", 0.9, 0.8, true}, {"log_loss", 0.5051, 0.5, false}, {"mae", 2.02, 2, true}, {"mae", 2.03, 2, false}, {"mae", 1, 2, true}} {
		if by, within := behind(c.metric, c.ours, c.best); within != c.within || (by > 0) != better(c.metric, c.best, c.ours) {
			t.Errorf("%+v: %v %v", c, by, within)
		}
	}
	r := results{Streams: []found{f}}
	r.sum()
	var out strings.Builder
	r.print(&out)
	for _, want := range []string{"| s | 0 | 0.900 2.000 – |", "Within 0.2 points of accuracy on 1 of 1", "| river linear | 0 of 1 | 1 of 1 | 0 |", "diverged on: none"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not there: %s\n%s", want, out.String())
		}
	}
}

// TestBench runs the command with nobody to compare with: it needs no Python. What evaluate reports has to be what the
// predictions give.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs gradstream: not with -short")
	}
	dir, file := write(t, "bananas", 600), filepath.Join(t.TempDir(), "r.json")
	var out strings.Builder
	if err := bench(t.Context(), []string{"-data", dir, "-work", t.TempDir(), "-streams", "bananas,elec2", "-peers", "none", "-json", file}, &out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Streams) != 1 || len(r.LeftOut) != 1 || r.Streams[0].system("gradstream").Metrics["accuracy"] < 0.85 {
		t.Errorf("%s", text)
	}
	for _, bad := range []string{"", "-data x -streams nope", "-data x -peers nope", "-data x y"} {
		if err := bench(t.Context(), strings.Fields(bad), &out); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
