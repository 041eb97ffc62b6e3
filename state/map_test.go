package state

import (
	"bytes"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func collect(seq func(func(key, value []byte) bool)) (keys []string, m map[string]string) {
	m = make(map[string]string)
	for k, v := range seq {
		keys = append(keys, string(k))
		m[string(k)] = string(v)
		if v == nil {
			m[string(k)] = "-"
		}
	}
	return keys, m
}

type day int32

func checkKeys[K Key](t *testing.T, ascending []K) {
	t.Helper()
	var m Map[K, int]
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(ascending)) {
		m.Put(ascending[i], i)
	}
	keys, all := collect(m.All)
	if len(keys) != len(ascending) || !slices.IsSorted(keys) {
		t.Errorf("%T: keys %q", ascending, keys)
	}
	var back Map[K, int]
	for k, v := range all {
		if err := back.Load([]byte(k), []byte(v)); err != nil {
			t.Error(err)
		}
	}
	i := 0
	for k, v := range back.Entries() {
		if k != ascending[i] || *v != i {
			t.Errorf("%T: entry %d is %v: %d, want %v", ascending, i, k, *v, ascending[i])
		}
		i++
	}
	if back.Len() != len(ascending) {
		t.Errorf("%d entries", back.Len())
	}
}

func TestMapKeysSortAsBytes(t *testing.T) {
	checkKeys(t, []string{"", "\x00", "a", "a\x00", "aa", "b", "ü"})
	checkKeys(t, []int64{math.MinInt64, -256, -1, 0, 1, 255, 256, math.MaxInt64})
	checkKeys(t, []int{math.MinInt, -1, 0, 1, math.MaxInt})
	checkKeys(t, []day{math.MinInt32, -1, 0, 7, math.MaxInt32})
	checkKeys(t, []int8{-128, 0, 127})
	checkKeys(t, []uint64{0, 1, 1 << 63, math.MaxUint64})
	checkKeys(t, []uint8{0, 128, 255})
}

func TestMapRefusesKeys(t *testing.T) {
	value := Append(nil, 1)
	var m Map[int8, int]
	for _, k := range [][]byte{nil, {1}, bytes.Repeat([]byte{255}, 9), {0x80, 0, 0, 0, 0, 0, 1, 0}} {
		if err := m.Load(k, value); !errors.Is(err, ErrDamaged) {
			t.Errorf("key %x: %v", k, err)
		}
	}
	if err := m.Load([]byte{0x80, 0, 0, 0, 0, 0, 0, 5}, Append(nil, "x")); !errors.Is(err, ErrLayout) {
		t.Error(err)
	}
}

// The sum of all Changed is All, under random use.
func TestMapChangedAddsUpToAll(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var m Map[uint16, int]
		want := make(map[uint16]int)
		saved := make(map[string]string)
		for range 200 {
			k := uint16(rng.IntN(12))
			switch rng.IntN(4) {
			case 0:
				m.Delete(k)
				delete(want, k)
			case 1:
				m.Put(k, int(rng.Int32()))
				v, _ := m.Get(k)
				want[k] = *v
			case 2:
				*m.Ensure(k) += 1
				want[k]++
			default:
				keys, changed := collect(m.Changed)
				if !slices.IsSorted(keys) || len(keys) != len(changed) {
					t.Fatalf("seed %d: keys %q", seed, keys)
				}
				for key, v := range changed {
					if _, was := saved[key]; v == "-" && !was {
						t.Fatalf("seed %d: deletes %x, which was not saved", seed, key)
					}
					if saved[key] = v; v == "-" {
						delete(saved, key)
					}
				}
				if _, all := collect(m.All); !maps.Equal(all, saved) {
					t.Fatalf("seed %d: saved %v, all %v", seed, saved, all)
				}
				if rng.IntN(4) == 0 { // go on with a restored map
					m = Map[uint16, int]{}
					for key, v := range saved {
						if err := m.Load([]byte(key), []byte(v)); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if m.Len() != len(want) {
				t.Fatalf("seed %d: %d keys, want %d", seed, m.Len(), len(want))
			}
			if v, ok := m.Get(k); ok != (want[k] != 0 || has(want, k)) || ok && *v != want[k] {
				t.Fatalf("seed %d: key %d", seed, k)
			}
		}
	}
}

func has(m map[uint16]int, k uint16) bool { _, ok := m[k]; return ok }

func TestMapEntriesWhileDeleting(t *testing.T) {
	var m Map[int, int]
	for i := range 10 {
		m.Put(i, i)
	}
	for k := range m.Entries() {
		if k%3 == 0 {
			m.Delete(k)
			m.Delete(k + 1)
		}
	}
	var left []int
	for k := range m.Entries() {
		left = append(left, k)
	}
	if !slices.Equal(left, []int{2, 5, 8}) {
		t.Error(left)
	}
}

func TestMapAllocates(t *testing.T) {
	var m Map[int64, [4]float64]
	step := func() {
		for i := range int64(50) {
			m.Ensure(i)[1]++
		}
		for i := range int64(20) {
			m.Delete(i)
			m.Ensure(i)
		}
		m.Changed(func(_, _ []byte) bool { return true })
	}
	step()
	if n := testing.AllocsPerRun(50, step); n != 0 {
		t.Errorf("%v allocations for 110 operations and a checkpoint", n)
	}
}

func TestCell(t *testing.T) {
	var c Cell[[]float64]
	if keys, _ := collect(c.Changed); len(keys) != 1 {
		t.Error("a new cell is not saved")
	}
	if keys, _ := collect(c.Changed); len(keys) != 0 {
		t.Error("an unchanged cell is saved")
	}
	c.V = append(c.V, 1)
	_, saved := collect(c.Changed)
	var d Cell[[]float64]
	d.V = []float64{7, 7}
	if err := d.Load(nil, []byte(saved[""])); err != nil || !slices.Equal(d.V, c.V) {
		t.Error(d.V, err)
	}
	if keys, _ := collect(d.Changed); len(keys) != 0 {
		t.Error("a restored cell is saved")
	}
	if err := d.Load([]byte("x"), nil); err == nil {
		t.Error("a cell loads a keyed entry")
	}
	id := ID{Node: "a", Name: "b"}
	if Digest(id, &c) != Digest(id, &d) || Digest(id, &c) == Digest(ID{Node: "a", Name: "c"}, &c) {
		t.Error("digests")
	}
	c.V[0] = 2
	if Digest(id, &c) == Digest(id, &d) {
		t.Error("digests of different values are equal")
	}
}
