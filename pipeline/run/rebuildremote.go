package run

import (
	"context"
	"errors"
	"fmt"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/state"
)

// ErrTrimmed says that a state cannot be rebuilt from nothing, for the journal's
// beginning was trimmed behind a checkpoint. [ReadRemote] gets that checkpoint.
var ErrTrimmed = errors.New("what came before was trimmed behind a checkpoint")

// ErrHistory says that a state cannot be rebuilt from nothing, for it began with a
// file of history, which a checkpoint is behind.
var ErrHistory = errors.New("the file is not in the log")

// ReadRemote copies the checkpoint that the state topic holds of a task into a
// store, compared with its seal, and returns what it is of. It takes no lock: a
// pipeline may run, and save a newer one, meanwhile. A [WrongRequest] says that
// there is none.
func ReadRemote(ctx context.Context, p *pipeline.Pipeline, past connectors.PastState, task int, into state.Store) (m state.Manifest, err error) {
	im, err := readImage(func(yield func(key, value []byte) error) error {
		return past.ReadState(ctx, task, yield)
	}, true)
	if err == nil {
		m, err = im.check()
	}
	switch {
	case errors.Is(err, errNoRemote):
		return m, wrongRequest("topic %s holds no checkpoint of task %d", StateTopic(p), task)
	case err != nil:
		return m, fmt.Errorf("topic %s, task %d: %w", StateTopic(p), task, err)
	}
	return m, into.Import(ctx, task, im.each)
}

// each yields the entries of an image whose values were read.
func (im *image) each(yield func(key, value []byte) error) error {
	for k, v := range im.values {
		if err := yield([]byte(k), v); err != nil {
			return err
		}
	}
	return nil
}
