package run

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gradstream/gradstream/state/memstore"
)

// TestClockJumps sets the clock an hour forward and back while tasks run and
// between their lives. The steps' clock never goes back, a life that rebuilds its
// state from the journal alone finds every step as it was, and each event is
// published once.
func TestClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := parse(t, strings.NewReplacer("BAD", "", "HOW", "error").Replace(oddYAML))
		b := newSimBroker(6)
		var offset atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		const rounds, n = 6, 180
		for round := range rounds {
			s := startSim(t, p, &simCluster{simBroker: b}, memstore.New(), Options{Now: now})
			for _, jump := range []time.Duration{0, time.Hour, -time.Hour, time.Duration(round%3-1) * time.Hour} {
				ids(b, "a", 3, n/2)
				time.Sleep(35 * time.Millisecond) // amid the steps
				offset.Store(int64(jump))
				ids(b, "a", 3, n/2)
				s.settle()
			}
			if err := s.end(); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		seen := map[string]int{}
		for task := range 3 {
			first, last, back := int64(0), int64(0), 0
			for _, e := range b.journal[task] {
				step, _, err := parseJournal(e.Value)
				if err != nil {
					t.Fatal(err)
				}
				if step == nil {
					continue
				}
				if step.Clock < last {
					back++
				}
				if last = step.Clock; first == 0 {
					first = last
				}
			}
			if back > 0 || time.Duration(last-first)*time.Millisecond < time.Hour {
				t.Errorf("task %d: the clock went back %d times, and %d ms on", task, back, last-first)
			}
			for _, step := range b.outputs[task] {
				for _, o := range step.outputs {
					seen[id(o.Value)]++
				}
			}
		}
		for id, times := range seen {
			if times != 1 {
				t.Errorf("%s was published %d times", id, times)
			}
		}
		if want := rounds * 4 * n; len(seen) != want {
			t.Errorf("%d of %d events were published", len(seen), want)
		}
	})
}
