package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// txnVersions are the two kinds of transactions: with one epoch for all, and with
// one each.
var txnVersions = map[string]func() *kversion.Versions{"v1": kversion.V3_6_0, "v2": kversion.V4_4_0}

const (
	tornTopic = "t"
	tornParts = 3
	tornGroup = "g"
)

// txnProducer is a client with transactions as others write it.
type txnProducer struct {
	t  testing.TB
	cl *kgo.Client
	id string
	v1 bool
}

func newTxnProducer(t testing.TB, addr, id, version string, opts ...kgo.Opt) *txnProducer {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr), kgo.TransactionalID(id), kgo.MaxVersions(txnVersions[version]()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RetryTimeout(20 * time.Second),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &txnProducer{t: t, cl: cl, id: id, v1: version == "v1"}
}

// begin writes a value to every partition and stages an offset in each, without
// committing.
func (p *txnProducer) begin(value string, offset int64) {
	p.t.Helper()
	p.produce(value)
	p.stage(offset)
}

func (p *txnProducer) produce(value string) {
	p.t.Helper()
	if err := p.cl.BeginTransaction(); err != nil {
		p.t.Fatal(err)
	}
	for part := range int32(tornParts) {
		r := &kgo.Record{Topic: tornTopic, Partition: part, Value: []byte(value)}
		if err := p.cl.ProduceSync(testContext(p.t), r).FirstErr(); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *txnProducer) stage(offset int64) {
	p.t.Helper()
	ctx := testContext(p.t)
	id, epoch, err := p.cl.ProducerID(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.v1 {
		add := kmsg.NewPtrAddOffsetsToTxnRequest()
		add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = p.id, id, epoch, tornGroup
		if resp, err := add.RequestWith(ctx, p.cl); err != nil || resp.ErrorCode != 0 {
			p.t.Fatal(resp, err)
		}
	}
	infos, err := kadm.NewClient(p.cl).ListTopics(ctx, tornTopic)
	if err != nil {
		p.t.Fatal(err)
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = p.id, id, epoch, tornGroup
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic, rt.TopicID = tornTopic, infos[tornTopic].ID
	for part := range int32(tornParts) {
		rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		meta := fmt.Sprint("meta ", offset)
		rp.Partition, rp.Offset, rp.Metadata = part, offset, &meta
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, p.cl)
	if err != nil || len(resp.Topics) != 1 {
		p.t.Fatal(resp, err)
	}
	for _, rp := range resp.Topics[0].Partitions {
		if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *txnProducer) commit() {
	p.t.Helper()
	if err := p.cl.EndTransaction(testContext(p.t), kgo.TryCommit); err != nil {
		p.t.Fatal(err)
	}
}

// snapshot copies a broker's folder as a kill would leave it now. No request may
// be under way.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "d")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// startTorn starts a broker with the topic of the tests.
func startTorn(t testing.TB, dir string) *Embedded {
	t.Helper()
	b := startEmbedded(t, dir, "")
	if err := b.cluster.CreateTopic(tornTopic, tornParts, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

// tornDirs runs a broker in which "a" is committed with offset 1 and "b" is about
// to be with offset 2, while another producer has a transaction open in the same
// partitions. It returns what a kill leaves before and behind that commit.
func tornDirs(t *testing.T, version string) (before, after string) {
	t.Helper()
	dir := t.TempDir()
	b := startTorn(t, dir)
	p, other := newTxnProducer(t, b.Addr(), "p", version), newTxnProducer(t, b.Addr(), "other", version)
	p.begin("a", 1)
	p.commit()
	other.begin("never", 77)
	p.begin("b", 2)
	before = snapshot(t, dir)
	p.commit()
	after = snapshot(t, dir)
	n, err := readCommitNote(notePath(after))
	if err != nil || n == nil || len(n.Offsets) != tornParts || n.Next != (version == "v2") {
		t.Fatalf("the note of the commit: %+v, %v", n, err)
	}
	if n, err := readCommitNote(notePath(before)); n != nil || err != nil {
		t.Fatalf("the note before the commit: %+v, %v", n, err)
	}
	return before, after
}

func notePath(dir string) string { return filepath.Join(dir, brokerDir, brokerCommit) }
func dataPath(dir string, name ...string) string {
	return filepath.Join(append([]string{dir, brokerDir, brokerData}, name...)...)
}

// take copies a file from one folder into another.
func take(t testing.TB, to, from string, name ...string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{from, brokerDir}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(append([]string{to, brokerDir}, name...)...), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// takeEntries appends to a log of entries the first n of those that another has more.
func takeEntries(t testing.TB, to, from, name string, n int) {
	t.Helper()
	was, err := readEntries(dataPath(to, name))
	if err != nil {
		t.Fatal(err)
	}
	is, err := readEntries(dataPath(from, name))
	if err != nil || len(is) < len(was)+n {
		t.Fatalf("%s: %d entries of %d more, %v", name, n, len(is)-len(was), err)
	}
	size := 0
	for _, e := range is[:len(was)+n] {
		size += entryHeader + len(e)
	}
	b, err := os.ReadFile(dataPath(from, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dataPath(to, name), b[:size], 0o644); err != nil {
		t.Fatal(err)
	}
}

// holds checks what the topic and the group of a folder left by a kill hold, and
// that a transaction and one more kill later they hold that, too.
func holds(t testing.TB, dir, version string, values string, offset int64) {
	t.Helper()
	b := startEmbedded(t, dir, "")
	check := func() {
		t.Helper()
		e := &env{addr: b.Addr(), name: "p"}
		for p := range int32(tornParts) {
			equal(t, fmt.Sprint("partition ", p), e.read(t, tornTopic, p, true), strings.Fields(values))
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		got, err := kadm.NewClient(cl).FetchOffsets(testContext(t), tornGroup)
		if err != nil {
			t.Fatal(err)
		}
		for p := range int32(tornParts) {
			o, ok := got.Lookup(tornTopic, p)
			if !ok || o.Err != nil || o.At != offset || o.Metadata != fmt.Sprint("meta ", offset) {
				t.Errorf("the group is at %d %q of partition %d (%v), want %d", o.At, o.Metadata, p, o.Err, offset)
			}
		}
	}
	check()
	p := newTxnProducer(t, b.Addr(), "p", version)
	p.begin("c", 3)
	p.commit()
	values, offset = values+" c", 3
	check() // its requests also show that the commit is over
	p.begin("d", 4)
	b = startEmbedded(t, snapshot(t, dir), "")
	check()
}

// TestTornCommit cuts a commit short behind every write that it consists of, the
// markers in any order.
func TestTornCommit(t *testing.T) {
	for version := range txnVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			before, after := tornDirs(t, version)
			torn := func(name string, marked, halved, offsets, entries int) {
				t.Run(name, func(t *testing.T) {
					dir := snapshot(t, before)
					take(t, dir, after, brokerCommit)
					for p := range tornParts {
						part := fmt.Sprintf("%s-%d", tornTopic, p)
						if (marked|halved)>>p&1 != 0 {
							take(t, dir, after, brokerData, "partitions", part, "0.dat")
						}
						if marked>>p&1 != 0 {
							take(t, dir, after, brokerData, "partitions", part, "0.idx")
						}
					}
					takeEntries(t, dir, after, "groups.log", offsets)
					takeEntries(t, dir, after, "pids.log", entries)
					holds(t, dir, version, "a b", 2)
				})
			}
			const all = 1<<tornParts - 1
			for marked := range all + 1 {
				if version == "v1" && marked&(marked+1) != 0 {
					continue // one order does
				}
				torn(fmt.Sprintf("markers %03b", marked), marked, 0, 0, 0)
			}
			torn("marker without its index entry", 1, 2, 0, 0)
			torn("last marker without its index entry", 3, 4, 0, 0)
			for n := 1; n <= tornParts; n++ {
				torn(fmt.Sprint("offsets ", n), all, 0, n, 0)
			}
			torn("entry", all, 0, tornParts, 1)
			if version == "v2" {
				torn("entry and epoch", all, 0, tornParts, 2)
			}
			t.Run("not asked for", func(t *testing.T) { holds(t, snapshot(t, before), version, "a", 1) })
			t.Run("repaired twice", func(t *testing.T) {
				// The repair is killed before it removes the note.
				dir := snapshot(t, before)
				take(t, dir, after, brokerCommit)
				note, err := readCommitNote(notePath(dir))
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if _, err := repair(filepath.Join(dir, brokerDir)); err != nil {
						t.Fatal(err)
					}
					take(t, dir, after, brokerCommit)
					all, err := readProducers(dataPath(dir, "pids.log"))
					if err != nil {
						t.Fatal(err)
					}
					p := all[note.Producer]
					if version == "v1" && (p.Type != "endtx" || p.Epoch != note.Epoch || !*p.Commit) ||
						version == "v2" && (p.Type != "init" || p.Epoch != note.Epoch+1 || p.TxID != "p" || p.Timeout == 0) {
						t.Errorf("the producer is %+v behind %+v", p, note)
					}
				}
				holds(t, dir, version, "a b", 2)
			})
		})
	}
}

// TestNoteIsOfOneCommit leaves behind the commit a transaction of the same
// producer open, and one that timed out: the note is not theirs.
func TestNoteIsOfOneCommit(t *testing.T) {
	for version := range txnVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := startTorn(t, dir)
			p := newTxnProducer(t, b.Addr(), "p", version)
			p.begin("a", 1)
			p.commit()
			p.produce("b") // a part of a transaction
			holds(t, snapshot(t, dir), version, "a", 1)
			p.stage(2)
			holds(t, snapshot(t, dir), version, "a", 1)
			p.commit()
			holds(t, snapshot(t, dir), version, "a b", 2)

			// The broker aborts a transaction that takes too long, and refuses its end.
			slow := newTxnProducer(t, b.Addr(), "slow", version, kgo.TransactionTimeout(100*time.Millisecond))
			slow.begin("late", 9)
			id, epoch, err := slow.cl.ProducerID(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			(&env{addr: b.Addr(), name: "p"}).settle(t, tornTopic, tornParts-1)
			req := kmsg.NewPtrEndTxnRequest()
			req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "slow", id, epoch, true
			resp, err := req.RequestWith(testContext(t), slow.cl)
			if err != nil || resp.ErrorCode == 0 {
				t.Fatalf("a transaction that timed out is committed: %+v, %v", resp, err)
			}
			left := snapshot(t, dir)
			if n, err := readCommitNote(notePath(left)); err != nil || n == nil || len(n.Offsets) != tornParts {
				t.Fatalf("the note: %+v, %v", n, err)
			}
			holds(t, left, version, "a b", 2)
		})
	}
}

// TestDamagedNote puts notes in the place that no commit left there.
func TestDamagedNote(t *testing.T) {
	before, after := tornDirs(t, "v2")
	note, err := os.ReadFile(notePath(after))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), note...)) }
	for name, b := range map[string][]byte{
		"missing":   nil,
		"empty":     {},
		"a byte":    note[:1],
		"header":    note[:noteHeader],
		"cut short": note[:noteHeader+20],
		"zeros":     make([]byte, len(note)),
		"a bit":     changed(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }),
		"length":    changed(func(b []byte) []byte { b[3] = 0xff; return b }),
		"unwritten": changed(func(b []byte) []byte { clear(b[noteHeader:]); return b }),
	} {
		t.Run(name, func(t *testing.T) {
			dir := snapshot(t, before)
			os.Remove(notePath(dir))
			if b != nil {
				if err := os.WriteFile(notePath(dir), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := repair(filepath.Join(dir, brokerDir)); err != nil || got != (repairs{aborted: 2 * tornParts}) {
				t.Errorf("%+v, %v; want both transactions aborted in each partition", got, err)
			}
		})
	}
	dir := snapshot(t, before)
	g := &commitGuard{}
	if g.file, err = os.Create(notePath(dir)); err != nil {
		t.Fatal(err)
	}
	defer g.file.Close()
	if err := g.write(&commitNote{Version: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := StartEmbedded(t.Context(), EmbeddedOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), notePath(dir)+" has version 2") {
		t.Errorf("a note of a newer program: %v", err)
	}
}

// TestTornFiles cuts short what a kill can cut short beside a commit: a batch, its
// index entry, an entry of a log.
func TestTornFiles(t *testing.T) {
	before, after := tornDirs(t, "v2")
	trim := func(t *testing.T, name string, n int) {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil || len(b) < n {
			t.Fatal(len(b), err)
		}
		if err := os.Truncate(name, int64(len(b)-n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"0.dat", "0.idx"} {
		for _, n := range []int{1, 7, indexSize} {
			t.Run(fmt.Sprint(name, " less ", n), func(t *testing.T) {
				dir := snapshot(t, before)
				for p := range tornParts {
					trim(t, dataPath(dir, "partitions", fmt.Sprintf("%s-%d", tornTopic, p), name), n)
				}
				holds(t, dir, "v2", "a", 1)
			})
		}
	}
	t.Run("no index", func(t *testing.T) {
		dir := snapshot(t, before)
		if err := os.Remove(dataPath(dir, "partitions", tornTopic+"-0", "0.idx")); err != nil {
			t.Fatal(err)
		}
		holds(t, dir, "v2", "a", 1)
	})
	for _, name := range []string{"groups.log", "pids.log"} {
		t.Run(name, func(t *testing.T) {
			dir := snapshot(t, before)
			take(t, dir, after, brokerCommit)
			f, err := os.OpenFile(dataPath(dir, name), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			f.Write([]byte{50, 0, 0, 0, 1, 2, 3, 4, 1, 0, '{'})
			holds(t, dir, "v2", "a b", 2)
		})
	}
	t.Run("entry of a newer broker", func(t *testing.T) {
		dir := snapshot(t, before)
		name := dataPath(dir, "groups.log")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint16(b[8:], 9)
		size := 8 + binary.LittleEndian.Uint32(b)
		binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:size], castagnoli))
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := StartEmbedded(t.Context(), EmbeddedOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "groups.log: an entry has version 9") {
			t.Errorf("%v", err)
		}
	})
}

// TestOutlived aborts a transaction of a client that outlives the broker: the
// client can neither go on with it nor take it for committed.
func TestOutlived(t *testing.T) {
	for version := range txnVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := startTorn(t, dir)
			p := newTxnProducer(t, b.Addr(), "p", version)
			p.begin("a", 1)
			p.commit()
			b.Close() // in order: the broker remembers that the last one was committed
			b = startEmbedded(t, dir, b.Addr())
			p.begin("b", 2)
			left := snapshot(t, dir)
			addr := b.Addr()
			b.Close()
			b = startEmbedded(t, left, addr)
			if err := p.cl.EndTransaction(testContext(t), kgo.TryCommit); err == nil {
				t.Error("the client is told that its transaction was committed; it was aborted")
			}
			p.cl.Close()
			b.Close()
			b = startEmbedded(t, left, "")
			e := &env{addr: b.Addr(), name: "p"}
			for part := range int32(tornParts) {
				equal(t, fmt.Sprint("partition ", part), e.committed(t, tornTopic, part), []string{"a"})
			}
		})
	}
}

