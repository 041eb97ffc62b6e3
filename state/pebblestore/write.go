package pebblestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gradstream/gradstream/state"
)

// failed returns why the database cannot be written to any more, or nil.
func (s *Store) failed() error {
	if f := s.failure.Load(); f != nil {
		return f.err
	}
	return nil
}

// acquire takes the turn to write.
func (s *Store) acquire(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for the state store: %w", context.Cause(ctx))
	}
	if s.isClosed() {
		<-s.turn
		return ErrClosed
	}
	return nil
}

// await waits until whoever has the turn is done.
func (s *Store) await() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), closeTimeout, errors.New("the disk does not answer"))
	defer cancel()
	err := s.acquire(ctx)
	if err == nil {
		<-s.turn
	}
	return err
}

// write makes a batch durable. The batch is filled by build, in the caller's
// turn. If ctx ends first, the batch may yet become durable, before any later one.
func (s *Store) write(ctx context.Context, build func(*pebble.DB) (*pebble.Batch, error)) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	if err := s.recoverDB(); err != nil {
		<-s.turn
		return err
	}
	b, err := build(s.db) // the holder of the turn alone changes db
	if err != nil {
		<-s.turn
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- s.apply(b)
		<-s.turn
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("write state: %w", context.Cause(ctx))
	}
}

func (s *Store) apply(b *pebble.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("write state: panic: %v", r)
			s.failure.CompareAndSwap(nil, &failure{err})
		}
	}()
	err = s.db.Apply(b, pebble.Sync)
	// A failed commit is told to the logger and not returned.
	if f := s.failed(); f != nil {
		err = f
	}
	if err != nil {
		s.failure.CompareAndSwap(nil, &failure{err})
		return fmt.Errorf("write state: %w", err)
	}
	return b.Close()
}

// recoverDB opens the database again after a failure, a full disk perhaps. The
// caller has the turn.
func (s *Store) recoverDB() error {
	why := s.failed()
	if why == nil {
		return nil
	}
	damaged := errors.Is(why, state.ErrDamaged)
	if damaged && !s.o.Renew {
		return why
	}
	if err := s.closeDB(); err != nil {
		return errors.Join(why, err)
	}
	if damaged {
		return s.renew(why)
	}
	if err := s.openDB(); err != nil {
		s.failure.Store(&failure{err})
		return err
	}
	s.o.Log.Info("the state store is open again after a failure", "dir", s.dir, "failure", why)
	return nil
}

// renew sets the files of a damaged database aside and makes an empty one. What
// was set aside before is deleted. The caller has the turn, or the store alone.
func (s *Store) renew(why error) error {
	aside, fs := s.dir+".damaged", s.o.FS
	err := errors.Join(fs.RemoveAll(aside), fs.MkdirAll(aside, 0o755))
	files, e := fs.List(s.dir)
	for _, name := range files {
		if name != "LOCK" { // which stays ours
			e = errors.Join(e, fs.Rename(fs.PathJoin(s.dir, name), fs.PathJoin(aside, name)))
		}
	}
	if err = errors.Join(err, e); err == nil {
		s.mu.Lock()
		s.epoch++
		s.mu.Unlock()
		err = s.openDB()
	}
	if err != nil {
		err = fmt.Errorf("%w; setting it aside: %w", why, err)
		s.failure.Store(&failure{err})
		return err
	}
	s.o.Log.Error("the state store was damaged: it is set aside and begun anew; its tasks are restored from the state topic or the journal", "dir", s.dir, "aside", aside, "damage", why)
	return nil
}

// current returns how often the database was made anew.
func (s *Store) current() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.epoch
}
