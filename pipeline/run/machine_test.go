package run

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "draw the machine in docs/task.md anew")

// machines lists every value of a machine.
func machines() (all []machine) {
	for d := range doings {
		for s := range fromJournal + 1 {
			for i := range 8 {
				why := gone
				if i&4 > 0 {
					why = givenUp
				}
				all = append(all, machine{doing: d, source: s, planned: i&1 > 0, accept: i&2 > 0, why: why})
			}
		}
	}
	return all
}

// rules are what the machine must answer, written down once more: what it does, what
// comes of it, when, and what it does then. What no rule speaks of ends in failed,
// but for killed and lost, which mean the same everywhere.
var rules = []struct {
	doing doing
	on    event
	when  func(m machine) bool // nil = always
	then  doing
}{
	{fencing, done, nil, locating},
	{fencing, stopped, nil, ended},
	{fencing, gone, unplanned, surveying},
	{fencing, givenUp, unplanned, surveying},
	{locating, done, nil, restoring},
	{locating, recalled, nil, restoring},
	{locating, stopped, nil, ended},
	{locating, gone, unplanned, surveying},
	{locating, givenUp, unplanned, surveying},
	{restoring, more, nil, replaying},
	{restoring, done, planned, accepting},
	{restoring, done, unplanned, living},
	{restoring, stopped, nil, keeping},
	{restoring, recalled, func(m machine) bool { return m.source == fromLocal }, restoring},
	{restoring, unusable, func(m machine) bool { return m.source == fromLocal }, recalling},
	{restoring, unusable, func(m machine) bool { return m.source == fromRemote }, rebuilding},
	{restoring, gone, unplanned, surveying},
	{restoring, givenUp, unplanned, surveying},
	{replaying, more, nil, replaying},
	{replaying, done, planned, accepting},
	{replaying, done, unplanned, living},
	{replaying, stopped, nil, keeping},
	{replaying, recalled, func(m machine) bool { return m.source == fromLocal }, restoring},
	{replaying, unusable, func(m machine) bool { return m.source == fromLocal }, recalling},
	{replaying, unusable, func(m machine) bool { return m.source == fromRemote }, rebuilding},
	{replaying, gone, unplanned, surveying},
	{replaying, givenUp, unplanned, surveying},
	{recalling, recalled, nil, restoring},
	{recalling, none, nil, rebuilding},
	{recalling, stopped, nil, ended},
	{recalling, gone, unplanned, surveying},
	{recalling, givenUp, unplanned, surveying},
	{rebuilding, done, nil, restoring},
	{rebuilding, stopped, nil, ended},
	{rebuilding, gone, unplanned, surveying},
	{rebuilding, givenUp, unplanned, surveying},
	{surveying, done, nil, fencing},
	{surveying, none, func(m machine) bool { return m.accept && m.why == gone }, planning},
	{surveying, stopped, nil, ended},
	{planning, done, nil, fencing},
	{planning, stopped, nil, ended},
	{accepting, done, nil, living},
	{accepting, stopped, nil, keeping},
	{living, stopped, nil, draining},
	{living, spoiled, nil, pausing},
	{living, gone, accepts, pausing},
	{draining, stopped, nil, draining},
	{draining, done, nil, ended},
	{draining, spoiled, nil, pausing},
	{draining, gone, accepts, pausing},
	{keeping, done, nil, ended},
	{keeping, stopped, nil, keeping},
	{pausing, done, nil, fencing},
	{pausing, stopped, nil, ended},
	{confirming, done, nil, fencing},
	{confirming, none, nil, confirming},
	{confirming, stopped, nil, ended},
}

func planned(m machine) bool   { return m.planned }
func unplanned(m machine) bool { return !m.planned }
func accepts(m machine) bool   { return m.accept }

// TestMachine asks the machine for every answer it has.
func TestMachine(t *testing.T) {
	used := map[int]bool{}
	for _, m := range machines() {
		for e := range events {
			want, found := failed, -1
			switch {
			case m.doing == failed, m.doing == ended && e == broken:
			case m.doing == ended, e == killed:
				want = ended
			case e == lost:
				want = confirming
			default:
				for i, r := range rules {
					if r.doing == m.doing && r.on == e && (r.when == nil || r.when(m)) {
						if found >= 0 {
							t.Fatalf("rules %d and %d speak of %+v", found, i, m)
						}
						want, found = r.then, i
						used[i] = true
					}
				}
			}
			got := m.next(e)
			if got.doing != want {
				t.Errorf("%+v, %v: then %v, want %v", m, e, got.doing, want)
			}
			checkFields(t, m, e, got)
		}
	}
	for i, r := range rules {
		if !used[i] {
			t.Errorf("nothing is as rule %d says: %v %v", i, r.doing, r.on)
		}
	}
}

