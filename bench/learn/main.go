//go:build unix

// Command learn measures learners alone, on rows that are decoded: how many events
// one core learns in a second, at several numbers of features.
//
//	go run ./bench/learn [-features 8,30,80,150] [-rows 100000] [-repeats 5] [-json FILE]
//
// It compares gradstream's logistic_regression, fed with batches in memory, with
// Vowpal Wabbit's own reader and learner over its cache file (run from its Python
// wheel; left out, and said, if python3.11 or the wheel cannot be had), and with a
// bare loop of a dot product, a sigmoid and a step, the most that could be. Processor
// time counts, all threads of the process, not the clock. The learners take turns,
// and each begins anew every time; the log loss is progressive.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/gradstream/gradstream/bench/command"
	"github.com/gradstream/gradstream/bench/peers"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

func main() { os.Exit(command.Run("learn", bench)) }

// result is a learner at a number of features.
type result struct {
	Learner  string  `json:"learner"`
	Features int     `json:"features"`
	PerSec   float64 `json:"events_per_cpu_second"` // median
	Min      float64 `json:"events_per_cpu_second_min"`
	Max      float64 `json:"events_per_cpu_second_max"`
	Loss     float64 `json:"log_loss"`
	OfBare   float64 `json:"of_bare,omitempty"` // share of what the bare loop with the same step does
	OfVW     float64 `json:"of_vw,omitempty"`   // times what Vowpal Wabbit does with the step nearest to it
}

type report struct {
	Taken   string   `json:"taken"`
	Go      string   `json:"go"`
	VW      string   `json:"vw,omitempty"`
	LeftOut string   `json:"left_out,omitempty"`
	Rows    int      `json:"rows"`
	Results []result `json:"results"`
}

// ours are the configurations of logistic_regression, and what each is compared with.
var ours = []struct{ name, config, bare, vw string }{
	{"adagrad", "{label: y, optimizer: {adagrad: {rate: 0.05}}}", "bare adagrad", "vw adaptive"},
	{"sgd", "{label: y, optimizer: {sgd: {rate: 0.05}}}", "bare sgd", "vw sgd"},
	{"ftrl", "{label: y, optimizer: ftrl}", "bare adagrad", "vw ftrl"},
	{"adam", "{label: y, optimizer: adam}", "bare adagrad", ""},
}

// vw are Vowpal Wabbit's options; the second and third take the same steps as gradstream and the bare loop.
var vw = []struct{ name, options string }{
	{"vw default", ""},
	{"vw adaptive", "--adaptive -l 0.05"},
	{"vw sgd", "--sgd -l 0.05 --power_t 0"},
	{"vw ftrl", "--ftrl"},
	{"vw coin", "--coin"},
}

func bench(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("learn", flag.ContinueOnError)
	features := f.String("features", "8,30,80,150", "features of a row")
	n := f.Int("rows", 100_000, "rows")
	repeats := f.Int("repeats", 5, "passes that are timed")
	file := f.String("json", "", "write the results to this `file`")
	if err := f.Parse(args); err != nil {
		return err
	}
	counts, err := parseCounts(*features)
	if err != nil || *n < 1 || *repeats < 1 || f.NArg() > 0 {
		return errors.Join(errors.New("a flag is out of range, or there are arguments"), err)
	}
	rep := report{Taken: time.Now().UTC().Format(time.RFC3339), Go: runtime.Version(), Rows: *n}
	python, err := peers.Python(ctx)
	if err != nil {
		rep.LeftOut = "vw: " + err.Error()
		fmt.Fprintln(os.Stderr, "LEFT OUT:", rep.LeftOut)
	}
	for _, count := range counts {
		var v *vwRunner
		rows := generate(*n, count)
		if python != "" {
			if v, err = newVW(python, rows); err != nil {
				return err
			}
		}
		results, err := rounds(ctx, rows, v, *repeats)
		if v != nil {
			rep.VW = v.version
			err = errors.Join(err, os.RemoveAll(v.dir))
		}
		if err != nil {
			return err
		}
		compare(results)
		rep.Results = append(rep.Results, results...)
		fmt.Fprintf(os.Stderr, "%d features done\n", count)
	}
	rep.print(out)
	if *file == "" {
		return nil
	}
	b, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(b, '\n'), 0o644)
}

