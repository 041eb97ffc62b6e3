// Package state is the contract between operators, which hold state in handles,
// and stores, which make it durable.
//
// An operator never saves or restores: it asks its environment for a handle
// ([Cell], [Map], weights.Table) and uses it. Handles know what changed, so a
// checkpoint writes only that. A [Partition] holds the state of one task at one
// step boundary.
package state

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"
)

// ID is the identity of one handle. Node, Name and Version say what the state
// is; Pinned is the canonical text of the settings that give it its meaning (a
// hash width, say). State is opened only by the same ID.
type ID struct {
	Node    string // operator name in the pipeline file
	Name    string // name of the state within the operator
	Version int    // layout and meaning, raised by code that changes either
	Pinned  string // settings that must not change under the state
}

// String returns node/name.
func (id ID) String() string { return id.Node + "/" + id.Name }

// Stateful is what a store sees of a handle. Operators do not implement it.
// Keys and values are borrowed by both sides for the length of the call.
type Stateful interface {
	// Changed yields the entries changed since the last call of Changed or since
	// they were loaded, and takes them as saved. A nil value means deleted.
	Changed(yield func(key, value []byte) bool)
	// All yields every entry in ascending order of the keys, and changes nothing.
	All(yield func(key, value []byte) bool)
	// Load restores one entry.
	Load(key, value []byte) error
}

// Hash names a point of a task's journal: the head of its hash chain.
type Hash [32]byte

// Position is how far a task has read one partition of one source topic.
type Position struct {
	Topic     string
	Partition int32
	Next      int64 // offset of the next record to read
}

// Manifest says which step boundary a checkpoint holds.
type Manifest struct {
	Step      uint64
	Hash      Hash
	Journal   int64 // offset in the journal from which to read to find steps after Step
	Positions []Position
	Meta      map[string]string // identity of the cluster and topics; compared by the engine
}

// Store holds the state of the tasks of one pipeline.
type Store interface {
	// Open returns the partition of a task. A task is open at most once.
	Open(task int) (Partition, error)
	// Tasks lists the tasks that have a checkpoint, ascending.
	Tasks() ([]int, error)
	// Delete removes all that is stored of a task, which must not be open.
	Delete(task int) error
	// Dump yields what is stored of a task, as of one moment, in ascending order of
	// the store keys (see docs/format/state.md), so the manifest first. The task may
	// be open. Keys and values are good for the length of the call of yield, which
	// must not call the store nor wait for long; its error ends the dump and is returned.
	Dump(task int, yield func(key, value []byte) error) error
	// Import replaces all that is stored of a task, which must not be open, by the
	// entries, in one durable atomic write. They must hold a manifest. An error of
	// entries is returned, and nothing is changed then. Each key comes once.
	Import(ctx context.Context, task int, entries func(yield func(key, value []byte) error) error) error
	Close() error
}

// Partition is the state of one task. It is used by one goroutine, except that
// a staged commit may run on another.
type Partition interface {
	// Last returns the manifest of the last checkpoint; ok is false if there is none.
	Last() (m Manifest, ok bool)
	// Bind loads what the last checkpoint holds for the ID into s, and includes s
	// in later checkpoints. State of another version or pinning is a [MismatchError].
	Bind(id ID, s Stateful) error
	// Stage copies what changed in the bound handles. The returned function makes
	// that copy and the manifest durable in one atomic write; it may run on
	// another goroutine while the handles change on. If it fails, what it held is
	// part of the next stage, not of a second call ([ErrStageDone]). At most one
	// stage may be outstanding. State of handles that are not bound stays as it is.
	Stage(m Manifest) (commit func(ctx context.Context) error, err error)
	// Close releases the partition; what was not committed is lost.
	Close() error
}

// MismatchError says that stored state has another meaning than the operator
// that wants to open it.
type MismatchError struct {
	Have, Want ID
}

func (e *MismatchError) Error() string {
	what := fmt.Sprintf("was written by version %d, this program reads version %d", e.Have.Version, e.Want.Version)
	if e.Have.Version == e.Want.Version {
		what = fmt.Sprintf("was written with %q, the pipeline file now says %q", e.Have.Pinned, e.Want.Pinned)
	}
	return fmt.Sprintf("state of operator %q (%s) %s; restore the old setting, or give the operator, or the pipeline, another name to start afresh",
		e.Want.Node, e.Want.Name, what)
}

// Digest is an order-independent hash of all entries of a handle: equal digests
// mean equal state. It is the XOR of a 64-bit hash per entry.
func Digest(id ID, s Stateful) uint64 {
	var sum uint64
	var buf []byte
	s.All(func(key, value []byte) bool {
		buf = append(buf[:0], id.Node...)
		buf = append(append(buf, 0), id.Name...)
		buf = append(buf, 0)
		buf = binary.AppendUvarint(buf, uint64(len(key)))
		buf = append(append(buf, key...), value...)
		sum ^= xxh3.Hash(buf)
		return true
	})
	return sum
}
