package kafka

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
)

// A restart under the same instance id is no business of the others: they keep
// what they run, and a broker that knows its rules does not even rebalance.
func TestRestartLeavesOthersAlone(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		a := e.open(t, 4, static("a"))
		ha, _ := join(t, a)
		ha.until(t, holding(4))
		b := e.open(t, 4, static("b"))
		hb, _ := join(t, b)
		hb.until(t, holding(2))
		ha.until(t, holding(2))
		had, others := ha.held(), hb.held()
		_, before := b.member.cl.GroupMetadata()
		a.member.cl.CloseAllowingRebalance() // as a kill: nobody leaves the group

		again, _ := join(t, e.open(t, 4, static("a")))
		again.until(t, func(held []int) bool { return slices.Equal(held, had) })
		if got := hb.held(); !slices.Equal(got, others) {
			t.Errorf("the other worker ran %v and now runs %v", others, got)
		}
		if _, after := b.member.cl.GroupMetadata(); e.fake == nil && after != before {
			t.Errorf("the group went from generation %d to %d", before, after)
		}
	})
}

// stuckHost does not return from Revoked until it is let go.
type stuckHost struct {
	*host
	stuck, free chan struct{}
	once        sync.Once
}

func newStuckHost() *stuckHost {
	return &stuckHost{host: newHost(), stuck: make(chan struct{}), free: make(chan struct{})}
}

func (h *stuckHost) Revoked(tasks []int, lost bool) {
	h.once.Do(func() { close(h.stuck) })
	<-h.free
	h.host.Revoked(tasks, lost)
}

// A member that dies after it was told to give a task up, and before it has said
// that it did, comes back to an assignment without the task: the broker does not
// rebalance for it. It must not be forgotten.
func TestRestartWhileGivingUp(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		a := e.open(t, 2, static("a"))
		ha := newStuckHost()
		ended := make(chan error, 1)
		go func() { ended <- a.Join(context.Background(), ha) }()
		ha.until(t, holding(2))
		hb, _ := join(t, e.open(t, 2, static("b")))
		<-ha.stuck
		again, _ := join(t, e.open(t, 2, static("a"))) // the first a stays as it is: as good as dead
		hb.until(t, holding(1))
		again.until(t, holding(1))
		if x, y := hb.held(), again.held(); x[0] == y[0] {
			t.Errorf("both run task %d", x[0])
		}
		close(ha.free)
		if err := <-ended; !errors.Is(err, kerr.FencedInstanceID) {
			t.Errorf("the first a: %v, want that it was replaced", err)
		}
	})
}

