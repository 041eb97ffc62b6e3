package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func testBalancer(tasks int, counts map[string]int, local map[int]uint64) *balancer {
	o := Options{Brokers: []string{"127.0.0.1:1"}, Pipeline: "p", Tasks: tasks, LocalSteps: func() map[int]uint64 { return local }}
	o, err := o.withDefaults()
	if err != nil {
		panic(err)
	}
	return newBalancer(&o, counts)
}

// joiner is a member as the leader hears of it.
type joiner struct {
	b          *balancer
	id         string
	instance   string
	owned      map[string][]int32
	generation int32
}

func (j joiner) response() kmsg.JoinGroupResponseMember {
	m := kmsg.NewJoinGroupResponseMember()
	m.MemberID = j.id
	if j.instance != "" {
		m.InstanceID = kmsg.StringPtr(j.instance)
	}
	m.ProtocolMetadata = j.b.JoinGroupMetadata(slices.Sorted(maps.Keys(j.owned)), j.owned, j.generation)
	return m
}

// lead balances as the member b does, and returns the bytes each member is sent.
func lead(t *testing.T, b *balancer, topics map[string]int32, joiners ...joiner) (map[string][]byte, error) {
	t.Helper()
	var ms []kmsg.JoinGroupResponseMember
	for _, j := range joiners {
		ms = append(ms, j.response())
	}
	r, wanted, err := b.MemberBalancer(ms)
	if err != nil {
		t.Fatal(err)
	}
	if len(wanted) != len(b.config.sources) {
		t.Errorf("it wants to know of topics %v", wanted)
	}
	into, err := r.(kgo.GroupMemberBalancerOrError).BalanceOrError(topics)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, a := range into.IntoSyncAssignment() {
		out[a.MemberID] = a.MemberAssignment
	}
	return out, nil
}

// Both partitions of a task go together; where one topic has fewer, so does the
// task; what is on the move is withheld.
func TestBalanceWholeTasks(t *testing.T) {
	counts := map[string]int{"x": 6, "y": 3}
	topics := map[string]int32{"x": 6, "y": 3}
	a := testBalancer(3, counts, map[int]uint64{0: 5, 1: 5, 2: 5})
	b := testBalancer(3, counts, map[int]uint64{1: 4})
	ja := joiner{b: a, id: "a-1", owned: map[string][]int32{"x": {0, 1, 2, 3, 4, 5}, "y": {0, 1, 2}}, generation: 1}
	jb := joiner{b: b, id: "b-1"}
	sent, err := lead(t, a, topics, ja, jb)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.ParseSyncAssignment(sent["a-1"])
	if want := map[string][]int32{"x": {0, 2, 3, 5}, "y": {0, 2}}; err != nil || !maps.EqualFunc(got, want, slices.Equal[[]int32]) {
		t.Errorf("a is sent %v %v, want %v", got, err, want)
	}
	if got, err := b.ParseSyncAssignment(sent["b-1"]); err != nil || len(got) != 0 {
		t.Errorf("b is sent %v %v while a runs the task", got, err)
	}
	for _, id := range []string{"b-1", "b-0"} {
		if waits, ours := b.unfinished(id); !waits || ours != (id == "b-1") {
			t.Errorf("unfinished for member %s: %v, its own %v", id, waits, ours)
		}
	}
	ja.owned, ja.generation = map[string][]int32{"x": {0, 2, 3, 5}, "y": {0, 2}}, 2
	jb.generation = 2
	sent, err = lead(t, b, topics, jb, ja) // whoever leads
	if err != nil {
		t.Fatal(err)
	}
	got, err = b.ParseSyncAssignment(sent["b-1"])
	if want := map[string][]int32{"x": {1, 4}, "y": {1}}; err != nil || !maps.EqualFunc(got, want, slices.Equal[[]int32]) {
		t.Errorf("b is sent %v %v, want %v", got, err, want)
	}
	if waits, _ := b.unfinished("b-1"); waits {
		t.Error("unfinished although nothing moves any more")
	}
}

