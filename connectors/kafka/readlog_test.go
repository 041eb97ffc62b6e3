package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
)

// TestReadLog reads what is committed, up to where that ends, while a transaction
// is open.
func TestReadLog(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 2, nil)
		l := fenced(t, c, 1, "open")
		for n := 1; n <= 3; n++ {
			mustCommit(t, l, e.step(n, 2, 1))
		}
		tp := connectors.TopicPartition{Topic: e.name + ".journal", Partition: 1}
		var at []int64
		read := func(from int64) (got []string) {
			t.Helper()
			at = nil
			err := c.ReadLog(testContext(t), tp, from, func(r *connectors.Record) error {
				got = append(got, string(r.Value))
				at = append(at, r.Offset)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		e.settle(t, tp.Topic, tp.Partition)
		all := []string{"open", "step 1", "step 2", "step 3"}
		equal(t, "journal", read(connectors.Earliest), all)
		equal(t, "journal behind the last record", read(at[3]+1), nil)
		equal(t, "journal from its end", read(connectors.Latest), nil)
		read(connectors.Earliest)
		equal(t, "journal from a step on", read(at[2]), all[2:])

		// Neither an open transaction nor an aborted one is seen, or waited for.
		tx, err := kgo.NewClient(kgo.SeedBrokers(e.addr), kgo.TransactionalID(e.name+".other"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Close()
		write := func() {
			t.Helper()
			if err := tx.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := tx.ProduceSync(testContext(t), &kgo.Record{Topic: tp.Topic, Partition: 1, Value: []byte("never")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		write()
		equal(t, "journal with an open transaction", read(connectors.Earliest), all)
		if err := tx.EndTransaction(testContext(t), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
		equal(t, "journal with an aborted transaction", read(connectors.Earliest), all)

		// What the reader says ends it, also if it looks like an error of the log.
		for _, mine := range []error{errors.New("mine"), fmt.Errorf("mine: %w", kerr.OffsetOutOfRange)} {
			n := 0
			err := c.ReadLog(testContext(t), tp, 0, func(*connectors.Record) error { n++; return mine })
			if err != mine || n != 1 {
				t.Errorf("%d records and then %v, want 1 and %v", n, err, mine)
			}
		}
		ended, cancel := context.WithCancel(testContext(t))
		cancel()
		if err := c.ReadLog(ended, tp, 0, func(*connectors.Record) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("after its context ended: %v", err)
		}
	})
}

// TestOffsetAt finds records by their time.
func TestOffsetAt(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 1, nil)
		tp := connectors.TopicPartition{Topic: e.name + ".in"}
		begun := time.Now().Add(-time.Hour).UnixMilli()
		cl, err := kgo.NewClient(kgo.SeedBrokers(e.addr))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		for i := range 5 {
			r := &kgo.Record{Topic: tp.Topic, Value: []byte("x"), Timestamp: time.UnixMilli(begun + 100*int64(i)),
				Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}}}
			if err := cl.ProduceSync(testContext(t), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range []struct{ time, want int64 }{{begun - 1, 0}, {begun, 0}, {begun + 1, 1}, {begun + 300, 3}, {begun + 401, 5}, {math.MaxInt64, 5}} {
			if got, err := c.OffsetAt(testContext(t), tp, x.time); err != nil || got != x.want {
				t.Errorf("time %d: offset %d, %v; want %d", x.time-begun, got, err, x.want)
			}
		}
		var headers []string
		err = c.ReadLog(testContext(t), tp, 2, func(r *connectors.Record) error {
			headers = append(headers, string(r.Headers[0].Value))
			if r.Time != begun+100*r.Offset {
				t.Errorf("offset %d has the time %d", r.Offset, r.Time-begun)
			}
			return nil
		})
		if err != nil || !slices.Equal(headers, []string{"2", "3", "4"}) {
			t.Errorf("%v, %v", headers, err)
		}
	})
}
