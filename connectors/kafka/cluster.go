// Package kafka connects the engine to Kafka: it implements the contract of
// package connectors with franz-go, which nothing else in the project imports.
//
// A [Cluster] is the broker as one worker of one pipeline sees it. It holds three
// kinds of connections: a group member that only elects which tasks this worker
// runs and never fetches; one fetching client shared by the feeds of all tasks;
// and two transactional producers a task, one for its outputs and one for its
// checkpoints. The transactional ids are the lock on a task, the group is not:
// whoever initialised PIPELINE/TASK/out last owns the task, and whatever an
// earlier owner had begun is decided before the later one reads anything.
//
// [StartEmbedded] runs a development broker in the process.
package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/plugin/kprom"

	"github.com/gradstream/gradstream/connectors"
)

// Options say which cluster, and which worker of which pipeline. Brokers,
// Pipeline and, for a cluster that is joined or logged to, Sources and Tasks are
// needed; the rest has defaults.
type Options struct {
	Brokers  []string // host:port of some brokers
	Pipeline string   // names the group, the internal topics and the transactional ids

	Group      string // consumer group; default Pipeline
	InstanceID string // static member id; default none, a dynamic member
	Version    string // client.id is gradstream-Version; default dev

	Sources []string                                // source topics
	Outputs []string                                // topics steps publish to; larger records where they allow them
	Tasks   int                                     // number of tasks
	TaskOf  func(topic string, partition int32) int // default partition mod Tasks

	// StepMeta returns the Meta of the step that a record of the journal is of, "" for
	// a record that is of none: by it an end of a transaction that brokers have lost is
	// made good. Without it such a loss is an error.
	StepMeta func(journal []byte) (string, error)

	// LocalSteps says of which tasks this worker has a local copy of the state, and
	// the step each is of. It is called whenever the group is rebalanced, from any
	// goroutine, and must not block: tasks that nobody runs go where their newest
	// copy is. Default none.
	LocalSteps func() map[int]uint64

	JournalTopic string // default Pipeline.journal; partition = task
	StateTopic   string // default Pipeline.state; partition = task; may be missing

	SessionTimeout     time.Duration // of the group member; default 6 s
	TransactionTimeout time.Duration // of the output transactions; default 10 s
	CheckpointTimeout  time.Duration // of the checkpoint transactions; default 60 s

	// Compression of what is produced: none (default), lz4, snappy or zstd. What
	// snappy saves the broker, which of compressed records checks the lengths alone,
	// it costs the worker; see docs/performance.md. Checkpoints are always zstd.
	Compression string

	FetchWait   time.Duration // how long a broker may hold a fetch that finds nothing; default 50 ms
	FeedBytes   int           // bytes a feed buffers, in equal shares for its partitions, before it pauses them; default 1 MiB
	Patience    time.Duration // how long brokers may not answer before the log says so, which it does every two of them; default 5 s
	GiveUp      time.Duration // how long a call waits for brokers that do not answer before it returns an error; default 0: until its context ends
	MaxInFlight int           // output bytes of a step on their way at a time; default 8 MiB

	TLS    *tls.Config // nil: plain text; see [TLSFiles]
	SASL   *SASL       // nil: no login
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)

	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: none

	extra          []kgo.Opt // of every client; for tests
	partitionBytes int       // of a partition in an answer to a fetch; for tests
}

// withDefaults fills in what was left out and checks the rest.
func (o Options) withDefaults() (Options, error) {
	if len(o.Brokers) == 0 {
		return o, errors.New("no Kafka brokers are given")
	}
	if o.Pipeline == "" {
		return o, errors.New("the pipeline has no name")
	}
	if o.Tasks < 0 {
		return o, fmt.Errorf("%d tasks: expected 1 or more", o.Tasks)
	}
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	dur := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.Group, o.Pipeline)
	def(&o.Version, "dev")
	def(&o.JournalTopic, o.Pipeline+".journal")
	def(&o.StateTopic, o.Pipeline+".state")
	def(&o.Compression, "none")
	dur(&o.SessionTimeout, 6*time.Second)
	dur(&o.TransactionTimeout, 10*time.Second)
	dur(&o.CheckpointTimeout, time.Minute)
	dur(&o.FetchWait, 50*time.Millisecond)
	dur(&o.Patience, 5*time.Second)
	if o.FeedBytes <= 0 {
		o.FeedBytes = 1 << 20
	}
	if o.partitionBytes <= 0 {
		o.partitionBytes = partitionBytes
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 8 << 20
	}
	if o.TaskOf == nil && o.Tasks > 0 {
		tasks := o.Tasks
		o.TaskOf = func(_ string, p int32) int { return int(p) % tasks }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if _, err := compression(o.Compression); err != nil {
		return o, err
	}
	return o, nil
}

