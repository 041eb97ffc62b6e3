//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/internal/testutil/faultproxy"
	"github.com/gradstream/gradstream/state"
)

// restart starts a worker anew and waits until outputs flow.
func (l *lab) restart(w *worker) error {
	if err := w.start(); err != nil {
		return err
	}
	return l.arrive(200)
}

func killRandom(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w, live, starting := ws[0], 0, 0
	for range 4 {
		l.sleep(300*time.Millisecond, 1500*time.Millisecond)
		l.arr.mark()
		if err := w.kill(); err != nil {
			return err
		}
		if w.killed() {
			live++
		}
		// Again while it fences, locates, restores or replays.
		if err := w.start(); err != nil {
			return err
		}
		l.sleep(20*time.Millisecond, 400*time.Millisecond)
		if n, _ := w.replayed(); n < partitions && w.running() {
			if err := w.kill(); err != nil {
				return err
			}
			starting++
			if err := w.start(); err != nil {
				return err
			}
		}
		if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
			return err
		}
		if err := l.arrive(200); err != nil {
			return err
		}
	}
	l.did("killed live", live)
	l.did("killed starting", starting)
	return nil
}

func killPoints(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w := ws[0]
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.InitProducerID} {
		for _, action := range []faultproxy.Action{faultproxy.Hold, faultproxy.DropResponse} {
			l.sleep(0, 300*time.Millisecond)
			rule := faultproxy.Rule{Action: action, Silent: true, Match: faultproxy.Match{Keys: []kmsg.Key{key}}, Skip: l.dice.IntN(4)}
			rule.Name = map[faultproxy.Action]string{faultproxy.Hold: "killed before ", faultproxy.DropResponse: "killed behind "}[action] + key.Name()
			i := l.add(rule)
			l.arr.mark()
			if key == kmsg.InitProducerID {
				if err := w.kill(); err != nil {
					return err
				}
				if err := w.start(); err != nil {
					return err
				}
			}
			for end := time.Now().Add(15 * time.Second); i.Hits() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					return fmt.Errorf("%v never happens", i)
				}
			}
			if action == faultproxy.DropResponse {
				ctx, cancel := context.WithTimeout(l.ctx, 15*time.Second)
				err := i.Wait(ctx, 1)
				cancel()
				if err != nil {
					return err
				}
			}
			if err := w.kill(); err != nil {
				return err
			}
			i.Release()
			if err := l.restart(w); err != nil {
				return err
			}
		}
	}
	return nil
}

func killTakeover(l *lab) error {
	ws, err := l.start(2)
	if err != nil {
		return err
	}
	l.arr.mark()
	before, _ := ws[1].replayed()
	if err := ws[0].kill(); err != nil {
		return err
	}
	if err := ws[1].await(l.ctx, "task restored", partitions, 40*time.Second); err != nil {
		return err
	}
	after, steps := ws[1].replayed()
	l.did("tasks taken over", after-before)
	l.note("%d steps replayed", steps)
	return l.arrive(1000)
}

func stopCont(l *lab) error {
	ws, err := l.start(2)
	if err != nil {
		return err
	}
	l.arr.mark()
	if err := ws[0].signal(syscall.SIGSTOP); err != nil {
		return err
	}
	l.sleep(12*time.Second, 0)
	frozen := 0
	if ws[0].state() == "T" {
		frozen = 1
	}
	l.did("frozen for 12 s", frozen)
	if err := ws[0].signal(syscall.SIGCONT); err != nil {
		return err
	}
	l.did("tasks taken over", max(0, len(ws[1].said("task restored"))-partitions/2))
	if err := l.arrive(1500); err != nil {
		return err
	}
	l.sleep(3*time.Second, 0)
	return nil
}

func terminate(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w, live, starting, replayed := ws[0], 0, 0, 0
	for range 3 {
		l.sleep(200*time.Millisecond, 800*time.Millisecond)
		l.arr.mark()
		if err := w.stop(); err != nil {
			return err
		}
		live++
		if err := w.start(); err != nil {
			return err
		}
		if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
			return err
		}
		_, n := w.replayed()
		replayed += n
		// Killed, so that there is something to replay, and stopped on the way.
		l.sleep(300*time.Millisecond, 800*time.Millisecond)
		if err := w.kill(); err != nil {
			return err
		}
		if err := w.start(); err != nil {
			return err
		}
		if err := w.await(l.ctx, "pipeline starts", 1, 10*time.Second); err != nil {
			return err
		}
		l.sleep(0, 300*time.Millisecond)
		if n, _ := w.replayed(); n < partitions {
			starting++
		}
		if err := w.stop(); err != nil {
			return err
		}
		if err := l.restart(w); err != nil {
			return err
		}
	}
	l.did("stopped live", live)
	l.did("stopped starting", starting)
	l.note("%d steps replayed after stops", replayed)
	if replayed != 0 {
		return fmt.Errorf("%d steps were replayed after a stop in good order", replayed)
	}
	return nil
}

func rolling(l *lab) error {
	ws, err := l.start(2)
	if err != nil {
		return err
	}
	// The changed operator counts otherwise, so only the others can be compared.
	l.compare = func(id state.ID) bool { return id.Node != "quality" }
	l.arr.mark()
	restarts, replayed := 0, 0
	for _, more := range [][]string{nil, {"--set", "operators.quality.evaluate.every=50"}} {
		for _, w := range ws {
			if err := w.stop(); err != nil {
				return err
			}
			w.more = more
			if err := w.start(); err != nil {
				return err
			}
			if err := w.await(l.ctx, "task restored", 1, 30*time.Second); err != nil {
				return err
			}
			if err := l.arrive(300); err != nil {
				return err
			}
			_, n := w.replayed()
			replayed += n
			restarts++
		}
	}
	l.did("restarts", restarts)
	l.note("%d steps replayed by those who came back", replayed)
	return nil
}

