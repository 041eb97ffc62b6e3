package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// testFile is what FILE_test.yaml holds.
type testFile struct{ tests []spec.NamedNode }

func (f *testFile) Fields(s *spec.Fields) {
	s.Nodes(&f.tests, "tests", &testCase{}, "Tests by their names.").Required()
}

// testCase is one test: rows in, rows out.
type testCase struct {
	set       []spec.NamedText
	input     []spec.NamedNode
	output    []spec.NamedNode
	metrics   []spec.NamedNode
	rejected  int
	counted   bool // rejected was written
	tolerance float64
}

func (t *testCase) Fields(s *spec.Fields) {
	s.Texts(&t.set, "set", "Changes of the pipeline for this test, as by --set: path: value.")
	s.Nodes(&t.input, "input", nil, "Rows of each source: a list of mappings from column to value, or the path of a file, relative to the test file. A source that is left out has no rows.").Required()
	s.Nodes(&t.output, "output", nil, "Rows that each sink publishes, all of them in order: a list of mappings. A column that is left out may hold anything, a sink that is left out anything at all.")
	s.Nodes(&t.metrics, "metrics", nil, "What nodes report at the end: of each a mapping from metric to number.")
	s.Int(&t.rejected, "rejected", 0, "Number of rows that are rejected.").AtLeast(0).Given(&t.counted)
	s.Float(&t.tolerance, "tolerance", 1e-6, "Greatest difference of numbers that are not whole, absolute below 1 and relative above.").AtLeast(0.0)
}

func (t *testCase) Check(add func(field, msg, want string)) {
	if len(t.output) == 0 && len(t.metrics) == 0 && !t.counted {
		add("", "this test expects nothing, so it could not fail", "expected output, metrics or rejected")
	}
	rows := 0
	for _, n := range t.input {
		rows += len(n.Node.Items)
		if n.Node.Kind == spec.Scalar {
			rows++ // of a file
		}
	}
	if rows == 0 {
		add("input", "this test has no rows", "expected at least one")
	}
}

func (a *app) testCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test FILE...",
		Short: "Run the tests of pipelines: FILE_test.yaml with rows in and expected rows out",
		Long: `test runs the tests that lie beside pipeline files: those of clicks.yaml in
clicks_test.yaml. Each feeds rows to the operators, as evaluate does, and compares
what the sinks publish and what metrics come to. It opens no broker and keeps no
state. It exits with 1 if a test fails.

  tests:
    a click is learnt:
      input:
        clicks:
          - {id: a, user: ann, price: 1.5, y: true}
          - {id: b, user: ann, price: 2}
      output:
        predictions:
          - {id: a, p: 0.5, version: 0}
          - {id: b, version: 1}
      metrics: {quality: {rows: 1}}`,
		Args: argFiles,
		RunE: func(cmd *cobra.Command, files []string) error {
			total, failed := 0, 0
			for _, path := range files {
				n, bad, err := a.testPipeline(cmd.Context(), path)
				if err != nil {
					return err
				}
				total, failed = total+n, failed+bad
			}
			fmt.Fprintf(a.out, "%s, %d failed\n", count(total, "test"), failed)
			if failed > 0 {
				return fmt.Errorf("%d of %s failed", failed, count(total, "test"))
			}
			return nil
		},
	}
	a.addSet(c)
	return c
}

// testPaths returns the pipeline file and its test file; either may be named.
func testPaths(path string) (file, tests string) {
	ext := filepath.Ext(path)
	base := strings.TrimSuffix(path, ext)
	if p, ok := strings.CutSuffix(base, "_test"); ok {
		return p + ext, path
	}
	return path, base + "_test" + ext
}

// testPipeline runs the tests of a pipeline file.
func (a *app) testPipeline(ctx context.Context, path string) (total, failed int, err error) {
	file, testPath := testPaths(path)
	text, err := os.ReadFile(testPath)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, wrongInput("%s has no tests: there is no %s", file, testPath)
	}
	if err != nil {
		return 0, 0, inputError{err}
	}
	node, errs := spec.Parse(testPath, text)
	if len(errs) > 0 {
		return 0, 0, errs
	}
	var f testFile
	if errs := spec.Decode(node, &f); len(errs) > 0 {
		return 0, 0, errs
	}
	if len(f.tests) == 0 {
		errs.Add(node.Pos, "there is no test", "expected at least one")
		return 0, 0, errs
	}
	cases := make([]testCase, len(f.tests))
	for i, n := range f.tests {
		errs = append(errs, spec.Decode(n.Node, &cases[i])...)
	}
	if len(errs) > 0 {
		return 0, 0, errs.Sorted()
	}
	for i, n := range f.tests {
		c := &cases[i]
		p, err := a.loadFor(file, c)
		if err != nil {
			return 0, 0, err
		}
		r := &trialRun{p: p, c: c, dir: filepath.Dir(testPath)}
		if err := r.run(ctx); err != nil {
			return 0, 0, err
		}
		total++
		if len(r.wrong) == 0 {
			fmt.Fprintf(a.out, "ok    %s\n", n.Name)
			continue
		}
		failed++
		fmt.Fprintf(a.out, "FAIL  %s (%v)\n", n.Name, n.Pos)
		for _, w := range r.wrong {
			fmt.Fprintf(a.out, "      %s\n", w)
		}
	}
	return total, failed, nil
}

// loadFor loads the pipeline with the changes of a test.
func (a *app) loadFor(path string, c *testCase) (*pipeline.Pipeline, error) {
	set := append([]string(nil), a.set...)
	for _, s := range c.set {
		set = append(set, s.Name.Name+"="+s.Text.Value)
	}
	p, errs := pipeline.Load(path, pipeline.Options{Registry: registry, CheckAvro: checkAvro, Set: set})
	if len(errs) > 0 {
		return nil, errs
	}
	return p, nil
}
