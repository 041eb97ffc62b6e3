package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// member is this worker's place in the group. The group only elects: positions
// and fencing do not rest on it.
type member struct {
	// mu is held for reading from the look at owned until the offsets of a
	// transaction are accepted, and for writing when tasks come or go, so that no
	// transaction commits for a task that was just given up.
	mu     sync.RWMutex
	cl     *kgo.Client // nil before Join and after it
	joined bool        // Join was called at least once
	owned  map[int]bool

	// change serialises what happens on a rebalance.
	change sync.Mutex
	parts  map[connectors.TopicPartition]bool // assigned to this member
	host   connectors.Host
	gone   bool        // leaving: the host has been told everything
	follow *time.Timer // runs out when the rebalance that is to follow the last one does not come; nil: none is to
}

// wholeTasks returns the tasks all of whose partitions are held, ascending, and
// those of which only some are. A task's partitions are those partitions of the
// sources that taskOf maps to it; counts are the sources' partition counts.
func wholeTasks(held map[connectors.TopicPartition]bool, counts map[string]int, tasks int, taskOf func(string, int32) int) (whole, part []int) {
	need, have := make([]int, tasks), make([]int, tasks)
	for topic, n := range counts {
		for p := range int32(n) {
			t := taskOf(topic, p)
			if t < 0 || t >= tasks {
				continue
			}
			need[t]++
			if held[connectors.TopicPartition{Topic: topic, Partition: p}] {
				have[t]++
			}
		}
	}
	for t := range tasks {
		switch {
		case need[t] > 0 && have[t] == need[t]:
			whole = append(whole, t)
		case have[t] > 0:
			part = append(part, t)
		}
	}
	return whole, part
}

// Join makes the worker a member of the group until ctx ends, calling h from one
// goroutine at a time. Then it gives all tasks back, leaves the group by naming
// the instance id, so that another member takes over at once, and returns nil. It
// returns an error if membership is not allowed, if another process has joined
// with the same instance id, if the other members have other sources or another
// number of tasks, or if the sources' partitions change.
//
// Tasks come and go whole, as [planTasks] says. While the host drains what it is
// to give up, in Revoked, the member goes on sending heartbeats and its other
// tasks run on; a drain of more than twice the rebalance timeout, which is four
// sessions and at least 30 s, costs the member its place in the group.
func (c *Cluster) Join(ctx context.Context, h connectors.Host) error {
	if c.opt.Tasks == 0 || len(c.opt.Sources) == 0 {
		return errors.New("joining the group needs sources and tasks")
	}
	counts, err := c.partitionCounts(ctx)
	if ctx.Err() != nil {
		return nil // it never was a member
	}
	if err != nil {
		return err
	}
	m := &c.member
	m.change.Lock()
	if m.host != nil {
		m.change.Unlock()
		return errors.New("this worker is a member of the group already")
	}
	m.host, m.gone, m.parts = h, false, map[connectors.TopicPartition]bool{}
	m.change.Unlock()
	defer func() {
		m.change.Lock()
		m.host = nil
		m.change.Unlock()
	}()

	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	b := newBalancer(&c.opt, counts)
	drain := max(4*c.opt.SessionTimeout, 30*time.Second)
	opts := []kgo.Opt{
		kgo.ConsumerGroup(c.opt.Group),
		kgo.ConsumeTopics(c.opt.Sources...),
		kgo.Balancers(b),
		kgo.SessionTimeout(c.opt.SessionTimeout),
		kgo.HeartbeatInterval(heartbeat(c.opt.SessionTimeout)),
		kgo.RebalanceTimeout(drain),
		kgo.DisableAutoCommit(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, got map[string][]int32) {
			c.assigned(got, counts)
			c.awaitFollowing(cl, b, drain)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			c.revoked(gone, counts, false)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			c.revoked(gone, counts, true)
		}),
		kgo.WithHooks(groupErrors(func(err error) {
			switch {
			case errors.Is(err, context.Canceled):
			case errors.Is(err, kerr.FencedInstanceID):
				fail(fmt.Errorf("another process has joined group %s as %s: does it run on a copy of the state folder, or was the folder's instance id given twice? (%w)",
					c.opt.Group, c.opt.InstanceID, err))
			case errors.Is(err, kerr.InconsistentGroupProtocol):
				fail(fmt.Errorf("group %s has members that are not gradstream workers of this version: stop them first, or give this pipeline a group of its own (%w)", c.opt.Group, err))
			case finalBalance(err):
				fail(err)
			case finalError(err):
				fail(explain("joining group "+c.opt.Group, err))
			default:
				c.log.Warn("lost the group for a moment; joining again", "group", c.opt.Group, "err", err)
			}
		})),
	}
	if c.opt.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(c.opt.InstanceID))
	}
	m.mu.Lock() // the client joins at once, and tasks must not come before it is noted
	metrics, _ := c.metrics("member")
	cl, err := c.client(append(opts, metrics...)...)
	if err != nil {
		m.mu.Unlock()
		return err
	}
	cl.PauseFetchTopics(c.opt.Sources...)
	m.cl, m.joined, m.owned = cl, true, map[int]bool{}
	m.mu.Unlock()

	select {
	case <-ctx.Done():
	case err = <-failed:
	case <-c.belief.ctx.Done():
		err = c.disbelief()
	}
	c.leave(cl, err)
	return err
}

