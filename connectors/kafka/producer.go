package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/connectors"
)

// ProducerOptions configure a [Producer]. Brokers are needed.
type ProducerOptions struct {
	Brokers     []string
	Version     string        // client.id is gradstream-Version; default dev
	Compression string        // none (default), lz4, snappy or zstd
	Linger      time.Duration // how long a batch may wait to fill; default 5 ms
	MaxBuffered int           // records sent and not acknowledged before Send waits; default 65,536
	GiveUp      time.Duration // how long nothing may be acknowledged while something is sent; default 0: for ever

	TLS    *tls.Config // nil: plain text; see [TLSFiles]
	SASL   *SASL       // nil: no login
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)
	Log    *slog.Logger // nil: none
}

// Producer publishes records outside of transactions: each exactly once while
// the producer lives, in order within a partition. It is for playing files into
// topics. Its methods are for one goroutine, but for Acked.
type Producer struct {
	cl     *kgo.Client
	slab   []byte
	acked  atomic.Int64
	belief *belief

	promise func(*kgo.Record, error)
	closed  chan struct{}
	once    sync.Once
	mu      sync.Mutex
	err     error
}

// NewProducer opens a producer. It connects when the first record is sent.
func NewProducer(o ProducerOptions) (*Producer, error) {
	c, err := Options{Brokers: o.Brokers, Pipeline: "-", Version: o.Version, Compression: o.Compression, Log: o.Log}.withDefaults()
	if err != nil {
		return nil, err
	}
	codec, err := compression(c.Compression)
	if err != nil {
		return nil, err
	}
	if o.Linger <= 0 {
		o.Linger = 5 * time.Millisecond
	}
	if o.MaxBuffered <= 0 {
		o.MaxBuffered = 1 << 16
	}
	b := newBelief()
	base, err := baseOptions(b, newSilence(), c.Brokers, c.Version, o.TLS, o.SASL, o.Dialer, c.Log)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(base,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // murmur2 of the key, as PartitionForKey
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(o.Linger),
		kgo.MaxBufferedRecords(o.MaxBuffered),
	)...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	p := &Producer{cl: cl, belief: b, closed: make(chan struct{})}
	p.promise = func(r *kgo.Record, err error) {
		if err == nil {
			p.acked.Add(1)
			return
		}
		p.fail(explain("topic "+r.Topic, err))
	}
	if o.GiveUp > 0 {
		go p.giveUp(o.GiveUp, c.Brokers)
	}
	return p, nil
}

// giveUp closes the client once the brokers have acknowledged nothing for so long
// though something was sent. It ends with the producer.
func (p *Producer) giveUp(after time.Duration, brokers []string) {
	tick := time.NewTicker(after / 16)
	defer tick.Stop()
	last, moved := int64(0), time.Now()
	for {
		select {
		case <-p.closed:
			return
		case now := <-tick.C:
			if acked := p.acked.Load(); acked != last || p.cl.BufferedProduceRecords() == 0 {
				last, moved = acked, now
			}
			if now.Sub(moved) < after {
				continue
			}
			p.fail(fmt.Errorf("Kafka at %s has acknowledged nothing for %v, %d records so far; check that the brokers run, and that this machine reaches them at the addresses they advertise",
				strings.Join(brokers, ", "), after, last))
			p.cl.Close()
			return
		}
	}
}

func (p *Producer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

// Send hands a record over, to the partition that its key selects (see
// [PartitionForKey]); records without a key are spread over the partitions a batch
// at a time. Bytes are copied. It waits while too many records are on their way.
// Its error may be that of an earlier record; then no later one was sent.
// A record's Time of 0 means now; its Offset is ignored.
func (p *Producer) Send(ctx context.Context, topic string, rec connectors.Record) error {
	if err := p.failed(); err != nil {
		return err
	}
	r := &kgo.Record{Topic: topic, Key: p.keep(rec.Key), Value: p.keep(rec.Value)}
	if rec.Time != 0 {
		r.Timestamp = time.UnixMilli(rec.Time)
	}
	for _, h := range rec.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: p.keep(h.Value)})
	}
	p.cl.Produce(ctx, r, p.promise)
	return ctx.Err()
}

// keep copies bytes into a slab; slabs are never used twice, so that nothing has
// to know when a record is done with.
func (p *Producer) keep(b []byte) []byte {
	const slab = 64 << 10
	if b == nil {
		return nil
	}
	if len(b) > slab/4 {
		return append([]byte{}, b...)
	}
	if len(b) > cap(p.slab)-len(p.slab) {
		p.slab = make([]byte, 0, slab)
	}
	lo := len(p.slab)
	p.slab = append(p.slab, b...)
	return p.slab[lo:len(p.slab):len(p.slab)]
}

func (p *Producer) failed() error {
	if lost := p.belief.err(); lost != nil {
		return explain("producing", lost)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Acked returns how many records the brokers have acknowledged.
func (p *Producer) Acked() int64 { return p.acked.Load() }

// Flush waits until all records are acknowledged and returns the first error.
func (p *Producer) Flush(ctx context.Context) error {
	on, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.belief.ctx, cancel)()
	err := p.cl.Flush(on)
	if failed := p.failed(); failed != nil {
		return failed
	}
	return err
}

// Close drops what is not acknowledged and closes the connections.
func (p *Producer) Close() error {
	p.once.Do(func() { close(p.closed) })
	p.cl.Close()
	return nil
}
