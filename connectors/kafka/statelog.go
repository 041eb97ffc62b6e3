package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
)

// Records of the state topic, see docs/format/state.md. A value is cut into
// pieces if it is longer than one: what a broker takes as a record is bounded.
const (
	stateVersion = 1
	entryKey     = 'e' // and the key: an entry, or the first piece of it
	pieceKey     = 'p' // and the number of the piece, 4 bytes, and the key: a further one
	pieceBytes   = 512 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entriesError is what the entries' own function returned.
type entriesError struct{ error }

func (e entriesError) Unwrap() error { return e.error }

// SaveState commits the entries as one transaction. It gives up before the broker
// would end the transaction, after three quarters of CheckpointTimeout.
func (l *taskLog) SaveState(ctx context.Context, entries func(yield func(key, value []byte) error) error) (err error) {
	ctx, end := l.c.believing(ctx)
	defer end(&err)
	switch {
	case l.gone != nil:
		return l.gone
	case l.ckpt == nil:
		return errors.New("the log is not fenced")
	case l.marked < 0:
		return explain("topic "+l.c.opt.StateTopic, kerr.UnknownTopicOrPartition)
	}
	ctx, cancel := context.WithTimeout(ctx, l.c.opt.CheckpointTimeout/4*3)
	defer cancel()
	err = l.saveState(ctx, entries)
	if errors.Is(err, connectors.ErrLost) {
		l.gone = err
	}
	return err
}

func (l *taskLog) saveState(ctx context.Context, entries func(yield func(key, value []byte) error) error) error {
	retry := l.c.retry(ctx, l.ckpt.id+": saving state")
	for {
		if l.unsettled {
			if err := l.ckpt.abort(ctx); err != nil {
				return err
			}
			if err := l.mendState(ctx, markerPatience); err != nil {
				return err
			}
			l.unsettled = false
		}
		p, err := l.sendState(ctx, entries)
		if err == nil {
			// Nothing but this tells that a checkpoint is whole, so what the next owner
			// finds open was not reported as saved, and it may abort it.
			var ds []dangling
			if ds, err = l.ckpt.open(ctx, l.stateAt(), markerPatience); err == nil && len(ds) == 0 {
				return nil
			}
			if err == nil {
				err = fmt.Errorf("%s: %s", defect, named(ds))
			}
		}
		l.unsettled = true
		var own entriesError
		if errors.As(err, &own) {
			l.unsettled = l.ckpt.abort(ctx) != nil
			return own.error
		}
		switch act := decide(p, err); act {
		case actLost, actStop:
			return l.ckpt.fatal(ctx, act, p, err)
		case actFail:
			l.unsettled = l.ckpt.abort(ctx) != nil
			return explain(fmt.Sprintf("%s[%d]", l.c.opt.StateTopic, l.task), err)
		}
		// Also where the outcome is unknown: the same entries twice are the same state.
		if err := retry(err); err != nil {
			return err
		}
	}
}

// stateAt is where the task's state is.
func (l *taskLog) stateAt() []connectors.TopicPartition {
	return []connectors.TopicPartition{{Topic: l.c.opt.StateTopic, Partition: int32(l.task)}}
}

// mendState aborts what an earlier transaction may have left open in the state topic.
func (l *taskLog) mendState(ctx context.Context, patience time.Duration) error {
	ds, err := l.ckpt.open(ctx, l.stateAt(), patience)
	if err != nil || len(ds) == 0 {
		return err
	}
	return l.ckpt.drop(ctx, ds, nil)
}

func (l *taskLog) sendState(ctx context.Context, entries func(yield func(key, value []byte) error) error) (phase, error) {
	t := l.ckpt
	if err := t.begin(); err != nil {
		return phaseBegin, err
	}
	var slab []byte // what was handed over must not change until it is flushed
	err := entries(func(key, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		for n := 0; n == 0 || n*pieceBytes < len(value); n++ {
			if err := t.room(ctx); err != nil {
				return err
			}
			if t.count == 0 {
				slab = slab[:0]
			}
			lo := len(slab)
			slab = appendPieceKey(slab, key, n)
			mid := len(slab)
			r := &kgo.Record{Topic: l.c.opt.StateTopic, Partition: int32(l.task), Key: slab[lo:mid:mid]}
			if value != nil {
				slab = appendPiece(slab, lo, value, n)
				// The slab may have moved: the key's old place stays as it is.
				r.Value = slab[mid:len(slab):len(slab)]
			}
			t.put(ctx, r)
		}
		return nil
	})
	if err != nil {
		if t.failure() == nil && ctx.Err() == nil {
			return phaseSend, entriesError{err}
		}
		return phaseSend, err
	}
	if err := t.flush(ctx); err != nil {
		return phaseSend, err
	}
	return phaseEnd, t.end(ctx, kgo.TryCommit)
}

func appendPieceKey(dst, key []byte, n int) []byte {
	if n == 0 {
		return append(append(dst, entryKey), key...)
	}
	dst = binary.BigEndian.AppendUint32(append(dst, pieceKey), uint32(n))
	return append(dst, key...)
}

// appendPiece appends piece n of the value, whose record key begins at dst[at:]:
// version, number of pieces, if more than one the length and CRC32C of the whole
// value, the bytes, and the CRC32C of the key and all before.
func appendPiece(dst []byte, at int, value []byte, n int) []byte {
	pieces := max(1, (len(value)+pieceBytes-1)/pieceBytes)
	dst = binary.AppendUvarint(append(dst, stateVersion), uint64(pieces))
	if pieces > 1 {
		dst = binary.AppendUvarint(dst, uint64(len(value)))
		dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(value, castagnoli))
	}
	dst = append(dst, value[n*pieceBytes:min((n+1)*pieceBytes, len(value))]...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// piece is the value of one record.
type piece struct {
	pieces uint64
	size   uint64 // of the whole value
	sum    uint32
	bytes  []byte
}

func parsePiece(key, value []byte) (p piece, err error) {
	end := len(value) - 4
	if end < 2 || crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[:end]) != binary.LittleEndian.Uint32(value[end:]) {
		return p, errors.New("the checksum is wrong")
	}
	if value[0] != stateVersion {
		return p, fmt.Errorf("version %d; this program reads version %d", value[0], stateVersion)
	}
	b := value[1:end]
	var k int
	if p.pieces, k = binary.Uvarint(b); k <= 0 || p.pieces == 0 {
		return p, errors.New("malformed")
	}
	b = b[k:]
	p.size = uint64(len(b))
	if p.pieces > 1 {
		if p.size, k = binary.Uvarint(b); k <= 0 || len(b) < k+4 || p.pieces != (p.size+pieceBytes-1)/pieceBytes {
			return p, errors.New("malformed")
		}
		p.sum = binary.LittleEndian.Uint32(b[k:])
		b = b[k+4:]
	}
	p.bytes = b
	return p, nil
}

// LoadState yields the committed entries up to the open record that Fence wrote.
func (l *taskLog) LoadState(ctx context.Context, yield func(key, value []byte) error) (err error) {
	ctx, end := l.c.believing(ctx)
	defer end(&err)
	if l.marked < 0 {
		return nil
	}
	a := assembly{yield: yield, partial: map[string]struct{}{}}
	tp := connectors.TopicPartition{Topic: l.c.opt.StateTopic, Partition: int32(l.task)}
	err = l.readLog(ctx, tp, connectors.Earliest, l.marked, &kgo.Record{Offset: l.marked, Key: []byte(openKey), Value: l.open}, func(r *kgo.Record) error {
		if err := a.record(r.Key, r.Value); err != nil {
			return fmt.Errorf("%v offset %d: %w", tp, r.Offset, err)
		}
		return nil
	})
	if err == nil && len(a.partial) > 0 {
		err = fmt.Errorf("%v: %d values are not whole", tp, len(a.partial))
	}
	return err
}

// assembly puts values together. The pieces of a value follow each other. Of one
// that a newer value has replaced the cleaner may have left some.
type assembly struct {
	yield   func(key, value []byte) error
	partial map[string]struct{} // keys whose last value is not whole so far

	key   []byte // of the value being assembled; nil if none
	first piece
	next  uint64 // piece
	value []byte
}

func (a *assembly) record(key, value []byte) error {
	switch {
	case string(key) == openKey:
		a.key = nil
		return nil
	case len(key) > 0 && key[0] == entryKey:
		a.key = nil
		name := key[1:]
		delete(a.partial, string(name))
		if value == nil {
			return a.yield(name, nil)
		}
		p, err := parsePiece(key, value)
		if err != nil {
			return err
		}
		if p.pieces == 1 {
			return a.yield(name, p.bytes)
		}
		a.partial[string(name)] = struct{}{}
		a.key, a.first, a.next = append(a.key[:0:0], name...), p, 1
		a.value = append(a.value[:0], p.bytes...)
		return nil
	case len(key) > 5 && key[0] == pieceKey:
		n, name := uint64(binary.BigEndian.Uint32(key[1:])), key[5:]
		if a.key == nil || string(name) != string(a.key) || value == nil {
			return nil
		}
		p, err := parsePiece(key, value)
		if err != nil {
			return err
		}
		if n != a.next || p.pieces != a.first.pieces || p.size != a.first.size || p.sum != a.first.sum {
			a.key = nil // of another value
			return nil
		}
		a.value = append(a.value, p.bytes...)
		if a.next++; a.next < a.first.pieces {
			return nil
		}
		if uint64(len(a.value)) != a.first.size || crc32.Checksum(a.value, castagnoli) != a.first.sum {
			return errors.New("the checksum of a value in pieces is wrong")
		}
		delete(a.partial, string(name))
		a.key = nil
		return a.yield(name, a.value)
	}
	return fmt.Errorf("a record under the key %q, which is not gradstream's", key)
}
