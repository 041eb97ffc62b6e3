package reference

import (
	"bufio"
	"math/bits"
	"strconv"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/gunzip"
)

// vwRow is a row in the text format of Vowpal Wabbit, its names hashed as there.
type vwRow struct {
	label, weight float64
	idx           []uint32
	val           []float64
}

// vwHash is MurmurHash3, the 32-bit form for x86 (Appleby; public domain).
func vwHash(s string, seed uint32) uint32 {
	const c1, c2 = 0xcc9e2d51, 0x1b873593
	h, n := seed, len(s)
	mix := func(k uint32) uint32 { return bits.RotateLeft32(k*c1, 15) * c2 }
	for ; len(s) >= 4; s = s[4:] {
		h ^= mix(uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24)
		h = bits.RotateLeft32(h, 13)*5 + 0xe6546b64
	}
	if len(s) > 0 {
		var k uint32
		for i := range s {
			k |= uint32(s[i]) << (8 * i)
		}
		h ^= mix(k)
	}
	h ^= uint32(n)
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

// vwFeature hashes a name of digits to their number and any other by its text,
// from the hash of its namespace.
func vwFeature(name string, namespace uint32) uint32 {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n) + namespace
	}
	return vwHash(name, namespace)
}

const vwConstant = 11650396

// vwRows reads the first n rows (0 = all) of a set. The constant comes last, and
// behind it the pairs of features of the namespaces that begin with the letters.
// stride is that of the program's table, which goes into the indices of pairs.
func vwRows(t testing.TB, set string, n, bitsOfIndex int, stride uint32, pairs ...string) []vwRow {
	t.Helper()
	mask := uint32(1)<<bitsOfIndex - 1
	var err error
	var rows []vwRow
	lines := bufio.NewScanner(gunzip.Open(t, "testdata/vw/"+set+".dat.gz"))
	for lines.Scan() && (n == 0 || len(rows) < n) {
		parts := strings.Split(lines.Text(), "|")
		head := strings.Fields(parts[0])
		r := vwRow{weight: 1}
		if r.label, err = strconv.ParseFloat(head[0], 64); err != nil {
			t.Fatal(err)
		}
		if len(head) > 1 && !strings.Contains(head[1], "/") {
			if r.weight, err = strconv.ParseFloat(head[1], 64); err != nil {
				t.Fatal(err)
			}
		}
		type feature struct {
			index uint32
			value float64
		}
		spaces := map[byte][]feature{}
		for _, part := range parts[1:] {
			words := strings.Fields(part)
			seed, first := uint32(0), byte(' ')
			if part[0] != ' ' {
				seed, first = vwHash(words[0], 0), words[0][0]
				words = words[1:]
			}
			for _, w := range words {
				name, value, valued := strings.Cut(w, ":")
				x := 1.0
				if valued {
					if x, err = strconv.ParseFloat(value, 32); err != nil {
						t.Fatal(err)
					}
				}
				if x != 0 {
					spaces[first] = append(spaces[first], feature{vwFeature(name, seed), x})
					r.idx, r.val = append(r.idx, vwFeature(name, seed)&mask), append(r.val, x)
				}
			}
		}
		r.idx, r.val = append(r.idx, vwConstant&mask), append(r.val, 1)
		for _, p := range pairs {
			for i, a := range spaces[p[0]] {
				for j, b := range spaces[p[1]] {
					if p[0] == p[1] && j < i {
						continue
					}
					at := (16777619*(a.index&mask)*stride ^ (b.index&mask)*stride) / stride & mask
					r.idx, r.val = append(r.idx, at), append(r.val, float64(float32(a.value)*float32(b.value)))
				}
			}
		}
		rows = append(rows, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// The reader hashes as the program does.
func TestVWHash(t *testing.T) {
	for _, c := range []struct {
		namespace, name string
		want            uint32
	}{{"f", "t1", 90905}, {"T", "PFF", 77982}, {"features", "13", 13700}} {
		if got := vwFeature(c.name, vwHash(c.namespace, 0)) & (1<<18 - 1); got != c.want {
			t.Errorf("%s of %s lies at %d, want %d", c.name, c.namespace, got, c.want)
		}
	}
	if got := vwHash("f", 0); got != 728008763 {
		t.Errorf("f hashes to %d", got)
	}
	for _, c := range []struct {
		set   string
		pairs []string
		want  int
	}{{"0002", nil, 14996}, {"0001", nil, 15482}, {"0002", []string{"Tf", "ff"}, 118940}} {
		n := 0
		for _, r := range vwRows(t, c.set, 0, 18, 4, c.pairs...) {
			n += len(r.idx)
		}
		if n != c.want {
			t.Errorf("%s %v has %d features, want %d", c.set, c.pairs, n, c.want)
		}
	}
}

// labelRange is the range of the labels so far, from [0, 0], to which that
// program holds its predictions, the current label included. It is a leak of the
// label and no part of ours.
type labelRange struct{ least, most float64 }

func (r *labelRange) hold(p, label float64) float64 {
	r.least, r.most = min(r.least, label), max(r.most, label)
	return max(r.least, min(r.most, p))
}

var wide = labelRange{-50, 50}