// heartbeat is how often a member speaks to the group: also how long it may take
// until it hears that another one has come, gone, or died, which every move of a
// task waits for.
func heartbeat(session time.Duration) time.Duration {
	return min(max(session/20, 100*time.Millisecond), 300*time.Millisecond)
}

// awaitFollowing sees to it that a rebalance that withheld tasks is followed by
// the one that hands them out. It is when those that run them give them up and
// join again; but a member with an instance id that dies just then and is
// restarted is handed its last assignment by the broker, with no rebalance, and
// has nothing left to give up. Such a member joins again at once, and everyone
// does if there was nothing within the time allowed for draining.
func (c *Cluster) awaitFollowing(cl *kgo.Client, b *balancer, within time.Duration) {
	m := &c.member
	m.change.Lock()
	defer m.change.Unlock()
	if m.follow != nil {
		m.follow.Stop()
		m.follow = nil
	}
	if m.gone {
		return
	}
	id, _ := cl.GroupMetadata()
	switch waits, ours := b.unfinished(id); {
	case waits && ours:
		m.follow = time.AfterFunc(within, cl.ForceRebalance)
	case waits:
		cl.ForceRebalance()
	}
}

// groupErrors hears of every error that ends a group session.
type groupErrors func(error)

func (f groupErrors) OnGroupManageError(err error) { f(err) }

// partitionCounts asks how many partitions each source has, waiting for no one:
// the caller has made sure that the topics are there.
func (c *Cluster) partitionCounts(ctx context.Context) (map[string]int, error) {
	_, infos, err := c.Describe(ctx, c.opt.Sources)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, i := range infos {
		if i.Missing {
			return nil, fmt.Errorf("source topic %s does not exist", i.Name)
		}
		counts[i.Name] = i.Partitions
	}
	return counts, nil
}

func (c *Cluster) assigned(got map[string][]int32, counts map[string]int) {
	m := &c.member
	m.change.Lock()
	defer m.change.Unlock()
	if m.gone {
		return
	}
	for t, ps := range got {
		for _, p := range ps {
			m.parts[connectors.TopicPartition{Topic: t, Partition: p}] = true
		}
	}
	whole, part := wholeTasks(m.parts, counts, c.opt.Tasks, c.opt.TaskOf)
	if len(part) > 0 {
		c.log.Warn("some tasks are split between the members of the group and wait: is one of them another program?", "group", c.opt.Group, "tasks", part)
	}
	var fresh []int
	m.mu.Lock()
	for _, t := range whole {
		if !m.owned[t] {
			m.owned[t] = true
			fresh = append(fresh, t)
		}
	}
	m.mu.Unlock()
	if len(fresh) > 0 {
		m.host.Assigned(fresh)
	}
}

func (c *Cluster) revoked(gone map[string][]int32, counts map[string]int, lost bool) {
	m := &c.member
	m.change.Lock()
	defer m.change.Unlock()
	for t, ps := range gone {
		for _, p := range ps {
			delete(m.parts, connectors.TopicPartition{Topic: t, Partition: p})
		}
	}
	whole, _ := wholeTasks(m.parts, counts, c.opt.Tasks, c.opt.TaskOf)
	c.drop(func(t int) bool { return !slices.Contains(whole, t) }, lost)
}

