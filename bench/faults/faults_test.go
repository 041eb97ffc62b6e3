//go:build linux

package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

// TestFaults runs the quicker rows. The others take minutes: go run ./bench/faults.
func TestFaults(t *testing.T) {
	required := os.Getenv("GRADSTREAM_REQUIRE_KAFKA") == "1"
	if testing.Short() && !required {
		t.Skip("starts a real Kafka: not with -short")
	}
	s := &suite{seed: 1, out: io.Discard}
	if err := s.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.cluster(t.Context(), 1); errors.Is(err, realkafka.ErrUnavailable) && !required {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	results, err := s.run(t.Context(), "F1.points,F3.term,F8,F15")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		t.Logf("%s %s: %s, %d events, hole %d ms, %.1f s, %s %s", r.Fault, r.Name, r.Status, r.Events, r.HoleMS, r.Seconds, r.seen(), r.Note)
		if r.Status != passed || r.Lost+r.Duplicated > 0 || r.Events == 0 {
			t.Errorf("%s", r.Error)
		}
	}
	if len(results) != 4 {
		t.Errorf("%d rows were run", len(results))
	}
}

// TestRows checks that every fault has a row, and that each row runs or says why it does not.
func TestRows(t *testing.T) {
	seen, last := map[string]bool{}, 0
	for _, r := range rows {
		n := 0
		for _, c := range strings.TrimPrefix(r.fault, "F") {
			n = 10*n + int(c-'0')
		}
		if n != last && n != last+1 {
			t.Errorf("%s follows F%d", r.fault, last)
		}
		last = n
		if key := r.fault + "." + r.name; seen[key] {
			t.Errorf("%s twice", key)
		} else {
			seen[key] = true
		}
		if (r.run == nil || r.asked) == (r.why == "") || r.text == "" {
			t.Errorf("%s %s: it has to run, or to say why not", r.fault, r.name)
		}
	}
	if last != 32 {
		t.Errorf("the last fault is F%d", last)
	}
}
