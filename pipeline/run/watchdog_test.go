package run

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state/memstore"
)

// TestHang lets an operator hang: the worker says so and ends, which is all it can
// do. Started again and again it finds the record and quarantines it. A life that
// ends so is like one that is killed: nothing of it runs on.
func TestHang(t *testing.T) {
	for _, tasks := range []string{"1", "3"} {
		t.Run("tasks="+tasks, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				block = make(chan struct{})
				text := strings.Replace(brittleYAML, "TASKS", tasks, 1)
				b, store := newSimBroker(13), memstore.New()
				poisoned(b, 200, 1<<30, "-")
				b.produce(connectors.TopicPartition{Topic: "a", Partition: 1}, `{"id":"poison-hang"}`)
				poisoned(b, 200, 1<<30, "-")
				hangs := 0
				for {
					s := startSim(t, parse(t, text), &simCluster{simBroker: b}, store, Options{Formats: brittleFormats, Attempts: dir, Watchdog: time.Second})
					time.Sleep(10 * time.Second)
					select {
					case err := <-s.done:
						if !errors.Is(err, ErrHung) || !strings.Contains(err.Error(), "task ") {
							t.Fatalf("ended with %v", err)
						}
						if hangs++; hangs > 20 {
							t.Fatal("the record is never quarantined")
						}
						s.stop()
						store = store.Clone()
						continue
					default:
					}
					s.settle()
					if err := s.end(); err != nil {
						t.Fatal(err)
					}
					break
				}
				t.Logf("%d hangs", hangs)
				if hangs < 2*crashes || hangs > 2*crashes+3 {
					t.Errorf("%d hangs until the record was quarantined", hangs)
				}
				checkQuarantine(t, b)
				rebuildAlone(t, b, text)
				if left, _ := filepath.Glob(filepath.Join(dir, "task-*")); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				close(block)
			})
		})
	}
}

// TestNoStep tells of a task that waits for the brokers, and leaves it alone.
func TestNoStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Replace(brittleYAML, "TASKS", "1", 1)
		b := newSimBroker(14)
		c := &simCluster{simBroker: b}
		poisoned(b, 100, 1<<30, "-")
		s := startSim(t, parse(t, text), c, memstore.New(), Options{Watchdog: 10 * time.Second})
		s.settle()
		time.Sleep(time.Minute)
		if p := s.w.Status()[0].Problem; p != "" {
			t.Errorf("an idle task: %s", p)
		}
		c.hang.Store(true)
		poisoned(b, 500, 1<<30, "-")
		time.Sleep(time.Minute)
		if st := s.w.Status()[0]; !strings.Contains(st.Problem, "no step") || st.Phase != Live.String() {
			t.Errorf("%+v", st)
		}
		for range 10 { // it does not come and go
			time.Sleep(700 * time.Millisecond)
			if st := s.w.Status()[0]; st.Problem == "" {
				t.Errorf("%+v", st)
			}
		}
		c.hang.Store(false)
		s.stop()
		if err := <-s.done; err == nil {
			t.Error("what never had an answer was drained")
		}
	})
}

// TestAttemptsFile does without a folder that cannot be used, and with what it
// cannot read.
func TestAttemptsFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "task-0.json"), []byte("not json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "task-0.record"), []byte("a 1"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"", file, dir} {
		synctest.Test(t, func(t *testing.T) {
			text := strings.Replace(brittleYAML, "TASKS", "1", 1)
			b := newSimBroker(15)
			poisoned(b, 100, 20, "poison")
			s := startSim(t, parse(t, text), &simCluster{simBroker: b}, memstore.New(), Options{Formats: brittleFormats, Attempts: folder})
			s.settle()
			if err := s.end(); err != nil {
				t.Fatal(err)
			}
			checkQuarantine(t, b)
		})
	}
}
