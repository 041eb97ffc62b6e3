package file

import (
	"bufio"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// packed is a file being written, through the compression its name asks for.
type packed struct {
	file *os.File
	pack io.WriteCloser // nil without compression
	out  *bufio.Writer
}

func create(path, compression string) (*packed, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	p := &packed{file: f}
	var w io.Writer = f
	switch compression {
	case ".gz":
		p.pack = gzip.NewWriter(f)
		w = p.pack
	case ".zst":
		z, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1))
		if err != nil {
			f.Close()
			return nil, err
		}
		p.pack, w = z, z
	}
	p.out = bufio.NewWriterSize(w, 1<<16)
	return p, nil
}

func (p *packed) Close() error {
	err := p.out.Flush()
	if p.pack != nil {
		err = errors.Join(err, p.pack.Close())
	}
	return errors.Join(err, p.file.Close())
}

// Writer writes rows to a file. It is used by one goroutine.
type Writer struct {
	out     *packed
	encoder connectors.Encoder // csv and jsonl
	buf     []byte
	options Options
	format  string
	others  map[*batch.Schema]connectors.Encoder // jsonl: of rows with other columns

	arrow   *codec.ArrowWriter
	pending *batch.Batch // rows of the Arrow batch being filled
	parquet *parquetWriter
}

// arrowBatch is how many rows an Arrow file has in each of its batches.
const arrowBatch = 8192

// Create creates a file, replacing one that is there, and writes the header of a
// csv file. Sparse columns are left out unless o.Codec.Sparse; o.Time is not
// used.
func Create(path string, o Options) (*Writer, error) {
	format, compression, err := formatOf(path, o.Format)
	if err != nil {
		return nil, err
	}
	out, err := create(path, compression)
	if err != nil {
		return nil, err
	}
	w := &Writer{out: out, options: o, format: format}
	switch format {
	case "arrow":
		w.pending = batch.New(o.Schema)
		w.arrow, err = codec.NewArrowWriter(out.out, o.Schema, o.Codec)
	case "parquet":
		w.parquet = newParquetWriter(out.out, o.Schema)
	case "csv":
		w.buf = append(codec.AppendCSVHeader(nil, o.Schema, o.Codec), '\n')
		if _, err = out.out.Write(w.buf); err == nil {
			w.encoder, err = codec.NewEncoder("csv", o.Schema, o.Codec)
		}
	default:
		w.encoder, err = codec.NewEncoder("json", o.Schema, o.Codec)
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return w, nil
}

// encoderOf returns the encoder for rows of the columns. Only JSON lines can hold
// others than the file's own.
func (w *Writer) encoderOf(s *batch.Schema) (connectors.Encoder, error) {
	if s == w.options.Schema || slices.Equal(s.Fields, w.options.Schema.Fields) {
		return w.encoder, nil
	}
	if enc := w.others[s]; enc != nil {
		return enc, nil
	}
	if w.format != "jsonl" {
		return nil, fmt.Errorf("%s: rows of other columns than the file's; write JSON lines (.jsonl)", w.out.file.Name())
	}
	enc, err := codec.NewEncoder("json", s, w.options.Codec)
	if err != nil {
		return nil, err
	}
	if w.others == nil {
		w.others = map[*batch.Schema]connectors.Encoder{}
	}
	w.others[s] = enc
	return enc, nil
}

// Write writes rows [lo, hi) of b. Its columns are the file's; in JSON lines they
// may be others, where b's schema is one of few.
func (w *Writer) Write(b *batch.Batch, lo, hi int) error {
	encoder, err := w.encoderOf(b.Schema)
	if err != nil {
		return err
	}
	if w.parquet != nil {
		return w.parquet.write(b, lo, hi)
	}
	if w.arrow == nil {
		if lo >= hi {
			return nil
		}
		if w.buf, err = encoder.Encode(w.buf[:0], b, lo, hi); err != nil {
			return err
		}
		w.buf = append(w.buf, '\n')
		_, err = w.out.out.Write(w.buf)
		return err
	}
	for row := lo; row < hi; row++ {
		for i, c := range w.pending.Cols {
			c.AppendRow(b.Cols[i], row)
		}
		if w.pending.N++; w.pending.N == arrowBatch || size(w.pending) > batchBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Writer) flush() error {
	if w.pending.N == 0 {
		return nil
	}
	err := w.arrow.Write(w.pending, 0, w.pending.N)
	w.pending.Reset()
	return err
}

// Close writes what is left and closes the file, which is complete only then.
func (w *Writer) Close() error {
	var err error
	if w.arrow != nil {
		err = errors.Join(w.flush(), w.arrow.Close())
	}
	if w.parquet != nil {
		err = w.parquet.w.Close()
	}
	return errors.Join(err, w.out.Close())
}

// Errors writes rejected rows to a file of JSON lines.
type Errors struct {
	out *packed
	enc *json.Encoder
}

// CreateErrors creates a file for rejected rows, compressed if its name ends
// with .gz or .zst.
func CreateErrors(path string) (*Errors, error) {
	_, compression, err := formatOf(path, "jsonl")
	if err != nil {
		return nil, err
	}
	out, err := create(path, compression)
	if err != nil {
		return nil, err
	}
	e := &Errors{out: out, enc: json.NewEncoder(out.out)}
	e.enc.SetEscapeHTML(false)
	return e, nil
}

// rejectedLine is one line of an errors file.
type rejectedLine struct {
	Source string `json:"source"`
	Row    int64  `json:"row"`
	Line   int64  `json:"line,omitempty"`
	Why    string `json:"why"`
	Raw    string `json:"raw,omitempty"`
	Base64 string `json:"raw_base64,omitempty"` // instead of raw, when that is not UTF-8
}

// Write writes one rejected row of the named source.
func (e *Errors) Write(source string, r connectors.Rejected) error {
	l := rejectedLine{Source: source, Row: r.Offset, Line: r.Line, Why: r.Why.Error()}
	if utf8.Valid(r.Raw) {
		l.Raw = string(r.Raw)
	} else {
		l.Base64 = base64.StdEncoding.EncodeToString(r.Raw)
	}
	return e.enc.Encode(l)
}

// Close closes the file, which is complete only then.
func (e *Errors) Close() error { return e.out.Close() }
