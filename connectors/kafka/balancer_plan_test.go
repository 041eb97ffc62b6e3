package kafka

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestPlanTasks(t *testing.T) {
	type steps = map[int]uint64
	for _, test := range []struct {
		name    string
		members []planMember
		tasks   int
		want    map[string][]int
	}{
		{"nobody", nil, 3, nil},
		{"alone", []planMember{{key: "a"}}, 3, map[string][]int{"a": {0, 1, 2}}},
		{"no tasks", []planMember{{key: "a"}}, 0, map[string][]int{"a": nil}},
		{"more members than tasks", []planMember{{key: "a"}, {key: "b"}, {key: "c", owned: []int{0}}}, 1,
			map[string][]int{"a": nil, "b": nil, "c": {0}}},
		{"fresh group", []planMember{{key: "b"}, {key: "a"}}, 5, map[string][]int{"a": {0, 2, 4}, "b": {1, 3}}},
		{"a join takes its share from the last tasks of those that run most",
			[]planMember{{key: "a", owned: []int{0, 2, 4}}, {key: "b", owned: []int{1, 3}}, {key: "c"}}, 5,
			map[string][]int{"a": {0, 2}, "b": {1, 3}, "c": {4}}},
		{"a join takes what it has a copy of, the freshest first",
			[]planMember{
				{key: "a", owned: []int{0, 1, 2, 3}, local: steps{0: 90, 1: 90, 2: 90, 3: 90}},
				{key: "b", local: steps{0: 50, 2: 89}},
			}, 4,
			map[string][]int{"a": {1, 3}, "b": {0, 2}}},
		{"a copy at a member that has enough to do is of no use",
			[]planMember{
				{key: "a", owned: []int{0, 1, 2, 3}, local: steps{0: 9, 1: 9, 2: 9, 3: 9}},
				{key: "b", owned: []int{4, 5, 6, 7}, local: steps{0: 9, 1: 9}},
				{key: "c", local: steps{2: 3}},
			}, 8,
			map[string][]int{"a": {0, 1, 3}, "b": {4, 5, 6}, "c": {2, 7}}},
		{"a leave moves only what the leaver ran",
			[]planMember{{key: "a", owned: []int{3, 5}}, {key: "b", owned: []int{0, 4}}}, 6,
			map[string][]int{"a": {1, 3, 5}, "b": {0, 2, 4}}},
		{"what nobody runs goes to its newest copy",
			[]planMember{{key: "a", local: steps{0: 7, 1: 8}}, {key: "b", local: steps{0: 8, 1: 7}}}, 2,
			map[string][]int{"a": {1}, "b": {0}}},
		{"an old copy is better than none",
			[]planMember{{key: "a", local: steps{0: 7, 1: 8, 2: 9, 3: 9}}, {key: "b", local: steps{1: 2}}}, 4,
			map[string][]int{"a": {0, 2}, "b": {1, 3}}},
		{"who has the only copy comes before who has one of two",
			[]planMember{{key: "a", local: steps{0: 5, 1: 5}}, {key: "b", local: steps{0: 5}}}, 2,
			map[string][]int{"a": {1}, "b": {0}}},
		{"a copy of step 0 is a copy",
			[]planMember{{key: "a"}, {key: "b", local: steps{0: 0}}}, 1,
			map[string][]int{"a": nil, "b": {0}}},
		{"running counts more than a newer copy",
			[]planMember{{key: "a", owned: []int{0}}, {key: "b", local: steps{0: 99}}, {key: "c", owned: []int{1}}}, 2,
			map[string][]int{"a": {0}, "b": nil, "c": {1}}},
		{"of two that claim a task the later one runs it",
			[]planMember{{key: "a", owned: []int{0, 1}, generation: 4}, {key: "b", owned: []int{0}, generation: 9}}, 2,
			map[string][]int{"a": {1}, "b": {0}}},
		{"claims to tasks that are not there do not count",
			[]planMember{{key: "a", owned: []int{7, 8, 9}}, {key: "b", owned: []int{0, 1}}}, 2,
			map[string][]int{"a": {1}, "b": {0}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := planTasks(test.members, upTo(test.tasks))
			if !maps.EqualFunc(got, test.want, slices.Equal[[]int]) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestSettleTasks(t *testing.T) {
	for _, test := range []struct {
		name     string
		plan     map[string][]int
		members  []planMember
		want     map[string][]int
		withheld int
	}{
		{"nothing moves", map[string][]int{"a": {0}, "b": {1}},
			[]planMember{{key: "a", owned: []int{0}}, {key: "b", owned: []int{1}}},
			map[string][]int{"a": {0}, "b": {1}}, 0},
		{"what nobody claims is free", map[string][]int{"a": {0}}, []planMember{{key: "a"}}, map[string][]int{"a": {0}}, 0},
		{"a move waits", map[string][]int{"a": {0}, "b": {1, 2}},
			[]planMember{{key: "a", owned: []int{0, 1}}, {key: "b", owned: []int{2}}},
			map[string][]int{"a": {0}, "b": {2}}, 1},
		{"an outdated claim to another's task does not stop it", map[string][]int{"a": nil, "b": {0}},
			[]planMember{{key: "a", owned: []int{0}, generation: 3}, {key: "b", owned: []int{0}, generation: 5}},
			map[string][]int{"a": nil, "b": {0}}, 0},
		{"an outdated claim does not make a task one's own", map[string][]int{"a": {0}, "b": nil},
			[]planMember{{key: "a", owned: []int{0}, generation: 3}, {key: "b", owned: []int{0}, generation: 5}},
			map[string][]int{"a": nil, "b": nil}, 1},
		{"claims of who gets nothing count", map[string][]int{"a": {0}},
			[]planMember{{key: "a"}, {key: "refused", owned: []int{0}}},
			map[string][]int{"a": nil}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, withheld := settleTasks(test.plan, test.members)
			if !maps.EqualFunc(got, test.want, slices.Equal[[]int]) || withheld != test.withheld {
				t.Errorf("got %v and %d withheld, want %v and %d", got, withheld, test.want, test.withheld)
			}
		})
	}
}

// model is a group in which nothing takes time: what members own, and what of a
// task their state folders hold.
type model struct {
	t       *testing.T
	r       *rand.Rand
	tasks   int
	members []planMember
	gen     int32
	moved   map[int]bool // tasks that a member gave up since the last change
	step    uint64
}

// rebalance runs rounds until nothing is withheld.
func (m *model) rebalance() {
	m.t.Helper()
	m.moved = map[int]bool{}
	for rounds := 1; ; rounds++ {
		if rounds > 2 {
			m.t.Fatalf("%d tasks, members %v: no end of rebalances", m.tasks, m.members)
		}
		tasks := upTo(m.tasks)
		plan := planTasks(m.members, tasks)
		shuffled := slices.Clone(m.members)
		m.r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		m.r.Shuffle(len(tasks), func(i, j int) { tasks[i], tasks[j] = tasks[j], tasks[i] })
		if again := planTasks(shuffled, tasks); !reflect.DeepEqual(plan, again) {
			m.t.Fatalf("another order of members: plan %v, was %v", again, plan)
		}
		m.balanced(plan)
		now, withheld := settleTasks(plan, m.members)
		runs := map[int]string{}
		for _, o := range m.members {
			for _, t := range o.owned {
				runs[t] = o.key
			}
		}
		for key, ts := range now {
			for _, t := range ts {
				if by := runs[t]; by != "" && by != key {
					m.t.Fatalf("task %d is given to %s while %s runs it", t, key, by)
				}
			}
		}
		m.gen++
		for i := range m.members {
			o := &m.members[i]
			for _, t := range o.owned {
				if !slices.Contains(now[o.key], t) {
					m.moved[t] = true
				}
			}
			o.owned, o.generation = now[o.key], m.gen
			for _, t := range o.owned {
				m.step++
				o.local[t] = m.step
			}
		}
		if withheld == 0 {
			break
		}
	}
	got := map[string][]int{}
	for _, o := range m.members {
		got[o.key] = o.owned
	}
	m.balanced(got)
	if again := planTasks(m.members, upTo(m.tasks)); !maps.EqualFunc(got, again, slices.Equal[[]int]) {
		m.t.Fatalf("with nothing changed: plan %v, was %v", again, got)
	}
}

// balanced checks that every task is in the plan once, and shares are equal.
func (m *model) balanced(plan map[string][]int) {
	m.t.Helper()
	var all []int
	least, most := m.tasks, 0
	for _, ts := range plan {
		all = append(all, ts...)
		least, most = min(least, len(ts)), max(most, len(ts))
	}
	slices.Sort(all)
	if !slices.Equal(all, upTo(m.tasks)) {
		m.t.Fatalf("the plan %v is not of each of %d tasks once", plan, m.tasks)
	}
	if most-least > 1 || len(plan) != len(m.members) {
		m.t.Fatalf("the plan %v is uneven, or not for %d members", plan, len(m.members))
	}
}

func TestPlanProperties(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			m := &model{t: t, r: r, tasks: 1 + r.IntN(40), members: []planMember{{key: "first", local: map[int]uint64{}}}}
			m.rebalance()
			gone := map[string]planMember{}
			for change := range 40 {
				n := len(m.members)
				switch {
				case n == 1 || n < 12 && r.IntN(2) == 0: // one joins, maybe one that was here before
					o := planMember{key: fmt.Sprintf("m%02d", r.IntN(20)), local: map[int]uint64{}}
					if slices.ContainsFunc(m.members, func(x planMember) bool { return x.key == o.key }) {
						continue
					}
					if was, ok := gone[o.key]; ok {
						o = was
					}
					m.members = append(m.members, o)
					m.rebalance()
					if most := (m.tasks + n) / (n + 1); len(m.moved) > most {
						t.Fatalf("change %d: a join of %d moved %d of %d tasks, more than %d", change, n+1, len(m.moved), m.tasks, most)
					}
				default: // one leaves
					i := r.IntN(n)
					o := m.members[i]
					o.owned, o.generation = nil, -1
					gone[o.key] = o
					m.members = slices.Delete(m.members, i, i+1)
					m.rebalance()
					if len(m.moved) > 0 {
						t.Fatalf("change %d: a leave moved tasks %v of others", change, m.moved)
					}
				}
			}
		})
	}
}

