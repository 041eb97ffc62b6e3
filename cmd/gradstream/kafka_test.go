package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

const (
	flightsFile  = "../../examples/flights/pipeline.yaml"
	flightsInput = "../../examples/flights/flights.csv.gz"
	flightsRows  = 327346
)

// TestKafka runs the flights through a real Kafka, read by Kafka's own consumer.
func TestKafka(t *testing.T) {
	k := realkafka.Start(t, realkafka.Options{})
	addr := k.Addrs()[0]
	t.Run("four partitions", func(t *testing.T) { testFourPartitions(t, k) })
	t.Run("crashes", func(t *testing.T) { testCrashes(t, k) })
	t.Run("repartition", func(t *testing.T) { testRepartition(t, k) })
	t.Run("migrate", func(t *testing.T) { testMigrate(t, k) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, addr) })
}

func testFourPartitions(t *testing.T, k *realkafka.Cluster) {
	// The airports of departure are three; the destinations reach every partition.
	f := newTrial(t, "flights", "flights", k.Addrs()[0], "sources.flights.key=dest")
	if out := f.do("topics", "--dry-run"); !strings.Contains(out, "missing  source    flights: partitions 4") {
		t.Fatalf("topics --dry-run:\n%s", out)
	}
	f.do("topics")
	start := time.Now()
	out := f.do("produce", "--source", "flights", "--input", flightsInput)
	t.Logf("produce: %s in %v with the start of the process", strings.TrimSpace(out), time.Since(start).Round(time.Millisecond))

	adm := f.admin()
	start = time.Now()
	p := f.run()
	f.waitCommitted(adm, p, flightsRows)
	took := time.Since(start)
	t.Logf("run: %d events in %v with the start of the process, %.0f events/s", flightsRows, took.Round(time.Millisecond), flightsRows/took.Seconds())
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	usage := p.cmd.ProcessState
	t.Logf("run: CPU %v for %d events", (usage.UserTime() + usage.SystemTime()).Round(10*time.Millisecond), flightsRows)

	start = time.Now()
	c := &ids{seen: make([]uint8, flightsRows)}
	consume(t, k, "flights.predictions", c.line)
	c.check(t)
	t.Logf("console consumer: %d predictions, each id once, in %v", c.total, time.Since(start).Round(time.Millisecond))

	// A planned stop leaves nothing to replay, and there is nothing new.
	p = f.run()
	if m := p.waitLog(`(?s)(task restored.*){4}`); strings.Count(m[0], "replayed=0") != 4 {
		t.Errorf("the restart replays:\n%s", m[0])
	}
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	if ls := f.do("state ls"); strings.Count(ls, "late/weights: ") != 4 || !strings.Contains(ls, "pipeline flights: 4 tasks") {
		t.Errorf("state ls:\n%s", ls)
	}
}

