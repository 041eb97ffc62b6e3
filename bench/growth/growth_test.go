//go:build unix

package main

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/weights"
)

func TestFit(t *testing.T) {
	exact := []point{{X: 1, Y: 5}, {X: 10, Y: 23}, {X: 100, Y: 203}}
	l := fit(exact)
	if l == nil || math.Abs(l.At0-3) > 1e-9 || math.Abs(l.Slope-2) > 1e-9 || l.Off > 1e-9 {
		t.Fatalf("%+v", l)
	}
	exact[1].Y = 30
	if l := fit(exact); l.Off < 0.05 || l.Off > 0.5 {
		t.Errorf("%+v", l)
	}
	if l := fit(exact[:2]); l != nil {
		t.Errorf("a line through two points: %+v", l)
	}
	if l := fit([]point{{X: 1, Y: 2}, {X: 1, Y: 3}, {X: 1, Y: 4}}); l != nil {
		t.Errorf("an upright line: %+v", l)
	}
	var text strings.Builder
	(&table{Name: "n", X: "x", Y: "y", Rows: exact, Line: l}).print(&text)
	if !strings.Contains(text.String(), "line: 3 + 2 x") {
		t.Error(text.String())
	}
}

func TestFleet(t *testing.T) {
	f := fleet{partitions: 1000, workers: 100, commit: 100 * time.Millisecond, perCore: 750}
	if got := f.transactions(1000); got != 10000 {
		t.Errorf("%v transactions a second", got)
	}
	if got := f.tasksWithin(6); got != 450 {
		t.Errorf("%d tasks", got)
	}
	var text strings.Builder
	f.print(&text)
	if !strings.Contains(text.String(), "1000 tasks: 10000 transactions/s, 13.3 broker cores") {
		t.Error(text.String())
	}
}

func TestParseThroughput(t *testing.T) {
	text := `{"summary": [{"variant": "pass", "events_per_second": 1000},
		{"variant": "standard", "events_per_second": 500000, "cpu_seconds_per_million": 2, "broker_cpu_seconds_per_million": 0.5, "ratio": 0.6}]}`
	worker, broker, err := parseThroughput([]byte(text), 16)
	if err != nil || worker != (point{16, 2, 0.6}) || broker != (point{16, 0.5, 500}) {
		t.Errorf("%v %v %v", worker, broker, err)
	}
	for _, bad := range []string{`{"summary": []}`, `{`} {
		if _, _, err := parseThroughput([]byte(bad), 1); err == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
}

// TestState saves what the tables are made of, and restores it.
func TestState(t *testing.T) {
	s := &suite{dir: t.TempDir(), repeats: 1}
	m := full(1 << 12)
	store, p, err := s.open(s.dir+"/a", m)
	if err != nil {
		t.Fatal(err)
	}
	stood, took, err := save(t.Context(), p, 1)
	if err != nil || took < stood {
		t.Errorf("%v, %v of %v", err, stood, took)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	again := weights.New(1<<12, perWeight)
	store, p, err = s.open(s.dir+"/a", again)
	if err != nil {
		t.Fatal(err)
	}
	if state.Digest(tableID, again) != state.Digest(tableID, m) {
		t.Error("what is restored is not what was saved")
	}
	if err := errors.Join(p.Close(), store.Close()); err != nil {
		t.Error(err)
	}
}

func TestRowFile(t *testing.T) {
	s := &suite{dir: t.TempDir()}
	columns, row := categoryRows(10)
	full, single, err := s.rowFile("a", columns, 50, row)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]int{full: 51, single: 2} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) != want || strings.Count(lines[1], ",") != categories {
			t.Errorf("%s: %d lines, the first row is %q", file, len(lines), lines[1])
		}
	}
}

func TestUnknown(t *testing.T) {
	if err := bench(t.Context(), []string{"-only", "operators,nothing"}, nil); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Error(err)
	}
}
