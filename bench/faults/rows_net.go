//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/internal/testutil/faultproxy"
)

// observe waits until all rules have had their effect.
func (l *lab) observe(all []*faultproxy.Injection, n int, most time.Duration) error {
	ctx, cancel := context.WithTimeout(l.ctx, most)
	defer cancel()
	for _, i := range all {
		if err := i.Wait(ctx, n); err != nil {
			return fmt.Errorf("%w\n%s", err, l.tails())
		}
	}
	return nil
}

func endTxn(l *lab) error {
	if _, err := l.start(1); err != nil {
		return err
	}
	l.arr.mark()
	end := func(task int) faultproxy.Match {
		return faultproxy.Match{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: l.txnID(task, "out")}
	}
	var all []*faultproxy.Injection
	for task, r := range []faultproxy.Rule{
		{Name: "request lost", Action: faultproxy.DropRequest, Times: 3},
		{Name: "answer lost", Action: faultproxy.DropResponse, Times: 3},
		{Name: "twice", Action: faultproxy.Duplicate, Times: 3},
		{Name: "answer late", Action: faultproxy.DelayResponse, Delay: 2 * time.Second, Times: 2},
	} {
		r.Match = end(task)
		all = append(all, l.add(r))
	}
	if err := l.observe(all, 1, 20*time.Second); err != nil {
		return err
	}
	if err := l.arrive(300); err != nil {
		return err
	}
	// Longer than the transaction's time-out, and one that arrives when the next transaction is under way.
	late := l.add(faultproxy.Rule{Name: "request 13 s late", Action: faultproxy.Hold, Match: end(0)})
	timer := time.AfterFunc(13*time.Second, late.Release)
	defer timer.Stop()
	defer late.Release()
	next := l.add(faultproxy.Rule{Name: "behind the next begin", Action: faultproxy.Hold, Cut: true, Times: 2, Match: end(1),
		Until: &faultproxy.Match{Keys: []kmsg.Key{kmsg.Produce}, TxnID: l.txnID(1, "out")}})
	silent := l.add(faultproxy.Rule{Name: "answer lost in silence", Action: faultproxy.DropResponse, Silent: true, Match: end(2)})
	if err := l.observe([]*faultproxy.Injection{late, next, silent}, 1, 40*time.Second); err != nil {
		return err
	}
	return l.arrive(600)
}

func requests(l *lab) error {
	ws, err := l.start(2)
	if err != nil {
		return err
	}
	l.arr.mark()
	var all []*faultproxy.Injection
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.InitProducerID, kmsg.Heartbeat} {
		for n, a := range []faultproxy.Action{faultproxy.DropRequest, faultproxy.DropResponse, faultproxy.DelayRequest, faultproxy.Duplicate} {
			m := faultproxy.Match{Keys: []kmsg.Key{key}}
			if key == kmsg.Heartbeat {
				m.Group = l.name
			} else {
				m.TxnID = l.txnID(n, "out")
			}
			times := 2
			if a == faultproxy.DelayRequest {
				times = 6 // a worker that is killed meanwhile takes what is late along
			}
			all = append(all, l.add(faultproxy.Rule{Action: a, Times: times, Delay: 1500 * time.Millisecond, Match: m}))
		}
	}
	// Ids are taken when workers come and go.
	for range 3 {
		for _, w := range ws {
			l.sleep(500*time.Millisecond, time.Second)
			if err := w.kill(); err != nil {
				return err
			}
			if err := l.restart(w); err != nil {
				return err
			}
		}
	}
	if err := l.observe(all, 1, 30*time.Second); err != nil {
		return err
	}
	return l.arrive(600)
}

func cut(l *lab) error {
	if _, err := l.start(2); err != nil {
		return err
	}
	g := l.site.proxies
	before := g.Counts()
	l.count("connections cut", func() int { return int(g.Counts().Cut - before.Cut) })
	l.count("connections refused", func() int { return int(g.Counts().Refused - before.Refused) })
	l.count("frames stalled", func() int { return int(g.Counts().Stalled - before.Stalled) })
	l.arr.mark()
	for range 6 {
		g.Cut()
		l.sleep(50*time.Millisecond, 600*time.Millisecond)
	}
	if err := l.arrive(300); err != nil {
		return err
	}
	for _, d := range []faultproxy.Direction{faultproxy.Both, faultproxy.ToClient, faultproxy.ToBroker} {
		g.Stall(d)
		l.sleep(4*time.Second, 8*time.Second)
		g.Heal()
		if err := l.arrive(300); err != nil {
			return err
		}
	}
	for i := range g.Addrs() {
		g.Proxy(i).Refuse()
	}
	g.Cut()
	l.sleep(3*time.Second, 0)
	g.Heal()
	return l.arrive(600)
}

func slowLink(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	g := l.site.proxies
	before := g.Counts().Throttled
	l.count("frames slowed", func() int { return int(g.Counts().Throttled - before) })
	l.arr.mark()
	for i := range g.Addrs() {
		g.Proxy(i).Throttle(125000)
	}
	l.sleep(12*time.Second, 0)
	g.Heal()
	mb := ws[0].peak()
	l.gen.rate.Store(300)
	l.note("at most %d MiB of memory", mb)
	if mb > 512 {
		return fmt.Errorf("the worker took %d MiB", mb)
	}
	return l.arrive(1000)
}
