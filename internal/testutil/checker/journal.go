package checker

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Record is a journal record: one of its fields is set.
type Record struct {
	Step     *Step
	Open     *Open
	Accepted *Accepted
}

// Run is a stretch of one partition that a step consumed: up to, not including, offset Next.
type Run struct {
	Source    int // index among the sources, ascending by name
	Partition int32
	Next      int64
}

// Step is the journal record of a step.
type Step struct {
	N         uint64
	Prev      [32]byte
	Clock     int64 // milliseconds since 1970
	Watermark int64 // likewise
	Runs      []Run
	Rows      int64 // decoded
	Rejected  int64 // sent to errors topics
	Outputs   int64
	OutHash   uint64
	HasDigest bool
	Digest    uint64
	Skips     []Skip
	Remote    uint64 // step of a checkpoint that the state topic was found to hold; 0 = nothing new
	Backfills int    // files of history that the step was made of
	Hash      [32]byte
}

// Skip is a record that was quarantined.
type Skip struct {
	Source                  int
	Partition               int32
	Offset                  int64
	Operator, Reason, Stack string
}

// Accepted is the journal record of a loss that was accepted.
type Accepted struct {
	Policy, Reason string
	Step           uint64
	Hash           [32]byte
	Base           uint64
	Clock          int64
	Positions      []Run
	Lost           []Lost
}

// Lost is a stretch of input that the state will never see.
type Lost struct {
	Source     int
	Partition  int32
	From, Next int64
}

// Open is the journal record of a task's being opened.
type Open struct {
	Incarnation, Worker, Host, Build, Arch, Cluster string

	Graph     [32]byte
	Sources   []OpenSource
	Positions []Run
	Sinks     []OpenSink // none in version 1
	Adopts    bool       // partitions that were added to the sources are read from Positions on
}

// OpenSink says how many partitions a topic of outputs had.
type OpenSink struct {
	Topic      string
	Partitions int
}

// OpenSource says what a source was when a task was opened.
type OpenSource struct {
	Name, Topic string
	ID          [16]byte
	Partitions  int
}

var errShort = errors.New("the record is too short for what it says it holds")

// Parse reads a journal record. A step's hash is compared with its bytes.
func Parse(b []byte) (Record, error) {
	if len(b) < 2 {
		return Record{}, errShort
	}
	r := reader{rest: b[2:]}
	switch {
	case b[0] != 1 && b[0] != 2:
		return Record{}, fmt.Errorf("version %d, not 1 or 2", b[0])
	case b[1] == 's':
		return parseStep(b, &r)
	case b[1] == 'o':
		return parseOpen(b[0], &r)
	case b[1] == 'a' && b[0] == 2:
		return parseAccepted(b, &r)
	}
	return Record{}, fmt.Errorf("unknown kind %q of version %d", b[1], b[0])
}

func parseStep(b []byte, r *reader) (Record, error) {
	s := &Step{N: r.uvarint()}
	r.into(s.Prev[:])
	s.Clock = r.varint()
	s.Watermark = r.varint()
	s.Runs = r.runs()
	s.Rows = int64(r.uvarint())
	s.Rejected = int64(r.uvarint())
	s.Outputs = int64(r.uvarint())
	s.OutHash = r.fixed64()
	switch has := r.bytes(1); {
	case r.failed:
	case has[0] == 1:
		s.HasDigest, s.Digest = true, r.fixed64()
	case has[0] != 0:
		return Record{}, fmt.Errorf("has digest is %d", has[0])
	}
	if b[0] == 2 {
		if err := parseMore(r, s.field); err != nil {
			return Record{}, err
		}
	}
	hashed := b[:len(b)-len(r.rest)]
	r.into(s.Hash[:])
	if err := r.end(); err != nil {
		return Record{}, err
	}
	if sum := sha256.Sum256(hashed); !bytes.Equal(sum[:], s.Hash[:]) {
		return Record{}, fmt.Errorf("step %d: the hash is not that of the bytes", s.N)
	}
	return Record{Step: s}, nil
}

