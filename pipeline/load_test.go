package pipeline

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected outputs in testdata")

// testOptions are the options all files in testdata are read with.
func testOptions() Options {
	return Options{Registry: testRegistry, Lookup: func(name string) (string, bool) {
		v, ok := map[string]string{"BITS": "18", "TOPIC": "clicks", "KAFKA_PASSWORD": plantedSecret, "PW": plantedShort, "EMPTY": ""}[name]
		return v, ok
	}}
}

// golden compares got with the text in a file, or writes it there under -rewrite.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -rewrite accepts it):\n%s", file, diff)
	}
}

func files(t *testing.T, pattern string, least int) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < least {
		t.Fatalf("%s: %d files, expected at least %d", pattern, len(names), least)
	}
	return names
}

func TestGood(t *testing.T) {
	for _, file := range files(t, "testdata/good/*.yaml", 3) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p, errs := Load(file, testOptions())
			if errs != nil {
				t.Fatal(errs)
			}
			for _, format := range GraphFormats {
				var b bytes.Buffer
				if err := WriteGraph(&b, p, format); err != nil {
					t.Fatal(err)
				}
				golden(t, strings.TrimSuffix(file, "yaml")+map[string]string{"text": "txt", "mermaid": "mmd", "dot": "dot"}[format], b.String())
			}
		})
	}
}

func TestBad(t *testing.T) {
	for _, file := range files(t, "testdata/bad/*.yaml", 40) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, errs := Parse(filepath.Base(file), data, testOptions())
			if p != nil || len(errs) == 0 {
				t.Fatal("the file was found correct")
			}
			golden(t, strings.TrimSuffix(file, "yaml")+"txt", errs.Error()+"\n")
		})
	}
}

// TestDocs keeps the generated texts in sight.
func TestDocs(t *testing.T) {
	var b bytes.Buffer
	if err := WriteOperators(&b, testRegistry); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/docs/operators.txt", b.String())
	b.Reset()
	if err := WriteOperator(&b, testRegistry.Lookup("vectorize")); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/docs/vectorize.txt", b.String())
	b.Reset()
	if err := WriteReference(&b, operators.Merge(testFamily)); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/docs/reference.md", b.String())
}

func TestDefaults(t *testing.T) {
	p, errs := Load("testdata/good/minimal.yaml", testOptions())
	if errs != nil {
		t.Fatal(errs)
	}
	want := &Pipeline{
		File: "testdata/good/minimal.yaml", Name: "p", StateDir: "./data",
		Commit:     Commit{Interval: 100 * time.Millisecond, Rows: 32768, Bytes: 16 << 20},
		Checkpoint: Checkpoint{Local: 3 * time.Second, Remote: 30 * time.Second},
		Sources: []*Source{{
			Name: "in", Pos: spec.Pos{File: "testdata/good/minimal.yaml", Line: 3, Col: 3}, Topic: "t", Start: "earliest",
			Format: "json", Schema: batch.NewSchema(batch.Field{Name: "x", Type: batch.Float64}), Errors: "p.errors", Partitions: 4,
		}},
	}
	if diff := cmp.Diff(want, p, cmpopts.IgnoreUnexported(Pipeline{})); diff != "" {
		t.Error(diff)
	}
	if !p.Kafka.Embedded() {
		t.Error("the brokers are not embedded")
	}
}

