package kafka

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The files of an embedded broker, as far as repair needs them:
//
//	partitions/TOPIC-PARTITION/BASE.dat   record batches (message format 2)
//	partitions/TOPIC-PARTITION/BASE.idx   15 bytes a batch, see indexEntry
//	groups.log, pids.log                  entries, see readEntries

const (
	indexSize     = 15
	entryHeader   = 10
	formatVersion = 1 // of entries and of index entries
)

// partitionLog is the log of a partition of which every file is whole.
type partitionLog struct {
	segment string          // the last one, without its ending
	next    int64           // offset
	leader  int32           // epoch of the last batch
	open    map[int64]int16 // producers, with their epochs, whose last transaction has no end
}

// openLog reads the log in a folder from its start, and mends the ends of its
// files: a batch cut short is cut off, and one without an index entry gets it. The
// broker takes a batch whose entry is missing for one outside of transactions, and
// gives its place to the next one's.
func openLog(dir string) (*partitionLog, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".dat"); ok {
			if base, err := strconv.ParseInt(name, 10, 64); err == nil {
				bases = append(bases, base)
			}
		}
	}
	slices.Sort(bases)
	l := &partitionLog{open: map[int64]int16{}}
	for _, base := range bases {
		if err := l.readSegment(filepath.Join(dir, strconv.FormatInt(base, 10))); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *partitionLog) readSegment(name string) error {
	b, err := os.ReadFile(name + ".dat")
	if err != nil {
		return err
	}
	index, err := os.ReadFile(name + ".idx")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var missing []byte
	whole, rest := len(index)/indexSize, b
	batches := 0
	for size := batchSize(rest); size > 0; size = batchSize(rest) {
		attrs := binary.BigEndian.Uint16(rest[batchAttrsAt:])
		txn, control := attrs&0x10 != 0, attrs&0x20 != 0
		producer := int64(binary.BigEndian.Uint64(rest[43:]))
		switch {
		case control:
			delete(l.open, producer)
		case txn:
			l.open[producer] = int16(binary.BigEndian.Uint16(rest[51:]))
		}
		l.next = int64(binary.BigEndian.Uint64(rest)) + int64(int32(binary.BigEndian.Uint32(rest[23:]))) + 1
		l.leader = int32(binary.BigEndian.Uint32(rest[12:]))
		l.segment = name
		if batches++; batches > whole {
			missing = append(missing, indexEntry(l.leader, txn && !control)...)
		}
		rest = rest[size:]
	}
	if len(rest) > 0 {
		if err := os.Truncate(name+".dat", int64(len(b)-len(rest))); err != nil {
			return err
		}
	}
	if whole = min(whole, batches) * indexSize; whole < len(index) {
		if err := os.Truncate(name+".idx", int64(whole)); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return appendFile(name+".idx", missing)
	}
	return nil
}

// batchSize returns the bytes of the batch that b begins with, 0 if there is no
// whole one.
func batchSize(b []byte) int {
	if len(b) < batchHeader {
		return 0
	}
	size := batchEpochAt + int64(int32(binary.BigEndian.Uint32(b[batchLengthAt:])))
	if size < batchHeader || size > int64(len(b)) || crc32.Checksum(b[batchAttrsAt:size], castagnoli) != binary.BigEndian.Uint32(b[batchSumAt:]) {
		return 0
	}
	return int(size)
}

// indexEntry is: version, the low byte of the CRC-32C of the rest, epoch of the
// leader, a timestamp that the broker computes anew when it starts, and whether
// the batch is of a transaction.
func indexEntry(leader int32, txn bool) []byte {
	e := make([]byte, indexSize)
	e[0] = formatVersion
	binary.LittleEndian.PutUint32(e[2:], uint32(leader))
	if txn {
		e[14] = 1
	}
	e[1] = byte(crc32.Checksum(e[2:], castagnoli))
	return e
}

// end writes the marker that ends a producer's transaction, as the broker does.
func (l *partitionLog) end(producer int64, epoch int16, commit bool) error {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	if commit {
		key.Type = kmsg.ControlRecordKeyTypeCommit
	}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: new(kmsg.EndTxnMarker).AppendTo(nil)}
	now := time.Now().UnixMilli()
	batch := kmsg.RecordBatch{
		FirstOffset: l.next, PartitionLeaderEpoch: l.leader, Magic: 2, Attributes: attrTxn | attrControl,
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: producer, ProducerEpoch: epoch,
		FirstSequence: -1, NumRecords: 1, Records: appendRecord(nil, rec),
	}
	b := batch.AppendTo(nil)
	finishBatch(b)
	if err := appendFile(l.segment+".dat", b); err != nil {
		return err
	}
	if err := appendFile(l.segment+".idx", indexEntry(l.leader, false)); err != nil {
		return err
	}
	l.next++
	delete(l.open, producer)
	return nil
}

// groupEntry is an entry of groups.log: an offset of a group.
type groupEntry struct {
	Type       string  `json:"type"` // commit
	Group      string  `json:"g"`
	Topic      string  `json:"t"`
	Partition  int32   `json:"p"`
	Offset     int64   `json:"o"`
	Epoch      int32   `json:"e"`
	Metadata   *string `json:"m,omitempty"`
	LastCommit int64   `json:"lc"` // Unix time in milliseconds
}

// producerEntry is an entry of pids.log: what a producer has come to.
type producerEntry struct {
	Type    string `json:"type"` // init, endtx, timeout
	ID      int64  `json:"pid"`
	Epoch   int16  `json:"epoch"`
	TxID    string `json:"txid,omitempty"`
	Timeout int32  `json:"timeout,omitempty"` // ms
	Commit  *bool  `json:"commit,omitempty"`
}

// readEntries reads a log of entries (length of what follows the checksum, CRC-32C
// of it, version, JSON; little endian) and cuts off one that is cut short: the
// broker would append behind it, and never read that again. A file that is missing
// has none.
func readEntries(name string) (entries [][]byte, err error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rest := b
	for len(rest) >= entryHeader {
		size := uint64(binary.LittleEndian.Uint32(rest)) + 8
		if size < entryHeader || size > uint64(len(rest)) || crc32.Checksum(rest[8:size], castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			break
		}
		if v := binary.LittleEndian.Uint16(rest[8:]); v != formatVersion {
			return nil, fmt.Errorf("%s: an entry has version %d, this program knows %d", name, v, formatVersion)
		}
		entries = append(entries, rest[entryHeader:size])
		rest = rest[size:]
	}
	if len(rest) == 0 {
		return entries, nil
	}
	return entries, os.Truncate(name, int64(len(b)-len(rest)))
}

func appendEntries[E any](name string, entries []E) error {
	var b []byte
	for _, e := range entries {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		from := len(b)
		b = binary.LittleEndian.AppendUint32(b, uint32(2+len(data)))
		b = append(b, 0, 0, 0, 0)
		b = binary.LittleEndian.AppendUint16(b, formatVersion)
		b = append(b, data...)
		binary.LittleEndian.PutUint32(b[from+4:], crc32.Checksum(b[from+8:], castagnoli))
	}
	return appendFile(name, b)
}

// appendFile appends to a file and syncs it.
func appendFile(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
