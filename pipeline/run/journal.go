package run

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gradstream/gradstream/state"
)

// The journal holds one record per step, and one each time a task is opened.
// docs/format/journal.md describes the bytes.
const (
	journalVersion = 1
	kindOpen       = 'o'
	kindStep       = 's'
)

// run is a stretch of one partition that a step consumed: up to, not including,
// offset Next. Where it starts follows from the runs before.
type inputRun struct {
	Source    int // index among the pipeline's sources, ascending by name
	Partition int32
	Next      int64
}

// stepRecord is the journal record of one step: every decision that the input
// alone does not determine, and proof of what came of it.
type stepRecord struct {
	Step      uint64
	Prev      state.Hash // hash of the step before; zero for step 1
	Clock     int64      // milliseconds since 1970
	Watermark int64      // at the step's end
	Runs      []inputRun
	Rows      int64        // rows decoded
	Rejected  int64        // records that did not decode, rows that an operator rejected
	Outputs   int64        // records published, rejected ones included
	OutHash   uint64       // of all outputs
	HasDigest bool         // set where a checkpoint was taken
	Digest    uint64       // of the state after the step
	Skips     []skip       // records that were quarantined, in the order of the input; see journalmore.go for this and other fields of version 2
	Backfills []backfilled // files that the step was made of, ascending by source; only of step 1
	Remote    uint64       // step of a remote checkpoint that was committed since the step before; 0 = none
	Hash      state.Hash   // SHA-256 of the record up to here; Prev makes it a chain
}

// openRecord is the journal record of a task's taking over: who, with what, and
// from where it reads.
type openRecord struct {
	Incarnation string
	Worker      string
	Host        string
	Build       string
	Arch        string
	Graph       state.Hash
	Cluster     string
	Sources     []openSource
	Positions   []inputRun // where reading starts if no step was committed yet
	Sinks       []openSink // ascending by topic; none in records of version 1
	Files       []openFile // that operators have taken up, in the order of the graph
	Adopts      bool       // partitions that were added to the sources are read from here on, from Positions
}

// openSource pins down a source topic: under its ID and partition count.
type openSource struct {
	Name, Topic string
	ID          [16]byte
	Partitions  int
}

// openSink is how many partitions a sink's or an errors topic has: keys fall on
// partitions by it.
type openSink struct {
	Topic      string
	Partitions int
}

// openFile is a file that an operator has taken up.
type openFile struct {
	Node   string
	Digest state.Hash // SHA-256 of its bytes
}

// append adds the record's bytes to dst and sets its Hash.
func (r *stepRecord) append(dst []byte) []byte {
	start := len(dst)
	version := byte(journalVersion)
	if hasFields(r.more) {
		version = journalMore
	}
	dst = append(dst, version, kindStep)
	dst = binary.AppendUvarint(dst, r.Step)
	dst = append(dst, r.Prev[:]...)
	dst = binary.AppendVarint(dst, r.Clock)
	dst = binary.AppendVarint(dst, r.Watermark)
	dst = appendRuns(dst, r.Runs)
	dst = binary.AppendUvarint(dst, uint64(r.Rows))
	dst = binary.AppendUvarint(dst, uint64(r.Rejected))
	dst = binary.AppendUvarint(dst, uint64(r.Outputs))
	dst = binary.LittleEndian.AppendUint64(dst, r.OutHash)
	if r.HasDigest {
		dst = binary.LittleEndian.AppendUint64(append(dst, 1), r.Digest)
	} else {
		dst = append(dst, 0)
	}
	dst = appendFields(dst, r.more)
	r.Hash = sha256.Sum256(dst[start:])
	return append(dst, r.Hash[:]...)
}

