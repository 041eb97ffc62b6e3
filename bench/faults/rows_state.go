//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func (l *lab) stateDir(w *worker) string { return filepath.Join(w.dir, l.name, "state") }

// someFiles returns the files of a folder whose name matches, at least a kilobyte long.
func someFiles(dir, pattern string) (found []string, err error) {
	re := regexp.MustCompile(pattern)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !re.MatchString(d.Name()) {
			return err
		}
		if info, e := d.Info(); e == nil && info.Size() >= 1024 {
			found = append(found, path)
		}
		return nil
	})
	return found, err
}

func files(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w := ws[0]
	dir, old := l.stateDir(w), filepath.Join(l.dir, "old")
	l.arr.mark()
	copied := false
	for _, harm := range []struct {
		name string
		do   func() (int, error)
	}{
		{"an older copy kept", func() (int, error) { copied = true; return 1, os.CopyFS(old, os.DirFS(dir)) }},
		{"folder deleted", func() (int, error) { return 1, os.RemoveAll(dir) }},
		{"logs with a bit flipped", func() (int, error) { return l.harm(dir, `\.log$`, flip) }},
		{"older copy put back", func() (int, error) {
			if !copied {
				return 0, nil
			}
			return 1, errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(old)))
		}},
	} {
		l.sleep(1500*time.Millisecond, 2*time.Second) // a checkpoint or two
		if err := w.kill(); err != nil {
			return err
		}
		n, err := harm.do()
		if err != nil {
			return err
		}
		l.did(harm.name, n)
		if err := w.start(); err != nil {
			return err
		}
		if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
			return fmt.Errorf("%s: %w", harm.name, err)
		}
		if err := l.arrive(200); err != nil {
			return fmt.Errorf("%s: %w", harm.name, err)
		}
	}
	return nil
}

// tables damages the tables of a store, which every start makes of the log.
func tables(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w := ws[0]
	l.arr.mark()
	for _, harm := range []struct {
		name string
		do   func(*os.File, int64) error
	}{{"tables with a bit flipped", flip}, {"tables truncated", halve}} {
		for range 2 {
			l.sleep(1500*time.Millisecond, 0)
			if err := w.kill(); err != nil {
				return err
			}
			if err := l.restart(w); err != nil {
				return err
			}
		}
		if err := w.kill(); err != nil {
			return err
		}
		n, err := l.harm(l.stateDir(w), `\.sst$`, harm.do)
		if err != nil {
			return err
		}
		l.did(harm.name, n)
		if err := w.start(); err != nil {
			return err
		}
		if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
			return fmt.Errorf("%s: %w", harm.name, err)
		}
		if err := l.arrive(200); err != nil {
			return err
		}
	}
	// Now under a worker that runs: it reads them for the next remote checkpoint, and all its tasks have to be restored.
	l.sleep(1500*time.Millisecond, 0)
	if err := w.kill(); err != nil {
		return err
	}
	if err := l.restart(w); err != nil {
		return err
	}
	restored, _ := w.replayed()
	n, err := l.harm(l.stateDir(w), `\.sst$`, flip)
	if err != nil {
		return err
	}
	l.did("flipped while it runs", n)
	if err := w.await(l.ctx, "set aside and begun anew", 1, 60*time.Second); err != nil {
		return err
	}
	if err := w.await(l.ctx, "task restored", restored+partitions, 60*time.Second); err != nil {
		return err
	}
	l.note("%d warnings of lost state", len(w.said("the local state is lost")))
	return l.arrive(200)
}

func flip(f *os.File, size int64) error {
	b := []byte{0}
	at := size * 2 / 5
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 0x10
	_, err := f.WriteAt(b, at)
	return err
}

func halve(f *os.File, size int64) error { return f.Truncate(size / 2) }

// harm does something to all files of a folder that match.
func (l *lab) harm(dir, pattern string, do func(*os.File, int64) error) (int, error) {
	found, err := someFiles(dir, pattern)
	for _, path := range found {
		f, e := os.OpenFile(path, os.O_RDWR, 0)
		if e != nil {
			return 0, e
		}
		info, e := f.Stat()
		if e == nil {
			e = do(f, info.Size())
		}
		err = errors.Join(err, e, f.Close())
	}
	return len(found), err
}

func swapped(l *lab) error {
	ws, err := l.start(2)
	if err != nil {
		return err
	}
	l.sleep(2*time.Second, 0)
	l.arr.mark()
	for _, w := range ws {
		if err := w.kill(); err != nil {
			return err
		}
	}
	a, b, c := l.stateDir(ws[0]), l.stateDir(ws[1]), filepath.Join(l.dir, "third")
	if err := errors.Join(os.Rename(a, c), os.Rename(b, a), os.Rename(c, b)); err != nil {
		return err
	}
	l.did("folders exchanged", 2)
	for _, w := range ws {
		if err := w.start(); err != nil {
			return err
		}
	}
	for _, w := range ws {
		if err := w.await(l.ctx, "task restored", 1, 30*time.Second); err != nil {
			return err
		}
	}
	return l.arrive(600)
}

func diskFull(l *lab) error {
	w := l.worker()
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", w.dir, "tmpfs", 0, "size=48m"); err != nil {
		return cannotError("a tmpfs cannot be mounted here: " + err.Error())
	}
	l.cleanup = append(l.cleanup, func() error { return syscall.Unmount(w.dir, syscall.MNT_DETACH) })
	if err := w.start(); err != nil {
		return err
	}
	if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
		return err
	}
	if err := l.flow(); err != nil {
		return err
	}
	l.arr.mark()
	filler := filepath.Join(w.dir, "filler")
	for range 2 {
		f, err := os.Create(filler)
		if err != nil {
			return err
		}
		block, full := make([]byte, 4096), false
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
			if _, err := f.Write(block); err != nil {
				full = errors.Is(err, syscall.ENOSPC)
				l.sleep(20*time.Millisecond, 0) // what was freed meanwhile is taken too
			}
		}
		_ = f.Close()
		if !full || !w.running() {
			return fmt.Errorf("full %v, running %v\n%s", full, w.running(), w.tail())
		}
		if err := l.arrive(200); err != nil {
			return err
		}
		if err := os.Remove(filler); err != nil {
			return err
		}
		if err := l.arrive(600); err != nil {
			return err
		}
	}
	l.did("checkpoints failed for lack of space", w.saidEver("local checkpoint failed"))
	l.note("went on %d times", w.starts)
	return nil
}
