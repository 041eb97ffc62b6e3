package run

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/state"
)

// remote is what a task knows of the copy of its state in the state topic, and
// the saving of it.
type remote struct {
	// Of the task's goroutine.
	tried time.Time               // when saving was last begun
	lost  context.CancelCauseFunc // ends the task

	// Of the goroutine that saves, one at a time, or of the task's while none does.
	known map[string]known // by store key; nil = the topic was not read yet
	turn  uint32
	trim  time.Time // when the journal was last trimmed

	saving  atomic.Bool
	hurry   atomic.Bool // a checkpoint is due whatever the clock says
	running sync.WaitGroup

	mu   sync.Mutex
	last state.Manifest // of the last remote checkpoint known to be committed
	has  bool
	at   time.Time // when it was
}

// known is what the topic holds under a key.
type known struct {
	sum  uint64
	sure bool   // false: a transaction that held the key failed, or was it committed?
	turn uint32 // of the latest save that met the key
}

// step returns the step of the last remote checkpoint known to be committed.
func (r *remote) step() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last.Step
}

func (r *remote) confirmed() (state.Manifest, bool, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.has, r.at
}

func (r *remote) confirm(m state.Manifest, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.has, r.at = m, true, at
}

// reset forgets all, before the lock is taken anew: others may have written since.
func (r *remote) reset() {
	r.known, r.turn, r.tried = nil, 0, time.Time{}
	r.saving.Store(false)
	r.hurry.Store(false)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.has, r.at = state.Manifest{}, false, time.Time{}
}

// seal closes a remote checkpoint: what its entries add up to. Its key sorts
// behind all store keys.
type seal struct {
	Step  uint64
	Hash  state.Hash
	Count uint64 // of entries, the manifest included
	Sum   uint64 // XOR of their sums
}

const sealVersion = 1

var sealKey = []byte{0xff}

func (s seal) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, sealVersion), s.Step)
	dst = append(dst, s.Hash[:]...)
	dst = binary.AppendUvarint(dst, s.Count)
	return binary.LittleEndian.AppendUint64(dst, s.Sum)
}

func parseSeal(b []byte) (s seal, err error) {
	d := &journalReader{b: b}
	if v := d.byte(); v != sealVersion {
		return s, fmt.Errorf("%w: a seal of version %d; this program reads version %d", state.ErrLayout, v, sealVersion)
	}
	s.Step = d.uint()
	copy(s.Hash[:], d.take(len(s.Hash)))
	s.Count, s.Sum = d.uint(), d.fixed()
	if d.bad || len(d.b) != 0 {
		return s, fmt.Errorf("%w: malformed seal", state.ErrDamaged)
	}
	return s, nil
}

// entrySum is the sum of one entry; buf is reused.
func entrySum(buf, key, value []byte) (uint64, []byte) {
	buf = binary.AppendUvarint(buf[:0], uint64(len(key)))
	buf = append(append(buf, key...), value...)
	return xxh3.Hash(buf), buf
}

// image is what the state topic holds for a task.
type image struct {
	sums   map[string]uint64
	values map[string][]byte // nil if not wanted
	bytes  int64             // of the values
	seal   []byte
	raw    []byte // the manifest
}

// readImage reads the state topic as far as load does.
func readImage(load func(yield func(key, value []byte) error) error, values bool) (*image, error) {
	im := &image{sums: map[string]uint64{}}
	if values {
		im.values = map[string][]byte{}
	}
	var buf []byte
	err := load(func(key, value []byte) error {
		switch {
		case string(key) == string(sealKey):
			im.seal = append([]byte(nil), value...)
			return nil
		case string(key) == string(state.ManifestKey()):
			im.raw = append([]byte(nil), value...)
		}
		if value == nil {
			delete(im.sums, string(key))
			delete(im.values, string(key))
			return nil
		}
		im.sums[string(key)], buf = entrySum(buf, key, value)
		if values {
			im.values[string(key)] = append([]byte{}, value...)
		}
		return nil
	})
	for _, v := range im.values {
		im.bytes += int64(len(v))
	}
	return im, err
}

// loadState reads the state topic up to the own open record.
func (t *task) loadState(ctx context.Context) func(yield func(key, value []byte) error) error {
	return func(yield func(key, value []byte) error) error { return t.tlog.LoadState(ctx, yield) }
}

// errNoRemote says that the state topic holds no checkpoint.
var errNoRemote = errors.New("it holds no checkpoint")

// check compares what was read with the seal.
func (im *image) check() (m state.Manifest, err error) {
	if len(im.sums) == 0 && im.seal == nil {
		return m, errNoRemote
	}
	s, err := parseSeal(im.seal)
	if err != nil {
		return m, err
	}
	var sum uint64
	for _, v := range im.sums {
		sum ^= v
	}
	if m, err = state.DecodeManifest(im.raw); err != nil {
		return m, err
	}
	if uint64(len(im.sums)) != s.Count || sum != s.Sum || m.Step != s.Step || m.Hash != s.Hash {
		return m, fmt.Errorf("%w: its %d entries, sum %x, manifest of step %d are not the %d entries, sum %x, of step %d that were saved", state.ErrDamaged, len(im.sums), sum, m.Step, s.Count, s.Sum, s.Step)
	}
	return m, nil
}

// learn takes over what an image says. Unless it was checked, nothing of it is sure.
func (r *remote) learn(im *image, sure bool) {
	r.known = make(map[string]known, len(im.sums)+1)
	for k, sum := range im.sums {
		r.known[k] = known{sum: sum, sure: sure}
	}
}

