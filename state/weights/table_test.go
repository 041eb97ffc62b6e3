package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/state"
)

var _ state.Stateful = (*Table)(nil)

// dump collects what Changed or All yields; a deleted entry is "-".
func dump(seq func(func(key, value []byte) bool)) map[string]string {
	out := make(map[string]string)
	last := ""
	for k, v := range seq {
		if last != "" && string(k) <= last {
			panic("keys do not ascend")
		}
		last = string(k)
		out[last] = string(v)
		if v == nil {
			out[last] = "-"
		}
	}
	return out
}

func pages(m map[string]string) []int {
	var out []int
	for k, v := range m {
		if len(k) != 4 {
			continue
		}
		p := int(binary.BigEndian.Uint32([]byte(k)))
		if v == "-" {
			p = -p
		}
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

func TestTouchMarksThePagesOfARow(t *testing.T) {
	for _, c := range []struct {
		rows, stride int
		touch        []uint32
		want         []int
	}{
		{4096, 1, []uint32{0, 1023, 3072}, []int{0, 3}},
		{4096, 1, []uint32{1024}, []int{1}},
		{4096, 2, []uint32{511, 512}, []int{0, 1}},
		{64, 1024, []uint32{0, 63}, []int{0, 63}},
		{3000, 3, []uint32{341}, []int{0, 1}}, // floats 1023, 1024, 1025
		{3000, 3, []uint32{340}, []int{0}},
		{3000, 3, []uint32{342}, []int{1}},
		{10, 2500, []uint32{1}, []int{2, 3, 4}}, // floats 2500 to 4999
		{10, 2048, []uint32{1}, []int{2, 3}},
		{5, 7, []uint32{4}, []int{0}},
	} {
		tb := New(c.rows, c.stride)
		for i := range tb.Data {
			tb.Data[i] = 1
		}
		tb.Touch(c.touch)
		if got := pages(dump(tb.Changed)); !slices.Equal(got, c.want) {
			t.Errorf("%d x %d, touch %v: pages %v, want %v", c.rows, c.stride, c.touch, got, c.want)
		}
		for _, i := range c.touch {
			tb.TouchRow(int(i))
		}
		if got := pages(dump(tb.Changed)); !slices.Equal(got, c.want) {
			t.Errorf("%d x %d, touch rows %v: pages %v, want %v", c.rows, c.stride, c.touch, got, c.want)
		}
		if got := pages(dump(tb.Changed)); got != nil {
			t.Errorf("%v are changed twice", got)
		}
		tb.TouchAll()
		if got, want := len(pages(dump(tb.Changed))), (c.rows*c.stride+1023)/1024; got != want {
			t.Errorf("TouchAll: %d pages, want %d", got, want)
		}
	}
}

// The sum of all Changed is All, at any stride, whatever is written.
func TestChangedAddsUpToAll(t *testing.T) {
	for _, stride := range []int{1, 2, 3, 5, 8, 700, 1024, 1500} {
		t.Run(fmt.Sprint("stride ", stride), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(stride)))
			tb := New(6000/stride+2, stride)
			saved := make(map[string]string)
			for range 60 {
				for range rng.IntN(4) {
					row := rng.IntN(tb.Rows())
					v := float32(rng.IntN(3) - 1)
					for j := range tb.Row(row) {
						tb.Row(row)[j] = v
					}
					tb.Touch([]uint32{uint32(row)})
				}
				if rng.IntN(10) == 0 {
					clear(tb.Data)
					tb.TouchAll()
				}
				for k, v := range dump(tb.Changed) {
					if v == "-" {
						if _, ok := saved[k]; !ok {
							t.Errorf("deletes page %x, which was not saved", k)
						}
						delete(saved, k)
					} else {
						saved[k] = v
					}
				}
				if all := dump(tb.All); !maps.Equal(all, saved) {
					t.Fatalf("saved pages %v, all pages %v", pages(saved), pages(all))
				}
				// What was saved loads into a table that held something else.
				other := New(tb.Rows(), stride)
				other.Data[len(other.Data)-1] = 5
				other.TouchAll()
				for _, k := range slices.Sorted(maps.Keys(saved)) {
					if err := other.Load([]byte(k), []byte(saved[k])); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(other.Data, tb.Data) {
					t.Fatal("the restored table differs")
				}
				if c := dump(other.Changed); len(c) != 0 {
					t.Fatalf("a restored table has changed pages %v", pages(c))
				}
			}
		})
	}
}

