package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

func (e *env) in(p int32) connectors.TopicPartition {
	return connectors.TopicPartition{Topic: e.name + ".in", Partition: p}
}

func (e *env) at(p int32, next int64) connectors.Position {
	return connectors.Position{TopicPartition: e.in(p), Next: next}
}

// fill writes n records to a partition of the input; with a transactional id, in
// one transaction that is committed or aborted.
func (e *env) fill(t testing.TB, p int32, n int, txn string, commit bool) {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(e.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100 * time.Millisecond)}
	if txn != "" {
		opts = append(opts, kgo.TransactionalID(txn))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := testContext(t)
	if txn != "" {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		cl.Produce(ctx, &kgo.Record{
			Topic: e.name + ".in", Partition: p, Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "%s%d", txn, i),
			Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)), Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}},
		}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if txn != "" {
		if err := cl.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
	}
}

func openFeed(t testing.TB, c *Cluster, from ...connectors.Position) connectors.Feed {
	t.Helper()
	f, err := c.Feed(testContext(t), from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// The feed comes to the end of the log although its last offsets are control
// records and what was aborted.
func TestFeedReachesTheEnd(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 1, nil)
		e.fill(t, 0, 5, "", true)
		e.fill(t, 0, 3, e.name+"-a", true)
		e.fill(t, 0, 4, e.name+"-b", false)
		e.fill(t, 0, 2, e.name+"-c", true)
		e.fill(t, 0, 4, e.name+"-d", false)
		e.settle(t, e.name+".in", 0)
		_, end, err := c.bounds(testContext(t), e.in(0))
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(5 + 4 + 5 + 3 + 5); end != want {
			t.Fatalf("the log ends at %d, the test expects %d", end, want)
		}
		f := openFeed(t, c, e.at(0, connectors.Earliest))
		var values []string
		next := int64(0)
		for next < end {
			got, err := f.Poll(testContext(t), 2, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Records) > 2 {
				t.Fatalf("%d records, asked for 2", len(got.Records))
			}
			for _, r := range got.Records {
				if r.Offset < next || r.Offset >= got.Next {
					t.Fatalf("offset %d in a fetch from %d to %d", r.Offset, next, got.Next)
				}
				i := len(r.Headers)
				if i != 1 || r.Headers[0].Key != "n" || "k"+string(r.Headers[0].Value) != string(r.Key) || r.Time < 1_700_000_000_000 {
					t.Fatalf("record %+v", r)
				}
				values = append(values, string(r.Value))
			}
			if got.Next <= next {
				t.Fatalf("from %d to %d", next, got.Next)
			}
			next = got.Next
			if got.End < next {
				t.Fatalf("at %d of a log that ends at %d", next, got.End)
			}
		}
		if next != end {
			t.Errorf("read to %d of %d", next, end)
		}
		var exp []string
		for _, part := range []struct {
			txn string
			n   int
		}{{"", 5}, {e.name + "-a", 3}, {e.name + "-c", 2}} {
			for i := range part.n {
				exp = append(exp, fmt.Sprintf("%s%d", part.txn, i))
			}
		}
		equal(t, "values", values, exp)
	})
}

func TestFeedPositions(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 3, nil)
		for p := range int32(3) {
			e.fill(t, p, 10, "", true)
		}
		first := func(f connectors.Feed, only *connectors.TopicPartition) int64 {
			t.Helper()
			got, err := f.Poll(testContext(t), 1, only)
			if err != nil || len(got.Records) == 0 {
				t.Fatal(got, err)
			}
			return got.Records[0].Offset
		}
		f := openFeed(t, c, e.at(0, connectors.Earliest), e.at(1, 7))
		p0, p1, p2 := e.in(0), e.in(1), e.in(2)
		for want := int64(7); want < 10; want++ {
			if got := first(f, &p1); got != want {
				t.Errorf("partition 1: offset %d, want %d", got, want)
			}
		}
		if got := first(f, &p0); got != 0 {
			t.Errorf("from the earliest: offset %d", got)
		}
		if _, err := f.Poll(testContext(t), 1, &p2); err == nil {
			t.Error("a partition that is not the feed's can be polled")
		}
		if _, err := c.Feed(testContext(t), []connectors.Position{e.at(1, 0)}); err == nil || !strings.Contains(err.Error(), "another feed") {
			t.Errorf("a second feed of a partition: %v", err)
		}
		g := openFeed(t, c, e.at(2, connectors.Latest))
		e.fill(t, 2, 1, "", true)
		if got := first(g, nil); got != 10 {
			t.Errorf("from the latest: offset %d, want 10", got)
		}
		// Closed and opened again elsewhere: nothing of the old feed shows.
		for i := range 20 {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			at := int64(i % 9)
			f = openFeed(t, c, e.at(0, at), e.at(1, at+1))
			if a, b := first(f, &p0), first(f, &p1); a != at || b != at+1 {
				t.Fatalf("round %d: offsets %d and %d, want %d and %d", i, a, b, at, at+1)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Poll(ctx, 1, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled Poll: %v", err)
		}
	})
}

