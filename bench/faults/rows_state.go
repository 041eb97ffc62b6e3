//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/checker"
)

// refuses starts a worker that has to say why it cannot work and to end, having published nothing.
func (l *lab) refuses(w *worker) error {
	l.refused = true
	outs := []string{l.name + ".predictions", l.name + ".metrics"}
	before, err := l.site.adm.ListEndOffsets(l.ctx, outs...)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := w.start(); err != nil {
		return err
	}
	code, err := w.wait(45 * time.Second)
	if err != nil || code == 0 {
		return errors.Join(fmt.Errorf("the worker ended with code %d where it has to refuse\n%s", code, w.tail()), err)
	}
	after, err := l.site.adm.ListEndOffsets(l.ctx, outs...)
	if err != nil {
		return err
	}
	after.Each(func(o kadm.ListedOffset) {
		if b, ok := before.Lookup(o.Topic, o.Partition); ok && b.Offset != o.Offset {
			err = errors.Join(err, fmt.Errorf("%s[%d] grew from %d to %d by a worker that refuses", o.Topic, o.Partition, b.Offset, o.Offset))
		}
	})
	l.did("refused", 1)
	l.note("after %.1f s: %s", time.Since(begun).Seconds(), w.lastError())
	return err
}

// settled starts a worker, lets it work, stops it and the load, and has the checker look, before the row takes away what
// the checker would compare with.
func (l *lab) settled() (*worker, error) {
	ws, err := l.start(1)
	if err != nil {
		return nil, err
	}
	if err := l.gen.finish(l.ctx); err != nil {
		return nil, err
	}
	if err := l.quiet(l.name, 30*time.Second); err != nil {
		return nil, err
	}
	if err := ws[0].stop(); err != nil {
		return nil, err
	}
	l.sleep(300*time.Millisecond, 0)
	l.seen.Stop()
	l.checked = true
	return ws[0], errors.Join(l.check(), l.calm())
}

// more produces n events more, after the generator has finished.
func (l *lab) more(n int) error {
	for range n {
		i := l.gen.sent.Add(1) - 1
		if err := l.gen.cl.ProduceSync(l.ctx, &kgo.Record{Topic: l.in(), Partition: l.gen.place(i), Value: l.gen.value(i)}).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

func retention(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	if err := l.more(40); err != nil {
		return err
	}
	ends, err := l.site.adm.ListEndOffsets(l.ctx, l.in())
	if err != nil {
		return err
	}
	del := ends.Offsets()
	resp, err := l.site.adm.DeleteRecords(l.ctx, del)
	if err != nil {
		return err
	}
	n := 0
	resp.Each(func(r kadm.DeleteRecordsResponse) {
		if r.Err == nil && r.LowWatermark == ends[l.in()][r.Partition].Offset {
			n++
		}
	})
	l.did("partitions emptied", n)
	return l.refuses(w)
}

func recreated(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	if _, err := l.site.adm.DeleteTopics(l.ctx, l.in()); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; l.sleep(100*time.Millisecond, 0) {
		_, err := l.site.adm.CreateTopic(l.ctx, partitions, 1, nil, l.in())
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return err
		}
	}
	l.did("topic made anew", 1)
	return l.refuses(w)
}

func grown(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	resp, err := l.site.adm.CreatePartitions(l.ctx, 2, l.in())
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return err
	}
	l.sleep(500*time.Millisecond, 0)
	l.did("partitions added", 2)
	return l.refuses(w)
}

func moved(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	at := kadm.Offsets{}
	at.AddOffset(l.in(), 1, 17, -1)
	resp, err := l.site.adm.CommitOffsets(l.ctx, l.name, at)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return err
	}
	l.did("offsets moved", 1)
	return l.refuses(w)
}

