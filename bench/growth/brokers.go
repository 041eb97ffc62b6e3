//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// partitions lets bench/throughput split one stream into more and more partitions, a task each, on one worker.
func partitions(ctx context.Context, s *suite) error {
	rate := table{Name: "partitions on one worker, a task each: processor time of the worker", X: "partitions", Y: "s/million", Extra: "of pass-through"}
	broker := table{Name: "partitions on one worker, a task each: processor time of the broker", X: "partitions", Y: "s/million", Extra: "1,000 events/s"}
	for _, n := range []int{1, 4, 16, 64} {
		file := filepath.Join(s.dir, "throughput.json")
		c := exec.CommandContext(ctx, "go", "run", "github.com/gradstream/gradstream/bench/throughput", "-partitions", strconv.Itoa(n),
			"-events", strconv.Itoa(s.events), "-rounds", "2", "-variants", "pass,standard", "-binary", s.binary, "-json", file)
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		if err := c.Run(); err != nil {
			return fmt.Errorf("bench/throughput: %w", err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		a, b, err := parseThroughput(text, float64(n))
		if err != nil {
			return err
		}
		rate.Rows, broker.Rows = append(rate.Rows, a), append(broker.Rows, b)
	}
	s.tables = append(s.tables, rate, broker)
	return nil
}

// parseThroughput takes gradstream's figures out of what bench/throughput writes.
func parseThroughput(text []byte, n float64) (worker, broker point, err error) {
	var r struct {
		Summary []struct {
			Variant string
			Rate    float64 `json:"events_per_second"`
			CPU     float64 `json:"cpu_seconds_per_million"`
			Broker  float64 `json:"broker_cpu_seconds_per_million"`
			Ratio   float64
		}
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return worker, broker, err
	}
	for _, v := range r.Summary {
		if v.Variant == "standard" {
			return point{n, v.CPU, v.Ratio}, point{n, v.Broker, v.Rate / 1e3}, nil
		}
	}
	return worker, broker, fmt.Errorf("bench/throughput has no figures of gradstream")
}

// fleet is a deployment that is too large to measure here.
type fleet struct {
	partitions, workers int
	commit              time.Duration
	perCore             float64 // transactions a second that a broker's core carries
}

// transactions returns how many a second there are with so many tasks, each committing at every interval.
func (f fleet) transactions(tasks int) float64 { return float64(tasks) / f.commit.Seconds() }

// tasksWithin returns the most tasks that a number of brokers' cores carry the transactions of.
func (f fleet) tasksWithin(cores float64) int { return int(cores * f.perCore * f.commit.Seconds()) }

func (f fleet) print(out io.Writer) {
	fmt.Fprintf(out, "\n%d partitions, %d workers, commit every %v, %.0f transactions a second a broker core\n", f.partitions, f.workers, f.commit, f.perCore)
	for _, tasks := range []int{f.partitions, f.partitions / 2, f.workers} {
		if tasks < 1 {
			continue
		}
		tx := f.transactions(tasks)
		fmt.Fprintf(out, "  %d tasks: %.0f transactions/s, %.1f broker cores\n", tasks, tx, tx/f.perCore)
	}
	fmt.Fprintf(out, "  three brokers with 4 cores each carry %d tasks at half load; longer commit intervals carry proportionally more\n", f.tasksWithin(6))
}