func TestFeedOutOfRange(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 1, nil)
		ctx := testContext(t)
		e.fill(t, 0, 20, "", true)
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = 10_000
		rt := kmsg.NewDeleteRecordsRequestTopic()
		rt.Topic = e.name + ".in"
		rp := kmsg.NewDeleteRecordsRequestTopicPartition()
		rp.Offset = 12
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		if _, err := req.RequestWith(ctx, c.admin); err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{5, 30} {
			f := openFeed(t, c, e.at(0, at))
			_, err := f.Poll(ctx, 10, nil)
			var out *connectors.OutOfRangeError
			if !errors.As(err, &out) {
				t.Fatalf("from %d: %v", at, err)
			}
			if want := (connectors.OutOfRangeError{TopicPartition: e.in(0), Offset: at, Start: 12, End: 20}); *out != want {
				t.Errorf("got %+v, want %+v", *out, want)
			}
			if _, again := f.Poll(ctx, 10, nil); !errors.As(again, &out) {
				t.Errorf("and then: %v", again)
			}
			f.Close()
		}
		f := openFeed(t, c, e.at(0, connectors.Earliest))
		if got, err := f.Poll(ctx, 1, nil); err != nil || got.Records[0].Offset != 12 {
			t.Errorf("from the earliest: %v %v", got, err)
		}
	})
}

// A feed that nobody polls stops growing; polled again it misses nothing; and one
// full partition does not keep another from being read.
func TestFeedBackPressure(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		const (
			bound = 64 << 10
			n     = 4000
		)
		c := e.open(t, 2, func(o *Options) {
			o.FeedBytes = bound
			// Small fetches, so that the bound is what limits.
			o.partitionBytes = 8 << 10
		})
		e.fill(t, 0, n, "", true)
		e.fill(t, 1, 10, "", true)
		f := openFeed(t, c, e.at(0, 0), e.at(1, 0)).(*feed)
		buffered := func() (n int, full bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.parts[0].bytes, f.parts[0].full
		}
		for ctx := testContext(t); ; {
			if _, full := buffered(); full {
				break
			}
			if !sleep(ctx, time.Millisecond) {
				t.Fatal("the feed never fills")
			}
		}
		sleep(t.Context(), 100*time.Millisecond) // what would still come would come now
		// A fetch that was on its way may come on top: of the last, at most 1 MiB.
		if got, _ := buffered(); got > bound/2+(1<<20) {
			t.Errorf("%d bytes are buffered, the bound is %d", got, bound/2)
		}
		p1 := e.in(1)
		for got := 0; got < 10; {
			fetch, err := f.Poll(testContext(t), 100, &p1)
			if err != nil {
				t.Fatal(err)
			}
			got += len(fetch.Records)
		}
		e.fill(t, 1, 5, "", true) // while partition 0 is paused
		for got := 0; got < 5; {
			fetch, err := f.Poll(testContext(t), 100, &p1)
			if err != nil {
				t.Fatal(err)
			}
			got += len(fetch.Records)
		}
		p0 := e.in(0)
		var offsets []int64
		for len(offsets) < n {
			fetch, err := f.Poll(testContext(t), 100, &p0)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range fetch.Records {
				offsets = append(offsets, r.Offset)
			}
		}
		if !slices.IsSorted(offsets) || offsets[0] != 0 || offsets[n-1] != n-1 {
			t.Errorf("offsets %v … %v", offsets[:3], offsets[n-3:])
		}
		if got, _ := buffered(); got != 0 {
			t.Errorf("%d bytes are still counted", got)
		}
	})
}

