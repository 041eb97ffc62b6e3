package file

import (
	"cmp"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// parquetGroup is how many rows a row group has.
const parquetGroup = 1 << 17

// inOrder is a group whose columns keep their order; the library sorts them by name.
type inOrder struct {
	parquet.Group
	names []string
}

// Fields implements [parquet.Node].
func (g inOrder) Fields() []parquet.Field {
	fields := g.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return cmp.Compare(slices.Index(g.names, a.Name()), slices.Index(g.names, b.Name()))
	})
	return fields
}

// parquetWriter writes the columns of rows that are not sparse, compressed with zstd.
type parquetWriter struct {
	w      *parquet.GenericWriter[any]
	cols   []int // of the batches
	fields []batch.Field
	row    parquet.Row
}

func newParquetWriter(out io.Writer, s *batch.Schema) *parquetWriter {
	p := &parquetWriter{}
	g := inOrder{Group: parquet.Group{}}
	for i, f := range s.Fields {
		var n parquet.Node
		switch f.Type {
		case batch.Bool:
			n = parquet.Leaf(parquet.BooleanType)
		case batch.Int64:
			n = parquet.Int(64)
		case batch.Float64:
			n = parquet.Leaf(parquet.DoubleType)
		case batch.String:
			n = parquet.String()
		case batch.Timestamp:
			n = parquet.Timestamp(parquet.Millisecond)
		default:
			continue
		}
		if f.Nullable {
			n = parquet.Optional(n)
		}
		g.Group[f.Name] = n
		g.names = append(g.names, f.Name)
		p.cols, p.fields = append(p.cols, i), append(p.fields, f)
	}
	p.w = parquet.NewGenericWriter[any](out, parquet.NewSchema("rows", g), parquet.Compression(&zstd.Codec{}), parquet.MaxRowsPerRowGroup(parquetGroup))
	return p
}

func (p *parquetWriter) write(b *batch.Batch, lo, hi int) error {
	for row := lo; row < hi; row++ {
		p.row = p.row[:0]
		for k, i := range p.cols {
			c := b.Cols[i]
			var v parquet.Value
			level := 0
			if p.fields[k].Nullable && !c.Null(row) {
				level = 1
			}
			switch {
			case c.Null(row):
				v = parquet.NullValue()
			case c.Type == batch.Bool:
				v = parquet.BooleanValue(c.Bools[row])
			case c.Type == batch.Float64:
				v = parquet.DoubleValue(c.Floats[row])
			case c.Type == batch.String:
				v = parquet.ByteArrayValue(c.Text(row))
			default:
				v = parquet.Int64Value(c.Ints[row])
			}
			p.row = append(p.row, v.Level(0, level, k))
		}
		if _, err := p.w.WriteRows([]parquet.Row{p.row}); err != nil {
			return err
		}
	}
	return nil
}
