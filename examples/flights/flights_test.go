package flights_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/examples/flights"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift"
	"github.com/gradstream/gradstream/operators/evaluate"
	"github.com/gradstream/gradstream/operators/feature"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/run"
)

var update = flag.Bool("update", false, "write expected.json anew")

// summary is what expected.json holds: the report of gradstream evaluate without
// the times.
type summary struct {
	Pipeline  string                    `json:"pipeline"`
	Rows      int64                     `json:"rows"`
	Errors    int64                     `json:"errors"`
	Operators map[string]map[string]any `json:"operators"`
}

func load(t *testing.T) *pipeline.Pipeline {
	t.Helper()
	p, errs := pipeline.Parse("pipeline.yaml", flights.Pipeline, pipeline.Options{
		Registry: operators.Merge(&feature.Family, &learn.Family, &evaluate.Family, &drift.Family),
		Lookup:   func(string) (string, bool) { return "", false },
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

func open(t *testing.T, p *pipeline.Pipeline) connectors.Reader {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flights.csv.gz")
	if err := os.WriteFile(path, flights.Data, 0o644); err != nil {
		t.Fatal(err)
	}
	s := p.Sources[0]
	r, err := file.Open(path, file.Options{Schema: s.Schema, Time: s.Time})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func evaluated(t *testing.T, rows int) summary {
	t.Helper()
	p := load(t)
	newEncoder := func(format string, s *batch.Schema) (connectors.Encoder, error) {
		return codec.NewEncoder(format, s, codec.Options{})
	}
	e, err := run.Evaluate(t.Context(), p, run.EvaluateOptions{
		Formats: run.Formats{NewEncoder: newEncoder}, Inputs: map[string]connectors.Reader{"flights": open(t, p)}, BatchRows: rows, Now: time.Now,
		Encode: func(s *batch.Schema) (connectors.Encoder, error) { return newEncoder("json", s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var s summary
	if err := json.Unmarshal(e.JSON(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestExpectedSummary runs the example over its file; the numbers are the same to
// the last digit on every machine.
func TestExpectedSummary(t *testing.T) {
	got := evaluated(t, 0)
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("expected.json", append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want summary
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-expected.json +got (-update writes it anew):\n%s", d)
	}
	if d := cmp.Diff(got, evaluated(t, 7)); d != "" {
		t.Errorf("how rows are cut into batches makes a difference:\n%s", d)
	}

	quality, baseline := want.Operators["quality"], want.Operators["baseline_quality"]
	// Published figures of a plain scaled logistic regression on this stream, and
	// of the baseline.
	if quality["accuracy"].(float64) < 0.809 || quality["log_loss"].(float64) > 0.443 || quality["roc_auc"].(float64) < 0.781 {
		t.Errorf("the example is worse than a plain model: %v", quality)
	}
	if math.Abs(baseline["accuracy"].(float64)-0.719) > 0.0005 || math.Abs(baseline["log_loss"].(float64)-0.880) > 0.0005 {
		t.Errorf("no change: %v, expected 0.719 and 0.880", baseline)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		fmt.Sprintf("| `late` | %.4f | %.4f | %.4f |", quality["accuracy"], quality["log_loss"], quality["roc_auc"]),
		fmt.Sprintf("| `baseline` | %.4f | %.4f | – |", baseline["accuracy"], baseline["log_loss"]),
		fmt.Sprintf("finds %d changes", len(want.Operators["drift"]["drifts"].([]any))),
	} {
		if !strings.Contains(string(readme), line) {
			t.Errorf("README.md does not say %q", line)
		}
	}
}

// TestData checks what the README says of the file.
func TestData(t *testing.T) {
	p := load(t)
	r := open(t, p)
	rows := batch.New(p.Sources[0].Schema)
	n, positive := int64(0), 0
	last := int64(math.MinInt64)
	for {
		rows.Reset()
		bad, err := r.Read(t.Context(), rows, 4096)
		if err == io.EOF {
			break
		}
		if err != nil || len(bad) > 0 {
			t.Fatal(err, bad)
		}
		for row := range rows.N {
			if id := rows.Col("id").Ints[row]; id != n {
				t.Fatalf("row %d has id %d", n, id)
			}
			hhmm := rows.Col("sched_dep_time").Ints[row]
			at := time.Date(2013, time.Month(rows.Col("month").Ints[row]), int(rows.Col("day").Ints[row]), int(hhmm/100), int(hhmm%100), 0, 0, time.UTC).UnixMilli()
			if ts := rows.Col("ts").Ints[row]; ts != at || ts < last {
				t.Fatalf("row %d: ts %d, expected %d, not before %d", n, ts, at, last)
			}
			last = at
			if rows.Col("y").Bools[row] {
				positive++
			}
			n++
		}
	}
	if n != flights.Rows {
		t.Errorf("%d rows, expected %d", n, flights.Rows)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if says := fmt.Sprintf("%.1f %% of them", 100*float64(positive)/float64(n)); !bytes.Contains(readme, []byte(says)) {
		t.Errorf("README.md does not say %q", says)
	}
}
