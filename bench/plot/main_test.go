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
