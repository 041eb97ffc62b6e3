package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// Describe returns the cluster's id and what it knows of each topic, in order:
// partitions, replication and id; not the configuration. A topic that does not
// exist is Missing; one that may not be seen is an error.
func (c *Cluster) Describe(ctx context.Context, topics []string) (string, []connectors.TopicInfo, error) {
	req := metadataRequest(topics...)
	var resp *kmsg.MetadataResponse
	var found map[string]*kmsg.MetadataResponseTopic
	err := c.again(ctx, "asking for topics", func(ctx context.Context) (err error) {
		if resp, err = req.RequestWith(ctx, c.admin); err != nil {
			return err
		}
		found = topicsOf(resp)
		for _, name := range topics {
			rt := found[name]
			if rt == nil {
				continue
			}
			err := kerr.ErrorForCode(rt.ErrorCode)
			if err != nil && kerr.IsRetriable(err) && err != kerr.UnknownTopicOrPartition {
				return fmt.Errorf("topic %s: %w", *rt.Topic, err) // a leader is being elected: not all is known
			}
		}
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	infos := make([]connectors.TopicInfo, len(topics))
	for i, name := range topics {
		infos[i].Name = name
		rt := found[name]
		if rt == nil {
			infos[i].Missing = true
			continue
		}
		switch err := kerr.ErrorForCode(rt.ErrorCode); {
		case err == kerr.UnknownTopicOrPartition:
			infos[i].Missing = true
		case err != nil:
			return "", nil, explain("topic "+name, err)
		default:
			infos[i].Partitions = len(rt.Partitions)
			for _, p := range rt.Partitions {
				infos[i].Replication = max(infos[i].Replication, len(p.Replicas))
			}
			infos[i].ID = rt.TopicID
			c.ids.put(name, rt.TopicID)
		}
	}
	cluster := ""
	if resp.ClusterID != nil {
		cluster = *resp.ClusterID
	}
	return cluster, infos, nil
}

// metadataRequest asks for topics.
func metadataRequest(topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none; nil would mean every one
	for _, name := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, rt)
	}
	return req
}

// topicsOf returns the topics of an answer by name.
func topicsOf(resp *kmsg.MetadataResponse) map[string]*kmsg.MetadataResponseTopic {
	found := map[string]*kmsg.MetadataResponseTopic{}
	for i := range resp.Topics {
		if rt := &resp.Topics[i]; rt.Topic != nil {
			found[*rt.Topic] = rt
		}
	}
	return found
}

// Create creates topics with one request and waits until they can be used. One that
// exists is an error, as is one that may not be created: the message names it. The
// others are created all the same.
func (c *Cluster) Create(ctx context.Context, topics []connectors.Topic) error {
	names := make([]string, len(topics))
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(createTimeout.Milliseconds())
	for i, t := range topics {
		names[i] = t.Name
		if t.Partitions < 1 {
			return fmt.Errorf("topic %s: %d partitions: expected 1 or more", t.Name, t.Partitions)
		}
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = t.Name, int32(t.Partitions), int16(t.Replication)
		if t.Replication == 0 {
			rt.ReplicationFactor = -1 // the broker's default
		}
		for _, k := range slices.Sorted(maps.Keys(t.Config)) {
			rc := kmsg.NewCreateTopicsRequestTopicConfig()
			rc.Name, rc.Value = k, kmsg.StringPtr(t.Config[k])
			rt.Configs = append(rt.Configs, rc)
		}
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, c.admin)
	if err != nil {
		return explain("creating topic "+strings.Join(names, ", "), err)
	}
	for _, name := range names {
		i := slices.IndexFunc(resp.Topics, func(t kmsg.CreateTopicsResponseTopic) bool { return t.Topic == name })
		if i < 0 {
			return fmt.Errorf("creating topic %s: the answer lacks it", name)
		}
		err := kerr.ErrorForCode(resp.Topics[i].ErrorCode)
		if said := resp.Topics[i].ErrorMessage; err != nil && said != nil && *said != "" {
			err = fmt.Errorf("%w: %s", err, *said)
		}
		if errors.Is(err, kerr.TopicAlreadyExists) {
			err = fmt.Errorf("%w: %w", connectors.ErrExists, err)
		}
		if err != nil {
			return explain("creating topic "+name, err)
		}
	}
	// The brokers learn of topics one after the other.
	for try := 0; ; try++ {
		_, infos, err := c.Describe(ctx, names)
		if err != nil {
			return err
		}
		missing := ""
		for _, i := range infos {
			if i.Missing {
				missing = i.Name
			}
		}
		if missing == "" {
			return nil
		}
		if !sleep(ctx, retryBackoff(try)) {
			return fmt.Errorf("topic %s was created but cannot be seen yet: %w", missing, ctx.Err())
		}
	}
}