// upkeep begins what is due beside the steps. It runs on the task's goroutine,
// between steps.
func (t *task) upkeep() {
	r := &t.remote
	if r.saving.Load() || !r.hurry.Load() && t.w.now().Sub(r.tried) < t.w.p.Checkpoint.Remote {
		return
	}
	m, ok := t.part.Last()
	if !ok || m.Step <= r.step() {
		return
	}
	r.tried = t.w.now()
	r.saving.Store(true)
	r.running.Go(func() {
		defer r.saving.Store(false)
		if err := t.saveRemote(t.beside); errors.Is(err, connectors.ErrLost) {
			r.lost(err)
		}
	})
}

// saveRemote copies the last local checkpoint to the state topic. A failure is
// counted and told, and stops nothing, unless the lock is lost.
func (t *task) saveRemote(ctx context.Context) error {
	select {
	case t.w.bulk <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-t.w.bulk }()
	begun := t.w.now()
	m, size, err := t.sendRemote(ctx)
	switch {
	case err == nil && m.Step == 0: // the local store was renewed and holds nothing yet
	case err == nil:
		now := t.w.now()
		t.remote.confirm(m, now)
		t.remote.hurry.Store(false)
		if size > 0 {
			t.w.metrics.sent(t.id, size, now.Sub(begun), now)
			t.log.Debug("remote checkpoint", "step", m.Step, "bytes", size, "took", now.Sub(begun))
		}
		t.trim(ctx, m)
	case ctx.Err() != nil: // told to stop
	default:
		t.w.metrics.remoteFailures.Inc()
		t.log.Error("remote checkpoint failed; going on without", "err", err)
	}
	return err
}

// sendRemote sends what differs from what the topic holds. Bytes is 0 if the topic
// holds the checkpoint already.
func (t *task) sendRemote(ctx context.Context) (m state.Manifest, bytes int, err error) {
	r := &t.remote
	if r.known == nil {
		im, err := readImage(t.loadState(ctx), false)
		if err != nil {
			return m, 0, fmt.Errorf("reading the state topic: %w", err)
		}
		if m, err = im.check(); err != nil && !errors.Is(err, errNoRemote) {
			t.log.Warn("the remote checkpoint cannot be used; it is made anew", "reason", err)
		}
		r.learn(im, err == nil)
		if err == nil {
			r.confirm(m, time.Time{})
		}
	}
	r.turn++
	var d state.Delta
	var buf, manifest []byte
	var s seal
	changed := map[string]uint64{}
	err = t.w.store.Dump(t.id, func(key, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var sum uint64
		sum, buf = entrySum(buf, key, value)
		s.Count++
		s.Sum ^= sum
		k, had := r.known[string(key)]
		if had {
			k.turn = r.turn
			r.known[string(key)] = k
		}
		switch {
		case had && k.sure && k.sum == sum:
		case len(key) == 1: // the manifest, which is sent last
			manifest = append([]byte(nil), value...)
			changed[string(key)] = sum
		default:
			d.Put(key, value)
			changed[string(key)] = sum
		}
		return nil
	})
	if err != nil {
		return m, 0, fmt.Errorf("reading the local checkpoint: %w", err)
	}
	if manifest == nil {
		m, _, _ := r.confirmed()
		return m, 0, nil // nothing is newer
	}
	if m, err = state.DecodeManifest(manifest); err != nil {
		return m, 0, err
	}
	var gone []string
	for k, v := range r.known {
		if v.turn != r.turn {
			d.Put([]byte(k), nil)
			gone = append(gone, k)
			v.sure = false
			r.known[k] = v
		}
	}
	for k, sum := range changed {
		r.known[k] = known{sum: sum, turn: r.turn}
	}
	s.Step, s.Hash = m.Step, m.Hash
	d.Put(state.ManifestKey(), manifest)
	d.Put(sealKey, s.append(nil))
	err = t.tlog.SaveState(ctx, func(yield func(key, value []byte) error) error {
		for k, v := range d.Each {
			if err := yield(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return m, 0, err
	}
	for k, sum := range changed {
		r.known[k] = known{sum: sum, sure: true, turn: r.turn}
	}
	for _, k := range gone {
		delete(r.known, k)
	}
	return m, d.Bytes(), nil
}

// saveRemoteLast copies the checkpoint of a planned stop, so that any machine may
// go on without a replay.
func (t *task) saveRemoteLast(ctx context.Context) {
	m, ok := t.part.Last()
	if !ok || m.Step <= t.remote.step() {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.w.opts.DrainTime/2, errors.New("there is no time left"))
	defer cancel()
	if err := t.saveRemote(ctx); err != nil && ctx.Err() != nil {
		t.log.Warn("stopped without a remote checkpoint of the last step; another machine will replay", "err", context.Cause(ctx))
	}
}

// trim deletes what a restore from a remote checkpoint does not read any more, now
// and then: of the journal, and of rows that came across a repartition.
func (t *task) trim(ctx context.Context, m state.Manifest) {
	keep := t.w.opts.JournalKeep
	now := t.w.now()
	if keep < 0 || now.Sub(t.remote.trim) < keep/24 {
		return
	}
	t.remote.trim = now
	journal := connectors.TopicPartition{Topic: JournalTopic(t.w.p), Partition: int32(t.id)}
	// The journal first: an older local checkpoint is then found to be of no use.
	for _, at := range append([]connectors.Position{{TopicPartition: journal, Next: m.Journal}}, t.of.ownPositions(m)...) {
		start, err := t.tlog.Trim(ctx, at, keep)
		if err != nil {
			if ctx.Err() == nil {
				t.log.Warn("a log of the pipeline's own could not be trimmed", "partition", at.TopicPartition, "before", at.Next, "err", err)
			}
			return
		}
		t.log.Debug("log trimmed", "partition", at.TopicPartition, "starts_at", start)
	}
}
