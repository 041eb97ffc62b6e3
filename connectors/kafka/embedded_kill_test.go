package kafka

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// spread is a step with outputs to two partitions and positions of both inputs.
func spread(e *env, n int) *connectors.Step {
	s := e.step(n, 0, 1)
	s.Outputs = &connectors.Outputs{}
	s.Outputs.Identify("gs-id", fmt.Appendf(nil, "1/%d/", n))
	for i := range 3 {
		for p := range int32(2) {
			s.Outputs.Add(e.name+".out", p, 0, nil, fmt.Appendf(nil, "%d/%d", n, i), nil)
		}
	}
	s.Offsets = []connectors.Position{e.at(0, int64(n)), e.at(1, int64(n))}
	return s
}

// steps returns the steps of a journal, which have to count from 1.
func steps(t testing.TB, l *taskLog) (n int) {
	t.Helper()
	for _, rec := range journal(t, l, connectors.Earliest, l.last) {
		if no, ok := strings.CutPrefix(rec, "step "); ok {
			if n++; no != strconv.Itoa(n) {
				t.Fatalf("the journal has step %s in the place of step %d", no, n)
			}
		}
	}
	return n
}

// TestEmbeddedKilledInCommit kills the process within moments of a commit's being
// asked for, again and again: outputs, journal and offsets stay together, and no
// commit is lost that the client saw.
func TestEmbeddedKilledInCommit(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		killedInCommit(t, dir)
		return
	}
	const kills = 8
	dir := t.TempDir()
	for round := range kills {
		child := exec.CommandContext(testContext(t), os.Args[0], "-test.run=^TestEmbeddedKilledInCommit$")
		child.Env = append(os.Environ(), childDir+"="+dir)
		out, err := child.CombinedOutput()
		if bytes.Contains(out, []byte("FAIL")) || err == nil {
			t.Fatalf("round %d: the child ended with %v:\n%s", round, err, out)
		}
		b := startEmbedded(t, dir, "")
		e := &env{addr: b.Addr(), name: "p"}
		c := e.open(t, 2, nil)
		l := fenced(t, c, 1, "open check")
		n := steps(t, l)
		acked, err := os.ReadFile(filepath.Join(dir, "acked"))
		if err != nil {
			t.Fatal(err)
		}
		if string(acked) != strconv.Itoa(n) && string(acked) != strconv.Itoa(n-1) {
			t.Fatalf("round %d: %s steps were committed, the journal has %d", round, acked, n)
		}
		ps, err := c.Committed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var all []int
		for i := range n {
			all = append(all, i+1)
		}
		for p := range int32(2) {
			if len(ps) != 2 || ps[p].Next != int64(n) {
				t.Fatalf("round %d: the journal has %d steps, the group's offsets are %v", round, n, ps)
			}
			equal(t, fmt.Sprintf("round %d: partition %d", round, p), e.committed(t, "p.out", p), want(all, 3))
		}
		if t.Failed() {
			return
		}
		c.Close()
		if round%2 == 0 {
			b.Close()
		} else {
			// Left as it is: the next child finds what a kill leaves here.
			copied := t.TempDir()
			if err := os.CopyFS(filepath.Join(copied, "d"), os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			b.Close()
			dir = filepath.Join(copied, "d")
		}
	}
}

// killedInCommit commits steps until the process kills itself.
func killedInCommit(t *testing.T, dir string) {
	b := startEmbedded(t, dir, "")
	e := &env{addr: b.Addr(), name: "p"}
	c := e.open(t, 2, nil)
	l := fenced(t, c, 1, "open")
	var left atomic.Int64
	left.Store(2 + rand.Int64N(6))
	b.cluster.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		if left.Add(-1) == 0 {
			moment := time.Duration(rand.Int64N(int64(400 * time.Microsecond)))
			go func(from time.Time) {
				for time.Since(from) < moment {
				}
				self, _ := os.FindProcess(os.Getpid())
				self.Kill()
			}(time.Now())
		}
		return nil, nil, false
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := steps(t, l) + 1; ; n++ {
		if _, err := l.Commit(ctx, spread(e, n)); err != nil {
			t.Fatal("FAIL ", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "acked.new"), strconv.AppendInt(nil, int64(n), 10), 0o644); err != nil {
			t.Fatal("FAIL ", err)
		}
		if err := os.Rename(filepath.Join(dir, "acked.new"), filepath.Join(dir, "acked")); err != nil {
			t.Fatal("FAIL ", err)
		}
	}
}