func TestFeedEndsWithTheCluster(t *testing.T) {
	e := fake(t)
	c := e.open(t, 1, nil)
	f := openFeed(t, c, e.at(0, 0))
	done := make(chan error, 1)
	go func() {
		_, err := f.Poll(t.Context(), 1, nil)
		done <- err
	}()
	c.Close()
	if err := <-done; err == nil {
		t.Error("Poll returned without an error")
	}
	if _, err := c.Feed(t.Context(), []connectors.Position{e.at(0, 0)}); err == nil {
		t.Error("a closed cluster opens a feed")
	}
}

// A feed of a command that ends does not wait for ever for brokers that are gone, nor
// does it give up those that have nothing to give.
func TestFeedGivesUp(t *testing.T) {
	e := fake(t)
	e.open(t, 1, nil)
	c := e.open(t, 1, func(o *Options) { o.GiveUp = 3 * time.Second })
	fd, err := c.Feed(testContext(t), []connectors.Position{{TopicPartition: connectors.TopicPartition{Topic: e.name + ".in"}, Next: connectors.Earliest}})
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	quiet, cancel := context.WithTimeout(testContext(t), 4*time.Second)
	defer cancel()
	if _, err := fd.Poll(quiet, 10, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("nothing to read: %v", err)
	}
	e.fake.Close()
	_, err = fd.Poll(testContext(t), 10, nil)
	if err == nil || !strings.Contains(err.Error(), "reading "+e.name+".in: Kafka at ") || !strings.Contains(err.Error(), "given up after 3s") {
		t.Errorf("brokers that are gone: %v", err)
	}
}

// TestFeedLends an array of records: they are good until something of the same partition
// is polled, and it is then used again without holding on to what it held.
func TestFeedLends(t *testing.T) {
	c := &Cluster{opt: Options{FeedBytes: 1 << 30}}
	var from []connectors.Position
	for p := range int32(2) {
		from = append(from, connectors.Position{TopicPartition: connectors.TopicPartition{Topic: "t", Partition: p}})
	}
	fd := newFeed(c, nil, from)
	offset := [2]int64{}
	put := func(p, n int) {
		t.Helper()
		b := testBatch{first: offset[p]}
		for range n {
			b.records = append(b.records, kmsg.Record{Value: fmt.Appendf(nil, "%d/%d", p, offset[p])})
			offset[p]++
		}
		got, err := new(parser).parse(&kmsg.FetchResponseTopicPartition{RecordBatches: b.wire(t)}, b.first)
		if err != nil {
			t.Fatal(err)
		}
		fd.parts[p].put(&got)
	}
	take := func(p, limit int) []connectors.Record {
		t.Helper()
		got, ok, err := fd.take(limit, &fd.parts[p].tp)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		if n := len(got.Records); n > 0 && got.Next != got.Records[n-1].Offset+1 {
			t.Fatalf("next %d behind offset %d", got.Next, got.Records[n-1].Offset)
		}
		return got.Records
	}
	check := func(p, first, n int, got []connectors.Record) {
		t.Helper()
		if len(got) != n {
			t.Fatalf("%d records, want %d", len(got), n)
		}
		for i, r := range got {
			if want := fmt.Sprintf("%d/%d", p, first+i); string(r.Value) != want || r.Offset != int64(first+i) {
				t.Fatalf("record %d is %q at offset %d, want %s", i, r.Value, r.Offset, want)
			}
		}
	}
	put(0, 5)
	put(1, 5)
	put(0, 4)
	put(1, 4)
	a := take(0, 7) // of two batches
	b := take(1, 9)
	put(0, 5) // must not go into what is lent
	put(1, 5)
	check(0, 0, 7, a)
	check(1, 0, 9, b)
	next := take(0, 3)
	check(0, 7, 3, next)
	check(1, 0, 9, b)
	if &next[0] != &a[0] {
		t.Error("an array whose time is over is not used again")
	}
	if whole := a[:7]; whole[3].Value != nil || whole[6].Value != nil {
		t.Error("records whose time is over hold on to what was fetched")
	}
	check(0, 10, 4, take(0, 9))
	check(1, 9, 5, take(1, 9))
	if n, bytes := fd.Buffered(); n != 0 || bytes != 0 {
		t.Errorf("%d records of %d bytes are still counted", n, bytes)
	}
	if got, ok, err := fd.take(1, nil); ok || err != nil {
		t.Errorf("more came: %v %v", got, err)
	}
}
