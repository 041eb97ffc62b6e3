package kafka

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// repair mends the data of an embedded broker whose process was killed, before
// anyone can connect to it. The broker drops the transactions that were open, but
// does not write the markers that end them. Without those a read_committed client
// takes what the same producer commits next for a part of the aborted transaction
// and leaves it out, and after another kill the broker takes the aborted records
// for a part of what was committed next. It returns how many transactions it ended.
func repair(ctx context.Context, opts []kfake.Opt) (ended int, err error) {
	var net kfake.VirtualNetwork // no port: nobody but us
	c, err := kfake.NewCluster(append(opts, kfake.ListenFn(net.Listen))...)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.Dialer(net.DialContext))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopicsWithInternal(ctx)
	if err != nil {
		return 0, err
	}
	for _, t := range topics.Sorted() {
		for _, p := range t.Partitions.Numbers() {
			open, err := openTransactions(ctx, cl, t.Topic, t.ID, p)
			if err != nil {
				return ended, fmt.Errorf("%s[%d]: %w", t.Topic, p, err)
			}
			for id, epoch := range open {
				if err := abortMarker(ctx, cl, t.Topic, p, id, epoch); err != nil {
					return ended, fmt.Errorf("%s[%d]: ending a transaction: %w", t.Topic, p, err)
				}
				ended++
			}
		}
	}
	return ended, nil
}

// openTransactions reads a log from its start and returns the producers, with
// their epochs, whose last transaction has no end.
func openTransactions(ctx context.Context, cl *kgo.Client, topic string, id [16]byte, partition int32) (map[int64]int16, error) {
	open := map[int64]int16{}
	for next := int64(-1); ; {
		if next < 0 {
			start, err := kadm.NewClient(cl).ListStartOffsets(ctx, topic)
			if err != nil {
				return nil, err
			}
			o, _ := start.Lookup(topic, partition)
			if o.Err != nil {
				return nil, o.Err
			}
			next = o.Offset
		}
		req := kmsg.NewPtrFetchRequest()
		req.MinBytes, req.MaxBytes, req.SessionEpoch = 0, 16<<20, -1
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.TopicID = topic, id
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = partition, next, 16<<20
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return nil, err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return nil, err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return nil, fmt.Errorf("the answer to a fetch has %d topics", len(resp.Topics))
		}
		got := &resp.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
			return nil, err
		}
		if next >= got.HighWatermark {
			return open, nil
		}
		to := eachBatch(got.RecordBatches, func(txn, control bool, producer int64, epoch int16) {
			switch {
			case control:
				delete(open, producer)
			case txn:
				open[producer] = epoch
			}
		})
		if to <= next {
			return nil, fmt.Errorf("nothing can be read at offset %d of %d", next, got.HighWatermark)
		}
		next = to
	}
}

// eachBatch reads the headers of record batches (message format 2) and returns
// the offset behind the last, -1 if there is none.
func eachBatch(b []byte, yield func(txn, control bool, producer int64, epoch int16)) (next int64) {
	const header = 61
	next = -1
	for len(b) >= header {
		size := 12 + int(int32(binary.BigEndian.Uint32(b[8:])))
		if size < header || size > len(b) {
			break
		}
		attrs := binary.BigEndian.Uint16(b[21:])
		yield(attrs&0x10 != 0, attrs&0x20 != 0, int64(binary.BigEndian.Uint64(b[43:])), int16(binary.BigEndian.Uint16(b[51:])))
		next = int64(binary.BigEndian.Uint64(b)) + int64(int32(binary.BigEndian.Uint32(b[23:]))) + 1
		b = b[size:]
	}
	return next
}

func abortMarker(ctx context.Context, cl *kgo.Client, topic string, partition int32, producer int64, epoch int16) error {
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	m := kmsg.NewWriteTxnMarkersRequestMarker()
	m.ProducerID, m.ProducerEpoch, m.Committed = producer, epoch, false
	mt := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
	mt.Topic, mt.Partitions = topic, []int32{partition}
	m.Topics = append(m.Topics, mt)
	req.Markers = append(req.Markers, m)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, m := range resp.Markers {
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
