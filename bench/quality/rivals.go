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

	"github.com/gradstream/gradstream/bench/peers"
)

// rival is a configuration of somebody else's learner, as peers/python/rivals.py knows it.
type rival struct {
	name, title string
	linear      bool // and so what ours is judged by
}

var rivals = []rival{
	{"river", "river linear", true},
	{"vw", "vw", true},
	{"vw-sgd", "vw --sgd", true},
	{"vw-ftrl", "vw --ftrl", true},
	{"vw-coin", "vw --coin", true},
	{"sklearn", "sklearn", true},
	{"river-tree", "river tree", false},
}

// lab runs programs and keeps what they made.
type lab struct {
	gradstream string // the program
	folder     string // of files that are kept
	python     string // what peers.Python returned; "" if there is none
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
	sources, err := pythonSources("streams.py")
	if err != nil {
		return "", err
	}
	return l.kept(s.name, ".csv.gz", []any{sources}, l.maker(func(path string) error {
		return l.script(ctx, "streams.py", s.name, path)
	}))
}

// pythonSources returns a script and the versions of what it runs on.
func pythonSources(script string) (sources [][]byte, err error) {
	for _, name := range []string{script, "requirements.txt"} {
		text, err := peers.PythonSource(name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, text)
	}
	return sources, nil
}

// maker returns make, or nothing if there is no Python to make with.
func (l *lab) maker(make func(path string) error) func(string) error {
	if l.python == "" {
		return nil
	}
	return make
}

// run returns the predictions of a rival for a stream.
func (l *lab) run(ctx context.Context, r rival, t *table) (*predictions, error) {
	sources, err := pythonSources("rivals.py")
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
	path, err := l.kept(t.name+"-"+r.name, ".csv", []any{sources, r.name, about, fmt.Sprintf("%x", sha256.Sum256(data))}, l.maker(func(path string) error {
		about["file"] = t.file
		text, err := json.Marshal(about)
		if err != nil {
			return err
		}
		description := path + ".json"
		if err := os.WriteFile(description, text, 0o644); err != nil {
			return err
		}
		return errors.Join(l.script(ctx, "rivals.py", r.name, description, path), os.Remove(description))
	}))
	if err != nil {
		return nil, err
	}
	return readPredictions(path, t)
}

// script runs one of the Python sources.
func (l *lab) script(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, peers.PythonIn(l.python), append([]string{filepath.Join(l.python, "python", name)}, args...)...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out[max(0, len(out)-2000):])
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
