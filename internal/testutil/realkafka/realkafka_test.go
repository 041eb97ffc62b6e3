package realkafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// testTime bounds what one test waits for in all; it decides nothing while things work.
const testTime = 3 * time.Minute

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testTime)
	t.Cleanup(cancel)
	return ctx
}

func newClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(addr, ",")...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func createTopic(t *testing.T, ctx context.Context, addr, topic string, partitions int32) {
	t.Helper()
	resp, err := kadm.NewClient(newClient(t, addr)).CreateTopic(ctx, partitions, -1, nil, topic)
	if err := errors.Join(err, resp.Err); err != nil {
		t.Fatal(err)
	}
}

// produceTransaction writes values to the topic in one transaction and ends it.
func produceTransaction(t *testing.T, ctx context.Context, client *kgo.Client, topic string, how kgo.TransactionEndTry, values ...string) {
	t.Helper()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.EndTransaction(ctx, how); err != nil {
		t.Fatal(err)
	}
}

// readCommitted returns the values of partition 0 that a read_committed consumer sees, up to the last stable offset.
func readCommitted(t *testing.T, ctx context.Context, addr, topic string) []string {
	t.Helper()
	// With control records the reader sees every offset that ends something, so it knows when it has seen all.
	client := newClient(t, addr, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	end, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	last, ok := end.Lookup(topic, 0)
	if !ok {
		t.Fatalf("no end of %s/0 in %v", topic, end)
	}
	var values []string
	for next := int64(0); next < last.Offset; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("at offset %d of %d: %v", next, last.Offset, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
		})
	}
	return values
}

// finalizedFeatures asks the cluster for the feature levels in force.
func finalizedFeatures(t *testing.T, ctx context.Context, addr string) map[string]int16 {
	t.Helper()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "realkafka-test", "1"
	resp, err := req.RequestWith(ctx, newClient(t, addr))
	if err != nil {
		t.Fatal(err)
	}
	levels := make(map[string]int16)
	for _, f := range resp.FinalizedFeatures {
		levels[f.Name] = f.MaxVersionLevel
	}
	return levels
}

// consoleConsumer reads n committed records of the topic with Kafka's own tool.
func consoleConsumer(t *testing.T, ctx context.Context, c *Cluster, topic string, n int) []string {
	t.Helper()
	cmd := c.Command(ctx, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", c.Addr(), "--topic", topic,
		"--from-beginning", "--max-messages", strconv.Itoa(n), "--isolation-level", "read_committed", "--timeout-ms", "60000")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("console consumer: %v\n%s%s", err, out, stderr.Bytes())
	}
	return strings.Fields(string(out))
}

