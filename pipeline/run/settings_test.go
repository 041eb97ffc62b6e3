package run_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/run"
)

// TestDoubts looks at topics as run makes them, and as others might have.
func TestDoubts(t *testing.T) {
	p := load(t, clicks, "TASKS", "1", "PARTITIONS", "1")
	c := newCluster(t, p, nil)
	k := c.open(0, "")
	defer k.Close()
	doubts := func() []string {
		t.Helper()
		all, err := run.Doubts(t.Context(), p, k)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all := doubts(); len(all) > 0 {
		t.Errorf("of topics that are missing: %q", all)
	}
	if _, err := run.Prepare(t.Context(), p, k, true); err != nil {
		t.Fatal(err)
	}
	if all := doubts(); len(all) > 0 {
		t.Errorf("of topics of our own: %q", all)
	}

	adm := c.admin()
	for _, topic := range []string{"clicks", "clicks.journal", "clicks.state"} {
		if r, err := adm.DeleteTopic(t.Context(), topic); err != nil || r.Err != nil {
			t.Fatal(r, err)
		}
	}
	err := k.Create(t.Context(), []connectors.Topic{
		{Name: "clicks", Partitions: 1, Config: map[string]string{"cleanup.policy": "compact", "min.compaction.lag.ms": "299999"}},
		{Name: "clicks.journal", Partitions: 1, Config: map[string]string{"retention.ms": "604800000"}},
		{Name: "clicks.state", Partitions: 1, Config: map[string]string{"cleanup.policy": "compact,delete"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	all := doubts()
	for _, want := range []string{
		"source topic clicks is compacted, with min.compaction.lag.ms=299999: ", "expected 300000 (10 times checkpoint.remote) or more",
		"topic clicks.journal has retention.ms=604800000, expected -1: ", "topic clicks.state has cleanup.policy=compact,delete, expected compact: ",
	} {
		if !slices.ContainsFunc(all, func(d string) bool { return strings.Contains(d, want) }) {
			t.Errorf("%q lack %q", all, want)
		}
	}
	if len(all) != 3 {
		t.Errorf("%q", all)
	}
}
