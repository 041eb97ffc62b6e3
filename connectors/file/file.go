// Package file reads rows from files and writes rows to files: csv with a
// header, JSON with one object a line, and Arrow IPC (the file and the stream
// format), each also compressed with gzip or zstd, and Parquet. Files are read as
// streams: memory does not grow with their size.
package file

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// Options say what to make of a file.
type Options struct {
	Format string        // csv, jsonl, arrow or parquet; "" = by the file's extension
	Schema *batch.Schema // columns to read
	Time   string        // the column that is the event time, a timestamp or int64 milliseconds; "" = every row has time 0
	Codec  codec.Options // bounds
}

// batchBytes ends a read early: rows that are read together need not fit into
// the row limit only, but into memory.
const batchBytes = 32 << 20

// arrowMessage bounds one message of an Arrow file.
const arrowMessage = 1 << 30

var extensions = map[string]string{
	".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
	".arrow": "arrow", ".arrows": "arrow", ".ipc": "arrow", ".feather": "arrow",
	".parquet": "parquet", ".pq": "parquet",
}

// Formats lists the formats in words, for messages and help.
const Formats = "csv, jsonl (also ndjson, json), arrow or parquet, each also with .gz or .zst"

// formatOf returns the format of a path and its compression: "", ".gz" or ".zst".
func formatOf(path, format string) (string, string, error) {
	name := strings.ToLower(filepath.Base(path))
	packed := filepath.Ext(name)
	if packed == ".gz" || packed == ".zst" {
		name = strings.TrimSuffix(name, packed)
	} else {
		packed = ""
	}
	switch format {
	case "csv", "jsonl", "arrow", "parquet":
		return format, packed, nil
	case "json", "ndjson":
		return "jsonl", packed, nil
	case "":
		if f := extensions[filepath.Ext(name)]; f != "" {
			return f, packed, nil
		}
		format = filepath.Ext(name)
		if format == "" {
			return "", "", fmt.Errorf("%s: no format known by its name; expected %s", path, Formats)
		}
	}
	return "", "", fmt.Errorf("%s: unknown format %q; expected %s", path, format, Formats)
}

// CheckOutput returns why a file cannot be made by Create, as far as its name tells:
// its format is not known, or its folder is not there.
func CheckOutput(path string) error {
	if _, _, err := formatOf(path, ""); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s: there is no folder %s", path, dir)
	}
	return nil
}

// Open opens a file for reading. It reads the header of a csv file and the
// schema of an Arrow or Parquet file, and fails if columns of the schema are missing there.
func Open(path string, o Options) (connectors.Reader, error) {
	format, packed, err := formatOf(path, o.Format)
	if err != nil {
		return nil, err
	}
	r := &reader{path: path, schema: o.Schema, time: -1}
	if o.Time != "" {
		r.time = o.Schema.Lookup(o.Time)
		if r.time < 0 {
			return nil, fmt.Errorf("%s: the time column %s is not in the schema", path, o.Time)
		}
		if t := o.Schema.Fields[r.time].Type; t != batch.Timestamp && t != batch.Int64 {
			return nil, fmt.Errorf("%s: the time column %s is %s, expected timestamp or int64", path, o.Time, t)
		}
	}
	if err := r.open(packed); err != nil {
		return nil, err
	}
	rows, err := r.openRows(format, o)
	if err != nil {
		r.Close()
		return nil, r.explain(err)
	}
	r.rows = rows
	return r, nil
}

// rowSource is a format: it reads one row after the other.
type rowSource interface {
	// row appends the next row to into, or returns why it is rejected. At the end
	// it returns io.EOF, alone. bytes is how much of the input the row took.
	row(into *batch.Batch) (rejected *connectors.Rejected, bytes int, err error)
	close()
}

func (r *reader) openRows(format string, o Options) (rowSource, error) {
	switch format {
	case "arrow":
		return openArrow(r.in, o)
	case "parquet":
		return openParquet(r, o)
	}
	return openText(format, r.in, o)
}

