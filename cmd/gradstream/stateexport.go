package main

import (
	"errors"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
)

func (a *app) stateExport() *cobra.Command {
	var node, output string
	c, f := a.stateSub("export", "Write the weights of a node as JSON lines or Arrow", func(s *pebblestore.Store, f *stateFlags) error {
		tasks, err := chosenTasks(s, f.task, true)
		if err != nil {
			return err
		}
		return a.exportWeights(s, tasks, node, output)
	})
	c.Long = `export writes one row for every row of a node's weight tables that is not all
zeros, with the columns

  node   name of the operator
  task   number of the task
  name   name of the table
  index  index of the feature, as vectorize computes it
  w      the weight
  slot1… what the optimizer keeps beside it, as many as the widest table has

as JSON lines (on stdout, or in a .jsonl file) or Arrow IPC (a .arrow file). Rows
that are missing are zero.`
	c.Flags().StringVar(&node, "node", "", "operator whose weights are written; may be left out if only one has weights")
	c.Flags().StringVar(&output, "output", "", "file to write, its format by its extension; default JSON lines on stdout")
	c.Flags().IntVar(&f.task, "task", -1, "number of the task; default all")
	return c
}

func (a *app) exportWeights(s state.Inspector, tasks []int, node, output string) error {
	tables, err := weightTables(s, tasks, node)
	if err != nil {
		return err
	}
	fields := []batch.Field{{Name: "node", Type: batch.String}, {Name: "task", Type: batch.Int64}, {Name: "name", Type: batch.String},
		{Name: "index", Type: batch.Int64}, {Name: "w", Type: batch.Float64}}
	const fixed = 5
	widest := 1
	for _, t := range tables {
		widest = max(widest, t.stride)
	}
	for i := 1; i < widest; i++ {
		fields = append(fields, batch.Field{Name: "slot" + strconv.Itoa(i), Type: batch.Float64, Nullable: true})
	}
	rows := batch.New(batch.NewSchema(fields...))
	w, err := a.weightsWriter(output, rows.Schema)
	if err != nil {
		return err
	}
	flush := func() error {
		err := w.Write(rows, 0, rows.N)
		rows.Reset()
		return err
	}
	write := func() error {
		for _, t := range tables {
			for i := range t.rows {
				row := t.data[i*t.stride : (i+1)*t.stride]
				if !slices.ContainsFunc(row, func(v float32) bool { return math.Float32bits(v) != 0 }) {
					continue
				}
				rows.Cols[0].AppendString(t.id.Node)
				rows.Cols[1].AppendInt(int64(t.task))
				rows.Cols[2].AppendString(t.id.Name)
				rows.Cols[3].AppendInt(int64(i))
				for j := range widest {
					if j < t.stride {
						rows.Cols[fixed-1+j].AppendFloat(float64(row[j]))
					} else {
						rows.Cols[fixed-1+j].AppendNull()
					}
				}
				if rows.N++; rows.N == 4096 {
					if err := flush(); err != nil {
						return err
					}
				}
			}
		}
		return flush()
	}
	return errors.Join(write(), w.Close())
}

// rowsWriter writes rows [lo, hi) of a batch.
type rowsWriter interface {
	Write(b *batch.Batch, lo, hi int) error
	Close() error
}

// weightsWriter opens the output of an export.
func (a *app) weightsWriter(output string, s *batch.Schema) (rowsWriter, error) {
	if output != "" {
		w, err := file.Create(output, file.Options{Schema: s})
		if err != nil {
			return nil, inputError{err}
		}
		return w, nil
	}
	enc, err := formats.NewEncoder("json", s)
	if err != nil {
		return nil, err
	}
	return &lineWriter{enc: enc.Encode, out: a.out}, nil
}

// lineWriter writes encoded rows as lines.
type lineWriter struct {
	enc func(dst []byte, b *batch.Batch, lo, hi int) ([]byte, error)
	out io.Writer
	buf []byte
}

func (w *lineWriter) Write(b *batch.Batch, lo, hi int) (err error) {
	w.buf = w.buf[:0]
	for row := lo; row < hi; row++ {
		if w.buf, err = w.enc(w.buf, b, row, row+1); err != nil {
			return err
		}
		w.buf = append(w.buf, '\n')
	}
	_, err = w.out.Write(w.buf)
	return err
}

func (w *lineWriter) Close() error { return nil }