func TestLoaded(t *testing.T) {
	p, errs := Load("testdata/good/join.yaml", testOptions())
	if errs != nil {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(Kafka{Brokers: []string{"kafka-1:9092", "kafka-2:9092"}, Replication: 3}, p.Kafka); diff != "" {
		t.Error(diff)
	}
	if p.Tasks != 8 || p.StateDir != "/var/lib/gradstream" || p.Commit.Bytes != 1<<20 || p.Checkpoint.Remote != 12*time.Hour {
		t.Errorf("tasks %d, state in %s, commit %v, checkpoint %v", p.Tasks, p.StateDir, p.Commit, p.Checkpoint)
	}
	var order []string
	for _, n := range p.Nodes {
		order = append(order, n.Name)
	}
	if diff := cmp.Diff([]string{"subgraph", "narrow"}, order); diff != "" {
		t.Error(diff)
	}
	end := p.Sinks[0]
	if end.Name != "end" || end.Partitions != 16 || end.Headers != "full" {
		t.Errorf("%+v", end)
	}
	for i, in := range end.Inputs {
		if diff := cmp.Diff([]int{0, 1}, in.Columns); diff != "" || in.Key != -1 || in.Version != -1 {
			t.Errorf("input %d: key %d, version %d, columns %s", i, in.Key, in.Version, diff)
		}
	}
	if _, err := p.Nodes[0].Build(0); err != nil {
		t.Error(err)
	}
	if p.Source("payments") != 1 || p.Source("none") != -1 {
		t.Error("sources are not found by name")
	}
}

// TestModelVersion: full headers name the version of the last learner on the way.
func TestModelVersion(t *testing.T) {
	p, errs := Load("testdata/good/clicks.yaml", testOptions())
	if errs != nil {
		t.Fatal(errs)
	}
	for _, s := range p.Sinks {
		for i, in := range s.Inputs {
			got := ""
			if in.Version >= 0 {
				got = in.Schema.Fields[in.Version].Name
			}
			if want := map[string]string{"ctr": "ctr.version"}[s.From[i]]; got != want {
				t.Errorf("sink %s of %s: version column %q, want %q", s.Name, s.From[i], got, want)
			}
			if s.Key != "" && in.Schema.Fields[in.Key].Name != s.Key {
				t.Errorf("sink %s: key column %d", s.Name, in.Key)
			}
		}
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, make([]byte, spec.MaxBytes+1), 0o644); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "none.yaml")
	for path, want := range map[string]string{
		missing: "cannot read the file: no such file or directory; expected a pipeline file",
		dir:     "cannot read the file: is a directory; expected a pipeline file",
		big:     "cannot read the file: it has 1048577 bytes, and a pipeline file at most 1048576; expected a pipeline file",
	} {
		p, errs := Load(path, testOptions())
		if p != nil || len(errs) != 1 || errs[0].Error() != path+": "+want {
			t.Errorf("got %v, want %s: %s", errs, path, want)
		}
	}
}

func TestSet(t *testing.T) {
	for _, tc := range []struct {
		set   []string
		check func(p *Pipeline) bool
		want  string
	}{
		{[]string{"kafka.brokers=a:1,b:2", "tasks=3"}, func(p *Pipeline) bool { return len(p.Kafka.Brokers) == 2 && p.Tasks == 3 }, ""},
		{[]string{"operators.ctr.logistic_regression.optimizer.sgd.rate=1", "operators.ctr.logistic_regression.optimizer=sgd"},
			func(p *Pipeline) bool {
				return spec.Canonical(p.Nodes[1].Config) == "{label: y, features: features, optimizer: {sgd: {rate: 0.05}}, l2: 1e-06}"
			}, ""},
		{[]string{"sources.clicks.topic=${TOPIC}-2"}, func(p *Pipeline) bool { return p.Sources[0].Topic == "clicks-2" }, ""},
		{[]string{"commit.intervall=1s", "tasks=none", "sinks.metrics.from=[quality, drft]"}, nil,
			"--set commit.intervall: unknown field \"intervall\"; did you mean \"interval\"?\n" +
				"--set sinks.metrics.from: no source or operator \"drft\"; did you mean \"drift\"?\n" +
				"--set tasks: tasks is \"none\"; expected partitions, or a whole number from 1 to 999999"},
		{[]string{"tasks"}, nil, "--set tasks: there is no = sign; expected path=value"},
	} {
		o := testOptions()
		o.Set = tc.set
		p, errs := Load("testdata/good/clicks.yaml", o)
		if got := errs.Error(); got != tc.want {
			t.Errorf("%q: %s", tc.set, got)
		} else if tc.want == "" && !tc.check(p) {
			t.Errorf("%q does not show: %+v", tc.set, p)
		}
	}
}