func TestNegativeZeroSurvives(t *testing.T) {
	tb := New(2, 1)
	tb.Data[1] = float32(math.Copysign(0, -1))
	if got := pages(dump(tb.All)); len(got) != 1 {
		t.Error("a page of -0 is not stored")
	}
}

func TestNorms(t *testing.T) {
	tb := New(4, 2)
	copy(tb.Data, []float32{3, 100, 0, 100, -4, 100, 0, 0})
	tb.TouchAll()
	if tb.NonZero() != 2 || tb.L2() != 5 {
		t.Errorf("%d non-zero, norm %v; want 2, 5", tb.NonZero(), tb.L2())
	}
	if tb.Rows() != 4 || tb.Stride() != 2 || !slices.Equal(tb.Row(2), []float32{-4, 100}) {
		t.Error("shape")
	}
	none := New(0, 3)
	if none.NonZero() != 0 || none.L2() != 0 || len(none.Data) != 0 || len(dump(none.All)) != 1 {
		t.Error("a table without rows")
	}
	// Rows that straddle pages, rows larger than pages, pages saved and restored.
	for _, stride := range []int{1, 3, 4, 700, 2500} {
		tb := New(3000, stride)
		restored := New(3000, stride)
		want, sum := 0, 0.0
		for i := 0; i < 3000; i += 1 + i {
			for k := range tb.Row(i) {
				tb.Row(i)[k] = float32(1 + i)
			}
			tb.Touch([]uint32{uint32(i)})
			want++
			sum += float64(1+i) * float64(1+i)
			if i%2 == 0 {
				_ = dump(tb.Changed)
			}
		}
		for k, v := range tb.All {
			if err := restored.Load(k, v); err != nil {
				t.Fatal(err)
			}
		}
		for _, tb := range []*Table{tb, restored} {
			if tb.NonZero() != want || tb.L2() != math.Sqrt(sum) {
				t.Errorf("stride %d: %d non-zero, norm %v; want %d, %v", stride, tb.NonZero(), tb.L2(), want, math.Sqrt(sum))
			}
		}
	}
}

