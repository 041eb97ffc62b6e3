package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/gunzip"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
)

// trial is one pipeline over the flights, under names of its own.
type trial struct {
	t    *testing.T
	name string
	addr string
	dir  string
	args []string // after FILE
}

func newTrial(t *testing.T, name, topic, addr string, set ...string) *trial {
	f := &trial{t: t, name: name, addr: addr, dir: t.TempDir()}
	for _, s := range append([]string{"pipeline=" + name, "sources.flights.topic=" + topic,
		"sinks.predictions.topic=" + name + ".predictions", "sinks.metrics.topic=" + name + ".metrics"}, set...) {
		f.args = append(f.args, "--set", s)
	}
	return f
}

func (f *trial) env() []string {
	return []string{"KAFKA_BROKERS=" + f.addr, "STATE_DIR=" + f.dir}
}

// do runs a command on the pipeline file.
func (f *trial) do(command string, more ...string) string {
	f.t.Helper()
	args := append(strings.Fields(command), flightsFile)
	return output(f.t, f.env(), append(append(args, f.args...), more...)...)
}

// run starts the pipeline.
func (f *trial) run(more ...string) *process {
	f.t.Helper()
	return launch(f.t, f.env(), append(append([]string{"run", flightsFile, "--listen", "127.0.0.1:0"}, f.args...), more...)...)
}

// admin connects to the brokers.
func (f *trial) admin() *kadm.Client {
	f.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.addr))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// committed returns how many events the group has committed.
func (f *trial) committed(adm *kadm.Client) (sum int64) {
	f.t.Helper()
	offsets, err := adm.FetchOffsets(f.t.Context(), f.name)
	if err != nil {
		return 0 // the coordinator is not there yet
	}
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(0, o.At) })
	return sum
}

// waitCommitted waits until the group has committed at least n events.
func (f *trial) waitCommitted(adm *kadm.Client, p *process, n int64) {
	f.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); f.committed(adm) < n; time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.done:
			f.t.Fatalf("gradstream ended (%v) after %d of %d events", p.err, f.committed(adm), n)
		default:
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%d of %d events committed in two minutes", f.committed(adm), n)
		}
	}
}

// digests returns a hash of the stored state of every node but the engine's own,
// of one task.
func (f *trial) digests(task int) map[string]uint64 {
	f.t.Helper()
	s, err := pebblestore.Open(filepath.Join(f.dir, f.name, "state"), pebblestore.Options{Pipeline: f.name, ReadOnly: true})
	if err != nil {
		f.t.Fatal(err)
	}
	defer s.Close()
	handles, err := s.Handles(task)
	if err != nil {
		f.t.Fatal(err)
	}
	sums := map[string]uint64{}
	for _, h := range handles {
		if h.ID.Node == "@engine" {
			continue
		}
		sum := fnv.New64a()
		if err := s.Entries(task, h.ID, func(key, value []byte) bool {
			_, _ = sum.Write(state.Append(nil, [2]string{string(key), string(value)}))
			return true
		}); err != nil {
			f.t.Fatal(err)
		}
		sums[h.ID.String()] = sum.Sum64()
	}
	if len(sums) == 0 {
		f.t.Fatal("no state is stored")
	}
	return sums
}

// consume reads a topic from its start to its end with Kafka's console consumer,
// committed records only.
func consume(t *testing.T, k *realkafka.Cluster, topic string, line func(text []byte)) {
	t.Helper()
	c := k.Command(t.Context(), "org.apache.kafka.tools.consumer.ConsoleConsumer",
		"--bootstrap-server", k.Addrs()[0], "--topic", topic, "--from-beginning",
		"--isolation-level", "read_committed", "--timeout-ms", "3000")
	var errOut bytes.Buffer
	c.Stderr = &errOut
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line(lines.Bytes())
	}
	err = c.Wait()
	if lines.Err() != nil || err != nil && !strings.Contains(errOut.String(), "Processed a total of") {
		t.Fatalf("console consumer: %v, %v\n%s", err, lines.Err(), errOut.String())
	}
}

// ids counts predictions by id.
type ids struct {
	seen  []uint8
	total int
	bad   string
}

func (c *ids) line(text []byte) {
	var row struct {
		ID *int     `json:"id"`
		P  *float64 `json:"p"`
	}
	if err := json.Unmarshal(text, &row); err != nil || row.ID == nil || row.P == nil || *row.ID < 0 || *row.ID >= len(c.seen) || *row.P < 0 || *row.P > 1 {
		c.bad = string(text)
		return
	}
	c.total++
	c.seen[*row.ID] = min(c.seen[*row.ID]+1, 200)
}

// check fails unless there is one prediction for each id.
func (c *ids) check(t *testing.T) {
	t.Helper()
	if c.bad != "" {
		t.Fatalf("not a prediction: %s", c.bad)
	}
	missing, twice := 0, 0
	for _, n := range c.seen {
		switch {
		case n == 0:
			missing++
		case n > 1:
			twice++
		}
	}
	if c.total != len(c.seen) || missing > 0 || twice > 0 {
		t.Fatalf("%d predictions of %d events: %d are missing, %d came more than once", c.total, len(c.seen), missing, twice)
	}
}

// headOfFlights writes the header and the first rows of the flights.
func headOfFlights(t *testing.T, path string, rows int) {
	t.Helper()
	var out []byte
	for lines := bufio.NewScanner(gunzip.Open(t, flightsInput)); rows >= 0 && lines.Scan(); rows-- {
		out = append(append(out, lines.Bytes()...), '\n')
	}
	if err := os.WriteFile(path, out, 0o644); err != nil {
		t.Fatal(err)
	}
}
