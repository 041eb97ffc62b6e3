package feature

import (
	"slices"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

// vocabularyVersion is the version of the state of a vocabulary.
const vocabularyVersion = 1

// mostText bounds the values that a vocabulary keeps; longer ones count as other.
const mostText = 1024

// vocabularyConfig are the fields of an operator that keeps vocabularies.
type vocabularyConfig struct {
	size int
	full string
}

func (c *vocabularyConfig) fields(f *spec.Fields, size int) {
	f.Int(&c.size, "size", size, "Number of values a column keeps apart.").Within(1, 10_000_000)
	f.Enum(&c.full, "full", "other", []string{"other", "evict"}, "What a new value does when size is reached: count as other, together with all that came too late, or take the place of the value that was not seen for longest.")
}

// word is a value that has an index.
type word struct {
	Text string
	Used int64 // when it was last seen, in values of the column; only if values are evicted
}

// vocabulary gives the values of a column an index each, from 1 on in the order in
// which they are first learnt. 0 stands for all others.
type vocabulary struct {
	size  int
	evict bool
	words state.Map[uint32, word]

	// What follows from words, made when first needed.
	known map[string]uint32
	used  int64    // the greatest Used
	next  []uint32 // by index: the value seen next after it; 0 = none
	prev  []uint32
	last  uint32 // the value seen last
	first uint32 // the one not seen for longest
}

func newVocabulary(env *operators.Env, column string, c *vocabularyConfig) *vocabulary {
	v := &vocabulary{size: c.size, evict: c.full == "evict"}
	env.Bind("values/"+column, vocabularyVersion, &v.words)
	return v
}

// find returns the index of a value, 0 if it has none.
func (v *vocabulary) find(text []byte) uint32 {
	v.sync()
	return v.known[string(text)]
}

// learn returns the index of a value, which it gives one if there is room; taken
// reports that another value had it until now.
func (v *vocabulary) learn(text []byte) (index uint32, taken bool) {
	v.sync()
	index = v.known[string(text)]
	switch {
	case index != 0:
		if v.evict {
			v.unlink(index)
			v.use(index)
		}
		return index, false
	case len(text) > mostText:
		return 0, false
	case v.words.Len() < v.size:
		index = uint32(v.words.Len() + 1)
	case !v.evict:
		return 0, false
	default:
		index, taken = v.first, true
		v.unlink(index)
		old, _ := v.words.Get(index)
		delete(v.known, old.Text)
	}
	w := v.words.Ensure(index)
	w.Text = string(text)
	v.known[w.Text] = index
	if v.evict {
		v.use(index)
	}
	return index, taken
}

// use makes an index that is not in the list the last of it.
func (v *vocabulary) use(index uint32) {
	v.used++
	v.words.Ensure(index).Used = v.used
	v.link(index)
}

func (v *vocabulary) link(index uint32) {
	for int(index) >= len(v.next) {
		v.next, v.prev = append(v.next, 0), append(v.prev, 0)
	}
	v.prev[index], v.next[index] = v.last, 0
	if v.last != 0 {
		v.next[v.last] = index
	} else {
		v.first = index
	}
	v.last = index
}

func (v *vocabulary) unlink(index uint32) {
	before, after := v.prev[index], v.next[index]
	if before != 0 {
		v.next[before] = after
	} else {
		v.first = after
	}
	if after != 0 {
		v.prev[after] = before
	} else {
		v.last = before
	}
}

// sync makes what follows from words, once they are loaded. Words beyond the size
// stay, so a smaller size stops growth and no more.
func (v *vocabulary) sync() {
	if v.known != nil {
		return
	}
	v.known = make(map[string]uint32, v.words.Len())
	var order []uint32
	for i, w := range v.words.Entries() {
		v.known[w.Text] = i
		order = append(order, i)
	}
	if !v.evict {
		return
	}
	used := func(i uint32) int64 { w, _ := v.words.Get(i); return w.Used }
	slices.SortStableFunc(order, func(a, b uint32) int { return int(min(1, max(-1, used(a)-used(b)))) })
	for _, i := range order {
		v.link(i)
		v.used = used(i)
	}
}

// would returns the index that learn would give a value, and changes nothing.
func (v *vocabulary) would(text []byte) uint32 {
	switch i := v.find(text); {
	case i != 0:
		return i
	case len(text) > mostText:
		return 0
	case v.words.Len() < v.size:
		return uint32(v.words.Len() + 1)
	case v.evict:
		return v.first
	}
	return 0
}