func mustEqual(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

func TestOneBroker(t *testing.T) {
	began := time.Now()
	c := Start(t, Options{})
	t.Logf("Kafka %s ready after %v with %d MiB resident", Version(), time.Since(began).Round(time.Millisecond), c.Resident()>>20)
	ctx, b := testContext(t), c.Broker(0)

	levels := finalizedFeatures(t, ctx, c.Addr())
	t.Logf("features: %v", levels)
	if levels["transaction.version"] != 2 {
		t.Errorf("transaction.version is %d, want 2", levels["transaction.version"])
	}

	admin := kadm.NewClient(newClient(t, c.Addr()))
	// A topic nobody created stays unknown.
	if err := newClient(t, c.Addr(), kgo.UnknownTopicRetries(1)).ProduceSync(ctx, &kgo.Record{Topic: "absent", Value: []byte("x")}).
		FirstErr(); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("a record for a topic that nobody created: %v", err)
	}

	createTopic(t, ctx, c.Addr(), "numbers", 1)
	producer := newClient(t, c.Addr(), kgo.TransactionalID("numbers-writer"), kgo.DefaultProduceTopic("numbers"))
	produceTransaction(t, ctx, producer, "numbers", kgo.TryCommit, "one", "two")
	produceTransaction(t, ctx, producer, "numbers", kgo.TryAbort, "never")
	produceTransaction(t, ctx, producer, "numbers", kgo.TryCommit, "three")
	want := []string{"one", "two", "three"}
	mustEqual(t, "committed", readCommitted(t, ctx, c.Addr(), "numbers"), want)
	mustEqual(t, "console consumer", consoleConsumer(t, ctx, c, "numbers", 3), want)

	// Other writers' tools.
	toolProducer := c.Command(ctx, "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", c.Addr(), "--topic", "numbers")
	toolProducer.Stdin = strings.NewReader("four\nfive\n")
	if out, err := toolProducer.CombinedOutput(); err != nil {
		t.Fatalf("console producer: %v\n%s", err, out)
	}
	want = append(want, "four", "five")

	stacks := make([]byte, 1<<20)
	if !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte(WaitGoroutine+"(")) {
		t.Errorf("no goroutine is in %s", WaitGoroutine)
	}
	cpu, pid := c.CPU(), b.PID()
	if cpu <= 0 || c.Resident() <= 0 {
		t.Errorf("CPU %v s, resident %d bytes; want both above 0", cpu, c.Resident())
	}

	// kill -9 with a transaction open: what was committed stays, what was not never shows.
	if err := producer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "numbers", Value: []byte("open")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if b.PID() != 0 || processLives(pid) {
		t.Fatalf("process %d lives after Kill", pid)
	}
	if err := b.Kill(); err != nil {
		t.Errorf("second Kill: %v", err)
	}
	began = time.Now()
	b.Restart(t)
	t.Logf("ready again %v after kill -9", time.Since(began).Round(time.Millisecond))
	if b.PID() == pid {
		t.Error("same process after a restart")
	}
	if again := c.CPU(); again < cpu {
		t.Errorf("CPU fell from %v s to %v s over a restart", cpu, again)
	}
	// The same id again: it fences the writer before it, whose transaction is aborted.
	heir := newClient(t, c.Addr(), kgo.TransactionalID("numbers-writer"))
	produceTransaction(t, ctx, heir, "numbers", kgo.TryCommit, "six")
	want = append(want, "six")
	mustEqual(t, "committed, after kill -9", readCommitted(t, ctx, c.Addr(), "numbers"), want)

	// A paused broker takes connections and never answers.
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	// The handshake of a new connection heeds this timeout alone, not the context.
	_, err := kadm.NewClient(newClient(t, c.Addr(), kgo.RequestTimeoutOverhead(time.Second))).BrokerMetadata(short)
	cancel()
	if err == nil {
		t.Error("a paused broker answered")
	}
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.BrokerMetadata(ctx); err != nil {
		t.Errorf("after Resume: %v", err)
	}

	// Stop resumes by itself, and a stop in good order says so in the log.
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(began).Round(time.Millisecond))
	if !strings.Contains(c.Log(), "App info kafka.server for 1 unregistered") {
		t.Error("no orderly end in the log")
	}
	select {
	case <-b.Exited():
	default:
		t.Error("Exited is open after Stop")
	}
	if err := b.Pause(); err == nil {
		t.Error("Pause of a stopped broker: no error")
	}
}