func expired(l *lab) error {
	w, err := l.settled()
	if err != nil {
		return err
	}
	resp, err := l.site.adm.DeleteGroup(l.ctx, l.name)
	if err == nil {
		err = resp.Err
	}
	if err != nil {
		return err
	}
	l.did("group deleted", 1)
	// The journal has the positions too, so nothing need be refused: what comes now is processed, and checked anew.
	l.checked, l.wrong, l.compared, l.seen = false, 0, 0, nil
	if err := w.start(); err != nil {
		return err
	}
	if err := l.more(400); err != nil {
		return err
	}
	return l.arrive(0)
}

func (l *lab) stateDir(w *worker) string { return filepath.Join(w.dir, l.name, "state") }

// someFiles returns the files of a folder whose name matches, at least a kilobyte long.
func someFiles(dir, pattern string) (found []string, err error) {
	re := regexp.MustCompile(pattern)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !re.MatchString(d.Name()) {
			return err
		}
		if info, e := d.Info(); e == nil && info.Size() >= 1024 {
			found = append(found, path)
		}
		return nil
	})
	return found, err
}

func files(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w := ws[0]
	dir, old := l.stateDir(w), filepath.Join(l.dir, "old")
	l.arr.mark()
	copied := false
	for _, harm := range []struct {
		name string
		do   func() (int, error)
	}{
		{"an older copy kept", func() (int, error) { copied = true; return 1, os.CopyFS(old, os.DirFS(dir)) }},
		{"folder deleted", func() (int, error) { return 1, os.RemoveAll(dir) }},
		{"logs with a bit flipped", func() (int, error) { return l.harm(dir, `\.log$`, flip) }},
		{"older copy put back", func() (int, error) {
			if !copied {
				return 0, nil
			}
			return 1, errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(old)))
		}},
	} {
		l.sleep(1500*time.Millisecond, 2*time.Second) // a checkpoint or two
		if err := w.kill(); err != nil {
			return err
		}
		n, err := harm.do()
		if err != nil {
			return err
		}
		l.did(harm.name, n)
		if err := w.start(); err != nil {
			return err
		}
		if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
			return fmt.Errorf("%s: %w", harm.name, err)
		}
		if err := l.arrive(200); err != nil {
			return fmt.Errorf("%s: %w", harm.name, err)
		}
	}
	return nil
}

// tables damages the tables of a store, which every start makes of the log.
func tables(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w := ws[0]
	l.arr.mark()
	for _, harm := range []struct {
		name string
		do   func(*os.File, int64) error
	}{{"tables with a bit flipped", flip}, {"tables truncated", halve}} {
		for range 2 {
			l.sleep(1500*time.Millisecond, 0)
			if err := w.kill(); err != nil {
				return err
			}
			if err := l.restart(w); err != nil {
				return err
			}
		}
		if err := w.kill(); err != nil {
			return err
		}
		n, err := l.harm(l.stateDir(w), `\.sst$`, harm.do)
		if err != nil {
			return err
		}
		l.did(harm.name, n)
		if err := w.start(); err != nil {
			return err
		}
		if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
			return fmt.Errorf("%s: %w", harm.name, err)
		}
		if err := l.arrive(200); err != nil {
			return err
		}
	}
	// Now under a worker that runs: it reads them for the next remote checkpoint, and all its tasks have to be restored.
	l.sleep(1500*time.Millisecond, 0)
	if err := w.kill(); err != nil {
		return err
	}
	if err := l.restart(w); err != nil {
		return err
	}
	restored, _ := w.replayed()
	n, err := l.harm(l.stateDir(w), `\.sst$`, flip)
	if err != nil {
		return err
	}
	l.did("flipped while it runs", n)
	if err := w.await(l.ctx, "set aside and begun anew", 1, 60*time.Second); err != nil {
		return err
	}
	if err := w.await(l.ctx, "task restored", restored+partitions, 60*time.Second); err != nil {
		return err
	}
	l.note("%d warnings of lost state", len(w.said("the local state is lost")))
	return l.arrive(200)
}

