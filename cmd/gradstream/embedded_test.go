package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestEmbedded runs a part of the flights on the broker inside the program: once
// in peace, and once killed in mid-stream.
func TestEmbedded(t *testing.T) {
	const rows = 20000
	head := filepath.Join(t.TempDir(), "head.csv")
	headOfFlights(t, head, rows)
	set := []string{"sources.flights.partitions=1", "commit.interval=10ms", "commit.rows=50", "checkpoint.local=200ms"}
	prepare := func(name string) *trial {
		f := newTrial(t, name, name+".in", "embedded", set...)
		// No process runs: produce starts the broker and leaves the topic on the disk.
		if out := f.do("produce", "--source", "flights", "--input", head); !strings.HasPrefix(out, "20000 events sent to "+name+".in in ") {
			t.Fatalf("produce: %s", out)
		}
		return f
	}
	address := func(p *process) string {
		return p.waitLog(`embedded broker: .* address=(\S+)`)[1]
	}

	calm := prepare("calm")
	p := calm.run()
	calm.addr = address(p)
	calm.waitCommitted(calm.admin(), p, rows)
	calm.addr = "embedded"
	report := calm.do("evaluate", "--input", "flights="+head, "--json")
	sameMetrics(t, p, report, rows)
	if out := calm.do("topics", "--dry-run"); !strings.Contains(out, "exists   internal  calm.journal: partitions 1") {
		t.Errorf("topics beside a running pipeline:\n%s", out)
	}
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	p = calm.run()
	if m := p.waitLog(`task restored.* replayed=(\d+)`); m[1] != "0" {
		t.Errorf("a restart after SIGTERM replays %s steps", m[1])
	}
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}

	testState(t, calm, report)

	f := prepare("killed")
	for i := range 3 {
		p = f.run()
		f.addr = address(p)
		adm := f.admin()
		p.waitLog(`task restored`)
		f.waitCommitted(adm, p, int64(i+1)*rows/5)
		p.kill()
		f.addr = "embedded"
	}
	p = f.run()
	m := p.waitLog(`task restored.* checkpoint=(\d+) last_step=(\d+) replayed=(\d+)`)
	t.Logf("after three kills: C=%s, L=%s, %s steps replayed", m[1], m[2], m[3])
	f.addr = address(p)
	f.waitCommitted(f.admin(), p, rows)
	got := &ids{seen: make([]uint8, rows)}
	for _, r := range consumeRecords(t, f.addr, "killed.predictions", rows) {
		got.line(r.Value)
	}
	got.check(t)
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	if diff := cmp.Diff(calm.digests(0), f.digests(0)); diff != "" {
		t.Errorf("the state differs from the undisturbed run (-want +got):\n%s", diff)
	}
}

// consumeRecords reads n committed records of a topic, and whatever more comes
// within a moment.
func consumeRecords(t *testing.T, addr, topic string, n int) (all []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	wait := time.Minute
	for {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		fetches := cl.PollFetches(ctx)
		cancel()
		got := fetches.Records()
		if all = append(all, got...); ctx.Err() != nil && len(got) == 0 {
			return all
		}
		if len(all) >= n {
			wait = 300 * time.Millisecond
		}
	}
}

// TestNoBroker checks what a user sees when nothing listens.
func TestNoBroker(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	f := newTrial(t, "alone", "alone", addr)
	p := f.run()
	p.waitLog(`level=WARN msg="no Kafka broker answers yet; trying on" brokers=` + addr + ` err=.*connection refused`)
	if code := p.stop(); code != exitOK { // nothing was begun, so nothing is lost
		t.Errorf("exit code %d after SIGTERM without a broker, expected %d", code, exitOK)
	}
	last := tail(p.log.String(), 1)
	if !strings.Contains(last, "stopped before the pipeline was started") || !strings.Contains(last, "no Kafka broker answers at "+addr) {
		t.Errorf("last words: %s", last)
	}
	if n := strings.Count(p.log.String(), "trying on"); n > 3 {
		t.Errorf("%d complaints in a moment:\n%s", n, p.log.String())
	}
}

// TestPortTaken checks that a busy port is an error only if it was asked for.
func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := newTrial(t, "port", "port", "embedded")
	p := launch(t, f.env(), "run", flightsFile, "--listen", ln.Addr().String())
	if code := p.wait(); code != exitFailed {
		t.Errorf("exit code %d, expected %d", code, exitFailed)
	}
	if !strings.Contains(p.log.String(), "address already in use") {
		t.Errorf("the log: %s", p.log.String())
	}
	if _, err := os.Stat(filepath.Join(f.dir, "flights")); !os.IsNotExist(err) {
		t.Errorf("state was opened before the port: %v", err)
	}
}