// A restart changes the member id, and so must not change who comes first.
func TestBalanceOrdersByInstance(t *testing.T) {
	b := testBalancer(3, map[string]int{"x": 3}, nil)
	topics := map[string]int32{"x": 3}
	first, err := lead(t, b, topics, joiner{b: b, id: "1", instance: "a"}, joiner{b: b, id: "2", instance: "b"}, joiner{b: b, id: "0"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := lead(t, b, topics, joiner{b: b, id: "2", instance: "a"}, joiner{b: b, id: "1", instance: "b"}, joiner{b: b, id: "0"})
	if err != nil {
		t.Fatal(err)
	}
	for was, is := range map[string]string{"1": "2", "2": "1", "0": "0"} {
		x, errX := b.ParseSyncAssignment(first[was])
		y, errY := b.ParseSyncAssignment(again[is])
		if errX != nil || errY != nil || !maps.EqualFunc(x, y, slices.Equal[[]int32]) || len(x["x"]) != 1 {
			t.Errorf("%v %v, then %v %v", x, errX, y, errY)
		}
	}
}

func TestBalanceRefuses(t *testing.T) {
	topics := map[string]int32{"x": 4, "y": 4}
	four, two := testBalancer(4, map[string]int{"x": 4}, nil), testBalancer(2, map[string]int{"x": 4}, nil)
	other := testBalancer(4, map[string]int{"x": 4, "y": 4}, nil)
	running := joiner{b: four, id: "old", owned: map[string][]int32{"x": {0, 1, 2, 3}}, generation: 7}
	for _, test := range []struct {
		name    string
		leader  *balancer
		joiners []joiner
		refused map[string]*balancer // by id
		says    []string
	}{
		{"another number of tasks", four, []joiner{running, {b: two, id: "n1"}, {b: two, id: "n2"}},
			map[string]*balancer{"n1": two, "n2": two}, []string{"runs 2 tasks over x (4 partitions)", "run 4 tasks over x (4 partitions)", "group p"}},
		{"other sources", four, []joiner{running, {b: other, id: "n1"}}, map[string]*balancer{"n1": other},
			[]string{"y (4 partitions)", "same pipeline file"}},
		{"nobody runs anything: most count", four, []joiner{{b: four, id: "a"}, {b: four, id: "b"}, {b: two, id: "c"}},
			map[string]*balancer{"c": two}, []string{"2 tasks"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			sent, err := lead(t, test.leader, topics, test.joiners...)
			if err != nil {
				t.Fatal(err)
			}
			seen := 0
			for _, j := range test.joiners {
				parts, err := j.b.ParseSyncAssignment(sent[j.id])
				if test.refused[j.id] == nil {
					if err != nil {
						t.Errorf("%s: %v", j.id, err)
					}
					seen += len(parts["x"])
					continue
				}
				if err == nil || !finalBalance(err) {
					t.Fatalf("%s is sent %v %v, want a refusal", j.id, parts, err)
				}
				for _, s := range test.says {
					if !strings.Contains(err.Error(), s) {
						t.Errorf("%q does not say %q", err, s)
					}
				}
			}
			if seen != 4 {
				t.Errorf("the others run %d partitions, want 4", seen)
			}
		})
	}
	t.Run("the leader itself", func(t *testing.T) {
		_, err := lead(t, two, topics, running, joiner{b: two, id: "n1"}, joiner{b: two, id: "n2"})
		if err == nil || !finalBalance(err) || !strings.Contains(err.Error(), "this worker runs 2 tasks") {
			t.Errorf("got %v, want it to refuse itself", err)
		}
	})
	t.Run("partitions were added", func(t *testing.T) {
		_, err := lead(t, four, map[string]int32{"x": 6}, running)
		if err == nil || !finalBalance(err) || !strings.Contains(err.Error(), "x had 4 partitions and now has 6") {
			t.Errorf("got %v", err)
		}
		if _, err := lead(t, four, map[string]int32{"x": 0}, running); err != nil {
			t.Errorf("with no metadata: %v", err)
		}
	})
	t.Run("a member that cannot be read", func(t *testing.T) {
		ms := []kmsg.JoinGroupResponseMember{running.response(), running.response(), running.response()}
		ms[1].MemberID, ms[1].ProtocolMetadata = "bad", []byte{0, 1, 2}
		ms[2].MemberID = "foreign"
		meta := kmsg.NewConsumerMemberMetadata()
		meta.Topics = []string{"x"}
		ms[2].ProtocolMetadata = meta.AppendTo(nil)
		r, _, err := four.MemberBalancer(ms)
		if err != nil {
			t.Fatal(err)
		}
		into, err := r.(kgo.GroupMemberBalancerOrError).BalanceOrError(topics)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range into.IntoSyncAssignment() {
			parts, err := four.ParseSyncAssignment(a.MemberAssignment)
			if want := map[string]int{"old": 4}[a.MemberID]; err != nil || len(parts["x"]) != want {
				t.Errorf("%s is sent %v %v, want %d partitions", a.MemberID, parts, err, want)
			}
		}
	})
}

func TestAssignmentUnreadable(t *testing.T) {
	b := testBalancer(2, map[string]int{"x": 2}, nil)
	var foreign kmsg.ConsumerMemberAssignment
	foreign.Default()
	for _, data := range [][]byte{nil, {0}, foreign.AppendTo(nil)} {
		if parts, err := b.ParseSyncAssignment(data); err == nil || finalBalance(err) {
			t.Errorf("%x: parts %v, error %v; want one that joining again may heal", data, parts, err)
		}
	}
}

func TestGroupData(t *testing.T) {
	config := newGroupConfig(4, map[string]int{"orders": 8, "é": 4})
	j := joinData{config: config, local: map[int]uint64{0: 0, 3: 1 << 60, 1000: 7}}
	got, err := decodeJoinData(j.encode())
	if err != nil || !got.config.equal(config) || !maps.Equal(got.local, j.local) {
		t.Errorf("got %v %v, want %v", got, err, j)
	}
	s := syncData{config: config, member: "m-1", withheld: 3}
	gotS, err := decodeSyncData(s.encode())
	if err != nil || !gotS.config.equal(config) || gotS.member != s.member || gotS.withheld != s.withheld {
		t.Errorf("got %v %v, want %v", gotS, err, s)
	}
	for _, full := range [][]byte{j.encode(), s.encode()} {
		for n := range full {
			_, errJ := decodeJoinData(full[:n])
			_, errS := decodeSyncData(full[:n])
			if !errors.Is(errJ, errGroupData) || !errors.Is(errS, errGroupData) {
				t.Fatalf("cut to %d of %d bytes: %v, %v", n, len(full), errJ, errS)
			}
		}
	}
	// A worker of a thousand tasks stays far below what a broker stores of a group.
	big := joinData{config: config, local: map[int]uint64{}}
	for i := range 1000 {
		big.local[i] = 1 << 40
	}
	if n := len(big.encode()); n > 10_000 {
		t.Errorf("a thousand local copies take %d bytes", n)
	}
}

func FuzzGroupData(f *testing.F) {
	config := newGroupConfig(4, map[string]int{"orders": 8})
	f.Add(joinData{config: config, local: map[int]uint64{1: 2}}.encode())
	f.Add(syncData{config: config, member: "m", withheld: 1}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := decodeJoinData(b); err == nil {
			again, err := decodeJoinData(d.encode())
			if err != nil || fmt.Sprint(again) != fmt.Sprint(d) {
				t.Errorf("%v became %v %v", d, again, err)
			}
		}
		if d, err := decodeSyncData(b); err == nil && !bytes.Equal(d.encode(), b) {
			again, err := decodeSyncData(d.encode())
			if err != nil || fmt.Sprint(again) != fmt.Sprint(d) {
				t.Errorf("%v became %v %v", d, again, err)
			}
		}
	})
}
