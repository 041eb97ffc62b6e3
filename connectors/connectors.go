// Package connectors is the contract between the engine and the outside: records
// in and out, the formats they are in, and the log that makes a task's steps
// atomic. Implementations live in the packages below; they never see operators
// or state.
package connectors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of a topic. Its bytes are borrowed from whoever read it
// and stay valid until that says otherwise.
type Record struct {
	Key, Value []byte
	Headers    []Header
	Offset     int64
	Time       int64 // timestamp, milliseconds since 1970
}

// Decoder turns the value of a record into rows. It is used by one goroutine.
type Decoder interface {
	// Decode appends the rows of one record to the columns of into, whose schema
	// is the source's, and returns how many. On an error nothing is appended:
	// the error says what is wrong with the record, to be shown to its producer.
	// The origin of the rows is the caller's business.
	Decode(value []byte, into *batch.Batch) (rows int, err error)
}

// Timed is a [Decoder] of records that hold the event time of their rows. The
// timestamps of such records say nothing about it.
type Timed interface {
	// EventTime returns the event time of the rows of the record decoded last,
	// milliseconds since 1970.
	EventTime() int64
}

// Encoder turns rows into the value of a record. It is used by one goroutine.
type Encoder interface {
	// Encode appends the value for rows [lo, hi) of b to dst.
	Encode(dst []byte, b *batch.Batch, lo, hi int) ([]byte, error)
	// PerRow reports whether a record holds exactly one row.
	PerRow() bool
}

// Reader reads the rows of a file. It is used by one goroutine.
type Reader interface {
	// Read appends up to limit rows to into and returns the rows that were read
	// but rejected. The origin's Offset of a row is its number in the file, from
	// 0, rejected rows counted. At the end it returns io.EOF, alone. Any other
	// error means that the file cannot be read on.
	Read(ctx context.Context, into *batch.Batch, limit int) ([]Rejected, error)
	// Progress returns how much of the input was read: bytes of the file on disk,
	// and its size, 0 if unknown.
	Progress() (done, size int64)
	Close() error
}

// Rejected is a row or record that could not be used.
type Rejected struct {
	Offset int64  // offset in the partition, or row number in the file
	Line   int64  // line in the file, from 1; 0 = does not apply
	Raw    []byte // the original bytes; borrowed until the next read
	Why    error
}

// RowError says which column of a record is wrong and why.
type RowError struct {
	Column string // "" when the record as a whole is wrong
	Row    int    // row within the record, for formats with many; else 0
	At     int    // byte offset within the record, from 0; -1 = does not apply
	Why    string
}

func (e *RowError) Error() string {
	s := e.Why
	if e.Column != "" {
		s = fmt.Sprintf("column %s: %s", e.Column, s)
	}
	if e.At >= 0 {
		s = fmt.Sprintf("%s (at byte %d)", s, e.At)
	}
	return s
}

// TopicPartition names a partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

func (tp TopicPartition) String() string { return fmt.Sprintf("%s[%d]", tp.Topic, tp.Partition) }

// Position is the next offset to read of a partition. Relative positions are
// resolved when the reading starts.
type Position struct {
	TopicPartition
	Next int64 // >= 0, or Earliest or Latest
}

// Relative positions.
const (
	Earliest int64 = -2
	Latest   int64 = -1
)

// Fetch is a run of consecutive committed records of one partition.
type Fetch struct {
	TopicPartition
	Records []Record
	Next    int64 // where to read on: past the last record and past control records behind it
	End     int64 // last stable offset of the partition as last seen, for the lag
}

// Feed delivers the records of a task's partitions, in order within each. Back
// pressure is by not calling Poll: a feed buffers a bounded number of bytes.
type Feed interface {
	// Poll returns the next run of records, at most limit, of the given partition
	// or, if only is nil, of any; or waits for some. A fetch may hold no record but
	// move Next or End. The slice of records is good until the next Poll that returns
	// something of the same partition; the bytes that they point to stay.
	Poll(ctx context.Context, limit int, only *TopicPartition) (Fetch, error)
	Close() error
}

// Output is one record to publish.
type Output struct {
	Topic     string
	Partition int32
	Record
}

// Step is what one transaction holds: outputs, one journal record, and the
// positions reached in the inputs.
type Step struct {
	Outputs *Outputs // nil: none
	Journal []byte   // the journal record
	Meta    string   // metadata to commit beside the offsets
	Offsets []Position
	StepNo  uint64
	Resolve func(journal []byte) bool // reports whether a journal record read back is this step's; for unknown outcomes
}

