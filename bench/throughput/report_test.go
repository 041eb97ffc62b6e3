package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseOutput(t *testing.T) {
	for _, c := range []struct {
		text string
		id   int
		p    float64
		ok   bool
	}{
		{`{"id":"e00000012","p":0.25}`, 12, 0.25, true},
		{`{"id":"e00000012","p":1.5e-7}`, 12, 1.5e-7, true},
		{`{"id":"e0000001x","p":0.25}`, 0, 0, false},
		{`{"id":"e00000012","q":0.25}`, 0, 0, false},
		{`{"id":"e00000012","p":null}`, 0, 0, false},
		{`{"id":"e00000012","p":0.25`, 0, 0, false},
		{``, 0, 0, false},
	} {
		id, p, ok := parseOutput([]byte(c.text))
		if ok != c.ok || ok && (id != c.id || p != c.p) {
			t.Errorf("%s: %d %v %v", c.text, id, p, ok)
		}
	}
}

// TestMeasure has a process that begins after 1 s and works for 10 s, evenly, with
// as many markers as outputs.
func TestMeasure(t *testing.T) {
	begun := time.Unix(1000, 0)
	p := &process{begun: begun, first: begun.Add(time.Second)}
	var all []sample
	for i := range 13 {
		s := sample{at: begun.Add(time.Duration(i) * time.Second), cpu: float64(i), broker: 100 + float64(i)/2, busy: 2 * float64(i), own: 0}
		if i > 0 {
			s.stable = int64(min(i-1, 10)) * 200
		}
		all = append(all, s)
	}
	r := measure(all, sample{at: begun, broker: 100}, p, 1000)
	near := func(name string, got, want float64) {
		if got < want*0.999 || got > want*1.001 {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	near("events/s", r.PerSec, 100)
	near("middle", r.Middle, 100)
	near("cpu", r.CPU, 11/0.001)
	near("broker", r.Broker, 5.5/0.001) // from the start, which is the last look before the first record
	near("start-up", r.StartUp, 1)
	near("others", r.Others, (22-11-5.5)/(11*cores()))
}

func TestSummary(t *testing.T) {
	r := results{Events: 10}
	for round, rates := range [][2]float64{{100, 60}, {200, 100}, {100, 90}} {
		r.Runs = append(r.Runs, run{Variant: "standard", Round: round + 1, PerSec: rates[1], CPU: 3}, run{Variant: pass, Round: round + 1, PerSec: rates[0], CPU: 2})
	}
	r.Runs[0].Lost = 3
	r.summarise()
	if len(r.Summary) != 2 || r.Summary[0].Variant != pass {
		t.Fatalf("%+v", r.Summary)
	}
	s := r.Summary[1]
	if s.Ratio != 0.6 || s.RatioMin != 0.5 || s.RatioMax != 0.9 || s.PerSec != 90 || s.Lost != 3 || s.Rounds != 3 {
		t.Errorf("%+v", s)
	}
	var text strings.Builder
	r.print(&text)
	if !strings.Contains(text.String(), "0.50..0.90") || s.CPUTimes == nil || *s.CPUTimes != (spread{1.5, 1.5, 1.5}) {
		t.Error(text.String())
	}
}
