package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// recovery is what kill -9 in mid-stream costs: the same command is started again at once, on the same state.
type recovery struct {
	Variant string  `json:"variant"`
	Rate    int     `json:"events_per_second"`
	First   float64 `json:"first_prediction_seconds"` // from the kill until a read_committed consumer has an output of the new process
	Caught  float64 `json:"caught_up_seconds"`        // from the kill until outputs are less than a second late again, for good
	Before  float64 `json:"log_loss_before"`          // over the events due in the last seconds before the kill
	After   float64 `json:"log_loss_after"`           // over as many events predicted by the new process first
	counted
}

func (r *recovery) String() string {
	return fmt.Sprintf("first prediction after %.2f s, caught up after %.2f s, lost %d, repeated %d, log loss %.3f before and %.3f after",
		r.First, r.Caught, r.Lost, r.Repeated, r.Before, r.After)
}

// onTime is what an output may be late once its stream is said to have caught up.
const onTime = time.Second

// recover measures a variant.
func (h *harness) recover(ctx context.Context, variant string) (*recovery, error) {
	const before, after = 5, 20 // seconds of the stream
	l, err := h.open(ctx, variant, before+after)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := l.warmUp(ctx); err != nil {
		return nil, err
	}
	if err := l.send(ctx, h.rate*before); err != nil {
		return nil, err
	}
	killed := time.Now()
	if err := l.p.kill(); err != nil {
		return nil, err
	}
	// What lies behind these offsets is the new process's. The old one's last transaction, unless it was complete, is aborted.
	ends, err := h.adm.ListCommittedOffsets(ctx, l.output)
	if err != nil {
		return nil, err
	}
	was := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { was[o.Partition] = o.Offset })
	if err := l.start(); err != nil {
		return nil, err
	}
	if err := l.send(ctx, h.rate*after); err != nil {
		return nil, err
	}
	if err := l.finish(ctx, time.Minute); err != nil {
		return nil, err
	}
	if err := l.p.stop(); err != nil {
		return nil, fmt.Errorf("stopping: %w", err)
	}
	r, ok := recovered(l.arrivals, l.due, l.labels, was, killed, h.rate*3)
	if !ok {
		return nil, fmt.Errorf("nothing came back after the kill\n%s", l.p.output())
	}
	r.Variant, r.Rate = variant, h.rate
	if r.counted, err = h.count(ctx, l.output, len(l.arrivals), nil); err != nil {
		return nil, err
	}
	return r, h.drop(ctx, l.output)
}

// recovered makes the figures of what arrived, if the new process has put anything out. The log losses are over n events each.
func recovered(all []arrival, due func(int) time.Time, labels []bool, was map[int32]int64, killed time.Time, n int) (r *recovery, ok bool) {
	first, caught := time.Time{}, time.Time{}
	var old, young []int
	for id, a := range all {
		if a.at.IsZero() {
			continue
		}
		if a.offset < was[a.partition] {
			if due(id).Before(killed) {
				old = append(old, id)
			}
			continue
		}
		if len(young) < n {
			young = append(young, id)
		}
		if first.IsZero() || a.at.Before(first) {
			first = a.at
		}
		if a.at.Sub(due(id)) > onTime && a.at.After(caught) {
			caught = a.at
		}
	}
	if first.IsZero() {
		return nil, false
	}
	r = &recovery{Before: meanLoss(all, labels, old[max(0, len(old)-n):]), After: meanLoss(all, labels, young)}
	r.First = first.Sub(killed).Seconds()
	r.Caught = max(r.First, caught.Sub(killed).Seconds())
	return r, true
}

func meanLoss(all []arrival, labels []bool, ids []int) float64 {
	sum := 0.0
	for _, id := range ids {
		p := float64(all[id].p)
		if !labels[id] {
			p = 1 - p
		}
		sum -= math.Log(max(p, 1e-15))
	}
	return sum / float64(max(len(ids), 1))
}