// TestHash: what changes results changes the hash, and nothing else does.
func TestHash(t *testing.T) {
	hash := func(set ...string) string {
		o := testOptions()
		o.Set = set
		p, errs := Load("testdata/good/clicks.yaml", o)
		if errs != nil {
			t.Fatal(set, errs)
		}
		return p.Hash()
	}
	seen := map[string]string{hash(): "nothing"}
	for _, set := range []string{
		"pipeline=other", "tasks=2", "sources.clicks.topic=other", "sources.clicks.format=csv", "sources.clicks.time=null",
		"sources.clicks.schema.price=float64?", "sources.clicks.schema.extra=int64", "operators.features.vectorize.bits=19",
		"operators.ctr.logistic_regression.optimizer.adagrad.rate=0.1", "operators.quality.evaluate.every=1",
		"operators.drift.from=features", "operators.more={from: ctr, adwin: {column: price}}", "sinks.predictions.key=site",
		"sinks.predictions.columns.p=ctr.score", "sinks.predictions.columns.q=ctr.score", "sinks.predictions.headers=full",
		"sinks.metrics.from=quality", "sinks.metrics.topic=other", "sinks.metrics.format=arrow",
	} {
		args := []string{set}
		if strings.HasPrefix(set, "operators.drift.from") {
			args = append(args, "operators.drift.adwin.column=price")
		}
		h := hash(args...)
		if other := seen[h]; other != "" {
			t.Errorf("%s and %s have one hash", set, other)
		}
		seen[h] = set
	}
	for _, set := range []string{
		"kafka.brokers=localhost:9092", "kafka.replication=1", "commit.interval=1s", "checkpoint.local=1s", "state.dir=elsewhere",
		"sources.clicks.start=latest", "sources.clicks.errors=bad", "sources.clicks.partitions=8", "sinks.metrics.partitions=8",
		"operators.features.vectorize.scale=standard", "tasks=partitions",
	} {
		if h := hash(set); seen[h] != "nothing" {
			t.Errorf("%s changes the hash", set)
		}
	}
}

