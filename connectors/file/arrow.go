package file

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// arrowRows reads both formats of Arrow IPC. A file is a stream between its
// magic and a footer, and is read as one: no seeking, so it may be compressed.
type arrowRows struct {
	in     *bufio.Reader
	r      *codec.ArrowReader
	footer bool // the file format
}

var arrowMagic = []byte("ARROW1")

func openArrow(in *bufio.Reader, o Options) (*arrowRows, error) {
	a := &arrowRows{in: in}
	start, err := in.Peek(len(arrowMagic))
	if len(start) == 0 {
		if err != io.EOF {
			return nil, err
		}
		return nil, errors.New("empty file; expected Arrow data")
	}
	if bytes.Equal(start, arrowMagic) {
		a.footer = true
		if _, err := in.Discard(8); err != nil { // padded to eight bytes
			return nil, errArrowCut
		}
	} else if start[0] != 0xFF {
		return nil, errors.New("not Arrow data")
	}
	a.r, err = codec.NewArrowReader(in, a.footer, o.Schema, o.Codec, arrowMessage)
	return a, err
}

var errArrowCut = errors.New("truncated: the Arrow file has no end")

func (a *arrowRows) row(into *batch.Batch) (*connectors.Rejected, int, error) {
	for a.r.Left() == 0 {
		_, err := a.r.Next()
		if err == io.EOF {
			return nil, 0, a.end()
		}
		if err != nil {
			return nil, 0, err
		}
	}
	before := size(into)
	if err := a.r.Row(into); err != nil {
		return &connectors.Rejected{Why: err}, 0, nil
	}
	return nil, size(into) - before, nil
}

// size adds up what in a batch can be large.
func size(b *batch.Batch) (n int) {
	for _, c := range b.Cols {
		n += len(c.Bytes) + 8*len(c.Index)
	}
	return n
}

// end checks that a file ends as files do, then returns io.EOF.
func (a *arrowRows) end() error {
	if !a.footer {
		return io.EOF
	}
	var last [6]byte
	buf := make([]byte, 1<<12)
	for {
		m, err := a.in.Read(buf)
		if m >= len(last) {
			copy(last[:], buf[m-len(last):m])
		} else {
			copy(last[:], last[m:])
			copy(last[len(last)-m:], buf[:m])
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if !a.r.Ended() || !bytes.Equal(last[:], arrowMagic) {
		return errArrowCut
	}
	return io.EOF
}

func (a *arrowRows) close() { a.r.Close() }
