package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(realkafka.WaitGoroutine))
}

// fake returns proxies in front of brokers of this process.
func fake(t *testing.T, brokers int) *Group {
	t.Helper()
	g, err := New(brokers, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	i := 0
	c, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.SeedTopics(1, "in", "out"), kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		l, err := net.Listen(network, addr)
		if err != nil {
			return nil, err
		}
		g.Target(i, l.Addr().String())
		l, err = Listener(l, g.Addr(i))
		i++
		return l, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return g
}

func client(t *testing.T, g *Group, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(g.Addrs()...), kgo.DefaultProduceTopic("out"), kgo.ProducerLinger(0),
		kgo.RequestTimeoutOverhead(2 * time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func context60(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// committed reads what is in topic out, up to its last stable offset.
func committed(t *testing.T, g *Group) []string {
	t.Helper()
	ctx := context60(t)
	cl := client(t, g, kgo.ConsumeTopics("out"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, "out")
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup("out", 0)
	var all []string
	for next := int64(0); next < end.Offset; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				all = append(all, string(r.Value))
			}
		})
	}
	return all
}

func transaction(ctx context.Context, cl *kgo.Client, value string, how kgo.TransactionEndTry) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	if err := cl.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
		return err
	}
	return cl.EndTransaction(ctx, how)
}

func TestPassesUnharmed(t *testing.T) {
	g := fake(t, 3)
	ctx := context60(t)
	cl := client(t, g, kgo.TransactionalID("p/0/out"))
	seen := g.Add(Rule{Match: Match{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: "p/0/out"}, Action: DropRequest, Skip: 100})
	other := g.Add(Rule{Match: Match{TxnID: "p/1/out"}, Action: DropRequest, Times: -1})
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprint(i))
		if err := transaction(ctx, cl, want[i], kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	if got := committed(t, g); !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	if seen.Seen() != 10 || seen.Hits() != 0 || other.Seen() != 0 {
		t.Errorf("%v; %v", seen, other)
	}
	if c := g.Counts(); c.Bytes == 0 || c.Connections == 0 || c.Cut+c.Refused+c.Stalled+c.Throttled != 0 {
		t.Errorf("counts %+v", c)
	}
}

// TestActions plays every action on EndTxn and on Produce and looks at what the broker was left with.
func TestActions(t *testing.T) {
	endTxn, produce := []kmsg.Key{kmsg.EndTxn}, []kmsg.Key{kmsg.Produce}
	for _, c := range []struct {
		name string
		rule Rule
		want []string // committed; a is the transaction that is hit, b the next of a new client on the same id
		fail bool     // a's commit is not confirmed
	}{
		{"request lost", Rule{Match: Match{Keys: endTxn}, Action: DropRequest}, []string{"b"}, true},
		{"request lost, silently", Rule{Match: Match{Keys: endTxn}, Action: DropRequest, Silent: true}, []string{"b"}, true},
		{"answer lost", Rule{Match: Match{Keys: endTxn}, Action: DropResponse}, []string{"a", "b"}, true},
		{"answer lost, silently", Rule{Match: Match{Keys: endTxn}, Action: DropResponse, Silent: true}, []string{"a", "b"}, true},
		{"request late", Rule{Match: Match{Keys: endTxn}, Action: DelayRequest, Delay: 300 * time.Millisecond}, []string{"a", "b"}, false},
		{"answer late", Rule{Match: Match{Keys: endTxn}, Action: DelayResponse, Delay: 300 * time.Millisecond}, []string{"a", "b"}, false},
		{"request twice", Rule{Match: Match{Keys: endTxn}, Action: Duplicate}, []string{"a", "b"}, false},
		{"produce lost", Rule{Match: Match{Keys: produce}, Action: DropRequest}, []string{"a", "b"}, false},
		{"produce's answer lost", Rule{Match: Match{Keys: produce}, Action: DropResponse}, []string{"a", "b"}, false},
		{"produce twice", Rule{Match: Match{Keys: produce, TxnID: "p/0/out"}, Action: Duplicate}, []string{"a", "b"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := fake(t, 1)
			ctx := context60(t)
			first := client(t, g, kgo.TransactionalID("p/0/out"), kgo.RequestRetries(0), kgo.RecordRetries(5))
			hit := g.Add(c.rule)
			err := transaction(ctx, first, "a", kgo.TryCommit)
			if (err != nil) != c.fail {
				t.Fatalf("the first transaction ended with %v", err)
			}
			if err := hit.Wait(ctx, 1); err != nil {
				t.Fatal(err)
			}
			if err := transaction(ctx, client(t, g, kgo.TransactionalID("p/0/out")), "b", kgo.TryCommit); err != nil {
				t.Fatal(err)
			}
			if got := committed(t, g); !slices.Equal(got, c.want) {
				t.Errorf("read %v, want %v", got, c.want)
			}
			if hit.Hits() != 1 || hit.Observed() != 1 {
				t.Errorf("%v", hit)
			}
		})
	}
}