func flip(f *os.File, size int64) error {
	b := []byte{0}
	at := size * 2 / 5
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 0x10
	_, err := f.WriteAt(b, at)
	return err
}

func halve(f *os.File, size int64) error { return f.Truncate(size / 2) }

// harm does something to all files of a folder that match.
func (l *lab) harm(dir, pattern string, do func(*os.File, int64) error) (int, error) {
	found, err := someFiles(dir, pattern)
	for _, path := range found {
		f, e := os.OpenFile(path, os.O_RDWR, 0)
		if e != nil {
			return 0, e
		}
		info, e := f.Stat()
		if e == nil {
			e = do(f, info.Size())
		}
		err = errors.Join(err, e, f.Close())
	}
	return len(found), err
}

func swapped(l *lab) error {
	ws, err := l.start(2)
	if err != nil {
		return err
	}
	l.sleep(2*time.Second, 0)
	l.arr.mark()
	for _, w := range ws {
		if err := w.kill(); err != nil {
			return err
		}
	}
	a, b, c := l.stateDir(ws[0]), l.stateDir(ws[1]), filepath.Join(l.dir, "third")
	if err := errors.Join(os.Rename(a, c), os.Rename(b, a), os.Rename(c, b)); err != nil {
		return err
	}
	l.did("folders exchanged", 2)
	for _, w := range ws {
		if err := w.start(); err != nil {
			return err
		}
	}
	for _, w := range ws {
		if err := w.await(l.ctx, "task restored", 1, 30*time.Second); err != nil {
			return err
		}
	}
	return l.arrive(600)
}

func diskFull(l *lab) error {
	w := l.worker()
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", w.dir, "tmpfs", 0, "size=48m"); err != nil {
		return cannotError("a tmpfs cannot be mounted here: " + err.Error())
	}
	l.cleanup = append(l.cleanup, func() error { return syscall.Unmount(w.dir, syscall.MNT_DETACH) })
	if err := w.start(); err != nil {
		return err
	}
	if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
		return err
	}
	if err := l.flow(); err != nil {
		return err
	}
	l.arr.mark()
	filler := filepath.Join(w.dir, "filler")
	for range 2 {
		f, err := os.Create(filler)
		if err != nil {
			return err
		}
		block, full := make([]byte, 4096), false
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
			if _, err := f.Write(block); err != nil {
				full = errors.Is(err, syscall.ENOSPC)
				l.sleep(20*time.Millisecond, 0) // what was freed meanwhile is taken too
			}
		}
		_ = f.Close()
		if !full || !w.running() {
			return fmt.Errorf("full %v, running %v\n%s", full, w.running(), w.tail())
		}
		if err := l.arrive(200); err != nil {
			return err
		}
		if err := os.Remove(filler); err != nil {
			return err
		}
		if err := l.arrive(600); err != nil {
			return err
		}
	}
	l.did("checkpoints failed for lack of space", w.saidEver("local checkpoint failed"))
	l.note("went on %d times", w.starts)
	return nil
}

// compaction forces the state topic to be compacted, then has a worker restore from it.
func compaction(l *lab) error {
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	w, topic := ws[0], l.name+".state"
	var set []kadm.AlterConfig
	for name, value := range map[string]string{"segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0",
		"min.compaction.lag.ms": "0", "max.compaction.lag.ms": "1000", "segment.bytes": "1048576"} {
		set = append(set, kadm.AlterConfig{Name: name, Value: &value})
	}
	if resp, err := l.site.adm.AlterTopicConfigs(l.ctx, set, topic); err != nil {
		return err
	} else if _, err := resp.On(topic, nil); err != nil {
		return err
	}
	l.arr.mark()
	for end := time.Now().Add(10 * time.Second); ; l.sleep(200*time.Millisecond, 0) {
		if n, _, err := l.held(topic); err == nil && n > 5*partitions { // more than what takes the lock
			break
		}
		if time.Now().After(end) {
			return cannotError("this build writes no remote checkpoints")
		}
	}
	gone := int64(0)
	for end := time.Now().Add(40 * time.Second); gone == 0 && time.Now().Before(end); l.sleep(time.Second, 0) {
		held, ends, err := l.held(topic)
		if err != nil {
			return err
		}
		gone = ends - held
	}
	l.did("records compacted away", int(gone))
	if err := w.kill(); err != nil {
		return err
	}
	if err := os.RemoveAll(w.dir); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	if err := w.await(l.ctx, "task restored", partitions, 30*time.Second); err != nil {
		return err
	}
	l.did("restored from the topic", len(w.said("restored from the remote checkpoint")))
	return l.arrive(600)
}