type reader struct {
	path   string
	schema *batch.Schema
	time   int // the column, or -1

	file   *os.File
	size   int64
	disk   *counter
	unpack io.Closer
	in     *bufio.Reader
	rows   rowSource
	next   int64 // number of the next row
	end    error // why reading stopped; given once there are no more rows
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type closer func()

func (c closer) Close() error { c(); return nil }

func (r *reader) open(packed string) error {
	f, err := os.Open(r.path)
	if err != nil {
		return err // names the path
	}
	r.file = f
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s: a folder, not a file", r.path)
	}
	if err != nil {
		r.Close()
		return err
	}
	if info.Mode().IsRegular() {
		r.size = info.Size()
	}
	r.disk = &counter{r: f}
	var in io.Reader = r.disk
	switch packed {
	case ".gz":
		z, err := gzip.NewReader(bufio.NewReaderSize(in, 1<<16))
		if err != nil {
			r.Close()
			return r.explain(err)
		}
		in, r.unpack = z, z
	case ".zst":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			r.Close()
			return r.explain(err)
		}
		in, r.unpack = z, closer(z.Close)
	}
	r.in = bufio.NewReaderSize(in, 1<<16)
	return nil
}

// explain adds the path to an error and says what it means.
func (r *reader) explain(err error) error {
	switch {
	case errors.Is(err, gzip.ErrHeader):
		err = errors.New("not gzip data")
	case errors.Is(err, zstd.ErrMagicMismatch):
		err = errors.New("not zstd data")
	case errors.Is(err, io.ErrUnexpectedEOF), r.in == nil && err == io.EOF:
		err = fmt.Errorf("truncated after row %d: the compressed data ends too early", r.next)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch):
		err = fmt.Errorf("damaged after row %d: wrong checksum", r.next)
	}
	var path *os.PathError
	if errors.As(err, &path) {
		return err
	}
	return fmt.Errorf("%s: %w", r.path, err)
}

// Read appends up to limit rows, fewer when they are large. Rejected rows count
// towards the limit.
func (r *reader) Read(ctx context.Context, into *batch.Batch, limit int) ([]connectors.Rejected, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.end != nil {
		return nil, r.end
	}
	var rejected []connectors.Rejected
	for rows, size := 0, 0; rows < limit && size < batchBytes; rows++ {
		bad, n, err := r.rows.row(into)
		if err != nil {
			if r.end = err; err != io.EOF {
				r.end = r.explain(err)
			}
			if rows == 0 {
				return nil, r.end
			}
			break
		}
		size += n
		offset := r.next
		r.next++
		if bad == nil {
			bad = r.finish(into, offset)
		}
		if bad != nil {
			bad.Offset = offset
			rejected = append(rejected, *bad)
		}
	}
	return rejected, nil
}

// finish gives the row that was just appended its origin.
func (r *reader) finish(into *batch.Batch, offset int64) *connectors.Rejected {
	var at int64
	if r.time >= 0 {
		c := into.Cols[r.time]
		row := c.Len() - 1
		if c.Null(row) {
			for _, c := range into.Cols {
				c.Truncate(row)
			}
			return r.reject(&connectors.RowError{Column: r.schema.Fields[r.time].Name, At: -1, Why: "null, expected an event time"})
		}
		at = c.Ints[row]
	}
	into.Origin.Append(offset, at, 0)
	into.N++
	return nil
}

func (r *reader) reject(why error) *connectors.Rejected {
	if t, ok := r.rows.(*text); ok {
		return t.reject(why)
	}
	return &connectors.Rejected{Why: why}
}

// Progress returns the bytes of the file that were read.
func (r *reader) Progress() (done, size int64) { return r.disk.n, r.size }

// Close closes the file.
func (r *reader) Close() error {
	if r.rows != nil {
		r.rows.close()
		r.rows = nil
		r.end = fmt.Errorf("%s: closed", r.path)
	}
	if r.unpack != nil {
		_ = r.unpack.Close() // nothing is lost by failing to stop reading
		r.unpack = nil
	}
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
