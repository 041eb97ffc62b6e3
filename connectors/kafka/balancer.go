package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// balancerProtocol names how members of a group agree on who runs what. Members
// offer nothing else, so the broker keeps out of the group whatever would assign
// single partitions, and tear tasks apart.
const balancerProtocol = "gradstream-1"

// balancer assigns whole tasks to the members of a group: all the partitions of a
// task, of all sources, go together. It is cooperative: a task that moves is given
// up by one member first and given to the other by a second rebalance, and tasks
// that do not move run on meanwhile. [planTasks] says what goes where.
//
// Every member tells the leader of which tasks it has a local copy, and what it
// takes the tasks to be made of. Members that take them for something else than
// the group does get nothing, and Join tells them why.
type balancer struct {
	group  string
	config groupConfig
	taskOf func(topic string, partition int32) int
	parts  map[int][]connectors.TopicPartition // of each task that has any
	local  func() map[int]uint64               // nil: no local copies

	mu     sync.Mutex
	latest syncData // what came with the last assignment
}

func newBalancer(o *Options, counts map[string]int) *balancer {
	b := &balancer{
		group: o.Group, config: newGroupConfig(o.Tasks, counts), taskOf: o.TaskOf,
		parts: map[int][]connectors.TopicPartition{}, local: o.LocalSteps,
	}
	for _, s := range b.config.sources {
		for p := range int32(s.partitions) {
			if t := o.TaskOf(s.topic, p); t >= 0 && t < o.Tasks {
				b.parts[t] = append(b.parts[t], connectors.TopicPartition{Topic: s.topic, Partition: p})
			}
		}
	}
	return b
}

// configDrift is the error of a worker whose tasks are not the group's.
type configDrift struct {
	group       string
	ours, other groupConfig
}

func (e *configDrift) Error() string {
	return fmt.Sprintf("this worker runs %v, but the other workers of group %s run %v: start all workers with the same pipeline file, or stop the others first", e.ours, e.group, e.other)
}

// sourcesGrew is the error of a leader that sees more partitions than there were
// when it joined.
type sourcesGrew struct {
	topic    string
	was, now int
}

func (e *sourcesGrew) Error() string {
	return fmt.Sprintf("source topic %s had %d partitions and now has %d: rows of a key may be in another partition, and so in another task, than what was learned from it; the added partitions are not read until gradstream migrate adopts them", e.topic, e.was, e.now)
}

// finalBalance reports whether a group session ended with an error of the
// balancer that joining again would only repeat.
func finalBalance(err error) bool {
	var drift *configDrift
	var grew *sourcesGrew
	return errors.As(err, &drift) || errors.As(err, &grew)
}

// ProtocolName implements kgo.GroupBalancer.
func (b *balancer) ProtocolName() string { return balancerProtocol }

// IsCooperative implements kgo.GroupBalancer.
func (b *balancer) IsCooperative() bool { return true }

// JoinGroupMetadata implements kgo.GroupBalancer.
func (b *balancer) JoinGroupMetadata(topics []string, owned map[string][]int32, generation int32) []byte {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = 3 // the first with a generation and a rack
	meta.Topics = topics
	meta.Generation = generation
	for _, t := range slices.Sorted(maps.Keys(owned)) {
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = t, owned[t]
		meta.OwnedPartitions = append(meta.OwnedPartitions, o)
	}
	d := joinData{config: b.config}
	if b.local != nil {
		d.local = b.local()
	}
	meta.UserData = d.encode()
	return meta.AppendTo(nil)
}

// ParseSyncAssignment implements kgo.GroupBalancer.
func (b *balancer) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(assignment); err != nil {
		return nil, fmt.Errorf("the assignment by the leader of group %s: %w", b.group, err)
	}
	d, err := decodeSyncData(a.UserData)
	if err != nil {
		return nil, fmt.Errorf("the assignment by the leader of group %s: %w", b.group, err)
	}
	if !d.config.equal(b.config) {
		return nil, &configDrift{b.group, b.config, d.config}
	}
	b.mu.Lock()
	b.latest = d
	b.mu.Unlock()
	parts := map[string][]int32{}
	for _, t := range a.Topics {
		parts[t.Topic] = t.Partitions
	}
	return parts, nil
}

// unfinished reports whether the last assignment belongs to a plan of which tasks
// wait for their members to give them up, and whether it was made for the member,
// and not for an earlier one with its instance id.
func (b *balancer) unfinished(member string) (waits, ours bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.latest.withheld > 0, b.latest.member == member
}

// MemberBalancer implements kgo.GroupBalancer.
func (b *balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	r := &round{b: b}
	for i := range members {
		r.add(&members[i])
	}
	topics := map[string]struct{}{}
	for _, s := range b.config.sources {
		topics[s.topic] = struct{}{}
	}
	return r, topics, nil
}

// round is one rebalance as the leader sees it.
type round struct {
	b       *balancer
	members []roundMember
}

