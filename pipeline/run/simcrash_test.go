package run

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/gradstream/gradstream/connectors"
)

// simPoint is a place in what a task does with the brokers and the disk at which
// its process may end.
type simPoint int

const (
	beforeLock simPoint = iota
	locked
	beforeBegin
	begun
	produced
	offsetsSent
	endSent // EndTxn is under way: it arrives or not, nobody hears
	endAcked
	readingJournal
	readingState
	polling
	beforeLocal
	afterLocal
	beforeRemote
	midRemote
	remoteSent
	remoteAcked
	simPoints
)

func (p simPoint) String() string {
	return [...]string{"before the lock", "lock taken", "before begin", "after begin", "after produce", "after offsets", "EndTxn sent", "EndTxn acked",
		"reading the journal", "reading the state topic", "fetching", "before local checkpoint", "after local checkpoint",
		"before remote checkpoint", "mid remote checkpoint", "remote EndTxn sent", "remote EndTxn acked"}[p]
}

// simCrash is a crash point of a phase.
type simCrash struct {
	phase Phase
	point simPoint
}

func (c simCrash) String() string { return fmt.Sprintf("%v in %v", c.point, c.phase) }

// simCrashes lists where a process may end. Every schedule aims at some of them;
// all of them together must hit every one.
var simCrashes = func() (all []simCrash) {
	commit := []simPoint{beforeBegin, begun, produced, offsetsSent, endSent, endAcked}
	local := []simPoint{beforeLocal, afterLocal}
	remote := []simPoint{beforeRemote, midRemote, remoteSent, remoteAcked}
	for _, row := range []struct {
		phase  Phase
		points []simPoint
	}{
		{Fence, []simPoint{beforeLock, locked, begun, produced, endSent, endAcked}},
		{Locate, []simPoint{readingJournal, readingState}},
		{Restore, []simPoint{readingJournal}},
		{Replay, append([]simPoint{readingJournal, polling}, local...)},
		{Live, slices.Concat(commit, []simPoint{polling}, local, remote)},
		{Drain, slices.Concat(commit, local, remote)},
	} {
		for _, p := range row.points {
			all = append(all, simCrash{row.phase, p})
		}
	}
	return all
}()

// simAims is what schedules aim at in turn: more often at what a task seldom comes by.
var simAims = append(slices.Repeat([]simCrash{{Locate, readingState}, {Replay, beforeLocal}, {Replay, afterLocal}}, 2), simCrashes...)

// simHits counts at which points processes ended, and how often they came by.
type simHits struct {
	mu        sync.Mutex
	hit, past map[simCrash]int
}

func newSimHits() *simHits { return &simHits{hit: map[simCrash]int{}, past: map[simCrash]int{}} }

func (h *simHits) count(at simCrash, ended bool) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if ended {
		h.hit[at]++
	} else {
		h.past[at]++
	}
}

// missed lists the points at which no process ended.
func (h *simHits) missed() (all []simCrash) {
	for _, at := range simCrashes {
		if h.hit[at] == 0 {
			all = append(all, at)
		}
	}
	return all
}

// String draws the table: how many processes ended there, and in brackets how often
// one came by and went on.
func (h *simHits) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	phases := []Phase{Fence, Locate, Restore, Replay, Live, Drain}
	fmt.Fprint(w, "\ncrash point")
	for _, p := range phases {
		fmt.Fprintf(w, "\t%v", p)
	}
	for point := range simPoints {
		fmt.Fprintf(w, "\n%v", point)
		for _, phase := range phases {
			at := simCrash{phase, point}
			if !slices.Contains(simCrashes, at) {
				fmt.Fprint(w, "\t–")
				continue
			}
			fmt.Fprintf(w, "\t%d (%d)", h.hit[at], h.past[at])
		}
	}
	_ = w.Flush()
	return b.String()
}

// aim has a worker end at a point of a phase, when a task comes there for the
// given time.
type aim struct {
	simCrash
	times int
	stop  func() // called once when a task replays; may be nil
}

// phaseOf returns the phase of a task of the worker on this cluster.
func (c *simCluster) phaseOf(id int) Phase {
	if c.w == nil {
		return Unassigned
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if r := c.w.tasks[id]; r != nil {
		if c.last == nil {
			c.last = map[int]*task{}
		}
		c.last[id] = r.t
	}
	if t := c.last[id]; t != nil {
		return Phase(t.phase.Load()) // of one that is being revoked, perhaps
	}
	return Unassigned // revoked before it came to anything
}

// pass is called wherever a process may end. It returns an error if it does.
func (c *simCluster) pass(task int, p simPoint) error {
	if err := c.alive(); err != nil {
		return err
	}
	at := simCrash{c.phaseOf(task), p}
	if c.aim.stop != nil && at == (simCrash{Replay, polling}) {
		c.aim.stop()
	}
	c.mu.Lock()
	ends := c.crash > 0 && c.rng.IntN(6*c.crash) == 0
	if c.aim.simCrash == at && c.aim.times > 0 {
		c.aim.times--
		ends = ends || c.aim.times == 0
	}
	c.mu.Unlock()
	if !ends {
		c.hits.count(at, false)
		return nil
	}
	if c.kill() {
		c.hits.count(at, true)
	}
	return errSimDead
}

// stage lets time pass within a transaction and then comes to a point of it.
func (l *simLog) stage(ctx context.Context, p simPoint, most time.Duration) error {
	if err := l.c.pause(ctx, most); err != nil {
		return err
	}
	l.c.mu.Lock()
	mine := l.c.epoch[l.task] == l.epoch
	l.c.mu.Unlock()
	if !mine {
		return connectors.ErrLost
	}
	return l.c.pass(l.task, p)
}

// simTxn is a transaction that is not decided: nobody sees what it holds.
type simTxn struct {
	journal []byte
	outputs *simStep
	offsets []connectors.Position
}

// decide ends the open transaction of a task, whose lock is held by epoch, and
// returns the offset of its journal record. The lock of the broker is held.
func (b *simBroker) decide(task, epoch int) (int64, error) {
	if b.epoch[task] != epoch {
		return 0, connectors.ErrLost
	}
	x := b.open[task]
	b.open[task] = nil
	if x == nil || x.journal == nil {
		panic("a transaction without a journal record is committed")
	}
	if x.outputs != nil {
		b.outputs[task] = append(b.outputs[task], *x.outputs)
		b.cross(x.outputs.outputs)
	}
	for _, p := range x.offsets {
		b.group[p.TopicPartition] = p.Next
	}
	return b.journalize(task, x.journal), nil
}

// finish sends EndTxn: it arrives or not if the process ends meanwhile.
func (l *simLog) finish(sent, acked simPoint) (at int64, err error) {
	dead := l.c.pass(l.task, sent)
	if dead != nil && l.c.odds(2) {
		return 0, dead
	}
	l.c.mu.Lock()
	at, err = l.c.decide(l.task, l.epoch)
	l.c.mu.Unlock()
	if err != nil || dead != nil {
		return 0, cmp.Or(dead, err)
	}
	return at, l.c.pass(l.task, acked)
}