// drop gives up the owned tasks that which chooses. Tasks are disowned after the
// host has drained them, or before if they are lost. member.change is held.
func (c *Cluster) drop(which func(task int) bool, lost bool) {
	m := &c.member
	var tasks []int
	m.mu.RLock()
	for t := range m.owned {
		if which(t) {
			tasks = append(tasks, t)
		}
	}
	m.mu.RUnlock()
	if len(tasks) == 0 {
		return
	}
	slices.Sort(tasks)
	disown := func() {
		m.mu.Lock()
		for _, t := range tasks {
			delete(m.owned, t)
		}
		m.mu.Unlock()
	}
	if lost {
		disown()
	}
	m.host.Revoked(tasks, lost)
	if !lost {
		disown()
	}
}

// leave drains everything while the member still sends its heartbeats, then
// leaves the group. A static member does not leave by closing, which would make
// the next owner wait for the session to time out, so the group is told.
//
// After an error of the group session nothing is drained, and the group is told
// only if it still takes this worker for a member.
func (c *Cluster) leave(cl *kgo.Client, why error) {
	m := &c.member
	m.change.Lock()
	c.drop(func(int) bool { return true }, why != nil)
	m.gone = true
	if m.follow != nil {
		m.follow.Stop()
		m.follow = nil
	}
	m.change.Unlock()

	m.mu.Lock()
	m.cl, m.owned = nil, nil
	m.mu.Unlock()
	cl.Close()
	id, _ := cl.GroupMetadata() // now: a first join may just have been answered
	if why != nil && !finalBalance(why) || c.opt.InstanceID == "" || id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.opt.SessionTimeout)
	defer cancel()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = c.opt.Group
	one := kmsg.NewLeaveGroupRequestMember()
	one.MemberID = id // not another process that has taken the instance id since
	one.InstanceID = kmsg.StringPtr(c.opt.InstanceID)
	one.Reason = kmsg.StringPtr("planned stop")
	req.Members = append(req.Members, one)
	resp, err := req.RequestWith(ctx, c.admin)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err == nil && len(resp.Members) == 1 {
		err = kerr.ErrorForCode(resp.Members[0].ErrorCode)
	}
	if err != nil && !errors.Is(err, kerr.UnknownMemberID) && !errors.Is(err, kerr.FencedInstanceID) { // those two: not a member any more
		c.log.Warn("could not leave the group; the tasks move when the session ends", "group", c.opt.Group, "session", c.opt.SessionTimeout, "err", err)
	}
}

// errNotMember is a transaction that has to wait until the worker is back in the
// group.
var errNotMember = errors.New("not a member of the group at the moment")

// withMembership calls commit with the worker's place in the group while no task
// can come or go. A cluster that never joined commits without one, as tools do.
func (c *Cluster) withMembership(task int, commit func(id string, generation int32, instance *string) error) error {
	m := &c.member
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.joined {
		return commit("", -1, nil)
	}
	if !m.owned[task] {
		return fmt.Errorf("task %d was given up: %w", task, connectors.ErrLost)
	}
	id, gen := m.cl.GroupMetadata()
	if id == "" || gen < 0 {
		return errNotMember
	}
	var instance *string
	if c.opt.InstanceID != "" {
		instance = &c.opt.InstanceID
	}
	return commit(id, gen, instance)
}

// Confirm asks the group's coordinator, with a heartbeat sent now, whether this
// worker is a member of the current generation, and then whether the task is its
// own. After [connectors.ErrLost] a task may be fenced again, with a new log, only
// when Confirm returns nil: taking the lock of a task that has moved away would
// stop its rightful owner.
func (c *Cluster) Confirm(ctx context.Context, task int) error {
	return c.withMembership(task, func(id string, gen int32, instance *string) error {
		if id == "" {
			return nil // never joined: nobody elects
		}
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation, req.InstanceID = c.opt.Group, id, gen, instance
		resp, err := req.RequestWith(ctx, c.admin)
		if err != nil {
			return explain("asking group "+c.opt.Group, err)
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}
