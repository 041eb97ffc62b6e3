package checker

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/gradstream/gradstream/state"
)

// checkStates compares checkpoints with the journal.
func (c *check) checkStates(context.Context) error {
	newest := make([]uint64, len(c.tasks))
	for i, s := range c.o.States {
		tasks, err := s.Tasks()
		if err != nil {
			return fmt.Errorf("state %d: %w", i, err)
		}
		for _, id := range tasks {
			if id < 0 || id >= len(c.tasks) {
				c.report.add(Violation{I4, id, 0, "", 0, 0, fmt.Sprintf("state %d has a checkpoint of it, there are %d tasks", i, len(c.tasks))})
				continue
			}
			m, ok, err := s.Manifest(id)
			if err != nil {
				return fmt.Errorf("state %d: %w", i, err)
			}
			if !ok {
				continue
			}
			c.report.Checkpoints++
			newest[id] = max(newest[id], m.Step)
			if err := c.checkState(s, i, c.tasks[id], m); err != nil {
				return fmt.Errorf("state %d, task %d: %w", i, id, err)
			}
		}
	}
	if c.o.Drained && len(c.o.States) > 0 {
		for _, t := range c.tasks {
			if last := t.lastStep(); newest[t.id] < last {
				t.violation(I4, last, -1, "drained, but the newest checkpoint is of step %d", newest[t.id])
			}
		}
	}
	return nil
}

func (c *check) checkState(in State, i int, t *task, m state.Manifest) error {
	if m.Step == 0 || m.Step < t.first {
		return nil // before what the journal still holds
	}
	s := t.steps[m.Step]
	if s == nil || s.Hash != m.Hash {
		t.violation(I4, m.Step, -1, "state %d has a checkpoint of it with hash %x…, which the journal does not have", i, m.Hash[:4])
		return nil
	}
	if after := t.steps[m.Step+1]; after != nil && m.Journal > after.offset {
		t.violation(I4, m.Step, after.offset, "state %d would read the journal from offset %d on, behind the next step", i, m.Journal)
	}
	at := t.positionsAfter(m.Step)
	for _, p := range m.Positions {
		for k, src := range c.sources {
			want, ok := at[input{k, p.Partition}]
			if src.Topic == p.Topic && ok && want != p.Next {
				c.report.add(Violation{I4, t.id, m.Step, p.Topic, p.Partition, p.Next, fmt.Sprintf("state %d was there after the step, the journal at %d", i, want)})
			}
		}
	}
	if !s.HasDigest {
		return nil
	}
	c.report.Digests++
	got, err := Digest(in, t.id, nil)
	if err == nil && got != s.Digest {
		t.violation(I4, m.Step, s.offset, "state %d has digest %016x, the journal says %016x", i, got, s.Digest)
	}
	return err
}

// positionsAfter returns the positions that the journal has for a step's end, of inputs whose start is known.
func (t *task) positionsAfter(n uint64) map[input]int64 {
	at := map[input]int64{}
	for in, start := range t.starts {
		at[in] = start
	}
	for _, s := range t.order {
		if s.N > n {
			break
		}
		for _, run := range s.Runs {
			at[input{t.base + run.Source, run.Partition}] = run.Next
		}
	}
	return at
}

// Digest computes the digest of a task's checkpoint as the journal has it: the XOR over all entries of XXH3-64 over the handle's node, a
// zero byte, its name, a zero byte, the key's length as uvarint, key and value. Handles for which use is false are left
// out; nil uses all. Two runs over the same input with one partition a task agree once the engine's own handle, node
// "@engine", which holds the clock, is left out.
func Digest(s state.Inspector, task int, use func(state.ID) bool) (uint64, error) {
	handles, err := s.Handles(task)
	if err != nil {
		return 0, err
	}
	var sum uint64
	var buf []byte
	for _, h := range handles {
		if use != nil && !use(h.ID) {
			continue
		}
		err := s.Entries(task, h.ID, func(key, value []byte) bool {
			buf = append(append(append(buf[:0], h.ID.Node...), 0), h.ID.Name...)
			buf = binary.AppendUvarint(append(buf, 0), uint64(len(key)))
			buf = append(append(buf, key...), value...)
			sum ^= xxh3.Hash(buf)
			return true
		})
		if err != nil {
			return 0, err
		}
	}
	return sum, nil
}