// The bytes are those of docs/format/weights.md, put together by hand.
func TestBytes(t *testing.T) {
	tb := New(1025, 1)
	tb.Data[1024] = 1.5
	got := dump(tb.All)
	header, _ := hex.DecodeString("01" + "0104000000000000" + "01000000" + "00040000")
	header = binary.LittleEndian.AppendUint32(header, crc32.Checksum(header, castagnoli))
	page, _ := hex.DecodeString("01" + "01000000" + "0100" + "0000c03f")
	page = binary.LittleEndian.AppendUint32(page, crc32.Checksum(page, castagnoli))
	want := map[string]string{"\x00": string(header), "\x00\x00\x00\x01": string(page)}
	if !maps.Equal(got, want) {
		t.Errorf("%x\n%x", got, want)
	}
	rows, stride, err := ReadHeader(header)
	if rows != 1025 || stride != 1 || err != nil || !IsHeader([]byte{0}) || IsHeader([]byte{0, 0, 0, 0}) {
		t.Error(rows, stride, err)
	}
	values, first, err := ReadPage(make([]float32, PageLen), []byte{0, 0, 0, 1}, page)
	if first != 1024 || !slices.Equal(values, []float32{1.5}) || err != nil {
		t.Error(values, first, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	source := New(2000, 1)
	source.Data[0], source.Data[1999] = 1, 2
	e := dump(source.All)
	head, page0, page1 := e["\x00"], e["\x00\x00\x00\x00"], e["\x00\x00\x00\x01"]
	key0, key1 := "\x00\x00\x00\x00", "\x00\x00\x00\x01"
	with := func(v float32) string {
		return string(appendPage(nil, 0, append(make([]float32, 1023), v)))
	}
	newer := "\x02" + page0[1:]
	for _, c := range []struct {
		name, key, value string
		rows, stride     int
		is               error
		text             string
	}{
		{"other rows", "\x00", head, 2001, 1, nil, "2000 rows of 1; the pipeline file asks for 2001 rows of 1"},
		{"other stride", "\x00", head, 1000, 2, nil, "asks for 1000 rows of 2"},
		{"flipped header", "\x00", head[:3] + "\xff" + head[4:], 2000, 1, state.ErrDamaged, "checksum"},
		{"short header", "\x00", head[:9], 2000, 1, state.ErrDamaged, "9 bytes"},
		{"newer header", "\x00", "\x02" + head[1:], 2000, 1, state.ErrLayout, "format version 2"},
		{"flipped page", key0, page0[:99] + "\x01" + page0[100:], 2000, 1, state.ErrDamaged, "checksum of page 0"},
		{"moved page", key1, page0, 2048, 1, state.ErrDamaged, "page 0 of weights lies in the place of page 1"},
		{"cut page", key0, page0[:len(page0)-1], 2000, 1, state.ErrDamaged, "expected 4107"},
		{"short last page", key1, page1[:40], 2000, 1, state.ErrDamaged, "page 1"},
		{"empty page", key0, "", 2000, 1, state.ErrDamaged, "0 bytes"},
		{"newer page", key0, newer, 2000, 1, state.ErrLayout, "format version 2"},
		{"page beyond", "\x00\x00\x00\x02", page0, 2000, 1, state.ErrDamaged, "page 2 of a table of 2"},
		{"strange key", "\x00\x01", page0, 2000, 1, state.ErrDamaged, "no entry"},
		{"empty key", "", page0, 2000, 1, state.ErrDamaged, "no entry"},
		{"NaN", key0, with(float32(math.NaN())), 2000, 1, nil, "page 0 of weights: a stored weight is not a finite number"},
		{"Inf", key0, with(float32(math.Inf(-1))), 2000, 1, nil, "not a finite number"},
	} {
		tb := New(c.rows, c.stride)
		if c.key != "\x00" {
			tb.headed = true
		}
		err := tb.Load([]byte(c.key), []byte(c.value))
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := New(2000, 1).Load([]byte(key0), []byte(page0)); !errors.Is(err, state.ErrDamaged) {
		t.Errorf("page without header: %v", err)
	}
}

func TestMarks(t *testing.T) {
	for _, stride := range []int{1, 2, 3, 4, 700, 1024} {
		a, b := New(4096, stride), New(4096, stride)
		for _, i := range []uint32{0, 1, 511, 512, 2047, 4095} {
			a.Row(int(i))[0], b.Row(int(i))[0] = 1, 1
			a.Touch([]uint32{i})
			for k := range stride {
				b.Marks()[(int(i)*stride+k)/PageLen] = 1
			}
			if want, got := dump(a.Changed), dump(b.Changed); !maps.Equal(got, want) {
				t.Errorf("stride %d, row %d: pages %v, want %v", stride, i, pages(got), pages(want))
			}
		}
	}
}

func TestTouchPanicsBeyondTheTable(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New(1024, 1).Touch([]uint32{1024})
}

func TestAllocations(t *testing.T) {
	tb := New(1<<16, 2)
	for i := range tb.Data {
		tb.Data[i] = 1
	}
	idx := []uint32{1, 9999, 65535}
	dump(tb.Changed)
	n := testing.AllocsPerRun(100, func() {
		tb.Touch(idx)
		tb.Changed(func(_, _ []byte) bool { return true })
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { tb.Touch(idx) }); n != 0 {
		t.Errorf("Touch: %v allocations", n)
	}
}

func FuzzLoad(f *testing.F) {
	source := New(1500, 1)
	source.Data[3], source.Data[1400] = 1, -2
	for k, v := range source.All {
		f.Add(bytes.Clone(k), bytes.Clone(v))
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		tb := New(1500, 1)
		if tb.Load([]byte{0}, tb.appendHeader(nil)) != nil {
			t.Fatal("own header refused")
		}
		if tb.Load(key, value) != nil {
			return
		}
		for i, v := range tb.Data {
			if v-v != 0 {
				t.Fatalf("Data[%d] = %v", i, v)
			}
		}
		_, _, _ = ReadHeader(value)
		_, _, _ = ReadPage(make([]float32, PageLen), key, value)
	})
}

const benchRows = 4 << 20 // 16 MiB of weights

func BenchmarkTouch(b *testing.B) {
	for _, stride := range []int{1, 2, 3} {
		b.Run(fmt.Sprint("stride ", stride), func(b *testing.B) {
			tb := New(benchRows/stride, stride)
			rng := rand.New(rand.NewPCG(1, 1))
			idx := make([]uint32, 30)
			for i := range idx {
				idx[i] = rng.Uint32N(uint32(tb.Rows()))
			}
			b.ReportAllocs()
			for b.Loop() {
				tb.Touch(idx)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(idx)), "ns/index")
		})
	}
}

func BenchmarkChanged(b *testing.B) {
	tb := New(benchRows, 1)
	for i := range tb.Data {
		tb.Data[i] = float32(i + 1)
	}
	for _, c := range []struct {
		name  string
		touch func()
	}{
		{"none", func() {}},
		{"300 rows", func() {
			for i := range 300 {
				tb.TouchRow(i * 13781)
			}
		}},
		{"all", tb.TouchAll},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(4 * benchRows)
			for b.Loop() {
				c.touch()
				tb.Changed(func(_, _ []byte) bool { return true })
			}
		})
	}
}

