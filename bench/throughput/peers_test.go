package main

import (
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gradstream/gradstream/bench/peers"
)

func TestParsePeers(t *testing.T) {
	for text, want := range map[string]int{"": 0, "all": len(peers.All), "vw": 1, "vw,gohand": 2, "vw,vw": -1, "spark": -1, "vw,": -1} {
		got, err := parsePeers(text)
		if (err != nil) != (want < 0) || err == nil && len(got) != want {
			t.Errorf("%q: %d peers, %v", text, len(got), err)
		}
	}
}

// TestOrder has every variant at every place in turn, and slow peers once.
func TestOrder(t *testing.T) {
	chosen, err := parsePeers("flink,gohand")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"pass none gohand flink", "none gohand pass", "gohand pass none", "pass none gohand"} {
		if got := strings.Join(order([]string{pass, "none"}, chosen, i+1, false), " "); got != want {
			t.Errorf("round %d: %s, want %s", i+1, got, want)
		}
	}
	if got := strings.Join(order([]string{pass, "none"}, chosen, 2, true), " "); got != "none gohand pass flink" {
		t.Errorf("with slow peers in each round: %s", got)
	}
}

func TestQuantile(t *testing.T) {
	var x []float64
	for i := range 1000 {
		x = append(x, float64(i))
	}
	for share, want := range map[float64]float64{0: 0, 0.5: 500, 0.99: 990, 0.999: 999, 1: 999} {
		if got := quantile(x, share); got != want {
			t.Errorf("%v: %v, want %v", share, got, want)
		}
	}
}

// TestRecovered kills after 10 events of one a second; the new process is there 2 s later and puts three events out that
// were due long before, then is on time.
func TestRecovered(t *testing.T) {
	begun := time.Unix(1000, 0)
	due := func(i int) time.Time { return begun.Add(time.Duration(i) * time.Second) }
	killed := due(10)
	all := make([]arrival, 20)
	labels := make([]bool, len(all))
	for i := range all {
		all[i] = arrival{at: due(i).Add(100 * time.Millisecond), offset: int64(i), p: 0.25}
		if i >= 9 {
			all[i].p = 0.5
		}
	}
	for i := 9; i < 12; i++ {
		all[i].at = killed.Add(2500*time.Millisecond + time.Duration(i-9)*100*time.Millisecond)
	}
	all[15] = arrival{} // lost
	r, ok := recovered(all, due, labels, map[int32]int64{0: 9}, killed, 5)
	if !ok {
		t.Fatal("nothing came back")
	}
	near := func(name string, got, want float64) {
		if math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	near("first", r.First, 2.1) // event 12 is due 2 s after the kill and not late
	near("caught up", r.Caught, 2.7)
	near("loss before", r.Before, -math.Log(0.75))
	near("loss after", r.After, math.Ln2)
	if _, ok := recovered(all, due, labels, map[int32]int64{0: 100}, killed, 5); ok {
		t.Error("what the old process has put out counts as the new one's")
	}
}

// TestTimes compares within rounds, and what ran once with every round.
func TestTimes(t *testing.T) {
	var r results
	for i, rate := range []float64{100, 200, 300} {
		r.Runs = append(r.Runs, run{Variant: "none", Round: i + 1, PerSec: rate, CPU: 1}, run{Variant: "gohand", Round: i + 1, PerSec: 50, CPU: 4})
	}
	r.Runs = append(r.Runs, run{Variant: "flink", Round: 1, PerSec: 20, CPU: 10})
	r.summarise()
	got := map[string]spread{}
	for _, s := range r.Summary {
		if s.Ours != nil {
			got[s.Variant] = *s.Ours
		}
	}
	if want := (spread{4, 2, 6}); len(got) != 2 || got["gohand"] != want {
		t.Errorf("%v", got)
	}
	if want := (spread{10, 5, 15}); got["flink"] != want {
		t.Errorf("%v", got)
	}
	if r.Summary[2].OursCPU.Median != 10 || r.Summary[1].OursCPU.Median != 4 {
		t.Errorf("%+v", r.Summary)
	}
	var text strings.Builder
	r.print(&text)
	if !strings.Contains(text.String(), "10 (5..15)") {
		t.Error(text.String())
	}
}

// TestWrong complains of what a variant promises not to do, and of nothing else.
func TestWrong(t *testing.T) {
	at := func(x float64) *float64 { return &x }
	for _, c := range []struct {
		variant string
		counted counted
		ok      bool
	}{
		{"none", counted{LogLoss: at(0.46)}, true},
		{"pass", counted{}, true},
		{"gohand", counted{Repeated: 7, LogLoss: at(0.462)}, true},
		{"flink", counted{Repeated: 7, LogLoss: at(0.46)}, false},
		{"none", counted{Repeated: 1, LogLoss: at(0.46)}, false},
		{"gohand", counted{Lost: 1, LogLoss: at(0.46)}, false},
		{"vw", counted{Foreign: 1, LogLoss: at(0.46)}, false},
		{"vw", counted{LogLoss: at(0.64)}, false},
	} {
		r := results{Runs: []run{{Variant: "none", counted: counted{LogLoss: at(0.46)}}, {Variant: c.variant, counted: c.counted}}}
		if err := r.wrong(); (err == nil) != c.ok {
			t.Errorf("%s: %+v: %v", c.variant, c.counted, err)
		}
	}
	if r := (results{Recoveries: []recovery{{Variant: "kstreams", counted: counted{Lost: 1}}}}); r.wrong() == nil {
		t.Error("a loss after a kill is no complaint")
	}
}

// TestFamily counts and kills what a process has started too.
func TestFamily(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if _, procErr := os.Stat("/proc/thread-self/children"); err != nil || procErr != nil {
		t.Skip("needs a shell and /proc")
	}
	p, err := start("ready", nil, sh, "-c", "sleep 600 & echo ready; wait")
	if err != nil {
		t.Fatal(err)
	}
	<-p.live
	pids := slices.Clone(p.pids())
	if len(pids) != 2 || p.peakMemory() <= 0 {
		t.Errorf("processes %v", pids)
	}
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(pids[len(pids)-1])
	if err != nil {
		t.Fatal(err)
	}
	for range 500 { // whoever adopts it has to collect it first
		if state := procState(child); state == "" || state == "Z" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the child lives on")
}

func procState(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), "State:")
	return strings.Fields(rest)[0]
}
