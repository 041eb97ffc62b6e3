package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// text reads csv and jsonl: records that are lines, or in csv several lines when
// a quoted cell holds line breaks.
type text struct {
	csv     bool
	lines   lines
	decoder connectors.Decoder
	record  []byte // the current one, borrowed from lines
	line    int64  // its first line
}

func openText(format string, in *bufio.Reader, o Options) (*text, error) {
	limit := o.Codec.MaxRecord
	if limit <= 0 {
		limit = codec.DefaultMaxRecord
	}
	t := &text{csv: format == "csv", lines: lines{r: in, most: limit, line: 1}}
	switch start, err := in.Peek(3); {
	case len(start) == 0 && err != io.EOF:
		return nil, err
	case bytes.HasPrefix(start, []byte("\xef\xbb\xbf")):
		if _, err := in.Discard(3); err != nil {
			return nil, err
		}
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")):
		return nil, errors.New("UTF-16 text; expected UTF-8")
	}
	var err error
	if !t.csv {
		if start, _ := in.Peek(1); len(start) == 1 && start[0] == '[' {
			return nil, errors.New("a JSON array; expected one object a line")
		}
		t.decoder, err = codec.NewDecoder("json", o.Schema, o.Codec)
		return t, err
	}
	switch err := t.read(); {
	case err == io.EOF:
		return nil, errors.New("empty file; expected a header")
	case errors.Is(err, errLong):
		return nil, fmt.Errorf("line 1: a header of more than %d bytes", limit)
	case err != nil:
		return nil, err
	}
	header, err := codec.SplitCSV(t.record)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", t.line, err)
	}
	t.decoder, err = codec.NewCSV(o.Schema, header, o.Codec)
	return t, err
}

// read finds the next record that is not blank.
func (t *text) read() error {
	for {
		record, line, err := t.lines.next(t.csv)
		t.record, t.line = record, line
		if err != nil {
			return err
		}
		if t.csv && len(bytes.TrimRight(record, "\r\n")) > 0 || !t.csv && len(bytes.TrimSpace(record)) > 0 {
			return nil
		}
	}
}

func (t *text) row(into *batch.Batch) (*connectors.Rejected, int, error) {
	err := t.read()
	switch {
	case errors.Is(err, errLong):
		return t.reject(fmt.Errorf("a line of more than %d bytes", t.lines.most)), len(t.record), nil
	case err != nil:
		return nil, 0, err
	}
	if _, err := t.decoder.Decode(bytes.TrimSuffix(t.record, []byte{'\n'}), into); err != nil {
		return t.reject(err), len(t.record), nil
	}
	return nil, len(t.record), nil
}

func (t *text) reject(why error) *connectors.Rejected {
	return &connectors.Rejected{Line: t.line, Raw: bytes.Clone(bytes.TrimRight(t.record, "\r\n")), Why: why}
}

func (t *text) close() {}

var errLong = errors.New("line too long")

// lines cuts a stream into records.
type lines struct {
	r    *bufio.Reader
	most int // bytes of a record
	line int64

	buf    []byte
	lo, hi int   // what of buf is read but not used
	end    error // of r
	skip   bool  // the rest of a line that was too long comes first
}

// next returns the next record with its line break, borrowed until the next
// call, and the line it starts at. A record beyond the bound is returned as far
// as it was read, with errLong.
func (l *lines) next(csv bool) (record []byte, line int64, err error) {
	if l.skip {
		if err := l.drop(); err != nil {
			return nil, l.line, err
		}
	}
	line = l.line
	s := scan{csv: csv}
	for {
		if end := s.end(l.buf[l.lo:l.hi], l.end != nil); end > 0 {
			if end > l.most {
				return l.long(&s, line)
			}
			record = l.buf[l.lo : l.lo+end]
			l.lo += end
			l.line += int64(bytes.Count(record, []byte{'\n'}))
			return record, line, nil
		}
		if l.hi-l.lo > l.most {
			return l.long(&s, line)
		}
		if l.end != nil {
			switch {
			case l.lo == l.hi || l.end != io.EOF:
				return nil, line, l.end // a line cut off by an error is no line
			case s.quoted && s.first > 0:
				return l.first(s.first), line, nil
			}
			record = l.buf[l.lo:l.hi]
			l.lo = l.hi
			return record, line, nil
		}
		l.fill()
	}
}

// long deals with a record beyond the bound. If it goes on over several lines,
// that is taken for an open quotation mark on the first.
func (l *lines) long(s *scan, line int64) ([]byte, int64, error) {
	if 0 < s.first && s.first <= l.most {
		return l.first(s.first), line, nil
	}
	record := l.buf[l.lo : l.lo+l.most]
	l.lo, l.skip = l.lo+l.most, true
	return record, line, errLong
}

// first returns the first line of the record only.
func (l *lines) first(n int) []byte {
	record := l.buf[l.lo : l.lo+n]
	l.lo += n
	l.line++
	return record
}

// drop skips to the end of the line.
func (l *lines) drop() error {
	for {
		if n := bytes.IndexByte(l.buf[l.lo:l.hi], '\n'); n >= 0 {
			l.lo += n + 1
			l.line++
			l.skip = false
			return nil
		}
		l.lo, l.hi = 0, 0
		if l.end != nil {
			return l.end
		}
		l.fill()
	}
}

func (l *lines) fill() {
	if l.lo > 0 {
		l.hi = copy(l.buf, l.buf[l.lo:l.hi])
		l.lo = 0
	}
	if l.hi == len(l.buf) {
		l.buf = append(l.buf, make([]byte, max(len(l.buf), 1<<17))...)
	}
	n, err := l.r.Read(l.buf[l.hi:])
	l.hi += n
	l.end = err
}

// scan finds the end of a record in bytes that come in pieces.
type scan struct {
	csv    bool
	at     int  // scanned so far
	quoted bool // at is inside of a quoted cell
	first  int  // where the first line ended, if the record goes on behind it
}

// end returns the length of the record at the start of b with its line feed, or
// 0 if it needs more bytes.
func (s *scan) end(b []byte, last bool) int {
	for {
		if s.quoted {
			q := bytes.IndexByte(b[s.at:], '"')
			stop := len(b)
			if q >= 0 {
				stop = s.at + q
			}
			if s.first == 0 {
				if n := bytes.IndexByte(b[s.at:stop], '\n'); n >= 0 {
					s.first = s.at + n + 1
				}
			}
			if s.at = stop; q < 0 || stop+1 == len(b) && !last {
				return 0
			}
			s.at++
			switch {
			case s.at < len(b) && b[s.at] == '"':
				s.at++
			case s.first > 0 && s.at < len(b) && b[s.at] != ',' && b[s.at] != '\r' && b[s.at] != '\n':
				return s.first // not what closes a cell: the lines do not belong together
			default:
				s.quoted = false
			}
			continue
		}
		n := bytes.IndexByte(b[s.at:], '\n')
		stop := len(b)
		if n >= 0 {
			stop = s.at + n
		}
		if s.csv {
			if q := bytes.IndexByte(b[s.at:stop], '"'); q >= 0 {
				q += s.at
				s.quoted = q == 0 || b[q-1] == ','
				s.at = q + 1
				continue
			}
		}
		if s.at = stop; n < 0 {
			return 0
		}
		return stop + 1
	}
}