// TestHold delivers an EndTxn behind the first record of the next transaction: the broker must not let it end that one.
func TestHold(t *testing.T) {
	g := fake(t, 1)
	ctx := context60(t)
	first := client(t, g, kgo.TransactionalID("p/0/out"), kgo.RequestRetries(0))
	held := g.Add(Rule{
		Match:  Match{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: "p/0/out"},
		Action: Hold, Cut: true, Until: &Match{Keys: []kmsg.Key{kmsg.Produce}, TxnID: "p/0/out"},
	})
	if err := transaction(ctx, first, "a", kgo.TryCommit); err == nil {
		t.Fatal("the commit was confirmed while its request was held")
	}
	if held.Held() != 1 || held.Observed() != 0 {
		t.Fatalf("%v, %d held", held, held.Held())
	}
	second := client(t, g, kgo.TransactionalID("p/0/out"))
	if err := second.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := second.ProduceSync(ctx, kgo.StringRecord("b")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := held.Wait(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, g); len(got) != 0 {
		t.Errorf("the late request committed %v", got)
	}
	if err := second.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, g); !slices.Equal(got, []string{"b"}) {
		t.Errorf("read %v, want b", got)
	}
	if held.Held() != 0 {
		t.Errorf("%d held", held.Held())
	}
}

func TestReleaseByHand(t *testing.T) {
	g := fake(t, 1)
	ctx := context60(t)
	cl := client(t, g, kgo.TransactionalID("p/0/out"))
	held := g.Add(Rule{Match: Match{Keys: []kmsg.Key{kmsg.InitProducerID}}, Action: Hold})
	done := make(chan error, 1)
	go func() { _, _, err := cl.ProducerID(ctx); done <- err }()
	for held.Held() == 0 {
		if !sleep(time.Millisecond, ctx.Done()) {
			t.Fatal("never held")
		}
	}
	select {
	case err := <-done:
		t.Fatalf("answered while held: %v", err)
	default:
	}
	held.Release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if held.Observed() != 1 {
		t.Errorf("%v", held)
	}
}

func TestSkipTimesStop(t *testing.T) {
	g := fake(t, 1)
	ctx := context60(t)
	cl := client(t, g, kgo.ClientID("me"), kgo.RequestRetries(0), kgo.DisableClientMetrics())
	second := g.Add(Rule{Name: "second and third", Match: Match{Keys: []kmsg.Key{kmsg.ListTransactions}, ClientID: "me"}, Action: DropRequest, Skip: 1, Times: 2})
	nobody := g.Add(Rule{Match: Match{ClientID: "you"}, Action: DropRequest, Times: -1})
	never := g.Add(Rule{Match: Match{Brokers: []int{1}}, Action: DropRequest, Times: -1})
	all := g.Add(Rule{Match: Match{Func: func(r *Request) bool { return r.Key == kmsg.ListTransactions && r.Body() != nil }}, Action: DropRequest, Skip: 5, Times: -1})
	var failed []int
	for i := range 9 {
		if i == 7 {
			all.Stop()
		}
		if _, err := kmsg.NewPtrListTransactionsRequest().RequestWith(ctx, cl); err != nil {
			failed = append(failed, i)
		}
	}
	if want := []int{1, 2, 5, 6}; !slices.Equal(failed, want) {
		t.Errorf("requests %v failed, want %v", failed, want)
	}
	// A rule counts what it matches even where another got it.
	if second.Observed() != 2 || all.Observed() != 2 || nobody.Seen() != 0 || never.Seen() != 0 {
		t.Errorf("%v; %v; %v; %v", second, all, nobody, never)
	}
}