// createTimeout is how long the controller may take to create topics.
const createTimeout = 15 * time.Second

// Settings returns the configuration of topics, by topic and key. Those that do not
// exist, or whose configuration may not be asked for, are left out.
func (c *Cluster) Settings(ctx context.Context, topics []string) (map[string]map[string]string, error) {
	all := map[string]map[string]string{}
	if len(topics) == 0 {
		return all, nil // none would mean every one
	}
	configs, err := c.adm.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, explain("asking for the configuration of topics", err)
	}
	for _, t := range configs {
		if t.Err != nil {
			continue
		}
		all[t.Name] = map[string]string{}
		for _, kv := range t.Configs {
			if kv.Value != nil {
				all[t.Name][kv.Key] = *kv.Value
			}
		}
	}
	return all, nil
}

// Committed returns all positions committed to the group, of any topic.
func (c *Cluster) Committed(ctx context.Context) ([]connectors.Position, error) {
	return c.committed(ctx, func(string, int32) bool { return true })
}

func (c *Cluster) committed(ctx context.Context, want func(topic string, partition int32) bool) ([]connectors.Position, error) {
	offsets, _, err := c.groupOffsets(ctx, want, false)
	var out []connectors.Position
	for _, o := range offsets {
		out = append(out, connectors.Position{TopicPartition: connectors.TopicPartition{Topic: o.Topic, Partition: o.Partition}, Next: o.At})
	}
	return out, err
}

// groupOffsets returns what is committed to the group for the partitions that are
// wanted, once no transaction is open on it, or at once: then those on which one is
// open are returned apart.
func (c *Cluster) groupOffsets(ctx context.Context, want func(topic string, partition int32) bool, atOnce bool) (out, unstable []kadm.OffsetResponse, err error) {
	err = c.again(ctx, "positions of group "+c.opt.Group, func(ctx context.Context) error {
		out, unstable = out[:0], unstable[:0]
		// Stable: an offset fetched plainly right after a commit may be the one before.
		all, err := c.adm.FetchOffsets(kadm.RequireStable(ctx), c.opt.Group)
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil // nobody has committed or joined yet
		}
		if err != nil {
			return err
		}
		for _, o := range all.Sorted() {
			if !want(o.Topic, o.Partition) {
				continue
			}
			switch {
			case o.Err != nil && atOnce && errors.Is(o.Err, kerr.UnstableOffsetCommit):
				unstable = append(unstable, o)
			case o.Err != nil:
				return o.Err
			case o.At >= 0:
				out = append(out, o)
			}
		}
		return nil
	})
	return out, unstable, err
}

// again calls f until it succeeds, an error cannot heal, ctx ends, or brokers are
// given up.
func (c *Cluster) again(ctx context.Context, doing string, f func(ctx context.Context) error) error {
	w := c.wait(doing)
	on, done := c.bounded(ctx)
	defer done()
	for try := 0; ; try++ {
		err := f(on)
		if err == nil {
			return nil
		}
		gone := w.failed(err)
		act := decide(phaseSend, err)
		if finalError(err) || act == actFail || ctx.Err() != nil || on.Err() == nil && act == actStop {
			return explain(doing, err)
		}
		if gone != nil {
			return gone
		}
		if !sleep(ctx, retryBackoff(try)) {
			return explain(doing, errors.Join(ctx.Err(), err))
		}
	}
}

