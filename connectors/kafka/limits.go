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
	mu    sync.Mutex
	asked bool
	most  map[string]int32
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
// does without where it may not ask: then the default holds.
func (c *Cluster) learnLimits(ctx context.Context) {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	if c.limits.asked || len(c.opt.Outputs) == 0 {
		return
	}
	configs, err := c.adm.DescribeTopicConfigs(ctx, c.opt.Outputs...)
	if err != nil {
		return
	}
	c.limits.asked, c.limits.most = true, map[string]int32{}
	for _, topic := range configs {
		if topic.Err != nil {
			continue
		}
		for _, kv := range topic.Configs {
			if kv.Key != "max.message.bytes" || kv.Value == nil {
				continue
			}
			if n, err := strconv.Atoi(*kv.Value); err == nil && n > 0 {
				c.limits.most[topic.Name] = int32(min(n, mostBatchBytes))
			}
		}
	}
}
