package feature

import (
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/xxh3"
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

// linkWord appends a text of 1 to 8 bytes to the chain: the lowest n bytes of word,
// the first the lowest, the others 0. It is XXH3 for texts of 1 to 3 and of 4 to 8
// bytes, both of them, as a branch on the length would cost more: that of the values of
// a column cannot be guessed.
func linkWord(h, word uint64, n int) uint64 {
	const (
		secret3         = 0xbe4ba423 ^ 0x396cfeb8
		secret8         = 0x1cad21f72c81017c ^ 0xdb979083e96dd4de
		prime2   uint64 = 0xc2b2ae3d27d4eb4f
		prime3   uint64 = 0x165667b19e3779f9
		primeMix uint64 = 0x9fb21c651e98df25
	)
	size := uint64(n)
	// 1 to 3 bytes: the first, the one in the middle, the last, the length.
	a := word&0xff<<16 | word>>(size>>1*8&63)&0xff<<24 | word>>((size-1)*8&63)&0xff | size<<8
	a ^= secret3 + h
	a ^= a >> 33
	a *= prime2
	a ^= a >> 29
	a *= prime3
	a ^= a >> 32
	// 4 to 8 bytes: the first four, the last four.
	b := word>>((size-4)*8&63)&0xffffffff + word<<32
	b ^= secret8 - (h ^ uint64(bits.ReverseBytes32(uint32(h)))<<32)
	b ^= bits.RotateLeft64(b, 49) ^ bits.RotateLeft64(b, 24)
	b *= primeMix
	b ^= b>>35 + size
	b *= primeMix
	b ^= b >> 28
	short := uint64(int64(size-4) >> 63) // all bits set below 4
	return a&short | b&^short
}

// linkIndex appends the index of a sparse vector to the chain: its four bytes,
// least first.
func linkIndex(h uint64, index uint32) uint64 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], index)
	return xxh3.HashSeed(b[:], h)
}
