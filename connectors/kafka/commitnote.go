package kafka

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitNote says which transaction an embedded broker is about to commit. The
// broker does that in several writes: a marker in each partition, the offsets of
// the groups, the producer's entry. The note is on disk before the first of them,
// so that after a kill in between [repair] can make the rest.
type commitNote struct {
	Version  int            `json:"version"`
	Producer int64          `json:"producer"`
	Epoch    int16          `json:"epoch"`
	Next     bool           `json:"next_epoch"` // the broker raises the epoch behind the commit (transactions of version 2)
	Offsets  []stagedOffset `json:"offsets,omitempty"`
}

// stagedOffset is an offset of a group that is committed with a transaction. A
// later one of the same partition replaces an earlier one.
type stagedOffset struct {
	Group       string  `json:"group"`
	Topic       string  `json:"topic"`
	Partition   int32   `json:"partition"`
	Offset      int64   `json:"offset"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Metadata    *string `json:"metadata,omitempty"`
}

const (
	noteVersion = 1
	noteHeader  = 8       // length and CRC-32C of the JSON behind it, little endian; zeros: no commit is going on
	renewEvery  = 1 << 12 // requests
)

// commitGuard sees every request before the broker serves it and keeps the note.
// The broker serves one request after the other, so there is one commit at a time,
// and the request behind it shows that it is complete: no note can be taken for a
// later transaction of the same producer, nor undo a later commit of the group.
type commitGuard struct {
	cluster *kfake.Cluster
	file    *os.File
	sync    bool // against power cuts
	log     *slog.Logger

	mu     sync.Mutex
	closed bool
	noted  bool                   // the file holds a commit
	staged map[string]*commitNote // by transactional id: the offsets of open transactions
	topics map[[16]byte]string
	seen   int
	buf    []byte
}

var errBrokerCloses = errors.New("the broker is being closed")

func guardCommits(c *kfake.Cluster, name string, sync bool, log *slog.Logger) (*commitGuard, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	g := &commitGuard{
		cluster: c, file: f, sync: sync, log: log,
		staged: map[string]*commitNote{}, topics: map[[16]byte]string{},
	}
	if err := g.write(nil); err != nil {
		f.Close()
		return nil, err
	}
	c.Control(g.see)
	return g, nil
}

// see is called by the broker with each request. It returns true if the broker is
// not to serve it: without a note there is no commit, and with an old one left
// nothing at all.
func (g *commitGuard) see(r kmsg.Request) (kmsg.Response, error, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seen++; g.seen%renewEvery == 0 {
		// The broker remembers the last request of each connection, closed or not, for
		// as long as a function stays.
		g.cluster.DropControl()
		g.cluster.Control(g.see)
	}
	if g.closed {
		g.cluster.KeepControl()
		return nil, errBrokerCloses, true
	}
	if g.noted {
		if err := g.write(nil); err != nil {
			g.log.Warn("the embedded broker cannot write and refuses everything", "err", err)
			g.cluster.KeepControl()
			return nil, err, true
		}
		g.noted = false
	}
	switch r := r.(type) {
	case *kmsg.InitProducerIDRequest:
		if r.TransactionalID != nil {
			delete(g.staged, *r.TransactionalID)
		}
	case *kmsg.TxnOffsetCommitRequest:
		g.stage(r)
	case *kmsg.EndTxnRequest:
		n := g.staged[r.TransactionalID]
		delete(g.staged, r.TransactionalID)
		if !r.Commit {
			break
		}
		if n == nil || n.Producer != r.ProducerID || n.Epoch != r.ProducerEpoch {
			n = &commitNote{Producer: r.ProducerID, Epoch: r.ProducerEpoch}
		}
		n.Version, n.Next = noteVersion, r.Version >= 5
		g.noted = true
		if err := g.write(n); err != nil {
			g.log.Warn("the embedded broker cannot write and commits nothing", "err", err)
			g.cluster.KeepControl()
			resp := r.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode = kerr.KafkaStorageError.Code
			return resp, nil, true
		}
	}
	return nil, nil, false
}

// stage remembers the offsets of an open transaction, as the broker does.
func (g *commitGuard) stage(r *kmsg.TxnOffsetCommitRequest) {
	n := g.staged[r.TransactionalID]
	if n == nil || n.Producer != r.ProducerID || n.Epoch != r.ProducerEpoch {
		n = &commitNote{Producer: r.ProducerID, Epoch: r.ProducerEpoch}
		g.staged[r.TransactionalID] = n
	}
	for _, t := range r.Topics {
		name := t.Topic
		if r.Version >= 6 { // carries the id alone
			if name = g.topic(t.TopicID); name == "" {
				continue // nor does the broker know it
			}
		}
		for _, p := range t.Partitions {
			n.Offsets = append(n.Offsets, stagedOffset{r.Group, name, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata})
		}
	}
}

func (g *commitGuard) topic(id [16]byte) string {
	name, ok := g.topics[id]
	if !ok {
		info := g.cluster.TopicIDInfo(id)
		if info == nil {
			return ""
		}
		name = info.Topic
		g.topics[id] = name
	}
	return name
}

// write writes a note, or that there is none.
func (g *commitGuard) write(n *commitNote) error {
	g.buf = append(g.buf[:0], make([]byte, noteHeader)...)
	if n != nil {
		b, err := json.Marshal(n)
		if err != nil {
			return err
		}
		g.buf = append(g.buf, b...)
		binary.LittleEndian.PutUint32(g.buf, uint32(len(b)))
		binary.LittleEndian.PutUint32(g.buf[4:], crc32.Checksum(b, castagnoli))
	}
	if _, err := g.file.WriteAt(g.buf, 0); err != nil {
		return err
	}
	if g.sync {
		return g.file.Sync()
	}
	return nil
}

// refuse lets the broker serve no request from now on, and returns when the last
// one has been served. The broker may otherwise save its state and close between
// showing a request here and serving it.
func (g *commitGuard) refuse(addr string) {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	// It is served behind all others: ApiVersions, version 0, without a client's id.
	// The answer is that the connection ends.
	conn.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 0xff, 0xff})
	io.Copy(io.Discard, conn)
}

// close comes behind the end of the broker.
func (g *commitGuard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.write(nil); err != nil {
		g.log.Warn("closing the embedded broker", "err", err)
	}
	g.file.Close()
}

// readCommitNote returns the commit that the broker was making, nil if none. A
// note that is not complete is none: the broker begins only when it is.
func readCommitNote(name string) (*commitNote, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || len(b) < noteHeader {
		return nil, err
	}
	size, sum := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if b = b[noteHeader:]; size == 0 || uint64(size) > uint64(len(b)) || crc32.Checksum(b[:size], castagnoli) != sum {
		return nil, nil
	}
	n := &commitNote{}
	if err := json.Unmarshal(b[:size], n); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if n.Version != noteVersion {
		return nil, fmt.Errorf("%s has version %d, this program knows %d: start the newer program once", name, n.Version, noteVersion)
	}
	return n, nil
}
