package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/gradstream/gradstream/connectors"
)

func TestTopics(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 2, nil)
		ctx := testContext(t)
		a, b := e.name+".a", e.name+".b"
		if err := c.Create(ctx, []connectors.Topic{{Name: a, Partitions: 3}, {Name: b, Partitions: 1, Replication: 1, Config: map[string]string{"cleanup.policy": "compact"}}}); err != nil {
			t.Fatal(err)
		}
		id, infos, err := c.Describe(ctx, []string{b, e.name + ".nowhere", a})
		if err != nil || id == "" || len(infos) != 3 {
			t.Fatal(id, infos, err)
		}
		if infos[0].Name != b || infos[0].Partitions != 1 || infos[0].Missing || infos[0].ID == [16]byte{} || infos[0].Replication != 1 ||
			!infos[1].Missing || infos[1].Name != e.name+".nowhere" || infos[2].Partitions != 3 || infos[2].ID == infos[0].ID {
			t.Errorf("got %+v", infos)
		}
		if all, err := c.Settings(ctx, []string{b, e.name + ".nowhere"}); err != nil || len(all) != 1 || all[b]["cleanup.policy"] != "compact" {
			t.Errorf("settings %v, %v", all, err)
		}
		if all, err := c.Settings(ctx, nil); err != nil || len(all) != 0 {
			t.Errorf("settings of no topic: %v, %v", all, err)
		}
		if _, infos, _ = c.Describe(ctx, []string{e.name + ".nowhere"}); !infos[0].Missing {
			t.Error("asking for a topic makes it")
		}
		if id2, none, err := c.Describe(ctx, nil); err != nil || id2 != id || len(none) != 0 {
			t.Errorf("nothing asked for: %v %v %v", id2, none, err)
		}
		if err := c.Create(ctx, []connectors.Topic{{Name: a, Partitions: 3}}); !errors.Is(err, kerr.TopicAlreadyExists) || !errors.Is(err, connectors.ErrExists) || !strings.Contains(err.Error(), a) {
			t.Errorf("creating a topic again: %v", err)
		}
		if err := c.Create(ctx, []connectors.Topic{{Name: e.name + ".c", Partitions: 0}}); err == nil {
			t.Error("a topic without partitions is created")
		}
		l := fenced(t, c, 0, "open")
		mustCommit(t, l, e.step(7, 1, 0))
		ps, err := c.Committed(ctx)
		for try := 0; err == nil && len(ps) == 0 && try < 100; try++ {
			time.Sleep(50 * time.Millisecond) // the first commit's markers make the group: they may still be on their way
			ps, err = c.Committed(ctx)
		}
		if want := []connectors.Position{e.at(0, 7)}; err != nil || !slices.Equal(ps, want) {
			t.Errorf("committed %v %v, want %v", ps, err, want)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Options{Brokers: []string{addr}, Pipeline: "p"}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("no broker: %v; want it to name %s", err, addr)
	}
	for want, o := range map[string]Options{
		"no Kafka brokers":    {Pipeline: "p"},
		"no name":             {Brokers: []string{addr}},
		"unknown compression": {Brokers: []string{addr}, Pipeline: "p", Compression: "rar"},
		"-1 tasks":            {Brokers: []string{addr}, Pipeline: "p", Tasks: -1},
	} {
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A broker that comes up later is found.
func TestOpenWaits(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	addr := ln.Addr().String()
	ln.Close()
	opened := make(chan error, 1)
	go func() {
		c, err := Open(testContext(t), Options{Brokers: []string{addr}, Pipeline: "p"})
		if err == nil {
			c.Close()
		}
		opened <- err
	}()
	sleep(t.Context(), 50*time.Millisecond)
	var n int
	fmt.Sscan(port, &n)
	fake(t, kfake.Ports(n))
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestNotAllowed(t *testing.T) {
	e := fake(t)
	c := e.open(t, 1, nil)
	e.fill(t, 0, 1, "", true)
	before, err := c.Log(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.Fence(testContext(t), nil); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, before.(*taskLog), e.step(1, 1, 0))
	before.Close()
	for _, f := range []struct {
		keys []kmsg.Key
		err  *kerr.Error
		says string
		do   func() error
	}{
		{[]kmsg.Key{kmsg.Metadata}, kerr.TopicAuthorizationFailed, e.name + ".in", func() error {
			_, _, err := c.Describe(testContext(t), []string{e.name + ".in"})
			return err
		}},
		{[]kmsg.Key{kmsg.CreateTopics}, kerr.TopicAuthorizationFailed, e.name + ".x", func() error {
			return c.Create(testContext(t), []connectors.Topic{{Name: e.name + ".x", Partitions: 1}})
		}},
		{[]kmsg.Key{kmsg.InitProducerID}, kerr.TransactionalIDAuthorizationFailed, e.name + "/0/out", func() error {
			l, _ := c.Log(0)
			defer l.Close()
			_, err := l.Fence(testContext(t), nil)
			return err
		}},
		{[]kmsg.Key{kmsg.JoinGroup}, kerr.GroupAuthorizationFailed, "group " + e.name, func() error {
			return c.Join(testContext(t), newHost())
		}},
		{[]kmsg.Key{kmsg.OffsetFetch}, kerr.GroupAuthorizationFailed, "group " + e.name, func() error {
			_, err := c.Committed(testContext(t))
			return err
		}},
		{[]kmsg.Key{kmsg.Fetch}, kerr.TopicAuthorizationFailed, e.in(0).String(), func() error {
			f, err := c.Feed(testContext(t), []connectors.Position{e.at(0, 0)})
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Poll(testContext(t), 1, nil)
			return err
		}},
	} {
		h := e.fake.Fault(kfake.Fault{Keys: f.keys, Err: f.err, Count: -1})
		err := f.do()
		h.Remove()
		if !errors.Is(err, f.err) || !strings.Contains(err.Error(), f.says) || !strings.Contains(err.Error(), "lacks") {
			t.Errorf("%v: %v; want it to name %s and what is lacking", f.keys, err, f.says)
		}
	}
}

// Before Kafka 4.0 offsets join a transaction by a request of their own, and the
// cluster says that it promises less.
func TestOldBrokers(t *testing.T) {
	e := fake(t, kfake.MaxVersions(kversion.V3_6_0()))
	var told strings.Builder
	c := e.open(t, 1, func(o *Options) { o.Log = textLog(&told) })
	if c.tv2 || !strings.Contains(told.String(), "exactly once is not proven") {
		t.Errorf("transactions of version 2: %v; told: %s", c.tv2, told.String())
	}
	l := fenced(t, c, 0, "open")
	for n := 1; n <= 3; n++ {
		mustCommit(t, l, e.step(n, 3, 0))
	}
	equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1, 2, 3}, 3))
	ps, err := l.Offsets(testContext(t))
	if err != nil || !slices.Equal(ps, []connectors.Position{e.at(0, 3)}) {
		t.Errorf("positions %v %v", ps, err)
	}
	second := fenced(t, e.open(t, 1, nil), 0, "second")
	if _, err := l.Commit(testContext(t), e.step(4, 1, 0)); !errors.Is(err, connectors.ErrLost) {
		t.Errorf("the fenced owner: %v", err)
	}
	mustCommit(t, second, e.step(4, 1, 0))
}

// Two pipelines in a process, each with its metrics, opened again and again.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	for range 2 {
		for range 2 {
			e := fake(t)
			c := e.open(t, 1, func(o *Options) { o.Metrics = reg })
			h, stop := join(t, c)
			h.until(t, holding(1))
			e.fill(t, 0, 3, "", true)
			f := openFeed(t, c, e.at(0, 0))
			if _, err := f.Poll(testContext(t), 3, nil); err != nil {
				t.Fatal(err)
			}
			got, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			fetches := 0
			for _, m := range got {
				if strings.HasPrefix(m.GetName(), "gradstream_kafka_fetch") {
					fetches++
				}
			}
			if fetches == 0 {
				t.Error("no metrics of fetches")
			}
			stop()
			c.Close()
		}
	}
}
