package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
)

// scroll is a file of rows that takes its time. Every bad-th row does not decode.
type scroll struct {
	rows, bad int
	each      time.Duration // a read of ten rows
	at        int
	hold      chan struct{} // if not nil, what the sixth read waits for
}

func (r *scroll) Read(_ context.Context, into *batch.Batch, _ int) (rejected []connectors.Rejected, err error) {
	if r.at == r.rows {
		return nil, io.EOF
	}
	time.Sleep(r.each)
	if r.hold != nil && r.at == 50 {
		<-r.hold
	}
	for range 10 {
		if r.bad > 0 && r.at%r.bad == 0 {
			rejected = append(rejected, connectors.Rejected{Offset: int64(r.at), Why: errors.New("illegible")})
		} else {
			into.Cols[0].AppendString(fmt.Sprint("old-", r.at))
			into.Origin.Append(int64(r.at), 0, 0)
			into.N++
		}
		r.at++
	}
	return rejected, nil
}

func (r *scroll) Progress() (done, size int64) { return int64(r.at), int64(r.rows) }
func (r *scroll) Close() error                 { return nil }

func scrollOf(r scroll) Backfill {
	return Backfill{Source: "a", Name: "old", Digest: state.Hash{1}, Open: func() (connectors.Reader, error) { c := r; return &c, nil }}
}

// logText keeps what is logged, by several goroutines.
type logText struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logText) all(pattern string) [][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return regexp.MustCompile(pattern).FindAllStringSubmatch(l.buf.String(), -1)
}

func learnSim(t *testing.T, text string, f Backfill, told *logText) *simWorker {
	t.Helper()
	b := newSimBroker(16)
	poisoned(b, 50, 1<<30, "-")
	return startSim(t, parse(t, text), &simCluster{simBroker: b}, memstore.New(),
		Options{Watchdog: 10 * time.Second, Backfills: []Backfill{f}, Log: slog.New(slog.NewTextHandler(told, nil))})
}

// A file that takes two minutes is talked of every ten seconds, and is no reason to
// believe that the task hangs, or that the brokers are away.
func TestHistoryTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told logText
		s := learnSim(t, strings.Replace(brittleYAML, "TASKS", "1", 1), scrollOf(scroll{rows: 600, each: 2 * time.Second}), &told)
		time.Sleep(time.Minute + time.Second)
		h := s.w.Status()[0].History
		if h == nil || h.Size != 600 || h.Done < 250 || h.Done > 350 || h.Rows < 250 || h.Rows > h.Done {
			t.Errorf("after a minute: %+v", h)
		}
		s.settle()
		time.Sleep(2 * time.Second)
		st := s.w.Status()[0]
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
		if st.History != nil || st.Rows != 650 {
			t.Errorf("in the end: %+v", st)
		}
		said := told.all(`msg="learning history" .*rows=(\d+) rows_per_second=(\d+) share=([0-9.]+)%`)
		if len(said) < 11 || len(said) > 12 {
			t.Fatalf("said %d times: %v", len(said), said)
		}
		for i, m := range said {
			if rows, _ := strconv.Atoi(m[1]); rows < 40*(i+1) || rows > 60*(i+1) || m[2] != "4" && m[2] != "5" {
				t.Errorf("line %d: %v", i, m)
			}
		}
		if bad := told.all(`(?m)^.*(hangs|makes no step).*$`); len(bad) > 0 {
			t.Errorf("said: %v", bad)
		}
	})
}

// A file that is not read on is a hang like any other.
func TestHistoryHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told logText
		hold := make(chan struct{})
		s := learnSim(t, strings.Replace(brittleYAML, "TASKS", "1", 1), scrollOf(scroll{rows: 600, each: time.Second, hold: hold}), &told)
		if err := <-s.done; !errors.Is(err, ErrHung) {
			t.Errorf("ended with %v", err)
		}
		close(hold)
		s.stop()
		time.Sleep(time.Minute)
	})
}

// A file whose bytes are others when it was read is not what the journal would name.
func TestHistoryChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told logText
		f := scrollOf(scroll{rows: 100})
		f.Sum = func(context.Context) (state.Hash, error) { return state.Hash{2}, nil }
		s := learnSim(t, strings.Replace(brittleYAML, "TASKS", "1", 1), f, &told)
		err := <-s.done
		if err == nil || !strings.Contains(err.Error(), "old changed while it was learnt: its SHA-256 was 01") {
			t.Errorf("ended with %v", err)
		}
		for task, log := range s.journal {
			for _, e := range log {
				if r, err := parseRecord(e.Value); err == nil && r.step != nil {
					t.Errorf("task %d made step %d", task, r.step.Step)
				}
			}
		}
		s.stop()
	})
}

// Rows that do not decode are counted by one task each, whose they would be by their
// number.
func TestHistoryRejectedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told logText
		text := strings.NewReplacer("TASKS", "3", "partitions: 3, schema", "key: id, partitions: 3, schema").Replace(brittleYAML)
		s := learnSim(t, text, scrollOf(scroll{rows: 600, bad: 4}), &told)
		s.settle()
		time.Sleep(2 * time.Second)
		all := s.w.Status()
		if err := s.end(); err != nil {
			t.Fatal(err)
		}
		rows, rejected := int64(0), 0
		for _, st := range all {
			rows += st.Rows
		}
		counts := told.all(`msg="rows of the history were rejected" .*rows=(\d+)`)
		for _, m := range counts {
			n, _ := strconv.Atoi(m[1])
			rejected += n
		}
		if rejected != 150 || len(counts) != 3 || rows != 450+50 {
			t.Errorf("%d rows, %d rejected: %v", rows, rejected, counts)
		}
	})
}
