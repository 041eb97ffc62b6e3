package run

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/memstore"
)

// renewedStore is a store whose database can be lost while it is used, as
// pebblestore's is when it is damaged.
type renewedStore struct {
	mu    sync.Mutex
	inner state.Store
	epoch int
}

func (s *renewedStore) now() (state.Store, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inner, s.epoch
}

func (s *renewedStore) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inner, s.epoch = memstore.New(), s.epoch+1
}

func (s *renewedStore) Open(task int) (state.Partition, error) {
	inner, epoch := s.now()
	p, err := inner.Open(task)
	return &renewedPartition{p, s, epoch}, err
}

func (s *renewedStore) Tasks() ([]int, error) { inner, _ := s.now(); return inner.Tasks() }

func (s *renewedStore) Delete(task int) error { inner, _ := s.now(); return inner.Delete(task) }

func (s *renewedStore) Dump(task int, yield func(key, value []byte) error) error {
	inner, _ := s.now()
	return inner.Dump(task, yield)
}

func (s *renewedStore) Import(ctx context.Context, task int, entries func(yield func(key, value []byte) error) error) error {
	inner, _ := s.now()
	return inner.Import(ctx, task, entries)
}

func (s *renewedStore) Close() error { inner, _ := s.now(); return inner.Close() }

type renewedPartition struct {
	state.Partition
	s     *renewedStore
	epoch int
}

func (p *renewedPartition) lost() error {
	if _, now := p.s.now(); now != p.epoch {
		return fmt.Errorf("%w: begun anew", state.ErrDamaged)
	}
	return nil
}

func (p *renewedPartition) Bind(id state.ID, h state.Stateful) error {
	if err := p.lost(); err != nil {
		return err
	}
	return p.Partition.Bind(id, h)
}

func (p *renewedPartition) Stage(m state.Manifest) (func(context.Context) error, error) {
	commit, err := p.Partition.Stage(m)
	return func(ctx context.Context) error {
		if err := p.lost(); err != nil {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			_ = commit(ended)
			return err
		}
		return commit(ctx)
	}, err
}

// TestStoreRenewed loses the local state while tasks run: they are restored from
// the state topic or the journal, checkpoint again, and nothing is lost or repeated.
func TestStoreRenewed(t *testing.T) {
	for _, remote := range []string{"1h", "300ms"} {
		t.Run(remote, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := parse(t, strings.NewReplacer("BAD", "", "HOW", "error", "local: 100ms", "local: 100ms, remote: "+remote).Replace(oddYAML))
				b, store := newSimBroker(5), &renewedStore{inner: memstore.New()}
				s := startSim(t, p, &simCluster{simBroker: b}, store, Options{})
				const rounds, n = 6, 300
				for round := range rounds {
					ids(b, "a", 3, n)
					s.settle()
					time.Sleep(time.Duration(round) * 100 * time.Millisecond)
					store.lose()
				}
				ids(b, "a", 3, n)
				s.settle()
				time.Sleep(2 * time.Second)
				if err := s.end(); err != nil {
					t.Fatal(err)
				}
				seen := map[string]int{}
				for task := range 3 {
					inner, _ := store.now()
					part, err := inner.Open(task)
					if err != nil {
						t.Fatal(err)
					}
					steps := b.outputs[task]
					if m, ok := part.Last(); !ok || m.Step != steps[len(steps)-1].step {
						t.Errorf("task %d: checkpoint of step %d, the last is %d", task, m.Step, steps[len(steps)-1].step)
					}
					for _, step := range steps {
						for _, o := range step.outputs {
							seen[id(o.Value)]++
						}
					}
				}
				if want := (rounds + 1) * n; len(seen) != want {
					t.Errorf("%d of %d events were published", len(seen), want)
				}
				for id, times := range seen {
					if times != 1 {
						t.Errorf("%s %d times", id, times)
					}
				}
			})
		})
	}
}
