package state

import (
	"bytes"
	"fmt"
	"strings"
)

// Stores keep a task as an ordered map from store keys to values, see
// docs/format/state.md. The first byte of a store key is its kind.
const (
	kindManifest byte = 0 // the manifest, one a task
	kindHandle   byte = 1 // the ID a handle was written with
	kindEntry    byte = 2 // an entry of a handle
)

// ManifestKey is the store key of a task's manifest.
func ManifestKey() []byte { return []byte{kindManifest} }

// AppendHandleKey appends the store key under which a handle's ID lies.
func AppendHandleKey(dst []byte, id ID) []byte { return appendHandle(dst, kindHandle, id) }

// AppendEntryKey appends the store key of an entry. With a nil key it is the
// prefix of all entries of the handle.
func AppendEntryKey(dst []byte, id ID, key []byte) []byte {
	return append(appendHandle(dst, kindEntry, id), key...)
}

func appendHandle(dst []byte, kind byte, id ID) []byte {
	dst = append(dst, kind)
	dst = append(append(dst, id.Node...), 0)
	return append(append(dst, id.Name...), 0)
}

// HandleRange returns the range of store keys, from inclusive and to exclusive,
// that holds the IDs of all handles of a task.
func HandleRange() (from, to []byte) { return []byte{kindHandle}, []byte{kindHandle + 1} }

// EntryRange returns the range of store keys of the entries of a handle.
func EntryRange(id ID) (from, to []byte) {
	from = AppendEntryKey(nil, id, nil)
	to = bytes.Clone(from)
	to[len(to)-1] = 1 // after the final 0: the least key beyond the prefix
	return from, to
}

// checkID refuses names that a store key cannot hold.
func checkID(id ID) error {
	if id.Node == "" || id.Name == "" || strings.Contains(id.Node, "\x00") || strings.Contains(id.Name, "\x00") {
		return fmt.Errorf("state %q of operator %q: a name is empty or has a zero byte", id.Name, id.Node)
	}
	return nil
}