// TestEmbeddedClosedInCommit ends a broker in the middle of commits: what a client was told is there.
func TestEmbeddedClosedInCommit(t *testing.T) {
	dir := t.TempDir()
	n := 0
	for range 3 {
		b := startEmbedded(t, dir, "")
		if n == 0 {
			if err := b.cluster.CreateTopic(tornTopic, tornParts, nil); err != nil {
				t.Fatal(err)
			}
		}
		p := newTxnProducer(t, b.Addr(), "p", "v2")
		ctx := testContext(t)
		closed := make(chan struct{})
		for done := 0; ; done++ {
			if done == 3 {
				go func() { b.Close(); p.cl.Close(); close(closed) }()
			}
			if err := p.cl.BeginTransaction(); err != nil {
				break
			}
			r := &kgo.Record{Topic: tornTopic, Value: fmt.Append(nil, n)}
			if p.cl.ProduceSync(ctx, r).FirstErr() != nil || p.cl.EndTransaction(ctx, kgo.TryCommit) != nil {
				break
			}
			n++
		}
		<-closed
		b = startEmbedded(t, dir, "")
		// What was open lives through a close in order, until someone takes the id.
		p = newTxnProducer(t, b.Addr(), "p", "v2")
		if _, _, err := p.cl.ProducerID(testContext(t)); err != nil {
			t.Fatal(err)
		}
		got := (&env{addr: b.Addr(), name: "p"}).committed(t, tornTopic, 0)
		b.Close()
		p.cl.Close()
		if len(got) < n || len(got) > n+1 {
			t.Fatalf("%d records are committed of the %d that a client was told are", len(got), n)
		}
		n = len(got)
	}
}