func (r *openRecord) append(dst []byte) []byte {
	version := byte(journalVersion)
	if hasFields(r.more) {
		version = journalMore
	}
	dst = append(dst, version, kindOpen)
	for _, s := range []string{r.Incarnation, r.Worker, r.Host, r.Build, r.Arch, r.Cluster} {
		dst = appendText(dst, s)
	}
	dst = append(dst, r.Graph[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(r.Sources)))
	for _, s := range r.Sources {
		dst = appendText(appendText(dst, s.Name), s.Topic)
		dst = append(dst, s.ID[:]...)
		dst = binary.AppendUvarint(dst, uint64(s.Partitions))
	}
	return appendFields(appendRuns(dst, r.Positions), r.more)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendRuns(dst []byte, runs []inputRun) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	for _, r := range runs {
		dst = binary.AppendUvarint(dst, uint64(r.Source))
		dst = binary.AppendUvarint(dst, uint64(r.Partition))
		dst = binary.AppendVarint(dst, r.Next)
	}
	return dst
}

var errJournal = errors.New("malformed journal record")

// parseJournal reads the journal record of a step or an opening: exactly one of
// the results is set. [parseRecord] reads the other kinds as well.
func parseJournal(b []byte) (*stepRecord, *openRecord, error) {
	d := &journalReader{b: b}
	version := d.byte()
	kind := d.byte()
	if version != journalVersion && version != journalMore {
		return nil, nil, fmt.Errorf("journal record of version %d; this program reads versions %d and %d", version, journalVersion, journalMore)
	}
	switch kind {
	case kindStep:
		r := &stepRecord{Step: d.uint()}
		copy(r.Prev[:], d.take(len(r.Prev)))
		r.Clock, r.Watermark = d.int(), d.int()
		r.Runs = d.runs()
		r.Rows, r.Rejected, r.Outputs = int64(d.uint()), int64(d.uint()), int64(d.uint())
		r.OutHash = d.fixed()
		if r.HasDigest = d.byte() == 1; r.HasDigest {
			r.Digest = d.fixed()
		}
		if version == journalMore {
			if err := d.fields(r.takeMore); err != nil {
				return nil, nil, fmt.Errorf("step %d: %w", r.Step, err)
			}
		}
		body := b[:len(b)-len(d.b)]
		copy(r.Hash[:], d.take(len(r.Hash)))
		if d.bad || len(d.b) != 0 {
			return nil, nil, errJournal
		}
		if r.Hash != sha256.Sum256(body) {
			return nil, nil, fmt.Errorf("%w: step %d does not match its hash", errJournal, r.Step)
		}
		return r, nil, nil
	case kindOpen:
		r := &openRecord{}
		for _, s := range []*string{&r.Incarnation, &r.Worker, &r.Host, &r.Build, &r.Arch, &r.Cluster} {
			*s = d.text()
		}
		copy(r.Graph[:], d.take(len(r.Graph)))
		for range d.count(18) {
			s := openSource{Name: d.text(), Topic: d.text()}
			copy(s.ID[:], d.take(len(s.ID)))
			s.Partitions = int(d.uint())
			r.Sources = append(r.Sources, s)
		}
		r.Positions = d.runs()
		if version == journalMore {
			if err := d.fields(r.takeMore); err != nil {
				return nil, nil, fmt.Errorf("an open record: %w", err)
			}
		}
		if d.bad || len(d.b) != 0 {
			return nil, nil, errJournal
		}
		return nil, r, nil
	default:
		return nil, nil, fmt.Errorf("%w: unknown kind %q", errJournal, kind)
	}
}

// journalReader takes a record apart; after a fault bad is set and all is zero.
type journalReader struct {
	b   []byte
	bad bool
}

func (d *journalReader) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *journalReader) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *journalReader) fixed() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (d *journalReader) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *journalReader) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *journalReader) text() string { return string(d.take(int(min(d.uint(), 1<<20)))) }

// count reads a length of a list whose entries take at least size bytes each.
func (d *journalReader) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *journalReader) runs() []inputRun {
	n := d.count(3)
	runs := make([]inputRun, 0, n)
	for range n {
		runs = append(runs, inputRun{Source: int(d.uint()), Partition: int32(d.uint()), Next: d.int()})
	}
	return runs
}
