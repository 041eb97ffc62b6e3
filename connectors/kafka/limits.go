package kafka

import (
	"context"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// defaultBatchBytes is what a batch may take unless the topic says more: Kafka's
	// default for max.message.bytes, less its overhead.
	defaultBatchBytes = 1_000_012
	// mostBatchBytes stays below the largest request a broker takes.
	mostBatchBytes = 64 << 20
)

// batchLimits remembers how large a batch the output topics take. A record of an
// errors topic may be as large as its source allows, and larger than the default.
type batchLimits struct {
	mu   sync.Mutex
	most map[string]int32 // nil until it was learnt
}

func (b *batchLimits) known() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.most != nil
}

// batchBytes lets batches be as large as their topic allows, as far as it was
// learnt.
func (c *Cluster) batchBytes() kgo.ProducerOpt {
	return kgo.ProducerBatchMaxBytesFn(c.batchLimit)
}

func (c *Cluster) batchLimit(topic string) int32 {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	if n, ok := c.limits.most[topic]; ok {
		return n
	}
	return defaultBatchBytes
}

// learnLimits asks once how large the records of the output topics may be. It
// does without where it may not ask: then the default holds. Nobody waits for the
// answer but the caller: tasks that begin together may ask several times.
func (c *Cluster) learnLimits(ctx context.Context) {
	if len(c.opt.Outputs) == 0 || c.limits.known() {
		return
	}
	settings, err := c.Settings(ctx, c.opt.Outputs)
	if err != nil {
		return
	}
	most := map[string]int32{}
	for topic, of := range settings {
		if n, err := strconv.Atoi(of["max.message.bytes"]); err == nil && n > 0 {
			most[topic] = int32(min(n, mostBatchBytes))
		}
	}
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	c.limits.most = most
}