// A growing table is restored from what it stored, whatever it had grown to, and
// growing is no change.
func TestGrowing(t *testing.T) {
	const most, stride = 4000, 3
	a := NewGrowing(most, stride)
	if a.Rows() != most || len(a.Data) != 0 {
		t.Fatalf("%d rows, %d values", a.Rows(), len(a.Data))
	}
	store := map[string][]byte{}
	save := func() {
		a.Changed(func(key, value []byte) bool {
			if value == nil {
				delete(store, string(key))
			} else {
				store[string(key)] = slices.Clone(value)
			}
			return true
		})
	}
	save()
	for _, rows := range []int{10, 341, 1500, most} {
		a.Grow(rows)
		a.Row(rows - 1)[1] = float32(rows)
		a.TouchRow(rows - 1)
		save()
		b := NewGrowing(most, stride)
		for _, key := range slices.Sorted(maps.Keys(store)) {
			if err := b.Load([]byte(key), store[key]); err != nil {
				t.Fatal(err)
			}
		}
		if len(b.Data) < rows*stride {
			t.Fatalf("after %d rows %d values are restored", rows, len(b.Data))
		}
		entries := func(x *Table) (all []string) {
			x.All(func(key, value []byte) bool { all = append(all, string(key)+string(value)); return true })
			return all
		}
		if !slices.Equal(entries(a), entries(b)) || a.L2() != b.L2() || a.NonZero() != b.NonZero() {
			t.Errorf("after %d rows the restored table differs", rows)
		}
		b.Grow(most)
		if !slices.Equal(entries(a), entries(b)) {
			t.Errorf("after %d rows growing changed the table", rows)
		}
	}
}

// Rows that come one by one move a growing table now and then.
func TestGrowingRowByRow(t *testing.T) {
	const rows = 512
	a, moved := NewGrowing(2*rows, PageLen), 0
	for n := range rows {
		was := cap(a.Data)
		if a.Grow(n + 1); cap(a.Data) != was {
			moved++
		}
		if len(a.Data) != (n+1)*PageLen || cap(a.Data) > 2*rows*PageLen {
			t.Fatalf("with %d rows %d values, room for %d", n+1, len(a.Data), cap(a.Data))
		}
	}
	if moved > 40 {
		t.Errorf("%d rows moved the table %d times", rows, moved)
	}
}

