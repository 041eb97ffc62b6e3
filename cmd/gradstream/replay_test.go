package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

// TestReplayExplain rebuilds models of a pipeline that was killed once, and is
// running, and takes predictions of it apart.
func TestReplayExplain(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { testReplayExplain(t, "embedded", "again", 8) })
	t.Run("kafka", func(t *testing.T) {
		addr, _, _ := strings.Cut(realkafka.Shared(t), ",")
		testReplayExplain(t, addr, fmt.Sprintf("again.%d", rand.Uint64()), 8)
	})
}

func testReplayExplain(t *testing.T, addr, name string, picks int) {
	const rows = 3000
	f := newTrial(t, name, name+".in", addr, "tasks=2", "commit.interval=10ms", "commit.rows=60", "checkpoint.local=50ms", "sources.flights.key=dest",
		"operators.quality.evaluate.every=100")
	head := filepath.Join(t.TempDir(), "head.csv")
	headOfFlights(t, head, rows)
	f.do("topics")
	f.do("produce", "--source", "flights", "--input", head)
	embedded := addr == "embedded"
	start := func() *process {
		f.addr = addr
		p := f.run()
		if embedded {
			f.addr = p.waitLog(`embedded broker: .* address=(\S+)`)[1]
		}
		return p
	}
	p := start()
	f.waitCommitted(f.admin(), p, rows/3)
	if embedded {
		p.stop() // who kills the broker with the pipeline tests something else
	} else {
		p.kill()
	}
	p = start()
	f.waitCommitted(f.admin(), p, rows)
	broker := f.addr
	if embedded {
		f.addr = "embedded" // the commands find it
	}

	// Every task to its end, and one to somewhere on the way.
	steps := [2]int{}
	for task := range steps {
		out := f.do("replay", "--task", strconv.Itoa(task))
		m := regexp.MustCompile(`(?s)^pipeline \S+, task ` + strconv.Itoa(task) + `: replayed (\d+) steps from nothing to step (\d+) of (\d+)\n  rows       \d+ in [0-9.]+ s\n  time       \S+\n` +
			`  hash       [0-9a-f]{64}\n  outputs    \d+, equal to the journal's in every step\n(  on the way \d+ digests? of the state, equal to the journal's\n)?  digest     [0-9a-f]{16}, (equal to the journal's|and the journal has none: no checkpoint was due at this step)\n$`).FindStringSubmatch(out)
		if m == nil || m[1] != m[2] || m[2] != m[3] {
			t.Fatalf("replay of task %d:\n%s", task, out)
		}
		steps[task], _ = strconv.Atoi(m[1])
	}
	if steps[0] < 5 || steps[1] < 5 {
		t.Fatalf("steps: %v", steps)
	}
	var some struct {
		Step, Last int
		Digest     string
	}
	if err := json.Unmarshal([]byte(f.do("replay", "--task", "1", "--to", "4", "--json")), &some); err != nil || some.Step != 4 || some.Last != steps[1] || len(some.Digest) != 16 {
		t.Errorf("replay --to 4 --json: %+v, %v", some, err)
	}

	predictions := consumeRecords(t, broker, name+".predictions", rows)
	if len(predictions) != rows {
		t.Fatalf("%d predictions of %d flights", len(predictions), rows)
	}
	dice := rand.New(rand.NewPCG(3, 4))
	for range picks {
		checkExplanation(t, f, predictions[dice.IntN(rows)])
	}
	checkExplainText(t, f, predictions[rows/2])

	metrics := consumeRecords(t, broker, name+".metrics", 1)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"replay", "--task", "2"}, "gradstream: no task 2: pipeline " + name + " has 2 tasks, 0 to 1"},
		{[]string{"replay", "--task", "1", "--to", "99999"}, fmt.Sprintf("gradstream: task 1 has no step 99999: its journal ends at step %d", steps[1])},
		{[]string{"explain", "--id", "2/1/0"}, "gradstream: no task 2: pipeline " + name + " has 2 tasks, 0 to 1"},
		{[]string{"explain", "--id", "0/99999/0"}, fmt.Sprintf("gradstream: task 0 has no step 99999: its journal ends at step %d", steps[0])},
		{[]string{"explain", "--id", "0/2/99999"}, "gradstream: step 2 of task 0 has no output 99999; it has "},
		{[]string{"explain", "--id", headerOf(metrics[0], "gs-id")}, "gradstream: output " + headerOf(metrics[0], "gs-id") + " is no prediction: sink metrics publishes what comes from "},
	} {
		refused(t, f, exitInput, c.want, c.args...)
	}
	refused(t, f, exitInput, "gradstream: task 0: steps 1 to ", "replay", "--task", "0", "--set", "operators.late.logistic_regression.l2=0.5")
	refused(t, f, exitFailed, "or give a copy of the folder with --state", "replay", "--task", "0", "--from-checkpoint")

	// A record that does not decode is published, too, and is no prediction.
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: name + ".in", Value: []byte(`{"id":"x"}`)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	rejected := consumeRecords(t, broker, name+".errors", 1)
	id := headerOf(rejected[0], "gs-id")
	refused(t, f, exitInput, "gradstream: output "+id+" is a rejected record, offset ", "explain", "--id", id)

	// The weights of the last step are those of the checkpoint at it.
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	path := filepath.Join(t.TempDir(), "late.jsonl")
	out := f.do("replay", "--task", "1", "--export", "late="+path)
	weights, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := f.do("state export", "--task", "1", "--node", "late"); string(weights) != want || len(want) < 1000 {
		t.Errorf("replay exports %d bytes of weights, the checkpoint %d", len(weights), len(want))
	}
	digest := regexp.MustCompile(`\n  digest +([0-9a-f]{16})`)
	replayed, stored := digest.FindStringSubmatch(out), digest.FindStringSubmatch(f.do("state show", "--task", "1"))
	if replayed == nil || stored == nil || replayed[1] != stored[1] {
		t.Errorf("digest of replay %v, of the checkpoint %v", replayed, stored)
	}
	for _, more := range [][]string{nil, {"--state", filepath.Join(f.dir, f.name)}} {
		out := f.do("replay", append([]string{"--task", "1", "--from-checkpoint"}, more...)...)
		if !strings.Contains(out, "replayed 0 steps from the checkpoint of step ") || digest.FindStringSubmatch(out)[1] != stored[1] {
			t.Errorf("replay from the checkpoint:\n%s", out)
		}
	}
	refused(t, f, exitInput, "there is no way back to step 2", "replay", "--task", "1", "--from-checkpoint", "--to", "2")

	// The checkpoint in the state topic is at the last step, too.
	refused(t, f, exitInput, "step 2 comes before the checkpoint in the state topic", "replay", "--task", "1", "--from-remote", "--to", "2")
	fromRemote := func(more ...string) {
		t.Helper()
		out := f.do("replay", append([]string{"--task", "1"}, more...)...)
		if !strings.Contains(out, "replayed 0 steps from the checkpoint of step ") || digest.FindStringSubmatch(out)[1] != stored[1] {
			t.Errorf("replay from the state topic:\n%s", out)
		}
	}
	fromRemote("--from-remote")
	if !embedded { // else nobody could trim the journal now
		at := regexp.MustCompile(`journal +from offset (\d+)`).FindStringSubmatch(f.do("state show", "--task", "1"))
		offset, err := strconv.ParseInt(at[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		var trim kadm.Offsets
		trim.AddOffset(name+".journal", 1, offset, -1)
		if _, err := f.admin().DeleteRecords(t.Context(), trim); err != nil {
			t.Fatal(err)
		}
		fromRemote() // without being told to
		refused(t, f, exitInput, "step 2 comes before the checkpoint in the state topic", "replay", "--task", "1", "--to", "2")
		refused(t, f, exitInput, "step 2 comes before the checkpoint in the state topic", "explain", "--id", "1/2/0")
	}
}

func headerOf(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// refused runs a command that must fail.
func refused(t *testing.T, f *trial, code int, want string, args ...string) {
	t.Helper()
	c := command(t.Context(), append(append([]string{args[0], flightsFile, "--log-level", "error"}, f.args...), args[1:]...)...)
	c.Env = append(c.Env, f.env()...)
	out, err := c.CombinedOutput()
	exit, _ := err.(*exec.ExitError)
	if exit == nil || exit.ExitCode() != code || !strings.Contains(string(out), want) || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%s: %v\n%s\nexpected exit code %d and: %s", strings.Join(args, " "), err, out, code, want)
	}
}

// checkExplanation compares an explanation with the prediction as it was published.
func checkExplanation(t *testing.T, f *trial, r *kgo.Record) {
	t.Helper()
	id := headerOf(r, "gs-id")
	text := f.do("explain", "--id", id, "--json")
	var x struct {
		ID       string
		Offset   int64
		Equal    bool
		Learners []struct {
			Node    string
			Columns []struct {
				Name, Bits string
				Value      json.Number
			}
			Contributions []struct {
				Columns, Values             []string
				Index                       uint32
				Value, Weight, Contribution float32
			}
			Intercept float64
			SumBits   string `json:"sum_bits"`
		}
		Published, Recomputed struct{ Value string }
	}
	if err := json.Unmarshal([]byte(text), &x); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if x.ID != id || x.Offset != r.Offset || !x.Equal || x.Published.Value != string(r.Value) || x.Recomputed.Value != string(r.Value) || len(x.Learners) != 1 {
		t.Fatalf("%s was published as %s:\n%s", id, r.Value, text)
	}
	var row struct{ P json.Number }
	if err := json.Unmarshal(r.Value, &row); err != nil {
		t.Fatal(err)
	}
	late := x.Learners[0]
	var sum float32
	for _, c := range late.Contributions {
		if len(c.Columns) == 0 || len(c.Columns) != len(c.Values) || float32(c.Value*c.Weight) != c.Contribution {
			t.Errorf("%s: contribution %+v", id, c)
		}
		sum += c.Contribution
	}
	p, _ := strconv.ParseFloat(row.P.String(), 64)
	score := fmt.Sprintf("%016x", math.Float64bits(float64(sum)+late.Intercept))
	if late.SumBits != score || late.Columns[0].Name != "late.score" || late.Columns[0].Bits != score ||
		late.Columns[1].Name != "late.probability" || late.Columns[1].Value != row.P || late.Columns[1].Bits != fmt.Sprintf("%016x", math.Float64bits(p)) {
		t.Errorf("%s: the contributions add up to %s, published is %s:\n%s", id, score, row.P, text)
	}
	if n := len(late.Contributions); n != 13 {
		t.Errorf("%s: %d contributions, expected 13", id, n)
	}
}

// checkExplainText looks at what is printed for people.
func checkExplainText(t *testing.T, f *trial, r *kgo.Record) {
	t.Helper()
	text := f.do("explain", "--id", headerOf(r, "gs-id"))
	for _, re := range []string{
		`^pipeline \S+, output ` + headerOf(r, "gs-id") + `\n  event       source flights, offset \d+ of \S+\.in\[\d\], time 2013-`,
		`\n  published   sink predictions, offset ` + strconv.FormatInt(r.Offset, 10) + ` of \S+\n              ` + regexp.QuoteMeta(string(r.Value)) + `\n  recomputed  ` + regexp.QuoteMeta(string(r.Value)) + `\n  equal       yes, bit for bit: key, value and headers\n`,
		`\nlate \(logistic_regression\)\n  late.score +\S+ +0x[0-9a-f]{16}\n  late.probability +\S+ +0x[0-9a-f]{16}\n`,
		`\n  COLUMN +VALUE +INDEX +FEATURE +WEIGHT +CONTRIBUTION\n`,
		`\n  month × day × origin +1 × \d × [A-Z]{3} +\d+ +1 +\S+ +\S+\n`,
		`\n  intercept +\S+\n  sum = score +\S+\n$`,
	} {
		if !regexp.MustCompile(re).MatchString(text) {
			t.Errorf("explain: nothing matches %s:\n%s", re, text)
		}
	}
}
