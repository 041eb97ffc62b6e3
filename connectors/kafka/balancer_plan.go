package kafka

import (
	"cmp"
	"maps"
	"slices"
)

// planMember is what the plan has to know of a member of the group.
type planMember struct {
	key        string         // who it is; unique, and the order in which ties are decided
	generation int32          // of the group when it learned what it owns
	owned      []int          // tasks it says it runs
	local      map[int]uint64 // tasks it has a local copy of, and the step each is of
}

// planTasks says which member is to run which task: everyone an equal share, up to
// one task; a task stays where it runs; one that nobody runs goes where its newest
// local copy lies, else where any lies, else to whoever has least. A task claimed
// by several members is run by the one of the newest generation. The result holds
// every member, its tasks ascending, and does not depend on the order of members.
//
// A share is floor(T/n) or one more for T tasks and n members. Who runs no more
// than its share gives nothing up, so a member that joins takes its own share from
// the others and nothing else moves, and after a member has left only its tasks do.
func planTasks(members []planMember, tasks []int) map[string][]int {
	n := len(members)
	if n == 0 {
		return nil
	}
	ms := slices.SortedFunc(slices.Values(members), func(a, b planMember) int { return cmp.Compare(a.key, b.key) })
	p := planner{members: ms, load: make([][]int, n), low: len(tasks) / n, extra: len(tasks) % n}
	runs, free := p.running(slices.Sorted(slices.Values(tasks)))
	free = append(free, p.keep(runs)...)
	p.place(free)
	plan := make(map[string][]int, n)
	for i, m := range ms {
		slices.Sort(p.load[i])
		plan[m.key] = p.load[i]
	}
	return plan
}

type planner struct {
	members []planMember
	load    [][]int // tasks given to each member so far
	low     int     // tasks everyone gets
	extra   int     // members that still may get one more
}

// room reports whether a member may get another task. What all members have room
// for together is always just what is left to give.
func (p *planner) room(i int) bool {
	have := len(p.load[i])
	return have < p.low || have == p.low && p.extra > 0
}

func (p *planner) give(i, task int) {
	if len(p.load[i]) == p.low {
		p.extra--
	}
	p.load[i] = append(p.load[i], task)
}

// running returns what each member runs, and what nobody does.
func (p *planner) running(tasks []int) (runs [][]int, free []int) {
	runner := map[int]int{}
	for i, m := range p.members {
		for _, t := range m.owned {
			if r, ok := runner[t]; !ok || m.generation > p.members[r].generation {
				runner[t] = i
			}
		}
	}
	runs = make([][]int, len(p.members))
	for _, t := range tasks {
		if i, ok := runner[t]; ok {
			runs[i] = append(runs[i], t)
		} else {
			free = append(free, t)
		}
	}
	return runs, free
}

// keep leaves every member what it runs, up to its share, and returns the rest.
// The larger shares go to those that run most. Given up are the tasks of which a
// member with little to do has the freshest copy; all else equal, the last ones.
func (p *planner) keep(runs [][]int) (free []int) {
	order := make([]int, len(runs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(runs[b]), len(runs[a])) })
	for _, i := range order {
		if len(runs[i]) > p.low {
			slices.SortStableFunc(runs[i], func(a, b int) int {
				// The costliest to move come first.
				return cmp.Compare(p.behind(runs, i, b), p.behind(runs, i, a))
			})
		}
		for _, t := range runs[i] {
			if p.room(i) {
				p.give(i, t)
			} else {
				free = append(free, t)
			}
		}
	}
	slices.Sort(free)
	return free
}

// behind returns how many steps the best copy of a task of member i, among those
// of the members that could take the task, is behind member i's; the largest
// number if there is none.
func (p *planner) behind(runs [][]int, i, task int) uint64 {
	best := ^uint64(0)
	own := p.members[i].local[task]
	for j, m := range p.members {
		step, ok := m.local[task]
		if !ok || j == i || len(runs[j]) > p.low {
			continue
		}
		lag := uint64(0)
		if own > step {
			lag = own - step
		}
		best = min(best, lag)
	}
	return best
}

// place gives out the tasks that nobody runs. First come those whose newest copy,
// then those of which any copy, is in the fewest hands: they have the least choice.
func (p *planner) place(free []int) {
	newest, holders, copies := map[int]uint64{}, map[int]int{}, map[int]int{}
	for _, t := range free {
		for _, m := range p.members {
			step, ok := m.local[t]
			if ok {
				copies[t]++
			}
			switch {
			case !ok:
			case holders[t] == 0 || step > newest[t]:
				newest[t], holders[t] = step, 1
			case step == newest[t]:
				holders[t]++
			}
		}
	}
	slices.SortFunc(free, func(a, b int) int {
		return cmp.Or(cmp.Compare(holders[a], holders[b]), cmp.Compare(copies[a], copies[b]), cmp.Compare(a, b))
	})
	// Each pass is less choosy than the one before and sees what that left.
	passes := []func(member, task int) bool{
		func(i, t int) bool { step, ok := p.members[i].local[t]; return ok && step == newest[t] },
		func(i, t int) bool { _, ok := p.members[i].local[t]; return ok },
		func(int, int) bool { return true },
	}
	for _, fit := range passes {
		free = slices.DeleteFunc(free, func(t int) bool {
			to := -1
			for i := range p.members {
				if fit(i, t) && p.room(i) && (to < 0 || p.better(i, to, t)) {
					to = i
				}
			}
			if to < 0 {
				return false
			}
			p.give(to, t)
			return true
		})
	}
}

// better reports whether a task is better off with member a than with b, which
// comes before it.
func (p *planner) better(a, b, task int) bool {
	if sa, sb := p.members[a].local[task], p.members[b].local[task]; sa != sb {
		return sa > sb
	}
	return len(p.load[a]) < len(p.load[b])
}

// settleTasks takes from a plan what cannot be done at once: a task that is to
// move is withheld until nobody claims it, since whoever does may still be running
// it. It returns the rest of the plan and how many tasks are withheld. Each of
// their claimants sees that the task is not its own any more, gives it up, and
// joins again, which makes the plan that hands it out.
func settleTasks(plan map[string][]int, members []planMember) (now map[string][]int, withheld int) {
	claims := map[int]int{}     // members that claim a task
	latest := map[int]int32{}   // the newest generation of such a claim
	own := map[string][]int{}   // what a member claims
	gen := map[string]int32{}   // and since when
	for _, m := range members { // in any order
		own[m.key], gen[m.key] = m.owned, m.generation
		for _, t := range m.owned {
			if claims[t] == 0 || m.generation > latest[t] {
				latest[t] = m.generation
			}
			claims[t]++
		}
	}
	now = maps.Clone(plan)
	for key, tasks := range plan {
		now[key] = slices.DeleteFunc(slices.Clone(tasks), func(t int) bool {
			mine := slices.Contains(own[key], t)
			wait := !(claims[t] == 0 || mine && (claims[t] == 1 || gen[key] == latest[t]))
			if wait {
				withheld++
			}
			return wait
		})
	}
	return now, withheld
}
