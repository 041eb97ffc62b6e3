package main

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/state"
)

// history is what gradstream run learns from files before it reads topics.
type history struct {
	files []string
	until string
}

func (h *history) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&h.files, "backfill", nil, "file of history that a pipeline which has not run learns before it reads a source's topic: `SOURCE=PATH` (repeatable); nothing is published of it")
	c.Flags().StringVar(&h.until, "backfill-until", "", "event `time` (RFC 3339) of the cut: rows of the files from it on are left out, and so are rows of the topics before it; without it the whole file is learnt, and the topic from its start: on")
}

// open checks the files and notes what identifies them.
func (h *history) open(ctx context.Context, p *pipeline.Pipeline) (all []run.Backfill, err error) {
	paths, err := assignments("--backfill", h.files)
	if err != nil {
		return nil, err
	}
	var until int64
	if h.until != "" {
		at, err := time.Parse(time.RFC3339, h.until)
		if err != nil || at.UnixMilli() <= 0 {
			return nil, wrongInput("--backfill-until %s: expected a time such as 2024-05-01T00:00:00Z", h.until)
		}
		if until = at.UnixMilli(); len(paths) == 0 {
			return nil, wrongInput("--backfill-until %s: there is no --backfill", h.until)
		}
	}
	if len(paths) > 0 && len(p.Stages()) > 1 {
		return nil, wrongInput("--backfill: pipeline %s has a repartition, and is learnt from topics only", p.Name)
	}
	for _, name := range sortedKeys(paths) {
		path := paths[name]
		i := p.Source(name)
		if i < 0 {
			return nil, noSource("--backfill "+name+"="+path, p, name)
		}
		s := p.Sources[i]
		if until != 0 && s.Time == "" {
			return nil, wrongInput("--backfill-until %s: source %s has no event time; give it time: COLUMN", h.until, name)
		}
		b := run.Backfill{Source: name, Name: path, Until: until, Open: func() (connectors.Reader, error) {
			return file.Open(path, file.Options{Schema: s.Schema, Time: s.Time})
		}, Sum: func(ctx context.Context) (state.Hash, error) { return fileDigest(ctx, path) }}
		r, err := b.Open()
		if err != nil {
			return nil, inputError{err}
		}
		_ = r.Close() // it is read later
		if b.Digest, err = fileDigest(ctx, path); err != nil {
			return nil, inputError{err}
		}
		all = append(all, b)
	}
	return all, nil
}

// fileDigest is the SHA-256 of a file.
func fileDigest(ctx context.Context, path string) (sum state.Hash, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, untilDone{ctx, f}); err != nil {
		return sum, err
	}
	return state.Hash(h.Sum(nil)), nil
}

// untilDone reads until a context ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}
