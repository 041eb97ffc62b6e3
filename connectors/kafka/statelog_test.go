package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

type stateEntry struct {
	key   string
	value []byte // nil: deleted
}

func stateOf(entries ...stateEntry) func(func(key, value []byte) error) error {
	return func(yield func(key, value []byte) error) error {
		for _, e := range entries {
			k, v := []byte(e.key), bytes.Clone(e.value)
			if err := yield(k, v); err != nil {
				return err
			}
			clear(k) // borrowed for the call only
			clear(v)
		}
		return nil
	}
}

func mustSave(t testing.TB, l *taskLog, entries ...stateEntry) {
	t.Helper()
	if err := l.SaveState(testContext(t), stateOf(entries...)); err != nil {
		t.Fatal(err)
	}
}

// loaded returns what LoadState yields, the last value of each key.
func loaded(t testing.TB, l *taskLog) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := l.LoadState(testContext(t), func(key, value []byte) error {
		if value == nil {
			delete(got, string(key))
		} else {
			got[string(key)] = string(value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantState(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d keys, want %d", what, len(got), len(want))
	}
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("%s: key %q: %d bytes (%v), want %d", what, k, len(g), ok, len(v))
		}
	}
}

func noise(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestStateLog(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		c := e.open(t, 2, nil)
		l := fenced(t, c, 1, "a")
		wantState(t, "at first", loaded(t, l), nil)
		huge, odd := noise(3*pieceBytes, 1), noise(2*pieceBytes+1, 2)
		mustSave(t, l, stateEntry{"x", []byte("1")}, stateEntry{"", []byte{}}, stateEntry{"\x02h", huge}, stateEntry{"y", []byte("2")})
		wantState(t, "what came after the lock was taken is not for its owner", loaded(t, l), nil)
		mustSave(t, l, stateEntry{"x", nil}, stateEntry{"never", nil}, stateEntry{"z", odd}, stateEntry{"y", []byte("3")})
		mustSave(t, l) // nothing

		m := fenced(t, e.open(t, 2, nil), 1, "b")
		want := map[string]string{"": "", "\x02h": string(huge), "z": string(odd), "y": "3"}
		wantState(t, "second owner", loaded(t, m), want)
		wantState(t, "again", loaded(t, m), want)
		wantState(t, "the other task", loaded(t, fenced(t, c, 0, "a")), nil)

		// Values change their number of pieces.
		mustSave(t, m, stateEntry{"\x02h", []byte("small")}, stateEntry{"z", huge}, stateEntry{"y", odd})
		mustSave(t, m, stateEntry{"z", odd}, stateEntry{"y", nil})
		n := fenced(t, c, 1, "c")
		wantState(t, "third owner", loaded(t, n), map[string]string{"": "", "\x02h": "small", "z": string(odd)})
		mustCommit(t, n, e.step(1, 1, 1)) // the other id is not disturbed
	})
}

// A checkpoint of an earlier owner never becomes visible, however late it comes.
func TestStateFencing(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := testContext(t)
		first := fenced(t, e.open(t, 1, nil), 0, "first")
		mustSave(t, first, stateEntry{"k", []byte("1")}, stateEntry{"old", []byte("1")})

		// All is sent, only the end is missing.
		l := first.ckpt
		if err := l.begin(); err != nil {
			t.Fatal(err)
		}
		key := appendPieceKey(nil, []byte("k"), 0)
		l.put(ctx, &kgo.Record{Topic: e.name + ".state", Key: key, Value: appendPiece(bytes.Clone(key), 0, []byte("zombie"), 0)[len(key):]})
		if err := l.flush(ctx); err != nil {
			t.Fatal(err)
		}
		second := fenced(t, e.open(t, 1, nil), 0, "second")
		if got := decide(phaseEnd, l.end(ctx, kgo.TryCommit)); got != actLost {
			t.Errorf("ending the transaction of a taken id: %v, want lost", got)
		}
		for range 2 {
			if err := first.SaveState(ctx, stateOf(stateEntry{"k", []byte("late")})); !errors.Is(err, connectors.ErrLost) {
				t.Errorf("saving under a taken id: %v, want ErrLost", err)
			}
		}
		wantState(t, "second owner", loaded(t, second), map[string]string{"k": "1", "old": "1"})
		mustSave(t, second, stateEntry{"k", []byte("2")}, stateEntry{"old", nil})
		if err := first.SaveState(ctx, stateOf(stateEntry{"old", []byte("late")})); !errors.Is(err, connectors.ErrLost) {
			t.Errorf("saving under a taken id: %v, want ErrLost", err)
		}
		wantState(t, "third owner", loaded(t, fenced(t, e.open(t, 1, nil), 0, "third")), map[string]string{"k": "2"})
	})
}

