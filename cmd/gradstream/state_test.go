package main

import (
	"encoding/json"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// testState looks at the state of a pipeline that came to the numbers of a report
// of gradstream evaluate --json.
func testState(t *testing.T, f *trial, report string) {
	t.Helper()
	var want struct {
		Operators struct {
			Late struct {
				Nonzero int     `json:"weights_nonzero"`
				L2      float64 `json:"weights_l2"`
			}
		}
	}
	if err := json.Unmarshal([]byte(report), &want); err != nil {
		t.Fatal(err)
	}

	ls := f.do("state ls")
	for _, re := range []string{
		`(?m)^pipeline calm: 1 task with a checkpoint$`,
		`(?m)^task 0: step \d+, [0-9.]+ [KM]iB of state(, [0-9.]+ [KM]?i?B on disk)?$`,
		`(?m)^  calm.in/0: next offset 20000$`,
		`(?m)^  late/weights: \d+ of 262144 weights are not zero, L2 norm [0-9.]+$`,
	} {
		if !regexp.MustCompile(re).MatchString(ls) {
			t.Errorf("state ls: no line matches %s:\n%s", re, ls)
		}
	}
	if byDir := output(t, nil, "state", "ls", "--dir", filepath.Join(f.dir, f.name)); byDir != ls {
		t.Errorf("state ls --dir:\n%s\nstate ls FILE:\n%s", byDir, ls)
	}
	show := f.do("state show")
	for _, re := range []string{
		`(?m)^pipeline calm, task 0$`, `(?m)^  step      \d+$`, `(?m)^  hash      [0-9a-f]{64}$`, `(?m)^  cluster   \S+$`, `(?m)^  digest    [0-9a-f]{16}$`,
		`(?m)^@engine +task +1 +1 +\d+ +- +-$`, `(?m)^late +weights +1 +\d+ +\d+ +\d+ of 262144 weights are not zero, L2 norm [0-9.]+ +\S`,
	} {
		if !regexp.MustCompile(re).MatchString(show) {
			t.Errorf("state show: no line matches %s:\n%s", re, show)
		}
	}

	// The export, as lines and as Arrow, holds the weights of the report.
	nonzero, sum := 0, 0.0
	lines := f.do("state export")
	rows := 0
	for line := range strings.Lines(lines) {
		rows++
		var row struct {
			Node, Name  string
			Task, Index int
			W           float64
			Slot1       *float64
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil || row.Node != "late" || row.Name != "weights" || row.Index < 0 || row.Index >= 1<<18 {
			t.Fatalf("export: %v: %s", err, line)
		}
		if row.W != 0 {
			nonzero++
		}
		sum += row.W * row.W
	}
	if nonzero != want.Operators.Late.Nonzero || math.Abs(math.Sqrt(sum)-want.Operators.Late.L2) > 1e-9 {
		t.Errorf("the export has %d weights that are not zero and the norm %v, the report says %d and %v", nonzero, math.Sqrt(sum), want.Operators.Late.Nonzero, want.Operators.Late.L2)
	}
	arrow, again := filepath.Join(t.TempDir(), "w.arrow"), filepath.Join(t.TempDir(), "w.jsonl")
	f.do("state export", "--node", "late", "--task", "0", "--output", arrow)
	f.do("state export", "--output", again)
	schema := batch.NewSchema(batch.Field{Name: "index", Type: batch.Int64}, batch.Field{Name: "w", Type: batch.Float64})
	a, b := readRows(t, arrow, schema), readRows(t, again, schema)
	if a.N != rows || b.N != rows {
		t.Fatalf("%d rows as Arrow, %d in a file of lines, %d lines", a.N, b.N, rows)
	}
	for i := range rows {
		if a.Cols[0].Ints[i] != b.Cols[0].Ints[i] || a.Cols[1].Floats[i] != b.Cols[1].Floats[i] {
			t.Fatalf("row %d differs as Arrow and as JSON", i)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"export", "--node", "lake"}, "--node lake: no weights are stored under this name"},
		{[]string{"show", "--task", "7"}, "--task 7 has no checkpoint; there are the tasks 0"},
		{[]string{"export", "--output", "w.xlsx"}, `w.xlsx: unknown format ".xlsx"`},
	} {
		args := append(append([]string{"state"}, c.args...), "--dir", filepath.Join(f.dir, f.name))
		out, err := command(t.Context(), args...).CombinedOutput()
		if err == nil || err.Error() != "exit status 2" || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: %v, %s; expected exit code 2 and %s", args, err, out, c.want)
		}
	}
	out, err := command(t.Context(), "state", "ls", "--dir", f.dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "below it there is: "+filepath.Join(f.dir, f.name)) {
		t.Errorf("state ls on the folder above: %v, %s", err, out)
	}
}

func readRows(t *testing.T, path string, s *batch.Schema) *batch.Batch {
	t.Helper()
	r, err := file.Open(path, file.Options{Schema: s})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := batch.New(s)
	for {
		bad, err := r.Read(t.Context(), rows, 1<<20)
		if err == io.EOF {
			return rows
		}
		if err != nil || len(bad) > 0 {
			t.Fatal(err, bad)
		}
	}
}
