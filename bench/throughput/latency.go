package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// latency is what an open loop found, in milliseconds from the moment an event
// was due to be sent to the moment a read_committed consumer had what came of it.
type latency struct {
	Variant string  `json:"variant"`
	Rate    int     `json:"events_per_second"`
	Events  int     `json:"events"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p999_ms"`
	Max     float64 `json:"max_ms"`
	CPU     float64 `json:"cpu_share_of_a_core"`
	Broker  float64 `json:"broker_cpu_share_of_a_core"`
	Memory  float64 `json:"peak_rss_mib"`
	*journaled
	counted
}

func (l *latency) String() string {
	s := fmt.Sprintf("p50 %.0f ms, p99 %.0f ms, p99.9 %.0f ms, max %.0f ms, cpu %.0f %%, broker %.0f %%, %.0f MiB, lost %d, repeated %d",
		l.P50, l.P99, l.P999, l.Max, 100*l.CPU, 100*l.Broker, l.Memory, l.Lost, l.Repeated)
	if l.journaled != nil {
		s += ", " + l.journaled.String()
	}
	return s
}

// openLoop sends at a constant rate, whatever comes back.
func (h *harness) openLoop(ctx context.Context, variant string) (*latency, error) {
	l, err := h.open(ctx, variant, h.seconds)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := l.warmUp(ctx); err != nil {
		return nil, err
	}
	warm, name := l.sent, strings.TrimSuffix(l.output, ".predictions")
	ours := strings.HasPrefix(variant, tasksVariant)
	_, before, err := h.transactions(ctx, name)
	if err != nil && ours {
		return nil, err
	}
	measured, cpu, broker := time.Now(), l.p.cpu(), h.kafka.CPU()
	if err := l.send(ctx, h.rate*h.seconds); err != nil {
		return nil, err
	}
	took := time.Since(measured).Seconds()
	r := &latency{Variant: variant, Rate: h.rate, CPU: (l.p.cpu() - cpu) / took, Broker: (h.kafka.CPU() - broker) / took}
	_, after, err := h.transactions(ctx, name)
	if err != nil && ours {
		return nil, err
	}
	if err := l.finish(ctx, 15*time.Second); err != nil {
		return nil, err
	}
	r.Memory = l.p.peakMemory()
	if err := l.p.stop(); err != nil {
		return nil, fmt.Errorf("stopping: %w", err)
	}
	if ours {
		if r.journaled, err = h.journaled(ctx, variant, l.from, name); err != nil {
			return nil, err
		}
		r.Transactions, r.PerTxn = after-before, float64(after-before)/took
	}
	var all []float64
	for i := warm; i < len(l.arrivals); i++ {
		if at := l.arrivals[i].at; !at.IsZero() {
			all = append(all, at.Sub(l.due(i)).Seconds()*1e3)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("nothing came back after the warm-up\n%s", l.p.output())
	}
	slices.Sort(all)
	r.Events, r.P50, r.P99, r.P999, r.Max = len(all), quantile(all, 0.5), quantile(all, 0.99), quantile(all, 0.999), all[len(all)-1]
	if r.counted, err = h.count(ctx, l.output, len(l.arrivals), nil); err != nil {
		err = fmt.Errorf("counting: %w", err)
		return nil, err
	}
	return r, h.drop(ctx, l.output)
}

// quantile returns the value below which a share of the sorted values lies.
func quantile(sorted []float64, share float64) float64 {
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}
