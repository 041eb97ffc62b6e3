// Command quality measures how well gradstream's learners predict, beside those of
// others, test-then-train over streams in the order of their rows.
//
//	go run ./bench/quality -data FOLDER [-streams elec2,phishing] [-peers all|cached|none|NAMES] [-quick] [-json FILE]
//
// gradstream is run as its users run it: a pipeline file for each stream, all from
// one template that knows nothing but which column is what, and `gradstream
// evaluate`. River, Vowpal Wabbit and scikit-learn are run by the scripts of
// bench/peers, which needs Python 3.11 and the wheels pinned there, MOA by its
// program, which needs java and mvn: without, they are left out, and said. Nothing is tuned to a stream. Each system writes its
// predictions, row by row, and one piece of code scores them all; so it does those
// of the predictor that says the last label again.
//
// What is linear is compared with what is linear: the first learner of gradstream's,
// its default, with the best rival of each stream. A lost comparison is no error.
//
// Predictions of others, and streams that are drawn from seeds, are kept in the
// folder -work under the hash of what they were made of; -peers cached makes none.
package main

import (
	"bytes"
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
	"time"

	"github.com/gradstream/gradstream/bench/command"
	"github.com/gradstream/gradstream/bench/peers"
)

func main() { os.Exit(command.Run("quality", bench)) }

// quickRows are as many rows of each stream as -quick looks at.
const quickRows = 2000

func bench(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("quality", flag.ContinueOnError)
	data := f.String("data", "", "`folder` of the streams, NAME.csv.gz each")
	only := f.String("streams", "", "names of streams, with commas; default: all")
	who := f.String("peers", "all", "whom to compare with: all, cached (what was kept), none, or `names` with commas")
	quick := f.Bool("quick", false, fmt.Sprintf("take the first %d rows of each stream", quickRows))
	work := f.String("work", filepath.Join(os.TempDir(), "gradstream-quality"), "`folder` for what is kept from call to call")
	program := f.String("gradstream", "", "gradstream to measure; default: build it")
	file := f.String("json", "", "write the results to this `file`")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *data == "" || f.NArg() > 0 {
		return errors.New("-data FOLDER is needed, and there are no arguments")
	}
	chosen, err := chooseStreams(*only)
	if err != nil {
		return err
	}
	against, err := chooseRivals(*who)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*work, 0o755); err != nil {
		return err
	}
	r := results{Taken: time.Now().UTC().Format(time.RFC3339), Go: runtime.Version()}
	if *quick {
		r.First = quickRows
	}
	l := &lab{folder: *work, gradstream: *program}
	if *who != "none" && *who != "cached" {
		if l.python, err = peers.Python(ctx); err != nil {
			r.LeftOut = append(r.LeftOut, "what needs Python and was not kept: "+err.Error())
			fmt.Fprintln(os.Stderr, "LEFT OUT:", r.LeftOut[0])
		}
		if slices.ContainsFunc(against, func(v rival) bool { return v.moa }) {
			if l.moa, err = peers.MOA(ctx); err != nil {
				r.LeftOut = append(r.LeftOut, "what needs MOA and was not kept: "+err.Error())
				fmt.Fprintln(os.Stderr, "LEFT OUT:", r.LeftOut[len(r.LeftOut)-1])
			}
		}
	}
	if l.gradstream == "" {
		l.gradstream = filepath.Join(*work, "gradstream")
		text, err := exec.CommandContext(ctx, "go", "build", "-o", l.gradstream, "github.com/gradstream/gradstream/cmd/gradstream").CombinedOutput()
		if err != nil {
			return fmt.Errorf("go build: %w\n%s", err, text)
		}
	}
	failed := r.measure(ctx, l, chosen, against, *data)
	if len(r.Streams) == 0 {
		return errors.Join(failed, errors.New("no stream is there"))
	}
	r.sum()
	r.print(out)
	if *file == "" {
		return failed
	}
	text, err := r.json()
	if err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, os.WriteFile(*file, text, 0o644))
}

func chooseStreams(names string) (chosen []stream, err error) {
	if names == "" {
		return streams, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(streams, func(s stream) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no stream %q", name)
		}
		chosen = append(chosen, streams[i])
	}
	return chosen, nil
}

