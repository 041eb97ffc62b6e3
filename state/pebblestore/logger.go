package pebblestore

import (
	"errors"
	"fmt"
)

// logger takes what Pebble says. Pebble calls Fatalf where it cannot go on and
// expects the process to end; here Fatalf notes the failure and returns, which
// leaves the callers an error to return, and lets the database be closed. What
// was being written is then refused by [Store.apply].
type logger struct{ s *Store }

// Infof is called for every flush and compaction.
func (l *logger) Infof(string, ...any) {}

func (l *logger) Errorf(format string, args ...any) {
	l.s.o.Log.Warn("state store", "dir", l.s.dir, "error", fmt.Sprintf(format, args...))
}

func (l *logger) Fatalf(format string, args ...any) {
	// Keep the cause in the chain where it is given as a value.
	var cause error
	for _, a := range args {
		if err, ok := a.(error); ok {
			cause = err
		}
	}
	text := fmt.Sprintf(format, args...)
	if cause == nil {
		l.fail(errors.New(text))
		return
	}
	l.fail(&fatalError{text: text, cause: cause})
}

func (l *logger) fail(err error) {
	if l.s.failure.CompareAndSwap(nil, &failure{err}) {
		l.s.o.Log.Error("the state store failed", "dir", l.s.dir, "error", err)
	}
}

// background is told of failed flushes and compactions, which Pebble repeats.
func (l *logger) background(err error) {
	l.s.o.Log.Warn("state store: work in the background failed and is repeated", "dir", l.s.dir, "error", err)
}

type fatalError struct {
	text  string
	cause error
}

func (e *fatalError) Error() string { return e.text }
func (e *fatalError) Unwrap() error { return e.cause }
