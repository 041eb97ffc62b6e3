package run

import (
	"time"

	"github.com/gradstream/gradstream/operators"
)

// TaskStatus is a task as it stood a moment ago.
type TaskStatus struct {
	Task       int              `json:"task"`
	Phase      string           `json:"phase"`
	Problem    string           `json:"problem,omitempty"` // what the watchdog says of it
	Step       uint64           `json:"step"`
	Checkpoint uint64           `json:"checkpoint"`        // step of the checkpoint it was restored from
	Remote     uint64           `json:"remote_checkpoint"` // step of the last checkpoint known to be in the state topic
	Replayed   uint64           `json:"replayed"`          // steps replayed when it was restored
	Rows       int64            `json:"rows"`
	Rejected   int64            `json:"rejected"`
	Outputs    int64            `json:"outputs"`
	Watermark  int64            `json:"watermark_ms"`
	History    *HistoryState    `json:"history,omitempty"` // while files are being learnt
	Partitions []PartitionState `json:"partitions"`
	Nodes      []NodeStatus     `json:"nodes"`
}

// PartitionState is how far a task has read one partition.
type PartitionState struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Next      int64  `json:"next"`
	End       int64  `json:"end"` // last stable offset as last seen
}

// Lag is how many offsets lie between what was processed and the end.
func (p PartitionState) Lag() int64 { return max(0, p.End-p.Next) }

// NodeStatus is what an operator reports of itself.
type NodeStatus struct {
	Node   string            `json:"node"`
	Type   string            `json:"type"`
	Role   string            `json:"role"`
	Values []operators.Value `json:"values"`
}

// publishEvery bounds how often operators are asked for their numbers.
const publishEvery = 500 * time.Millisecond

// publish makes the task's status visible to other goroutines. It runs on the
// task's own, between batches.
func (t *task) publish(force bool) {
	now := t.w.now()
	if !force && now.Sub(t.lastReport) < publishEvery {
		return
	}
	t.lastReport = now
	s := &TaskStatus{Task: t.id, Phase: Phase(t.phase.Load()).String(), Step: t.step, Checkpoint: t.restored, Remote: t.remote.step(), Replayed: t.replayed}
	if p := t.problem.Load(); p != nil {
		s.Problem = *p
	}
	if l := t.learning; l != nil {
		h := l.state
		s.History = &h
		t.w.metrics.history.report(t.id, &h)
	}
	if t.core != nil {
		e := t.core.engine.V
		s.Rows, s.Rejected, s.Outputs, s.Watermark = e.Rows, e.Rejected, e.Outputs, e.Watermark
		for _, n := range t.core.nodes {
			s.Nodes = append(s.Nodes, NodeStatus{Node: n.Name, Type: n.Def.Name, Role: n.Def.Role.String(), Values: n.Report().Values})
		}
	}
	for _, p := range t.parts {
		s.Partitions = append(s.Partitions, PartitionState{Topic: p.Topic, Partition: p.Partition, Next: max(p.next, p.seen), End: t.endOf(&p)})
	}
	t.reportFlow(now)
	t.status.Store(s)
	t.w.metrics.status(s)
}

// Status returns the tasks this worker has, ascending, as they stood a moment ago.
func (w *Worker) Status() []TaskStatus {
	ids := w.w.running()
	w.w.mu.Lock()
	defer w.w.mu.Unlock()
	var all []TaskStatus
	for _, id := range ids {
		if r := w.w.tasks[id]; r != nil {
			if s := r.t.status.Load(); s != nil {
				all = append(all, *s)
			}
		}
	}
	return all
}