func TestThreeBrokers(t *testing.T) {
	began := time.Now()
	c := Start(t, Options{Brokers: 3, HeapMB: 256})
	t.Logf("3 brokers ready after %v with %d MiB resident", time.Since(began).Round(time.Millisecond), c.Resident()>>20)
	ctx := testContext(t)

	createTopic(t, ctx, c.Addr(), "copies", 1)
	admin := kadm.NewClient(newClient(t, c.Addr()))
	describe := func() kadm.PartitionDetail {
		topics, err := admin.ListTopics(ctx, "copies")
		if err != nil {
			t.Fatal(err)
		}
		return topics["copies"].Partitions[0]
	}
	if p := describe(); len(p.Replicas) != 3 {
		t.Fatalf("replicas %v, want 3 of them", p.Replicas)
	}
	producer := newClient(t, c.Addr(), kgo.TransactionalID("copies-writer"))
	produceTransaction(t, ctx, producer, "copies", kgo.TryCommit, "all")

	leader := describe().Leader
	if err := c.Broker(int(leader) - 1).Kill(); err != nil {
		t.Fatal(err)
	}
	produceTransaction(t, ctx, producer, "copies", kgo.TryCommit, "two")
	if now := describe().Leader; now == leader {
		t.Errorf("broker %d leads after it was killed", leader)
	}
	mustEqual(t, "with one broker dead", readCommitted(t, ctx, c.Addr(), "copies"), []string{"all", "two"})

	c.Broker(int(leader) - 1).Restart(t)
	for len(describe().ISR) < 3 {
		if ctx.Err() != nil {
			t.Fatalf("in-sync replicas stay at %v", describe().ISR)
		}
		time.Sleep(100 * time.Millisecond)
	}
	produceTransaction(t, ctx, producer, "copies", kgo.TryCommit, "three")
	mustEqual(t, "after its return", readCommitted(t, ctx, c.Addr(), "copies"), []string{"all", "two", "three"})

	// The internal topics are replicated too.
	topics, err := admin.ListTopicsWithInternal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	state, ok := topics["__transaction_state"]
	if !ok || len(state.Partitions) != 8 || len(state.Partitions[0].Replicas) != 3 {
		t.Errorf("__transaction_state: %+v, want 8 partitions of 3 replicas", state)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Setenv("GRADSTREAM_TEST_KAFKA", "") // a port of this machine is wanted
	taken := Shared(t)
	port, err := strconv.Atoi(taken[strings.LastIndexByte(taken, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, dir, want string
		opts            Options
	}{
		{"two brokers", t.TempDir(), "2 brokers; expected 1 or 3", Options{Brokers: 2}},
		{"full folder", full, "is not empty", Options{}},
		{"negative heap", t.TempDir(), "out of range", Options{HeapMB: -1}},
		{"unknown value", t.TempDir(), "log.retention.hours", Options{Properties: map[string]string{"log.retention.hours": "soon"}}},
		{"port taken", t.TempDir(), errPortTaken.Error(), Options{Port: port}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := Run(testContext(t), test.dir, test.opts)
			if err == nil {
				c.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant …%s…", err, test.want)
			}
		})
	}
}

func TestProperties(t *testing.T) {
	text := properties(2, 9001, 9002, "127.0.0.1:9002", `C:\data`, 3, map[string]string{"num.partitions": "7", "min.insync.replicas": "1"})
	lines := strings.Split(text, "\n")
	for _, want := range []string{
		"node.id=2", `log.dirs=C:\\data`, "num.partitions=7", "min.insync.replicas=1",
		"offsets.topic.replication.factor=3", "transaction.state.log.replication.factor=3", "transaction.state.log.min.isr=2",
		"group.initial.rebalance.delay.ms=0", "auto.create.topics.enable=false",
		"advertised.listeners=BROKER://127.0.0.1:9001,CONTROLLER://127.0.0.1:9002",
	} {
		if n := len(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l != want })); n != 1 {
			t.Errorf("%d lines %q in\n%s", n, want, text)
		}
	}
	if !slices.IsSorted(lines[:len(lines)-1]) {
		t.Error("lines are not in order")
	}
}

func TestAdvertised(t *testing.T) {
	opts := Options{Advertise: func(i int) string { return fmt.Sprintf("127.0.0.1:%d", 9100+i) }, Properties: map[string]string{"a": "b"}}
	set, err := advertised(opts, 1, 9001, 9002, 9003)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"a":                    "b",
		"listeners":            "BROKER://127.0.0.1:9002,CLIENT://127.0.0.1:9001,CONTROLLER://127.0.0.1:9003",
		"advertised.listeners": "BROKER://127.0.0.1:9002,CLIENT://127.0.0.1:9101,CONTROLLER://127.0.0.1:9003",
	} {
		if set[key] != want {
			t.Errorf("%s is %s, want %s", key, set[key], want)
		}
	}
	opts = Options{AdvertisePeers: func(int) string { return "nowhere" }}
	if _, err := advertised(opts, 0, 1, 2, 3); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("an address without a port: %v", err)
	}
}

func TestFreePorts(t *testing.T) {
	seen := make(map[int]bool)
	for range 20 {
		free, err := freePorts(6)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range free {
			if seen[p] {
				t.Fatalf("port %d given twice", p)
			}
			seen[p] = true
		}
	}
}
