package codec

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// ArrowReader reads the rows of an Arrow IPC stream.
type ArrowReader struct {
	schema *batch.Schema
	o      Options
	frames *frames
	mem    *limited
	r      *ipc.Reader
	plan   []arrowColumn // one per field of schema
	rows   int           // of the current batch
	next   int
	idx    []uint32
}

// NewArrowReader reads the schema of the stream and matches its columns to those
// of s by name. If footer, the stream is the inside of an IPC file, and r is
// behind its magic; what is behind the batches is left to the caller. most bounds the bytes of one message and, eight times that, the
// memory of one batch. It fails if a column of s that may not be null is
// missing, or if one has a type that does not convert.
func NewArrowReader(r io.Reader, footer bool, s *batch.Schema, o Options, most int) (*ArrowReader, error) {
	return openArrow(&frames{r: r, file: footer, most: most}, memory.DefaultAllocator, s, o)
}

func openArrow(f *frames, mem memory.Allocator, s *batch.Schema, o Options) (*ArrowReader, error) {
	a := &ArrowReader{schema: s, o: o.bounded(), frames: f, mem: &limited{Allocator: mem, most: 8 * f.most, left: 8 * f.most}}
	err := a.mem.guarded(func() (err error) {
		if a.r, err = ipc.NewReaderFromMessageReader(f, ipc.WithAllocator(a.mem)); err != nil {
			return err
		}
		a.plan, err = matchArrow(a.r.Schema(), s)
		return err
	})
	if err != nil {
		a.Close()
		if errors.Is(err, io.EOF) {
			err = errors.New("no Arrow schema")
		}
		return nil, err
	}
	return a, nil
}

// Next reads the next batch of the stream and returns how many rows it has, or
// io.EOF at the end.
func (a *ArrowReader) Next() (int, error) {
	a.mem.left, a.mem.over, a.rows, a.next = a.mem.most, false, 0, 0
	err := a.mem.guarded(func() error {
		if !a.r.Next() {
			if err := a.r.Err(); err != nil {
				return err
			}
			return io.EOF
		}
		rec := a.r.Record()
		for i := range a.plan {
			p := &a.plan[i]
			if p.col >= 0 {
				if err := p.bind(rec.Column(p.col)); err != nil {
					return fmt.Errorf("column %s: %w", a.schema.Fields[i].Name, err)
				}
			}
		}
		// A batch without buffers may claim any number of rows.
		if n := rec.NumRows(); n < 0 || n > int64(a.mem.most) {
			return fmt.Errorf("damaged Arrow data: a batch of %d rows", n)
		}
		a.rows = int(rec.NumRows())
		return nil
	})
	return a.rows, err
}

// Ended reports whether the stream was closed by its writer, not only cut at the
// end of a message.
func (a *ArrowReader) Ended() bool { return a.frames.ended }

// Left returns how many rows of the current batch are not yet read.
func (a *ArrowReader) Left() int { return a.rows - a.next }

// Row appends the next row of the current batch, or says what is wrong with it
// and appends nothing.
func (a *ArrowReader) Row(into *batch.Batch) error {
	row, before := a.next, rows(into)
	a.next++
	var bad *connectors.RowError
	err := a.mem.guarded(func() error {
		bad = a.row(row, into)
		return nil
	})
	if bad != nil {
		err = bad
	}
	if err != nil {
		truncate(into, before)
	}
	return err
}

// all appends every row left, or nothing.
func (a *ArrowReader) all(into *batch.Batch) error {
	var bad *connectors.RowError
	err := a.mem.guarded(func() error {
		for ; a.next < a.rows && bad == nil; a.next++ {
			bad = a.row(a.next, into)
		}
		return nil
	})
	if bad != nil {
		return bad
	}
	return err
}

func (a *ArrowReader) row(row int, into *batch.Batch) *connectors.RowError {
	for i := range a.plan {
		p, f, c := &a.plan[i], &a.schema.Fields[i], into.Cols[i]
		var why string
		switch {
		case p.col < 0:
			c.AppendNull()
		case p.null(row):
			if !f.Nullable {
				why = "null, expected " + f.Type.String()
				break
			}
			c.AppendNull()
		default:
			why = p.append(a, c, f, row)
		}
		if why != "" {
			return &connectors.RowError{Column: f.Name, Row: row, At: -1, Why: why}
		}
	}
	return nil
}

// Close releases what the library holds.
func (a *ArrowReader) Close() {
	if a.r != nil {
		_ = a.mem.guarded(func() error { a.r.Release(); return nil })
		a.r = nil
	}
}

// arrowDecoder decodes records that are IPC streams of any number of batches.
type arrowDecoder struct {
	schema *batch.Schema
	o      Options
	mem    memory.Allocator
}

func newArrowDecoder(s *batch.Schema, o Options) *arrowDecoder {
	return &arrowDecoder{schema: s, o: o, mem: memory.DefaultAllocator}
}

// Decode appends the rows of all batches of a record.
func (d *arrowDecoder) Decode(value []byte, into *batch.Batch) (int, error) {
	before := rows(into)
	n, err := d.decode(value, into)
	if err == nil {
		return n, nil
	}
	truncate(into, before)
	var row *connectors.RowError
	if !errors.As(err, &row) {
		row = fail("", -1, "%s", err.Error())
	}
	return 0, row
}

func (d *arrowDecoder) decode(value []byte, into *batch.Batch) (n int, err error) {
	if len(value) > d.o.MaxRecord {
		return 0, fail("", -1, "a record of %d bytes; at most %d are read", len(value), d.o.MaxRecord)
	}
	if len(value) == 0 {
		return 0, fail("", -1, "an empty record")
	}
	a, err := openArrow(&frames{bytes: value, most: d.o.MaxRecord}, d.mem, d.schema, d.o)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	for {
		m, err := a.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		if n += m; n > a.mem.most {
			return 0, fail("", -1, "a record of %d rows; at most %d are read", n, a.mem.most)
		}
		if err := a.all(into); err != nil {
			var bad *connectors.RowError
			if errors.As(err, &bad) {
				bad.Row += n - m
			}
			return 0, err
		}
	}
	if len(a.frames.bytes) > 0 {
		return 0, fail("", len(value)-len(a.frames.bytes), "%d bytes after the end of the Arrow stream", len(a.frames.bytes))
	}
	return n, nil
}

// matchArrow finds the Arrow column of each field of s.
func matchArrow(from *arrow.Schema, s *batch.Schema) ([]arrowColumn, error) {
	plan := make([]arrowColumn, len(s.Fields))
	for i, f := range s.Fields {
		at := from.FieldIndices(f.Name)
		switch {
		case len(at) > 1:
			return nil, fmt.Errorf("column %s: twice in the Arrow schema", f.Name)
		case len(at) == 1:
			t := from.Field(at[0]).Type
			if !convertible(t, f.Type) {
				return nil, fmt.Errorf("column %s: Arrow type %s, expected %s", f.Name, t, expectedArrow(f.Type))
			}
			plan[i].col = at[0]
		case f.Nullable:
			plan[i].col = -1
		default:
			return nil, fmt.Errorf("column %s: not in the Arrow schema", f.Name)
		}
	}
	return plan, nil
}
