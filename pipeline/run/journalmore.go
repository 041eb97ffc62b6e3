package run

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gradstream/gradstream/state"
)

// A step or an opening that has more to say than version 1 can is written as
// version 2, which has a list of fields behind the others, before a step's hash: a
// number, and bytes that the number gives a meaning. A step that has no more is
// written as version 1, as ever.
const (
	journalMore = 2
	fieldSkips  = 1 // of a step
	fieldRemote = 2 // of a step
	fieldSinks  = 1 // of an opening
	fieldAdopts = 2 // of an opening, empty
	fieldFiles  = 3 // of an opening
)

const kindAccepted = 'a'

// skip is a record of the input that is never processed: it was quarantined.
type skip struct {
	Source    int // index among the pipeline's sources, ascending by name
	Partition int32
	Offset    int64
	Operator  string // "operator NAME", "sink NAME" or "decoder"; empty if nobody knows
	Reason    string
	Stack     string // where in the code, if known: one line
}

// acceptedRecord is the journal record of an operator's decision to go on although
// steps cannot be replayed, or input is gone. It is not part of the chain: it
// follows the step it names.
type acceptedRecord struct {
	Policy    string
	Reason    string
	Step      uint64 // the last step of the journal
	Hash      state.Hash
	Base      uint64     // the state is that of this step from here on; the steps behind it count as not processed; 0 = empty state
	Clock     int64      // of the last step, milliseconds
	Positions []inputRun // where reading goes on, of each partition of the task
	Lost      []lostRun  // what the state lacks
}

// lostRun is a stretch of input, [From, Next), that the state will never see.
type lostRun struct {
	Source     int
	Partition  int32
	From, Next int64
}

// more lists the fields of version 2, empty if version 1 says all.
func (r *stepRecord) more(yield func(field uint64, b []byte)) {
	if len(r.Skips) > 0 {
		yield(fieldSkips, appendSkips(nil, r.Skips))
	}
	if r.Remote > 0 {
		yield(fieldRemote, binary.AppendUvarint(nil, r.Remote))
	}
	if len(r.Backfills) > 0 {
		yield(fieldBackfills, appendBackfills(nil, r.Backfills))
	}
}

// takeMore reads the field of a version 2 record.
func (r *stepRecord) takeMore(field uint64, b []byte) error {
	d := &journalReader{b: b}
	switch field {
	case fieldSkips:
		if r.Skips = d.skips(); len(r.Skips) == 0 {
			return errJournal
		}
	case fieldRemote:
		if r.Remote = d.uint(); r.Remote == 0 {
			return errJournal
		}
	case fieldBackfills:
		if r.Backfills = d.backfills(); len(r.Backfills) == 0 {
			return errJournal
		}
	default:
		return unknownField(field)
	}
	return d.ended()
}

func unknownField(field uint64) error {
	return fmt.Errorf("%w: a field %d that this program does not know", errJournal, field)
}

// more lists the fields of version 2.
func (r *openRecord) more(yield func(field uint64, b []byte)) {
	if len(r.Sinks) > 0 {
		b := binary.AppendUvarint(nil, uint64(len(r.Sinks)))
		for _, s := range r.Sinks {
			b = binary.AppendUvarint(appendText(b, s.Topic), uint64(s.Partitions))
		}
		yield(fieldSinks, b)
	}
	if r.Adopts {
		yield(fieldAdopts, nil)
	}
	if len(r.Files) > 0 {
		b := binary.AppendUvarint(nil, uint64(len(r.Files)))
		for _, f := range r.Files {
			b = append(appendText(b, f.Node), f.Digest[:]...)
		}
		yield(fieldFiles, b)
	}
}

// takeMore reads the field of a version 2 record.
func (r *openRecord) takeMore(field uint64, b []byte) error {
	d := &journalReader{b: b}
	switch field {
	case fieldSinks:
		for range d.count(2) {
			r.Sinks = append(r.Sinks, openSink{Topic: d.text(), Partitions: int(min(d.uint(), math.MaxInt32))})
		}
		if len(r.Sinks) == 0 {
			return errJournal
		}
	case fieldAdopts:
		r.Adopts = true
	case fieldFiles:
		for range d.count(33) {
			f := openFile{Node: d.text()}
			copy(f.Digest[:], d.take(len(f.Digest)))
			r.Files = append(r.Files, f)
		}
		if len(r.Files) == 0 {
			return errJournal
		}
	default:
		return unknownField(field)
	}
	return d.ended()
}

