package kafka

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// EmbeddedOptions say where an embedded broker keeps its data and listens.
type EmbeddedOptions struct {
	// Dir is the folder whose subfolder "broker" holds the data. Empty: memory
	// only, all is gone when it closes.
	Dir string
	// Addr is the address to listen on, a loopback one. Default: the port that
	// this folder had before if it is free, else any free one, on 127.0.0.1. A
	// port given here and not free is an error.
	Addr string
	// Sync makes every acknowledged batch survive a power cut, at a price in
	// throughput. Without it acknowledged batches survive the end of the process,
	// however it ends, but not of the machine: like Kafka on one node.
	Sync bool
	Log  *slog.Logger // nil: none
}

// Embedded is a broker inside this process, for development, demonstrations and
// tests. It speaks Kafka's protocol, with groups and transactions, to any client
// on this machine. It is not Kafka: there is one process and one copy of the data,
// no replication or fail-over, no quotas, one goroutine that serves everyone, and
// it ends when the process does. Measurements on it flatter.
//
// Topics exist only after someone has created them.
type Embedded struct {
	addr    string
	cluster *kfake.Cluster
	commits *commitGuard // nil in memory
	unlock  func(inOrder bool)
	once    sync.Once
}

// brokerNote is what the process that runs the broker of a folder writes there,
// for others to connect and for itself to come back as the same.
type brokerNote struct {
	Address string `json:"address"`
	Cluster string `json:"cluster"`
}

const (
	brokerDir    = "broker"
	brokerData   = "data"
	brokerFile   = "broker.addr"
	brokerLock   = "lock"
	brokerCommit = "commit" // see commitNote
)

// StartEmbedded starts a broker. It returns an error that says who, if another
// process holds the folder. ctx bounds the start only.
func StartEmbedded(ctx context.Context, o EmbeddedOptions) (*Embedded, error) {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	host, port, err := loopback(o.Addr)
	if err != nil {
		return nil, err
	}
	e := &Embedded{unlock: func(bool) {}}
	note := brokerNote{Cluster: "gradstream-" + rand.Text()[:16]}
	dir := filepath.Join(o.Dir, brokerDir)
	unclean := false
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.WithLogger(brokerLog{log}),
	}
	if o.Dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("the embedded broker's folder: %w", err)
		}
		if e.unlock, unclean, err = lockFile(filepath.Join(dir, brokerLock)); err != nil {
			return nil, fmt.Errorf("the embedded broker's folder %s: %w", dir, err)
		}
		if old, err := readNote(dir); err == nil {
			note.Cluster = old.Cluster
			if o.Addr == "" {
				_, port, _ = loopback(old.Address)
			}
		}
		opts = append(opts, kfake.DataDir(filepath.Join(dir, brokerData)))
		if o.Sync {
			opts = append(opts, kfake.SyncWrites())
		}
	}
	opts = append(opts, kfake.ClusterID(note.Cluster))
	start := func(port int) (*kfake.Cluster, error) {
		return kfake.NewCluster(append(opts, kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			var lc net.ListenConfig
			return lc.Listen(ctx, network, net.JoinHostPort(host, strconv.Itoa(port)))
		}))...)
	}
	if o.Dir != "" && unclean {
		n, err := repair(dir)
		if err != nil {
			e.unlock(false)
			return nil, fmt.Errorf("mending the embedded broker's data in %s after its process was killed: %w", dir, err)
		}
		log.Info("the embedded broker was not closed the last time",
			"transactions_aborted", n.aborted, "partitions_committed", n.committed, "offsets_committed", n.offsets)
	}
	e.cluster, err = start(port)
	var busy *net.OpError
	if err != nil && errors.As(err, &busy) && o.Addr == "" && port != 0 {
		log.Warn("the embedded broker's port is taken; clients have to connect to another", "was", port)
		e.cluster, err = start(0)
	}
	if err != nil {
		e.unlock(true)
		return nil, fmt.Errorf("starting the embedded broker: %w", err)
	}
	e.addr = e.cluster.ListenAddrs()[0]
	note.Address = e.addr
	if o.Dir != "" {
		if e.commits, err = guardCommits(e.cluster, filepath.Join(dir, brokerCommit), o.Sync, log); err != nil {
			e.Close()
			return nil, fmt.Errorf("the embedded broker's folder: %w", err)
		}
		if err := writeNote(dir, note); err != nil {
			e.Close()
			return nil, fmt.Errorf("the embedded broker's folder: %w", err)
		}
	}
	return e, nil
}

// Addr returns host:port, for any client on this machine.
func (e *Embedded) Addr() string { return e.addr }

// Close stops the broker, writes what is not on disk yet, and releases the folder.
// Clients that come later are refused.
func (e *Embedded) Close() error {
	e.once.Do(func() {
		if e.commits != nil {
			e.commits.refuse(e.addr)
		}
		e.cluster.Close()
		if e.commits != nil {
			e.commits.close()
		}
		e.unlock(true)
	})
	return nil
}

// ErrNoEmbedded is returned by [FindEmbedded] where no process runs a broker on
// the folder.
var ErrNoEmbedded = errors.New("no embedded broker is running on this folder")

// FindEmbedded returns the address of the broker that another process runs on the
// folder (that of [EmbeddedOptions]), after making sure that it answers and is the
// folder's own. Without one it returns [ErrNoEmbedded].
func FindEmbedded(ctx context.Context, dir string) (string, error) {
	note, err := readNote(filepath.Join(dir, brokerDir))
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNoEmbedded
	}
	if err != nil {
		return "", err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(note.Address), kgo.RequestRetries(0), kgo.DialTimeout(2*time.Second))
	if err != nil {
		return "", err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return "", fmt.Errorf("%w (nothing answers at %s)", ErrNoEmbedded, note.Address)
	}
	if resp.ClusterID == nil || *resp.ClusterID != note.Cluster {
		return "", fmt.Errorf("%w (another broker answers at %s)", ErrNoEmbedded, note.Address)
	}
	return note.Address, nil
}

// loopback splits an address and makes sure that it is of this machine only.
func loopback(addr string) (host string, port int, err error) {
	if addr == "" {
		return "127.0.0.1", 0, nil
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("the embedded broker's address %q: %w", addr, err)
	}
	if port, err = strconv.Atoi(p); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("the embedded broker's address %q: port %q is not a number from 0 to 65535", addr, p)
	}
	if host == "localhost" || host == "" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, fmt.Errorf("the embedded broker's address %q: it has no access control and listens on this machine only; expected 127.0.0.1:PORT", addr)
	}
	return host, port, nil
}

func readNote(dir string) (n brokerNote, err error) {
	name := filepath.Join(dir, brokerFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return n, err
	}
	if err := json.Unmarshal(b, &n); err != nil || n.Address == "" || n.Cluster == "" {
		return n, fmt.Errorf("%s is damaged; delete it", name)
	}
	return n, nil
}

func writeNote(dir string, n brokerNote) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, brokerFile)
	if err := os.WriteFile(name+".new", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// brokerLog hands the broker's messages on. What it calls a warning concerns
// clients, not whoever runs it.
type brokerLog struct{ log *slog.Logger }

func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	if level == kfake.LogLevelError {
		to = slog.LevelWarn
	}
	ctx := context.Background()
	if l.log.Enabled(ctx, to) {
		l.log.Log(ctx, to, "broker: "+fmt.Sprintf(format, args...))
	}
}