type roundMember struct {
	planMember
	id     string
	config groupConfig // the zero one if the member's data cannot be read
}

func (r *round) add(m *kmsg.JoinGroupResponseMember) {
	// As kgo sorts them: those with an instance id first, so that a restart, which
	// changes the member id, does not change the order.
	rm := roundMember{id: m.MemberID, planMember: planMember{key: "1/" + m.MemberID}}
	if m.InstanceID != nil {
		rm.key = "0/" + *m.InstanceID
	}
	if slices.ContainsFunc(r.members, func(o roundMember) bool { return o.key == rm.key }) {
		return
	}
	var meta kmsg.ConsumerMemberMetadata
	meta.Default()
	d := joinData{}
	err := meta.ReadFrom(m.ProtocolMetadata)
	if err == nil {
		d, err = decodeJoinData(meta.UserData)
	}
	if err == nil {
		rm.config, rm.local, rm.generation = d.config, d.local, meta.Generation
		rm.owned = r.b.tasksOf(meta.OwnedPartitions)
	}
	r.members = append(r.members, rm)
}

// tasksOf returns the tasks of which any partition is among these, ascending.
func (b *balancer) tasksOf(owned []kmsg.ConsumerMemberMetadataOwnedPartition) []int {
	tasks := map[int]bool{}
	for _, o := range owned {
		if !slices.ContainsFunc(b.config.sources, func(s sourceCount) bool { return s.topic == o.Topic }) {
			continue
		}
		for _, p := range o.Partitions {
			if t := b.taskOf(o.Topic, p); b.parts[t] != nil {
				tasks[t] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(tasks))
}

// groupConfig returns what the group takes its tasks to be: what those take them
// to be that run most tasks, or that are most.
func (r *round) groupConfig() groupConfig {
	type votes struct {
		config         groupConfig
		tasks, members int
	}
	var all []votes
	for _, m := range r.members {
		if m.config.tasks == 0 {
			continue // unreadable; the leader at least is not
		}
		i := slices.IndexFunc(all, func(v votes) bool { return v.config.equal(m.config) })
		if i < 0 {
			i = len(all)
			all = append(all, votes{config: m.config})
		}
		all[i].tasks += len(m.owned)
		all[i].members++
	}
	return slices.MaxFunc(all, func(a, b votes) int {
		return cmp.Or(cmp.Compare(a.tasks, b.tasks), cmp.Compare(a.members, b.members), a.config.compare(b.config))
	}).config
}

// Balance implements kgo.GroupMemberBalancer; BalanceOrError is called instead.
func (r *round) Balance(map[string]int32) kgo.IntoSyncAssignment { return nil }

// BalanceOrError implements kgo.GroupMemberBalancerOrError. It fails if the leader
// itself is one that must not run: it then leaves, and another leads.
func (r *round) BalanceOrError(topics map[string]int32) (kgo.IntoSyncAssignment, error) {
	b := r.b
	for _, s := range b.config.sources {
		if now := int(topics[s.topic]); now > s.partitions {
			return nil, &sourcesGrew{s.topic, s.partitions, now}
		}
	}
	config := r.groupConfig()
	if !config.equal(b.config) {
		return nil, &configDrift{b.group, b.config, config}
	}
	var able []planMember
	for _, m := range r.members {
		if m.config.equal(config) {
			able = append(able, m.planMember)
		}
	}
	// Tasks run by a member that is refused are withheld until it has gone.
	claims := make([]planMember, len(r.members))
	for i, m := range r.members {
		claims[i] = m.planMember
	}
	plan, withheld := settleTasks(planTasks(able, slices.Collect(maps.Keys(b.parts))), claims)
	var out assignments
	for _, m := range r.members {
		d := syncData{config: config, member: m.id, withheld: withheld}
		out = append(out, b.assignment(m.id, plan[m.key], d))
	}
	return out, nil
}

// assignment is what one member is told.
func (b *balancer) assignment(member string, tasks []int, d syncData) kmsg.SyncGroupRequestGroupAssignment {
	parts := map[string][]int32{}
	for _, t := range tasks {
		for _, tp := range b.parts[t] {
			parts[tp.Topic] = append(parts[tp.Topic], tp.Partition)
		}
	}
	var a kmsg.ConsumerMemberAssignment
	a.Default()
	for _, topic := range slices.Sorted(maps.Keys(parts)) {
		slices.Sort(parts[topic])
		at := kmsg.NewConsumerMemberAssignmentTopic()
		at.Topic, at.Partitions = topic, parts[topic]
		a.Topics = append(a.Topics, at)
	}
	a.UserData = d.encode()
	one := kmsg.NewSyncGroupRequestGroupAssignment()
	one.MemberID, one.MemberAssignment = member, a.AppendTo(nil)
	return one
}

type assignments []kmsg.SyncGroupRequestGroupAssignment

// IntoSyncAssignment implements kgo.IntoSyncAssignment.
func (a assignments) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment { return a }
