//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// bigModel gives every task a model of 2^22 float32: 16 MiB.
var bigModel = []string{"operators.features.vectorize.bits=22", "operators.ctr.logistic_regression.optimizer={sgd: {rate: 0.05}}"}

const (
	bigPages  = 1 << 22 / 1024        // of such a model
	bigUsers  = 30_000                // events of a task until nearly all pages are in use
	bigEvents = partitions * bigUsers // until all tasks' are
	session   = 6 * time.Second       // of the group's members, by default
)

// manyUsers is [event] with hardly a user twice, so that an event touches a page of its own.
func manyUsers(i int64) []byte {
	id, rest, _ := strings.Cut(string(event(i)), `,"user":"u`)
	_, rest, _ = strings.Cut(rest, `"`)
	return []byte(id + fmt.Sprintf(`,"user":"u%d"`, i) + rest)
}

// grow starts a worker and lets it learn until the models are large, and both the state folder and the state topic hold them.
func (l *lab) grow() (*worker, error) {
	l.gen.value = manyUsers
	ws, err := l.start(1)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(100 * time.Second); l.arr.count() < bigEvents; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) || l.ctx.Err() != nil {
			return nil, fmt.Errorf("only %d of %d outputs in 100 s\n%s", l.arr.count(), bigEvents, l.tails())
		}
	}
	l.gen.rate.Store(300)
	if err := l.arrive(600); err != nil {
		return nil, err
	}
	for end := time.Now().Add(40 * time.Second); ; l.sleep(300*time.Millisecond, 0) {
		n, _, err := l.held(l.name + ".state")
		if err != nil {
			return nil, err
		}
		if n >= partitions*bigPages*9/10 {
			break
		}
		if time.Now().After(end) || l.ctx.Err() != nil {
			return nil, fmt.Errorf("the state topic holds %d records only\n%s", n, l.tails())
		}
	}
	l.sleep(1500*time.Millisecond, 0) // a local checkpoint more
	size := int64(0)
	found, err := someFiles(l.stateDir(ws[0]), `\.(sst|log)$`)
	for _, path := range found {
		if info, err := os.Stat(path); err == nil {
			size += info.Size()
		}
	}
	l.note("4 models of 16 MiB, %d MiB on disk in all", size>>20)
	return ws[0], err
}

// restored is how a task came back, as its worker tells.
type restored struct {
	at                  time.Time
	fence, load, replay time.Duration
	steps               string
}

// restores returns what the latest start of a worker says of tasks that it restored after a moment.
func (w *worker) restores(after time.Time) (all []restored) {
	for _, m := range w.said(`time=(\S+) .*task restored.* replayed=(\d+) fence=(\S+) load=(\S+) replay=(\S+)`) {
		r := restored{steps: m[2]}
		r.at, _ = time.Parse(time.RFC3339Nano, m[1])
		for i, d := range []*time.Duration{&r.fence, &r.load, &r.replay} {
			*d, _ = time.ParseDuration(m[3+i])
		}
		if r.at.After(after) {
			all = append(all, r)
		}
	}
	return all
}

// parts notes what the time from a crash to the outputs of the slowest task was made of.
func (l *lab) parts(w *worker, crashed time.Time, n int, waited string) error {
	for end := time.Now().Add(60 * time.Second); len(w.restores(crashed)) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) || !w.running() || l.ctx.Err() != nil {
			return fmt.Errorf("%s restores %d of %d tasks\n%s", w.name, len(w.restores(crashed)), n, w.tail())
		}
	}
	last := restored{}
	for _, r := range w.restores(crashed) {
		if r.at.After(last.at) {
			last = r
		}
	}
	begun := last.at.Add(-last.fence - last.load - last.replay)
	l.note("the last of %d tasks: %s %.2f s, fence %.2f s, load %.2f s, replay of %s steps %.2f s", n, waited, begun.Sub(crashed).Seconds(),
		last.fence.Seconds(), last.load.Seconds(), last.steps, last.replay.Seconds())
	return l.arrive(600)
}

// within requires that no task's output stood still for longer.
func (l *lab) within(most time.Duration) error {
	l.arr.mu.Lock()
	hole := l.arr.hole
	l.arr.mu.Unlock()
	if hole > most {
		return fmt.Errorf("a task's output stood still for %.2f s, %.2f s are allowed", hole.Seconds(), most.Seconds())
	}
	return nil
}

