//go:build unix && !solaris && !aix

package kafka

import (
	"errors"
	"os"
	"syscall"
)

// openLocked opens a file and locks it, or reports that another holds the lock.
func openLocked(name string) (f *os.File, held bool, err error) {
	if f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, false, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, true, nil
	}
	return nil, false, err
}
