package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// spare refuses to write to a file that the same command reads or writes elsewhere.
func spare(pipelineFile string, p *pipeline.Pipeline, inputs, outputs []string, errorsPath string) error {
	type use struct{ flag, path string }
	uses := []use{{"the pipeline file", pipelineFile}}
	for _, n := range p.Nodes {
		if f := n.File(); f != nil {
			uses = append(uses, use{"the file of operator " + n.Name, f.Path})
		}
	}
	read := len(uses) + len(inputs)
	for _, group := range []struct {
		flag string
		args []string
	}{{"--input", inputs}, {"--output", outputs}} {
		paths, err := assignments(group.flag, group.args)
		if err != nil {
			return err
		}
		for _, arg := range group.args {
			name, _, _ := cutAssignment(arg)
			uses = append(uses, use{group.flag + " " + arg, paths[name]})
		}
	}
	if errorsPath != "" {
		uses = append(uses, use{"--errors " + errorsPath, errorsPath})
	}
	for i, written := range uses[read:] {
		for _, other := range uses[:read+i] {
			if sameFile(written.path, other.path) {
				return wrongInput("%s would overwrite %s; give it a path of its own", written.flag, other.flag)
			}
		}
	}
	return nil
}

// sameFile reports whether two paths lead to one file. Devices and pipes, such as
// /dev/null, may be named twice.
func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX == nil && errY == nil {
		return x.Mode().IsRegular() && os.SameFile(x, y)
	}
	a, errX = filepath.Abs(a)
	b, errY = filepath.Abs(b)
	return errX == nil && errY == nil && a == b
}

// nullWatch is a reader that notices columns which are null in every row: a name that
// the file spells in another way looks like that, and a label that is never there.
type nullWatch struct {
	connectors.Reader
	schema *batch.Schema
	path   string
	rows   int
	empty  []int // columns that were null so far
}

func newNullWatch(r connectors.Reader, schema *batch.Schema, path string) *nullWatch {
	w := &nullWatch{Reader: r, schema: schema, path: path}
	for i, f := range schema.Fields {
		if f.Nullable {
			w.empty = append(w.empty, i)
		}
	}
	return w
}

func (w *nullWatch) Read(ctx context.Context, into *batch.Batch, limit int) ([]connectors.Rejected, error) {
	from := into.N
	rejected, err := w.Reader.Read(ctx, into, limit)
	w.rows += into.N - from
	w.empty = slices.DeleteFunc(w.empty, func(i int) bool {
		for row := from; row < into.N; row++ {
			if !into.Cols[i].Null(row) {
				return true
			}
		}
		return false
	})
	return rejected, err
}

// notes says of what was read in full which columns it never had.
func (w *nullWatch) notes() []string {
	var notes []string
	if w.rows > 0 {
		for _, i := range w.empty {
			notes = append(notes, fmt.Sprintf("column %s is null in all %d rows of %s", w.schema.Fields[i].Name, w.rows, w.path))
		}
	}
	return notes
}