// takeSame kills the only worker and starts it on its folder: an instance that comes back need not wait for its session's end.
func takeSame(l *lab) error {
	w, err := l.grow()
	if err != nil {
		return err
	}
	l.did("killed", 1)
	l.arr.mark()
	crashed := time.Now()
	if err := w.kill(); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	if err := l.parts(w, crashed, partitions, "process and group"); err != nil {
		return err
	}
	return l.within(session + time.Second)
}

// takeWarm kills a worker whose tasks another one ran before: it has a copy of the state, somewhat older.
func takeWarm(l *lab) error {
	return takeOver(l, false, time.Second)
}

// takeCold kills a worker whose tasks another one has no copy of.
func takeCold(l *lab) error {
	return takeOver(l, true, 2*time.Second)
}

func takeOver(l *lab, cold bool, allowed time.Duration) error {
	first, err := l.grow()
	if err != nil {
		return err
	}
	second := l.worker()
	if err := second.start(); err != nil {
		return err
	}
	if err := second.await(l.ctx, "task restored", 1, 60*time.Second); err != nil {
		return err
	}
	l.sleep(4*time.Second, 5*time.Second) // local and remote checkpoints
	n, _ := second.replayed()
	dies, takes := second, first
	if cold {
		dies, takes, n = first, second, partitions-n
	}
	if n == 0 {
		return fmt.Errorf("%s has no task", dies.name)
	}
	l.arr.mark()
	crashed := time.Now()
	if err := dies.kill(); err != nil {
		return err
	}
	if err := l.parts(takes, crashed, n, "session and group"); err != nil {
		return err
	}
	remote := 0
	for _, m := range takes.said(`time=(\S+) .*restored from the remote checkpoint`) {
		if at, _ := time.Parse(time.RFC3339Nano, m[1]); at.After(crashed) {
			remote++
		}
	}
	l.did("tasks taken over", n)
	if cold {
		l.did("from the state topic", remote)
	} else {
		l.note("%d of %d from the state topic, which was newer", remote, n)
	}
	return l.within(session + allowed)
}

// planned moves tasks by SIGTERM, to a worker without a copy and back: nothing is replayed.
func planned(l *lab) error {
	first, err := l.grow()
	if err != nil {
		return err
	}
	second := l.worker()
	l.arr.mark()
	replayed, moves := 0, 0
	for _, w := range []*worker{second, first} {
		other := first
		if w == first {
			other = second
		}
		if err := w.start(); err != nil {
			return err
		}
		if err := w.await(l.ctx, "task restored", 1, 60*time.Second); err != nil {
			return err
		}
		if err := l.arrive(600); err != nil {
			return err
		}
		begun := time.Now()
		if err := other.stop(); err != nil {
			return err
		}
		if err := w.await(l.ctx, "task restored", partitions, 60*time.Second); err != nil {
			return err
		}
		l.note("all tasks elsewhere %.2f s after SIGTERM", time.Since(begun).Seconds())
		for _, r := range w.restores(begun) {
			n, err := strconv.Atoi(r.steps)
			if err != nil {
				return err
			}
			moves, replayed = moves+1, replayed+n
		}
		if err := l.arrive(600); err != nil {
			return err
		}
	}
	l.did("tasks moved", moves)
	if replayed > 0 {
		return fmt.Errorf("%d steps were replayed after planned stops", replayed)
	}
	return nil
}

// explained crashes workers and takes ids away, then has random predictions taken apart.
func explained(l *lab) error {
	ws, err := l.start(2)
	if err != nil {
		return err
	}
	l.arr.mark()
	kills := 0
	for range 2 {
		for _, w := range ws {
			l.sleep(300*time.Millisecond, 900*time.Millisecond)
			if err := w.kill(); err != nil {
				return err
			}
			kills++
			if err := l.restart(w); err != nil {
				return err
			}
		}
		if err := l.take(l.txnID(l.dice.IntN(partitions), "out")); err != nil {
			return err
		}
		if err := l.arrive(300); err != nil {
			return err
		}
	}
	l.did("killed", kills)
	l.did("ids taken", 2)
	l.after = l.explainSome
	l.count("explained bit for bit", func() int { return l.explained })
	return nil
}