// TaskLog is the durable side of one task: the journal, the outputs and the
// input offsets, behind a lock that only its latest owner holds. Commit calls
// are serial.
type TaskLog interface {
	// Fence takes the lock: every transaction of an earlier owner is decided when
	// it returns. It then commits open as a journal record and returns its offset.
	Fence(ctx context.Context, open []byte) (offset int64, err error)
	// ReadJournal yields the committed records of the journal from the offset
	// (or Earliest) up to and including the record at offset to.
	ReadJournal(ctx context.Context, from, to int64, yield func(offset int64, record []byte) error) error
	// Offsets returns the positions committed to the group for the task's
	// partitions, waiting for open transactions to end. Partitions without one are
	// left out.
	Offsets(ctx context.Context) ([]Position, error)
	// Commit makes the step durable and visible, all or nothing, sending the same
	// bytes again after an abort. It returns the offset of the journal record.
	// When it returns nil the step is committed. [ErrLost] means that another
	// owner has taken the lock: the caller must stop at once and write nothing.
	// Any other error is final for this task and explains itself.
	Commit(ctx context.Context, s *Step) (journal int64, err error)
	// Trim deletes the records before the position, but for those younger than keep,
	// and returns where the log begins then. The partition is the journal's or one of
	// a topic that is the pipeline's own. It may run beside Commit.
	Trim(ctx context.Context, before Position, keep time.Duration) (start int64, err error)
	StateLog
	Close() error
}

// StateLog holds checkpoints of a task's state beyond its worker, behind the lock
// of the [TaskLog] it is part of. Its calls are serial; they may run beside Commit.
type StateLog interface {
	// SaveState commits the entries to what the log holds, all or nothing; a nil
	// value deletes a key. Entries is called again for each attempt and must yield
	// the same each time; what it yields is borrowed for the call of yield. After an
	// error whether they are committed is not known, and neither is it known for
	// parts of what later calls hold. [ErrLost] means that another owner has
	// taken the lock.
	SaveState(ctx context.Context, entries func(yield func(key, value []byte) error) error) error
	// LoadState yields what was committed before the lock was taken, in the order of
	// commitment: of a key that comes more than once the last value counts. Keys and
	// values are borrowed for the call of yield. It yields nothing if there is no
	// state, or nowhere to keep it.
	LoadState(ctx context.Context, yield func(key, value []byte) error) error
}

// ErrLost is returned by a [TaskLog] whose lock another owner has taken.
var ErrLost = errors.New("another worker has taken this task over")

// Host is what a cluster calls when tasks come and go.
type Host interface {
	// Assigned is called with tasks this worker now owns. It must not block long.
	Assigned(tasks []int)
	// Revoked is called with tasks to give up; it returns when they are stopped:
	// drained if lost is false, dropped at once if it is true.
	Revoked(tasks []int, lost bool)
}

// Topic describes a topic to a cluster.
type Topic struct {
	Name        string
	Partitions  int
	Replication int // 0 = the broker's default
	Config      map[string]string
}

// TopicInfo is what a cluster knows of a topic.
type TopicInfo struct {
	Topic
	ID      [16]byte
	Missing bool
}

// ErrExists says that a topic that is to be created is there.
var ErrExists = errors.New("the topic exists")

// Admin is what can be asked and changed about topics and the group.
type Admin interface {
	// Describe identifies the cluster and returns what is known of each topic, in
	// the order asked for.
	Describe(ctx context.Context, topics []string) (cluster string, infos []TopicInfo, err error)
	// Create creates topics; one that exists is an error, [ErrExists].
	Create(ctx context.Context, topics []Topic) error
	// Committed returns all positions committed to the group, of any task.
	Committed(ctx context.Context) ([]Position, error)
	// Resolve turns relative positions into offsets.
	Resolve(ctx context.Context, at []Position) ([]Position, error)
}

// Group elects which worker runs a task.
type Group interface {
	// Join makes the worker a member of the group until ctx ends, calling h. When
	// it returns every task it has assigned was revoked.
	Join(ctx context.Context, h Host) error
	// Confirm asks the group anew whether the task is this worker's. After
	// [ErrLost] a task may be fenced again only when Confirm returns nil.
	Confirm(ctx context.Context, task int) error
}

// Cluster is the broker as one worker of one pipeline sees it.
type Cluster interface {
	Admin
	Group
	// Log opens the log of a task, without taking its lock.
	Log(task int) (TaskLog, error)
	// Feed reads the partitions from the positions on, committed records only.
	Feed(ctx context.Context, from []Position) (Feed, error)
	Close() error
}