func compression(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "", "none":
		return kgo.NoCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("unknown compression %q; expected none, lz4, snappy or zstd", name)
}

// Cluster is a Kafka cluster as one worker of one pipeline sees it. Its methods
// may be called from several goroutines.
type Cluster struct {
	opt     Options
	log     *slog.Logger
	base    []kgo.Opt
	admin   *kgo.Client
	adm     *kadm.Client
	belief  *belief
	silence *silence
	tv2     bool // transactions of version 2: one epoch a transaction

	describes bool // brokers tell what transactions are open
	blind     blind
	ends      ends

	mu     sync.Mutex
	fetch  *fetcher // nil until the first feed
	logs   map[*taskLog]struct{}
	closed bool

	member member
	ids    topicIDs
	limits batchLimits
}

var _ connectors.Cluster = (*Cluster)(nil)

// Open connects to the cluster. It waits for a broker to answer, saying every few
// seconds which addresses it is trying, until ctx ends or it gives up; then it
// returns an error that names them. Cancelling ctx later has no effect.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Cluster{opt: o, log: o.Log, logs: map[*taskLog]struct{}{}, belief: newBelief(), silence: newSilence()}
	if c.base, err = baseOptions(c.belief, c.silence, o.Brokers, o.Version, o.TLS, o.SASL, o.Dialer, o.Log); err != nil {
		return nil, err
	}
	if o.GiveUp > 0 {
		c.base = append(c.base, kgo.DialTimeout(o.GiveUp/3), kgo.RequestTimeoutOverhead(o.GiveUp/3)) // closing waits for both
	}
	c.base = append(c.base, o.extra...)
	if c.admin, err = c.client(); err != nil {
		return nil, err
	}
	c.adm = kadm.NewClient(c.admin)
	if err := c.reach(ctx); err != nil {
		c.admin.Close()
		return nil, err
	}
	if o.SASL.inClear(o.TLS) {
		c.log.Warn("the secret of SASL "+o.SASL.String()+" crosses the network unencrypted; set kafka.tls, or use SCRAM", "brokers", o.Brokers)
	}
	if !c.tv2 {
		c.log.Warn("exactly once is not proven on this cluster: its feature transaction.version is below 2, so that a delayed end of one transaction can end a later one; upgrade to Kafka 4.0 or newer and finalize the feature",
			"brokers", o.Brokers)
	}
	return c, nil
}

// baseOptions are what every client of ours has in common.
func baseOptions(b *belief, s *silence, brokers []string, version string, t *tls.Config, login *SASL, dial func(context.Context, string, string) (net.Conn, error), log *slog.Logger) ([]kgo.Opt, error) {
	opts, err := login.options(b)
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		kgo.SeedBrokers(brokers...),
		kgo.ClientID("gradstream-"+version),
		kgo.DisableClientMetrics(), // a push for each of a task's clients would be too many, and delays their closing; see metrics
		kgo.WithLogger(clientLog{log, b, s}),
		kgo.RetryBackoffFn(retryBackoff),
		kgo.MetadataMinAge(100*time.Millisecond), // a produce to a topic made a moment ago must not wait for seconds
	)
	if t != nil {
		dial = dialTLS(t, dial)
	}
	if dial != nil {
		opts = append(opts, kgo.Dialer(dial))
	}
	return opts, nil
}

