package kafka

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

// TestStateCompaction saves states on a broker that compacts as eagerly as it can,
// with aborted transactions between: what is loaded is what was saved last,
// however much of the log is gone.
func TestStateCompaction(t *testing.T) {
	k := realkafka.Start(t, realkafka.Options{Properties: map[string]string{
		"log.cleaner.backoff.ms": "500", "log.roll.jitter.hours": "0",
	}})
	e := &env{addr: k.Addrs()[0], name: uniqueName(t)}
	c := e.open(t, 1, func(o *Options) { o.StateTopic = uniqueName(t) + ".compacted" })
	err := c.Create(testContext(t), []connectors.Topic{{Name: c.opt.StateTopic, Partitions: 1, Config: map[string]string{
		"cleanup.policy": "compact", "segment.bytes": "1048576", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01",
		"delete.retention.ms": "100", "min.compaction.lag.ms": "0", "max.compaction.lag.ms": "1000",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	now := map[string]string{}
	saved := 0
	l := fenced(t, c, 0, "owner 0")
	for round := range 4 {
		for range 8 {
			var changes []stateEntry
			for range 200 {
				key := fmt.Sprintf("\x02key %03d", rng.IntN(300))
				switch rng.IntN(5) {
				case 0:
					delete(now, key)
					changes = append(changes, stateEntry{key, nil})
				default:
					v := noise(rng.IntN(3000), rng.Uint64())
					if rng.IntN(60) == 0 {
						v = noise(pieceBytes*(1+rng.IntN(2))+rng.IntN(5000), rng.Uint64())
					}
					now[key] = string(v)
					changes = append(changes, stateEntry{key, v})
				}
			}
			mustSave(t, l, changes...)
			saved += len(changes)
			// One that is given up.
			ctx, cancel := context.WithCancel(testContext(t))
			err := l.SaveState(ctx, func(yield func(key, value []byte) error) error {
				for i := range 300 {
					if err := yield(fmt.Appendf(nil, "\x02key %03d", i), []byte("never")); err != nil {
						return err
					}
				}
				cancel()
				return ctx.Err()
			})
			if err == nil {
				t.Fatal("a save that is given up succeeds")
			}
		}
		// The next owner's record, and those of later rounds, roll segments and let
		// the cleaner pass.
		l = fenced(t, c, 0, fmt.Sprint("owner ", round+1))
		wantState(t, fmt.Sprintf("round %d, at once", round), loaded(t, l), now)
		left := cleaned(t, c, l, saved)
		t.Logf("round %d: of %d records %d are left", round, saved, left)
		wantState(t, fmt.Sprintf("round %d, cleaned", round), loaded(t, l), now)
	}
}

// cleaned waits until the cleaner has removed most of what was replaced, and
// returns how many records are left.
func cleaned(t *testing.T, c *Cluster, l *taskLog, saved int) (left int) {
	t.Helper()
	ctx := testContext(t)
	for {
		left = 0
		if err := l.LoadState(ctx, func(_, _ []byte) error { left++; return nil }); err != nil {
			t.Fatal(err)
		}
		if left < 600 && left < saved {
			return left
		}
		// Something has to be written behind the active segment's age.
		if !sleep(ctx, 1100*time.Millisecond) {
			t.Fatalf("%d records are left of %d", left, saved)
		}
		if err := l.SaveState(ctx, stateOf(stateEntry{"\x01tick", nil})); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkStateLog saves 16 MiB of entries as pages of weights have them, of which
// nothing compresses, and loads them again.
func BenchmarkStateLog(b *testing.B) {
	const pages = 4096
	for _, where := range []string{"fake", "kafka"} {
		var e *env
		setup := func(b *testing.B) *Cluster {
			if where == "fake" {
				e = fake(b, kfake.BrokerConfigs(map[string]string{"log.retention.bytes": "67108864"}))
			} else {
				e = &env{addr: realkafka.Shared(b), name: uniqueName(b)}
			}
			return e.open(b, 1, nil)
		}
		data := make([][]byte, pages)
		for i := range data {
			data[i] = noise(4107, uint64(i))
		}
		entries := func(yield func(key, value []byte) error) error {
			for i, v := range data {
				if err := yield(fmt.Appendf(nil, "\x02ctr\x00w\x00%04d", i), v); err != nil {
					return err
				}
			}
			return nil
		}
		b.Run(where+"/save", func(b *testing.B) {
			l := fenced(b, setup(b), 0, "open")
			b.SetBytes(pages * 4107)
			for b.Loop() {
				if err := l.SaveState(context.Background(), entries); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(where+"/load", func(b *testing.B) {
			c := setup(b)
			if err := fenced(b, c, 0, "open").SaveState(context.Background(), entries); err != nil {
				b.Fatal(err)
			}
			l := fenced(b, c, 0, "next")
			b.SetBytes(pages * 4107)
			for b.Loop() {
				n := 0
				if err := l.LoadState(context.Background(), func(_, _ []byte) error { n++; return nil }); err != nil || n != pages {
					b.Fatal(n, err)
				}
			}
		})
	}
}