// A fenced owner that only ever saves notices by itself.
func TestStateFencedWhileIdle(t *testing.T) {
	e := fake(t)
	first := fenced(t, e.open(t, 1, nil), 0, "first")
	second := fenced(t, e.open(t, 1, nil), 0, "second")
	if err := first.SaveState(testContext(t), stateOf(stateEntry{"k", []byte("late")})); !errors.Is(err, connectors.ErrLost) {
		t.Errorf("%v, want ErrLost", err)
	}
	mustSave(t, second, stateEntry{"k", []byte("2")})
}

// Whatever the brokers answer, what is saved is whole: it is sent again where the
// answer allows, and the next save goes through where it does not.
func TestStateFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails bool
		fault kfake.Fault
	}{
		{"produce epoch", false, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidProducerEpoch}},
		{"produce abortable", false, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TransactionAbortable}},
		{"produce sequence", false, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.OutOfOrderSequenceNumber}},
		{"end abortable", false, kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.TransactionAbortable, TopLevel: true}},
		{"end concurrent", false, kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.ConcurrentTransactions, TopLevel: true, Count: 3}},
		{"end unknown", false, kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError, TopLevel: true}},
		{"end timed out", false, kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.RequestTimedOut, TopLevel: true}},
		{"too large", true, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge}},
		{"not allowed", true, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := fake(t)
			l := fenced(t, e.open(t, 1, nil), 0, "open")
			mustSave(t, l, stateEntry{"a", []byte("1")}, stateEntry{"b", []byte("1")})
			h := e.fake.Fault(c.fault)
			err := l.SaveState(testContext(t), stateOf(stateEntry{"a", []byte("2")}, stateEntry{"b", nil}, stateEntry{"c", []byte("2")}))
			if h.Hits() == 0 {
				t.Fatal("the fault never happened")
			}
			want := map[string]string{"a": "2", "c": "2", "d": "3"}
			if (err != nil) != c.fails || errors.Is(err, connectors.ErrLost) {
				t.Fatal(err)
			}
			if c.fails {
				want = map[string]string{"a": "1", "b": "1", "d": "3"}
				if !strings.Contains(err.Error(), e.name+".state") {
					t.Errorf("%v does not name the topic", err)
				}
			}
			mustSave(t, l, stateEntry{"d", []byte("3")})
			wantState(t, "loaded", loaded(t, fenced(t, e.open(t, 1, nil), 0, "next")), want)
			mustCommit(t, l2(t, e), e.step(1, 1, 0))
		})
	}
}

func l2(t *testing.T, e *env) *taskLog { return fenced(t, e.open(t, 1, nil), 0, "last") }

// A save that fails or is given up leaves nothing behind, and the next one works.
func TestStateGivenUp(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		l := fenced(t, e.open(t, 1, nil), 0, "open")
		mustSave(t, l, stateEntry{"a", []byte("1")})
		half := func(yield func(key, value []byte) error) error {
			return errors.Join(yield([]byte("a"), []byte("half")), errTest)
		}
		if err := l.SaveState(testContext(t), half); !errors.Is(err, errTest) {
			t.Errorf("%v, want the caller's error", err)
		}
		ctx, cancel := context.WithCancel(testContext(t))
		gives := func(yield func(key, value []byte) error) error {
			defer cancel()
			return yield([]byte("a"), []byte("given up"))
		}
		if err := l.SaveState(ctx, gives); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want the context's error", err)
		}
		mustSave(t, l, stateEntry{"b", []byte("2")})
		wantState(t, "loaded", loaded(t, fenced(t, e.open(t, 1, nil), 0, "next")), map[string]string{"a": "1", "b": "2"})
	})
}