// client opens a client with the common options and these.
func (c *Cluster) client(opts ...kgo.Opt) (*kgo.Client, error) {
	cl, err := kgo.NewClient(append(slices.Clip(c.base), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return cl, nil
}

// metrics returns the option that exports a client's metrics, if any are wanted, and
// what exports them. Only clients of which a pipeline has one get it: a set of series for each of a
// thousand producers would drown the rest.
func (c *Cluster) metrics(which string) ([]kgo.Opt, *kprom.Metrics) {
	if c.opt.Metrics == nil {
		return nil, nil
	}
	m := kprom.NewMetrics("gradstream_kafka",
		kprom.Registerer(c.opt.Metrics),
		kprom.WithStaticLabel(prometheus.Labels{"pipeline": c.opt.Pipeline, "client": which}),
	)
	return []kgo.Opt{kgo.WithHooks(m)}, m
}

// reach waits until a broker answers and notes what the cluster can do.
func (c *Cluster) reach(ctx context.Context) error {
	w := c.wait(connecting)
	on, done := c.bounded(ctx)
	defer done()
	logins := 0
	for try := 0; ; try++ {
		attempt, cancel := context.WithTimeout(on, c.opt.Patience)
		resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(attempt, c.admin)
		cancel()
		if err == nil {
			c.describes = slices.ContainsFunc(resp.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == int16(kmsg.DescribeProducers) })
			for _, f := range resp.FinalizedFeatures {
				if f.Name == "transaction.version" {
					c.tv2 = f.MaxVersionLevel >= 2
				}
			}
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("no Kafka broker answers at %s: %w", strings.Join(c.opt.Brokers, ", "), err)
		}
		if unsafe(err) != "" {
			if logins++; logins == loginTries {
				return explain(c.whereAsWhom(), err)
			}
			sleep(ctx, loginPause(logins-1))
			continue
		}
		if finalError(err) {
			return explain(c.whereAsWhom(), err)
		}
		if gone := w.failed(err); gone != nil {
			return gone
		}
		if try == 0 && c.opt.GiveUp <= 0 && c.silence.tell(2*c.opt.Patience) {
			more := []any{"brokers", strings.Join(c.opt.Brokers, ", "), "err", err}
			if s := suspicion(err, &c.opt); s != "" {
				more = append(more, "perhaps", s)
			}
			c.log.Warn("no Kafka broker answers yet; trying on", more...)
		}
		sleep(on, retryBackoff(try))
	}
}

// whereAsWhom says whom this worker tells which brokers it is.
func (c *Cluster) whereAsWhom() string {
	s := "connecting to Kafka at " + strings.Join(c.opt.Brokers, ", ")
	if c.opt.SASL != nil {
		s += " with SASL " + c.opt.SASL.String()
	}
	return s
}

// producerVersions caps what producers ask of a cluster without transactions of
// version 2, where offsets join a transaction only by AddOffsetsToTxn.
func (c *Cluster) producerVersions() []kgo.Opt {
	if c.tv2 {
		return nil
	}
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 4)
	return []kgo.Opt{kgo.MaxVersions(v)}
}

// Close ends all connections. Feeds and logs opened by the cluster are closed
// with it.
func (c *Cluster) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	fetch := c.fetch
	var logs []*taskLog
	for l := range c.logs {
		logs = append(logs, l)
	}
	c.mu.Unlock()
	for _, l := range logs {
		l.disconnect()
	}
	if fetch != nil {
		fetch.close()
	}
	c.admin.Close()
	return nil
}

// errClosed is returned by what is used after [Cluster.Close].
var errClosed = errors.New("the connection to Kafka is closed")

// retryBackoff doubles from 5 ms to 500 ms. Tasks fail together when a broker
// does, but their number is small: no jitter.
func retryBackoff(try int) time.Duration {
	return min(5*time.Millisecond<<min(try, 10), 500*time.Millisecond)
}

// sleep waits for d or until ctx ends and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// clientLog hands the client's messages on one level lower: what is routine for
// a Kafka client (every transaction begun, every rebalance) is not news to whoever
// runs a pipeline. A connection that fails for who is who is different: each
// client would say so at each of its tries, so it is said now and then, with what
// to do about it, and counted.
type clientLog struct {
	log     *slog.Logger
	belief  *belief
	silence *silence
}

// Level implements kgo.Logger.
func (l clientLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn // whatever is logged: some of it is counted
}

// Log implements kgo.Logger.
func (l clientLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	switch level {
	case kgo.LogLevelWarn:
		to = slog.LevelInfo
	case kgo.LogLevelError:
		to = slog.LevelWarn
	}
	for _, v := range keyvals {
		err, ok := v.(error)
		if !ok {
			continue
		}
		remedy := unsafe(err)
		if remedy == "" {
			// Whoever asked is told, and tells.
			if finalError(err) || to != slog.LevelDebug && (to == slog.LevelInfo || slices.Contains(connectFailed, msg)) && !l.silence.tellClient() {
				to = slog.LevelDebug
			}
			continue
		}
		to = slog.LevelDebug
		if !slices.Contains(connectFailed, msg) {
			break // said of a request, after it was said of the connection
		}
		if l.belief.failed(err) {
			to, keyvals = slog.LevelWarn, append(slices.Clip(keyvals), "remedy", remedy)
		}
		break
	}
	l.log.Log(context.Background(), to, "kafka: "+msg, keyvals...)
}

// connectFailed is what the client says of a connection that was not made, which
// it has no other way to tell.
var connectFailed = []string{"unable to open connection to broker", "unable to request api versions", "unable to initialize sasl"}