func parseCounts(text string) (counts []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > 10000 {
			return nil, fmt.Errorf("%q is no number of features from 1 to 10000", part)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// rounds lets the learners take turns. The first round warms up.
func rounds(ctx context.Context, r *rows, v *vwRunner, repeats int) ([]result, error) {
	var order []string
	per, loss := map[string][]float64{}, map[string]float64{}
	batches := r.batches()
	for round := range repeats + 1 {
		results, err := measure(r, batches)
		if err == nil && v != nil {
			var more []result
			more, err = v.run(ctx, r)
			results = append(results, more...)
		}
		if err != nil {
			return nil, err
		}
		for _, x := range results {
			if round == 0 {
				order = append(order, x.Learner)
				continue
			}
			per[x.Learner], loss[x.Learner] = append(per[x.Learner], x.PerSec), x.Loss
		}
	}
	var all []result
	for _, name := range order {
		all = append(all, summary(name, r.features, per[name], loss[name]))
	}
	return all, nil
}

// measure times the bare loop and gradstream, once each.
func measure(r *rows, batches []*batch.Batch) (results []result, err error) {
	add := func(name string, perSec, loss float64) {
		results = append(results, result{Learner: name, Features: r.features, PerSec: perSec, Loss: loss / float64(len(r.labels))})
	}
	for _, adagrad := range []bool{true, false} {
		b := newBare()
		perSec := r.rate(func() { b.pass(r, adagrad) })
		add(map[bool]string{true: "bare adagrad", false: "bare sgd"}[adagrad], perSec, b.loss)
	}
	def := operators.Merge(&learn.Family).Lookup("logistic_regression")
	for _, o := range ours {
		h, err := optest.Open(def, o.config, batches[0].Schema)
		if err != nil {
			return nil, err
		}
		loss, column := 0.0, -1
		h.Node.Next = func(b *batch.Batch) error {
			if column < 0 {
				column = slices.IndexFunc(b.Schema.Fields, func(f batch.Field) bool { return f.Name == optest.NodeName+".loss" })
			}
			for _, x := range b.Cols[column].Floats[:b.N] {
				loss += x
			}
			return nil
		}
		perSec := r.rate(func() {
			for _, b := range batches {
				if e := h.Node.Process(0, b); e != nil && err == nil {
					err = e
				}
			}
		})
		if err != nil {
			return nil, err
		}
		add(o.name, perSec, loss)
	}
	return results, nil
}

// rate returns the events a processor second of a pass.
func (r *rows) rate(pass func()) float64 {
	runtime.GC()
	begun := cpu()
	pass()
	return float64(len(r.labels)) / (cpu() - begun).Seconds()
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no reason to fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func summary(name string, features int, per []float64, loss float64) result {
	slices.Sort(per)
	return result{Learner: name, Features: features, PerSec: per[len(per)/2], Min: per[0], Max: per[len(per)-1], Loss: loss}
}

// vwRunner is Vowpal Wabbit with rows in a file.
type vwRunner struct{ python, dir, file, version string }

func newVW(python string, r *rows) (v *vwRunner, err error) {
	v = &vwRunner{python: python}
	if v.dir, err = os.MkdirTemp("", "gradstream-learn-"); err != nil {
		return nil, err
	}
	v.file = filepath.Join(v.dir, "rows.txt")
	f, err := os.Create(v.file)
	if err == nil {
		err = errors.Join(r.write(f), f.Close())
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(v.dir))
	}
	return v, nil
}

// run times every set of options once.
func (v *vwRunner) run(ctx context.Context, r *rows) (results []result, err error) {
	args := []string{filepath.Join(v.python, "python", "vwlearn.py"), v.file, "1"}
	for _, o := range vw {
		args = append(args, o.options)
	}
	c := exec.CommandContext(ctx, peers.PythonIn(v.python), args...)
	var complaints bytes.Buffer
	c.Stderr = &complaints
	text, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("vw: %w\n%s", err, complaints.Bytes())
	}
	results, v.version, err = parseVW(text, r.features, len(r.labels))
	return results, err
}

// parseVW reads what vwlearn.py prints.
func parseVW(text []byte, features, rows int) (results []result, version string, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	for _, o := range vw {
		var x struct {
			Version string
			Events  int
			Seconds []float64
			Loss    float64
		}
		if err := d.Decode(&x); err != nil {
			return nil, "", fmt.Errorf("%s: %w", o.name, err)
		}
		if x.Events != rows || len(x.Seconds) == 0 {
			return nil, "", fmt.Errorf("%s: %d events, expected %d", o.name, x.Events, rows)
		}
		version = x.Version
		var per []float64
		for _, s := range x.Seconds {
			per = append(per, float64(rows)/s)
		}
		results = append(results, summary(o.name, features, per, x.Loss))
	}
	return results, version, nil
}

// compare sets the ratios of gradstream's learners.
func compare(results []result) {
	find := func(name string) float64 {
		for _, r := range results {
			if r.Learner == name {
				return r.PerSec
			}
		}
		return 0
	}
	for i := range results {
		r := &results[i]
		for _, o := range ours {
			if o.name != r.Learner {
				continue
			}
			if b := find(o.bare); b > 0 {
				r.OfBare = r.PerSec / b
			}
			if v := find(o.vw); v > 0 {
				r.OfVW = r.PerSec / v
			}
		}
	}
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "%s; vowpalwabbit %s; %d rows\n", r.Go, r.VW, r.Rows)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "learner\tfeatures\tevents/cpu-s\tmin\tmax\tlog loss\tof bare\tof vw\t")
	for _, x := range r.Results {
		ratio := func(f float64) string {
			if f == 0 {
				return ""
			}
			return fmt.Sprintf("%.2f", f)
		}
		fmt.Fprintf(w, "%s\t%d\t%.0fk\t%.0fk\t%.0fk\t%.4f\t%s\t%s\t\n", x.Learner, x.Features, x.PerSec/1e3, x.Min/1e3, x.Max/1e3, x.Loss,
			ratio(x.OfBare), ratio(x.OfVW))
	}
	w.Flush()
	if r.LeftOut != "" {
		fmt.Fprintln(out, "left out:", r.LeftOut)
	}
}
