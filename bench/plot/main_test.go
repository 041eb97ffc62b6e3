package main

import (
	"image/png"
	"os"
	"path/filepath"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a.json"), filepath.Join(dir, "out", "a.png")
	for text, ok := range map[string]bool{
		`{"kafka": "4", "events": 10, "summary": [{"variant": "pass", "events_per_second": 1000}, {"variant": "none", "events_per_second": 600}],
		  "latencies": [{"variant": "pass", "p50_ms": 60, "p99_ms": 110, "p999_ms": 130, "events_per_second": 5000}]}`: true,
		`{"summary": []}`: false,
		`{`:               false,
	} {
		if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(from, to); (err == nil) != ok {
			t.Fatalf("%s: %v", text, err)
		}
	}
	f, err := os.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() < 1000 {
		t.Errorf("%v", err)
	}
}

func TestQuality(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a.json"), filepath.Join(dir, "out")
	for text, ok := range map[string]bool{
		`{"streams": [{"name": "a", "task": "binary", "rows": 40, "changes": [20], "drifts": [25, 30], "systems": [
		  {"system": "no_change", "curve": [1, 1]}, {"system": "gradstream", "curve": [0.7, 0.5]}, {"system": "vw"}]},
		  {"name": "b", "task": "number", "rows": 1, "systems": [{"system": "no_change", "curve": [0]}]}]}`: true,
		`{"streams": []}`: false,
		`{`:               false,
	} {
		if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := quality(from, to); (err == nil) != ok {
			t.Fatalf("%s: %v", text, err)
		}
	}
	for _, name := range []string{"a", "b"} {
		f, err := os.Open(filepath.Join(to, name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		if img, err := png.Decode(f); err != nil || img.Bounds().Dx() < 800 {
			t.Errorf("%s: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
