package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// freezeFS stands between Pebble and the disk. At the first write that fails it
// tells the store and freezes: from then on nothing reaches the disk, and Pebble
// is told that all is well. Pebble ends the process where it cannot write its
// log, and cannot be stopped from that once it has seen the error; so it does not
// see one. The disk stays as a crash at that moment would have left it, which is
// what a database is made to survive, and the store refuses whatever was written
// meanwhile until it has opened the database again.
type freezeFS struct {
	vfs.FS
	frozen atomic.Bool
	fail   func(error)
}

// check freezes at an error. The store knows before Pebble goes on.
func (f *freezeFS) check(what, name string, err error) {
	if err == nil || f.frozen.Load() {
		return
	}
	f.fail(fmt.Errorf("%s %s: %w", what, name, err))
	f.frozen.Store(true)
}

func (f *freezeFS) Unwrap() vfs.FS { return f.FS }

// file wraps a file to write to; inner may be nil if the disk is frozen or has just failed.
func (f *freezeFS) file(name string, inner vfs.File, err error) (vfs.File, error) {
	f.check("open", name, err)
	if err != nil {
		inner = nil
	}
	return &freezeFile{fs: f, name: name, inner: inner}, nil
}

func (f *freezeFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.frozen.Load() {
		return f.file(name, nil, nil)
	}
	inner, err := f.FS.Create(name, c)
	return f.file(name, inner, err)
}

func (f *freezeFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.frozen.Load() {
		return f.file(name, nil, nil)
	}
	inner, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.file(name, inner, err)
}

func (f *freezeFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.frozen.Load() {
		return f.file(newname, nil, nil)
	}
	inner, err := f.FS.ReuseForWrite(oldname, newname, c)
	return f.file(newname, inner, err)
}

func (f *freezeFS) OpenDir(name string) (vfs.File, error) {
	inner, err := f.FS.OpenDir(name)
	if err != nil && !f.frozen.Load() {
		return nil, err
	}
	return f.file(name, inner, err)
}

func (f *freezeFS) Rename(oldname, newname string) error {
	if !f.frozen.Load() {
		f.check("rename", oldname, f.FS.Rename(oldname, newname))
	}
	return nil
}

func (f *freezeFS) Link(oldname, newname string) error {
	if !f.frozen.Load() {
		f.check("link", oldname, f.FS.Link(oldname, newname))
	}
	return nil
}

// Remove fails without harm: Pebble looks for what is left over when it opens.
func (f *freezeFS) Remove(name string) error {
	if f.frozen.Load() {
		return nil
	}
	err := f.FS.Remove(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.check("remove", name, err)
		return nil
	}
	return err
}

func (f *freezeFS) RemoveAll(name string) error {
	if f.frozen.Load() {
		return nil
	}
	return f.FS.RemoveAll(name)
}

func (f *freezeFS) MkdirAll(dir string, perm os.FileMode) error {
	if f.frozen.Load() {
		return nil
	}
	return f.FS.MkdirAll(dir, perm)
}

// freezeFile is a file open for writing, or a directory open for syncing.
type freezeFile struct {
	fs    *freezeFS
	name  string
	inner vfs.File // nil: made after the disk was frozen
}

func (f *freezeFile) live() bool { return f.inner != nil && !f.fs.frozen.Load() }

func (f *freezeFile) Write(b []byte) (int, error) {
	if f.live() {
		_, err := f.inner.Write(b)
		f.fs.check("write", f.name, err)
	}
	return len(b), nil
}

func (f *freezeFile) WriteAt(b []byte, at int64) (int, error) {
	if f.live() {
		_, err := f.inner.WriteAt(b, at)
		f.fs.check("write", f.name, err)
	}
	return len(b), nil
}

func (f *freezeFile) Sync() error {
	if f.live() {
		f.fs.check("sync", f.name, f.inner.Sync())
	}
	return nil
}

func (f *freezeFile) SyncData() error {
	if f.live() {
		f.fs.check("sync", f.name, f.inner.SyncData())
	}
	return nil
}

func (f *freezeFile) SyncTo(n int64) (full bool, err error) {
	if f.live() {
		full, err = f.inner.SyncTo(n)
		f.fs.check("sync", f.name, err)
	}
	return full, nil
}

// Preallocate is advice; a disk that is full says so at the write.
func (f *freezeFile) Preallocate(at, n int64) error {
	if f.live() {
		return f.inner.Preallocate(at, n)
	}
	return nil
}

func (f *freezeFile) Close() error {
	if f.inner == nil {
		return nil
	}
	f.fs.check("close", f.name, f.inner.Close())
	return nil
}

func (f *freezeFile) Read(b []byte) (int, error) {
	if f.inner == nil {
		return 0, io.EOF
	}
	return f.inner.Read(b)
}

func (f *freezeFile) ReadAt(b []byte, at int64) (int, error) {
	if f.inner == nil {
		return 0, io.EOF
	}
	return f.inner.ReadAt(b, at)
}

func (f *freezeFile) Stat() (vfs.FileInfo, error) {
	if f.inner == nil {
		return nil, os.ErrNotExist
	}
	return f.inner.Stat()
}

func (f *freezeFile) Prefetch(at, n int64) error {
	if f.inner == nil {
		return nil
	}
	return f.inner.Prefetch(at, n)
}

// Fd returns the descriptor of the file. Pebble passes it to fadvise, and syncs
// as it writes only where there is one.
func (f *freezeFile) Fd() uintptr {
	if f.inner == nil {
		return vfs.InvalidFd
	}
	return f.inner.Fd()
}
