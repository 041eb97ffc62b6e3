//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
	"github.com/gradstream/gradstream/state/weights"
)

// perWeight is the number of float32 of a weight under AdaGrad: itself and the sum of its squared gradients.
const perWeight = 2

var tableID = state.ID{Node: "m", Name: "weights", Version: 1}

// full returns a table that has no zeros.
func full(rows int) *weights.Table {
	t := weights.New(rows, perWeight)
	for i := range t.Data {
		t.Data[i] = 1 / float32(i%100_000+1)
	}
	t.TouchAll()
	return t
}

// save makes a checkpoint and returns how long the task stood still for it and how long it took in all.
func save(ctx context.Context, p state.Partition, step uint64) (stood, took time.Duration, err error) {
	begun := time.Now()
	commit, err := p.Stage(state.Manifest{Step: step})
	stood = time.Since(begun)
	if err == nil {
		err = commit(ctx)
	}
	return stood, time.Since(begun), err
}

// open opens the store of one task, with a table bound to it, which then holds what was saved.
func (s *suite) open(dir string, t *weights.Table) (store *pebblestore.Store, p state.Partition, err error) {
	store, err = pebblestore.Open(dir, pebblestore.Options{Pipeline: "growth"})
	if err != nil {
		return nil, nil, err
	}
	if p, err = store.Open(0); err == nil {
		err = p.Bind(tableID, t)
	}
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return store, p, nil
}

// checkpoints saves shares of a model of 2^22 weights. The shares are of pages of 4 KiB, which are what is saved.
func checkpoints(ctx context.Context, s *suite) (err error) {
	const rows = 1 << 22
	const pages = rows * perWeight / weights.PageLen
	t := full(rows)
	store, p, err := s.open(filepath.Join(s.dir, "checkpoints"), t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close(), store.Close()) }()
	if _, _, err := save(ctx, p, 1); err != nil {
		return err
	}
	out := table{Name: "checkpoint of a model of 2^22 weights (32 MiB)", X: "dirty %", Y: "ms", Extra: "task stands still, ms"}
	step := uint64(1)
	for _, percent := range []int{1, 3, 10, 30, 100} {
		var stood, took []float64
		for range s.repeats {
			dirty := pages * percent / 100
			for i := range dirty {
				at := i * pages / dirty * weights.PageLen
				t.Data[at]++
				t.TouchRow(at / perWeight)
			}
			step++
			a, b, err := save(ctx, p, step)
			if err != nil {
				return err
			}
			stood, took = append(stood, a.Seconds()*1e3), append(took, b.Seconds()*1e3)
		}
		out.Rows = append(out.Rows, point{float64(percent), median(took), median(stood)})
	}
	s.tables = append(s.tables, out)
	return nil
}

// restores opens what was saved of models of several sizes. The files are in the system's cache.
func restores(ctx context.Context, s *suite) error {
	out := table{Name: "restore of a model from the local store", X: "MiB", Y: "ms", Extra: "log2 weights"}
	for bits := 10; bits <= 26; bits += 4 {
		dir := filepath.Join(s.dir, fmt.Sprint("restore", bits))
		t := full(1 << bits)
		store, p, err := s.open(dir, t)
		if err != nil {
			return err
		}
		_, _, err = save(ctx, p, 1)
		if err := errors.Join(err, p.Close(), store.Close()); err != nil {
			return err
		}
		sum := state.Digest(tableID, t)
		var took []float64
		for range s.repeats {
			t = weights.New(1<<bits, perWeight)
			begun := time.Now()
			store, p, err := s.open(dir, t)
			if err != nil {
				return err
			}
			took = append(took, time.Since(begun).Seconds()*1e3)
			if state.Digest(tableID, t) != sum {
				err = errors.New("what is restored is not what was saved")
			}
			if err := errors.Join(err, p.Close(), store.Close()); err != nil {
				return err
			}
		}
		out.Rows = append(out.Rows, point{float64(int(4)*perWeight<<bits) / (1 << 20), median(took), float64(bits)})
	}
	s.tables = append(s.tables, out)
	return nil
}
