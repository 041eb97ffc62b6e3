package state

// HandleInfo says what a store holds for one handle.
type HandleInfo struct {
	ID      ID
	Entries int
	Bytes   int64 // summed length of keys and values, before the store compresses
}

// Inspector reads the last checkpoint of a task without the operators that
// wrote it, and deletes it. Stores of this project implement it.
type Inspector interface {
	// Manifest returns the manifest of a task; ok is false if it has no checkpoint.
	Manifest(task int) (m Manifest, ok bool, err error)
	// Handles lists the handles of a task in ascending order of node and name.
	Handles(task int) ([]HandleInfo, error)
	// Entries yields the entries of a handle in ascending order of the keys. Keys
	// and values are good for the length of the call of yield, which must not call
	// the store.
	Entries(task int, id ID, yield func(key, value []byte) bool) error
	// Delete removes all state of a task, which must not be open.
	Delete(task int) error
}
