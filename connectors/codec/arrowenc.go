package codec

import (
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gradstream/gradstream/pipeline/batch"
)

var (
	timestampMS = &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}
	sparseEntry = arrow.StructOf(
		arrow.Field{Name: "index", Type: arrow.PrimitiveTypes.Uint32},
		arrow.Field{Name: "value", Type: arrow.PrimitiveTypes.Float32})
)

// arrowSchema returns the Arrow schema of the columns that are written.
func arrowSchema(s *batch.Schema, cols []int) *arrow.Schema {
	fields := make([]arrow.Field, len(cols))
	for i, col := range cols {
		f := s.Fields[col]
		fields[i] = arrow.Field{Name: f.Name, Nullable: f.Nullable}
		switch f.Type {
		case batch.Bool:
			fields[i].Type = arrow.FixedWidthTypes.Boolean
		case batch.Int64:
			fields[i].Type = arrow.PrimitiveTypes.Int64
		case batch.Float64:
			fields[i].Type = arrow.PrimitiveTypes.Float64
		case batch.String:
			fields[i].Type = arrow.BinaryTypes.String
		case batch.Timestamp:
			fields[i].Type = timestampMS
		case batch.Sparse:
			fields[i].Type = arrow.ListOfNonNullable(sparseEntry)
		}
	}
	return arrow.NewSchema(fields, nil)
}

// arrowRows builds Arrow records out of rows.
type arrowRows struct {
	schema *batch.Schema
	cols   []int
	arrow  *arrow.Schema
	mem    memory.Allocator
}

func newArrowRows(s *batch.Schema, o Options) arrowRows {
	cols := written(s, o)
	return arrowRows{schema: s, cols: cols, arrow: arrowSchema(s, cols), mem: memory.DefaultAllocator}
}

func (e *arrowRows) record(b *batch.Batch, lo, hi int) (arrow.Record, error) {
	build := array.NewRecordBuilder(e.mem, e.arrow)
	defer build.Release()
	build.Reserve(hi - lo)
	for i, col := range e.cols {
		c := b.Cols[col]
		for row := lo; row < hi; row++ {
			if c.Null(row) {
				build.Field(i).AppendNull()
				continue
			}
			if why := appendArrow(build.Field(i), c, row); why != "" {
				return nil, rowError(e.schema.Fields[col].Name, row-lo, why)
			}
		}
	}
	return build.NewRecord(), nil
}

func appendArrow(build array.Builder, c *batch.Column, row int) (why string) {
	switch c.Type {
	case batch.Bool:
		build.(*array.BooleanBuilder).Append(c.Bools[row])
	case batch.Int64:
		build.(*array.Int64Builder).Append(c.Ints[row])
	case batch.Float64:
		v := c.Floats[row]
		if v-v != 0 {
			return fmt.Sprintf("%v is not a finite number", v)
		}
		build.(*array.Float64Builder).Append(v)
	case batch.String:
		build.(*array.StringBuilder).BinaryBuilder.Append(c.Text(row))
	case batch.Timestamp:
		build.(*array.TimestampBuilder).Append(arrow.Timestamp(c.Ints[row]))
	case batch.Sparse:
		list := build.(*array.ListBuilder)
		list.Append(true)
		entry := list.ValueBuilder().(*array.StructBuilder)
		index, value := c.Row(row)
		for i, x := range index {
			if value[i]-value[i] != 0 {
				return fmt.Sprintf("%v is not a finite number", value[i])
			}
			entry.Append(true)
			entry.FieldBuilder(0).(*array.Uint32Builder).Append(x)
			entry.FieldBuilder(1).(*array.Float32Builder).Append(value[i])
		}
	default:
		return "has no type"
	}
	return ""
}

// arrowEncoder writes rows as one IPC stream: the schema and one batch.
type arrowEncoder struct {
	arrowRows
}

func newArrowEncoder(s *batch.Schema, o Options) *arrowEncoder {
	return &arrowEncoder{newArrowRows(s, o)}
}

// PerRow is false.
func (e *arrowEncoder) PerRow() bool { return false }

// Encode appends rows [lo, hi) as one record batch.
func (e *arrowEncoder) Encode(dst []byte, b *batch.Batch, lo, hi int) ([]byte, error) {
	rec, err := e.record(b, lo, hi)
	if err != nil {
		return dst, err
	}
	defer rec.Release()
	out := sliceWriter(dst)
	w := ipc.NewWriter(&out, ipc.WithSchema(e.arrow), ipc.WithAllocator(e.mem))
	if err := w.Write(rec); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	return out, nil
}

type sliceWriter []byte

func (s *sliceWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

// ArrowWriter writes rows to an Arrow IPC file.
type ArrowWriter struct {
	arrowRows
	w *ipc.FileWriter
}

// NewArrowWriter starts an IPC file. Sparse columns are left out unless o.Sparse.
func NewArrowWriter(w io.Writer, s *batch.Schema, o Options) (*ArrowWriter, error) {
	a := &ArrowWriter{arrowRows: newArrowRows(s, o)}
	f, err := ipc.NewFileWriter(&seekless{w: w}, ipc.WithSchema(a.arrow), ipc.WithAllocator(a.mem))
	a.w = f
	return a, err
}

// Write writes rows [lo, hi) as one record batch.
func (a *ArrowWriter) Write(b *batch.Batch, lo, hi int) error {
	rec, err := a.record(b, lo, hi)
	if err != nil {
		return err
	}
	defer rec.Release()
	return a.w.Write(rec)
}

// Close writes the end of the file. It does not close the writer below.
func (a *ArrowWriter) Close() error { return a.w.Close() }

// seekless tells the library where it is, which is all it seeks for.
type seekless struct {
	w  io.Writer
	at int64
}

func (s *seekless) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.at += int64(n)
	return n, err
}

func (s *seekless) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, fmt.Errorf("cannot seek to %d", offset)
	}
	return s.at, nil
}
