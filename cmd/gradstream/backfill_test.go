package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBackfill learns the first flights from a file and goes on with a topic that
// holds all of them, killed while it learns and behind it: every flight is learnt
// once, as if one file had held them all, and those of the topic are published once.
func TestBackfill(t *testing.T) {
	const rows, history, cut = 20000, 12000, 10000
	head, old := filepath.Join(t.TempDir(), "head.csv"), filepath.Join(t.TempDir(), "old.csv")
	headOfFlights(t, head, rows)
	headOfFlights(t, old, history)
	text, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	until := all[1+cut][1]
	want := map[string]bool{} // ids that the topic is read for
	for _, r := range all[1:] {
		if r[1] >= until {
			want[r[0]] = true
		}
	}
	f := newTrial(t, "history", "history.in", "embedded", "sources.flights.partitions=1", "commit.interval=10ms", "commit.rows=500", "checkpoint.local=200ms")
	f.do("produce", "--source", "flights", "--input", head)
	report := f.do("evaluate", "--input", "flights="+head, "--json")
	flags := []string{"--backfill", "flights=" + old, "--backfill-until", until}
	for _, moment := range []string{`learning history`, `history learnt`} {
		p := f.run(flags...)
		p.waitLog(moment)
		p.kill()
	}
	p := f.run(flags...)
	f.addr = p.waitLog(`embedded broker: .* address=(\S+)`)[1]
	f.waitCommitted(f.admin(), p, rows)
	sameMetrics(t, p, report, rows)
	seen := map[string]int{}
	published := consumeRecords(t, f.addr, "history.predictions", len(want))
	for _, r := range published {
		_, id, _ := strings.Cut(string(r.Value), `"id":`)
		id, _, _ = strings.Cut(id, ",")
		seen[id]++
	}
	for id := range want {
		if seen[id] != 1 {
			t.Fatalf("flight %s is published %d times", id, seen[id])
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d flights are published, want %d", len(seen), len(want))
	}
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	// The log does not hold the file: what looks back does so from a checkpoint.
	f.addr = "embedded"
	if out := f.do("replay", "--task", "0"); !strings.Contains(out, "task 0: replayed 0 steps from the checkpoint of step ") {
		t.Errorf("replay:\n%s", out)
	}
	refused(t, f, exitInput, "comes before the checkpoint in the state topic", "explain", "--id", headerOf(published[0], "gs-id"))
	// The file is not needed any more.
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	p = f.run()
	if m := p.waitLog(`task restored.* checkpoint=(\d+) .*replayed=(\d+)`); m[1] == "0" || m[2] != "0" {
		t.Errorf("restored from step %s with %s steps replayed", m[1], m[2])
	}
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
}
