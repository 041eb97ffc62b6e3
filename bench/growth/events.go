//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// header begins the pipelines that are measured.
const header = `pipeline: growth
sources:
  rows:
    topic: rows
    format: csv
    schema: {y: bool, %s}
operators:
`

// rowFile writes a table of n rows and one of a single row.
func (s *suite) rowFile(name, columns string, n int, row func(*rand.Rand, []byte) []byte) (full, single string, err error) {
	full, single = filepath.Join(s.dir, name+".csv"), filepath.Join(s.dir, name+"1.csv")
	for path, n := range map[string]int{full: n, single: 1} {
		f, err := os.Create(path)
		if err != nil {
			return "", "", err
		}
		w := bufio.NewWriterSize(f, 1<<20)
		fmt.Fprintf(w, "y,%s\n", columns)
		rng := rand.New(rand.NewPCG(1, 2))
		var b []byte
		for range n {
			b = fmt.Appendf(b[:0], "%d,", rng.IntN(2))
			b = append(row(rng, b), '\n')
			w.Write(b)
		}
		if err := w.Flush(); err != nil {
			return "", "", err
		}
		if err := f.Close(); err != nil {
			return "", "", err
		}
	}
	return full, single, nil
}

// cost returns the processor time that a pipeline takes an event, in microseconds, less that of starting, and the most memory
// it had, in MiB.
func (s *suite) cost(ctx context.Context, pipeline, full, single string, n int) (micros, mib float64, err error) {
	file := filepath.Join(s.dir, "pipeline.yaml")
	if err := os.WriteFile(file, []byte(pipeline), 0o644); err != nil {
		return 0, 0, err
	}
	run := func(input string, want int) (seconds, mib float64, err error) {
		c := exec.CommandContext(ctx, s.binary, "evaluate", file, "--input", "rows="+input, "--json")
		var text, complaints strings.Builder
		c.Stdout, c.Stderr = &text, &complaints
		if err := c.Run(); err != nil {
			return 0, 0, fmt.Errorf("gradstream evaluate: %w\n%s", err, complaints.String())
		}
		var report struct{ Rows, Errors int }
		if err := json.Unmarshal([]byte(text.String()), &report); err != nil {
			return 0, 0, err
		}
		if report.Rows != want || report.Errors != 0 {
			return 0, 0, fmt.Errorf("%d rows, %d errors; expected %d rows", report.Rows, report.Errors, want)
		}
		used := c.ProcessState.UserTime() + c.ProcessState.SystemTime()
		if u, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
			mib = float64(u.Maxrss) / 1024
		}
		return used.Seconds(), mib, nil
	}
	var all []float64
	for range s.repeats {
		start, _, err := run(single, 1)
		if err != nil {
			return 0, 0, err
		}
		used, m, err := run(full, n)
		if err != nil {
			return 0, 0, err
		}
		all = append(all, (used-start)/float64(n-1)*1e6)
		mib = m
	}
	return median(all), mib, nil
}

// categories are the columns of the rows that operators and models get, and their pipeline's way to features.
const categories = 13

func categoryRows(distinct int) (columns string, row func(*rand.Rand, []byte) []byte) {
	var names []string
	for i := range categories {
		names = append(names, fmt.Sprint("c", i))
	}
	return strings.Join(names, ","), func(rng *rand.Rand, b []byte) []byte {
		for i := range categories {
			if i > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, "%d", rng.IntN(distinct))
		}
		return b
	}
}

func categoryPipeline(bits int) string {
	columns, _ := categoryRows(1)
	return fmt.Sprintf(header, strings.ReplaceAll(columns, ",", ": int64, ")+": int64") +
		fmt.Sprintf("  features: {from: rows, vectorize: {bits: %d, categorical: [%s]}}\n", bits, columns)
}

const learner = "  m%d: {from: %s, logistic_regression: {label: y}}\n"

// operators puts 1, 10, 100 learners beside each other and behind each other.
func operators(ctx context.Context, s *suite) error {
	columns, row := categoryRows(1000)
	n := s.rows / 4
	full, single, err := s.rowFile("operators", columns, n, row)
	if err != nil {
		return err
	}
	for _, behind := range []bool{false, true} {
		t := table{Name: "learners beside each other, 13 features", X: "learners", Y: "µs/event", Extra: "rss MiB"}
		if behind {
			t.Name = "learners behind each other, 13 features"
		}
		for _, count := range []int{1, 10, 100} {
			p := categoryPipeline(16)
			for i := range count {
				from := "features"
				if behind && i > 0 {
					from = fmt.Sprint("m", i-1)
				}
				p += fmt.Sprintf(learner, i, from)
			}
			y, mib, err := s.cost(ctx, p, full, single, n)
			if err != nil {
				return err
			}
			t.Rows = append(t.Rows, point{float64(count), y, mib})
		}
		s.tables = append(s.tables, t)
	}
	return nil
}

// models lets the weights be more and more, all of them in use.
func models(ctx context.Context, s *suite) error {
	columns, row := categoryRows(1 << 26)
	n := 5 * s.rows // the first write to a page of a large table costs more than a step does
	full, single, err := s.rowFile("models", columns, n, row)
	if err != nil {
		return err
	}
	t := table{Name: "weights of a model, 13 features spread over all of it", X: "log2 weights", Y: "µs/event", Extra: "rss MiB", curve: true}
	for _, bits := range []int{10, 14, 18, 20, 22, 24, 26} {
		y, mib, err := s.cost(ctx, categoryPipeline(bits)+fmt.Sprintf(learner, 0, "features"), full, single, n)
		if err != nil {
			return err
		}
		t.Rows = append(t.Rows, point{float64(bits), y, mib})
	}
	s.tables = append(s.tables, t)
	return nil
}

// width lets rows have more and more features.
func width(ctx context.Context, s *suite) error {
	t := table{Name: "features of a row, sparse, 2^18 weights", X: "features", Y: "µs/event", Extra: "rss MiB"}
	for _, features := range []int{5, 15, 50, 150, 500} {
		n := s.rows * 50 / (50 + features)
		full, single, err := s.rowFile(fmt.Sprint("width", features), "x", n, func(rng *rand.Rand, b []byte) []byte {
			// Ascending, each once.
			for i := range features {
				if i > 0 {
					b = append(b, ' ')
				}
				b = fmt.Appendf(b, "%d:%.3g", i*20+rng.IntN(20), rng.NormFloat64())
			}
			return b
		})
		if err != nil {
			return err
		}
		p := fmt.Sprintf(header, "x: sparse") + "  features: {from: rows, vectorize: {bits: 18, sparse: [x]}}\n" + fmt.Sprintf(learner, 0, "features")
		y, mib, err := s.cost(ctx, p, full, single, n)
		if err != nil {
			return err
		}
		t.Rows = append(t.Rows, point{float64(features), y, mib})
	}
	s.tables = append(s.tables, t)
	return nil
}
