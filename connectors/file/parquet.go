package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// parquetRows reads a Parquet file, one row group after the other and of each
// column a page at a time: memory grows with the pages and not with the file.
// The library reads any compression that the format has.
type parquetRows struct {
	file   *parquet.File
	in     *os.File
	schema *batch.Schema
	codec  codec.Options
	plan   []parquetColumn // one a field of schema
	group  int             // row groups opened so far
	left   int64           // rows of the current one
	read   int64           // rows so far
	temp   *os.File        // what a file that is compressed as a whole was unpacked to
	index  []uint32        // scratch
}

// parquetColumn reads one of our columns.
type parquetColumn struct {
	main  cursor // the leaf; of a sparse column that of the indices
	value cursor // of a sparse column that of the values
	leaf  *parquet.LeafColumn
	other *parquet.LeafColumn
	// append appends a value that is not null, or says why it cannot.
	append func(c *batch.Column, v parquet.Value) string
	list   int // of a sparse column: definition level from which a row has entries
	null   int // of a sparse column: definition level below which a row is null
}

// openParquet opens what r.in would be the bytes of. Parquet begins at its end, so
// a file that is compressed as a whole is unpacked to a temporary file first.
func openParquet(r *reader, o Options) (_ *parquetRows, err error) {
	p := &parquetRows{schema: o.Schema, codec: o.Codec}
	if p.codec.MaxString <= 0 {
		p.codec.MaxString = codec.DefaultMaxString
	}
	in, size := r.file, r.size
	if r.unpack != nil {
		if p.temp, err = os.CreateTemp("", "gradstream-*.parquet"); err != nil {
			return nil, err
		}
		if size, err = io.Copy(p.temp, r.in); err != nil {
			p.close()
			return nil, err
		}
		in = p.temp
	}
	p.in = in
	err = guarded(func() error {
		if size < 12 { // its magic twice, and the length of the footer
			return fmt.Errorf("not a Parquet file, or truncated: %d bytes", size)
		}
		if err = checkFooter(in, size); err != nil {
			return err
		}
		p.file, err = parquet.OpenFile(&counting{in, r.disk, p.temp == nil}, size,
			parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(1<<16))
		if err != nil {
			return fmt.Errorf("not a Parquet file, or truncated: %v", err) // it may name the path, which comes first
		}
		return p.match()
	})
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// counting counts the bytes that are read, for the progress.
type counting struct {
	in    *os.File
	count *counter
	on    bool
}

func (c *counting) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.in.ReadAt(b, at)
	if c.on {
		c.count.n += int64(n)
	}
	return n, err
}

// guarded runs f; the library panics on some damaged files.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged Parquet data: %v", p)
		}
	}()
	return f()
}

// match finds the leaves of each column.
func (p *parquetRows) match() error {
	p.plan = make([]parquetColumn, len(p.schema.Fields))
	s := p.file.Schema()
	for i, f := range p.schema.Fields {
		c := &p.plan[i]
		if f.Type == batch.Sparse {
			if err := c.matchSparse(s, f.Name); err != nil {
				return fmt.Errorf("column %s: %w", f.Name, err)
			}
		} else if leaf, ok := lookup(s, f.Name); ok {
			c.leaf = &leaf
			if c.append = p.converter(leaf, f.Type); c.append == nil || leaf.MaxRepetitionLevel > 0 {
				return fmt.Errorf("column %s: Parquet type %s, expected %s", f.Name, typeName(leaf), expectedParquet(f.Type))
			}
		} else if top := field(s, f.Name); top != nil {
			return fmt.Errorf("column %s: a Parquet group, expected %s", f.Name, expectedParquet(f.Type))
		}
		if c.leaf == nil && !f.Nullable {
			return fmt.Errorf("column %s: not in the Parquet schema", f.Name)
		}
	}
	return nil
}

// lookup finds a column by its name, or by a path parted by dots.
func lookup(s *parquet.Schema, name string) (parquet.LeafColumn, bool) {
	if leaf, ok := s.Lookup(name); ok {
		return leaf, true
	}
	return s.Lookup(strings.Split(name, ".")...)
}

func field(n parquet.Node, name string) parquet.Node {
	for _, f := range n.Fields() {
		if f.Name() == name {
			return f
		}
	}
	return nil
}

