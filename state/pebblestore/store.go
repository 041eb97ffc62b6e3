// Package pebblestore keeps the state of a pipeline's tasks on the local disk, in
// one Pebble database. A checkpoint is one synced batch: after a crash it is there
// whole or not at all. The keys are described in docs/format/state.md.
package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/gradstream/gradstream/state"
)

// formatMajorVersion is Pebble's on-disk format. Raising it is a one-way street:
// an older program cannot open the folder any more.
const formatMajorVersion = pebble.FormatTableFormatV6

const (
	defaultCache    = 8 << 20
	defaultMemTable = 8 << 20
	blockSize       = 32 << 10 // eight pages of weights, read in runs when a task starts

	// closeTimeout bounds how long Close waits for a disk that does not answer.
	closeTimeout = 10 * time.Second
	// maxBatch is what one checkpoint may write: Pebble's limit is 4 GiB.
	maxBatch = 4<<30 - 64<<20
)

var (
	// ErrLocked is wrapped by the error of Open if another process, or another
	// Store in this one, uses the folder.
	ErrLocked = errors.New("the state folder is in use")
	// ErrForeign is wrapped by the error of Open if the folder belongs to another
	// pipeline or was written by a newer program.
	ErrForeign = errors.New("the state folder cannot be used")
	// ErrClosed is returned by the methods of a closed store.
	ErrClosed = errors.New("the state store is closed")
)

// Options of [Open].
type Options struct {
	// Pipeline is the name of the pipeline; it is written into a new folder and
	// must be the same in an old one. Empty accepts any, for tools that read.
	Pipeline string
	// ReadOnly opens a folder that exists, for reading. Two processes cannot do it
	// at once, nor while a pipeline runs on the folder.
	ReadOnly bool
	// CacheBytes bounds the block cache, which lies on the Go heap; default 8 MiB.
	// It helps only while tasks start: a running task reads nothing.
	CacheBytes int64
	// MemTableBytes is the size of Pebble's write buffer; default 8 MiB. A checkpoint
	// larger than half of it is written to a table of its own.
	MemTableBytes uint64
	// Renew sets a damaged database aside, in the folder's name with .damaged behind it,
	// and goes on with an empty one, instead of refusing. Partitions that were open
	// give [state.ErrDamaged] from then on: their tasks have to be restored.
	Renew bool
	// Log is told of failures in the background; default none.
	Log *slog.Logger
	// FS replaces the file system, in tests.
	FS vfs.FS
}

// Store is a [state.Store] and [state.Inspector] on disk. Safe for concurrent use.
type Store struct {
	dir      string
	o        Options
	cache    *pebble.Cache
	lock     *pebble.Lock
	pipeline string // of the identity record

	// turn holds one token. Its holder alone writes, reopens or closes the
	// database. Pebble can leave a second writer waiting for ever behind one that
	// failed, so writers do not overlap.
	turn chan struct{}

	mu     sync.RWMutex // guards db against reads while it is replaced
	db     *pebble.DB
	epoch  int // how often the database was made anew
	open   map[int]bool
	closed bool

	failure atomic.Pointer[failure] // of the database that is open now
}

type failure struct{ err error }

var (
	_ state.Store     = (*Store)(nil)
	_ state.Inspector = (*Store)(nil)
)

// Open opens the state of a pipeline in a folder, which it makes unless
// ReadOnly. The error wraps [ErrLocked], [ErrForeign], [state.ErrDamaged] where
// a copy from elsewhere is the remedy, or [fs.ErrNotExist].
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCache
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTable
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: dir, o: o, turn: make(chan struct{}, 1), open: make(map[int]bool)}
	if o.ReadOnly {
		if _, err := o.FS.Stat(dir); err != nil {
			return nil, fmt.Errorf("there is no state in %s: %w", dir, err)
		}
	} else if err := o.FS.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err != nil {
		// What is wrong with the file itself comes as a path error; the rest says
		// that the lock is held.
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			return nil, fmt.Errorf("lock the state folder %s: %w", dir, err)
		}
		return nil, fmt.Errorf("%w: another process has %s open; stop it, or ask it over HTTP (%w)", ErrLocked, dir, err)
	}
	s.lock = lock
	s.cache = pebble.NewCache(o.CacheBytes)
	err = s.openDB()
	if errors.Is(err, state.ErrDamaged) && o.Renew {
		err = s.renew(err)
	}
	if err != nil {
		s.cache.Unref()
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// Pipeline returns the name of the pipeline that the folder belongs to.
func (s *Store) Pipeline() string { return s.pipeline }

// openDB opens the database and checks its identity.
func (s *Store) openDB() (err error) {
	log := &logger{s: s}
	opts := &pebble.Options{
		FS:                 &freezeFS{FS: s.o.FS, fail: log.fail},
		Lock:               s.lock,
		Cache:              s.cache,
		FormatMajorVersion: formatMajorVersion,
		MemTableSize:       s.o.MemTableBytes,
		Logger:             log,
		ReadOnly:           s.o.ReadOnly,
		ErrorIfNotExists:   s.o.ReadOnly,
		EventListener: &pebble.EventListener{
			BackgroundError: log.background,
			DataCorruption:  func(i pebble.DataCorruptionInfo) { log.fail(s.damaged(i.Details)) },
		},
	}
	opts.Levels[0].BlockSize = blockSize
	defer func() {
		// Pebble panics on some damaged files.
		if r := recover(); r != nil {
			err = s.damaged(fmt.Errorf("panic: %v", r))
		}
	}()
	s.failure.Store(nil)
	db, err := pebble.Open(s.dir, opts)
	if err == nil {
		if err = s.failed(); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return fmt.Errorf("there is no state in %s: %w", s.dir, fs.ErrNotExist)
	case errors.Is(err, state.ErrDamaged):
		return err
	case strings.Contains(err.Error(), "unknown format major version"):
		return s.newer(err.Error())
	case isSystem(err):
		return fmt.Errorf("open the state in %s: %w", s.dir, err)
	default:
		return s.damaged(err)
	}
	if err := s.identify(db); err != nil {
		return errors.Join(err, db.Close())
	}
	s.mu.Lock()
	s.db = db
	s.mu.Unlock()
	return nil
}

// isSystem reports whether the operating system refused something, which says
// nothing about what the files hold. A missing file is not such a case: the folder
// exists, so the database names a file that is gone.
func isSystem(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) && !errors.Is(err, fs.ErrNotExist)
}