// checkFields checks what the machine remembers.
func checkFields(t *testing.T, m machine, e event, got machine) {
	t.Helper()
	if got.accept != m.accept {
		t.Errorf("%+v, %v: the policy changes", m, e)
	}
	source := m.source
	switch {
	case got.doing == fencing && m.doing != fencing:
		source = fromLocal // the way begins anew
	case e == recalled && got.doing == restoring:
		source = fromRemote
	case m.doing == rebuilding && e == done:
		source = fromJournal
	}
	if got.source != source {
		t.Errorf("%+v, %v: the state comes from %v, want %v", m, e, got.source, source)
	}
	plan := m.planned
	switch {
	case e == lost, e == killed, got.doing == failed, got.doing == ended, m.doing == failed, m.doing == ended:
		return // it does not matter any more
	case m.doing == planning && e == done:
		plan = true
	case m.doing == accepting && e == done, got.doing == fencing && (m.doing == pausing || m.doing == confirming):
		plan = false
	}
	if got.planned != plan {
		t.Errorf("%+v, %v: planned is %v, want %v", m, e, got.planned, plan)
	}
	if got.doing == surveying && m.doing != surveying && got.why != e {
		t.Errorf("%+v, %v: it looks back because of %v", m, e, got.why)
	}
}

// TestMachineEnds follows all ways from the lock on: everything is come to, and no
// way goes round and round without waiting, or without a loss that was not known.
func TestMachineEnds(t *testing.T) {
	// walk goes on from m, but not through what it may leave out.
	walk := func(m machine, seen map[machine]bool, leave ...doing) {
		var path []machine
		var step func(m machine)
		step = func(m machine) {
			if i := slices.Index(path, m); i >= 0 && len(leave) > 0 {
				t.Errorf("goes round: %+v", path[i:])
			}
			if seen[m] || slices.Contains(leave, m.doing) {
				return
			}
			seen[m] = true
			path = append(path, m)
			for e := range events {
				if next := m.next(e); next != m {
					step(next)
				}
			}
			path = path[:len(path)-1]
		}
		step(m)
	}
	all := map[machine]bool{}
	walk(machine{}, all)
	walk(machine{accept: true}, all)
	reached := map[doing]bool{}
	patient := map[machine]bool{}
	for m := range all {
		reached[m.doing] = true
		walk(m, patient, pausing, confirming, surveying)
	}
	for d := range doings {
		if !reached[d] {
			t.Errorf("no way leads to %v", d)
		}
	}
}

// drawing is the machine as a Mermaid diagram: every answer but those that mean the
// same everywhere, and failed.
func drawing() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> fencing\n")
	for d := range doings {
		var to []doing
		labels := map[doing][]string{}
		for e := range events {
			if e == killed || e == lost || d == ended || d == failed {
				continue
			}
			ways := map[doing][]machine{}
			for _, m := range machines() {
				if m.doing == d {
					next := m.next(e).doing
					ways[next] = append(ways[next], m)
				}
			}
			for then := range doings {
				if len(ways[then]) == 0 || then == failed || then == d && e != more && e != none && e != recalled {
					continue
				}
				if !slices.Contains(to, then) {
					to = append(to, then)
				}
				label := e.String()
				if when := condition(ways[then]); when != "" && len(ways) > 1 {
					label += " [" + when + "]"
				}
				labels[then] = append(labels[then], label)
			}
		}
		for _, then := range to {
			fmt.Fprintf(&b, "    %v --> %v: %s\n", d, then, strings.Join(labels[then], ", "))
		}
	}
	b.WriteString("    ended --> [*]\n    failed --> [*]\n")
	return b.String()
}

// condition says what the machines have in common.
func condition(all []machine) string {
	same := func(of func(m machine) any) bool {
		return !slices.ContainsFunc(all, func(m machine) bool { return of(m) != of(all[0]) })
	}
	var when []string
	not := func(b bool, text string) {
		if !b {
			text = "not " + text
		}
		when = append(when, text)
	}
	m := all[0]
	if same(func(m machine) any { return m.source }) {
		when = append(when, m.source.String())
	}
	if same(func(m machine) any { return m.planned }) {
		not(m.planned, "planned")
	}
	if same(func(m machine) any { return m.accept }) {
		not(m.accept, "allowed")
	}
	if same(func(m machine) any { return m.why }) {
		when = append(when, m.why.String())
	}
	return strings.Join(when, ", ")
}

// TestMachineDrawn compares the page with the machine; -rewrite draws it anew.
func TestMachineDrawn(t *testing.T) {
	const page, begin, end = "../../docs/task.md", "```mermaid\n", "```\n"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), begin)
	if !ok {
		t.Fatalf("%s has no diagram", page)
	}
	drawn, tail, _ := strings.Cut(rest, end)
	if drawn == drawing() {
		return
	}
	if !*rewrite {
		t.Fatalf("%s draws another machine; -rewrite draws it anew:\n%s", page, drawing())
	}
	if err := os.WriteFile(page, []byte(head+begin+drawing()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPauses(t *testing.T) {
	var losses, failures []time.Duration
	loss, failure := time.Duration(0), time.Duration(0)
	for range 7 {
		loss, failure = lossPause(loss, time.Second), failurePause(failure, false)
		losses, failures = append(losses, loss), append(failures, failure)
	}
	if got := fmt.Sprint(losses); got != "[1s 2s 4s 8s 16s 30s 30s]" {
		t.Errorf("pauses after losses: %v", got)
	}
	if got := fmt.Sprint(failures); got != "[100ms 200ms 400ms 800ms 1.6s 3.2s 6.4s]" {
		t.Errorf("pauses after failures: %v", got)
	}
	if lossPause(mostLossPause, 2*time.Minute) != firstLossPause || failurePause(mostPause, true) != firstPause || failurePause(mostPause, false) != mostPause {
		t.Error("a life or a decision is not taken for progress")
	}
}