// testCrashes kills a pipeline five times in mid-stream and compares it with one
// that nobody disturbed.
func testCrashes(t *testing.T, k *realkafka.Cluster) {
	calm := newTrial(t, "calm", "flights.one", k.Addrs()[0])
	calm.do("topics", "--set", "sources.flights.partitions=1")
	calm.do("produce", "--source", "flights", "--input", flightsInput)
	adm := calm.admin()
	p := calm.run()
	calm.waitCommitted(adm, p, flightsRows)
	sameMetrics(t, p, calm.do("evaluate", "--input", "flights="+flightsInput, "--json"), flightsRows)
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	want := calm.digests(0)
	wantWeights := calm.do("state export", "--node", "late")

	const seed = 20130101
	dice := rand.New(rand.NewPCG(seed, 0))
	f := newTrial(t, "killed", "flights.one", k.Addrs()[0], "checkpoint.local=1s", "commit.interval=10ms", "commit.rows=600")
	kills, tries := 0, 0
	restored := func(p *process) (c, l, n int) {
		m := p.waitLog(`task restored.* checkpoint=(\d+) last_step=(\d+) replayed=(\d+)`)
		c, _ = strconv.Atoi(m[1])
		l, _ = strconv.Atoi(m[2])
		n, _ = strconv.Atoi(m[3])
		return c, l, n
	}
	p = f.run()
	restored(p)
	for kills < 5 {
		if tries++; tries > 10 {
			t.Fatalf("only %d of %d kills came after a step behind the last checkpoint", kills, tries)
		}
		// Wait for the stream to move, then for a random moment more.
		f.waitCommitted(adm, p, f.committed(adm)+1)
		time.Sleep(time.Duration(400+dice.IntN(1200)) * time.Millisecond)
		p.kill()
		at := f.committed(adm)
		if at >= flightsRows {
			t.Fatalf("the stream ended after %d kills", kills)
		}
		start := time.Now()
		p = f.run()
		c, l, n := restored(p)
		t.Logf("kill -9 with %d of %d events committed: C=%d, L=%d, %d steps replayed, restored after %v", at, flightsRows, c, l, n, time.Since(start).Round(time.Millisecond))
		if n != l-c {
			t.Errorf("%d steps replayed from %d to %d", n, c, l)
		}
		if n > 0 {
			kills++
		}
	}
	f.waitCommitted(adm, p, flightsRows)
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	same := func(when string) {
		t.Helper()
		if diff := cmp.Diff(want, f.digests(0)); diff != "" {
			t.Errorf("the state differs from the undisturbed run %s (-want +got):\n%s", when, diff)
		}
		if f.do("state export", "--node", "late") != wantWeights {
			t.Errorf("the weights differ from the undisturbed run %s", when)
		}
	}
	same("after five kills")

	// What is not on the disk is in the state topic, and what is not there either
	// follows from the journal.
	startAnew := func(without string) (c, l, n int) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(f.dir, f.name)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		p := f.run()
		c, l, n = restored(p)
		t.Logf("%s deleted: C=%d, L=%d, %d steps replayed in %v", without, c, l, n, time.Since(start).Round(time.Millisecond))
		if code := p.stop(); code != 0 {
			t.Fatalf("exit code %d after SIGTERM", code)
		}
		return c, l, n
	}
	if c, l, n := startAnew("local state"); c != l || n != 0 {
		t.Errorf("the last remote checkpoint is of step %d and not %d, %d steps replayed", c, l, n)
	}
	same("after a restore from the state topic")
	emptyTopic(t, adm, "killed.state")
	if c, l, n := startAnew("local state and state topic"); c != 0 || n != l || n == 0 {
		t.Errorf("without any checkpoint the replay is of %d steps from %d to %d", n, c, l)
	}
	same("after a replay from the start")

	got := &ids{seen: make([]uint8, flightsRows)}
	consume(t, k, "killed.predictions", got.line)
	got.check(t)
	t.Logf("%d predictions after five kills and a replay from the start, each id once", got.total)
}

// emptyTopic deletes all records of a compacted topic.
func emptyTopic(t *testing.T, adm *kadm.Client, topic string) {
	t.Helper()
	for _, policy := range []string{"delete", "compact"} {
		resp, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr(policy)}}, topic)
		if err == nil {
			_, err = resp.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
		}
		if err != nil {
			t.Fatal(err)
		}
		if policy == "compact" {
			return
		}
		ends, err := adm.ListEndOffsets(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		deleted, err := adm.DeleteRecords(t.Context(), ends.Offsets())
		if err != nil || deleted.Error() != nil {
			t.Fatal(err, deleted.Error())
		}
	}
}

// sameMetrics compares what a running pipeline reports of its evaluate nodes and
// learners with the report of gradstream evaluate --json, to the last digit.
func sameMetrics(t *testing.T, p *process, report string, rows int64) {
	t.Helper()
	var file struct {
		Rows      int64
		Errors    int64
		Operators map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(report), &file); err != nil {
		t.Fatalf("%v\n%s", err, report)
	}
	if file.Rows != rows || file.Errors != 0 {
		t.Fatalf("evaluate used %d rows and rejected %d", file.Rows, file.Errors)
	}
	url := p.waitLog(`url=(http://\S+)`)[1] + "/api/metrics"
	var live map[string]map[string]any
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		live = liveMetrics(t, url)
		if v, _ := live["quality"]["rows"].(float64); int64(v) == rows {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come to %d rows: %v", url, rows, live)
		}
	}
	compared := 0
	for node, values := range live {
		for name, v := range values {
			fromFile := file.Operators[node][name]
			if rows, ok := fromFile.([]any); ok { // the file has the rows at which a detector fired
				fromFile = float64(len(rows))
			}
			if fromFile != v {
				t.Errorf("%s %s: %v from the file, %v from the topic", node, name, fromFile, v)
			}
			compared++
		}
	}
	if compared < 10 {
		t.Errorf("only %d numbers compared: %v", compared, live)
	}
	q := live["quality"]
	t.Logf("the file and the topic agree in %d numbers: accuracy %v, log loss %v, ROC AUC %v", compared, q["accuracy"], q["log_loss"], q["roc_auc"])
}