func (s *Store) newer(how string) error {
	return fmt.Errorf("%w: %s was written by a newer program (%s); use that program, or another state folder", ErrForeign, s.dir, how)
}

func (s *Store) damaged(why error) error {
	return fmt.Errorf("%w: %w; delete the folder %s, the state is then restored from its topic or rebuilt from the journal", state.ErrDamaged, why, s.dir)
}

// identify checks the identity record, and writes it into a new database.
func (s *Store) identify(db *pebble.DB) error {
	raw, err := get(db, identityKey)
	if err != nil {
		return s.damaged(err)
	}
	if raw == nil {
		it, err := db.NewIter(nil)
		if err != nil {
			return s.damaged(err)
		}
		empty := !it.First()
		ours := !empty && it.Key()[0] == taskSpace && len(it.Key()) > 5
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return s.damaged(err)
		}
		if ours {
			return s.damaged(errors.New("the identity record is gone"))
		}
		if !empty {
			return fmt.Errorf("%w: %s holds a database of another program", ErrForeign, s.dir)
		}
		s.pipeline = s.o.Pipeline
		if s.o.ReadOnly {
			return nil
		}
		if err := db.Set(identityKey, appendIdentity(nil, s.o.Pipeline), pebble.Sync); err != nil {
			return fmt.Errorf("write the identity of the state: %w", err)
		}
		return s.failed()
	}
	if raw[0] > storeVersion {
		return s.newer(fmt.Sprintf("format version %d, this one reads up to %d", raw[0], storeVersion))
	}
	name, err := decodeIdentity(raw)
	if err != nil {
		return s.damaged(err)
	}
	if s.o.Pipeline != "" && name != s.o.Pipeline {
		return fmt.Errorf("%w: %s holds the state of pipeline %q, not of %q; give this pipeline another state folder", ErrForeign, s.dir, name, s.o.Pipeline)
	}
	if s.pipeline != name { // not again when the database is reopened
		s.pipeline = name
	}
	return nil
}

func (s *Store) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// closeDB closes the database. The caller has the turn.
func (s *Store) closeDB() error {
	s.mu.Lock()
	db := s.db
	s.db = nil
	s.mu.Unlock()
	if db == nil {
		return nil
	}
	failed := s.failed() != nil
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("close the state: panic: %v", r)
			}
		}()
		done <- db.Close()
	}()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case err := <-done:
		if failed {
			return nil // why it failed has been said; closing repeats it
		}
		return err
	case <-timeout.C:
		return fmt.Errorf("the state store in %s does not close; its folder stays locked until the process ends", s.dir)
	}
}

// Close waits for a commit that runs, then closes the database and unlocks the
// folder. Open partitions cannot be used any more. A second Close does nothing.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), closeTimeout, errors.New("the disk does not answer"))
	defer cancel()
	if err := s.acquire(ctx); err != nil {
		if errors.Is(err, ErrClosed) {
			return nil
		}
		return err
	}
	defer func() { <-s.turn }()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if err := s.closeDB(); err != nil {
		return err
	}
	s.cache.Unref()
	return s.lock.Close()
}

// read runs f with the database, which stays open for as long. While it is being
// opened anew, read waits.
func (s *Store) read(f func(*pebble.DB) error) (err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for waited := false; s.db == nil && !s.closed; waited = true {
		if why := s.failed(); why != nil && waited {
			return why
		}
		s.mu.RUnlock()
		err := s.await()
		s.mu.RLock()
		if err != nil {
			return err
		}
	}
	if s.closed {
		return ErrClosed
	}
	defer func() {
		if r := recover(); r != nil {
			err = s.damaged(fmt.Errorf("panic: %v", r))
		}
	}()
	err = f(s.db)
	if err != nil && pebble.IsCorruptionError(err) {
		err = s.damaged(err)
		s.failure.CompareAndSwap(nil, &failure{err})
	}
	return err
}

// get returns a copy of a value, nil if there is none.
func get(db *pebble.DB, key []byte) ([]byte, error) {
	v, c, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return append(make([]byte, 0, len(v)), v...), nil
}

// Keys of the database, see docs/format/state.md.
const storeVersion = 1

var identityKey = []byte{0, 'g', 's'}

const taskSpace byte = 1

// taskKey appends the prefix of all keys of a task.
func taskKey(dst []byte, task int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, taskSpace), uint32(task))
}
