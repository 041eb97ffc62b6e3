package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	pass        = "pass"  // the variant
	plain       = "plain" // another: with a new record an output, and the client's defaults where they do no harm
	passCommand = "pass-through"
	firstRecord = "first record" // what it prints when it has one
)

func isPass(variant string) bool { return variant == pass || variant == plain }

// passThrough is the ceiling: consume, produce, commit, exactly once, and as
// little else as can be. An output is 31 bytes with the input's id, keyed as the
// input is.
func passThrough(ctx context.Context, args []string) error {
	f := flag.NewFlagSet(passCommand, flag.ContinueOnError)
	brokers := f.String("brokers", "", "")
	from := f.String("from", "", "")
	to := f.String("to", "", "")
	group := f.String("group", "", "")
	commit := f.Duration("commit", 100*time.Millisecond, "")
	plainly := f.Bool("plain", false, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	tuned := []kgo.Opt{
		kgo.FetchMaxBytes(16 << 20),
		kgo.FetchMaxPartitionBytes(1 << 20),
		kgo.ProducerLinger(2 * time.Millisecond),
	}
	if *plainly {
		tuned = nil
	}
	s, err := kgo.NewGroupTransactSession(append(tuned,
		kgo.SeedBrokers(*brokers),
		kgo.ConsumeTopics(*from),
		kgo.ConsumerGroup(*group),
		kgo.InstanceID(*group+"-1"),
		kgo.TransactionalID(*group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(50*time.Millisecond),
		kgo.DefaultProduceTopic(*to),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // murmur2
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.UnknownTopicRetries(-1),
		kgo.ProducerBatchMaxBytes(1_000_000),
		kgo.MaxBufferedRecords(1<<18),
	)...)
	if err != nil {
		return err
	}
	defer s.Close()

	var failed error
	promise := func(_ *kgo.Record, err error) {
		if err != nil && failed == nil {
			failed = err // read after the transaction's end, which waits for all promises
		}
	}
	send := func(fetches kgo.Fetches) {
		if *plainly {
			fetches.EachRecord(func(r *kgo.Record) {
				s.Produce(ctx, &kgo.Record{Key: r.Key, Value: appendCopy(nil, r)}, promise)
			})
			return
		}
		slab := make([]byte, 0, copyBytes*fetches.NumRecords())
		fetches.EachRecord(func(r *kgo.Record) {
			lo := len(slab)
			slab = appendCopy(slab, r)
			// The record that came is the one that goes: its key stays.
			*r = kgo.Record{Key: r.Key, Value: slab[lo:len(slab):len(slab)]}
			s.Produce(ctx, r, promise)
		})
	}
	started := false
	for {
		fetches := s.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		if fetches.NumRecords() == 0 {
			continue
		}
		if !started {
			started = true
			fmt.Println(firstRecord)
		}
		if err := s.Begin(); err != nil {
			return err
		}
		until, cancel := context.WithTimeout(ctx, *commit)
		for {
			send(fetches)
			fetches = s.PollFetches(until)
			if until.Err() != nil {
				break
			}
			if err := fetches.Err(); err != nil {
				cancel()
				return err
			}
		}
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		// The poll that ran into the deadline may have brought records all the same.
		send(fetches)
		ok, err := s.End(ctx, kgo.TryCommit)
		if err != nil {
			return err
		}
		if !ok || failed != nil {
			return errors.Join(errors.New("a transaction was aborted"), failed)
		}
	}
}

const copyBytes = 31

// appendCopy appends the output of a record.
func appendCopy(dst []byte, r *kgo.Record) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, r.Value[7:16]...)
	return append(dst, `","p":0.123456}`...)
}