// A drain that takes longer than a session costs nothing: the member says that it
// lives, and its other tasks go on.
func TestSlowDrainKeepsMembership(t *testing.T) {
	e := fake(t, kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "1000"}))
	session := func(o *Options) { o.SessionTimeout = 2 * time.Second }
	a := e.open(t, 2, session)
	ha := newStuckHost()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Join(ctx, ha) }()
	ha.until(t, holding(2))
	hb, _ := join(t, e.open(t, 2, session))
	<-ha.stuck
	// The plan gives up the last task.
	l := fenced(t, a, 0, "open")
	n := 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		n++
		mustCommit(t, l, e.step(n, 1, 0))
		time.Sleep(20 * time.Millisecond)
	}
	if got := hb.held(); len(got) > 0 {
		t.Errorf("b has %v while a still drains", got)
	}
	close(ha.free)
	hb.until(t, func(held []int) bool { return slices.Equal(held, []int{1}) })
	mustCommit(t, l, e.step(n+1, 1, 0))
	if got := ha.held(); !slices.Equal(got, []int{0}) || len(ha.lost) > 0 {
		t.Errorf("a runs %v and lost %v", got, ha.lost)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Sources that no operator joins may have unequal counts. A task is what all of
// them have for it, and goes as a whole.
func TestUnequalSources(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := testContext(t)
		admin := e.open(t, 4, nil)
		if err := admin.Create(ctx, []connectors.Topic{{Name: e.name + ".few", Partitions: 2}, {Name: e.name + ".many", Partitions: 7}}); err != nil {
			t.Fatal(err)
		}
		var warned bytes.Buffer
		var mu sync.Mutex
		three := func(id string) func(*Options) {
			return func(o *Options) {
				static(id)(o)
				o.Sources = append(o.Sources, e.name+".few", e.name+".many")
				o.Log = textLog(lockedWriter{&mu, &warned})
			}
		}
		a, b, c := e.open(t, 4, three("a")), e.open(t, 4, three("b")), e.open(t, 4, three("c"))
		ha, _ := join(t, a)
		ha.until(t, holding(4))
		hb, _ := join(t, b)
		hb.until(t, holding(2))
		ha.until(t, holding(2))
		hc, stopC := join(t, c)
		hc.until(t, holding(1))
		all := func() []int {
			got := slices.Concat(ha.held(), hb.held(), hc.held())
			slices.Sort(got)
			return got
		}
		if got := all(); !slices.Equal(got, upTo(4)) {
			t.Errorf("tasks %v run, want each once", got)
		}
		for _, w := range []*Cluster{a, b, c} {
			w.member.change.Lock()
			for tp := range w.member.parts {
				if task := w.opt.TaskOf(tp.Topic, tp.Partition); !w.member.owned[task] {
					t.Errorf("%v is held without the rest of task %d", tp, task)
				}
			}
			w.member.change.Unlock()
		}
		stopC()
		for ctx := testContext(t); !slices.Equal(all(), upTo(4)); {
			if !sleep(ctx, 5*time.Millisecond) {
				t.Fatalf("tasks %v run, want each once", all())
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(warned.String(), "split") {
			t.Errorf("warned: %s", &warned)
		}
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// Tasks go where the state folder has their newest copy.
func TestTasksGoToLocalState(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		with := func(id string, local map[int]uint64) func(*Options) {
			return func(o *Options) {
				static(id)(o)
				o.LocalSteps = func() map[int]uint64 { return local }
			}
		}
		ha, stopA := join(t, e.open(t, 4, with("a", map[int]uint64{0: 9, 1: 9, 2: 9, 3: 9})))
		ha.until(t, holding(4))
		hb, _ := join(t, e.open(t, 4, with("b", map[int]uint64{0: 8, 1: 3, 3: 7})))
		hb.until(t, func(held []int) bool { return slices.Equal(held, []int{0, 3}) })
		ha.until(t, func(held []int) bool { return slices.Equal(held, []int{1, 2}) })
		hc, _ := join(t, e.open(t, 4, with("c", map[int]uint64{0: 5, 1: 2, 2: 8})))
		hc.until(t, func(held []int) bool { return slices.Equal(held, []int{0}) }) // of b's two, the one it has a copy of
		stopA()
		hb.until(t, func(held []int) bool { return slices.Equal(held, []int{1, 3}) })
		hc.until(t, func(held []int) bool { return slices.Equal(held, []int{0, 2}) })
	})
}

// A worker that takes the tasks for something else is told so, and goes; whoever
// leads the group.
func TestJoinRefusesDrift(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ha, stopA := join(t, e.open(t, 2, static("a")))
		ha.until(t, holding(2))
		drifted := e.open(t, 2, func(o *Options) { static("x")(o); o.Tasks = 1 })
		err := drifted.Join(testContext(t), newHost())
		if err == nil || !strings.Contains(err.Error(), "this worker runs 1 tasks") || !strings.Contains(err.Error(), "run 2 tasks") {
			t.Errorf("got %v, want both configurations named", err)
		}
		hb, _ := join(t, e.open(t, 2, static("b"))) // waits for nobody's session to end
		hb.until(t, holding(1))
		ha.until(t, holding(1))
		stopA()
		hb.until(t, holding(2))
	})
}

// The broker keeps other consumers and this group's members apart.
func TestJoinRefusesForeignGroup(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 2, static("a"))
		got := make(chan struct{}, 10)
		foreign, err := kgo.NewClient(kgo.SeedBrokers(e.addr), kgo.ConsumerGroup(e.name), kgo.ConsumeTopics(e.name+".in"),
			kgo.Balancers(kgo.CooperativeStickyBalancer()),
			kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { got <- struct{}{} }))
		if err != nil {
			t.Fatal(err)
		}
		defer foreign.Close()
		<-got
		if err := c.Join(testContext(t), newHost()); err == nil || !strings.Contains(err.Error(), "not gradstream workers") {
			t.Errorf("got %v", err)
		}
	})
}

// A worker that is stopped before its first join was answered leaves nobody
// behind for whom the others would wait.
func TestStopWhileJoining(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		long := func(id string) func(*Options) {
			return func(o *Options) { o.InstanceID, o.SessionTimeout = id, 3*time.Minute }
		}
		a := e.open(t, 2, long("a"))
		ha := newStuckHost()
		ctx, stopA := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- a.Join(ctx, ha) }()
		ha.until(t, holding(2))
		hb, _ := join(t, e.open(t, 2, long("b")))
		<-ha.stuck // no rebalance ends before a has drained
		c := e.open(t, 2, long("c"))
		ctxC, stopC := context.WithCancel(context.Background())
		endedC := make(chan error, 1)
		go func() { endedC <- c.Join(ctxC, newHost()) }()
		for state := ""; state != "PreparingRebalance"; {
			groups, err := a.adm.DescribeGroups(testContext(t), e.name)
			if err != nil {
				t.Fatal(err)
			}
			state = groups[e.name].State
			time.Sleep(10 * time.Millisecond)
		}
		stopC()
		time.Sleep(50 * time.Millisecond) // it cannot be seen that it is waiting
		close(ha.free)
		if err := <-endedC; err != nil {
			t.Error(err)
		}
		hb.until(t, holding(1))
		ha.until(t, holding(1))
		stopA()
		hb.until(t, holding(2))
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