var errNotSparse = errors.New("expected list<struct<index: uint32, value: float32>>")

// matchSparse finds the two leaves of list<struct<index, value>>, however the
// groups between are named.
func (c *parquetColumn) matchSparse(s *parquet.Schema, name string) error {
	node := field(s, name)
	if node == nil {
		return nil
	}
	var leaves []parquet.LeafColumn
	var index []string // the path of the indices
	for _, path := range s.Columns() {
		if path[0] != name {
			continue
		}
		leaf, ok := s.Lookup(path...)
		want := parquet.Float
		switch path[len(path)-1] {
		case "index":
			want, index = parquet.Int32, path
		case "value":
		default:
			return errNotSparse
		}
		if !ok || leaf.MaxRepetitionLevel != 1 || leaf.Node.Type().Kind() != want {
			return errNotSparse
		}
		if leaves = append(leaves, leaf); want == parquet.Int32 && len(leaves) == 2 {
			leaves[0], leaves[1] = leaves[1], leaves[0]
		}
	}
	if len(leaves) != 2 || index == nil {
		return errNotSparse
	}
	if node.Optional() {
		c.null = 1
	}
	for at, path := parquet.Node(s), index; len(path) > 0; path = path[1:] {
		at = field(at, path[0])
		if !at.Required() {
			c.list++
		}
		if at.Repeated() {
			break
		}
	}
	c.leaf, c.other = &leaves[0], &leaves[1]
	return nil
}

// nextGroup opens the columns of the next row group; it returns io.EOF if there is
// none.
func (p *parquetRows) nextGroup() error {
	groups := p.file.RowGroups()
	if p.group == len(groups) {
		return io.EOF
	}
	g := groups[p.group]
	columns := p.file.Metadata().RowGroups[p.group].Columns
	chunks := g.ColumnChunks()
	p.group++
	p.left = g.NumRows()
	for i := range p.plan {
		c := &p.plan[i]
		if c.leaf == nil {
			continue
		}
		for _, leaf := range []*parquet.LeafColumn{c.leaf, c.other} {
			if leaf == nil {
				continue
			}
			if err := checkPages(p.in, &columns[leaf.ColumnIndex].MetaData); err != nil {
				return fmt.Errorf("column %s: %w", p.schema.Fields[i].Name, err)
			}
		}
		c.main.open(chunks[c.leaf.ColumnIndex])
		if c.other != nil {
			c.value.open(chunks[c.other.ColumnIndex])
		}
	}
	return nil
}

func (p *parquetRows) row(into *batch.Batch) (bad *connectors.Rejected, bytes int, err error) {
	err = guarded(func() error {
		for p.left == 0 {
			if err := p.nextGroup(); err != nil {
				return err
			}
		}
		p.left--
		before, had := size(into), into.N
		for i := range p.plan {
			why, err := p.cell(i, into.Cols[i])
			if err != nil {
				return fmt.Errorf("row %d, column %s: %w", p.read, p.schema.Fields[i].Name, err)
			}
			if why != "" && bad == nil { // the other columns are read on, to stay in step
				bad = &connectors.Rejected{Why: &connectors.RowError{Column: p.schema.Fields[i].Name, At: -1, Why: why}}
			}
		}
		p.read++
		if bad != nil {
			for _, c := range into.Cols {
				c.Truncate(min(had, c.Len()))
			}
			return nil
		}
		bytes = size(into) - before
		return nil
	})
	return bad, bytes, err
}

// cell appends the cell of a column, or says why it cannot.
func (p *parquetRows) cell(i int, c *batch.Column) (why string, err error) {
	k, f := &p.plan[i], &p.schema.Fields[i]
	if k.leaf == nil {
		c.AppendNull()
		return "", nil
	}
	if f.Type == batch.Sparse {
		return p.sparse(k, c, f)
	}
	v, err := k.main.next()
	switch {
	case err != nil:
		return "", err
	case !v.IsNull():
		return k.append(c, v), nil
	case !f.Nullable:
		return "null, expected " + f.Type.String(), nil
	}
	c.AppendNull()
	return "", nil
}