// Without a state topic there is nothing to load, and saving says what is missing.
func TestNoStateTopic(t *testing.T) {
	e := fake(t)
	l := fenced(t, e.open(t, 1, func(o *Options) { o.StateTopic = "nowhere.state" }), 0, "open")
	wantState(t, "loaded", loaded(t, l), nil)
	if err := l.SaveState(testContext(t), stateOf(stateEntry{"a", nil})); err == nil || !strings.Contains(err.Error(), "nowhere.state") {
		t.Errorf("%v, want it to name the topic", err)
	}
	mustCommit(t, l, e.step(1, 1, 0))
}

// TestStateRecords takes records apart that are damaged, of other values, or what
// the cleaner leaves of values in pieces.
func TestStateRecords(t *testing.T) {
	type rec struct{ key, value []byte }
	cut := func(key string, value []byte) (recs []rec) {
		for n := 0; n == 0 || n*pieceBytes < len(value); n++ {
			k := appendPieceKey(nil, []byte(key), n)
			recs = append(recs, rec{k, appendPiece(bytes.Clone(k), 0, value, n)[len(k):]})
		}
		return recs
	}
	read := func(recs ...rec) (map[string]string, int, error) {
		got := map[string]string{}
		a := assembly{partial: map[string]struct{}{}, yield: func(key, value []byte) error {
			got[string(key)] = string(value)
			return nil
		}}
		for _, r := range recs {
			if err := a.record(r.key, r.value); err != nil {
				return got, len(a.partial), err
			}
		}
		return got, len(a.partial), nil
	}
	big, other := noise(2*pieceBytes+5, 3), noise(2*pieceBytes+5, 4)
	a, b, small := cut("k", big), cut("k", other), cut("k", []byte("s"))
	if len(a) != 3 {
		t.Fatal(len(a))
	}
	open := rec{[]byte(openKey), []byte("x")}
	for _, c := range []struct {
		name    string
		recs    []rec
		want    string
		partial int
	}{
		{"whole", a, string(big), 0},
		{"small", small, "s", 0},
		{"left of an older one", []rec{a[1], a[2], b[0], b[1], b[2]}, string(other), 0},
		{"left of an older one, then small", []rec{a[0], a[2], small[0]}, "s", 0},
		{"left between", []rec{a[0], b[0], b[1], b[2]}, string(other), 0},
		{"cut short", a[:2], "", 1},
		{"one is missing", []rec{a[0], a[2]}, "", 1},
		{"mixed", []rec{a[0], b[1], b[2]}, "", 1},
		{"another record between", []rec{a[0], open, a[1], a[2]}, "", 1},
		{"deleted", []rec{a[0], a[1], {key: small[0].key}}, "", 0},
	} {
		got, partial, err := read(c.recs...)
		if err != nil || got["k"] != c.want || partial != c.partial {
			t.Errorf("%s: %d bytes, %d not whole, %v", c.name, len(got["k"]), partial, err)
		}
	}
	for i := range small[0].value {
		v := bytes.Clone(small[0].value)
		v[i] ^= 0x10
		if _, _, err := read(rec{small[0].key, v}); err == nil {
			t.Errorf("byte %d is flipped and nobody sees it", i)
		}
		if _, _, err := read(rec{small[0].key, small[0].value[:i]}); err == nil {
			t.Errorf("a value cut at %d is read", i)
		}
	}
	for name, r := range map[string]rec{
		"another key":  {[]byte("ek2"), small[0].value},
		"foreign":      {[]byte("hello"), []byte("x")},
		"no key":       {nil, []byte("x")},
		"short piece":  {[]byte("p\x00\x00\x00\x01"), []byte("x")},
		"newer format": {[]byte("ek"), reversion(small[0].key, small[0].value)},
	} {
		if _, _, err := read(r); err == nil {
			t.Errorf("%s: is read", name)
		}
	}
}