func scale(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	l.arr.mark()
	for range 3 {
		w := l.worker()
		if err := w.start(); err != nil {
			return err
		}
		ws = append(ws, w)
	}
	for _, w := range ws[1:] {
		if err := w.await(l.ctx, "task restored", 1, 30*time.Second); err != nil {
			return err
		}
	}
	l.did("workers with a task", 4)
	if err := l.arrive(1000); err != nil {
		return err
	}
	for _, w := range []*worker{ws[0], ws[2]} {
		if err := w.stop(); err != nil {
			return err
		}
	}
	l.did("left", 2)
	return l.arrive(1500)
}

func storm(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	for range 3 {
		ws = append(ws, l.worker())
	}
	l.arr.mark()
	joins, leaves, crashes := 0, 0, 0
	begun := time.Now()
	for time.Since(begun) < time.Minute {
		next := time.Now().Add(2 * time.Second)
		w := ws[l.dice.IntN(len(ws)-1)+1]
		switch {
		case !w.running():
			err = w.start()
			joins++
		case l.dice.IntN(3) == 0:
			err = w.kill()
			crashes++
		default:
			err = w.stop()
			leaves++
		}
		if err != nil {
			return err
		}
		l.sleep(time.Until(next), 0)
	}
	l.note("%.0f s", time.Since(begun).Seconds())
	l.did("joins", joins)
	l.did("leaves", leaves)
	l.did("kills", crashes)
	return l.arrive(1000)
}

// take has a stranger take a transactional id, as InitProducerId does.
func (l *lab) take(id string) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = &id
	req.TransactionTimeoutMillis = 10000
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		resp, err := req.RequestWith(l.ctx, l.site.cl)
		if err == nil && resp.ErrorCode == 0 {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("error code %d", resp.ErrorCode) // CONCURRENT_TRANSACTIONS while one ends
		}
		if time.Now().After(end) {
			return fmt.Errorf("InitProducerId of %s: %w", id, err)
		}
	}
}

func steal(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	l.arr.mark()
	taken := 0
	for _, id := range []string{l.txnID(0, "out"), l.txnID(1, "ckpt"), l.txnID(2, "out"), l.txnID(2, "ckpt")} {
		if err := l.take(id); err != nil {
			return err
		}
		taken++
	}
	if err := l.arrive(600); err != nil {
		return err
	}
	looped := 0
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); looped++ {
		if err := l.take(l.txnID(3, "out")); err != nil {
			return err
		}
		l.sleep(100*time.Millisecond, 400*time.Millisecond)
	}
	l.did("ids taken once", taken)
	l.did("taken in a loop", looped)
	if err := l.arrive(1000); err != nil {
		return err
	}
	l.did("owner said that it lost the task", ws[0].saidEver("task lost to another worker"))
	return nil
}

func memory(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w := ws[0]
	l.arr.mark()
	// A pause of the garbage collector looks like this.
	if err := w.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	l.sleep(3*time.Second, 0)
	frozen := 0
	if w.state() == "T" {
		frozen = 1
	}
	if err := w.signal(syscall.SIGCONT); err != nil {
		return err
	}
	l.did("all stopped for 3 s", frozen)
	if err := l.arrive(300); err != nil {
		return err
	}
	died := 0
	for range 2 {
		// No more memory than it has: it dies in the middle of whatever needs more.
		if err := w.limitMemory(0); err != nil {
			return cannotError("memory of a running process cannot be limited here: " + err.Error())
		}
		l.gen.rate.Store(20000)
		code, err := w.wait(20 * time.Second)
		l.gen.rate.Store(300)
		if err != nil {
			return errors.Join(errors.New("it does not need more memory"), err)
		}
		if code != 0 {
			died++
		}
		if err := l.restart(w); err != nil {
			return err
		}
	}
	l.did("died for lack of memory", died)
	return nil
}

func twoOnFolder(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	l.arr.mark()
	second := &worker{l: l, name: "second", dir: ws[0].dir, file: ws[0].file}
	refused := 0
	for range 3 {
		if err := second.start(); err != nil {
			return err
		}
		code, err := second.wait(20 * time.Second)
		if err != nil || code == 0 {
			return errors.Join(fmt.Errorf("the second process ended with code %d", code), err, second.kill())
		}
		refused += len(second.said("the state folder is in use"))
	}
	l.did("refused: folder in use", refused)
	return l.arrive(300)
}

func twoOfName(l *lab) error {
	if _, err := l.start(1); err != nil {
		return err
	}
	l.arr.mark()
	other := l.name + ".other"
	if _, err := l.site.adm.CreateTopic(l.ctx, partitions, 1, nil, other); err != nil {
		return err
	}
	if err := l.write("other.yaml", l.name, other); err != nil {
		return err
	}
	second := l.worker()
	second.file = l.dir + "/other.yaml"
	var refusals atomic.Int64
	l.count("refused", func() int { return int(refusals.Load()) })
	if err := second.start(); err != nil {
		return err
	}
	code, err := second.wait(40 * time.Second)
	if err != nil || code == 0 {
		return errors.Join(fmt.Errorf("the second pipeline ended with code %d", code), err)
	}
	refusals.Add(1)
	l.note("it says: %s", second.lastError())
	return l.arrive(600)
}