// parseMore reads the fields of version 2.
func parseMore(r *reader, take func(field uint64, f *reader) bool) error {
	last := uint64(0)
	for n := r.uvarint(); n > 0 && !r.failed; n-- {
		field := r.uvarint()
		f := reader{rest: r.bytes(r.uvarint())}
		if field <= last && !r.failed {
			return fmt.Errorf("field %d behind field %d", field, last)
		}
		if last = field; !take(field, &f) {
			return fmt.Errorf("unknown field %d", field)
		}
		if err := f.end(); err != nil {
			return fmt.Errorf("field %d: %w", field, err)
		}
	}
	if last == 0 {
		return errors.New("version 2 without a field")
	}
	return nil
}

func (s *Step) field(field uint64, f *reader) bool {
	switch field {
	case 1:
		for n := f.uvarint(); n > 0 && !f.failed; n-- {
			s.Skips = append(s.Skips, Skip{int(f.uvarint()), int32(f.uvarint()), f.varint(), f.text(), f.text(), f.text()})
		}
	case 2:
		s.Remote = f.uvarint()
	case 3: // files that the step was made of
		for n := f.uvarint(); n > 0 && !f.failed; n-- {
			s.Backfills++
			f.text()
			f.bytes(32)
			f.varint()
			f.uvarint()
		}
	default:
		return false
	}
	return true
}

func (o *Open) field(field uint64, f *reader) bool {
	switch field {
	case 1:
	case 2:
		o.Adopts = true
		return true
	default:
		return false
	}
	for n := f.uvarint(); n > 0 && !f.failed; n-- {
		o.Sinks = append(o.Sinks, OpenSink{f.text(), int(f.uvarint())})
	}
	return true
}

func parseAccepted(b []byte, r *reader) (Record, error) {
	a := &Accepted{Policy: r.text(), Reason: r.text(), Step: r.uvarint()}
	r.into(a.Hash[:])
	a.Base, a.Clock, a.Positions = r.uvarint(), r.varint(), r.runs()
	for n := r.uvarint(); n > 0 && !r.failed; n-- {
		a.Lost = append(a.Lost, Lost{int(r.uvarint()), int32(r.uvarint()), r.varint(), r.varint()})
	}
	summed := b[:len(b)-len(r.rest)]
	var sum [32]byte
	r.into(sum[:])
	if err := r.end(); err != nil {
		return Record{}, err
	}
	if sum != sha256.Sum256(summed) {
		return Record{}, errors.New("the sum is not that of the bytes")
	}
	return Record{Accepted: a}, nil
}

func parseOpen(version byte, r *reader) (Record, error) {
	o := &Open{Incarnation: r.text(), Worker: r.text(), Host: r.text(), Build: r.text(), Arch: r.text(), Cluster: r.text()}
	r.into(o.Graph[:])
	for n := r.uvarint(); n > 0 && !r.failed; n-- {
		s := OpenSource{Name: r.text(), Topic: r.text()}
		r.into(s.ID[:])
		s.Partitions = int(r.uvarint())
		o.Sources = append(o.Sources, s)
	}
	o.Positions = r.runs()
	if version == 2 {
		if err := parseMore(r, o.field); err != nil {
			return Record{}, err
		}
	}
	return Record{Open: o}, r.end()
}

// reader takes bytes from the front; once they do not suffice it has failed and yields zeros.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) bytes(n uint64) []byte {
	if r.failed || n > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) into(dst []byte) { copy(dst, r.bytes(uint64(len(dst)))) }

func (r *reader) fixed64() uint64 {
	var b [8]byte
	r.into(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.failed = true
		return 0
	}
	r.bytes(uint64(n))
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.failed = true
		return 0
	}
	r.bytes(uint64(n))
	return v
}

func (r *reader) text() string { return string(r.bytes(r.uvarint())) }

func (r *reader) runs() []Run {
	var all []Run
	for n := r.uvarint(); n > 0 && !r.failed; n-- {
		all = append(all, Run{Source: int(r.uvarint()), Partition: int32(r.uvarint()), Next: r.varint()})
	}
	return all
}

func (r *reader) end() error {
	if r.failed {
		return errShort
	}
	if len(r.rest) > 0 {
		return fmt.Errorf("%d bytes too many", len(r.rest))
	}
	return nil
}