// ended returns an error unless all was read and made sense.
func (d *journalReader) ended() error {
	if d.bad || len(d.b) != 0 {
		return errJournal
	}
	return nil
}

// appendFields adds a list of fields to dst, or nothing if there are none.
func appendFields(dst []byte, each func(yield func(field uint64, b []byte))) []byte {
	n := uint64(0)
	each(func(uint64, []byte) { n++ })
	if n == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, n)
	each(func(field uint64, b []byte) {
		dst = binary.AppendUvarint(dst, field)
		dst = append(binary.AppendUvarint(dst, uint64(len(b))), b...)
	})
	return dst
}

// hasFields reports whether a record needs version 2.
func hasFields(each func(yield func(field uint64, b []byte))) (more bool) {
	each(func(uint64, []byte) { more = true })
	return more
}

// fields reads a list of fields.
func (d *journalReader) fields(take func(field uint64, b []byte) error) error {
	last := uint64(0)
	for range d.count(2) {
		field := d.uint()
		b := d.take(int(min(d.uint(), 1<<30)))
		if d.bad {
			return errJournal
		}
		if field <= last {
			return fmt.Errorf("%w: field %d behind field %d", errJournal, field, last)
		}
		if err := take(field, b); err != nil {
			return err
		}
		last = field
	}
	if last == 0 {
		return errJournal // which version 1 is for
	}
	return nil
}

func appendSkips(dst []byte, skips []skip) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(skips)))
	for i := range skips {
		s := &skips[i]
		dst = binary.AppendUvarint(dst, uint64(s.Source))
		dst = binary.AppendUvarint(dst, uint64(s.Partition))
		dst = binary.AppendVarint(dst, s.Offset)
		dst = appendText(appendText(appendText(dst, s.Operator), s.Reason), s.Stack)
	}
	return dst
}

func (d *journalReader) skips() []skip {
	n := d.count(6)
	skips := make([]skip, 0, n)
	for range n {
		skips = append(skips, skip{Source: int(d.uint()), Partition: int32(d.uint()), Offset: d.int(),
			Operator: d.text(), Reason: d.text(), Stack: d.text()})
	}
	return skips
}

// append adds the record's bytes to dst.
func (r *acceptedRecord) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, journalMore, kindAccepted)
	dst = appendText(appendText(dst, r.Policy), r.Reason)
	dst = binary.AppendUvarint(dst, r.Step)
	dst = append(dst, r.Hash[:]...)
	dst = binary.AppendUvarint(dst, r.Base)
	dst = binary.AppendVarint(dst, r.Clock)
	dst = appendRuns(dst, r.Positions)
	dst = binary.AppendUvarint(dst, uint64(len(r.Lost)))
	for _, l := range r.Lost {
		dst = binary.AppendUvarint(dst, uint64(l.Source))
		dst = binary.AppendUvarint(dst, uint64(l.Partition))
		dst = binary.AppendVarint(binary.AppendVarint(dst, l.From), l.Next)
	}
	sum := sha256.Sum256(dst[start:])
	return append(dst, sum[:]...)
}

func parseAccepted(b []byte) (*acceptedRecord, error) {
	d := &journalReader{b: b[2:]}
	r := &acceptedRecord{Policy: d.text(), Reason: d.text(), Step: d.uint()}
	copy(r.Hash[:], d.take(len(r.Hash)))
	r.Base, r.Clock, r.Positions = d.uint(), d.int(), d.runs()
	for range d.count(4) {
		r.Lost = append(r.Lost, lostRun{Source: int(d.uint()), Partition: int32(d.uint()), From: d.int(), Next: d.int()})
	}
	body := b[:len(b)-len(d.b)]
	var sum state.Hash
	copy(sum[:], d.take(len(sum)))
	switch {
	case d.bad || len(d.b) != 0:
		return nil, errJournal
	case sum != sha256.Sum256(body):
		return nil, fmt.Errorf("%w: an accepted record does not match its hash", errJournal)
	case r.Base > r.Step:
		return nil, fmt.Errorf("%w: the state of step %d was accepted behind step %d", errJournal, r.Base, r.Step)
	}
	return r, nil
}

// journalRecord is a record of any kind: exactly one field is set.
type journalRecord struct {
	step     *stepRecord
	open     *openRecord
	accepted *acceptedRecord
}

// parseRecord reads a journal record of any kind.
func parseRecord(b []byte) (r journalRecord, err error) {
	if len(b) >= 2 && b[0] == journalMore && b[1] == kindAccepted {
		r.accepted, err = parseAccepted(b)
		return r, err
	}
	r.step, r.open, err = parseJournal(b)
	return r, err
}