// reversion raises the version of a record's value and mends its checksum.
func reversion(key, value []byte) []byte {
	v := append(bytes.Clone(key), value[:len(value)-4]...)
	v[len(key)]++
	return appendSum(v)[len(key):]
}

func appendSum(b []byte) []byte { // as appendPiece
	s := crc32.Checksum(b, castagnoli)
	return append(b, byte(s), byte(s>>8), byte(s>>16), byte(s>>24))
}

func TestTrim(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		ctx := testContext(t)
		l := fenced(t, e.open(t, 2, nil), 1, "a")
		var at []int64
		for n := 1; n <= 5; n++ {
			at = append(at, mustCommit(t, l, e.step(n, 1, 1)))
		}
		m := fenced(t, e.open(t, 2, nil), 1, "b")
		tp := connectors.TopicPartition{Topic: m.c.opt.JournalTopic, Partition: 1}
		all := []string{"a", "step 1", "step 2", "step 3", "step 4", "step 5", "b"}
		for i, c := range []struct {
			before int64
			keep   time.Duration
			start  int64
			left   int
		}{
			{at[2], time.Hour, 0, 0}, // too young
			{0, 0, 0, 0},
			{at[2], 0, at[2], 3},
			{at[2], 0, at[2], 3},
			{at[0], 0, at[2], 3}, // never back
			{at[4], time.Hour, at[2], 3},
			{at[4], time.Nanosecond, at[4], 5},
		} {
			start, err := m.Trim(ctx, connectors.Position{TopicPartition: tp, Next: c.before}, c.keep)
			if err != nil || start != c.start {
				t.Errorf("%d: the log starts at %d, %v, want %d", i, start, err, c.start)
			}
			equal(t, fmt.Sprint(i), journal(t, m, connectors.Earliest, m.last), all[c.left:])
		}
	})
}

// A log that brokers do not let us trim is not asked for again and again.
func TestTrimRefused(t *testing.T) {
	e := fake(t)
	l := fenced(t, e.open(t, 1, nil), 0, "a")
	at := mustCommit(t, l, e.step(1, 1, 0))
	h := e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DeleteRecords}, Err: kerr.PolicyViolation, Count: 1 << 20})
	tp := connectors.TopicPartition{Topic: l.c.opt.JournalTopic}
	_, err := l.Trim(testContext(t), connectors.Position{TopicPartition: tp, Next: at}, 0)
	if !errors.Is(err, kerr.PolicyViolation) || !strings.Contains(err.Error(), "trimming "+tp.String()) || h.Hits() > 2 {
		t.Errorf("asked %d times: %v", h.Hits(), err)
	}
}

// The cluster is closed while a log is in use, by two goroutines.
func TestCloseInUse(t *testing.T) {
	e := fake(t)
	for range 10 {
		c := e.open(t, 1, nil)
		l := fenced(t, c, 0, "open")
		done := make(chan error, 2)
		begun := make(chan struct{}, 2)
		go func() {
			for n := 1; ; n++ {
				if _, err := l.Commit(testContext(t), e.step(n, 10, 0)); err != nil {
					done <- err
					return
				}
				if n == 3 {
					begun <- struct{}{}
				}
			}
		}()
		go func() {
			for n := 1; ; n++ {
				if err := l.SaveState(testContext(t), stateOf(stateEntry{"k", noise(100_000, 1)})); err != nil {
					done <- err
					return
				}
				if n == 3 {
					begun <- struct{}{}
				}
			}
		}()
		<-begun
		<-begun
		c.Close()
		for range 2 {
			if err := <-done; errors.Is(err, connectors.ErrLost) {
				t.Errorf("%v; a closed connection is not a lost lock", err)
			}
		}
		l.Close()
		if _, err := l.Fence(testContext(t), []byte("open")); err == nil {
			t.Error("a closed log is fenced")
		}
	}
}
