package feature

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// hashVersion is the version of the function that docs/format/hash.md defines.
// A change of it makes every learnt weight meaningless, so it is part of what
// old state is compared with.
const hashVersion = 1

// Seeds of the chain: the number of columns for numbers, categories, crosses and
// sparse indices, and 0 for the tokens of a text, so that a token and a category
// of one column and one spelling are two features.
const textSeed = 0

// charSeed is the seed of the runs of characters of a text's tokens.
const charSeed = 1<<64 - 2

// nullSeed is the seed of the feature that says that a number is missing.
const nullSeed = 1<<64 - 1

// nameHash is the chain after the names of the columns: the index of a numeric
// column, and the seed of everything that is said about those columns.
func nameHash(seed uint64, names ...string) uint64 {
	h := seed
	for _, n := range names {
		h = xxh3.HashStringSeed(n, h)
	}
	return h
}

// link appends one text to the chain.
func link(h uint64, text []byte) uint64 { return xxh3.HashSeed(text, h) }

// linkTexts appends every text of a column without nulls to the chain h, and writes the
// lowest bits of the results, those of mask. Texts of 1 to 8 bytes are hashed in
// place, both as XXH3 does it for 1 to 3 and for 4 to 8 bytes: a branch on the length
// would cost more, as that of the values of a column cannot be guessed.
func linkTexts(to []uint32, h uint64, texts *batch.Column, mask uint32) {
	const (
		prime2 uint64 = 0xc2b2ae3d27d4eb4f
		prime3 uint64 = 0x165667b19e3779f9
		prime8 uint64 = 0x9fb21c651e98df25
	)
	key3 := 0xbe4ba423 ^ 0x396cfeb8 + h
	key8 := 0x1cad21f72c81017c ^ 0xdb979083e96dd4de - (h ^ uint64(bits.ReverseBytes32(uint32(h)))<<32)
	off, bytes := texts.Off[:len(to)+1], texts.Bytes[:cap(texts.Bytes)] // eight bytes can be read where a text is shorter
	at := int(off[0])
	for row, end := range off[1:] {
		begin := at
		at = int(end)
		size := uint64(at - begin)
		if size-1 >= 8 || begin+8 > len(bytes) {
			to[row] = uint32(link(h, bytes[begin:at])) & mask
			continue
		}
		word := binary.LittleEndian.Uint64(bytes[begin:]) & (math.MaxUint64 >> (64 - 8*size))
		// The first byte, the one in the middle, the last, the length.
		a := word&0xff<<16 | word>>(size>>1*8&63)&0xff<<24 | word>>((size-1)*8&63)&0xff | size<<8
		a ^= key3
		a ^= a >> 33
		a *= prime2
		a ^= a >> 29
		a *= prime3
		a ^= a >> 32
		// The first four bytes, the last four.
		b := word>>((size-4)*8&63)&0xffffffff + word<<32
		b ^= key8
		b ^= bits.RotateLeft64(b, 49) ^ bits.RotateLeft64(b, 24)
		b *= prime8
		b ^= b>>35 + size
		b *= prime8
		b ^= b >> 28
		short := uint64(int64(size-4) >> 63) // all bits set below 4
		to[row] = uint32(a&short|b&^short) & mask
	}
}

// linkIndex appends the index of a sparse vector to the chain: its four bytes,
// least first.
func linkIndex(h uint64, index uint32) uint64 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], index)
	return xxh3.HashSeed(b[:], h)
}