func TestMaxOperators(t *testing.T) {
	var b strings.Builder
	b.WriteString("pipeline: p\nsources: {s: {topic: t, schema: {x: float64}}}\noperators:\n")
	for i := range MaxOperators + 1 {
		fmt.Fprintf(&b, "  n%d: {from: s, adwin: {column: x}}\n", i)
	}
	_, errs := Parse("f", []byte(b.String()), testOptions())
	if got, want := errs.Error(), "f:4:3: there are 1001 operators; expected at most 1000"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestIndependence: an error hides no other. Every pair of these mistakes gives
// the errors that each gives alone.
func TestIndependence(t *testing.T) {
	base, err := os.ReadFile("testdata/good/clicks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	mistakes := []struct{ old, new string }{
		{"pipeline: clicks", "pipeline: cl icks"},
		{"brokers: ${KAFKA_BROKERS:embedded}", "brokers: nowhere"},
		{"tasks: partitions", "tasks: -1"},
		{"{interval: 100ms}", "{interval: soon}"},
		{"{local: 3s, remote: 30s}", "{locl: 3s, remote: 30s}"},
		{"state:      {dir: ./data}", "stat:       {dir: ./data}"},
		{"topic: clicks\n", "topic: ${NONE}\n"},
		{"start: earliest", "start: now"},
		{"format: json", "fromat: json"},
		{"time: ts", "time: user"},
		{"price: float64", "price: flote64"},
		{"y: bool?", "y: maybe"},
		{"errors: clicks.errors", "errors: clicks errors"},
		{"bits: 18", "bits: 99"},
		{"numeric: [price]", "numeric: [prize]"},
		{"scale: standard", "scale: standrd"},
		{"categorical: [user, site]", "categorical: [user, sight]"},
		{"cross: [[user, site]]", "cross: [[user, ts]]"},
		{"    from: features", "    from: feature"},
		{"      label: y", "      label: yes"},
		{"{adagrad: {rate: 0.05}}", "{adagrad: {rate: 5e7}}"},
		{"l2: 1e-6", "l2: much"},
		{"{prediction: ctr, label: y, metrics", "{prediction: ctr, label: z, metrics"},
		{"adwin: {column: ctr.loss, delta: 0.002}", "adwin: {column: sit, delta: 2}"},
		{"columns: {id: id, p: ctr.probability, version: ctr.version}", "columns: {id: ident}"},
		{"key: user", "key: usr"},
		{"from: [quality, drift]", "from: [quality, drft]"},
		{"topic: clicks.metrics", "topic: clicks/metrics"},
		{"topic: clicks.predictions", "topic: clicks.journal"},
	}
	// Where one mistake takes away what the other is about.
	dependent := map[string]bool{
		"pipeline: cl icks, topic: clicks.journal": true, // no name, no topics of the pipeline's own
	}
	for _, m := range []string{"label: yes", "label: z", "column: sit", "ident", "usr"} {
		dependent["    from: feature, "+m] = true // no input, no columns
	}
	check := func(pick ...int) []string {
		text := string(base)
		for _, i := range pick {
			m := mistakes[i]
			if strings.Count(text, m.old) != 1 {
				t.Fatalf("%q occurs %d times", m.old, strings.Count(text, m.old))
			}
			text = strings.Replace(text, m.old, m.new, 1)
		}
		p, errs := Parse("f", []byte(text), testOptions())
		if p != nil {
			t.Fatalf("%q passes", mistakes[pick[0]].new)
		}
		var lines []string
		for _, e := range errs {
			lines = append(lines, e.Pos.String()+": "+e.Msg) // which columns to suggest may depend on both
		}
		slices.Sort(lines)
		return lines
	}
	var alone [][]string
	for i := range mistakes {
		alone = append(alone, check(i))
	}
	for i := range mistakes {
		for j := range i {
			if slices.ContainsFunc(slices.Collect(maps.Keys(dependent)), func(d string) bool {
				a, b, _ := strings.Cut(d, ", ")
				return mistakes[j].new == a && strings.Contains(mistakes[i].new, b)
			}) {
				continue
			}
			want := slices.Concat(alone[j], alone[i])
			slices.Sort(want)
			if diff := cmp.Diff(want, check(i, j)); diff != "" {
				t.Errorf("%q with %q (-alone +together):\n%s", mistakes[j].new, mistakes[i].new, diff)
			}
		}
	}
}

// FuzzLoad: no text makes the program fail, and what is wrong is in the file.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, errs := Parse("f", data, testOptions())
		if (p == nil) == (len(errs) == 0) {
			t.Fatalf("pipeline %v with errors %v", p, errs)
		}
		if p != nil {
			for _, format := range GraphFormats {
				if err := WriteGraph(io.Discard, p, format); err != nil {
					t.Fatal(err)
				}
			}
			for _, n := range p.Nodes {
				if n.Schema == nil {
					t.Fatalf("operator %s has no columns", n.Name)
				}
			}
			p.Hash()
		}
		text := strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n"), "\r", "\n")
		lines := strings.Split(text, "\n")
		for _, e := range errs {
			at := e.Pos
			if at.File != "f" || e.Msg == "" || strings.ContainsAny(e.Error(), "\n") {
				t.Fatalf("error %q", e.Error())
			}
			if at.Line == 0 && len(data) > spec.MaxBytes {
				continue
			}
			if at.Line < 1 || at.Line > len(lines) || at.Col < 1 || at.Col > utf8.RuneCountInString(lines[at.Line-1])+1 {
				t.Fatalf("%v lies outside of the file", e)
			}
		}
	})
}