// Resolve turns the relative positions into absolute ones: the log's start, or
// the end of what is committed.
func (c *Cluster) Resolve(ctx context.Context, from []connectors.Position) ([]connectors.Position, error) {
	out := append([]connectors.Position(nil), from...)
	for _, rel := range []int64{connectors.Earliest, connectors.Latest} {
		var topics []string
		for _, p := range out {
			if p.Next == rel {
				topics = append(topics, p.Topic)
			}
		}
		if len(topics) == 0 {
			continue
		}
		list := c.adm.ListStartOffsets
		if rel == connectors.Latest {
			list = c.adm.ListCommittedOffsets
		}
		err := c.again(ctx, "positions of "+topics[0], func(ctx context.Context) error {
			got, err := list(ctx, topics...)
			if err != nil {
				return err
			}
			for i, p := range out {
				if p.Next != rel {
					continue
				}
				o, ok := got.Lookup(p.Topic, p.Partition)
				if !ok {
					return fmt.Errorf("%v: %w", p.TopicPartition, kerr.UnknownTopicOrPartition)
				}
				if o.Err != nil {
					return fmt.Errorf("%v: %w", p.TopicPartition, o.Err)
				}
				out[i].Next = o.Offset
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// bounds returns the first offset of a partition's log and the last stable one.
func (c *Cluster) bounds(ctx context.Context, tp connectors.TopicPartition) (start, end int64, err error) {
	ps, err := c.Resolve(ctx, []connectors.Position{{TopicPartition: tp, Next: connectors.Earliest}, {TopicPartition: tp, Next: connectors.Latest}})
	if err != nil {
		return 0, 0, err
	}
	return ps[0].Next, ps[1].Next, nil
}

// topicIDs remembers the ids of topics: the newest versions of some requests name
// topics by id alone.
type topicIDs struct {
	mu sync.Mutex
	m  map[string][16]byte
}

func (t *topicIDs) put(name string, id [16]byte) {
	t.mu.Lock()
	if t.m == nil {
		t.m = map[string][16]byte{}
	}
	t.m[name] = id
	t.mu.Unlock()
}

func (t *topicIDs) get(name string) ([16]byte, bool) {
	t.mu.Lock()
	id, ok := t.m[name]
	t.mu.Unlock()
	return id, ok
}

func (t *topicIDs) forget(name string) {
	t.mu.Lock()
	delete(t.m, name)
	t.mu.Unlock()
}

// topicID returns the id of a topic, asking once; the zero id on a cluster that
// has none.
func (c *Cluster) topicID(ctx context.Context, name string) ([16]byte, error) {
	if id, ok := c.ids.get(name); ok {
		return id, nil
	}
	_, infos, err := c.Describe(ctx, []string{name})
	if err != nil {
		return [16]byte{}, err
	}
	if infos[0].Missing {
		return [16]byte{}, explain("topic "+name, kerr.UnknownTopicOrPartition)
	}
	return infos[0].ID, nil
}

// Members returns how many members the group has; none if there is no group.
func (c *Cluster) Members(ctx context.Context) (n int, err error) {
	err = c.again(ctx, "asking for the members of group "+c.opt.Group, func(ctx context.Context) error {
		groups, err := c.adm.DescribeGroups(ctx, c.opt.Group)
		if err != nil {
			return err
		}
		g := groups[c.opt.Group]
		if errors.Is(g.Err, kerr.GroupIDNotFound) {
			return nil
		}
		n = len(g.Members)
		return g.Err
	})
	return n, err
}

// Grow adds partitions to a topic until it has so many, and waits until they can be
// seen. A topic that has as many already stays as it is.
func (c *Cluster) Grow(ctx context.Context, topic string, partitions int) error {
	asked := false
	return c.again(ctx, "adding partitions to topic "+topic, func(ctx context.Context) error {
		_, infos, err := c.Describe(ctx, []string{topic})
		switch {
		case err != nil:
			return err
		case infos[0].Partitions >= partitions:
			return nil
		case asked:
			return fmt.Errorf("topic %s has %d partitions, not %d: %w", topic, infos[0].Partitions, partitions, kerr.LeaderNotAvailable)
		}
		r, err := c.adm.UpdatePartitions(ctx, partitions, topic)
		if err == nil {
			err = r.Error()
		}
		if err != nil {
			return err
		}
		asked = true
		return fmt.Errorf("topic %s: %w", topic, kerr.LeaderNotAvailable) // look again
	})
}