func chooseRivals(names string) (chosen []rival, err error) {
	switch names {
	case "all", "cached":
		return rivals, nil
	case "none":
		return nil, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(rivals, func(r rival) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no rival %q", name)
		}
		chosen = append(chosen, rivals[i])
	}
	return chosen, nil
}

// measure goes through the streams. What fails does not keep the others from being measured.
func (r *results) measure(ctx context.Context, l *lab, chosen []stream, against []rival, data string) error {
	var failed []error
	for _, s := range chosen {
		path, err := filepath.Join(data, s.name+".csv.gz"), error(nil)
		if s.made {
			path, err = l.makeStream(ctx, s)
		}
		var t *table
		if err == nil {
			t, err = s.open(path, l.folder, r.First)
		}
		if errors.Is(err, os.ErrNotExist) {
			r.LeftOut = append(r.LeftOut, "stream "+s.name+": no file")
			continue
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		f, missing, err := l.look(ctx, t, against)
		if err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			return errors.Join(append(failed, ctx.Err())...)
		}
		if len(missing) > 0 {
			r.LeftOut = append(r.LeftOut, strings.Join(missing, ", ")+" on "+s.name)
		}
		r.Streams = append(r.Streams, *f)
		fmt.Fprintf(os.Stderr, "%s done\n", s.name)
	}
	return errors.Join(failed...)
}

// look lets everybody go through a stream, and tells who is missing.
func (l *lab) look(ctx context.Context, t *table, against []rival) (f *found, missing []string, err error) {
	f = &found{Name: t.name, Task: t.task, Rows: len(t.labels), Unseen: t.made}
	for _, at := range t.changes {
		if at < f.Rows {
			f.Changes = append(f.Changes, at)
		}
	}
	var failed []error
	add := func(name string, p *predictions, err error) bool {
		switch {
		case errors.Is(err, errNotMeant):
		case errors.Is(err, os.ErrNotExist):
			missing = append(missing, name)
		case err != nil:
			failed = append(failed, fmt.Errorf("%s on %s: %w", name, t.name, err))
		default:
			f.Systems = append(f.Systems, system{name, rate(t, p)})
			return true
		}
		return false
	}
	add(none, noChange(t), nil)
	for i, way := range ours {
		p, rep, err := l.evaluate(ctx, way, t)
		if !add(way.name, p, err) {
			continue
		}
		if i == 0 {
			f.Drifts, f.Seconds = rep.Operators.Drift.Drifts, rep.Seconds
		}
		if err := agrees(metrics[t.task], rep.Operators.Quality, f.Systems[len(f.Systems)-1].Metrics); err != nil {
			failed = append(failed, fmt.Errorf("%s on %s: %w", way.name, t.name, err))
		}
	}
	for _, v := range against {
		p, err := l.run(ctx, v, t)
		add(v.name, p, err)
	}
	f.judge()
	return f, missing, errors.Join(failed...)
}

// agrees checks what gradstream says of itself against the predictions that it wrote.
func agrees(metrics []string, said, found map[string]float64) error {
	for _, name := range metrics {
		v, ok := said[name]
		if !ok {
			return fmt.Errorf("evaluate reports no %s", name)
		}
		tolerance := 1e-9 * max(1, math.Abs(v))
		if name == "roc_auc" {
			tolerance = 2e-3 // it is binned on long streams, coarsely where probabilities are next to 0 or 1
		}
		if math.Abs(v-found[name]) > tolerance {
			return fmt.Errorf("evaluate reports %s %v, the predictions it wrote have %v", name, v, found[name])
		}
	}
	return nil
}

// json writes the results, a line for each stream and system, and curves with four digits.
func (r *results) json() ([]byte, error) {
	for i := range r.Streams {
		for j := range r.Streams[i].Systems {
			for k, v := range r.Streams[i].Systems[j].Curve {
				if v != 0 {
					unit := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
					r.Streams[i].Systems[j].Curve[k] = math.Round(v*unit) / unit
				}
			}
		}
	}
	text, err := json.Marshal(r)
	for _, begin := range []string{`{"name":`, `{"system":`, `"verdicts":`, `"tallies":`} {
		text = bytes.ReplaceAll(text, []byte(begin), []byte("\n"+begin))
	}
	return append(text, '\n'), err
}
