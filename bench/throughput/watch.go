package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/bench/clicks"
)

func (h *harness) client(extra ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(h.kafka.Addrs()...),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.UnknownTopicRetries(-1), // a broker may hear of a new topic's partitions late
	}, extra...)...)
}

func (h *harness) create(ctx context.Context, topic string) error {
	if _, err := h.adm.CreateTopic(ctx, int32(h.partitions), 1, nil, topic); err != nil {
		return err
	}
	// A broker learns of it a moment after the controller has made it. The request
	// goes past the client, which would answer from its memory.
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = []kmsg.MetadataRequestTopic{rt}
	for range 500 {
		resp, err := h.cl.SeedBrokers()[0].Request(ctx, req)
		if err != nil {
			return err
		}
		t := resp.(*kmsg.MetadataResponse).Topics
		if len(t) == 1 && t[0].ErrorCode == 0 && len(t[0].Partitions) == h.partitions {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("topic %s does not show up", topic)
}

// fill writes the backlog.
func (h *harness) fill(ctx context.Context) error {
	if err := h.create(ctx, source); err != nil {
		return err
	}
	cl, err := h.client(kgo.MaxBufferedRecords(1<<18), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	begun := time.Now()
	s := clicks.New(1)
	h.labels = make([]bool, h.events)
	failed := make(chan error, 1)
	size := 0
	for i := range h.events {
		e := s.Next()
		h.labels[i] = e.Label
		size += len(e.Value)
		cl.Produce(ctx, &kgo.Record{Topic: source, Key: []byte(e.User), Value: bytes.Clone(e.Value)}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
	}
	say("%d events of %.0f bytes are in the topic, after %.1f s", h.events, float64(size)/float64(h.events), time.Since(begun).Seconds())
	return nil
}

// sample is what the harness saw at one moment.
type sample struct {
	at     time.Time
	stable int64   // sum of the last stable offsets of the output topic
	cpu    float64 // processor seconds of the process
	broker float64
	busy   float64 // of the whole machine
	own    float64 // of the harness
}

const lookEvery = 25 * time.Millisecond

// watch samples until the output topic has been still for a while with at least
// n offsets in it, or the process ends.
func (h *harness) watch(ctx context.Context, p *process, topic string, n int, still time.Duration) ([]sample, error) {
	var all []sample
	moved, said := time.Now(), time.Now()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		s := sample{cpu: p.cpu(), broker: h.kafka.CPU(), busy: machineBusy(), own: ownCPU()}
		ends, err := h.adm.ListCommittedOffsets(ctx, topic)
		s.at = time.Now()
		if err == nil {
			ends.Each(func(o kadm.ListedOffset) {
				if o.Err == nil {
					s.stable += o.Offset
				}
			})
			if len(all) == 0 || s.stable != all[len(all)-1].stable {
				moved = s.at
			}
			all = append(all, s)
		}
		switch {
		case s.stable >= int64(n) && s.at.Sub(moved) > still:
			return all, nil
		case s.at.Sub(moved) > time.Minute:
			return all, fmt.Errorf("no output for a minute, at %d of %d\n%s", s.stable, n, p.output())
		case s.at.Sub(said) > 10*time.Second:
			said = s.at
			say("… %d of %d", s.stable, n)
		}
		select {
		case <-tick.C:
		case <-p.done:
			return all, fmt.Errorf("the process ended at %d of %d: %v\n%s", s.stable, n, p.err, p.output())
		case <-ctx.Done():
			return all, ctx.Err()
		}
	}
}

// counted is what the outputs held.
type counted struct {
	Lost     int      `json:"lost"`
	Repeated int      `json:"repeated"`
	Foreign  int      `json:"foreign"` // not an output of any event
	LogLoss  *float64 `json:"log_loss,omitempty"`
}

// count reads the output topic read_committed and counts every id.
func (h *harness) count(ctx context.Context, topic string, n int, labels []bool) (counted, error) {
	var c counted
	ends, err := h.adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return c, err
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if from[o.Partition] = kgo.NewOffset().At(0); o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl, err := h.client(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		return c, err
	}
	defer cl.Close()
	seen := make([]uint8, n)
	loss := 0.0
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return c, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, ok := left[r.Partition]; ok && r.Offset+1 >= end {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			id, p, ok := parseOutput(r.Value)
			switch {
			case !ok || id >= n:
				c.Foreign++
			case seen[id] > 0:
				c.Repeated++
			default:
				seen[id] = 1
				if labels != nil {
					if !labels[id] {
						p = 1 - p
					}
					loss -= math.Log(max(p, 1e-15))
				}
			}
		})
	}
	for _, s := range seen {
		if s == 0 {
			c.Lost++
		}
	}
	if labels != nil {
		mean := loss / float64(max(n-c.Lost, 1))
		c.LogLoss = &mean
	}
	return c, nil
}

// parseOutput takes {"id":"e00000000","p":0.5} apart.
func parseOutput(v []byte) (id int, p float64, ok bool) {
	v, ok = bytes.CutPrefix(v, []byte(`{"id":"`))
	if !ok || len(v) < 15 {
		return 0, 0, false
	}
	id = clicks.ParseID(v[:9])
	number, ok := bytes.CutPrefix(v[9:], []byte(`","p":`))
	number, closed := bytes.CutSuffix(number, []byte("}"))
	p, err := strconv.ParseFloat(string(number), 64)
	return id, p, ok && closed && err == nil && id >= 0
}