// held counts the records that a topic holds, control records included, and the offsets it has used.
func (l *lab) held(topic string) (records, offsets int64, err error) {
	ends, err := l.site.adm.ListEndOffsets(l.ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	from, left := map[int32]kgo.Offset{}, 0
	next := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		offsets += o.Offset
		if o.Offset > 0 {
			from[o.Partition], next[o.Partition] = kgo.NewOffset().AtStart(), o.Offset
			left++
		}
	})
	if left == 0 {
		return 0, 0, nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(l.site.past()...), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return 0, 0, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(l.ctx, 10*time.Second)
	defer cancel()
	for left > 0 && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if end := next[r.Partition]; r.Offset < end {
				if records++; r.Offset == end-1 {
					left--
				}
			}
		})
	}
	return records, offsets, ctx.Err()
}

var goodEvent = regexp.MustCompile(`^\{"id":\d+,"user":"u\d+","x":`)

func poison(l *lab) error {
	huge := strings.Repeat("x", 300_000)
	l.gen.value = func(i int64) []byte {
		if i%40 != 7 {
			return event(i)
		}
		switch i / 40 % 6 {
		case 0:
			return nil
		case 1:
			return []byte("\xff\xfe\x00")
		case 2:
			return fmt.Appendf(nil, `{"id":%d,"user":17}`, i)
		case 3:
			return fmt.Appendf(nil, `{"id":"%s"`, huge)
		case 4:
			return []byte(strings.Repeat("[", 100_000))
		default:
			return fmt.Appendf(nil, `{"id":%d,"id":%d,"user":"u1","y":true}`, i, i)
		}
	}
	l.poison = func(r *kgo.Record) int {
		if goodEvent.Match(r.Value) {
			return 0
		}
		return 1
	}
	l.count("rejected, each once", func() int { return int(l.report.Rejected) })
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	l.arr.mark()
	if err := l.arrive(1000); err != nil {
		return err
	}
	if err := ws[0].kill(); err != nil {
		return err
	}
	if err := l.restart(ws[0]); err != nil {
		return err
	}
	l.after = func(r checker.Report) error {
		bad := int64(0)
		for i := range l.gen.sent.Load() {
			if i%40 == 7 {
				bad++
			}
		}
		if r.Rejected != bad {
			return fmt.Errorf("%d records rejected, %d were planted", r.Rejected, bad)
		}
		return nil
	}
	return l.arrive(1000)
}

func skew(l *lab) error {
	l.gen.place = func(i int64) int32 {
		if i%10 == 0 {
			return int32(1 + i/10%3)
		}
		return 0
	}
	if _, err := l.start(2); err != nil {
		return err
	}
	l.arr.mark()
	if err := l.arrive(12000); err != nil {
		return err
	}
	ends, err := l.site.adm.ListEndOffsets(l.ctx, l.in())
	if err != nil {
		return err
	}
	hot, total := 0, 0
	ends.Each(func(o kadm.ListedOffset) {
		total += int(o.Offset)
		if o.Partition == 0 {
			hot = int(o.Offset)
		}
	})
	l.did("events on the hot partition", hot)
	if 10*hot < 8*total {
		return fmt.Errorf("only %d of %d events are hot", hot, total)
	}
	return nil
}