// Whatever members claim, however wrong, the plan is even and whole, and nobody
// is given what another may run.
func TestPlanOfWildClaims(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		m := &model{t: t, r: r, tasks: r.IntN(20)}
		for i := range 1 + r.IntN(6) {
			o := planMember{key: fmt.Sprint(i), generation: r.Int32N(4), local: map[int]uint64{}}
			for range r.IntN(20) {
				o.owned = append(o.owned, r.IntN(25)-2)
			}
			for range r.IntN(10) {
				o.local[r.IntN(25)-2] = r.Uint64N(5)
			}
			slices.Sort(o.owned)
			o.owned = slices.Compact(o.owned)
			m.members = append(m.members, o)
		}
		plan := planTasks(m.members, upTo(m.tasks))
		m.balanced(plan)
		now, withheld := settleTasks(plan, m.members)
		given := 0
		for i, o := range m.members {
			given += len(now[o.key])
			for _, task := range now[o.key] {
				for j, other := range m.members {
					if i != j && slices.Contains(other.owned, task) && (!slices.Contains(o.owned, task) || other.generation > o.generation) {
						t.Fatalf("seed %d: task %d given to %s, claimed by %s", seed, task, o.key, other.key)
					}
				}
			}
		}
		if given+withheld != m.tasks {
			t.Fatalf("seed %d: %d tasks given and %d withheld of %d", seed, given, withheld, m.tasks)
		}
	}
}

func BenchmarkPlanTasks(b *testing.B) {
	const tasks, members = 1024, 64
	var ms []planMember
	for i := range members {
		m := planMember{key: fmt.Sprint(i), local: map[int]uint64{}}
		for t := i; t < tasks && i > 0; t += members - 1 {
			m.owned = append(m.owned, t)
			m.local[t] = uint64(t)
		}
		ms = append(ms, m)
	}
	all := upTo(tasks)
	for b.Loop() {
		planTasks(ms, all)
	}
}
