package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gradstream/gradstream/pipeline"
)

// TestBadPipelines validates files that are wrong, each in its own way, with the
// operators of this binary. Beside each lies what is said of it.
func TestBadPipelines(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, expected 30 and more: %v", len(files), err)
	}
	t.Chdir("testdata/bad")
	for _, path := range files {
		name := filepath.Base(path)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			var out, errOut bytes.Buffer
			if code := execute(t.Context(), []string{"validate", name}, &out, &errOut); code != exitInput {
				t.Errorf("exit code %d, expected %d", code, exitInput)
			}
			if out.Len() > 0 {
				t.Errorf("on stdout: %s", out.String())
			}
			for line := range strings.Lines(errOut.String()) {
				if !strings.HasPrefix(line, name+":") {
					t.Errorf("a line without a position: %s", line)
				}
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".txt", errOut.String())
		})
	}
}

// TestBadPipelinesOfPipeline validates the bad files of package pipeline, whose
// messages are checked there with operators made for tests: with the real ones
// they are wrong too, and nothing panics.
func TestBadPipelinesOfPipeline(t *testing.T) {
	files, err := filepath.Glob("../../pipeline/testdata/bad/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, expected 30 and more: %v", len(files), err)
	}
	for _, path := range files {
		var out, errOut bytes.Buffer
		if code := execute(t.Context(), []string{"validate", path}, &out, &errOut); code != exitInput {
			t.Errorf("%s: exit code %d, expected %d: %s%s", path, code, exitInput, out.String(), errOut.String())
		}
	}
}

// golden compares got with the text in a file, or writes it there under -rewrite.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -rewrite accepts it):\n%s", file, diff)
	}
}

// The pipeline of the README is right, and goes with the commands that stand below it: a backfill wants an event time and a key.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	yaml, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README.md shows no pipeline")
	}
	p, errs := pipeline.Parse("README.md", []byte(yaml), pipeline.Options{Registry: registry, Lookup: func(string) (string, bool) { return "", false }})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if s := p.Sources[0]; s.Time == "" || s.Key == "" {
		t.Errorf("source %s: time %q, key %q; expected both", s.Name, s.Time, s.Key)
	}
}

// A command that is cut short says so, and not what Go calls it.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut bytes.Buffer
	code := execute(ctx, []string{"evaluate", flightsFile, "--input", "flights=" + strings.Replace(flightsFile, "pipeline.yaml", "flights.csv.gz", 1)}, &out, &errOut)
	if code != exitFailed || errOut.String() != "gradstream: interrupted\n" || out.Len() > 0 {
		t.Errorf("exit code %d, %q, %q", code, errOut.String(), out.String())
	}
}