func liveMetrics(t *testing.T, url string) map[string]map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Pipelines []struct {
			Nodes []struct {
				Node string
				All  map[string]any
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Pipelines) != 1 {
		t.Fatalf("%s: %v\n%s", url, err, body)
	}
	nodes := map[string]map[string]any{}
	for _, n := range answer.Pipelines[0].Nodes {
		nodes[n.Node] = n.All
	}
	return nodes
}

// testRefusals checks what run says about brokers, topics and state that do not
// fit.
func testRefusals(t *testing.T, addr string) {
	fails := func(t *testing.T, f *trial, want ...string) {
		t.Helper()
		p := f.run()
		if code := p.wait(); code != exitFailed {
			t.Errorf("exit code %d, expected %d", code, exitFailed)
		}
		for _, text := range want {
			if !strings.Contains(p.log.String(), text) {
				t.Errorf("the log lacks %q:\n%s", text, p.log.String())
			}
		}
	}
	t.Run("unknown topic", func(t *testing.T) {
		f := newTrial(t, "unknown", "no.such.topic", addr)
		fails(t, f, `source topic "no.such.topic" does not exist`, "gradstream topics")
	})

	// A short stream, stopped in good order.
	short := newTrial(t, "short", "flights.short", addr, "sources.flights.partitions=1")
	short.do("topics")
	head := filepath.Join(t.TempDir(), "head.csv")
	headOfFlights(t, head, 3000)
	short.do("produce", "--source", "flights", "--input", head)
	adm := short.admin()
	p := short.run()
	short.waitCommitted(adm, p, 3000)

	t.Run("records that do not decode", func(t *testing.T) { testErrorsTopic(t, short, adm, p) })

	t.Run("state folder in use", func(t *testing.T) {
		second := *short
		second.t = t
		fails(t, &second, "the state folder is in use")
		c := command(t.Context(), append([]string{"state", "ls", flightsFile}, short.args...)...)
		c.Env = append(c.Env, short.env()...)
		out, err := c.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "of a pipeline that runs, /api/status") {
			t.Errorf("state ls on a running pipeline: %v\n%s", err, out)
		}
	})
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	t.Run("offsets moved from outside", func(t *testing.T) {
		moved := kadm.Offsets{}
		moved.AddOffset("flights.short", 0, 1000, -1)
		resp, err := adm.CommitOffsets(t.Context(), "short", moved)
		if err != nil || resp.Error() != nil {
			t.Fatal(err, resp.Error())
		}
		second := *short
		second.t = t
		fails(t, &second, "journal ends at offset 3004 of flights.short[0] but the consumer group says 1000", "moved from outside")
	})
}

// testErrorsTopic sends records that are no flights: they come out on the errors
// topic as they were, and the pipeline goes on.
func testErrorsTopic(t *testing.T, f *trial, adm *kadm.Client, p *process) {
	bad := []*kgo.Record{
		{Topic: "flights.short", Key: []byte("k"), Value: []byte(`{"id":1,"distance":NaN}`), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("7")}}},
		{Topic: "flights.short", Value: []byte("\xff\xfe\x00")},
		{Topic: "flights.short", Value: []byte(`{"id":2,"ts":"2013-01-01T05:15:00Z","carrier":"` + strings.Repeat("x", 900_000) + `"`)},
		{Topic: "flights.short", Value: nil},
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), bad...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	f.waitCommitted(adm, p, 3004)
	got := consumeRecords(t, f.addr, f.name+".errors", len(bad))
	if len(got) != len(bad) {
		t.Fatalf("%d records on the errors topic, expected %d", len(got), len(bad))
	}
	for i, r := range got {
		if !bytes.Equal(r.Value, bad[i].Value) || !bytes.Equal(r.Key, bad[i].Key) {
			t.Errorf("record %d was changed on its way to the errors topic", i)
		}
		headers := map[string]string{}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		if headers["__connect.errors.topic"] != "flights.short" || headers["__connect.errors.offset"] != strconv.Itoa(3000+i) || headers["__connect.errors.exception.message"] == "" {
			t.Errorf("record %d has the headers %v", i, headers)
		}
		if i == 0 && headers["trace"] != "7" {
			t.Errorf("the record's own headers are lost: %v", headers)
		}
	}
}
