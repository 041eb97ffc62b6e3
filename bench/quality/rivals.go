package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/bench/peers"
)

// rival is a configuration of somebody else's learner, as peers/python/rivals.py knows it, or peers/moa.
type rival struct {
	name, title string
	linear      bool // and so what ours is judged by
	moa         bool // it is MOA's
}

var rivals = []rival{
	{name: "river", title: "river linear", linear: true},
	{name: "vw", title: "vw", linear: true},
	{name: "vw-sgd", title: "vw --sgd", linear: true},
	{name: "vw-ftrl", title: "vw --ftrl", linear: true},
	{name: "vw-coin", title: "vw --coin", linear: true},
	{name: "sklearn", title: "sklearn", linear: true},
	{name: "river-tree", title: "river tree"},
	{name: "moa-tree", title: "moa tree", moa: true},
	{name: "moa-forest", title: "moa forest", moa: true},
}

// lab runs programs and keeps what they made.
type lab struct {
	gradstream string   // the program
	folder     string   // of files that are kept
	python     string   // what peers.Python returned; "" if there is none
	moa        []string // what peers.MOA returned; nil if there is none
}

// kept returns the path of a file in the folder and, if it is not there, has it made. What it is made of is part of its
// name. Without anything to make it, the error is [os.ErrNotExist].
func (l *lab) kept(name, ending string, of []any, make func(path string) error) (string, error) {
	sum := sha256.New()
	for _, part := range of {
		b, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%d %s\n", len(b), b)
	}
	path := filepath.Join(l.folder, fmt.Sprintf("%s-%x%s", name, sum.Sum(nil)[:6], ending))
	if _, err := os.Stat(path); err == nil || make == nil {
		return path, err
	}
	return path, make(path)
}

// makeStream returns the file of a stream that comes with a library or is drawn from a seed. Python's part need not be there
// if the file is.
func (l *lab) makeStream(ctx context.Context, s stream) (string, error) {
	sources, err := sourcesOf("python/streams.py", requirements)
	if err != nil {
		return "", err
	}
	return l.kept(s.name, ".csv.gz", []any{sources}, maker(l.python != "", func(path string) error {
		return l.script(ctx, "streams.py", s.name, path)
	}))
}

const requirements = "python/requirements.txt" // the versions of what Python's scripts run on

// sourcesOf returns files of the peers' sources.
func sourcesOf(names ...string) (sources [][]byte, err error) {
	for _, name := range names {
		text, err := peers.Source(name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, text)
	}
	return sources, nil
}

// maker returns make, or nothing if there is nothing to make with.
func maker(able bool, make func(path string) error) func(string) error {
	if !able {
		return nil
	}
	return make
}

// run returns the predictions of a rival for a stream.
func (l *lab) run(ctx context.Context, r rival, t *table) (*predictions, error) {
	files, able, script := []string{"python/rivals.py", requirements}, l.python != "", l.script
	if r.moa {
		files, able = []string{"moa/src/main/java/peer/Main.java", "moa/pom.xml"}, l.moa != nil
		script = func(ctx context.Context, _ string, args ...string) error {
			return program(ctx, append(slices.Clone(l.moa), args...))
		}
	}
	sources, err := sourcesOf(files...)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(t.file)
	if err != nil {
		return nil, err
	}
	about := map[string]any{
		"task": t.task, "numeric": t.numeric(), "categorical": t.categorical, "text": t.text, "sparse": t.sparse, "classes": t.classes,
	}
	path, err := l.kept(t.name+"-"+r.name, ".csv", []any{sources, r.name, about, fmt.Sprintf("%x", sha256.Sum256(data))}, maker(able, func(path string) error {
		about["file"] = t.file
		text, err := json.Marshal(about)
		if err != nil {
			return err
		}
		description := path + ".json"
		if err := os.WriteFile(description, text, 0o644); err != nil {
			return err
		}
		return errors.Join(script(ctx, "rivals.py", r.name, description, path), os.Remove(description))
	}))
	if err != nil {
		return nil, err
	}
	return readPredictions(path, t)
}

// script runs one of the Python sources.
func (l *lab) script(ctx context.Context, name string, args ...string) error {
	return program(ctx, append([]string{peers.PythonIn(l.python), filepath.Join(l.python, "python", name)}, args...))
}

func program(ctx context.Context, line []string) error {
	if out, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(line, " "), err, out[max(0, len(out)-2000):])
	}
	return nil
}

// report is what gradstream evaluate prints.
type report struct {
	Rows      int     `json:"rows"`
	Errors    int     `json:"errors"`
	Seconds   float64 `json:"seconds"`
	Operators struct {
		Quality map[string]float64 `json:"quality"`
		Drift   struct {
			Drifts []int `json:"drifts"`
		} `json:"drift"`
	} `json:"operators"`
}

// evaluate lets gradstream go through a stream with one of its learners.
func (l *lab) evaluate(ctx context.Context, way learner, t *table) (*predictions, *report, error) {
	if way.operator(t) == "" {
		return nil, nil, errNotMeant
	}
	text, err := pipelineFor(t, way)
	if err != nil {
		return nil, nil, err
	}
	base := filepath.Join(l.folder, t.name+"-"+way.name)
	if err := os.WriteFile(base+".yaml", []byte(text), 0o644); err != nil {
		return nil, nil, err
	}
	c := exec.CommandContext(ctx, l.gradstream, "evaluate", base+".yaml", "--json", "--input", "stream="+t.file, "--output", "predictions="+base+".csv")
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		return nil, nil, fmt.Errorf("gradstream evaluate %s.yaml: %w", base, err)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, nil, err
	}
	if r.Errors > 0 || r.Rows != len(t.labels) {
		return nil, nil, fmt.Errorf("gradstream evaluate %s.yaml: %d of %d rows read, %d rejected", base, r.Rows, len(t.labels), r.Errors)
	}
	p, err := readPredictions(base+".csv", t)
	return p, &r, err
}
