//go:build unix

// Command growth measures how gradstream's cost grows with what it is given: more
// operators, larger models, wider rows, more partitions, and, of checkpoints and
// restores, more state. Each table ends with the straight line through its points
// and how far the farthest point is from it.
//
//	go run ./bench/growth [-only operators,models,rows,checkpoint,restore,partitions,fleet] [-json FILE]
//
// Events are learnt by `gradstream evaluate` from files, decoding included, and
// processor time counts, less that of starting. partitions runs bench/throughput,
// which needs java and mvn and a quiet machine. fleet measures nothing: it works out
// from the figures given what a thousand partitions on a hundred workers ask of the
// brokers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gradstream/gradstream/bench/command"
)

func main() { os.Exit(command.Run("growth", bench)) }

// table is what one kind of growth costs.
type table struct {
	Name  string  `json:"name"`
	X     string  `json:"x"` // what grows
	Y     string  `json:"y"` // what it costs
	Extra string  `json:"extra,omitempty"`
	Rows  []point `json:"rows"`
	Line  *line   `json:"line,omitempty"`
	curve bool    // it has steps, where caches end: no line goes through it
}

// point is a line of a table.
type point struct {
	X     float64 `json:"x"`
	Y     float64 `json:"y"`
	Extra float64 `json:"extra,omitempty"`
}

// suite is what the measurements share.
type suite struct {
	dir, binary string
	rows        int // of the files
	repeats     int
	events      int // of the backlog of partitions
	tables      []table
}

// measurements in the order in which they run.
var measurements = []struct {
	name string
	run  func(context.Context, *suite) error
}{
	{"operators", operators},
	{"models", models},
	{"rows", width},
	{"checkpoint", checkpoints},
	{"restore", restores},
	{"partitions", partitions},
	{"fleet", nil},
}

func bench(ctx context.Context, args []string, out io.Writer) (err error) {
	f := flag.NewFlagSet("growth", flag.ContinueOnError)
	only := f.String("only", "operators,models,rows,checkpoint,restore,partitions,fleet", "what is measured")
	file := f.String("json", "", "write the tables to this `file`")
	s := &suite{}
	f.IntVar(&s.rows, "rows", 200_000, "rows of the files; fewer of wide ones")
	f.IntVar(&s.repeats, "repeats", 3, "how often each point is measured: the median counts")
	f.IntVar(&s.events, "events", 2_000_000, "events over the partitions")
	var fl fleet
	f.IntVar(&fl.partitions, "fleet-partitions", 1000, "partitions of the fleet")
	f.IntVar(&fl.workers, "fleet-workers", 100, "workers of the fleet")
	f.DurationVar(&fl.commit, "fleet-commit", 100*time.Millisecond, "commit interval of the fleet")
	f.Float64Var(&fl.perCore, "fleet-transactions", 750, "transactions a second that a core of a broker carries")
	if err := f.Parse(args); err != nil {
		return err
	}
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.ContainsFunc(measurements, func(m struct {
			name string
			run  func(context.Context, *suite) error
		}) bool {
			return m.name == name
		}) {
			return fmt.Errorf("there is no %q", name)
		}
	}
	if s.rows < 100 || s.repeats < 1 || s.events < 1 || f.NArg() > 0 || fl.partitions < 1 || fl.workers < 1 || fl.commit <= 0 || fl.perCore <= 0 {
		return errors.New("a flag is out of range, or there are arguments")
	}
	if s.dir, err = os.MkdirTemp("", "gradstream-growth-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	s.binary = filepath.Join(s.dir, "gradstream")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", s.binary, "github.com/gradstream/gradstream/cmd/gradstream")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building gradstream: %w\n%s", err, text)
	}
	for _, m := range measurements {
		if m.run == nil || !slices.Contains(chosen, m.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, time.Now().Format("15:04:05"), m.name)
		from := len(s.tables)
		if err := m.run(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		for i := range s.tables[from:] {
			t := &s.tables[from+i]
			if !t.curve {
				t.Line = fit(t.Rows)
			}
			t.print(out)
		}
	}
	if slices.Contains(chosen, "fleet") {
		fl.print(out)
	}
	if *file == "" {
		return nil
	}
	b, err := json.MarshalIndent(map[string]any{"taken": time.Now().UTC().Format(time.RFC3339), "go": runtime.Version(), "tables": s.tables}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(b, '\n'), 0o644)
}

// line is the straight line through points.
type line struct {
	At0   float64 `json:"at_0"`
	Slope float64 `json:"slope"`
	// Off is the farthest that a point is from the line, as a share of the point.
	Off float64 `json:"off"`
}

// fit finds the line of least relative squares: a point counts by its share, however large it is. Fewer than three points
// have none.
func fit(points []point) *line {
	if len(points) < 3 {
		return nil
	}
	var s, sx, sxx, sy, sxy float64
	for _, p := range points {
		w := 1 / (p.Y * p.Y)
		s, sx, sxx, sy, sxy = s+w, sx+w*p.X, sxx+w*p.X*p.X, sy+w*p.Y, sxy+w*p.X*p.Y
	}
	d := s*sxx - sx*sx
	if d == 0 || math.IsNaN(d) || math.IsInf(d, 0) {
		return nil
	}
	l := &line{Slope: (s*sxy - sx*sy) / d}
	l.At0 = (sy - l.Slope*sx) / s
	for _, p := range points {
		l.Off = max(l.Off, math.Abs(l.At0+l.Slope*p.X-p.Y)/p.Y)
	}
	return l
}

func (t *table) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n", t.Name)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s\t%s\t%s\t\n", t.X, t.Y, t.Extra)
	for _, p := range t.Rows {
		extra := ""
		if t.Extra != "" {
			extra = fmt.Sprintf("%.4g", p.Extra)
		}
		fmt.Fprintf(w, "%.10g\t%.4g\t%s\t\n", p.X, p.Y, extra)
	}
	w.Flush()
	if t.Line != nil {
		fmt.Fprintf(out, "line: %.4g + %.4g x; farthest point off by %.0f %%\n", t.Line.At0, t.Line.Slope, 100*t.Line.Off)
	}
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}
