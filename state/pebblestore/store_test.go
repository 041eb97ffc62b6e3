package pebblestore_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
	"github.com/gradstream/gradstream/state/statetest"
	"github.com/gradstream/gradstream/state/weights"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

const lockHelper = "PEBBLESTORE_TEST_LOCK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockHelper); dir != "" { // the second process of TestLocked
		_, err := pebblestore.Open(dir, pebblestore.Options{})
		fmt.Println(errors.Is(err, pebblestore.ErrLocked), err)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func mustOpen(t testing.TB, dir string, o pebblestore.Options) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fill commits n steps of task 0 and returns the digests after each, by step.
func fill(t testing.TB, s *pebblestore.Store, n int) [][]uint64 {
	t.Helper()
	p, err := s.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	var h statetest.Handles
	if err := h.Bind(p); err != nil {
		t.Fatal(err)
	}
	digests := [][]uint64{h.Digests()}
	for i := 1; i <= n; i++ {
		h.Write(i)
		digests = append(digests, h.Digests())
		commit, err := p.Stage(state.Manifest{Step: uint64(i), Positions: []state.Position{{Topic: "t", Partition: 1, Next: int64(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return digests
}

func restored(t testing.TB, s *pebblestore.Store) ([]uint64, state.Manifest, error) {
	t.Helper()
	p, err := s.Open(0)
	if err != nil {
		return nil, state.Manifest{}, err
	}
	defer p.Close()
	var h statetest.Handles
	if err := h.Bind(p); err != nil {
		return nil, state.Manifest{}, err
	}
	m, _ := p.Last()
	return h.Digests(), m, nil
}

func TestConformance(t *testing.T) {
	for name, o := range map[string]pebblestore.Options{
		"default": {Pipeline: "test"},
		"small":   {Pipeline: "test", MemTableBytes: smallMem, CacheBytes: 1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			statetest.Run(t, func(t *testing.T) func() statetest.Store {
				dir := t.TempDir()
				return func() statetest.Store { return mustOpen(t, dir, o) }
			})
		})
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, pebblestore.Options{Pipeline: "a"})
	for _, o := range []pebblestore.Options{{Pipeline: "a"}, {ReadOnly: true}} {
		if _, err := pebblestore.Open(dir, o); !errors.Is(err, pebblestore.ErrLocked) || !strings.Contains(err.Error(), dir) {
			t.Errorf("second open: %v", err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockHelper+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "true ") || !strings.Contains(string(out), "another process has "+dir+" open") {
		t.Errorf("another process: %s %v", out, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, pebblestore.Options{Pipeline: "a"})
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, pebblestore.Options{Pipeline: "clicks"})
	fill(t, s, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := pebblestore.Open(dir, pebblestore.Options{Pipeline: "other"})
	if !errors.Is(err, pebblestore.ErrForeign) || !strings.Contains(err.Error(), `"clicks", not of "other"`) {
		t.Errorf("another pipeline: %v", err)
	}
	s = mustOpen(t, dir, pebblestore.Options{})
	if s.Pipeline() != "clicks" {
		t.Errorf("pipeline %q", s.Pipeline())
	}
	s.Close()

	edit := func(f func(db *pebble.DB) error) {
		t.Helper()
		db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f(db), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	key := []byte("\x00gs")
	edit(func(db *pebble.DB) error { return db.Set(key, []byte("\x02whatever a newer one writes"), pebble.Sync) })
	if _, err = pebblestore.Open(dir, pebblestore.Options{Pipeline: "clicks"}); !errors.Is(err, pebblestore.ErrForeign) || !strings.Contains(err.Error(), "newer program (format version 2") {
		t.Errorf("newer: %v", err)
	}
	edit(func(db *pebble.DB) error { return db.Set(key, []byte("\x01clicks1234"), pebble.Sync) })
	if _, err = pebblestore.Open(dir, pebblestore.Options{Pipeline: "clicks"}); !errors.Is(err, state.ErrDamaged) {
		t.Errorf("damaged identity: %v", err)
	}
	edit(func(db *pebble.DB) error { return db.Delete(key, pebble.Sync) })
	if _, err = pebblestore.Open(dir, pebblestore.Options{Pipeline: "clicks"}); !errors.Is(err, state.ErrDamaged) || !strings.Contains(err.Error(), "identity record is gone") {
		t.Errorf("no identity: %v", err)
	}
	edit(func(db *pebble.DB) error {
		return errors.Join(db.DeleteRange([]byte{0}, []byte{255}, nil), db.Set([]byte("some key"), nil, pebble.Sync))
	})
	if _, err = pebblestore.Open(dir, pebblestore.Options{Pipeline: "clicks"}); !errors.Is(err, pebblestore.ErrForeign) || !strings.Contains(err.Error(), "another program") {
		t.Errorf("another program: %v", err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)         {}
func (quiet) Errorf(string, ...any)        {}
func (quiet) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "none")
	if _, err := pebblestore.Open(missing, pebblestore.Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("reading makes a folder")
	}
	if _, err := pebblestore.Open(dir, pebblestore.Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: %v", err)
	}
	s := mustOpen(t, dir, pebblestore.Options{Pipeline: "a"})
	fill(t, s, 5)
	want, err := s.Handles(0)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	r := mustOpen(t, dir, pebblestore.Options{ReadOnly: true})
	if got, err := r.Handles(0); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	if m, ok, err := r.Manifest(0); m.Step != 5 || !ok || err != nil {
		t.Error(m, ok, err)
	}
	if _, err := r.DiskBytes(0); err != nil {
		t.Error(err)
	}
	if _, err := r.Open(0); err == nil {
		t.Error("a task of a read-only store is open")
	}
	if err := r.Delete(0); err == nil {
		t.Error("a task of a read-only store is deleted")
	}
}

// A file that is flipped, cut or gone gives an error that names the folder and
// wraps ErrDamaged, or no error and the right state; never a wrong state.
func TestDamage(t *testing.T) {
	golden := t.TempDir()
	s := mustOpen(t, golden, pebblestore.Options{Pipeline: "a", MemTableBytes: smallMem})
	want := fill(t, s, 40)
	s.Close()
	files, err := os.ReadDir(golden)
	if err != nil {
		t.Fatal(err)
	}
	seen, tables := 0, 0
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".sst") {
			tables++
		}
		if f.Name() == "LOCK" || strings.HasPrefix(f.Name(), "OPTIONS") {
			continue
		}
		for name, damage := range map[string]func([]byte) []byte{
			"flip early":  func(b []byte) []byte { b[len(b)/5] ^= 0x55; return b },
			"flip middle": func(b []byte) []byte { b[len(b)/2] ^= 0x55; return b },
			"flip late":   func(b []byte) []byte { b[len(b)*9/10] ^= 0x55; return b },
			"cut":         func(b []byte) []byte { return b[:len(b)/2] },
			"empty":       func(b []byte) []byte { return nil },
			"gone":        nil,
		} {
			dir := filepath.Join(t.TempDir(), "state")
			if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, f.Name())
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) == 0 && damage != nil {
				continue
			}
			if damage == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, damage(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			err = func() error {
				s, err := pebblestore.Open(dir, pebblestore.Options{Pipeline: "a"})
				if err != nil {
					return err
				}
				defer s.Close()
				got, m, err := restored(t, s)
				if err != nil {
					return err
				}
				// A log cut at its end cannot be told from a crash, and gives an older
				// checkpoint: the journal says whether it can be used.
				if !slices.Equal(got, want[m.Step]) {
					t.Errorf("%s of %s: a wrong state is restored", name, f.Name())
				}
				return nil
			}()
			if err != nil {
				seen++
				if !errors.Is(err, state.ErrDamaged) || !strings.Contains(err.Error(), "delete the folder "+dir) {
					t.Errorf("%s of %s: %v", name, f.Name(), err)
				}
				renewed(t, dir)
			}
		}
	}
	if seen < 5 || tables == 0 {
		t.Errorf("%d damages were seen, in %d tables among %d files", seen, tables, len(files))
	}
}

// renewed opens a damaged folder to be renewed: what is damaged is set aside, and
// the store works. A partition from before does not.
func renewed(t *testing.T, dir string) {
	t.Helper()
	s := mustOpen(t, dir, pebblestore.Options{Pipeline: "a", MemTableBytes: smallMem, Renew: true})
	old, err := s.Open(7)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	commit, err := old.Stage(state.Manifest{Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := restored(t, s); err != nil { // seen by a reader, who gives the state up
		if err := s.Delete(0); err != nil {
			t.Fatalf("renewing: %v", err)
		}
		if err := commit(t.Context()); !errors.Is(err, state.ErrDamaged) {
			t.Errorf("a checkpoint of a task that was opened before: %v", err)
		}
	}
	aside, err := os.ReadDir(dir + ".damaged")
	if err != nil || len(aside) == 0 {
		t.Errorf("%d files were set aside, %v", len(aside), err)
	}
	want := fill(t, s, 3)
	if got, m, err := restored(t, s); err != nil || m.Step != 3 || !slices.Equal(got, want[3]) {
		t.Errorf("after renewing: step %d, %v", m.Step, err)
	}
}

func TestClosedStore(t *testing.T) {
	var log bytes.Buffer
	s := mustOpen(t, t.TempDir(), pebblestore.Options{Pipeline: "a", Log: slog.New(slog.NewTextHandler(&log, nil))})
	p, err := s.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	commit, err := p.Stage(state.Manifest{Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := commit(t.Context()); !errors.Is(err, pebblestore.ErrClosed) {
		t.Errorf("commit: %v", err)
	}
	if _, err := s.Tasks(); !errors.Is(err, pebblestore.ErrClosed) {
		t.Errorf("tasks: %v", err)
	}
	if _, err := s.Open(1); !errors.Is(err, pebblestore.ErrClosed) {
		t.Errorf("open: %v", err)
	}
	if err := p.Bind(state.ID{Node: "a", Name: "b"}, new(state.Cell[int])); !errors.Is(err, pebblestore.ErrClosed) {
		t.Errorf("bind: %v", err)
	}
	if log.Len() != 0 {
		t.Errorf("log: %s", &log)
	}
}

// State recorded by version 1 of the format is read by every later program.
func TestGolden(t *testing.T) {
	const golden = "testdata/v1"
	if *rewrite {
		if err := os.RemoveAll(golden); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, golden, pebblestore.Options{Pipeline: "golden"})
		fill(t, s, 12)
		s.Close()
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	got, m, err := restored(t, mustOpen(t, dir, pebblestore.Options{Pipeline: "golden"}))
	if err != nil {
		t.Fatal(err)
	}
	var h statetest.Handles
	h.Table = weights.New(5000, 3)
	for i := 1; i <= 12; i++ {
		h.Write(i)
	}
	if !slices.Equal(got, h.Digests()) {
		t.Errorf("digests %x, want %x", got, h.Digests())
	}
	want := state.Manifest{Step: 12, Positions: []state.Position{{Topic: "t", Partition: 1, Next: 12}}}
	if d := cmp.Diff(want, m); d != "" {
		t.Error(d)
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name  string
		pages int
	}{{"1 page", 1}, {"300 pages", 300}, {"16 MiB", 4096}} {
		b.Run(c.name, func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), pebblestore.Options{Pipeline: "bench"})
			p, err := s.Open(0)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			tb := weights.New(4096*weights.PageLen, 1)
			if err := p.Bind(state.ID{Node: "n", Name: "w", Version: 1}, tb); err != nil {
				b.Fatal(err)
			}
			for i := range tb.Data {
				tb.Data[i] = 1 / float32(i+1)
			}
			b.SetBytes(int64(4 * weights.PageLen * c.pages))
			step := uint64(0)
			for b.Loop() {
				for i := range c.pages {
					tb.Data[i*weights.PageLen]++
					tb.TouchRow(i * weights.PageLen)
				}
				step++
				commit, err := p.Stage(state.Manifest{Step: step})
				if err != nil {
					b.Fatal(err)
				}
				if err := commit(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
