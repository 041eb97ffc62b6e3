package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/run"
)

// shownRejects is how many rejected rows evaluate prints.
const shownRejects = 10

func (a *app) evaluateCommand() *cobra.Command {
	var inputs, outputs []string
	var errorsPath string
	var asJSON bool
	var batchRows int
	c := &cobra.Command{
		Use:   "evaluate FILE --input SOURCE=PATH...",
		Short: "Run a pipeline's operators over files, test-then-train, and print the metrics",
		Long: `evaluate runs the operators of a pipeline over files, prequentially: every row
is predicted, scored and then learnt from. It opens no broker and keeps no state.
Files may be ` + file.Formats + `.`,
		Args: argFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.load(args[0])
			if err != nil {
				return err
			}
			e := &evaluate{app: a, p: p, json: asJSON, batchRows: batchRows}
			defer e.close()
			if err := e.open(args[0], inputs, outputs, errorsPath); err != nil {
				return err
			}
			return e.run(cmd)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&inputs, "input", nil, "file that stands in for a source: `SOURCE=PATH` (repeatable; every source needs one)")
	f.StringArrayVar(&outputs, "output", nil, "write what a sink would publish: `SINK=PATH` (repeatable)")
	f.StringVar(&errorsPath, "errors", "", "write every rejected row and its reason to this file, one JSON object a line")
	f.BoolVar(&asJSON, "json", false, "print the report as one JSON object")
	f.IntVar(&batchRows, "batch-rows", 0, "rows processed at once; never changes a result")
	_ = f.MarkHidden("batch-rows")
	a.addSet(c)
	return c
}

// evaluate is one run of the command.
type evaluate struct {
	app       *app
	p         *pipeline.Pipeline
	json      bool
	batchRows int
	readers   map[string]connectors.Reader
	writers   map[string]run.RowWriter
	errors    *file.Errors
	shown     int
	failed    error // of writing rejected rows
	progress  *progress
}

func (e *evaluate) close() {
	for _, r := range e.readers {
		_ = r.Close()
	}
}

// open opens every file before anything is read.
func (e *evaluate) open(pipelineFile string, inputs, outputs []string, errorsPath string) error {
	e.readers, e.writers = map[string]connectors.Reader{}, map[string]run.RowWriter{}
	if err := spare(pipelineFile, e.p, inputs, outputs, errorsPath); err != nil {
		return err
	}
	paths, err := assignments("--input", inputs)
	if err != nil {
		return err
	}
	for name, path := range paths {
		i := e.p.Source(name)
		if i < 0 {
			return noSource("--input "+name+"="+path, e.p, name)
		}
		s := e.p.Sources[i]
		r, err := file.Open(path, file.Options{Schema: s.Schema, Time: s.Time})
		if err != nil {
			return wrongInput("--input %s: %w", name, err)
		}
		e.readers[name] = newNullWatch(r, s.Schema, path)
	}
	for _, name := range sourceNames(e.p) {
		if e.readers[name] == nil {
			return wrongInput("source %s has no file: give --input %s=PATH", name, name)
		}
	}
	paths, err = assignments("--output", outputs)
	if err != nil {
		return err
	}
	for name, path := range paths {
		i := slices.IndexFunc(e.p.Sinks, func(s *pipeline.Sink) bool { return s.Name == name })
		if i < 0 {
			return wrongInput("--output %s=%s: the pipeline has no sink %q; it has: %s", name, path, name, strings.Join(sinkNames(e.p), ", "))
		}
		sink := e.p.Sinks[i]
		w, err := createOutput(path, sink)
		if err != nil {
			return err
		}
		e.writers[name] = w
	}
	if errorsPath != "" {
		if e.errors, err = file.CreateErrors(errorsPath); err != nil {
			return inputError{err}
		}
	}
	return nil
}

// createOutput opens the file that stands in for a sink. A sink of several nodes
// publishes rows of several shapes, which only JSON lines can hold.
func createOutput(path string, s *pipeline.Sink) (run.RowWriter, error) {
	for _, in := range s.Inputs[1:] {
		if !slices.Equal(in.Output.Fields, s.Inputs[0].Output.Fields) && !strings.Contains(strings.ToLower(filepath.Base(path)), "json") {
			return nil, wrongInput("--output %s=%s: the sink publishes rows of several shapes (%s); give it a .jsonl file", s.Name, path, strings.Join(s.From, ", "))
		}
	}
	w, err := file.Create(path, file.Options{Schema: s.Inputs[0].Output})
	if err != nil {
		return nil, inputError{err}
	}
	return w, nil
}