// sparse appends a row of entries.
func (p *parquetRows) sparse(k *parquetColumn, c *batch.Column, f *batch.Field) (why string, err error) {
	first := len(c.Index)
	for n := 0; ; n++ {
		if n > 0 {
			if more, err := k.main.goesOn(); err != nil || !more {
				if err != nil {
					return "", err
				}
				break
			}
		}
		x, err := k.main.next()
		if err != nil {
			return "", err
		}
		v, err := k.value.next()
		if err != nil {
			return "", err
		}
		level := x.DefinitionLevel()
		switch {
		case level < k.null:
			if !f.Nullable {
				return "null, expected sparse", nil
			}
			c.AppendNull()
			return "", nil
		case level < k.list: // empty
		case x.IsNull() || v.IsNull():
			why = "a null entry"
		case f.Dim > 0 && uint64(x.Uint32()) >= uint64(f.Dim):
			why = fmt.Sprintf("index %d is beyond the dimension of the column", x.Uint32())
		case v.Float()-v.Float() != 0:
			why = fmt.Sprintf("%v at index %d, expected a finite number", v.Float(), x.Uint32())
		default:
			c.AddFeature(x.Uint32(), v.Float())
		}
	}
	if why == "" {
		var twice bool
		var index uint32
		if index, twice, p.index = codec.RepeatedIndex(c.Index[first:], p.index); twice {
			why = fmt.Sprintf("index %d occurs twice", index)
		}
	}
	if why == "" {
		c.EndRow()
	}
	return why, nil
}

func (p *parquetRows) close() {
	for i := range p.plan {
		p.plan[i].main.close()
		p.plan[i].value.close()
	}
	if p.temp != nil {
		_ = p.temp.Close() // it is deleted
		_ = os.Remove(p.temp.Name())
		p.temp = nil
	}
}

// cursor reads the values of a column of a row group in order.
type cursor struct {
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buf    []parquet.Value
	at     int
	ended  bool
}

const cursorValues = 512

func (c *cursor) open(chunk parquet.ColumnChunk) {
	c.close()
	*c = cursor{pages: chunk.Pages(), buf: c.buf[:0]}
}

// next returns the next value, borrowed until the next call.
func (c *cursor) next() (parquet.Value, error) {
	if c.at == len(c.buf) {
		if err := c.fill(); err != nil {
			if err == io.EOF {
				err = errors.New("the column ends before the row group")
			}
			return parquet.Value{}, err
		}
	}
	c.at++
	return c.buf[c.at-1], nil
}

// goesOn reports whether the next value belongs to the row of the one before.
func (c *cursor) goesOn() (bool, error) {
	if c.at == len(c.buf) {
		if err := c.fill(); err != nil {
			if err == io.EOF {
				err = nil
			}
			return false, err
		}
	}
	return c.buf[c.at].RepetitionLevel() > 0, nil
}

func (c *cursor) fill() error {
	if cap(c.buf) == 0 {
		c.buf = make([]parquet.Value, 0, cursorValues)
	}
	c.at, c.buf = 0, c.buf[:0]
	for !c.ended {
		if c.values != nil {
			n, err := c.values.ReadValues(c.buf[:cap(c.buf)])
			c.buf = c.buf[:n]
			if err == io.EOF { // of the page, whose bytes the values borrow until then
				c.values = nil
			} else if err != nil {
				return err
			}
			if n > 0 {
				return nil
			}
			continue
		}
		if c.page != nil {
			parquet.Release(c.page)
			c.page = nil
		}
		page, err := c.pages.ReadPage()
		if err != nil {
			c.ended = err == io.EOF
			return err
		}
		c.page, c.values = page, page.Values()
	}
	return io.EOF
}

func (c *cursor) close() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	if c.pages != nil {
		_ = c.pages.Close() // it only stops reading
	}
	c.page, c.pages, c.values = nil, nil, nil
}

// julianEpoch is the Julian day of 1 January 1970.
const julianEpoch = 2_440_588

// int96Millis reads a timestamp as Impala and Spark once wrote them: nanoseconds of
// the day, and the Julian day.
func int96Millis(b []byte) int64 {
	nanos := int64(binary.LittleEndian.Uint64(b))
	day := int64(binary.LittleEndian.Uint32(b[8:]))
	return (day-julianEpoch)*86_400_000 + nanos/1_000_000
}