// A growing table that comes back page by page is moved now and then, not with
// every page.
func TestGrowingIsRestoredInLinearTime(t *testing.T) {
	const pages = 512
	a := NewGrowing(2*pages*PageLen, 1)
	a.Grow(pages * PageLen)
	for i := range a.Data {
		a.Data[i] = 1
	}
	var keys, values [][]byte
	for key, value := range a.All {
		keys, values = append(keys, slices.Clone(key)), append(values, slices.Clone(value))
	}
	b := NewGrowing(2*pages*PageLen, 1)
	moved := 0
	for i, key := range keys {
		was := cap(b.Data)
		if err := b.Load(key, values[i]); err != nil {
			t.Fatal(err)
		}
		if cap(b.Data) != was {
			moved++
		}
	}
	if moved > 40 {
		t.Errorf("%d pages were moved %d times", pages, moved)
	}
	if !slices.Equal(b.Data, a.Data) {
		t.Error("the restored table differs")
	}
	b.Grow(pages*PageLen + 1)
	if b.Data[pages*PageLen] != 0 {
		t.Error("a new row is not zero")
	}
}

// A growing table takes what one of another bound stored, unless that is more.
func TestGrowingBeyondItsBound(t *testing.T) {
	a := NewGrowing(4000, 3)
	a.Grow(1500)
	a.Row(1499)[2] = 7
	a.TouchRow(1499)
	for most, want := range map[int]string{8192: "", 2048: "", 1024: "stored weights have more than the 1024 rows of 3"} {
		b := NewGrowing(most, 3)
		var err error
		for key, value := range a.All {
			if err == nil {
				err = b.Load(key, value)
			}
		}
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("at most %d rows: %v", most, err)
			}
			continue
		}
		if err != nil || b.Row(1499)[2] != 7 {
			t.Fatalf("at most %d rows: %v", most, err)
		}
		var keys []string
		b.Changed(func(key, _ []byte) bool { keys = append(keys, string(key)); return true })
		if !slices.Equal(keys, []string{string(headerKey)}) {
			t.Errorf("at most %d rows: then %q are stored, want the header alone", most, keys)
		}
	}
	small := NewGrowing(101, 3) // its only page is short
	small.Grow(101)
	small.Row(99)[2] = 7
	small.TouchRow(99)
	large := NewGrowing(2048, 3)
	large.Grow(2048)
	large.Row(101)[0] = 5 // of before
	for key, value := range small.All {
		if err := large.Load(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if large.Row(99)[2] != 7 || large.Row(101)[0] != 0 {
		t.Errorf("a short page is restored as %v, then %v", large.Row(99), large.Row(101))
	}
	large.Changed(func(key, value []byte) bool {
		if !IsHeader(key) && len(value) != pageHead+4*PageLen+crcLen {
			t.Errorf("the page is stored as %d bytes", len(value))
		}
		return true
	})
	smaller := NewGrowing(100, 3)
	for key, value := range large.All {
		if err := smaller.Load(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if smaller.Row(99)[2] != 7 || len(smaller.Data) != 300 {
		t.Errorf("a long page is restored as %v", smaller.Row(99))
	}
	large.Row(101)[0] = 5
	for key, value := range large.All {
		if err := smaller.Load(key, value); !IsHeader(key) && (err == nil || !strings.Contains(err.Error(), "more than the 100 rows of 3")) {
			t.Errorf("what lies beyond a table is restored with %v", err)
		}
	}
	if err := New(1500, 3).Load(headerKey, a.appendHeader(nil)); err == nil {
		t.Error("a table that does not grow takes another number of rows")
	}
}

// A table that was used, saved or not, holds what is loaded and nothing else.
func TestLoadIntoUsedTable(t *testing.T) {
	for _, stride := range []int{1, 3, 700, 2500} {
		saved := New(3000, stride)
		saved.Row(17)[0] = 5
		saved.TouchRow(17)
		want := dump(saved.All)
		used := New(3000, stride)
		for i, row := range []int{0, 17, 18, 1500, 2999} {
			for k := range used.Row(row) {
				used.Row(row)[k] = 1
			}
			used.TouchRow(row)
			if i == 2 {
				_ = dump(used.Changed) // these pages are saved, the others will be dirty
			}
		}
		for range 2 { // the second time over what the first has loaded, and a page more
			for _, key := range slices.Sorted(maps.Keys(want)) {
				if err := used.Load([]byte(key), []byte(want[key])); err != nil {
					t.Fatal(err)
				}
			}
			if got := dump(used.All); !maps.Equal(got, want) {
				t.Fatalf("stride %d: %d entries, expected %d", stride, len(got), len(want))
			}
			used.Row(2999)[0] = 1
			used.TouchRow(2999)
		}
	}
}