func TestGroupID(t *testing.T) {
	g := fake(t, 1)
	ctx := context60(t)
	beats := g.Add(Rule{Match: Match{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "readers"}, Action: DropResponse, Times: 2})
	joins := g.Add(Rule{Match: Match{Keys: []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup}, Group: "readers"}, Action: DelayResponse, Times: 2, Delay: 10 * time.Millisecond})
	cl := client(t, g, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("in"), kgo.HeartbeatInterval(50*time.Millisecond))
	for _, i := range []*Injection{joins, beats} {
		if err := i.Wait(ctx, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "in", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for cl.PollFetches(ctx).NumRecords() == 0 {
		if ctx.Err() != nil {
			t.Fatal("the group does not recover")
		}
	}
}

func TestLinks(t *testing.T) {
	g := fake(t, 1)
	ctx := context60(t)
	cl := client(t, g, kgo.ProducerBatchCompression(kgo.NoCompression()))
	send := func(ctx context.Context, v string) error { return cl.ProduceSync(ctx, kgo.StringRecord(v)).FirstErr() }
	if err := send(ctx, "before"); err != nil {
		t.Fatal(err)
	}
	if n := g.Cut(); n == 0 || g.Counts().Cut != int64(n) {
		t.Errorf("cut %d connections, counted %d", n, g.Counts().Cut)
	}
	if err := send(ctx, "after a cut"); err != nil {
		t.Fatal(err)
	}

	for _, d := range []Direction{ToBroker, ToClient, Both} {
		g.Stall(d)
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		_, err := kmsg.NewPtrMetadataRequest().RequestWith(short, cl)
		cancel()
		if err == nil {
			t.Errorf("direction %d: answered though nothing passes", d)
		}
		if g.Counts().Stalled == 0 {
			t.Errorf("direction %d: nothing was stalled", d)
		}
		g.Heal()
		if err := send(ctx, "healed"); err != nil {
			t.Fatal(err)
		}
	}

	g.Proxy(0).Refuse()
	g.Cut()
	if c, err := net.Dial("tcp", g.Addr(0)); err == nil {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a refused connection reads %v", err)
		}
		_ = c.Close()
	}
	g.Heal()
	if err := send(ctx, "open again"); err != nil {
		t.Fatal(err)
	}
	if g.Counts().Refused == 0 {
		t.Error("nothing was refused")
	}

	// 200 kB at 400 kB/s take half a second at least.
	g.Proxy(0).Throttle(400e3)
	began := time.Now()
	if err := send(ctx, strings.Repeat("slow", 50e3)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 400*time.Millisecond || g.Counts().Throttled == 0 {
		t.Errorf("took %v, %d frames throttled", took, g.Counts().Throttled)
	}
}

// TestCloseWhileStuck ends proxies whose connections wait in every way there is.
func TestCloseWhileStuck(t *testing.T) {
	g := fake(t, 1)
	ctx, cancel := context.WithCancel(context60(t))
	hold := g.Add(Rule{Match: Match{Keys: []kmsg.Key{kmsg.InitProducerID}}, Action: Hold})
	delay := g.Add(Rule{Match: Match{Keys: []kmsg.Key{kmsg.FindCoordinator}, TxnID: ""}, Action: DelayResponse, Delay: time.Hour})
	done := make(chan error, 2)
	go func() { _, _, err := client(t, g).ProducerID(ctx); done <- err }()
	go func() {
		_, err := kadm.NewClient(client(t, g)).FetchOffsets(ctx, "g")
		done <- err
	}()
	for hold.Hits() == 0 || delay.Hits() == 0 {
		if !sleep(time.Millisecond, ctx.Done()) {
			t.Fatalf("never hit: %v, %v", hold, delay)
		}
	}
	g.Stall(Both)
	_ = g.Close()
	cancel()
	for range 2 {
		if err := <-done; err == nil {
			t.Error("answered by a closed proxy")
		}
	}
	if hold.Observed()+delay.Observed() != 0 {
		t.Errorf("observed though closed before: %v, %v", hold, delay)
	}
}

func TestNotKafka(t *testing.T) {
	g := fake(t, 1)
	c, err := net.Dial("tcp", g.Addr(0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("answered %d bytes, %v", n, err)
	}
}

// FuzzParseRequest makes sure that no bytes of a client can end the proxy.
func FuzzParseRequest(f *testing.F) {
	for _, k := range []kmsg.Key{kmsg.Produce, kmsg.EndTxn, kmsg.Heartbeat, kmsg.TxnOffsetCommit} {
		req := kmsg.RequestForKey(k.Int16())
		req.SetVersion(req.MaxVersion())
		f.Add(kmsg.NewRequestFormatter(kmsg.FormatterClientID("c")).AppendRequest(nil, req, 7))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := parseRequest(0, frame)
		if err != nil {
			return
		}
		_, _, _ = r.TxnID(), r.Group(), r.noAnswer()
		if r.bodyAt > len(frame) {
			t.Errorf("body at %d of %d bytes", r.bodyAt, len(frame))
		}
	})
}

func TestRealBroker(t *testing.T) {
	g, err := New(1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	k := realkafka.Start(t, realkafka.Options{Advertise: g.Addr, HeapMB: 256})
	g.Target(0, k.Broker(0).Addr())
	ctx := context60(t)
	if _, err := kadm.NewClient(client(t, g)).CreateTopic(ctx, 1, 1, nil, "out"); err != nil {
		t.Fatal(err)
	}

	// The answer to a commit is lost, and the client's own attempt to abort what it thinks is open is held until it has
	// begun anew: the broker keeps both out of the next transaction.
	lost := g.Add(Rule{Match: Match{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: "p/0/out"}, Action: DropResponse})
	twice := g.Add(Rule{Match: Match{Keys: []kmsg.Key{kmsg.Produce}, TxnID: "p/0/out"}, Action: Duplicate, Times: 2})
	first := client(t, g, kgo.TransactionalID("p/0/out"), kgo.RequestRetries(0))
	if err := transaction(ctx, first, "a", kgo.TryCommit); err == nil {
		t.Error("confirmed though the answer was lost")
	}
	second := client(t, g, kgo.TransactionalID("p/0/out"), kgo.RequestRetries(0))
	held := g.Add(Rule{Match: Match{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: "p/0/out"}, Action: Hold, Cut: true,
		Until: &Match{Keys: []kmsg.Key{kmsg.Produce}, TxnID: "p/0/out"}})
	if err := transaction(ctx, second, "b", kgo.TryCommit); err == nil {
		t.Error("confirmed though the request was held")
	}
	third := client(t, g, kgo.TransactionalID("p/0/out"))
	if err := third.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := third.ProduceSync(ctx, kgo.StringRecord("c")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := held.Wait(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := third.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if got, want := committed(t, g), []string{"a", "c"}; !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	if lost.Observed() != 1 || twice.Observed() != 2 {
		t.Errorf("%v; %v", lost, twice)
	}
	// Nobody walked around the proxy.
	meta, err := kadm.NewClient(client(t, g)).BrokerMetadata(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if b := meta.Brokers[0]; fmt.Sprintf("%s:%d", b.Host, b.Port) != g.Addr(0) {
		t.Errorf("the broker advertises %s:%d, want %s", b.Host, b.Port, g.Addr(0))
	}
}