func (e *evaluate) run(cmd *cobra.Command) error {
	e.progress = newProgress(e.app.err)
	result, err := run.Evaluate(cmd.Context(), e.p, run.EvaluateOptions{
		Formats: formats, Inputs: e.readers, Outputs: e.writers, BatchRows: e.batchRows, Now: time.Now,
		Rejected: e.rejected, Progress: e.progress.show,
		Encode: func(s *batch.Schema) (connectors.Encoder, error) { return formats.NewEncoder("json", s) },
	})
	e.progress.done()
	for _, w := range e.writers {
		if e := w.Close(); err == nil {
			err = e
		}
	}
	if e.errors != nil {
		if e := e.errors.Close(); err == nil {
			err = e
		}
	}
	if err = cmp.Or(err, e.failed); err != nil {
		return err
	}
	if hidden := result.Errors - int64(e.shown); hidden > 0 {
		fmt.Fprintf(e.app.err, "... and %d more rejected rows; --errors PATH writes them all\n", hidden)
	}
	for _, name := range sourceNames(e.p) {
		for _, note := range e.readers[name].(*nullWatch).notes() {
			fmt.Fprintf(e.app.err, "note: %s: %s\n", name, note)
		}
	}
	if e.json {
		_, err = e.app.out.Write(result.JSON())
		return err
	}
	return printEvaluation(e.app.out, result)
}

// rejected shows the first rejected rows and writes all of them to the file.
func (e *evaluate) rejected(source, node string, r connectors.Rejected) {
	where := fmt.Sprintf("%s row %d", source, r.Offset)
	if r.Line > 0 {
		where += fmt.Sprintf(" (line %d)", r.Line)
	}
	if node != "" {
		where += ", operator " + node
	}
	if e.shown < shownRejects {
		e.shown++
		e.progress.clear()
		fmt.Fprintf(e.app.err, "rejected: %s: %v\n", where, r.Why)
	}
	if e.errors != nil {
		if node != "" {
			r.Why = fmt.Errorf("operator %s: %w", node, r.Why)
		}
		if err := e.errors.Write(source, r); err != nil && e.failed == nil {
			e.failed = err
		}
	}
}

// printEvaluation writes the report for people.
func printEvaluation(w io.Writer, r *run.Evaluation) error {
	rate := 0.0
	if r.Seconds > 0 {
		rate = float64(r.Rows) / r.Seconds
	}
	fmt.Fprintf(w, "%s: %d rows in %.2f s (%.0f rows/s), %d rejected\n", r.Pipeline, r.Rows, r.Seconds, rate, r.Errors)
	for _, n := range r.Nodes {
		if len(n.Values) == 0 && n.Def.Role != operators.Detector {
			continue
		}
		fmt.Fprintf(w, "\n%s (%s)\n", n.Name, n.Def.Name)
		for _, v := range n.Values {
			text := "undefined"
			if !v.Null {
				text = humanNumber(v.Number)
			}
			fmt.Fprintf(w, "  %-18s %s\n", v.Name, text)
		}
		if n.Def.Role == operators.Detector && len(n.Drifts) > 0 {
			rows := make([]string, 0, len(n.Drifts))
			for i, d := range n.Drifts {
				if i == 12 {
					rows = append(rows, fmt.Sprintf("and %d more", len(n.Drifts)-i))
					break
				}
				rows = append(rows, strconv.FormatInt(d, 10))
			}
			fmt.Fprintf(w, "  %-18s %s\n", "drifts at rows", strings.Join(rows, " "))
		}
	}
	return nil
}

func humanNumber(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

// cutAssignment splits NAME=PATH.
func cutAssignment(arg string) (name, path string, ok bool) {
	name, path, ok = strings.Cut(arg, "=")
	return name, path, ok && name != "" && path != ""
}

// assignments reads repeated NAME=PATH flags.
func assignments(flag string, args []string) (map[string]string, error) {
	m := map[string]string{}
	for _, arg := range args {
		name, path, ok := cutAssignment(arg)
		if !ok {
			return nil, wrongInput("%s %s: expected NAME=PATH", flag, arg)
		}
		if m[name] != "" {
			return nil, wrongInput("%s %s: %s is given twice", flag, arg, name)
		}
		m[name] = path
	}
	return m, nil
}

func sinkNames(p *pipeline.Pipeline) []string {
	var names []string
	for _, s := range p.Sinks {
		names = append(names, s.Name)
	}
	return names
}

func sourceNames(p *pipeline.Pipeline) []string {
	names := map[string]bool{}
	for _, s := range p.Sources {
		names[s.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// progress is a progress bar on a terminal, and nothing elsewhere.
type progress struct {
	w     *os.File
	last  time.Time
	start time.Time
	drawn bool
}

func newProgress(w io.Writer) *progress {
	p := &progress{start: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.w = f
	}
	return p
}

func (p *progress) show(done, size, rows int64) {
	if p.w == nil || time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.drawn = time.Now(), true
	bar := ""
	if size > 0 {
		const width = 30
		full := int(min(done*width/size, width))
		bar = "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + fmt.Sprintf("] %3d %% ", min(100, done*100/size))
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s%d rows, %.0f rows/s", bar, rows, float64(rows)/time.Since(p.start).Seconds())
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func (p *progress) done() { p.clear() }
